//! The writer: appends events to the chain, and keeps the file a sequence of whole lines.
//!
//! A write that fails is undone: the file is truncated to its last whole line, and the head of the chain does not advance.
//! So later events continue the chain that is really in the file.
//!
//! A sync that fails is worse. Linux then marks the pages that it could not write as clean, so a second sync would succeed
//! although the disk never took these bytes (Rebello et al., "Can Applications Recover from fsync Failures?", 2020). The
//! writer therefore keeps the bytes since the last good sync in memory. After a failed sync it truncates the file to what
//! was synced, writes those bytes again through a new descriptor, and syncs.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use prometheus::IntCounter;
use ulid::Ulid;

use super::{
    chain::{ChainHead, begin_line, seal},
    directory::LogDirectoryLock,
    error::AuditError,
    event::{AuditEvent, AuditOperation, DetailValue, EventParts, EventPosition, assemble},
    file::{FileTampering, SegmentFile},
    flush::{Batch, Output},
    metrics::AuditMetrics,
    options::AuditOptions,
    segment::{self, SegmentName},
    trusted_time::{TRUSTED_TIME, TrustedTime},
    vault::{CurrentPosition, PositionDetails},
};
use masker_core::crypto::ChainKey;
use masker_types::limits::{AUDIT_LINE_BYTES_MAX, AUDIT_UNSYNCED_BYTES_MAX};

/// The most bytes that the log adds to a prepared event: the names and values of id, number, time and hash.
const ADDED_BYTES_MAX: usize = 256;

/// A clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The position at which the log continues.
#[derive(Clone, Copy)]
pub(super) struct LogPosition {
    /// The last event.
    pub(super) head: ChainHead,
    /// The last segment.
    pub(super) last: Option<SegmentName>,
    /// The bytes of whole lines in the last segment, if it is open.
    pub(super) open: Option<u64>,
    /// Whether the chain is broken and no operator has accepted the break.
    pub(super) unresolved_break: bool,
    /// The time that the log vouches for.
    pub(super) trusted_time: Option<Timestamp>,
    /// When the open segment began.
    pub(super) begun: Option<Timestamp>,
}

/// Prepared events that wait to be written.
#[derive(Default)]
pub(super) struct EventBatch {
    /// Their texts, one after the other.
    text: Vec<u8>,
    events: Vec<EventParts>,
}

impl EventBatch {
    /// Adds an event.
    ///
    /// # Errors
    /// [`AuditError::TooLong`]. The batch is then unchanged.
    pub(super) fn push(&mut self, event: &AuditEvent<'_>) -> Result<(), AuditError> {
        let start = self.text.len();
        let parts = event.prepare(&mut self.text);
        if parts.bytes() > AUDIT_LINE_BYTES_MAX - ADDED_BYTES_MAX {
            self.text.truncate(start);
            return Err(AuditError::TooLong);
        }
        self.events.push(parts);
        Ok(())
    }
}

impl Batch for EventBatch {
    fn events(&self) -> usize {
        self.events.len()
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.events.len() * size_of::<EventParts>()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.events.clear();
    }
}

/// The end of the log.
pub(super) struct LogWriter {
    key: Arc<ChainKey>,
    clock: Clock,
    directory: PathBuf,
    /// The last segment.
    name: Option<SegmentName>,
    /// The segment after it, if it is closed and an attempt to create the next one failed.
    next_name: Option<SegmentName>,
    /// The open segment. `None` after one is closed and before the next one is open.
    file: Option<Arc<SegmentFile>>,
    /// The bytes of whole lines in the open segment.
    bytes: u64,
    /// How many of them are durable.
    bytes_synced: u64,
    /// What was written and is not being synced. Lines are assembled at its end, and removed if they cannot be written.
    unsynced: Vec<u8>,
    /// What is being synced. It comes before `unsynced` in the file.
    syncing: Vec<u8>,
    /// The file after the last good sync may not be what was written.
    suspect: bool,
    head: ChainHead,
    last_id: Ulid,
    /// The time in the lines that are being assembled.
    time: String,
    time_ms: Option<i64>,
    segment_bytes_max: u64,
    vault: Option<CurrentPosition>,
    pub(super) last_operation: Arc<AtomicU64>,
    pub(super) unresolved_break: Arc<AtomicBool>,
    /// What has happened to the file of the open segment, which must not be written any more.
    tampering: Option<(FileTampering, Option<SegmentName>)>,
    pub(super) trusted_time: TrustedTime,
    /// Whether the log tells that the clock is not trusted.
    jump_recorded: bool,
    /// When the open segment began. The time in its name may be later, because that never goes back.
    begun: Timestamp,
    metrics: Arc<AuditMetrics>,
    /// The event counters, in the order of [`AuditOperation::ALL`].
    counters: Vec<IntCounter>,
    #[cfg(test)]
    pub(super) faults: Arc<super::file::InjectedFaults>,
    _directory_lock: LogDirectoryLock,
}

