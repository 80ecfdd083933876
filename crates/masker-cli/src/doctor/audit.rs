//! The audit log: its owner, its free space, and whether its newest part verifies.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    directory::{hidden, own_directory},
    files::PathStatus,
    finding::Finding,
    free_space::{self, FreeSpace},
    keys::KeyFacts,
    units::ServiceUser,
};
use masker_audit::{LineError, LogSource, VerifiedLog, VerifyError, verify};
use masker_config::{AuditConfig, Config};
use masker_core::crypto::ChainKey;

/// Bytes of segments that are verified, which takes a few seconds. `masker audit verify` reads all of them.
const READ_BYTES_MAX: u64 = 256 << 20;

/// The facts about an audit log.
#[derive(Debug)]
pub(super) struct AuditLogFacts {
    directory: PathStatus,
    room: Result<FreeSpace, String>,
    /// Size of its files in bytes.
    size: u64,
    chain: ChainStatus,
}

/// The result of verifying an audit log.
#[derive(Debug)]
enum ChainStatus {
    /// There is no log yet.
    Missing,
    /// The log cannot be read, for this reason.
    Unreadable(String),
    /// Its key is not available.
    NoKey,
    /// The newest segments of `of` verify.
    Sound { verified: Box<VerifiedLog>, of: usize },
    /// The log does not verify, for this reason.
    Broken(String),
}

impl AuditLogFacts {
    /// Returns the time of the last event, if the log was verified.
    pub(super) fn last(&self) -> Option<Timestamp> {
        match &self.chain {
            ChainStatus::Sound { verified, .. } => verified.last.parse().ok(),
            _ => None,
        }
    }

    /// Returns when the clock last jumped while a daemon ran or was off, if the log was verified and has that.
    pub(super) fn clock_jump(&self) -> Option<&str> {
        match &self.chain {
            ChainStatus::Sound { verified, .. } => verified.clock_jump.as_deref(),
            _ => None,
        }
    }

    /// Returns the modification time of its directory.
    pub(super) fn modified(&self) -> Option<Timestamp> {
        self.directory.facts().and_then(|facts| facts.modified)
    }
}

/// Examines the directory, and verifies as much of the log as can be read in a few seconds.
pub(super) fn gather(config: &Config, keys: &KeyFacts, serving: bool) -> AuditLogFacts {
    let path = &config.audit.path;
    let (mut log, segments) = match segments(path) {
        Ok(segments) => (ChainStatus::NoKey, segments),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (ChainStatus::Missing, Vec::new()),
        Err(error) => (ChainStatus::Unreadable(error.to_string()), Vec::new()),
    };
    let size = segments.iter().map(|(_, bytes)| bytes).sum();
    match &keys.credentials.audit_key {
        _ if segments.is_empty() && matches!(log, ChainStatus::NoKey) => log = ChainStatus::Missing,
        Some(key) if !segments.is_empty() => {
            log = match ChainKey::new(key) {
                Ok(key) => chain(path, &segments, &key, serving),
                Err(failed) => ChainStatus::Unreadable(failed.to_string()),
            };
        }
        _ => {}
    }
    AuditLogFacts {
        directory: PathStatus::at(path),
        room: FreeSpace::of(path).map_err(|error| error.to_string()),
        size,
        chain: log,
    }
}

/// Returns the segments with their sizes, the oldest first.
fn segments(directory: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("audit-") && (name.ends_with(".jsonl") || name.ends_with(".jsonl.zst")) {
            segments.push((entry.path(), entry.metadata()?.len()));
        }
    }
    segments.sort();
    Ok(segments)
}

