//! The audit log: its owner, its free space, and whether its newest part verifies.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    directory::{hidden, own_directory},
    files::PathStatus,
    finding::Finding,
    finding_id::FindingId,
    free_space::{self, FreeSpace},
    key_identity::exchange_files,
    keys::{AUDIT_KEY, KeyFacts},
    units::ServiceUser,
};
use masker_audit::{
    LineError, LogCondition, LogSource, TornTail, VerifiedLog, VerifyError, condition, torn_tail, verify,
};
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
    /// What is wrong with it that an operator can accept, and the vault that it has recorded. `None` without its key.
    condition: Option<LogCondition>,
    /// The mode that systemd gives the directory with each start, if the unit says so.
    pub(super) unit_mode: Option<u32>,
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
    /// The key is not the one of the log, which this other variable has.
    OtherKey(String),
    /// No line of the newest segment matches the key, for this reason.
    KeyOrLog(String),
    /// A crash has cut the last line; all others of the newest segments verify.
    Torn(TornTail),
    /// The log does not verify, for this reason.
    Broken(String),
}

impl AuditLogFacts {
    /// Returns what verifying has found, if the log verifies.
    pub(super) fn verified(&self) -> Option<&VerifiedLog> {
        match &self.chain {
            ChainStatus::Sound { verified, .. } => Some(verified),
            _ => None,
        }
    }

    /// Returns the time of the last event, if the log was verified.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.verified()?.last.parse().ok()
    }

    /// Returns the variable that has the key of the log, if another one than its own has it.
    pub(super) fn other_key(&self) -> Option<&str> {
        match &self.chain {
            ChainStatus::OtherKey(name) => Some(name),
            _ => None,
        }
    }

    /// Returns whether there may be a log that was not verified.
    pub(super) fn is_unverified(&self) -> bool {
        !matches!(self.chain, ChainStatus::Missing | ChainStatus::Sound { .. })
    }

    /// Returns whether the log was verified but for its last line, which a crash has cut.
    pub(super) fn is_torn(&self) -> bool {
        matches!(self.chain, ChainStatus::Torn(_))
    }

    /// Returns whether there is a log. `None` if this user cannot see that.
    pub(super) fn exists(&self) -> Option<bool> {
        match &self.chain {
            ChainStatus::Missing => Some(false),
            ChainStatus::Unreadable(_) => None,
            _ => Some(true),
        }
    }

    /// Returns the trusted time that the clock is too far past, if it is.
    pub(super) fn untrusted_clock(&self, now: Timestamp) -> Option<Timestamp> {
        let condition = self.condition.as_ref()?;
        condition.trusted_time.filter(|_| !condition.trusts(now))
    }

    /// Returns whether the log belongs to a vault. `None` if that is not known.
    pub(super) fn names_vault(&self) -> Option<bool> {
        match &self.condition {
            Some(condition) => Some(condition.vault.is_some()),
            None => self.exists().filter(|exists| !exists),
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
            if matches!(log, ChainStatus::KeyOrLog(_))
                && let Some(name) = key_of_log(keys, &segments)
            {
                log = ChainStatus::OtherKey(name);
            }
        }
        _ => {}
    }
    // What cannot be read is reported by the chain.
    let condition = keys.credentials.audit_key.as_ref().and_then(|key| condition(path, key).ok());
    AuditLogFacts {
        directory: PathStatus::at(path),
        room: FreeSpace::of(path).map_err(|error| error.to_string()),
        size,
        chain: log,
        condition,
        unit_mode: None,
    }
}

/// Returns the variable whose key is the one of the log, if another one has it.
fn key_of_log(keys: &KeyFacts, segments: &[(PathBuf, u64)]) -> Option<String> {
    let newest = LogSource::Files(vec![segments.last()?.0.clone()]);
    let is_of_log = |key| ChainKey::new(key).is_ok_and(|key| verify(&newest, &key, None).is_ok());
    keys.keys().into_iter().find(|(name, key)| name != AUDIT_KEY && is_of_log(key)).map(|(name, _)| name)
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
        Err(VerifyError::Failing(failing)) if failing.why == LineError::OtherKey => {
            ChainStatus::KeyOrLog(failing.to_string())
        }
        Err(VerifyError::Io { source, .. }) => ChainStatus::Unreadable(source.to_string()),
        Err(VerifyError::Failing(failing)) => {
            // Only the last line of all, because lines before it have verified.
            let is_failing = |torn: &TornTail| {
                let name = failing.file.file_name().and_then(OsStr::to_str);
                torn.line == failing.line && name.is_some_and(|name| name.starts_with(&torn.segment))
            };
            match torn_tail(directory, key).ok().flatten().filter(is_failing) {
                Some(torn) => ChainStatus::Torn(torn),
                None => ChainStatus::Broken(failing.to_string()),
            }
        }
        Err(broken) => ChainStatus::Broken(broken.to_string()),
    }
}

/// Every check of the audit log. `has_vault` says whether there is a vault, and `serving` whether a daemon serves that writes the log.
pub(super) fn judge(
    config: &AuditConfig,
    log: &AuditLogFacts,
    keys: &KeyFacts,
    runs_as: &ServiceUser,
    has_vault: bool,
    serving: bool,
) -> Vec<Finding> {
    let path = &config.path;
    let mut findings = vec![own_directory("audit.directory", path, &log.directory, runs_as, log.unit_mode)];
    match &log.room {
        Ok(room) => findings.extend(free_space::judge("audit.room", path, *room, log.size, 0)),
        Err(why) => findings.push(hidden("audit.room", path, why)),
    }
    findings.push(judge_chain(path, log, keys, has_vault, serving));
    findings
}

