//! What happens to segments after they are closed: they are compressed and summarized, and removed when their retention ends.

use std::{fs, io, path::Path};

use jiff::{SignedDuration, Timestamp};

use super::{
    chain::{ChainHead, ChainVerifier, ParsedLine},
    event::{AuditOperation, DetailValue},
    segment::{self, NextLine, Segment, SegmentLines},
    state::LogState,
    summary,
    sync::lock,
};

/// Compresses closed segments and removes expired ones. What fails is left for the next run.
pub(super) fn run(state: &LogState) {
    if let Err(error) = compress_closed(state) {
        tracing::warn!(%error, "failed to compress a closed segment of the audit log; it stays uncompressed");
    }
    if let Err(error) = remove_expired(state) {
        tracing::warn!(%error, "failed to remove an expired segment of the audit log");
    }
    if let Err(error) = summarize_closed(state) {
        tracing::warn!(%error, "failed to write the rollup of a segment of the audit log; reports read the segment");
    }
}

/// Compresses the closed segments that are not compressed. Once the log is closing, the rest is left for the next start.
pub(super) fn compress_closed(state: &LogState) -> io::Result<()> {
    let current = state.flusher.output().writer.segment();
    for segment in segment::list(&state.directory)?.segments {
        if !segment.compressed && current.is_some_and(|current| segment.name.number < current.number) {
            if state.flusher.is_stopping() {
                return Ok(());
            }
            segment::compress(&segment.name, &state.directory)?;
            tracing::info!(segment = %segment.name, "a closed segment of the audit log was compressed");
        }
    }
    Ok(())
}

/// Makes the rollups of closed segments that have none, and removes those whose segment is gone. Once the log is closing, the
/// rest is left for the next start.
pub(super) fn summarize_closed(state: &LogState) -> io::Result<()> {
    let _summarizing = lock(&state.summarizing);
    let current = state.flusher.output().writer.segment();
    let listing = segment::list(&state.directory)?;
    for name in &listing.rollups {
        if !listing.segments.iter().any(|segment| segment.name == *name) {
            remove_if_present(&name.rollup(&state.directory))?;
        }
    }
    let is_stopping = || state.flusher.is_stopping();
    for segment in &listing.segments {
        if is_stopping() {
            return Ok(());
        }
        if current.is_some_and(|current| segment.name.number < current.number) {
            summary::make_rollup(segment, &state.directory, &state.key, &is_stopping)?;
        }
    }
    Ok(())
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes the expired segments, oldest first, each after an event about it is durable. The retention of a segment begins
/// at its end, which is when the next one began.
fn remove_expired(state: &LogState) -> io::Result<()> {
    let (now, trusted) = {
        let output = state.flusher.output();
        (output.writer.now(), output.writer.clock_is_trusted())
    };
    if !trusted {
        return Ok(());
    }
    let retention = SignedDuration::from_hours(24 * i64::from(state.retention_days));
    let segments = segment::list(&state.directory)?.segments;
    let ends = segment_ends(&segments, now)?;
    for (pair, end) in segments.windows(2).zip(ends) {
        let [segment, next] = pair else { continue };
        if now.duration_since(end) <= retention {
            break;
        }
        let head = previous_segment_head(state, next)?;
        let (name, head) = (segment.name.to_string(), head.to_string());
        let detail = [("head", DetailValue::Text(&head)), ("segment", DetailValue::Text(&name))];
        if !state.record_internal(AuditOperation::SegmentRemoved, &detail) {
            return Err(io::Error::other("the event about it could not be written"));
        }
        let directory = &state.directory;
        for path in [segment.name.rollup(directory), segment.name.plain(directory), segment.name.compressed(directory)]
        {
            remove_if_present(&path)?;
        }
        masker_files::sync_directory(&state.directory)?;
    }
    Ok(())
}

/// Returns when each segment but the last one ended: when one after it began. The time in a name never goes back, so after
/// a clock that was ahead, the first lines tell when the segments began.
fn segment_ends(segments: &[Segment], now: Timestamp) -> io::Result<Vec<Timestamp>> {
    let (mut ends, mut end) = (Vec::with_capacity(segments.len()), Timestamp::MAX);
    for segment in segments.iter().skip(1).rev() {
        let begun = match segment.name.begun {
            begun if begun <= now => begun,
            named => first_time(segment)?.unwrap_or(named),
        };
        end = end.min(begun);
        ends.push(end);
    }
    ends.reverse();
    Ok(ends)
}

/// Returns the time in the first line of a segment, if it is well-formed.
fn first_time(segment: &Segment) -> io::Result<Option<Timestamp>> {
    let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
    Ok(match lines.next(&mut text)? {
        NextLine::Line => ParsedLine::parse(&text).and_then(|line| line.fields.time.parse().ok()),
        _ => None,
    })
}

/// Returns the last event before a segment.
fn previous_segment_head(state: &LogState, segment: &Segment) -> io::Result<ChainHead> {
    let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
    let opened = match lines.next(&mut text)? {
        NextLine::Line => ChainVerifier::new(&state.key, false).verify_line(&text).ok().and_then(|line| line.opened),
        _ => None,
    };
    opened.map(|opened| opened.previous).ok_or_else(|| io::Error::other("the segment after it does not verify"))
}
