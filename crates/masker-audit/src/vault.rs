//! The vault whose changes a log records, and its positions in the log. To put an older copy of the vault in its place
//! unnoticed, one would have to change the log as well.

use std::{io, path::Path, sync::Arc};

use serde::Deserialize;

use super::{
    chain::{ChainVerifier, VerifiedLine},
    directory::DirectoryLock,
    error::AuditOpenError,
    event::DetailValue,
    segment::{Segment, SegmentLines},
};
use masker_core::crypto::{ChainKey, SecretKey};
use masker_types::vault_position::{ControlPosition, VaultId, VaultPosition};

/// Returns the vault's current position, at once.
pub type CurrentPosition = Arc<dyn Fn() -> VaultPosition + Send + Sync>;

/// The vault whose changes a log records.
#[derive(Clone)]
pub struct RecordedVault {
    /// The latest position that the log has of it, as [`recorded_position`] returned it.
    pub recorded: Option<VaultPosition>,
    /// Its position when it was opened.
    pub found: VaultPosition,
    /// How many commits an operator has just accepted as lost, if any.
    pub accepted_loss: Option<u64>,
    /// Its position now.
    pub current: CurrentPosition,
}

/// Returns the latest position of the vault that a log in this directory has; `None` if it has none, or if there is no
/// log. Lines that do not verify do not count. Blocks.
///
/// # Errors
/// [`AuditOpenError`] if the log cannot be read, or is in use.
pub fn recorded_position(directory: &Path, key: &SecretKey) -> Result<Option<VaultPosition>, AuditOpenError> {
    let key = ChainKey::new(key)?;
    if !directory.try_exists().unwrap_or(true) {
        return Ok(None);
    }
    // Locked only while it is read: another process that writes it is the first thing to know.
    let (_lock, listing) = DirectoryLock::acquire(directory)?;
    latest_position(&listing.segments, &key).map_err(|source| AuditOpenError::Io {
        path: directory.to_owned(),
        operation: "read",
        source,
    })
}

/// Returns the latest position in these segments.
pub(super) fn latest_position(segments: &[Segment], key: &ChainKey) -> io::Result<Option<VaultPosition>> {
    for segment in segments.iter().rev() {
        if let Some(position) = latest_position_in(segment, key)? {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

/// Returns the latest position in a segment. A line counts if it verifies after what the line before it states, so that one
/// changed line, however long, does not hide those after it.
fn latest_position_in(segment: &Segment, key: &ChainKey) -> io::Result<Option<VaultPosition>> {
    let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
    let mut verifier = ChainVerifier::new(key, false);
    let mut latest: Option<VaultPosition> = None;
    while lines.next_whole(&mut text)? {
        match verifier.verify_line(&text) {
            Ok(line) => latest = later(latest, line.vault_position()),
            Err(_) => verifier.resume_after(&text),
        }
    }
    Ok(latest)
}

/// Returns the later one of two positions. The last one of another vault counts, because an operator has accepted it.
fn later(latest: Option<VaultPosition>, next: Option<VaultPosition>) -> Option<VaultPosition> {
    match (latest, next) {
        (Some(latest), Some(next)) if latest.vault_id == next.vault_id && !next.is_after(&latest) => {
            // An event may have a commit without the control rows that it changed. A later event of the commit has them.
            let is_same = !latest.is_after(&next);
            let control = if is_same { latest.control.max(next.control) } else { latest.control };
            Some(VaultPosition { control, ..latest })
        }
        (latest, next) => next.or(latest),
    }
}

/// A position in the details of an event.
pub(super) struct PositionDetails {
    id: String,
    position: VaultPosition,
}

impl PositionDetails {
    pub(super) fn new(position: VaultPosition) -> Self {
        PositionDetails { id: VaultId(position.vault_id).to_string(), position }
    }

    /// Returns the details.
    pub(super) fn members(&self) -> [(&'static str, DetailValue<'_>); 5] {
        [
            ("vault_control_changes", DetailValue::Number(self.position.control.changes)),
            ("vault_control_epoch", DetailValue::Number(self.position.control.epoch)),
            ("vault_epoch", DetailValue::Number(self.position.epoch)),
            ("vault_id", DetailValue::Text(&self.id)),
            ("vault_sequence", DetailValue::Number(self.position.sequence)),
        ]
    }
}

/// The position among the details of an event.
#[derive(Deserialize)]
struct PositionFields {
    #[serde(default)]
    vault_control_changes: u64,
    #[serde(default)]
    vault_control_epoch: u64,
    vault_epoch: u64,
    vault_id: String,
    vault_sequence: u64,
}

impl VerifiedLine<'_> {
    /// Returns the position of the vault that the event has.
    pub(super) fn vault_position(&self) -> Option<VaultPosition> {
        if !self.operation()?.has_vault_position() {
            return None;
        }
        let PositionFields { vault_control_changes, vault_control_epoch, vault_epoch, vault_id, vault_sequence } =
            self.detail()?;
        let VaultId(vault_id) = VaultId::parse(&vault_id)?;
        let control = ControlPosition { epoch: vault_control_epoch, changes: vault_control_changes };
        Some(VaultPosition { vault_id, epoch: vault_epoch, sequence: vault_sequence, control })
    }
}
