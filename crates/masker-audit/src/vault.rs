//! The vault whose changes a log records, and its positions in the log. To put an older copy of the vault in its place
//! unnoticed, one would have to change the log as well.

use std::{io, path::Path, sync::Arc};

use serde::Deserialize;

use super::{
    chain::{ChainVerifier, VerifiedLine},
    directory::LogDirectoryLock,
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
/// [`AuditOpenError`] if the log cannot be read, is in use, or was written with another key.
pub fn recorded_position(directory: &Path, key: &SecretKey) -> Result<Option<VaultPosition>, AuditOpenError> {
    find_position(directory, key, |_| true)
}

/// Returns the latest position that a log in this directory has of one vault, also if another vault has taken its place since.
/// Otherwise as [`recorded_position`].
///
/// # Errors
/// Those of [`recorded_position`].
pub fn recorded_position_of(
    directory: &Path,
    key: &SecretKey,
    vault_id: [u8; 16],
) -> Result<Option<VaultPosition>, AuditOpenError> {
    find_position(directory, key, |position| position.vault_id == vault_id)
}

fn find_position(
    directory: &Path,
    key: &SecretKey,
    counts: impl Fn(&VaultPosition) -> bool,
) -> Result<Option<VaultPosition>, AuditOpenError> {
    let key = ChainKey::new(key)?;
    if !directory.try_exists().unwrap_or(true) {
        return Ok(None);
    }
    let failed = |source| AuditOpenError::Io { path: directory.to_owned(), operation: "read", source };
    // Locked only while it is read: another process that writes it is the first thing to know.
    let (_lock, listing) = LogDirectoryLock::acquire(directory)?;
    let all = Positions::of(&listing.segments, &key, counts).map_err(failed)?;
    // Without its log, an older copy of the vault would be served, in which revoked API keys work.
    if all.lines > 0 && !all.has_verified {
        return Err(AuditOpenError::OtherKey { path: directory.to_owned() });
    }
    Ok(all.latest)
}

/// Returns the latest position in these segments.
pub(super) fn latest_position(segments: &[Segment], key: &ChainKey) -> io::Result<Option<VaultPosition>> {
    Ok(Positions::of(segments, key, |_| true)?.latest)
}

/// What the lines of segments say of a vault.
#[derive(Default)]
struct Positions {
    latest: Option<VaultPosition>,
    /// Number of whole lines.
    lines: u64,
    has_verified: bool,
}

impl Positions {
    /// Reads segments from the last one on, up to one with a position that counts.
    fn of(segments: &[Segment], key: &ChainKey, counts: impl Fn(&VaultPosition) -> bool) -> io::Result<Self> {
        let mut all = Positions::default();
        for segment in segments.iter().rev() {
            let in_segment =
                |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", segment.path.display()));
            all.read(segment, key, &counts).map_err(in_segment)?;
            if all.latest.is_some() {
                break;
            }
        }
        Ok(all)
    }

    /// Reads the positions that count in a segment. A line counts if it verifies after what the line before it states, so that
    /// one changed line, however long, does not hide those after it.
    fn read(&mut self, segment: &Segment, key: &ChainKey, counts: impl Fn(&VaultPosition) -> bool) -> io::Result<()> {
        let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
        let mut verifier = ChainVerifier::new(key, false);
        while lines.next_whole(&mut text)? {
            self.lines += 1;
            match verifier.verify_line(&text) {
                Ok(line) => {
                    self.has_verified = true;
                    self.latest = later(self.latest, line.vault_position().filter(&counts));
                }
                Err(_) => verifier.resume_after(&text),
            }
        }
        Ok(())
    }
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
