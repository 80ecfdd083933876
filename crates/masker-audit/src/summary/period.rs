//! Joins the segments of a log to the summary of a period.

use std::{collections::BTreeMap, io, path::Path};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use super::{
    reading::{ReadOptions, SegmentReading, read_segment},
    rollup,
    totals::{DayTotals, Summary},
};
use crate::{
    chain::ChainHead,
    segment::{self, Segment},
};
use masker_core::crypto::ChainKey;

/// A period: from a time on, before another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummaryPeriod {
    /// From this time on.
    pub since: Timestamp,
    /// Before this time.
    pub until: Timestamp,
}

impl SummaryPeriod {
    pub(super) fn contains(&self, time: Timestamp) -> bool {
        self.since <= time && time < self.until
    }

    /// Returns whether all of a day is in the period, or none of it; `None` if the period begins or ends on that day.
    fn covers(&self, day: &str) -> Option<bool> {
        let date: Date = day.parse().ok()?;
        let begin = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let end = begin.checked_add(24.hours()).ok()?;
        if self.since <= begin && end <= self.until {
            return Some(true);
        }
        (end <= self.since || self.until <= begin).then_some(false)
    }
}

/// Whether rollups may be used in place of the segments that they were made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollups {
    Use,
    Ignore,
}

/// Where the chain does not verify first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFailure {
    /// The segment.
    pub segment: String,
    /// The number of the line, from 1; 0 if no line is at fault.
    pub line: u64,
    /// The reason.
    pub why: String,
}

/// The summary of a period, and the verification of the log that it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct PeriodSummary {
    /// The summary of all events in the period that verify.
    pub total: Summary,
    /// The numbers of each day with events, by its date.
    pub days: BTreeMap<String, DayTotals>,
    /// The last event of the log.
    pub head: ChainHead,
    /// The number of verified events of the whole log.
    pub events: u64,
    /// The time of the first event that is left.
    pub first: Option<String>,
    /// The time of the last event.
    pub last: Option<String>,
    /// The last event before the first one that is left, if older segments were removed.
    pub removed_before: Option<ChainHead>,
    /// The number of segments.
    pub segments: u64,
    /// How many of them were read. Of the others, the rollup was used.
    pub segments_read: u64,
    /// How many closed segments have no rollup that can be used.
    pub rollups_missing: u64,
    /// Where the chain does not verify first; `None` if it verifies.
    pub failure: Option<ChainFailure>,
    /// How many lines do not verify. They are not summarized.
    pub failed_lines: u64,
}

/// Why a log was not summarized.
#[derive(Debug, thiserror::Error)]
#[error("failed to summarize the audit log: {0}")]
pub struct SummarizeError(#[from] io::Error);

/// The log that is summarized.
pub(crate) struct SummarizedLog<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) key: &'a ChainKey,
    /// An event that the log must have.
    pub(crate) expected: ChainHead,
    pub(crate) is_stopping: &'a dyn Fn() -> bool,
}

/// Verifies a log and summarizes a period of it.
pub(crate) fn summarize(
    log: &SummarizedLog<'_>,
    period: &SummaryPeriod,
    rollups: Rollups,
) -> Result<PeriodSummary, SummarizeError> {
    let segments = segment::list(log.directory)?.segments;
    let mut joined = JoinedLog::default();
    for (index, segment) in segments.iter().enumerate() {
        let is_open = index + 1 == segments.len();
        match summarize_segment(segment, is_open, log, period, rollups) {
            Ok(found) => joined.add(segment, found, log.expected),
            // The retention of the oldest segments has ended since they were listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && joined.summary.segments == 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(joined.finish(log.expected))
}

/// The summary of a segment, and where it is from.
struct FoundSegment {
    reading: SegmentReading,
    is_read: bool,
    /// Whether it has no rollup, and could have one.
    lacks_rollup: bool,
}

fn summarize_segment(
    segment: &Segment,
    is_open: bool,
    log: &SummarizedLog<'_>,
    period: &SummaryPeriod,
    rollups: Rollups,
) -> io::Result<FoundSegment> {
    if (log.is_stopping)() {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "the audit log is being closed"));
    }
    let kept = match rollups {
        Rollups::Use if !is_open => rollup::load(&segment.name, log.directory, log.key)?,
        Rollups::Use | Rollups::Ignore => None,
    };
    let lacks_rollup = kept.is_none() && !is_open && rollups == Rollups::Use;
    if let Some(mut summary) = kept {
        let days = summary.days.keys().map(|day| (day.clone(), period.covers(day))).collect::<Vec<_>>();
        if days.iter().all(|(_, covered)| covered.is_some()) {
            for (day, _) in days.iter().filter(|(_, covered)| *covered == Some(false)) {
                summary.days.remove(day);
            }
            let reading = SegmentReading { summary: Some(summary), failure: None, failed_lines: 0 };
            return Ok(FoundSegment { reading, is_read: false, lacks_rollup });
        }
    }
    let options = ReadOptions { key: log.key, period: Some(period), is_open, is_stopping: log.is_stopping };
    Ok(FoundSegment { reading: read_segment(segment, &options)?, is_read: true, lacks_rollup })
}

