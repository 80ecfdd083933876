//! Where commands may write files: never into a directory that the daemon reads or owns.

use std::{
    fs,
    path::{Path, PathBuf},
};

use masker_api::{DaemonConfiguration, Health};

use crate::{
    context::{CommandContext, CommandError},
    doctor,
};

/// Refuses a path in a directory of the daemon that is configured here.
///
/// A file among the daemon's own keeps it from starting, is taken for a policy or a key, or is lost with the vault.
///
/// # Errors
/// The path is in such a directory.
pub(crate) fn check(target: &Path, ctx: &CommandContext<'_>) -> Result<(), CommandError> {
    refuse(target, &configured(ctx))
}

/// Refuses a path in a directory of the daemon that is configured here, or of the daemon that serves. That daemon is asked; its
/// refusal to answer is not an error. Returns what it has answered.
///
/// # Errors
/// The path is in such a directory.
pub(crate) async fn check_with_daemon(
    target: &Path,
    ctx: &mut CommandContext<'_>,
) -> Result<Option<DaemonConfiguration>, CommandError> {
    let mut directories = configured(ctx);
    let health = match ctx.client().await {
        Ok(client) => client.get("/health").await.ok().and_then(|reply| reply.json::<Health>().ok()),
        Err(_) => None,
    };
    let serving = health.and_then(|health| health.configuration);
    directories.extend(serving.iter().flat_map(of_daemon));
    refuse(target, &directories)?;
    Ok(serving)
}

/// A directory of the daemon, and what it has.
type OwnDirectory = (PathBuf, &'static str);

fn configured(ctx: &CommandContext<'_>) -> Vec<OwnDirectory> {
    // Without a valid configuration the daemon that serves may still be asked.
    let mut directories = ctx.config().map_or_else(
        |_| Vec::new(),
        |config| {
            vec![
                (config.vault.data_dir, "the data directory"),
                (config.audit.path, "the directory of the audit log"),
                (config.policy.path, "the directory of the policies"),
            ]
        },
    );
    let named = ctx.environment().setting("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    directories.extend(
        named.into_iter().chain(doctor::key_directories()).map(|path| (path, "a directory of the daemon's keys")),
    );
    directories
}

fn of_daemon(serving: &DaemonConfiguration) -> Vec<OwnDirectory> {
    let keys = serving.key_files.iter().filter_map(|(name, path)| match name.as_str() {
        "CREDENTIALS_DIRECTORY" => Some(PathBuf::from(path)),
        _ => None,
    });
    let mut directories = vec![
        (PathBuf::from(&serving.data_dir), "the data directory"),
        (PathBuf::from(&serving.audit_log), "the directory of the audit log"),
        (PathBuf::from(&serving.policies), "the directory of the policies"),
    ];
    directories.extend(keys.map(|path| (path, "a directory of the daemon's keys")));
    directories
}

/// Refuses a path that is in one of these directories, or is one, by its real path.
fn refuse(target: &Path, directories: &[OwnDirectory]) -> Result<(), CommandError> {
    let real = real(target);
    // A policy file is not a directory, and what is beside it is not the daemon's.
    let own = directories.iter().filter(|(path, _)| path.is_dir());
    let Some((path, what)) = own.map(|(path, what)| (path, what)).find(|(path, _)| real.starts_with(self::real(path)))
    else {
        return Ok(());
    };
    Err(CommandError::Other(format!(
        "{} is in {}, {what} of the daemon, where nothing else belongs: name a path outside of it",
        target.display(),
        path.display()
    )))
}

/// Returns a path with the links of its longest existing beginning resolved.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(existing), path.strip_prefix(existing)) {
            return real.join(rest);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_directory_of_the_daemon_is_refused_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("vault/fjall")).unwrap();
        fs::create_dir(at("vault-of-others")).unwrap();
        fs::write(at("policy.toml"), "").unwrap();
        std::os::unix::fs::symlink(at("vault"), at("link")).unwrap();
        let own = [(at("vault"), "the data directory"), (at("policy.toml"), "the policies"), (at("gone"), "keys")];
        for target in ["vault", "vault/backup", "vault/fjall/a.export", "link/backup", "vault-of-others/../vault/x"] {
            let refused = refuse(&at(target), &own).unwrap_err().to_string();
            assert!(refused.contains("the data directory of the daemon"), "{target}: {refused}");
        }
        for target in ["backup", "vault-of-others/backup", "policy.toml.export", "gone/backup"] {
            assert!(refuse(&at(target), &own).is_ok(), "{target}");
        }
    }
}