/// `audit.chain`: the newest part of the log verifies.
fn judge_chain(path: &Path, log: &AuditLogFacts, keys: &KeyFacts, has_vault: bool, serving: bool) -> Finding {
    const CHECK: &str = "audit.chain";
    let shown = path.display();
    let has_key = keys.credentials.audit_key.is_some() || keys.audit_key_is_unreadable();
    match &log.chain {
        ChainStatus::Missing if serving && has_key => {
            let found = format!(
                "the audit log that the running daemon writes is not in {shown} any more: it was removed or moved, or its disk is gone"
            );
            let remedy = "move the log back to its place, or mount its disk, before the daemon is restarted: the next start would begin a new \
                          log. If it is lost, copy what is left, and go on as the page says";
            Finding::error(CHECK, FindingId::AuditLogMissing, found, remedy)
        }
        ChainStatus::Missing if has_vault && has_key => {
            let found = format!(
                "there is a vault, and no audit log in {shown}: is its disk mounted, and is this the right directory?"
            );
            let remedy = "if there ever was a log, mount its disk or correct `[audit] path` before the daemon starts. If not, the next start begins \
                          one";
            Finding::warning(CHECK, FindingId::AuditLogMissing, found, remedy)
        }
        ChainStatus::Missing => Finding::ok(CHECK, format!("there is no audit log in {shown} yet")),
        ChainStatus::Unreadable(why) => hidden(CHECK, path, why),
        ChainStatus::NoKey => {
            let remedy = match keys.audit_key_is_unreadable() {
                true => "run doctor as root, who can read the key".to_owned(),
                false => format!(
                    "set CREDENTIALS_DIRECTORY to the directory that has {AUDIT_KEY}, or {AUDIT_KEY}_FILE to its file. If the key is \
                     missing, put it back from its copy"
                ),
            };
            Finding::not_checked(
                CHECK,
                format!("the log in {shown} was not verified, because its key was not read"),
                remedy,
            )
        }
        ChainStatus::Sound { verified, of } => {
            let VerifiedLog { events, segments, head, accepted_breaks, .. } = &**verified;
            let mut found = format!("{events} events in {segments} of {of} segments verify, up to {}", head.sequence);
            for accepted in accepted_breaks {
                found += &format!("; accepted break: {accepted}");
            }
            Finding::ok(CHECK, found)
        }
        ChainStatus::Torn(TornTail { segment, line, .. }) => Finding::ok(
            CHECK,
            format!(
                "the newest lines verify but the last one, which a crash has cut ({segment}, line {line}): the next start removes it and \
                 records that; nothing needs to be accepted"
            ),
        ),
        ChainStatus::OtherKey(name) => {
            let found =
                format!("{AUDIT_KEY} is not the key of the log in {shown}: {name} has that key. The two are swapped");
            let files = [AUDIT_KEY, name].map(|name| keys.path_of(name));
            let remedy = match files {
                [Some(audit), Some(other)] => format!("{}, then start the daemon", exchange_files(audit, other)),
                _ => "exchange the two keys; generate none and delete none".to_owned(),
            };
            Finding::error(CHECK, FindingId::KeysSwapped, found, remedy)
        }
        ChainStatus::KeyOrLog(why) => {
            let remedy = "compare the key with its copy first: with the right key the log may verify. If it is the right one, keep a copy of the log, \
                          and go on as the page says";
            Finding::error(CHECK, FindingId::AuditLogBroken, format!("the chain does not verify: {why}"), remedy)
        }
        ChainStatus::Broken(why) => {
            let remedy =
                "keep a copy of the log, which is evidence, then run `masker audit verify`, and go on as the page says";
            Finding::error(CHECK, FindingId::AuditLogBroken, format!("the chain does not verify: {why}"), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Severity, keys::KeyPlace, units::InstalledUnits};

    #[test]
    fn judges_the_result_of_verifying() {
        let keys = KeyFacts::gather(KeyPlace::Unknown, &[], &InstalledUnits::default());
        let judged = |chain| {
            let room = Ok(FreeSpace { free: 1 << 40, free_files: 1 << 20, files: 1 << 20 });
            let log = AuditLogFacts {
                directory: PathStatus::Missing,
                room,
                size: 1,
                chain,
                condition: None,
                unit_mode: None,
            };
            judge_chain(Path::new("/a"), &log, &keys, true, false).status
        };
        assert_eq!(judged(ChainStatus::Missing), Severity::Ok);
        assert_eq!(judged(ChainStatus::NoKey), Severity::NotChecked);
        assert_eq!(judged(ChainStatus::Unreadable("x".into())), Severity::NotChecked);
        let torn = TornTail { segment: "audit-1".into(), line: 7, bytes: 12 };
        assert_eq!(judged(ChainStatus::Torn(torn)), Severity::Ok);
        assert_eq!(judged(ChainStatus::OtherKey("x".into())), Severity::Error);
        assert_eq!(judged(ChainStatus::KeyOrLog("x".into())), Severity::Error);
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
