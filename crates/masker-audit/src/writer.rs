//! The one who writes: puts events into the chain, and keeps the file such that it is never anything but whole lines.
//!
//! A write that fails is taken back: the file is cut to its last whole line, and neither the chain nor the number moves
//! on. So what comes later follows on what is really there.
//!
//! A sync that fails is worse. Linux then marks the pages clean that it could not write, so a second sync would say that
//! all is well about bytes which the disk never took (Rebello et al., "Can Applications Recover from fsync Failures?",
//! 2020). So the bytes since the last good sync are kept in memory, and none of them counts as there until they were cut
//! off the file, written anew through a descriptor of its own, and synced.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use prometheus::IntCounter;
use ulid::Ulid;

use super::{
    chain::{ChainHead, begin_line, seal},
    error::AuditError,
    event::{AuditEvent, AuditOperation, DetailValue, EventParts, EventPosition, assemble},
    file::SegmentFile,
    segment::{self, SegmentName},
    write_group::WriteGroup,
};
use crate::metrics::AuditMetrics;
use masker_core::crypto::ChainKey;
use masker_types::limits::{AUDIT_LINE_BYTES_MAX, AUDIT_UNSYNCED_BYTES_MAX};

/// Bytes that the log adds to a prepared event at most: the names and values of id, number, time and hash.
const ADDED_BYTES_MAX: usize = 256;

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where the log goes on.
#[derive(Clone, Copy)]
pub(super) struct LogPosition {
    /// Where the chain stands.
    pub(super) head: ChainHead,
    /// The last segment there is.
    pub(super) last: Option<SegmentName>,
    /// Whether it is open, with so many bytes of whole lines.
    pub(super) open: Option<u64>,
    /// Whether the chain is broken and nobody has taken note.
    pub(super) unresolved_break: bool,
}

/// Events that wait to be written, prepared.
#[derive(Default)]
pub(super) struct EventBatch {
    /// Their texts, one after the other.
    pub(super) text: Vec<u8>,
    /// Their parts.
    pub(super) events: Vec<EventParts>,
}

impl EventBatch {
    /// Takes an event in. Where it fails, for want of room in a line, there is nothing of the event in the batch.
    pub(super) fn push(&mut self, event: &AuditEvent<'_>) -> Result<(), AuditError> {
        let start = self.text.len();
        let pieces = event.prepare(&mut self.text);
        if pieces.bytes() > AUDIT_LINE_BYTES_MAX - ADDED_BYTES_MAX {
            self.text.truncate(start);
            return Err(AuditError::TooLong);
        }
        self.events.push(pieces);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.events.clear();
    }
}

/// The end of the log.
pub(super) struct LogWriter {
    key: Arc<ChainKey>,
    clock: Clock,
    directory: PathBuf,
    /// The last segment, and the next one where that is closed and making the next one was tried.
    name: Option<SegmentName>,
    next_name: Option<SegmentName>,
    /// The open segment. None between the closing of one and the opening of the next.
    file: Option<Arc<SegmentFile>>,
    /// Bytes of whole lines in it.
    bytes: u64,
    /// How many of them are durable.
    bytes_synced: u64,
    /// What was written since, and what of it is being synced: together all between the two. Lines are put together at
    /// the end of the first, and taken off again where they cannot be written.
    unsynced: Vec<u8>,
    syncing: Vec<u8>,
    /// What stands in the file after the last good sync cannot be relied on.
    suspect: bool,
    head: ChainHead,
    last_id: Ulid,
    /// The time in the lines that are being put together.
    time: String,
    time_ms: Option<i64>,
    /// Those who wait for the next sync.
    pub(super) waiting: Vec<WriteGroup>,
    pub(super) unresolved_break: bool,
    metrics: Arc<AuditMetrics>,
    /// Of the events of each operation, in the order of [`AuditOperation::ALL`].
    counters: Vec<IntCounter>,
    #[cfg(test)]
    pub(super) faults: Arc<super::file::InjectedFaults>,
}

/// What a sync is about.
pub(super) struct PendingSync {
    pub(super) file: Arc<SegmentFile>,
    pub(super) head: ChainHead,
    pub(super) waiting: Vec<WriteGroup>,
}

