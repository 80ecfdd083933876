//! Queries of events. They do not verify the chain; see `verify` for that.

use std::{io, path::Path};

use jiff::Timestamp;

use super::{
    chain::{EventFields, ParsedLine},
    segment::{self, NextLine, Segment, SegmentLines, is_damage},
};
use masker_types::limits::{AUDIT_EVENTS_PER_READ_MAX, AUDIT_READ_BYTES_MAX};

/// The events that a query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// With this caller.
    pub caller: Option<String>,
    /// With this operation.
    pub op: Option<String>,
    /// After the event with this number.
    pub after: u64,
    /// At most this many.
    pub limit: usize,
}

/// Events, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// Their texts, as in the log.
    pub events: Vec<String>,
    /// The last event that was read, whether it matched or not: the next page begins after it.
    pub last: u64,
    /// Whether there are more events to read now.
    pub more: bool,
}

/// Why events were not read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the audit log: {0}")]
pub struct ReadError(#[from] io::Error);

/// Reads the matching events of a log, up to a limit of events and bytes for each call. Skips malformed lines and the rest
/// of damaged files.
///
/// # Errors
/// [`ReadError`] if a file cannot be read.
pub fn read(directory: &Path, query: &EventQuery) -> Result<EventPage, ReadError> {
    let segments = segment::list(directory)?.segments;
    let mut page = EventPage { events: Vec::new(), last: query.after, more: false };
    let mut budget = ReadBudget { events: AUDIT_EVENTS_PER_READ_MAX, bytes: AUDIT_READ_BYTES_MAX };
    for (index, segment) in segments.iter().enumerate() {
        if let Some(next) = segments.get(index + 1) {
            let all_before = query.since.is_some_and(|since| next.name.begun < since);
            if all_before || first_number(next)?.is_some_and(|number| number <= query.after.saturating_add(1)) {
                continue;
            }
        }
        read_segment(segment, query, &mut page, &mut budget)?;
        if page.more {
            break;
        }
    }
    Ok(page)
}

/// What a call may still read.
struct ReadBudget {
    events: usize,
    bytes: usize,
}

/// Adds the matching events of a segment to the page.
fn read_segment(
    segment: &Segment,
    query: &EventQuery,
    page: &mut EventPage,
    budget: &mut ReadBudget,
) -> io::Result<()> {
    let mut text = Vec::new();
    let mut lines = match SegmentLines::open(&segment.path, segment.compressed) {
        // It was removed after the directory was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if is_damage(&error) => return Ok(()),
        opened => opened?,
    };
    // A last line without an end is still being written.
    while lines.next_whole(&mut text)? {
        let Some(line) = ParsedLine::parse(&text).filter(|line| line.fields.seq > query.after) else { continue };
        let matches = query.matches(&line.fields);
        if budget.events == 0 || (matches && (page.events.len() == query.limit || budget.bytes == 0)) {
            page.more = true;
            return Ok(());
        }
        budget.events -= 1;
        page.last = page.last.max(line.fields.seq);
        if matches {
            budget.bytes = budget.bytes.saturating_sub(line.event.len());
            page.events.push(String::from_utf8_lossy(line.event).into_owned());
        }
    }
    Ok(())
}

/// Returns the number of a segment's first event, if its first line is well-formed.
fn first_number(segment: &Segment) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    let next = SegmentLines::open(&segment.path, segment.compressed).and_then(|mut lines| lines.next(&mut text));
    Ok(match next {
        Ok(NextLine::Line) => ParsedLine::parse(&text).map(|line| line.fields.seq),
        Ok(_) => None,
        Err(error) if is_damage(&error) || error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    })
}

impl EventQuery {
    fn matches(&self, fields: &EventFields<'_>) -> bool {
        let time = || fields.time.parse::<Timestamp>().ok();
        self.op.as_ref().is_none_or(|op| *op == fields.op)
            && self.caller.as_ref().is_none_or(|name| fields.caller.as_ref().is_some_and(|caller| caller.name == *name))
            && self.since.is_none_or(|since| time().is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time().is_some_and(|time| time < until))
    }
}
