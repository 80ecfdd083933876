//! What is wrong with a log that an operator can accept: a break in its chain, or a clock that has jumped.

use std::path::Path;

use jiff::Timestamp;

use super::{
    chain::{ChainVerifier, VerifiedLine},
    error::AuditOpenError,
    event::AuditOperation,
    segment::{self, Segment, SegmentLines},
    trusted_time::TrustedTime,
    vault::latest_position,
};
use masker_core::crypto::{ChainKey, SecretKey};
use masker_types::vault_position::VaultPosition;
use serde::Deserialize;

/// The condition of a log, by the lines that verify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCondition {
    /// The latest break of the chain, unless it was accepted.
    pub broken: Option<BreakPlace>,
    /// The time of the last event whose time is trusted.
    pub trusted_time: Option<Timestamp>,
    /// The latest position of the vault.
    pub vault: Option<VaultPosition>,
}

/// The place of a break, as the log has recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BreakPlace {
    /// The name of the segment.
    pub segment: String,
    /// The line, from 1; 0 if the whole segment is not what it was.
    #[serde(default)]
    pub line: u64,
}

impl LogCondition {
    /// Returns whether a clock that shows `now` is near enough to the last event to decide what is old enough to delete.
    pub fn trusts(&self, now: Timestamp) -> bool {
        self.trusted_time.is_none_or(|time| TrustedTime::new(time).accepts(now))
    }
}

/// Reads the condition of the log in a directory. Changes nothing and takes no lock, so that it can also be called while a
/// daemon writes the log. Blocks.
///
/// # Errors
/// [`AuditOpenError`] if the log cannot be read.
pub fn condition(directory: &Path, key: &SecretKey) -> Result<LogCondition, AuditOpenError> {
    let key = ChainKey::new(key)?;
    if !directory.try_exists().unwrap_or(true) {
        return Ok(LogCondition::default());
    }
    let failed = |source| AuditOpenError::Io { path: directory.to_owned(), operation: "read", source };
    let segments = segment::list(directory).map_err(failed)?.segments;
    let mut condition =
        LogCondition { vault: latest_position(&segments, &key).map_err(failed)?, ..LogCondition::default() };
    let mut is_latest = true;
    for segment in segments.iter().rev() {
        let Some(found) = SegmentCondition::read(segment, &key).map_err(failed)? else { continue };
        if is_latest {
            condition.trusted_time = found.trusted_time.as_ref().map(TrustedTime::get);
            is_latest = false;
        }
        match found.broken {
            Broken::At(place) => condition.broken = Some(place),
            Broken::Earlier => continue,
            Broken::No => {}
        }
        break;
    }
    Ok(condition)
}

/// Where the chain is broken, by the end of a segment.
enum Broken {
    No,
    /// A line of the segment says where.
    At(BreakPlace),
    /// An earlier segment says where.
    Earlier,
}

struct SegmentCondition {
    broken: Broken,
    trusted_time: Option<TrustedTime>,
}

impl SegmentCondition {
    /// Reads the lines of a segment that verify after what the line before states. `None` if no line does.
    fn read(segment: &Segment, key: &ChainKey) -> std::io::Result<Option<Self>> {
        let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
        let mut verifier = ChainVerifier::new(key, false);
        let mut condition: Option<Self> = None;
        while lines.next_whole(&mut text)? {
            let begun = || SegmentCondition { broken: Broken::No, trusted_time: None };
            match verifier.verify_line(&text) {
                Ok(line) => condition.get_or_insert_with(begun).add(&line),
                Err(_) => verifier.resume_after(&text),
            }
        }
        Ok(condition)
    }

    fn add(&mut self, line: &VerifiedLine<'_>) {
        if let Some(opened) = line.opened {
            self.broken = if opened.unresolved_break { Broken::Earlier } else { Broken::No };
        }
        if line.is(AuditOperation::ChainBroken) {
            let place = line.detail::<BreakPlace>().unwrap_or(BreakPlace { segment: String::new(), line: 0 });
            self.broken = Broken::At(place);
        } else if line.is(AuditOperation::BreakAccepted) {
            self.broken = Broken::No;
        }
        if let Ok(time) = line.fields.time.parse() {
            TrustedTime::follow(&mut self.trusted_time, line, time);
        }
    }
}
