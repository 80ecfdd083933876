//! Recovery at the start: reads the last segments, and decides where the log continues.
//!
//! Recovery changes one thing only. Bytes after the last line end of the last segment, or a malformed last line, are what a
//! power cut leaves of a write. They are removed, and an event records how many. Everything else that does not verify was
//! done by someone or by a damaged disk. It stays as evidence, and the log continues in a new segment whose first line
//! records the break.

use std::{fs, io, path::Path};

use super::{
    chain::{ChainHead, ChainVerifier, KeyCheck, LineError, VerifiedLine},
    event::AuditOperation,
    segment::{self, DirectoryListing, NextLine, Segment, SegmentLines, is_damage},
    trusted_time::TrustedTime,
    writer::LogPosition,
};
use jiff::Timestamp;
use masker_core::crypto::ChainKey;

/// The result of the recovery.
pub(super) struct RecoveredLog {
    /// Where the log continues.
    pub(super) position: LogPosition,
    /// What was removed.
    pub(super) torn_tail: Option<TornTail>,
    /// A break that was found for the first time.
    pub(super) broken: Option<ChainBreak>,
    /// Whether the last event is an orderly stop.
    pub(super) stopped: bool,
    /// Whether the anchor is in a segment that was removed.
    anchor_is_too_old: bool,
}

/// A torn last line, which recovery removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The name of the segment.
    pub segment: String,
    /// The number of the line, from 1.
    pub line: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Returns the torn last line of a log, which the next start removes. Changes nothing and takes no lock: while a daemon writes
/// the log, it may be a line that is being written. Blocks.
///
/// # Errors
/// An I/O error if the log cannot be read.
pub fn torn_tail(directory: &Path, key: &ChainKey) -> io::Result<Option<TornTail>> {
    for segment in segment::list(directory)?.segments.iter().rev() {
        let examined = examine(segment, key, 0)?;
        if examined.torn && !segment.compressed {
            let bytes = fs::metadata(&segment.path)?.len().saturating_sub(examined.bytes);
            let line = examined.invalid.map_or(0, |(line, _)| line);
            return Ok(Some(TornTail { segment: segment.name.to_string(), line, bytes }));
        }
        if examined.head.is_some() || examined.invalid.is_some() {
            break;
        }
        // Without a line, the end of the log is in the segment before.
    }
    Ok(None)
}

/// The first line that does not verify.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChainBreak {
    pub(super) segment: String,
    pub(super) line: u64,
    pub(super) why: LineError,
}

impl RecoveredLog {
    /// Returns the messages for the operator.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(TornTail { segment, bytes, .. }) = &self.torn_tail {
            notes.push(format!("a torn last line of {bytes} bytes was removed from the audit log's segment {segment}"));
        }
        if let Some(ChainBreak { segment, .. }) = &self.broken
            && segment.is_empty()
        {
            let note = "the audit log's chain is broken: it was cut. Its directory has no event, but the vault has noted one of an earlier log";
            notes.push(note.into());
        } else if let Some(ChainBreak { segment, line, why }) = &self.broken {
            notes.push(format!("the audit log's chain is broken: segment {segment}, line {line}: {why}"));
        }
        if self.anchor_is_too_old {
            notes.push("the audit event that the vault noted last was in a segment that is removed by now".into());
        }
        notes
    }
}

/// The result of reading a whole segment.
#[derive(Default)]
struct ExaminedSegment {
    /// The last event before the segment; `None` if no line verifies.
    previous: Option<ChainHead>,
    /// The last event that verifies.
    head: Option<ChainHead>,
    /// Whether the first line says that the chain is broken.
    starts_broken: bool,
    /// Whether the chain is broken, and no event up to the last line accepts the break.
    unresolved_break: bool,
    /// The time that the segment vouches for.
    trusted_time: Option<TrustedTime>,
    /// When it began.
    begun: Option<Timestamp>,
    /// Whether the last line closes the segment.
    closed: bool,
    /// Whether the last line is that of an orderly stop.
    stopped: bool,
    /// The bytes of the lines that verify.
    bytes: u64,
    /// The number of whole lines, whether they verify or not.
    lines: u64,
    /// The first line that does not verify.
    invalid: Option<(u64, LineError)>,
    /// Whether that line is the last one, and is what a power cut leaves.
    torn: bool,
    /// The hash of the event with the number of the anchor.
    anchor_hash: Option<[u8; 32]>,
}