impl LogWriter {
    pub(super) fn new(
        key: Arc<ChainKey>,
        clock: Clock,
        directory: &Path,
        position: LogPosition,
        metrics: Arc<AuditMetrics>,
    ) -> io::Result<Self> {
        let mut writer = LogWriter {
            key,
            clock,
            directory: directory.to_owned(),
            name: position.last,
            next_name: None,
            file: None,
            bytes: 0,
            bytes_synced: 0,
            unsynced: Vec::new(),
            syncing: Vec::new(),
            suspect: false,
            head: position.head,
            last_id: Ulid::nil(),
            time: String::new(),
            time_ms: None,
            waiting: Vec::new(),
            unresolved_break: position.unresolved_break,
            counters: AuditOperation::ALL.iter().map(|op| metrics.events.with_label_values(&[op.as_str()])).collect(),
            metrics,
            #[cfg(test)]
            faults: Arc::default(),
        };
        if let (Some(name), Some(bytes)) = (position.last, position.open) {
            writer.file = Some(Arc::new(writer.file_of(segment::append_to(&name.plain(directory))?)));
            writer.bytes = bytes;
            writer.bytes_synced = bytes;
        }
        Ok(writer)
    }

    #[cfg(not(test))]
    fn file_of(&self, file: std::fs::File) -> SegmentFile {
        SegmentFile::new(file)
    }

    #[cfg(test)]
    fn file_of(&self, file: std::fs::File) -> SegmentFile {
        SegmentFile::new(file, self.faults.clone())
    }

    /// Where the chain stands.
    pub(super) fn head(&self) -> ChainHead {
        self.head
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The last segment.
    pub(super) fn segment(&self) -> Option<SegmentName> {
        self.name
    }

    /// Whether there is an open segment.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether the open segment has its size, or is of an earlier day than now.
    pub(super) fn is_full(&self, bytes_max: u64) -> bool {
        let day = |time: Timestamp| time.as_second().div_euclid(24 * 60 * 60);
        self.file.is_some()
            && (self.bytes >= bytes_max || self.name.is_some_and(|name| day(self.now()) > day(name.begun)))
    }

    /// Writes events at the end of the log. Where it fails, none of them is in it.
    pub(super) fn append(&mut self, batch: &EventBatch) -> io::Result<()> {
        let file = self.file.clone().ok_or_else(|| io::Error::other("the next segment could not be begun"))?;
        let start = self.unsynced.len();
        let mut unsynced = std::mem::take(&mut self.unsynced);
        let head = self.assemble_batch(batch, &mut unsynced);
        self.unsynced = unsynced;
        let written = if self.bytes_unsynced() > AUDIT_UNSYNCED_BYTES_MAX {
            Err(io::Error::other("the disk has not synced what was written for too long"))
        } else {
            file.write(&self.unsynced[start..]).inspect_err(|_| {
                // Where not even that can be done, it is done before anything else is written.
                self.suspect |= file.cut(self.bytes).is_err();
            })
        };
        if written.is_err() {
            self.unsynced.truncate(start);
            return written;
        }
        self.bytes += (self.unsynced.len() - start) as u64;
        self.head = head;
        self.count(batch);
        Ok(())
    }

    /// Counts what was just written.
    fn count(&self, batch: &EventBatch) {
        for pieces in &batch.events {
            self.counters[pieces.op as usize].inc();
        }
        self.metrics.last_sequence.set(self.head.sequence.cast_signed());
        if let Some(milliseconds) = self.time_ms {
            // Exact up to the year 287,396.
            self.metrics.last_event_timestamp_seconds.set(milliseconds as f64 / 1_000.0);
        }
    }

    /// How much is written and not known to be durable, in bytes.
    pub(super) fn bytes_unsynced(&self) -> usize {
        self.unsynced.len() + self.syncing.len()
    }

    /// As [`LogWriter::append`], for one event of the log's own.
    pub(super) fn append_internal(
        &mut self,
        op: AuditOperation,
        detail: &[(&'static str, DetailValue<'_>)],
    ) -> io::Result<()> {
        let mut batch = EventBatch::default();
        batch.push(&AuditEvent { detail, ..AuditEvent::new(op, "ok") }).map_err(io::Error::other)?;
        self.append(&batch)
    }

    /// Makes lines of events after what `lines` holds; gives where the chain stands once they are written.
    fn assemble_batch(&mut self, batch: &EventBatch, lines: &mut Vec<u8>) -> ChainHead {
        use std::fmt::Write as _;
        let now = self.now();
        if self.time_ms != Some(now.as_millisecond()) {
            self.time_ms = Some(now.as_millisecond());
            self.time.clear();
            // Writing to a string cannot fail.
            let _ = write!(self.time, "{now:.3}");
        }
        let (mut head, mut text) = (self.head, &*batch.text);
        for pieces in &batch.events {
            let (prepared, rest) = text.split_at(pieces.bytes());
            text = rest;
            self.last_id = next_id(self.last_id, now);
            let mut digits = [0; ulid::ULID_LEN];
            let place = EventPosition {
                id: self.last_id.array_to_str(&mut digits),
                sequence: head.sequence + 1,
                time: &self.time,
            };
            let start = begin_line(lines);
            assemble(lines, prepared, *pieces, &place);
            head = seal(lines, start, &self.key, &head);
        }
        head
    }

    /// What a sync would make durable; none where there is nothing, or nothing that a sync would vouch for.
    pub(super) fn begin_sync(&mut self) -> Option<PendingSync> {
        let file = self.file.clone().filter(|_| !self.suspect && !self.unsynced.is_empty())?;
        std::mem::swap(&mut self.unsynced, &mut self.syncing);
        Some(PendingSync { file, head: self.head, waiting: std::mem::take(&mut self.waiting) })
    }

    /// A sync has ended well.
    pub(super) fn end_sync(&mut self) {
        self.bytes_synced += self.syncing.len() as u64;
        self.syncing.clear();
    }

    /// A sync has failed: from the last good one on everything is in doubt.
    pub(super) fn fail_sync(&mut self) {
        self.suspect = true;
        self.syncing.append(&mut self.unsynced);
        std::mem::swap(&mut self.syncing, &mut self.unsynced);
    }

    /// Makes everything durable that was written, at once; where the chain then stands.
    pub(super) fn sync_now(&mut self) -> io::Result<ChainHead> {
        if let Some(sync) = self.begin_sync() {
            // Who waited does so for the next sync that ends well: this one is between two of them.
            self.waiting = sync.waiting;
            if let Err(error) = sync.file.sync() {
                self.fail_sync();
                return Err(error);
            }
            self.end_sync();
        }
        Ok(self.head)
    }

    /// Writes anew what is in doubt, if anything is.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        let Some(name) = self.name.filter(|_| self.suspect && self.file.is_some()) else { return Ok(()) };
        let file = self.file_of(segment::append_to(&name.plain(&self.directory))?);
        file.cut(self.bytes_synced)?;
        file.write(&self.unsynced)?;
        file.sync()?;
        self.bytes_synced += self.unsynced.len() as u64;
        self.unsynced.clear();
        self.file = Some(Arc::new(file));
        self.suspect = false;
        Ok(())
    }

