//! What the audit log has after a backup, as far as a restore repeats it.

use std::{path::Path, sync::Arc};

use masker_access::ApiKeyId;
use masker_audit::{AuditOperation, ChainHead, LogSource, VerifiedEvent, verified_events, verify};
use masker_core::crypto::{ChainKey, Fingerprint, SecretKey};
use masker_types::error_code::Code;
use masker_vault::{HoneytokenId, LaterChanges, LaterErasures, SessionId};

/// What the audit log tells of the time after a backup.
#[derive(Default)]
pub(super) struct LogFindings {
    pub(super) changes: LaterChanges,
    /// How many events it has after the backup; `None` if it cannot be compared with the backup.
    pub(super) events: Option<u64>,
    /// What an operator should know.
    pub(super) notes: Vec<String>,
}

/// The audit logs that a restore reads.
pub(super) struct Logs<'l> {
    /// The log of this host.
    pub(super) own: &'l Path,
    /// The copy in the backup. It has what happened while the backup was made. `None` if the rest of the backup is damaged.
    pub(super) copy: Option<&'l Path>,
    /// The head when the backup began.
    pub(super) head: Option<ChainHead>,
    /// When the backup began, in milliseconds of Unix time.
    pub(super) began_ms: u64,
}

/// Reads what happened after a backup. Without a log that verifies and has the head of the backup, it is not known which API keys
/// were revoked. Blocks.
///
/// # Errors
/// A message for the user, if a file of a log cannot be read.
pub(super) fn read(logs: &Logs<'_>, key: Option<&SecretKey>) -> Result<LogFindings, String> {
    let unknown = |why: String| LogFindings {
        changes: LaterChanges { keys_unknown: true, ..LaterChanges::default() },
        events: None,
        notes: vec![why],
    };
    let Some(key) = key else {
        return Ok(unknown(
            "there is no key of the audit log (MASKER_AUDIT_HMAC_KEY): what was revoked and erased after the backup is not known"
                .to_owned(),
        ));
    };
    let key = ChainKey::new(key).map_err(|error| error.to_string())?;
    let Some(head) = logs.head else {
        return Ok(unknown(
            "the backup was made without an audit log: what was revoked and erased after it is not known".to_owned(),
        ));
    };
    let compared = compare(logs.own, &key, head);
    let mut reading =
        LogReading { head, began_ms: logs.began_ms, is_comparable: compared.is_ok(), ..LogReading::new() };
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("failed to read the audit log in {path}: {error}")
    };
    if logs.own.is_dir() {
        verified_events(logs.own, &key, |event| reading.add(&event)).map_err(failed(logs.own))?;
    }
    let mut findings = match compared {
        Ok(_) => LogFindings { events: Some(reading.events), ..LogFindings::default() },
        Err(why) => {
            // What happened while the backup was made.
            if let Some(copy) = logs.copy {
                verified_events(copy, &key, |event| reading.add(&event)).map_err(failed(copy))?;
            }
            unknown(why)
        }
    };
    let LogReading { changes, erasures, notes, keys_unknown, .. } = reading;
    let keys_unknown = keys_unknown || findings.events.is_none() || logs.copy.is_none();
    if logs.copy.is_none() {
        let note = "only the export of the backup was used: its configuration, its policies and its copy of the audit log were not";
        findings.notes.push(note.to_owned());
    }
    findings.notes.extend(notes);
    let erasures = Arc::new(LaterErasures { key: Some(key), ..erasures });
    findings.changes = LaterChanges { erasures, keys_unknown, ..changes };
    Ok(findings)
}

/// Checks that a log verifies and has the head of the backup.
///
/// # Errors
/// A message for the user.
fn compare(log: &Path, key: &ChainKey, head: ChainHead) -> Result<(), String> {
    let shown = log.display();
    if !log.is_dir() {
        return Err(format!(
            "there is no audit log in {shown}: what was revoked and erased after the backup is not known"
        ));
    }
    let differs = |why: &dyn std::fmt::Display| {
        format!(
            "the audit log in {shown} cannot be compared with the backup: {why}. What was erased is repeated as far as lines of the \
             log verify"
        )
    };
    let log =
        verify(&LogSource::Directory(log.to_owned()), key, Some(&head.into())).map_err(|error| differs(&error))?;
    // Nothing says which events are missing there.
    match log.accepted_breaks.first() {
        Some(accepted) => Err(differs(&format_args!("it has an accepted break, {accepted}"))),
        None => Ok(()),
    }
}

/// Gathers what the events say.
struct LogReading {
    head: ChainHead,
    began_ms: u64,
    /// Whether the log has the head of the backup, so that the numbers of events tell what is later.
    is_comparable: bool,
    events: u64,
    changes: LaterChanges,
    erasures: LaterErasures,
    keys_unknown: bool,
    notes: Vec<String>,
    /// The vault of the last event that has one, and how often its control rows had changed.
    control: Option<(String, u64)>,
    /// Whether a rotation is running.
    is_rotating: bool,
    /// Whether records may have been moved to other keys after the backup.
    has_moved: bool,
}

impl LogReading {
    fn new() -> Self {
        LogReading {
            head: ChainHead::GENESIS,
            began_ms: 0,
            is_comparable: false,
            events: 0,
            changes: LaterChanges::default(),
            erasures: LaterErasures::default(),
            keys_unknown: false,
            notes: Vec::new(),
            control: None,
            is_rotating: false,
            has_moved: false,
        }
    }