/// Verifies the newest segments.
fn chain(directory: &Path, segments: &[(PathBuf, u64)], key: &ChainKey, serving: bool) -> ChainStatus {
    let mut left = READ_BYTES_MAX;
    let newest = segments.iter().rev().take_while(|(_, bytes)| {
        let fits = *bytes <= left || left == READ_BYTES_MAX;
        left = left.saturating_sub(*bytes);
        fits
    });
    let mut newest: Vec<PathBuf> = newest.map(|(path, _)| path.clone()).collect();
    newest.reverse();
    let source = match newest.len() == segments.len() {
        true => LogSource::Directory(directory.to_owned()),
        false => LogSource::Files(newest),
    };
    match verify(&source, key, None) {
        Ok(verified) => ChainStatus::Sound { verified: Box::new(verified), of: segments.len() },
        // The daemon is writing this line.
        Err(VerifyError::Failing(failing)) if serving && failing.why == LineError::Torn => {
            ChainStatus::Unreadable("its last line is being written: run doctor again".to_owned())
        }
        Err(VerifyError::Io { source, .. }) => ChainStatus::Unreadable(source.to_string()),
        Err(broken) => ChainStatus::Broken(broken.to_string()),
    }
}

/// Every check of the audit log.
pub(super) fn judge(config: &AuditConfig, log: &AuditLogFacts, runs_as: &ServiceUser) -> Vec<Finding> {
    let path = &config.path;
    let mut findings = vec![own_directory("audit.directory", path, &log.directory, runs_as)];
    match &log.room {
        Ok(room) => findings.extend(free_space::judge("audit.room", path, *room, log.size, 0)),
        Err(why) => findings.push(hidden("audit.room", path, why)),
    }
    findings.push(match &log.chain {
        ChainStatus::Missing => Finding::ok("audit.chain", format!("there is no audit log in {} yet", path.display())),
        ChainStatus::Unreadable(why) => hidden("audit.chain", path, why),
        ChainStatus::NoKey => Finding::warning(
            "audit.chain",
            format!("the log in {} was not verified, because its key is not available", path.display()),
            "set MASKER_AUDIT_HMAC_KEY_FILE to the file of the key, and verify the log regularly",
        ),
        ChainStatus::Sound { verified, of } => {
            let VerifiedLog { events, segments, head, .. } = &**verified;
            Finding::ok(
                "audit.chain",
                format!("{events} events in {segments} of {of} segments verify, up to {}", head.sequence),
            )
        }
        ChainStatus::Broken(why) => Finding::error(
            "audit.chain",
            format!("the chain does not verify: {why}"),
            "run `masker audit verify`; the page \"A lost key or vault\" of the book describes what to do",
        ),
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn judges_the_result_of_verifying() {
        let config = AuditConfig {
            path: PathBuf::from("/a"),
            sync: masker_types::audit::SyncPolicy::Always,
            on_failure: masker_types::audit::OnFailure::Refuse,
            retention_days: 1,
            segment_mb: 1,
        };
        let runs_as = ServiceUser { uid: 0, unit: None, is_default_user: true };
        let judged = |chain| {
            let room = Ok(FreeSpace { free: 1 << 40, free_files: 1 << 20, files: 1 << 20 });
            let log = AuditLogFacts { directory: PathStatus::Missing, room, size: 1, chain };
            let finding = judge(&config, &log, &runs_as).pop().unwrap();
            assert_eq!(finding.id, "audit.chain");
            finding.status
        };
        assert_eq!(judged(ChainStatus::Missing), Severity::Ok);
        assert_eq!(judged(ChainStatus::NoKey), Severity::Warning);
        assert_eq!(judged(ChainStatus::Unreadable("x".into())), Severity::Warning);
        assert_eq!(judged(ChainStatus::Broken("x".into())), Severity::Error);
    }

    #[test]
    fn lists_the_segments_in_order() {
        let folder = tempfile::tempdir().unwrap();
        assert!(segments(&folder.path().join("none")).is_err());
        for name in ["audit-20260302T000000Z-000062.jsonl", "audit-20260301T000000Z-000061.jsonl.zst", "notes"] {
            fs::write(folder.path().join(name), "12").unwrap();
        }
        let found: Vec<_> = segments(folder.path())
            .unwrap()
            .into_iter()
            .map(|(path, bytes)| (path.file_name().unwrap().to_string_lossy().into_owned(), bytes))
            .collect();
        let expected = [("audit-20260301T000000Z-000061.jsonl.zst", 2), ("audit-20260302T000000Z-000062.jsonl", 2)];
        assert_eq!(found, expected.map(|(name, bytes)| (name.to_owned(), bytes)));
    }
}
