//! The log's directory: who may touch it, and who has it.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use super::{
    error::AuditOpenError,
    segment::{self, DirectoryListing},
};

/// The directory of a log, held against every other process that would write it until this is dropped. What is locked is
/// the directory itself, so no file of another kind stands in it.
pub(super) struct DirectoryLock(File);

impl DirectoryLock {
    /// Makes the directory, or sees to it that it is ours alone and holds a log or nothing; then takes it.
    pub(super) fn take(path: &Path) -> Result<(Self, DirectoryListing), AuditOpenError> {
        let unusable = |source| AuditOpenError::Directory { path: path.to_owned(), source };
        if !path.exists() {
            masker_files::create_durably(path).map_err(unusable)?;
        }
        let directory = File::open(path).map_err(unusable)?;
        let found = directory.metadata().map_err(unusable)?;
        if !found.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        let runs_as = nix::unistd::geteuid().as_raw();
        if found.uid() != runs_as {
            return Err(AuditOpenError::Owner { path: path.to_owned(), owner: found.uid(), runs_as });
        }
        if found.mode() & 0o022 != 0 {
            return Err(AuditOpenError::Exposed { path: path.to_owned(), mode: found.mode() & 0o7777 });
        }
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditOpenError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let lock = DirectoryLock(directory);
        let listing = segment::list(path).map_err(unusable)?;
        if let Some(entry) = &listing.foreign {
            return Err(AuditOpenError::Foreign { path: path.to_owned(), entry: entry.to_string_lossy().into_owned() });
        }
        Ok((lock, listing))
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // A process that is just being forked has this descriptor too, until it runs its program: closing ours would
        // leave the lock with it for a moment.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use super::*;

    fn refusal(path: &Path) -> AuditOpenError {
        DirectoryLock::take(path).map(drop).unwrap_err()
    }

    #[test]
    fn a_directory_is_made_for_its_owner_alone_and_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/audit");
        let (lock, listing) = DirectoryLock::take(&path).unwrap();
        assert!(listing.segments.is_empty());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(refusal(&path), AuditOpenError::Locked { .. }));
        drop(lock);
        DirectoryLock::take(&path).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            assert!(matches!(refusal(folder.path()), AuditOpenError::Exposed { mode: found, .. } if found == mode));
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o750)).unwrap();
        DirectoryLock::take(folder.path()).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(refusal(&file), AuditOpenError::Directory { .. }));
    }

    #[test]
    fn what_is_no_part_of_a_log_is_refused_and_named() {
        for entry in [".hidden", "notes.txt", "audit-1.jsonl", "lost+found"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(entry), b"").unwrap();
            let refused = refusal(folder.path());
            assert!(matches!(&refused, AuditOpenError::Foreign { entry: found, .. } if found == entry), "{refused}");
            assert!(refused.to_string().contains(entry));
        }
    }
}
