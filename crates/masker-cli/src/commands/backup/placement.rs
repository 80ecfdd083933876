//! Puts the configuration and the policies of a backup in place where there are none.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, Permissions},
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{CONFIG, POLICIES, failed};
use crate::context::{CommandContext, CommandError};
use masker_config::{CommandLineOptions, Config, policy_files};
use masker_files::{PendingFile, sync_directory};

/// What was put in place, and what is different.
#[derive(Default)]
pub(super) struct RestoredFiles {
    pub(super) placed: Vec<PathBuf>,
    /// Messages for the user.
    pub(super) differences: Vec<String>,
}

impl RestoredFiles {
    /// Puts the configuration in place if there is none. Returns the one in force.
    pub(super) fn configuration(&mut self, backup: &Path, ctx: &CommandContext<'_>) -> Result<Config, CommandError> {
        let host = ctx.host();
        let saved = backup.join(CONFIG);
        let target = match ctx.named_config() {
            Some(named) => Some(host.current_dir.join(named)).filter(|named| named.symlink_metadata().is_err()),
            None => {
                let found = ctx.config()?.file;
                let own = host.system_dir.join(CONFIG);
                (found.is_none() && host.uid == 0).then_some(own)
            }
        };
        let saved =
            saved.exists().then(|| fs::read(&saved).map_err(|error| failed("read", &saved, &error))).transpose()?;
        if let (Some(target), Some(saved)) = (&target, &saved) {
            self.write(target, saved)?;
            return Ok(Config::load(CommandLineOptions { config: Some(target), socket: None }, host)?);
        }
        let config = ctx.config()?;
        if let (Some(file), Some(saved)) = (&config.file, &saved) {
            self.compare(file, saved, &backup.join(CONFIG))?;
        }
        Ok(config)
    }

    /// Puts the policies in place if there are none.
    pub(super) fn policies(&mut self, backup: &Path, config: &Config) -> Result<(), CommandError> {
        let (saved, path) = (backup.join(POLICIES), &config.policy.path);
        let saved = policy_files(&saved)?;
        let read = |file: &Path| fs::read(file).map_err(|error| failed("read", file, &error));
        let name = |file: &Path| file.file_name().unwrap_or_default().to_owned();
        // Of a file, its own name; of a directory, that of each file.
        let is_file = matches!(saved.as_slice(), [only] if Some(name(only).as_os_str()) == path.file_name());
        let place = |file: &Path| if is_file { path.clone() } else { path.join(name(file)) };
        if !path.exists() || path.is_dir() && policy_files(path)?.is_empty() {
            for file in &saved {
                self.write(&place(file), &read(file)?)?;
            }
            return Ok(());
        }
        let mut others: BTreeSet<PathBuf> = policy_files(path)?.into_iter().collect();
        for file in &saved {
            let target = place(file);
            match others.remove(&target) {
                true => self.compare(&target, &read(file)?, file)?,
                false => self.differences.push(format!(
                    "{} is in the backup and not here: {}",
                    target.display(),
                    file.display()
                )),
            }
        }
        let other = |file: PathBuf| format!("{} is here and not in the backup", file.display());
        self.differences.extend(others.into_iter().map(other));
        Ok(())
    }

    fn compare(&mut self, file: &Path, saved: &[u8], of: &Path) -> Result<(), CommandError> {
        if fs::read(file).map_err(|error| failed("read", file, &error))? != saved {
            self.differences.push(format!(
                "{} is not as in the backup: diff {} {}",
                file.display(),
                file.display(),
                of.display()
            ));
        }
        Ok(())
    }

    fn write(&mut self, target: &Path, text: &[u8]) -> Result<(), CommandError> {
        let directory = super::directory::parent(target);
        let create = || {
            if !directory.is_dir() {
                DirBuilder::new().mode(0o700).create(directory)?;
                // Under any umask: the daemon reads what is in it as another user.
                fs::set_permissions(directory, Permissions::from_mode(0o755))?;
                sync_directory(super::directory::parent(directory))?;
            }
            let mut file = PendingFile::create(target)?;
            file.write_all(text)?;
            // The daemon reads it as another user. It holds no secret.
            file.set_mode(0o644)?;
            file.persist(false)
        };
        create().map_err(|error| failed("write", target, &error))?;
        self.placed.push(target.to_owned());
        Ok(())
    }
}
