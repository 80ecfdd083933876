//! The data directory while a backup is restored into it.
//!
//! The vault is built in a directory within it, because the data directory can be the root of a file system. While that directory is
//! there, no daemon opens a vault, and a restore begins anew.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, fchown},
    path::{Path, PathBuf},
};

use super::super::effective_user::{EffectiveUser, FileOwner};
use masker_files::{LOST_AND_FOUND, sync_directory};
use masker_store::embedded::{RESTORING, vault_entries};
use masker_types::audit::AUDIT_DIRECTORY;

/// A data directory that a backup is restored into. It is locked against other restores.
pub(super) struct RestoreDirectory {
    path: PathBuf,
    owner: Option<FileOwner>,
    lock: File,
}

impl RestoreDirectory {
    /// Locks the directory, or creates it for this owner, and checks that it is empty but for what an interrupted restore has left.
    ///
    /// # Errors
    /// A message for the user.
    pub(super) fn open(path: &Path, owner: Option<FileOwner>) -> Result<Self, String> {
        let failed = |what: &str, error: io::Error| format!("failed to {what} {}: {error}", path.display());
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                if let Some(owner) = owner {
                    chown(path, Some(owner.uid), Some(owner.gid)).map_err(|error| failed("give away", error))?;
                }
                sync_directory(path.parent().unwrap_or(Path::new("/"))).map_err(|error| failed("create", error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create", error)),
        }
        let lock = File::open(path).map_err(|error| failed("open", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("another restore into {} is running: wait until it ends", path.display()));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
        }
        let directory = RestoreDirectory { path: path.to_owned(), owner, lock };
        directory.check_empty()?;
        directory.give_away().map_err(|error| failed("give away", error))?;
        Ok(directory)
    }

    /// Gives an empty directory of root, such as a new disk, to the daemon's user.
    fn give_away(&self) -> io::Result<()> {
        let Some(owner) = self.owner else { return Ok(()) };
        if self.lock.metadata()?.uid() != 0 || owner.uid == 0 {
            return Ok(());
        }
        fchown(&self.lock, Some(owner.uid), Some(owner.gid))?;
        self.lock.set_permissions(Permissions::from_mode(0o700))
    }

    /// Returns the directory in which the vault is built.
    pub(super) fn building(&self) -> PathBuf {
        self.path.join(RESTORING)
    }

    /// Becomes the daemon's user, if this is root.
    pub(super) fn become_owner(&self) -> Result<EffectiveUser, String> {
        EffectiveUser::take(self.owner)
    }

    /// Returns a name beside the directory that nothing has: an earlier restore may have left something as well.
    fn free_name(&self) -> PathBuf {
        let named = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(".before-restore");
            if number > 1 {
                name.push(format!("-{number}"));
            }
            PathBuf::from(name)
        };
        (1..).map(named).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| named(1))
    }

    fn check_empty(&self) -> Result<(), String> {
        let begun = self.building().symlink_metadata().is_ok();
        let entries = fs::read_dir(&self.path).map_err(|error| self.failed("list", &error))?;
        for entry in entries {
            let path = entry.map_err(|error| self.failed("list", &error))?.path();
            let name = path.file_name().unwrap_or_default();
            let is_left = [RESTORING, LOST_AND_FOUND, AUDIT_DIRECTORY, "lock"].iter().any(|known| name == *known)
                || begun && vault_entries(&self.path).contains(&path);
            if !is_left {
                let (path, kept) = (self.path.display(), self.free_name());
                return Err(format!(
                    "{path} is not empty: it has {name:?}, and a backup is restored into an empty directory. Stop the daemon and keep \
                     what is there: mv --no-target-directory {path} {}",
                    kept.display()
                ));
            }
        }
        Ok(())
    }

    /// Removes what an interrupted restore has left, and creates the directory in which the vault is built.
    pub(super) fn begin(&self) -> Result<(), String> {
        let building = self.building();
        if building.symlink_metadata().is_ok() {
            self.abandon()?;
        }
        let made = DirBuilder::new().mode(0o700).create(&building).and_then(|()| sync_directory(&self.path));
        made.map_err(|error| self.failed("write to", &error))?;
        // A daemon may have begun meanwhile. From here on, none does.
        self.check_empty_but_restoring()
    }

    /// Removes what a restore has made. The directory in which the vault is built goes last: while it is there, what is beside it is
    /// of a restore.
    pub(super) fn abandon(&self) -> Result<(), String> {
        let paths = vault_entries(&self.path).into_iter().chain([self.building()]);
        let removed = paths.into_iter().try_for_each(|path| remove(&path)).and_then(|()| sync_directory(&self.path));
        removed.map_err(|error| self.failed("remove a restore from", &error))
    }

    fn check_empty_but_restoring(&self) -> Result<(), String> {
        if vault_entries(&self.path).iter().any(|entry| entry.symlink_metadata().is_ok()) {
            let removed = fs::remove_dir(self.building());
            removed.map_err(|error| self.failed("write to", &error))?;
            return Err(format!("a daemon has begun to use {}: stop it first", self.path.display()));
        }
        Ok(())
    }

    /// Puts the vault in its place. It is opened only once the restore is [finished](Self::finish).
    pub(super) fn put_in_place(&self) -> Result<(), String> {
        let building = self.building();
        let moved = vault_entries(&building).into_iter().filter(|entry| entry.exists()).try_for_each(|entry| {
            let name = entry.file_name().unwrap_or_default();
            fs::rename(&entry, self.path.join(name))
        });
        let moved = moved.and_then(|()| sync_directory(&building)).and_then(|()| sync_directory(&self.path));
        moved.map_err(|error| self.failed("write to", &error))
    }

    /// Ends the restore: the vault can be opened.
    pub(super) fn finish(&self) -> Result<(), String> {
        let removed = remove(&self.building()).and_then(|()| sync_directory(&self.path));
        removed.map_err(|error| self.failed("write to", &error))
    }

    fn failed(&self, what: &str, error: &io::Error) -> String {
        format!("failed to {what} {}: {error}", self.path.display())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
