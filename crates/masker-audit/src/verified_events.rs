//! The events of a log that verify, for who repeats what they tell.

use std::{io, path::Path};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    chain::ChainVerifier,
    event::AuditOperation,
    segment::{self, SegmentLines, is_damage},
};
use masker_core::crypto::ChainKey;

/// What an event tells.
#[derive(Deserialize)]
pub struct VerifiedEvent {
    /// Its number.
    #[serde(rename = "seq")]
    pub sequence: u64,
    time: String,
    /// The name of its operation.
    op: String,
    /// `ok`, or the code of the failure.
    pub outcome: String,
    /// The id of the session that it is about.
    #[serde(default)]
    pub session: Option<String>,
    #[serde(default)]
    detail: Map<String, Value>,
}

impl VerifiedEvent {
    /// Returns the operation; `None` if a later release wrote the event.
    pub fn operation(&self) -> Option<AuditOperation> {
        AuditOperation::ALL.iter().find(|op| op.as_str() == self.op).copied()
    }

    /// Returns when it was written, in milliseconds of Unix time; 0 if that is not known.
    pub fn time_ms(&self) -> u64 {
        let time: Option<Timestamp> = self.time.parse().ok();
        time.and_then(|time| u64::try_from(time.as_millisecond()).ok()).unwrap_or(0)
    }

    /// Returns a detail that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.detail.get(name)?.as_str()
    }

    /// Returns a detail that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.detail.get(name)?.as_u64()
    }

    /// Returns the marks of erased records.
    pub fn erasure_marks(&self) -> impl Iterator<Item = [u8; 16]> {
        let marks = self.text("erased").unwrap_or_default().split(' ');
        marks.filter_map(|mark| HEXLOWER.decode(mark.as_bytes()).ok()?.try_into().ok())
    }

    /// Returns whether a detail is `true`.
    pub fn is_set(&self, name: &str) -> bool {
        self.detail.get(name).and_then(Value::as_bool) == Some(true)
    }
}

/// Reads the events of a log in their order, those whose lines verify after what the line before states. A line that was
/// changed does not hide those after it; whether there is one is for [`verify`](super::verify()) to find. Blocks.
///
/// # Errors
/// An I/O error if a segment cannot be read.
pub fn verified_events(directory: &Path, key: &ChainKey, mut visit: impl FnMut(VerifiedEvent)) -> io::Result<()> {
    let mut text = Vec::new();
    for segment in segment::list(directory)?.segments {
        let mut lines = match SegmentLines::open(&segment.path, segment.compressed) {
            Err(error) if is_damage(&error) => continue,
            opened => opened?,
        };
        let mut verifier = ChainVerifier::new(key, false);
        while lines.next_whole(&mut text)? {
            match verifier.verify_line(&text) {
                Ok(line) => {
                    if let Ok(event) = serde_json::from_slice(line.event) {
                        visit(event);
                    }
                }
                Err(_) => verifier.resume_after(&text),
            }
        }
    }
    Ok(())
}