/// Makes the rollup of a closed segment from its lines, unless it has one. One thread at a time.
pub(crate) fn make_rollup(
    segment: &Segment,
    directory: &Path,
    key: &ChainKey,
    is_stopping: &dyn Fn() -> bool,
) -> io::Result<()> {
    if rollup::load(&segment.name, directory, key)?.is_some() {
        return Ok(());
    }
    let options = ReadOptions { key, period: None, is_open: false, is_stopping };
    let reading = match read_segment(segment, &options) {
        // It goes on at the next start.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
        reading => reading?,
    };
    match (reading.summary, reading.failure) {
        (Some(summary), None) => rollup::store(&segment.name, &summary, directory, key),
        // A segment that does not verify is read each time.
        _ => Ok(()),
    }
}

#[derive(Default)]
struct JoinedLog {
    summary: PeriodSummary,
    /// Whether the expected event was reached.
    reached: bool,
    removal_announced: bool,
    head: Option<ChainHead>,
}

impl Default for PeriodSummary {
    fn default() -> Self {
        PeriodSummary {
            total: Summary::default(),
            days: BTreeMap::new(),
            head: ChainHead::GENESIS,
            events: 0,
            first: None,
            last: None,
            removed_before: None,
            segments: 0,
            segments_read: 0,
            rollups_missing: 0,
            failure: None,
            failed_lines: 0,
        }
    }
}

impl JoinedLog {
    fn add(&mut self, segment: &Segment, found: FoundSegment, expected: ChainHead) {
        let SegmentReading { summary, failure, failed_lines } = found.reading;
        self.summary.segments += 1;
        self.summary.segments_read += u64::from(found.is_read);
        self.summary.rollups_missing += u64::from(found.lacks_rollup);
        self.summary.failed_lines += failed_lines;
        if let Some(failed) = failure {
            self.fail(segment, failed.line, failed.why);
        }
        let Some(read) = summary else { return };
        match self.head {
            Some(head) if head != read.previous => {
                let why = format!(
                    "changed: the segment continues event {}, which is not the one before it",
                    read.previous.sequence
                );
                self.fail(segment, 1, why);
            }
            None if read.previous.sequence > 0 => self.summary.removed_before = Some(read.previous),
            _ => {}
        }
        self.removal_announced |= self.summary.removed_before.is_some_and(|before| read.removed.contains(&before));
        self.reached |= (read.previous.sequence..=read.head.sequence).contains(&expected.sequence);
        if read.head.sequence == expected.sequence && read.head.hash != expected.hash {
            let why = format!("changed: another event {} was noted outside of the log", expected.sequence);
            self.fail(segment, 0, why);
        }
        self.head = Some(read.head);
        self.summary.head = read.head;
        self.summary.events += read.events;
        self.summary.first.get_or_insert(read.first);
        self.summary.last = Some(read.last);
        for (day, summary) in read.days {
            self.summary.days.entry(day).or_default().add(&summary);
            self.summary.total.add(summary);
        }
    }

    fn fail(&mut self, segment: &Segment, line: u64, why: String) {
        let segment = segment.name.to_string();
        self.summary.failure.get_or_insert(ChainFailure { segment, line, why });
    }

    fn finish(mut self, expected: ChainHead) -> PeriodSummary {
        let nowhere = |why: String| ChainFailure { segment: String::new(), line: 0, why };
        if !self.reached && expected != ChainHead::GENESIS {
            let why =
                format!("cut: event {} was noted outside of the log, and the log ends before it", expected.sequence);
            self.summary.failure.get_or_insert(nowhere(why));
        }
        if let Some(before) = self.summary.removed_before.filter(|_| !self.removal_announced) {
            let why = format!("missing: the events up to {}, whose removal no event announces", before.sequence);
            self.summary.failure.get_or_insert(nowhere(why));
        }
        self.summary
    }
}
