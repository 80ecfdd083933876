//! The vault's directory, from outside: its database is not opened.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use jiff::Timestamp;

use super::{Finding, files::PathStatus, free_space, free_space::FreeSpace, own_directory, units::ServiceUser};
use masker_types::{engine::EngineKind, limits::STORE_COMPACTION_ROOM_BYTES_MIN};

/// Files that are counted at most: enough for any database, and no walk for ever.
const FILES_MAX: usize = 100_000;

/// What is found of a vault.
#[derive(Debug)]
pub(super) struct VaultFacts {
    pub(super) directory: PathStatus,
    /// Bytes that its files take.
    pub(super) size: u64,
    /// When one of them was last written.
    pub(super) newest: Option<Timestamp>,
    /// What its file system has left, or why that is not known.
    room: Result<FreeSpace, String>,
}

/// Looks at the directory and at every file of it, but for those of the audit log.
pub(super) fn gather(path: &Path, audit: &Path) -> VaultFacts {
    let mut vault = VaultFacts {
        directory: PathStatus::at(path),
        size: 0,
        newest: None,
        room: FreeSpace::of(path).map_err(|error| error.to_string()),
    };
    // What is the vault's own: the daemon refuses a directory that holds anything else.
    let own = EngineKind::CHOICES.map(|(engine, _)| path.join(engine)).into_iter().chain([path.join("witness")]);
    let mut left: Vec<_> = own.collect();
    let mut files = 0;
    while let Some(next) = left.pop().filter(|_| files < FILES_MAX) {
        let Ok(found) = fs::symlink_metadata(&next) else { continue };
        if found.is_dir() && next != audit {
            left.extend(fs::read_dir(&next).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())));
        } else if found.is_file() {
            files += 1;
            vault.size += found.blocks() * 512;
            let modified = found.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            vault.newest = vault.newest.max(modified);
        }
    }
    vault
}

/// Every check of the vault's directory.
pub(super) fn judge(path: &Path, vault: &VaultFacts, runs_as: &ServiceUser) -> Vec<Finding> {
    let mut findings = vec![own_directory("vault.directory", path, &vault.directory, runs_as)];
    match &vault.room {
        // A compaction writes the vault a second time before it lets go of the first.
        Ok(room) => {
            let spare = vault.size + STORE_COMPACTION_ROOM_BYTES_MIN;
            findings.extend(free_space::judge("vault.room", path, *room, vault.size, spare));
        }
        Err(why) => findings.push(super::hidden("vault.room", path, why)),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        Severity,
        files::{FileFacts, FileKind},
    };

    #[test]
    fn the_directory_is_the_daemons_alone() {
        let runs_as = ServiceUser { uid: 5, unit: None, is_default_user: false };
        let status = |kind, mode, uid| {
            let look = PathStatus::There(FileFacts { kind, mode, uid, gid: 0, modified: None });
            own_directory("x", Path::new("/v"), &look, &runs_as).status
        };
        assert_eq!(status(FileKind::Directory, 0o700, 5), Severity::Ok);
        assert_eq!(status(FileKind::Directory, 0o750, 5), Severity::Warning);
        assert_eq!(status(FileKind::Directory, 0o770, 5), Severity::Error);
        assert_eq!(status(FileKind::Directory, 0o700, 6), Severity::Error);
        assert_eq!(status(FileKind::Regular, 0o700, 5), Severity::Error);
        assert_eq!(own_directory("x", Path::new("/v"), &PathStatus::Missing, &runs_as).status, Severity::Ok);
        assert_eq!(
            own_directory("x", Path::new("/v"), &PathStatus::Hidden("x".into()), &runs_as).status,
            Severity::Warning
        );
    }

    #[test]
    fn files_of_the_engine_and_the_witness_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sled/blobs")).unwrap();
        fs::write(folder.path().join("sled/blobs/db"), vec![1; 8_192]).unwrap();
        fs::write(folder.path().join("witness"), vec![1; 4_096]).unwrap();
        fs::create_dir_all(folder.path().join("audit")).unwrap();
        fs::write(folder.path().join("audit/audit-1"), vec![1; 65_536]).unwrap();
        let vault = gather(folder.path(), &folder.path().join("audit"));
        assert_eq!(vault.size, 12_288);
        assert!(vault.newest.is_some_and(|newest| newest.duration_until(Timestamp::now()).as_secs().abs() < 600));
    }
}
