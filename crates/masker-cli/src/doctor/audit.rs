//! The audit log: whose it is, whether there is room for it, and whether its newest part verifies.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    Finding, files::PathStatus, free_space, free_space::FreeSpace, hidden, keys::KeyFacts, own_directory,
    units::ServiceUser,
};
use masker_audit::{LineError, LogSource, VerifiedLog, VerifyError, verify};
use masker_config::{AuditConfig, Config};
use masker_core::crypto::ChainKey;

/// Bytes of segments that are verified: a few seconds' work. `masker audit verify` reads all of them.
const READ_BYTES_MAX: u64 = 256 << 20;

/// What is found of an audit log.
#[derive(Debug)]
pub(super) struct AuditLogFacts {
    directory: PathStatus,
    room: Result<FreeSpace, String>,
    /// Bytes that its files take.
    size: u64,
    chain: ChainStatus,
}

/// What came of verifying it.
#[derive(Debug)]
enum ChainStatus {
    /// There is no log yet.
    Nothing,
    /// It cannot be read, for this reason.
    Unread(String),
    /// There is no key for it here.
    NoKey,
    /// It verifies: the newest `segments` of so many.
    Sound { verified: Box<VerifiedLog>, of: usize },
    /// It does not, and why.
    Broken(String),
}

impl AuditLogFacts {
    /// When the last event was written, where that was read.
    pub(super) fn last(&self) -> Option<Timestamp> {
        match &self.chain {
            ChainStatus::Sound { verified, .. } => verified.last.parse().ok(),
            _ => None,
        }
    }

    /// When one of its files was last written, as its directory tells it.
    pub(super) fn modified(&self) -> Option<Timestamp> {
        self.directory.facts().and_then(|facts| facts.modified)
    }
}

/// Looks at the directory, and verifies as much of the log as can be read in a few seconds.
pub(super) fn gather(config: &Config, secrets: &KeyFacts, serving: bool) -> AuditLogFacts {
    let path = &config.audit.path;
    let (mut log, segments) = match segments(path) {
        Ok(segments) => (ChainStatus::NoKey, segments),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (ChainStatus::Nothing, Vec::new()),
        Err(error) => (ChainStatus::Unread(error.to_string()), Vec::new()),
    };
    let size = segments.iter().map(|(_, bytes)| bytes).sum();
    match &secrets.survey.audit_key {
        _ if segments.is_empty() && matches!(log, ChainStatus::NoKey) => log = ChainStatus::Nothing,
        Some(key) if !segments.is_empty() => {
            log = match ChainKey::new(key) {
                Ok(key) => chain(path, &segments, &key, serving),
                Err(failed) => ChainStatus::Unread(failed.to_string()),
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

/// The segments by name, which is the order of their time, with their sizes.
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
        // Its daemon is just writing it.
        Err(VerifyError::Failing(failing)) if serving && failing.why == LineError::Torn => {
            ChainStatus::Unread("its last line is being written; look again".to_owned())
        }
        Err(VerifyError::Io { source, .. }) => ChainStatus::Unread(source.to_string()),
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
        ChainStatus::Nothing => Finding::ok("audit.chain", format!("there is no audit log in {} yet", path.display())),
        ChainStatus::Unread(why) => hidden("audit.chain", path, why),
        ChainStatus::NoKey => Finding::warning(
            "audit.chain",
            format!("the log in {} was not verified: its key is not at hand", path.display()),
            "set MASKER_AUDIT_HMAC_KEY_FILE to its file; it is to be verified now and then",
        ),
        ChainStatus::Sound { verified, of } => {
            let VerifiedLog { events, segments, head, .. } = &**verified;
            Finding::ok("audit.chain", format!("{events} events in {segments} of {of} segments verify, up to {}", head.sequence))
        }
        ChainStatus::Broken(why) => Finding::error(
            "audit.chain",
            format!("the chain does not verify: {why}"),
            "`masker audit verify` tells more; find out who changed it, and start with --accept-audit-break to take note",
        ),
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn what_came_of_verifying_is_told() {
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
        assert_eq!(judged(ChainStatus::Nothing), Severity::Ok);
        assert_eq!(judged(ChainStatus::NoKey), Severity::Warning);
        assert_eq!(judged(ChainStatus::Unread("x".into())), Severity::Warning);
        assert_eq!(judged(ChainStatus::Broken("x".into())), Severity::Error);
    }

    #[test]
    fn segments_are_those_of_a_log_by_their_time() {
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
