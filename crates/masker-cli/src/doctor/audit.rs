//! The audit log: whose it is, whether there is room for it, and whether its newest part verifies.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{Finding, files::Look, hidden, keys::Secrets, own_directory, room, room::Room, units::RunsAs};
use masker_audit::{Source, Verified, VerifyError, Why, verify};
use masker_config::{AuditConfig, Config};
use masker_core::crypto::ChainKey;

/// Bytes of segments that are verified: a few seconds' work. `masker audit verify` reads all of them.
const READ_BYTES_MAX: u64 = 256 << 20;

/// What is found of an audit log.
#[derive(Debug)]
pub(super) struct Log {
    directory: Look,
    room: Result<Room, String>,
    /// Bytes that its files take.
    size: u64,
    chain: Chain,
}

/// What came of verifying it.
#[derive(Debug)]
enum Chain {
    /// There is no log yet.
    Nothing,
    /// It cannot be read, for this reason.
    Unread(String),
    /// There is no key for it here.
    NoKey,
    /// It verifies: the newest `segments` of so many.
    Sound { verified: Box<Verified>, of: usize },
    /// It does not, and why.
    Broken(String),
}

impl Log {
    /// When the last event was written, where that was read.
    pub(super) fn last(&self) -> Option<Timestamp> {
        match &self.chain {
            Chain::Sound { verified, .. } => verified.last.parse().ok(),
            _ => None,
        }
    }

    /// When one of its files was last written, as its directory tells it.
    pub(super) fn modified(&self) -> Option<Timestamp> {
        self.directory.facts().and_then(|facts| facts.modified)
    }
}

/// Looks at the directory, and verifies as much of the log as can be read in a few seconds.
pub(super) fn gather(config: &Config, secrets: &Secrets, serving: bool) -> Log {
    let path = &config.audit.path;
    let (mut log, segments) = match segments(path) {
        Ok(segments) => (Chain::NoKey, segments),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Chain::Nothing, Vec::new()),
        Err(error) => (Chain::Unread(error.to_string()), Vec::new()),
    };
    let size = segments.iter().map(|(_, bytes)| bytes).sum();
    match &secrets.survey.audit_key {
        _ if segments.is_empty() && matches!(log, Chain::NoKey) => log = Chain::Nothing,
        Some(key) if !segments.is_empty() => {
            log = match ChainKey::new(key) {
                Ok(key) => chain(path, &segments, &key, serving),
                Err(failed) => Chain::Unread(failed.to_string()),
            };
        }
        _ => {}
    }
    Log { directory: Look::at(path), room: Room::of(path).map_err(|error| error.to_string()), size, chain: log }
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
fn chain(directory: &Path, segments: &[(PathBuf, u64)], key: &ChainKey, serving: bool) -> Chain {
    let mut left = READ_BYTES_MAX;
    let newest = segments.iter().rev().take_while(|(_, bytes)| {
        let fits = *bytes <= left || left == READ_BYTES_MAX;
        left = left.saturating_sub(*bytes);
        fits
    });
    let mut newest: Vec<PathBuf> = newest.map(|(path, _)| path.clone()).collect();
    newest.reverse();
    let source = match newest.len() == segments.len() {
        true => Source::Directory(directory.to_owned()),
        false => Source::Files(newest),
    };
    match verify(&source, key, None) {
        Ok(verified) => Chain::Sound { verified: Box::new(verified), of: segments.len() },
        // Its daemon is just writing it.
        Err(VerifyError::Failing(failing)) if serving && failing.why == Why::Torn => {
            Chain::Unread("its last line is being written; look again".to_owned())
        }
        Err(VerifyError::Io { source, .. }) => Chain::Unread(source.to_string()),
        Err(broken) => Chain::Broken(broken.to_string()),
    }
}

/// Every check of the audit log.
pub(super) fn judge(config: &AuditConfig, log: &Log, runs_as: &RunsAs) -> Vec<Finding> {
    let path = &config.path;
    let mut findings = vec![own_directory("audit.directory", path, &log.directory, runs_as)];
    match &log.room {
        Ok(room) => findings.extend(room::judge("audit.room", path, *room, log.size, 0)),
        Err(why) => findings.push(hidden("audit.room", path, why)),
    }
    findings.push(match &log.chain {
        Chain::Nothing => Finding::ok("audit.chain", format!("there is no audit log in {} yet", path.display())),
        Chain::Unread(why) => hidden("audit.chain", path, why),
        Chain::NoKey => Finding::warning(
            "audit.chain",
            format!("the log in {} was not verified: its key is not at hand", path.display()),
            "set MASKER_AUDIT_HMAC_KEY_FILE to its file; it is to be verified now and then",
        ),
        Chain::Sound { verified, of } => {
            let Verified { events, segments, head, .. } = &**verified;
            Finding::ok("audit.chain", format!("{events} events in {segments} of {of} segments verify, up to {}", head.sequence))
        }
        Chain::Broken(why) => Finding::error(
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
    use crate::doctor::Status;

    #[test]
    fn what_came_of_verifying_is_told() {
        let config = AuditConfig {
            path: PathBuf::from("/a"),
            sync: masker_types::audit::Sync::Always,
            on_failure: masker_types::audit::OnFailure::Refuse,
            retention_days: 1,
            segment_mb: 1,
        };
        let runs_as = RunsAs { uid: 0, unit: None, unsaid: true };
        let judged = |chain| {
            let room = Ok(Room { free: 1 << 40, free_files: 1 << 20, files: 1 << 20 });
            let log = Log { directory: Look::Missing, room, size: 1, chain };
            let finding = judge(&config, &log, &runs_as).pop().unwrap();
            assert_eq!(finding.id, "audit.chain");
            finding.status
        };
        assert_eq!(judged(Chain::Nothing), Status::Ok);
        assert_eq!(judged(Chain::NoKey), Status::Warning);
        assert_eq!(judged(Chain::Unread("x".into())), Status::Warning);
        assert_eq!(judged(Chain::Broken("x".into())), Status::Error);
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