/// Reads the segments, removes a torn last line, and compares the chain with `anchor`, an event that was noted elsewhere.
pub(super) fn recover(
    directory: &Path,
    key: &ChainKey,
    listing: DirectoryListing,
    anchor: Option<ChainHead>,
) -> io::Result<RecoveredLog> {
    for unfinished in &listing.unfinished {
        fs::remove_file(unfinished)?;
    }
    let anchor = anchor.unwrap_or(ChainHead::GENESIS);
    let mut segments = listing.segments;
    let mut torn_tail = None;
    while let Some(last) = segments.last() {
        let examined = examine(last, key, anchor.sequence)?;
        let torn = examined.torn && !last.compressed;
        if torn || (examined.head.is_none() && examined.invalid.is_none()) {
            let bytes = truncate_tail(last, examined.bytes)?;
            if bytes > 0 {
                let line = examined.invalid.map_or(0, |(line, _)| line);
                torn_tail = Some(TornTail { segment: last.name.to_string(), line, bytes });
            }
            if examined.head.is_none() {
                // The segment has no first line, so the one before it is the last one.
                fs::remove_file(&last.path)?;
                masker_files::sync_directory(directory)?;
                segments.pop();
                continue;
            }
        }
        let mut invalid = examined.invalid.filter(|_| !torn);
        if let Some((_, why @ LineError::OtherKey)) = &mut invalid {
            for earlier in segments.iter().rev().skip(1) {
                if segment_opening(earlier, key)?.is_some() {
                    *why = LineError::OtherKeyHere;
                    break;
                }
            }
        }
        let broken = invalid.map(|(line, why)| ChainBreak { segment: last.name.to_string(), line, why });
        return resume_segment(key, &segments, examined, torn_tail, broken, anchor);
    }
    let broken = (anchor.sequence > 0).then(|| ChainBreak { segment: String::new(), line: 0, why: LineError::Cut });
    let unresolved_break = broken.is_some();
    let position =
        LogPosition { head: anchor, last: None, open: None, unresolved_break, trusted_time: None, begun: None };
    Ok(RecoveredLog { position, torn_tail, broken, stopped: false, anchor_is_too_old: false })
}

/// Decides where the log continues after the last of `segments`, which is `examined`.
fn resume_segment(
    key: &ChainKey,
    segments: &[Segment],
    examined: ExaminedSegment,
    torn_tail: Option<TornTail>,
    broken: Option<ChainBreak>,
    anchor: ChainHead,
) -> io::Result<RecoveredLog> {
    let last = segments.last().map(|segment| (segment.name, segment.compressed));
    let mut anchor_is_too_old = false;
    let broken = match broken {
        Some(broken) => Some(broken),
        None => match check_anchor(key, segments, &examined, anchor)? {
            AnchorCheck::Present => None,
            AnchorCheck::TooOld => {
                anchor_is_too_old = true;
                None
            }
            AnchorCheck::Broken(broken) => Some(broken),
        },
    };
    let end = examined.head.unwrap_or(ChainHead::GENESIS);
    let trusted_time = examined.trusted_time.as_ref().map(TrustedTime::get);
    let position = if broken.is_some() {
        // The invalid lines may have numbers up to this one, and no number is used twice.
        let sequence = end.sequence.max(examined.previous.unwrap_or(end).sequence + examined.lines);
        let head = if anchor.sequence > sequence { anchor } else { ChainHead { sequence, ..end } };
        LogPosition {
            head,
            last: last.map(|(name, _)| name),
            open: None,
            unresolved_break: true,
            trusted_time,
            begun: None,
        }
    } else {
        let open = last.filter(|(_, compressed)| !compressed && !examined.closed).map(|_| examined.bytes);
        let unresolved_break = examined.unresolved_break;
        let (last, begun) = (last.map(|(name, _)| name), examined.begun);
        LogPosition { head: end, last, open, unresolved_break, trusted_time, begun }
    };
    Ok(RecoveredLog { position, torn_tail, broken, stopped: examined.stopped, anchor_is_too_old })
}