    fn is_later(&self, event: &VerifiedEvent) -> bool {
        if self.is_comparable { event.sequence > self.head.sequence } else { event.time_ms() >= self.began_ms }
    }

    fn add(&mut self, event: &VerifiedEvent) {
        let position = event.text("vault_id").zip(event.number("vault_control_changes"));
        let position = position.map(|(vault, changes)| (vault.to_owned(), changes));
        let was_rotating = self.is_rotating;
        self.follow_rotations(event);
        if self.is_later(event) {
            self.events += 1;
            // One that was running when the backup was made counts until its end.
            self.has_moved |= was_rotating || self.is_rotating;
            self.add_later(event, position.as_ref());
        }
        self.control = position.or(self.control.take());
    }

    /// Notes the begin and the end of rotations. One whose end is in no event counts as running until another one ends.
    fn follow_rotations(&mut self, event: &VerifiedEvent) {
        if event.is_set("dry_run") {
            return;
        }
        match event.operation() {
            // A begin that failed to be stored may be stored.
            Some(AuditOperation::RotationBegin) if may_have_changed(&event.outcome) => self.is_rotating = true,
            Some(AuditOperation::RotationCancel) if event.outcome == "ok" => self.is_rotating = false,
            Some(AuditOperation::RotationEnd) => self.is_rotating = false,
            _ => {}
        }
    }

    fn add_later(&mut self, event: &VerifiedEvent, position: Option<&(String, u64)>) {
        use AuditOperation as Op;
        let is_done = event.outcome == "ok";
        // A change that failed to be stored was in force until the next start.
        let is_wanted = is_done || event.is_set("withdrawn_until_restart");
        match event.operation() {
            Some(Op::Forget) => {
                self.erasures.marks.extend(event.erasure_marks());
            }
            Some(Op::VaultPurge) if !event.is_set("dry_run") => self.add_purge(event),
            // It moves the records that the vault has of its values.
            Some(Op::VaultImport) => {
                // That of keys that changed meanwhile.
                let is_interrupted =
                    event.outcome == Code::KeyUnavailable.as_str() && event.number("imported").is_some();
                self.has_moved |= may_have_changed(&event.outcome) || is_interrupted;
            }
            Some(Op::ApiKeyRevoke) if is_wanted => {
                let Some(id) = event.text("api_key_id").and_then(ApiKeyId::parse) else { return };
                let with_descendants = event.number("descendants").is_some_and(|descendants| descendants > 0);
                match (is_done, with_descendants) {
                    (true, true) => self.changes.revoked_with_descendants.insert(id),
                    (true, false) => self.changes.revoked.insert(id),
                    (false, _) => self.changes.changed.insert(id),
                };
            }
            Some(Op::ApiKeyChange | Op::ApiKeyRotate) if is_wanted => {
                self.changes.changed.extend(event.text("api_key_id").and_then(ApiKeyId::parse));
            }
            Some(Op::HoneytokenRemove) if is_done => {
                self.changes.unmarked.extend(event.text("honeytoken_id").and_then(HoneytokenId::parse));
            }
            Some(Op::SessionClose) if is_done => {
                self.changes.closed.extend(event.session.as_deref().and_then(SessionId::parse));
            }
            Some(Op::Resumed) if event.number("lost").is_some_and(|lost| lost > 0) => {
                self.keys_unknown = true;
                self.notes.push(format!(
                    "{} events after the backup are in no log: repeat what was erased then, if you know of any",
                    event.number("lost").unwrap_or_default()
                ));
            }
            Some(Op::Unrecorded) => {
                let before = self.control.as_ref();
                let changed = before.zip(position).is_none_or(|(before, now)| before.0 == now.0 && before.1 != now.1);
                self.keys_unknown |= changed;
                self.notes.push(format!(
                    "event {} of the audit log tells of {} commits that it has no event of: repeat what was erased then, if you know \
                     of any",
                    event.sequence,
                    event.number("commits").unwrap_or_default()
                ));
            }
            _ => {}
        }
    }

    fn add_purge(&mut self, event: &VerifiedEvent) {
        // Other failures erased a part of what the operator wanted to be erased.
        if !may_have_changed(&event.outcome) {
            return;
        }
        if let Some(before_ms) = event.number("before_ms") {
            // What was minted after the purge is not of it.
            let before_ms = before_ms.min(event.time_ms());
            self.erasures.minted_before_ms = self.erasures.minted_before_ms.max(before_ms);
        }
        let Some(fingerprint) = event.text("key").and_then(Fingerprint::parse) else { return };
        if event.number("records") == Some(0) {
            return;
        }
        if self.has_moved {
            // Records of the backup that are under this key may have been moved before the purge, and so are not of it.
            self.notes.push(format!(
                "records under the key {fingerprint} were purged after the backup, and others were moved to other keys: the purge is \
                 not repeated, because the backup does not tell them apart"
            ));
        } else {
            self.erasures.sealed_under.insert(fingerprint);
        }
    }
}

/// Returns whether an operation with this outcome may have changed the vault: a failure of the store can come after a part of it.
/// Refusals come before it begins.
fn may_have_changed(outcome: &str) -> bool {
    let failures = [Code::VaultUnavailable, Code::Internal, Code::Overloaded];
    outcome == "ok" || failures.iter().any(|failure| failure.as_str() == outcome)
}
