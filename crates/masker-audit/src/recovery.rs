//! Start-up: what is there, whether it is whole, and where the chain goes on.
//!
//! Of the log as it lies there one thing alone is changed: what stands after the last line end of the last segment, or a
//! last line that has not even the form of one, is what a power cut leaves of a write. It is cut off, and an event says
//! how much. Everything else that does not verify is somebody's doing or a damaged disk. It stays as evidence, and the log
//! goes on in a new segment, whose first line says so.

use std::{
    fs::{self, OpenOptions},
    io,
    path::Path,
};

use super::{
    chain::{ChainHead, ChainVerifier, LineError, VerifiedLine},
    event::AuditOperation,
    segment::{DirectoryListing, NextLine, Segment, SegmentLines, is_damage},
    writer::LogPosition,
};
use masker_core::crypto::ChainKey;

/// What was found at the start.
pub(super) struct RecoveredLog {
    /// Where the log goes on.
    pub(super) position: LogPosition,
    /// What was cut off.
    pub(super) cut: Option<TornTail>,
    /// Where the chain was found broken, this time.
    pub(super) broken: Option<ChainBreak>,
    /// Whether an end noted elsewhere is of a time that the log no longer covers.
    anchor_is_too_old: bool,
}

/// A torn last line.
pub(super) struct TornTail {
    pub(super) segment: String,
    pub(super) bytes: u64,
}

/// The first line that does not verify.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChainBreak {
    pub(super) segment: String,
    pub(super) line: u64,
    pub(super) why: LineError,
}

impl RecoveredLog {
    /// What the operator should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(TornTail { segment, bytes }) = &self.cut {
            notes.push(format!("a torn last line of {bytes} bytes was cut off the audit log's segment {segment}"));
        }
        if let Some(ChainBreak { segment, line, why }) = &self.broken {
            notes.push(format!("the audit log's chain is broken: segment {segment}, line {line}: {why}"));
        }
        if self.anchor_is_too_old {
            notes.push("the audit log was removed, for its age, past the end that the vault has noted".into());
        }
        notes
    }
}

/// One segment, read from its first line to its last.
struct ExaminedSegment {
    /// Where the chain stood before it; none where it has no line that verifies.
    previous: Option<ChainHead>,
    /// Where it stands after the last line that verifies.
    head: Option<ChainHead>,
    /// Whether its first line says that the chain is broken, and whether that holds at its last.
    starts_broken: bool,
    unresolved_break: bool,
    closed: bool,
    /// Bytes of lines that verify.
    bytes: u64,
    /// Whole lines, whether they verify or not.
    lines: u64,
    wrong: Option<(u64, LineError)>,
    /// Whether the first line that does not verify is all that is left.
    torn: bool,
    /// The hash of the event that was looked for.
    sought: Option<[u8; 32]>,
}

/// Reads what is there, cuts off what is torn, and compares with an end that was noted elsewhere.
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
    let mut cut = None;
    while let Some(last) = segments.last() {
        let examined = examine(last, key, anchor.sequence)?;
        let torn = examined.torn && !last.compressed;
        if torn || (examined.head.is_none() && examined.wrong.is_none()) {
            let bytes = truncate_tail(last, examined.bytes)?;
            if bytes > 0 {
                cut = Some(TornTail { segment: last.name.to_string(), bytes });
            }
            if examined.head.is_none() {
                // A segment that was never begun: the one before is the last.
                fs::remove_file(&last.path)?;
                masker_files::sync_directory(directory)?;
                segments.pop();
                continue;
            }
        }
        let wrong = examined.wrong.filter(|_| !torn);
        let broken = wrong.map(|(line, why)| ChainBreak { segment: last.name.to_string(), line, why });
        return resume_segment(key, &segments, examined, cut, broken, anchor);
    }
    let broken = (anchor.sequence > 0).then(|| ChainBreak { segment: String::new(), line: 0, why: LineError::Cut });
    let unresolved_break = broken.is_some();
    let position = LogPosition { head: anchor, last: None, open: None, unresolved_break };
    Ok(RecoveredLog { position, cut, broken, anchor_is_too_old: false })
}

/// Where the log goes on after the last of these segments.
fn resume_segment(
    key: &ChainKey,
    segments: &[Segment],
    examined: ExaminedSegment,
    cut: Option<TornTail>,
    broken: Option<ChainBreak>,
    anchor: ChainHead,
) -> io::Result<RecoveredLog> {
    let last = segments.last().map(|segment| (segment.name, segment.compressed));
    let mut anchor_is_too_old = false;
    let broken = match broken {
        Some(broken) => Some(broken),
        None => match compare(key, segments, &examined, anchor)? {
            AnchorCheck::There => None,
            AnchorCheck::TooOld => {
                anchor_is_too_old = true;
                None
            }
            AnchorCheck::Broken(broken) => Some(broken),
        },
    };
    let end = examined.head.unwrap_or(ChainHead::GENESIS);
    let position = if broken.is_some() {
        // No number is given twice, whatever the lines hold that do not verify.
        let sequence = end.sequence.max(examined.previous.unwrap_or(end).sequence + examined.lines);
        let head = if anchor.sequence > sequence { anchor } else { ChainHead { sequence, ..end } };
        LogPosition { head, last: last.map(|(name, _)| name), open: None, unresolved_break: true }
    } else {
        let open = last.filter(|(_, compressed)| !compressed && !examined.closed).map(|_| examined.bytes);
        let unresolved_break = examined.unresolved_break;
        LogPosition { head: end, last: last.map(|(name, _)| name), open, unresolved_break }
    };
    Ok(RecoveredLog { position, cut, broken, anchor_is_too_old })
}

/// What became of an end that was noted elsewhere.
enum AnchorCheck {
    There,
    /// The segments of its time were removed.
    TooOld,
    Broken(ChainBreak),
}

