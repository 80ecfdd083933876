//! Free space on a file system.

use std::{io, path::Path};

use nix::sys::statvfs::statvfs;

use super::{finding::Finding, finding_id::FindingId};
use crate::{format::bytes, key_files::quoted};

/// Free bytes below which a disk counts as full: what a busy daemon writes in a few seconds.
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Free files below which a disk counts as full.
const FREE_FILES_MIN: u64 = 64;
/// Free files below which there is a warning.
const FREE_FILES_LOW: u64 = 1_024;

/// The free space of a file system for this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FreeSpace {
    /// Free bytes.
    pub(super) free: u64,
    /// Number of files that can be created.
    pub(super) free_files: u64,
    /// Maximum number of files; 0 if the file system has no limit.
    pub(super) files: u64,
}

impl FreeSpace {
    /// Returns the free space for a path, or for its nearest ancestor that exists.
    pub(super) fn of(path: &Path) -> io::Result<FreeSpace> {
        let mut there = path;
        // A path that this user cannot examine may be on another file system than its directory.
        while !there.try_exists()? {
            there = there.parent().unwrap_or(Path::new("/"));
        }
        let found = statvfs(there).map_err(io::Error::from)?;
        Ok(FreeSpace {
            free: found.blocks_available().saturating_mul(found.fragment_size()),
            free_files: found.files_available(),
            files: found.files(),
        })
    }
}

/// Judges the free space for a directory that takes `size` bytes and sometimes needs `spare` more.
pub(super) fn judge(id: &'static str, path: &Path, room: FreeSpace, size: u64, spare: u64) -> Vec<Finding> {
    let (shown, free) = (path.display(), bytes(room.free));
    let mut findings = Vec::new();
    let remedy = |look: &str| {
        format!(
            "make room (`{look} {}`) without touching the files of masker, or stop the daemon and move the directory to a larger disk",
            quoted(path)
        )
    };
    if room.free < FREE_BYTES_MIN {
        let found = format!("{free} are free for {shown}: writes will fail soon, and nothing is acknowledged then");
        findings.push(Finding::error(id, FindingId::DiskFull, found, remedy("df -h")));
    } else if room.free < spare {
        let found = format!("{free} are free for {shown}, and a compaction of the vault needs {}", bytes(spare));
        findings.push(Finding::warning(id, FindingId::DiskFull, found, remedy("df -h")));
    }
    if room.files > 0 && room.free_files < FREE_FILES_LOW {
        let found = format!("{} files can be created for {shown}", room.free_files);
        let remedy = remedy("df -i");
        findings.push(match room.free_files {
            ..FREE_FILES_MIN => Finding::error(id, FindingId::DiskFull, found, remedy),
            _ => Finding::warning(id, FindingId::DiskFull, found, remedy),
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(id, format!("{free} are free for {shown}, which takes {}", bytes(size))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn judges_free_bytes_and_free_files() {
        const MIB: u64 = 1 << 20;
        let statuses = |free, free_files, files| {
            let findings = judge("x", Path::new("/v"), FreeSpace { free, free_files, files }, 80 * MIB, 100 * MIB);
            findings.iter().map(|finding| finding.status).collect::<Vec<_>>()
        };
        use Severity::{Error, Ok, Warning};
        assert_eq!(statuses(100 * MIB, 5_000, 10_000), [Ok]);
        assert_eq!(statuses(100 * MIB - 1, 5_000, 10_000), [Warning]);
        assert_eq!(statuses(64 * MIB - 1, 5_000, 10_000), [Error]);
        assert_eq!(statuses(0, 63, 10_000), [Error, Error]);
        assert_eq!(statuses(200 * MIB, 64, 10_000), [Warning]);
        // btrfs has no limit of files.
        assert_eq!(statuses(200 * MIB, 0, 0), [Ok]);
    }

    #[test]
    fn uses_the_nearest_ancestor_that_exists() {
        let folder = tempfile::tempdir().unwrap();
        let (there, below) =
            (FreeSpace::of(folder.path()).unwrap(), FreeSpace::of(&folder.path().join("a/b")).unwrap());
        assert_eq!(there.files, below.files);
    }
}