    /// Ends the open segment, durably.
    pub(super) fn close_segment(&mut self, reason: &'static str) -> io::Result<ChainHead> {
        self.append_internal(AuditOperation::SegmentClosed, &[("reason", DetailValue::Text(reason))])?;
        let head = self.sync_now()?;
        self.file = None;
        Ok(head)
    }

    /// Begins the next segment, durably. Where it fails, the next attempt is made under the same name.
    pub(super) fn open_segment(&mut self) -> io::Result<ChainHead> {
        let now = self.now();
        let following = self.name.map_or_else(|| SegmentName::first(now), |name| name.next(now));
        let name = *self.next_name.get_or_insert(following);
        let previous = self.head.to_string();
        let mut batch = EventBatch::default();
        batch
            .push(&AuditEvent {
                detail: &[
                    ("previous", DetailValue::Text(&previous)),
                    ("segment", DetailValue::Number(name.number)),
                    ("unresolved_break", DetailValue::Flag(self.unresolved_break)),
                ],
                ..AuditEvent::new(AuditOperation::SegmentOpened, "ok")
            })
            .map_err(io::Error::other)?;
        let mut first = Vec::new();
        let head = self.assemble_batch(&batch, &mut first);
        let file = self.file_of(segment::create(&name.plain(&self.directory))?);
        file.write(&first)?;
        file.sync()?;
        masker_files::sync_directory(&self.directory)?;
        self.bytes = first.len() as u64;
        self.bytes_synced = self.bytes;
        self.file = Some(Arc::new(file));
        self.name = self.next_name.take();
        self.head = head;
        self.count(&batch);
        Ok(head)
    }
}

/// An id that sorts after the last one: of this millisecond and random where that is a new one, else the next number.
fn next_id(last: Ulid, now: Timestamp) -> Ulid {
    let millisecond = u64::try_from(now.as_millisecond()).unwrap_or(0);
    if millisecond > last.timestamp_ms() {
        return Ulid::from_parts(millisecond, rand::random());
    }
    last.increment().unwrap_or_else(|_| Ulid::from_parts(last.timestamp_ms() + 1, rand::random()))
}