impl LogWriter {
    /// Returns the writer of a log that continues at `position`. It owns the directory until it is dropped.
    pub(super) fn new(
        options: &AuditOptions,
        key: Arc<ChainKey>,
        clock: Clock,
        position: LogPosition,
        vault: Option<CurrentPosition>,
        directory_lock: LogDirectoryLock,
    ) -> io::Result<Self> {
        let (directory, metrics) = (&options.directory, &options.metrics);
        let now = clock();
        let last_begun = position.last.map(|name| name.begun);
        let mut writer = LogWriter {
            key,
            clock,
            directory: directory.clone(),
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
            segment_bytes_max: options.segment_bytes_max,
            vault,
            last_operation: Arc::new(AtomicU64::new(position.head.sequence)),
            unresolved_break: Arc::new(AtomicBool::new(position.unresolved_break)),
            tampering: None,
            trusted_time: TrustedTime::new(position.trusted_time.or(last_begun).unwrap_or(now)),
            jump_recorded: false,
            begun: position.begun.unwrap_or(now),
            counters: AuditOperation::ALL.iter().map(|op| metrics.events.with_label_values(&[op.as_str()])).collect(),
            metrics: metrics.clone(),
            #[cfg(test)]
            faults: Arc::default(),
            _directory_lock: directory_lock,
        };
        if let (Some(name), Some(bytes)) = (position.last, position.open) {
            let path = name.plain(directory);
            let file = segment::append_to(&path)?;
            writer.file = Some(Arc::new(writer.file_of(path, file)));
            writer.bytes = bytes;
            writer.bytes_synced = bytes;
        }
        Ok(writer)
    }

    #[cfg(not(test))]
    fn file_of(&self, path: PathBuf, file: std::fs::File) -> SegmentFile {
        SegmentFile::new(path, file)
    }

    #[cfg(test)]
    fn file_of(&self, path: PathBuf, file: std::fs::File) -> SegmentFile {
        SegmentFile::new(path, file, self.faults.clone())
    }

    /// Returns the last event.
    pub(super) fn head(&self) -> ChainHead {
        self.head
    }

    /// Returns the time of the log's clock.
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Returns the last segment.
    pub(super) fn segment(&self) -> Option<SegmentName> {
        self.name
    }

    /// Returns whether a segment is open.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Returns whether the open segment has reached its size, or began on an earlier day.
    pub(super) fn is_full(&self) -> bool {
        let day = |time: Timestamp| time.as_second().div_euclid(24 * 60 * 60);
        let (today, begun) = (day(self.now()), day(self.begun));
        // A clock that went back by more than a day was wrong before.
        self.file.is_some() && (self.bytes >= self.segment_bytes_max || today > begun || today + 1 < begun)
    }

    /// Counts the events that were just written.
    fn count(&self, batch: &EventBatch) {
        for parts in &batch.events {
            self.counters[parts.op as usize].inc();
        }
        if batch.events.iter().any(|parts| parts.op != AuditOperation::VaultPosition) {
            self.last_operation.store(self.head.sequence, Ordering::Release);
        }
        self.metrics.last_sequence.set(self.head.sequence.cast_signed());
        if let Some(milliseconds) = self.time_ms {
            // Exact up to the year 287,396.
            self.metrics.last_event_timestamp_seconds.set(milliseconds as f64 / 1_000.0);
        }
    }

    /// Appends one event of the log itself.
    pub(super) fn append_internal(
        &mut self,
        op: AuditOperation,
        detail: &[(&'static str, DetailValue<'_>)],
    ) -> io::Result<()> {
        let batch = self.internal(op, detail)?;
        self.append(&batch)
    }

    /// Returns a batch of one event of the log itself.
    fn internal(&self, op: AuditOperation, detail: &[(&'static str, DetailValue<'_>)]) -> io::Result<EventBatch> {
        let position = self.vault.as_ref().filter(|_| op.has_vault_position());
        let position = position.map(|current| PositionDetails::new(current()));
        let mut all = detail.to_vec();
        all.extend(position.iter().flat_map(PositionDetails::members));
        let trusted = self.trusted_time.get().to_string();
        if matches!(op, AuditOperation::SegmentOpened | AuditOperation::ClockJumped) && !self.clock_is_trusted() {
            all.push((TRUSTED_TIME, DetailValue::Text(&trusted)));
        }
        let mut batch = EventBatch::default();
        batch.push(&AuditEvent { detail: &all, ..AuditEvent::new(op, "ok") }).map_err(io::Error::other)?;
        Ok(batch)
    }