/// Looks for a noted end, in the last segment, which was read, and in those before it.
fn compare(key: &ChainKey, segments: &[Segment], last: &ExaminedSegment, anchor: ChainHead) -> io::Result<AnchorCheck> {
    let Some((name, earlier)) = segments.split_last().map(|(segment, earlier)| (segment.name.to_string(), earlier))
    else {
        return Ok(AnchorCheck::There);
    };
    if last.head.is_none_or(|head| head.sequence < anchor.sequence) {
        return Ok(AnchorCheck::Broken(ChainBreak { segment: name, line: last.lines, why: LineError::Cut }));
    }
    let verdict = |segment: String, line, hash| {
        let why = LineError::Replaced { sequence: anchor.sequence };
        if hash == anchor.hash { AnchorCheck::There } else { AnchorCheck::Broken(ChainBreak { segment, line, why }) }
    };
    let (Some(mut previous), mut name, mut known_break) = (last.previous, name, last.starts_broken) else {
        return Ok(AnchorCheck::There);
    };
    if previous.sequence < anchor.sequence {
        let hash = last.sought.unwrap_or_default();
        return Ok(verdict(name, anchor.sequence - previous.sequence, hash));
    }
    let mut earlier = earlier.iter().rev();
    while previous.sequence > anchor.sequence {
        // What is above a break was told when it was found.
        let (Some(segment), false) = (earlier.next(), known_break) else {
            return Ok(if known_break || anchor.sequence == 0 { AnchorCheck::There } else { AnchorCheck::TooOld });
        };
        name = segment.name.to_string();
        let begun = begun(segment, key)?;
        known_break = begun.is_some_and(|(_, known_break)| known_break);
        match begun {
            Some((before, _)) if before.sequence >= anchor.sequence => previous = before,
            _ => {
                let examined = examine(segment, key, anchor.sequence)?;
                return Ok(match (examined.wrong, examined.sought) {
                    (_, Some(hash)) => {
                        let line = anchor.sequence - examined.previous.unwrap_or(ChainHead::GENESIS).sequence;
                        verdict(name, line, hash)
                    }
                    (Some((line, why)), None) => AnchorCheck::Broken(ChainBreak { segment: name, line, why }),
                    (None, None) => {
                        AnchorCheck::Broken(ChainBreak { segment: name, line: examined.lines, why: LineError::Cut })
                    }
                });
            }
        }
    }
    Ok(if known_break { AnchorCheck::There } else { verdict(name, 1, previous.hash) })
}

/// Where the chain stood before a segment, and whether it was known to be broken; none where its first line does not
/// verify.
fn begun(segment: &Segment, key: &ChainKey) -> io::Result<Option<(ChainHead, bool)>> {
    let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
    match lines.next(&mut text) {
        Err(error) if !is_damage(&error) => Err(error),
        Ok(NextLine::Line) => {
            let line = ChainVerifier::new(key, false).follow(&text).ok();
            Ok(line.and_then(|line| line.opened).map(|opened| (opened.previous, opened.unresolved_break)))
        }
        _ => Ok(None),
    }
}

/// Reads a whole segment.
fn examine(segment: &Segment, key: &ChainKey, sought: u64) -> io::Result<ExaminedSegment> {
    let mut examined = ExaminedSegment {
        previous: None,
        head: None,
        starts_broken: false,
        unresolved_break: false,
        closed: false,
        bytes: 0,
        lines: 0,
        wrong: None,
        torn: false,
        sought: None,
    };
    let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
    let mut follower = ChainVerifier::new(key, false);
    loop {
        let next = match lines.next(&mut text) {
            Err(error) if !is_damage(&error) => return Err(error),
            next => next,
        };
        examined.lines = lines.count;
        let (line, why) = match next {
            Ok(NextLine::End) => return Ok(examined),
            Ok(NextLine::Line) if examined.wrong.is_some() => {
                examined.torn = false;
                continue;
            }
            Ok(NextLine::Line) => match follower.follow(&text) {
                Ok(line) => {
                    examined.take(&line, lines.bytes, sought);
                    continue;
                }
                Err(why) => (lines.count, why),
            },
            Ok(NextLine::Torn) => (lines.count + 1, LineError::Torn),
            Ok(NextLine::TooLong) => (lines.count + 1, LineError::Malformed),
            Err(_) => (lines.count + 1, LineError::Damaged),
        };
        // A last line without an end, or without the form of a line, until another comes.
        let ends = line > lines.count;
        examined.torn = examined.wrong.is_none() && (why == LineError::Torn || (why == LineError::Malformed && !ends));
        examined.wrong = examined.wrong.or(Some((line, why)));
        if ends {
            return Ok(examined);
        }
    }
}

impl ExaminedSegment {
    /// A line that verifies and ends after so many bytes.
    fn take(&mut self, line: &VerifiedLine<'_>, bytes: u64, sought: u64) {
        if let Some(opened) = line.opened {
            self.previous = self.previous.or(Some(opened.previous));
            self.starts_broken = opened.unresolved_break;
            self.unresolved_break = opened.unresolved_break;
        }
        self.unresolved_break &= !line.is(AuditOperation::BreakAccepted);
        self.closed = line.is(AuditOperation::SegmentClosed);
        self.head = Some(line.head);
        self.bytes = bytes;
        if line.head.sequence == sought {
            self.sought = Some(line.head.hash);
        }
    }
}

/// Cuts a segment to so many bytes, durably; how many were cut off.
fn truncate_tail(segment: &Segment, bytes: u64) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).open(&segment.path)?;
    let there = file.metadata()?.len();
    file.set_len(bytes)?;
    file.sync_all()?;
    Ok(there.saturating_sub(bytes))
}
