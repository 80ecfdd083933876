//! Reading events back, for people who look something up. It verifies nothing: that is what verification is for.

use std::{io, path::Path};

use jiff::Timestamp;

use super::{
    chain::{Facts, Line},
    segment::{self, Lines, Next, Segment},
};

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
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
pub struct Page {
    /// Their texts, as they stand in the log.
    pub events: Vec<String>,
    /// After which event the next page begins; none where there are no more for now.
    pub next: Option<u64>,
}

/// Why events were not read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the audit log: {0}")]
pub struct ReadError(#[from] io::Error);

/// Reads the events of a directory that a query asks for. Lines that are none are passed over.
///
/// # Errors
/// [`ReadError`], where a file cannot be read.
pub fn read(directory: &Path, query: &Query) -> Result<Page, ReadError> {
    let segments = segment::list(directory)?.segments;
    let (mut page, mut text) = (Page { events: Vec::new(), next: None }, Vec::new());
    let mut last = query.after;
    for (index, segment) in segments.iter().enumerate() {
        if let Some(next) = segments.get(index + 1) {
            let all_before = query.since.is_some_and(|since| next.name.begun < since);
            if all_before || first_number(next)?.is_some_and(|number| number <= query.after.saturating_add(1)) {
                continue;
            }
        }
        let mut lines = Lines::open(&segment.path, segment.compressed)?;
        // A last line without an end is still being written.
        while let Next::Line = lines.next(&mut text)? {
            let Some(line) = Line::parse(&text) else { continue };
            if line.facts.seq <= query.after || !query.wants(&line.facts) {
                continue;
            }
            if page.events.len() == query.limit {
                page.next = Some(last);
                return Ok(page);
            }
            last = line.facts.seq;
            page.events.push(String::from_utf8_lossy(line.event).into_owned());
        }
    }
    Ok(page)
}

/// The number of a segment's first event, where it can be told.
fn first_number(segment: &Segment) -> io::Result<Option<u64>> {
    let (mut lines, mut text) = (Lines::open(&segment.path, segment.compressed)?, Vec::new());
    Ok(match lines.next(&mut text)? {
        Next::Line => Line::parse(&text).map(|line| line.facts.seq),
        _ => None,
    })
}

impl Query {
    fn wants(&self, facts: &Facts<'_>) -> bool {
        let time = || facts.time.parse::<Timestamp>().ok();
        self.op.as_ref().is_none_or(|op| *op == facts.op)
            && self.caller.as_ref().is_none_or(|name| facts.caller.as_ref().is_some_and(|caller| caller.name == *name))
            && self.since.is_none_or(|since| time().is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time().is_some_and(|time| time < until))
    }
}