    /// Appends the lines of events to `lines`. Returns the last event.
    fn assemble_batch(&mut self, batch: &EventBatch, lines: &mut Vec<u8>) -> ChainHead {
        use std::fmt::Write as _;
        let now = self.now();
        self.trusted_time.advance(now);
        if self.time_ms != Some(now.as_millisecond()) {
            self.time_ms = Some(now.as_millisecond());
            self.time.clear();
            // Writing to a string cannot fail.
            let _ = write!(self.time, "{now:.3}");
        }
        let (mut head, mut text) = (self.head, &*batch.text);
        for parts in &batch.events {
            let (prepared, rest) = text.split_at(parts.bytes());
            text = rest;
            self.last_id = next_id(self.last_id, now);
            let mut digits = [0; ulid::ULID_LEN];
            let position = EventPosition {
                id: self.last_id.array_to_str(&mut digits),
                sequence: head.sequence + 1,
                time: &self.time,
            };
            let start = begin_line(lines);
            assemble(lines, prepared, *parts, &position);
            head = seal(lines, start, &self.key, &head);
        }
        head
    }

    /// Syncs everything that was written. Returns the last event.
    pub(super) fn sync_now(&mut self) -> io::Result<ChainHead> {
        if let Some((file, _)) = self.begin_sync() {
            if let Err(error) = file.sync() {
                self.fail_sync();
                return Err(error);
            }
            self.end_sync();
        }
        Ok(self.head)
    }

    /// Writes again what a failed sync or truncation left in doubt.
    fn rewrite(&mut self) -> io::Result<()> {
        let Some(name) = self.name.filter(|_| self.suspect && self.file.is_some()) else { return Ok(()) };
        let path = name.plain(&self.directory);
        let file = segment::append_to(&path)?;
        let file = self.file_of(path, file);
        file.truncate(self.bytes_synced)?;
        file.write(&self.unsynced)?;
        file.sync()?;
        self.bytes_synced += self.unsynced.len() as u64;
        self.unsynced.clear();
        self.file = Some(Arc::new(file));
        self.suspect = false;
        Ok(())
    }

    /// Closes the open segment, durably. Returns its last event.
    pub(super) fn close_segment(&mut self, reason: &'static str) -> io::Result<ChainHead> {
        self.append_internal(AuditOperation::SegmentClosed, &[("reason", DetailValue::Text(reason))])?;
        let head = self.sync_now()?;
        self.file = None;
        Ok(head)
    }

    /// Begins the next segment, durably. Returns its first event. After a failure the next attempt uses the same name.
    pub(super) fn open_segment(&mut self) -> io::Result<ChainHead> {
        let now = self.now();
        let following = self.name.map_or_else(|| SegmentName::first(now), |name| name.next(now));
        let name = *self.next_name.get_or_insert(following);
        let previous = self.head.to_string();
        let detail = [
            ("previous", DetailValue::Text(&previous)),
            ("segment", DetailValue::Number(name.number)),
            ("unresolved_break", DetailValue::Flag(self.unresolved_break.load(Ordering::Relaxed))),
        ];
        let batch = self.internal(AuditOperation::SegmentOpened, &detail)?;
        let mut first = Vec::new();
        let head = self.assemble_batch(&batch, &mut first);
        let path = name.plain(&self.directory);
        let file = segment::create(&path)?;
        let file = self.file_of(path, file);
        file.write(&first)?;
        file.sync()?;
        masker_files::sync_directory(&self.directory)?;
        self.bytes = first.len() as u64;
        self.bytes_synced = self.bytes;
        self.file = Some(Arc::new(file));
        self.name = self.next_name.take();
        self.begun = now;
        self.head = head;
        self.count(&batch);
        Ok(head)
    }

    /// Returns whether the clock is near enough to the last event to decide what is old enough to delete.
    pub(super) fn clock_is_trusted(&self) -> bool {
        self.trusted_time.accepts(self.now())
    }

    /// Records that the clock has jumped, once for each jump.
    pub(super) fn watch_clock(&mut self) -> io::Result<()> {
        let jumped = !self.clock_is_trusted();
        if std::mem::replace(&mut self.jump_recorded, jumped) || !jumped {
            return Ok(());
        }
        tracing::warn!(
            now = %self.now(), trusted = %self.trusted_time.get(),
            "the clock is far past the audit log's last event; nothing is deleted by it until it is set right or accepted \
             by `masker recover`"
        );
        self.append_internal(AuditOperation::ClockJumped, &[]).inspect_err(|_| self.jump_recorded = false)
    }

