//! The directory of a log: its permissions and its lock.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::{
    error::AuditOpenError,
    segment::{self, DirectoryListing},
};
use masker_files::DirectoryProblem;

/// The directory of a log, locked against other processes until this is dropped. The lock is on the directory itself, so
/// that the directory needs no lock file.
pub(super) struct LogDirectoryLock(File);

/// Checks what the next opening of a log would refuse of its directory, without its lock: its owner, its mode, and other files in it.
/// Changes nothing. Blocks.
///
/// # Errors
/// [`AuditOpenError`] as of an opening.
pub fn check_directory(path: &Path) -> Result<(), AuditOpenError> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        // Opening it says why that is not known.
        _ => open(path).and_then(|_| list(path)).map(drop),
    }
}

/// Opens the directory, which only this user may be able to write to. Creates it if there is none.
fn open(path: &Path) -> Result<File, AuditOpenError> {
    masker_files::open_private_directory(path).map_err(|problem| match problem {
        DirectoryProblem::Unusable(source) => AuditOpenError::Directory { path: path.to_owned(), source },
        DirectoryProblem::Owner { owner, runs_as } => AuditOpenError::Owner { path: path.to_owned(), owner, runs_as },
        DirectoryProblem::Exposed { mode } => AuditOpenError::Exposed { path: path.to_owned(), mode },
    })
}

/// Lists the directory, which may have no other files than those of a log.
fn list(path: &Path) -> Result<DirectoryListing, AuditOpenError> {
    let listing = segment::list(path).map_err(|source| AuditOpenError::Directory { path: path.to_owned(), source })?;
    match &listing.foreign {
        Some(entry) => {
            Err(AuditOpenError::Foreign { path: path.to_owned(), entry: entry.to_string_lossy().into_owned() })
        }
        None => Ok(listing),
    }
}

impl LogDirectoryLock {
    /// Creates the directory, or checks that only this user can write to it, and locks it.
    ///
    /// # Errors
    /// [`AuditOpenError`] if the directory cannot be used, is in use, or contains other files than those of a log.
    pub(super) fn acquire(path: &Path) -> Result<(Self, DirectoryListing), AuditOpenError> {
        let unusable = |source| AuditOpenError::Directory { path: path.to_owned(), source };
        let directory = open(path)?;
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditOpenError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let lock = LogDirectoryLock(directory);
        Ok((lock, list(path)?))
    }
}

impl Drop for LogDirectoryLock {
    fn drop(&mut self) {
        // A forked process has a copy of this descriptor until it calls exec. Closing ours would leave it the lock.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use super::*;

    fn acquire_error(path: &Path) -> AuditOpenError {
        LogDirectoryLock::acquire(path).map(drop).unwrap_err()
    }

    #[test]
    fn creates_a_private_directory_and_locks_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/audit");
        let (lock, listing) = LogDirectoryLock::acquire(&path).unwrap();
        assert!(listing.segments.is_empty());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(acquire_error(&path), AuditOpenError::Locked { .. }));
        check_directory(&path).unwrap();
        check_directory(&folder.path().join("none")).unwrap();
        assert!(!folder.path().join("none").exists());
        drop(lock);
        LogDirectoryLock::acquire(&path).unwrap();
    }

    #[test]
    fn rejects_a_directory_that_others_can_write() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(acquire_error(folder.path()), AuditOpenError::Exposed { mode: found, .. } if found == mode)
            );
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o750)).unwrap();
        LogDirectoryLock::acquire(folder.path()).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(acquire_error(&file), AuditOpenError::Directory { .. }));
    }

    #[test]
    fn accepts_the_root_of_a_file_system() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        let (_, listing) = LogDirectoryLock::acquire(folder.path()).unwrap();
        assert!(listing.segments.is_empty());
    }

    #[test]
    fn rejects_files_of_other_kinds_and_names_one() {
        for entry in [".hidden", "notes.txt", "audit-1.jsonl", "lost+found-1"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(entry), b"").unwrap();
            let error = acquire_error(folder.path());
            assert!(matches!(&error, AuditOpenError::Foreign { entry: found, .. } if found == entry), "{error}");
            assert!(error.to_string().contains(entry));
            assert_eq!(check_directory(folder.path()).unwrap_err().to_string(), error.to_string());
        }
    }
}