/// Whether the chain has the anchor.
enum AnchorCheck {
    /// The chain has it.
    Present,
    /// Its segment was removed.
    TooOld,
    /// It is missing or another event has its number.
    Broken(ChainBreak),
}

/// Looks for the anchor in the last segment, which was examined, and in those before it.
fn check_anchor(
    key: &ChainKey,
    segments: &[Segment],
    last: &ExaminedSegment,
    anchor: ChainHead,
) -> io::Result<AnchorCheck> {
    let Some((name, earlier)) = segments.split_last().map(|(segment, earlier)| (segment.name.to_string(), earlier))
    else {
        return Ok(AnchorCheck::Present);
    };
    if last.head.is_none_or(|head| head.sequence < anchor.sequence) {
        return Ok(AnchorCheck::Broken(ChainBreak { segment: name, line: last.lines, why: LineError::Cut }));
    }
    let check = |segment: String, line, hash| {
        let why = LineError::Replaced { sequence: anchor.sequence };
        if hash == anchor.hash { AnchorCheck::Present } else { AnchorCheck::Broken(ChainBreak { segment, line, why }) }
    };
    let (Some(mut previous), mut name, mut known_break) = (last.previous, name, last.starts_broken) else {
        return Ok(AnchorCheck::Present);
    };
    if previous.sequence < anchor.sequence {
        let hash = last.anchor_hash.unwrap_or_default();
        return Ok(check(name, anchor.sequence - previous.sequence, hash));
    }
    let mut earlier = earlier.iter().rev();
    while previous.sequence > anchor.sequence {
        // A break above a known break was reported when that one was found.
        let (Some(segment), false) = (earlier.next(), known_break) else {
            return Ok(if known_break || anchor.sequence == 0 { AnchorCheck::Present } else { AnchorCheck::TooOld });
        };
        name = segment.name.to_string();
        let opening = segment_opening(segment, key)?;
        known_break = opening.is_some_and(|(_, known_break)| known_break);
        match opening {
            Some((before, _)) if before.sequence >= anchor.sequence => previous = before,
            _ => {
                let examined = examine(segment, key, anchor.sequence)?;
                return Ok(match (examined.invalid, examined.anchor_hash) {
                    (_, Some(hash)) => {
                        let line = anchor.sequence - examined.previous.unwrap_or(ChainHead::GENESIS).sequence;
                        check(name, line, hash)
                    }
                    // Later segments have verified under the key.
                    (Some((line, LineError::OtherKey)), None) => {
                        AnchorCheck::Broken(ChainBreak { segment: name, line, why: LineError::OtherKeyHere })
                    }
                    (Some((line, why)), None) => AnchorCheck::Broken(ChainBreak { segment: name, line, why }),
                    (None, None) => {
                        AnchorCheck::Broken(ChainBreak { segment: name, line: examined.lines, why: LineError::Cut })
                    }
                });
            }
        }
    }
    Ok(if known_break { AnchorCheck::Present } else { check(name, 1, previous.hash) })
}

