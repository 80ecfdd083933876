//! Reading events back, for people who look something up. It verifies nothing: that is what verification is for.

use std::{io, path::Path};

use jiff::Timestamp;

use super::{
    chain::{EventFields, ParsedLine},
    segment::{self, NextLine, Segment, SegmentLines, is_damage},
};
use masker_types::limits::{AUDIT_EVENTS_PER_READ_MAX, AUDIT_READ_BYTES_MAX};

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Of this caller.
    pub caller: Option<String>,
    /// This operation.
    pub op: Option<String>,
    /// After the event with this number.
    pub after: u64,
    /// So many at most.
    pub limit: usize,
}

/// Events, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// Their texts, as they stand in the log.
    pub events: Vec<String>,
    /// The last event that was looked at, whether it was wanted or not: the next page is what comes after it.
    pub last: u64,
    /// Whether there is more to be looked at now.
    pub more: bool,
}

/// Why events were not read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the audit log: {0}")]
pub struct ReadError(#[from] io::Error);

/// Reads the events of a directory that a query asks for: of a long log a part, so that no call takes for ever. Lines
/// that are none are passed over, and so is what cannot be unpacked.
///
/// # Errors
/// [`ReadError`], where a file cannot be read.
pub fn read(directory: &Path, query: &EventQuery) -> Result<EventPage, ReadError> {
    let segments = segment::list(directory)?.segments;
    let mut page = EventPage { events: Vec::new(), last: query.after, more: false };
    let mut room = ReadBudget { events: AUDIT_EVENTS_PER_READ_MAX, bytes: AUDIT_READ_BYTES_MAX };
    for (index, segment) in segments.iter().enumerate() {
        if let Some(next) = segments.get(index + 1) {
            let all_before = query.since.is_some_and(|since| next.name.begun < since);
            if all_before || first_number(next)?.is_some_and(|number| number <= query.after.saturating_add(1)) {
                continue;
            }
        }
        read_segment(segment, query, &mut page, &mut room)?;
        if page.more {
            break;
        }
    }
    Ok(page)
}

/// What a call may still do.
struct ReadBudget {
    events: usize,
    bytes: usize,
}

/// Adds what is wanted of a segment.
fn read_segment(segment: &Segment, query: &EventQuery, page: &mut EventPage, room: &mut ReadBudget) -> io::Result<()> {
    let mut text = Vec::new();
    let mut lines = match SegmentLines::open(&segment.path, segment.compressed) {
        // Its time was over since the directory was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if is_damage(&error) => return Ok(()),
        opened => opened?,
    };
    loop {
        match lines.next(&mut text) {
            Ok(NextLine::Line) => {}
            // A last line without an end is still being written.
            Ok(_) => return Ok(()),
            Err(error) if is_damage(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let Some(line) = ParsedLine::parse(&text).filter(|line| line.facts.seq > query.after) else { continue };
        let wanted = query.wants(&line.facts);
        if room.events == 0 || (wanted && (page.events.len() == query.limit || room.bytes == 0)) {
            page.more = true;
            return Ok(());
        }
        room.events -= 1;
        page.last = page.last.max(line.facts.seq);
        if wanted {
            room.bytes = room.bytes.saturating_sub(line.event.len());
            page.events.push(String::from_utf8_lossy(line.event).into_owned());
        }
    }
}

/// The number of a segment's first event, where it can be told.
fn first_number(segment: &Segment) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    let next = SegmentLines::open(&segment.path, segment.compressed).and_then(|mut lines| lines.next(&mut text));
    Ok(match next {
        Ok(NextLine::Line) => ParsedLine::parse(&text).map(|line| line.facts.seq),
        Ok(_) => None,
        Err(error) if is_damage(&error) || error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    })
}

impl EventQuery {
    fn wants(&self, facts: &EventFields<'_>) -> bool {
        let time = || facts.time.parse::<Timestamp>().ok();
        self.op.as_ref().is_none_or(|op| *op == facts.op)
            && self.caller.as_ref().is_none_or(|name| facts.caller.as_ref().is_some_and(|caller| caller.name == *name))
            && self.since.is_none_or(|since| time().is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time().is_some_and(|time| time < until))
    }
}