    /// Records that an operator accepts the clock, unless it is trusted already.
    pub(super) fn accept_clock(&mut self) -> io::Result<()> {
        if self.clock_is_trusted() {
            return Ok(());
        }
        self.jump_recorded = true;
        self.append_internal(AuditOperation::ClockAccepted, &[])?;
        self.trusted_time.set(self.now());
        self.jump_recorded = false;
        Ok(())
    }

    /// Leaves the segment whose file was tampered with as it is, and continues in a new one that records why.
    fn replace_segment(&mut self) -> io::Result<Option<ChainHead>> {
        let Some((why, name)) = self.tampering else { return Ok(None) };
        self.unresolved_break.store(true, Ordering::Relaxed);
        if self.name == name {
            self.file = None;
            self.unsynced.clear();
            self.open_segment()?;
        }
        let (why, segment) = (why.to_string(), name.map(|name| name.to_string()).unwrap_or_default());
        let detail = [("segment", DetailValue::Text(&segment)), ("why", DetailValue::Text(&why))];
        self.append_internal(AuditOperation::ChainBroken, &detail)?;
        let head = self.sync_now()?;
        self.tampering = None;
        Ok(Some(head))
    }
}

impl Output for LogWriter {
    type Batch = EventBatch;
    type File = SegmentFile;

    fn append(&mut self, batch: &EventBatch) -> io::Result<()> {
        self.watch_clock()?;
        let file = self.file.clone().ok_or_else(|| io::Error::other("the next segment could not be created"))?;
        let start = self.unsynced.len();
        let mut unsynced = std::mem::take(&mut self.unsynced);
        let head = self.assemble_batch(batch, &mut unsynced);
        self.unsynced = unsynced;
        let written = if self.bytes_unsynced() > AUDIT_UNSYNCED_BYTES_MAX {
            Err(io::Error::other("the disk has not synced what was written for too long"))
        } else {
            file.write(&self.unsynced[start..]).inspect_err(|_| {
                // If the file cannot be truncated either, that is done before anything else is written.
                self.suspect |= file.truncate(self.bytes).is_err();
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

    fn bytes_unsynced(&self) -> usize {
        self.unsynced.len() + self.syncing.len()
    }

    fn begin_sync(&mut self) -> Option<(Arc<SegmentFile>, ChainHead)> {
        let file = self.file.clone().filter(|_| !self.suspect && !self.unsynced.is_empty())?;
        std::mem::swap(&mut self.unsynced, &mut self.syncing);
        Some((file, self.head))
    }

    fn sync(file: &SegmentFile) -> io::Result<()> {
        file.sync()
    }

    fn end_sync(&mut self) {
        self.bytes_synced += self.syncing.len() as u64;
        self.syncing.clear();
        let file = self.file.as_ref().filter(|_| !self.suspect && self.tampering.is_none());
        if let Some(why) = file.and_then(|file| file.tampering(self.bytes)) {
            tracing::error!(%why, head = %self.head, "the open segment of the audit log was tampered with");
            self.tampering = Some((why, self.name));
        }
    }

    fn fail_sync(&mut self) {
        self.suspect = true;
        self.syncing.append(&mut self.unsynced);
        std::mem::swap(&mut self.syncing, &mut self.unsynced);
    }

    fn resume(&mut self, lost: u64, reason: &str) -> io::Result<ChainHead> {
        self.replace_segment()?;
        self.rewrite()?;
        if !self.is_open() {
            self.open_segment()?;
        }
        let detail = [("lost", DetailValue::Number(lost)), ("reason", DetailValue::Text(reason))];
        self.append_internal(AuditOperation::Resumed, &detail)?;
        self.sync_now()
    }

    fn rotate(&mut self) -> io::Result<Option<ChainHead>> {
        if self.tampering.is_some() {
            return self.replace_segment();
        }
        if !self.is_full() {
            return Ok(None);
        }
        let name = self.name;
        let head = self.close_segment("full")?;
        if let Some(name) = name {
            log_chain_head(&head, &name.to_string(), "a segment of the audit log ends");
        }
        self.open_segment().map(Some)
    }
}

/// Writes the head of the chain to the program's log. Kept away from the audit log, it shows later whether the end of the
/// audit log was cut off.
pub(super) fn log_chain_head(head: &ChainHead, segment: &str, message: &'static str) {
    tracing::info!(head = %head, segment, "{message}");
}

/// Returns an id that sorts after the last one: a random one in a new millisecond, else the last one plus one.
fn next_id(last: Ulid, now: Timestamp) -> Ulid {
    let millisecond = u64::try_from(now.as_millisecond()).unwrap_or(0);
    if millisecond > last.timestamp_ms() {
        return Ulid::from_parts(millisecond, rand::random());
    }
    last.increment().unwrap_or_else(|_| Ulid::from_parts(last.timestamp_ms() + 1, rand::random()))
}
