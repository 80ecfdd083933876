//! The data directory. Its database is not opened.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    directory::{hidden, own_directory},
    files::PathStatus,
    finding::{Finding, look_as},
    finding_id::FindingId,
    free_space::{self, FreeSpace},
    units::ServiceUser,
};
use masker_types::{engine::EngineKind, limits::STORE_COMPACTION_ROOM_BYTES_MIN};

/// The directory in which a restore builds the vault.
const RESTORING: &str = "restoring";
/// Maximum number of files that are counted.
const FILES_MAX: usize = 100_000;

/// The facts about a vault.
#[derive(Debug)]
pub(super) struct VaultFacts {
    pub(super) directory: PathStatus,
    /// Size of its files in bytes.
    pub(super) size: u64,
    /// The latest modification time of its files.
    pub(super) newest: Option<Timestamp>,
    /// The free space of its file system, or why it is unknown.
    room: Result<FreeSpace, String>,
    /// The engines whose databases it has.
    engines: Vec<&'static str>,
    /// Whether it has data.
    pub(super) exists: bool,
    /// Whether a part of it could not be examined.
    pub(super) partly_hidden: bool,
    /// Whether a restore into it has begun and not ended.
    is_restoring: bool,
    /// The mode that systemd gives the directory with each start, if the unit says so.
    pub(super) unit_mode: Option<u32>,
}

/// Examines the directory and its `entries`, without the files of the audit log.
pub(super) fn gather(path: &Path, entries: Vec<PathBuf>, audit: &Path) -> VaultFacts {
    let mut vault = VaultFacts {
        directory: PathStatus::at(path),
        size: 0,
        newest: None,
        room: FreeSpace::of(path).map_err(|error| error.to_string()),
        engines: Vec::new(),
        exists: entries.iter().any(|entry| entry.exists()),
        partly_hidden: false,
        is_restoring: path.join(RESTORING).exists(),
        unit_mode: None,
    };
    vault.partly_hidden = vault.directory.is_hidden();
    let names = EngineKind::CHOICES.map(|(name, _)| name).into_iter();
    vault.engines = names.filter(|name| entries.contains(&path.join(name)) && path.join(name).exists()).collect();
    // The daemon refuses a data directory that contains anything else.
    let mut pending = entries;
    let mut files = 0;
    while let Some(next) = pending.pop().filter(|_| files < FILES_MAX) {
        let found = match fs::symlink_metadata(&next) {
            Ok(found) => found,
            Err(error) => {
                vault.partly_hidden |= error.kind() == ErrorKind::PermissionDenied;
                continue;
            }
        };
        if found.is_dir() && next != audit {
            let entries = fs::read_dir(&next);
            vault.partly_hidden |= entries.is_err();
            pending.extend(entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())));
        } else if found.is_file() {
            files += 1;
            vault.size += found.blocks() * 512;
            let modified = found.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            vault.newest = vault.newest.max(modified);
        }
    }
    vault
}

/// Returns the findings of every check of the data directory. `is_recorded` says whether the audit log belongs to a
/// vault, if that is known.
pub(super) fn judge(path: &Path, vault: &VaultFacts, runs_as: &ServiceUser, is_recorded: Option<bool>) -> Vec<Finding> {
    let mut findings = vec![own_directory("vault.directory", path, &vault.directory, runs_as, vault.unit_mode)];
    let shown = path.display();
    match is_recorded {
        // `daemon.start` reports a restore that was interrupted.
        _ if vault.exists || vault.partly_hidden || vault.is_restoring => {}
        Some(false) => {}
        Some(true) => {
            let found = format!(
                "the audit log belongs to a vault, and there is none in {shown}: is its disk mounted, and is this the right directory?"
            );
            let remedy = "mount its disk, or correct `[vault] data_dir`, before anything else; `masker recover` names the vault that the log belongs to";
            findings = vec![Finding::error("vault.directory", FindingId::VaultMissing, found, remedy)];
        }
        None => {
            let found =
                format!("there is no vault in {shown}, and it is not known whether the audit log belongs to one");
            let remedy = "if there ever was a vault, mount its disk before the daemon starts; run doctor with the key of the audit log";
            findings = vec![Finding::not_checked("vault.directory", found, remedy)];
        }
    }
    match &vault.room {
        Ok(_) if vault.partly_hidden => {
            let found =
                format!("the size of the vault in {} is not known: this user cannot read all of it", path.display());
            findings.push(Finding::not_checked("vault.room", found, look_as()));
        }
        // A compaction writes a second copy of the vault before it removes the first.
        Ok(room) => {
            let spare = vault.size + STORE_COMPACTION_ROOM_BYTES_MIN;
            findings.extend(free_space::judge("vault.room", path, *room, vault.size, spare));
        }
        Err(why) => findings.push(hidden("vault.room", path, why)),
    }
    findings.extend(judge_databases(path, &vault.engines));
    findings
}

