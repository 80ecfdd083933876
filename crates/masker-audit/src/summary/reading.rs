//! Reads a segment, verifies it, and summarizes its events by day.

use std::{collections::BTreeMap, io};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    event::{Streams, SummarizedEvent},
    period::SummaryPeriod,
    totals::Summary,
};
use crate::{
    chain::{ChainHead, ChainVerifier, VerifiedLine},
    segment::{NextLine, Segment, SegmentLines, is_damage},
};
use masker_core::crypto::ChainKey;

/// How many lines are read between two looks at whether to stop.
const LINES_BETWEEN_LOOKS: u64 = 10_000;

/// What the verified lines of a segment say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SegmentSummary {
    /// The last event before the segment.
    pub(super) previous: ChainHead,
    /// The last event.
    pub(super) head: ChainHead,
    /// The number of events.
    pub(super) events: u64,
    /// The time of the first event.
    pub(super) first: String,
    /// The time of the last event.
    pub(super) last: String,
    /// The last events of segments whose removal is announced.
    pub(super) removed: Vec<ChainHead>,
    /// The summaries by day, such as `2026-03-01`.
    pub(super) days: BTreeMap<String, Summary>,
}

/// A line that does not verify.
pub(super) struct FailedLine {
    /// The number of the line, from 1.
    pub(super) line: u64,
    /// The reason.
    pub(super) why: String,
}

/// The result of reading a segment.
pub(super) struct SegmentReading {
    /// `None` if no line verifies.
    pub(super) summary: Option<SegmentSummary>,
    /// The first line that does not verify.
    pub(super) failure: Option<FailedLine>,
    /// How many lines do not verify.
    pub(super) failed_lines: u64,
}

/// What to read of a segment, and when to stop.
pub(super) struct ReadOptions<'a> {
    pub(super) key: &'a ChainKey,
    /// Which events to summarize; all if `None`.
    pub(super) period: Option<&'a SummaryPeriod>,
    /// Whether the log is still written to the segment.
    pub(super) is_open: bool,
    /// Whether to give up.
    pub(super) is_stopping: &'a dyn Fn() -> bool,
}

/// Reads a segment. Lines that do not verify are counted and passed over.
pub(super) fn read_segment(segment: &Segment, options: &ReadOptions<'_>) -> io::Result<SegmentReading> {
    let mut reading = SegmentReading { summary: None, failure: None, failed_lines: 0 };
    let mut lines = match SegmentLines::open(&segment.path, segment.compressed) {
        Err(error) if is_damage(&error) => {
            reading.fail(1, "changed: the compressed file is damaged from here on".to_owned());
            return Ok(reading);
        }
        opened => opened?,
    };
    let mut verifier = ChainVerifier::new(options.key, true);
    let (mut text, mut streams) = (Vec::new(), Streams::new());
    loop {
        if lines.count % LINES_BETWEEN_LOOKS == 0 && (options.is_stopping)() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the audit log is being closed"));
        }
        match lines.next(&mut text) {
            Ok(NextLine::Line) => match verifier.verify_line(&text) {
                Ok(line) => reading.add(&line, options.period, &mut streams),
                Err(why) => {
                    reading.fail(lines.count, why.to_string());
                    verifier.resume_after(&text);
                }
            },
            Ok(NextLine::End) => return Ok(reading),
            // The line that is being written.
            Ok(NextLine::Torn) if options.is_open => return Ok(reading),
            Ok(NextLine::Torn) => {
                reading.fail(lines.count + 1, "cut: the line is incomplete".to_owned());
                return Ok(reading);
            }
            Ok(NextLine::TooLong) => {
                reading.fail(lines.count + 1, "changed: it is not a line of an audit log".to_owned())
            }
            Err(error) if is_damage(&error) => {
                reading.fail(lines.count + 1, "changed: the compressed file is damaged from here on".to_owned());
                return Ok(reading);
            }
            Err(error) => return Err(error),
        }
    }
}

impl SegmentReading {
    fn fail(&mut self, line: u64, why: String) {
        self.failed_lines += 1;
        self.failure.get_or_insert(FailedLine { line, why });
    }

    fn add(&mut self, line: &VerifiedLine<'_>, period: Option<&SummaryPeriod>, streams: &mut Streams) {
        let summary = self.summary.get_or_insert_with(|| SegmentSummary {
            previous: line.opened.map_or(ChainHead::GENESIS, |opened| opened.previous),
            head: line.head,
            events: 0,
            first: line.fields.time.to_string(),
            last: String::new(),
            removed: Vec::new(),
            days: BTreeMap::new(),
        });
        summary.head = line.head;
        summary.events += 1;
        summary.last.clear();
        summary.last.push_str(&line.fields.time);
        summary.removed.extend(line.removed_head());
        // A later release may have events that this one does not understand. They verify, and are not summarized.
        let Ok(event) = serde_json::from_slice::<SummarizedEvent<'_>>(line.event) else { return };
        let is_in = |period: &SummaryPeriod| event.time.parse::<Timestamp>().is_ok_and(|time| period.contains(time));
        if period.is_none_or(is_in) {
            match summary.days.get_mut(event.day()) {
                Some(day) => event.add_to(streams, day),
                None => {
                    let day = event.day().to_owned();
                    event.add_to(streams, summary.days.entry(day).or_default());
                }
            }
        }
    }
}