/// Returns the last event before a segment, and whether the chain was known to be broken then. `None` if the first line does
/// not verify.
fn segment_opening(segment: &Segment, key: &ChainKey) -> io::Result<Option<(ChainHead, bool)>> {
    let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
    match lines.next(&mut text) {
        Err(error) if !is_damage(&error) => Err(error),
        Ok(NextLine::Line) => {
            let line = ChainVerifier::new(key, false).verify_line(&text).ok();
            Ok(line.and_then(|line| line.opened).map(|opened| (opened.previous, opened.unresolved_break)))
        }
        _ => Ok(None),
    }
}

/// Reads a whole segment.
fn examine(segment: &Segment, key: &ChainKey, anchor_sequence: u64) -> io::Result<ExaminedSegment> {
    let mut examined = ExaminedSegment::default();
    let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
    let mut verifier = ChainVerifier::new(key, false);
    // Begun if the first line has another hash than under the key.
    let mut key_check: Option<KeyCheck<'_>> = None;
    loop {
        let next = match lines.next(&mut text) {
            Err(error) if !is_damage(&error) => return Err(error),
            next => next,
        };
        examined.lines = lines.count;
        let (line, why) = match next {
            Ok(NextLine::End) => break,
            Ok(NextLine::Line) if examined.invalid.is_some() => {
                examined.torn = false;
                key_check.iter_mut().for_each(|check| check.line(&text));
                continue;
            }
            Ok(NextLine::Line) => match verifier.verify_line(&text) {
                Ok(line) => {
                    examined.add(&line, lines.bytes, anchor_sequence);
                    continue;
                }
                Err(why) => (lines.count, why),
            },
            Ok(NextLine::Torn) => (lines.count + 1, LineError::Torn),
            Ok(NextLine::TooLong) => (lines.count + 1, LineError::Malformed),
            Err(error) => (lines.count + 1, LineError::of_damage(&error)),
        };
        // A last line without a line end, or a malformed one, unless another line follows.
        let ends = line > lines.count;
        examined.torn =
            examined.invalid.is_none() && (why == LineError::Torn || (why == LineError::Malformed && !ends));
        if examined.invalid.is_none() && (line, why) == (1, LineError::Changed) {
            key_check = Some(KeyCheck::after(&text, key));
        }
        examined.invalid = examined.invalid.or(Some((line, why)));
        if ends {
            break;
        }
    }
    if key_check.is_some_and(|check| !check.has_match) {
        examined.invalid = Some((1, LineError::OtherKey));
    }
    Ok(examined)
}

impl ExaminedSegment {
    /// Adds a verified line, whose end is at `bytes`.
    fn add(&mut self, line: &VerifiedLine<'_>, bytes: u64, anchor_sequence: u64) {
        if let Ok(time) = line.fields.time.parse() {
            self.add_time(line, time);
        }
        if let Some(opened) = line.opened {
            self.previous = self.previous.or(Some(opened.previous));
            self.starts_broken = opened.unresolved_break;
            self.unresolved_break = opened.unresolved_break;
        }
        self.unresolved_break &= !line.is(AuditOperation::BreakAccepted);
        self.closed = line.is(AuditOperation::SegmentClosed);
        self.stopped = line.is(AuditOperation::Stop);
        self.head = Some(line.head);
        self.bytes = bytes;
        if line.head.sequence == anchor_sequence {
            self.anchor_hash = Some(line.head.hash);
        }
    }
}

impl ExaminedSegment {
    fn add_time(&mut self, line: &VerifiedLine<'_>, time: Timestamp) {
        if line.opened.is_some() {
            self.begun = Some(time);
        }
        TrustedTime::follow(&mut self.trusted_time, line, time);
    }
}

/// Truncates a segment to `bytes`, durably. Returns how many bytes were removed.
fn truncate_tail(segment: &Segment, bytes: u64) -> io::Result<u64> {
    let file = segment::append_to(&segment.path)?;
    let length = file.metadata()?.len();
    file.set_len(bytes)?;
    file.sync_all()?;
    Ok(length.saturating_sub(bytes))
}