/// Returns a finding if there are several databases, of which a vault has only one.
fn judge_databases(path: &Path, engines: &[&str]) -> Option<Finding> {
    let [first, second, ..] = engines else { return None };
    let what = format!("{} has two databases, {first} and {second}, but a vault has one", path.display());
    let remedy = "`masker recover` says which one is the older, while no daemon serves. Set `[vault] engine` to the other one, and start. Only once \
                  `masker health` is ok, move the older one out of the directory; accept no loss before";
    Some(Finding::error("vault.databases", FindingId::TwoDatabases, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        Severity,
        files::{FileFacts, FileType},
    };

    #[test]
    fn judges_the_owner_and_mode_of_the_directory() {
        let runs_as = ServiceUser { uid: 5, unit: None, is_default_user: false };
        let status = |kind, mode, uid| {
            let status = PathStatus::Present(FileFacts { kind, mode, uid, gid: 0, modified: None });
            own_directory("x", Path::new("/v"), &status, &runs_as, None).status
        };
        assert_eq!(status(FileType::Directory, 0o700, 5), Severity::Ok);
        assert_eq!(status(FileType::Directory, 0o750, 5), Severity::Warning);
        assert_eq!(status(FileType::Directory, 0o770, 5), Severity::Error);
        assert_eq!(status(FileType::Directory, 0o700, 6), Severity::Error);
        assert_eq!(status(FileType::Regular, 0o700, 5), Severity::Error);
        assert_eq!(own_directory("x", Path::new("/v"), &PathStatus::Missing, &runs_as, None).status, Severity::Ok);
        assert_eq!(
            own_directory("x", Path::new("/v"), &PathStatus::Hidden("x".into()), &runs_as, None).status,
            Severity::NotChecked
        );
        // systemd sets the mode before the daemon looks at it.
        let managed = |mode, unit_mode| {
            let facts = FileFacts { kind: FileType::Directory, mode, uid: 5, gid: 0, modified: None };
            own_directory("x", Path::new("/v"), &PathStatus::Present(facts), &runs_as, Some(unit_mode)).status
        };
        assert_eq!(managed(0o777, 0o700), Severity::Warning);
        assert_eq!(managed(0o750, 0o750), Severity::Ok);
        assert_eq!(managed(0o770, 0o770), Severity::Error);
    }

    #[test]
    fn finds_a_second_database() {
        let folder = tempfile::tempdir().unwrap();
        let entries = ["witness", "fjall", "sled"].map(|entry| folder.path().join(entry)).to_vec();
        let runs_as = ServiceUser { uid: 5, unit: None, is_default_user: false };
        for (engine, expected) in [("sled", 0), ("fjall", 1)] {
            fs::create_dir(folder.path().join(engine)).unwrap();
            let vault = gather(folder.path(), entries.clone(), &folder.path().join("audit"));
            let findings = judge(folder.path(), &vault, &runs_as, Some(true));
            let found: Vec<_> = findings.iter().filter(|finding| finding.id == "vault.databases").collect();
            assert_eq!(found.len(), expected, "{found:?}");
            assert!(found.iter().all(|finding| finding.found.contains("fjall and sled")), "{found:?}");
        }
    }

    #[test]
    fn counts_the_files_of_the_vault_without_those_of_the_audit_log() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sled/blobs")).unwrap();
        fs::write(folder.path().join("sled/blobs/db"), vec![1; 8_192]).unwrap();
        fs::write(folder.path().join("witness"), vec![1; 4_096]).unwrap();
        for audit in ["audit", "sled/audit"].map(|audit| folder.path().join(audit)) {
            fs::create_dir_all(&audit).unwrap();
            fs::write(audit.join("audit-1"), vec![1; 65_536]).unwrap();
        }
        let entries = ["sled", "fjall", "witness"].map(|entry| folder.path().join(entry)).to_vec();
        let vault = gather(folder.path(), entries, &folder.path().join("sled/audit"));
        assert_eq!(vault.size, 12_288);
        assert!(vault.newest.is_some_and(|newest| newest.duration_until(Timestamp::now()).as_secs().abs() < 600));
    }
}
