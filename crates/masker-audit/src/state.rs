//! What requests and the log's own threads share: the lanes, the writer, and what is known to be durable.
//!
//! Locks are taken in this order, where more than one is: `one_sync`, `writer`; the rest stand alone. `one_sync` is the
//! only one that is held over a sync of what requests wrote, and no request takes it.

use std::{
    mem,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    chain::ChainHead,
    directory::DirectoryLock,
    error::AuditError,
    event::{AuditOperation, DetailValue},
    thread_batch::{ThreadBatch, ThreadBatches},
    write_group::WriteGroup,
    writer::{EventBatch, LogWriter},
};
use crate::metrics::AuditMetrics;
use masker_core::crypto::ChainKey;
use masker_types::audit::{OnFailure, SyncPolicy};
use masker_types::limits::AUDIT_UNSYNCED_BYTES_SOFT_MAX;

/// What lanes have left to the one who writes.
#[derive(Default)]
struct WriteQueue {
    /// Somebody writes, and will look here again when done.
    writing: bool,
    left: Vec<(EventBatch, WriteGroup)>,
}

/// What the keeper is to do.
#[derive(Default)]
pub(super) struct KeeperSignal {
    pub(super) stop: bool,
}

/// The log, as everyone who works on it sees it.
pub(super) struct LogState {
    pub(super) directory: PathBuf,
    pub(super) key: Arc<ChainKey>,
    pub(super) sync: SyncPolicy,
    pub(super) on_failure: OnFailure,
    pub(super) segment_bytes_max: u64,
    pub(super) retention_days: u32,
    pub(super) lanes: ThreadBatches,
    queue: Mutex<WriteQueue>,
    pub(super) writer: Mutex<LogWriter>,
    one_sync: Mutex<()>,
    durable: Mutex<ChainHead>,
    /// Why nothing can be written, while that is so. The flag says whether there is a reason, without a lock.
    failure: Mutex<Option<String>>,
    failed: AtomicBool,
    lost: AtomicU64,
    metrics: Arc<AuditMetrics>,
    /// Something was written since the last sync began.
    unsynced: AtomicBool,
    /// Somebody waits for the disk who would not otherwise: the next sync is not put off.
    sync_urgent: AtomicBool,
    pub(super) signal: Mutex<KeeperSignal>,
    pub(super) wake: Condvar,
    _lock: DirectoryLock,
}

/// A panic elsewhere leaves nothing half done that a lock guards: the writer moves on only after a write has ended.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of writing for everyone.
#[derive(PartialEq, Eq)]
pub(super) enum WriteProgress {
    /// All that had come.
    All,
    /// More keeps coming, and it is somebody else's turn.
    MoreComes,
}

impl LogState {
    pub(super) fn new(
        options: &super::AuditOptions,
        key: Arc<ChainKey>,
        writer: LogWriter,
        lock: DirectoryLock,
    ) -> Self {
        LogState {
            directory: options.directory.clone(),
            key,
            sync: options.sync,
            on_failure: options.on_failure,
            segment_bytes_max: options.segment_bytes_max,
            retention_days: options.retention_days,
            lanes: ThreadBatches::default(),
            queue: Mutex::default(),
            durable: Mutex::new(writer.head()),
            writer: Mutex::new(writer),
            one_sync: Mutex::new(()),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            metrics: Arc::clone(&options.metrics),
            unsynced: AtomicBool::new(false),
            sync_urgent: AtomicBool::new(false),
            signal: Mutex::default(),
            wake: Condvar::new(),
            _lock: lock,
        }
    }

    /// Whether nothing can be written.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// What the caller of an event is told that could not be written.
    pub(super) fn outcome_of_write(&self, written: bool) -> Result<(), AuditError> {
        if written || self.on_failure == OnFailure::Continue { Ok(()) } else { Err(AuditError::Unavailable) }
    }

    /// Counts events that are in no log.
    pub(super) fn lose(&self, events: usize) {
        self.lost.fetch_add(events as u64, Ordering::Relaxed);
        self.metrics.failures.inc_by(events as u64);
    }

    /// The last event that is known to survive a power cut.
    pub(super) fn durable_head(&self) -> ChainHead {
        *lock(&self.durable)
    }

    /// Whether something is wrong, and what.
    pub(super) fn health(&self) -> Result<(), String> {
        match &*lock(&self.failure) {
            Some(failure) => {
                Err(format!("events cannot be written: {failure}; mend that, and the log goes on by itself"))
            }
            None => Ok(()),
        }
    }

    /// Waits for whoever writes or syncs.
    pub(super) fn wait_for_disk(&self) {
        let _sync_lock = lock(&self.one_sync);
        drop(lock(&self.writer));
    }

    /// Writes what has come to a lane. Where somebody writes already, it is left to them: a thread does not wait for
    /// another, whose disk may not answer.
    pub(super) fn flush_thread_batch(&self, lane: &ThreadBatch, rounds: usize) -> WriteProgress {
        let Some((batch, group)) = lane.take() else { return WriteProgress::All };
        {
            let mut queue = lock(&self.queue);
            if mem::replace(&mut queue.writing, true) {
                queue.left.push((batch, group));
                return WriteProgress::All;
            }
        }
        self.write_batch(&mut lock(&self.writer), &batch, group);
        lane.give_back(batch);
        self.flush_queue(rounds)
    }

    /// Writes what was left, and what is left while that is being written, for a few rounds.
    pub(super) fn flush_queue(&self, rounds: usize) -> WriteProgress {
        for _ in 0..rounds {
            let left = {
                let mut queue = lock(&self.queue);
                if queue.left.is_empty() {
                    queue.writing = false;
                    return WriteProgress::All;
                }
                mem::take(&mut queue.left)
            };
            let mut writer = lock(&self.writer);
            for (batch, group) in left {
                self.write_batch(&mut writer, &batch, group);
            }
        }
        WriteProgress::MoreComes
    }

    fn write_batch(&self, writer: &mut LogWriter, batch: &EventBatch, group: WriteGroup) {
        let written =
            !self.has_failed() && writer.append(batch).map_err(|error| self.fail(writer, "write", &error)).is_ok();
        if !written {
            self.lose(batch.events.len());
            return group.complete(false);
        }
        // A disk that falls behind is waited for, long before it is taken for stuck.
        let behind = writer.bytes_unsynced() > AUDIT_UNSYNCED_BYTES_SOFT_MAX;
        match self.sync {
            SyncPolicy::Every(_) if !behind => group.complete(true),
            SyncPolicy::Always | SyncPolicy::Every(_) => writer.waiting.push(group),
        }
        let news = !self.unsynced.swap(true, Ordering::AcqRel);
        if news | (behind && !self.sync_urgent.swap(true, Ordering::AcqRel)) {
            // Taken so that the keeper is not just between its look and its sleep.
            drop(lock(&self.signal));
            self.wake.notify_one();
        }
    }

    /// Whether something waits to be synced.
    pub(super) fn has_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::Acquire)
    }

    /// Whether somebody waits for the disk that has fallen behind.
    pub(super) fn is_sync_urgent(&self) -> bool {
        self.sync_urgent.load(Ordering::Acquire)
    }

    /// Nothing can be written from now on; those who wait are told.
    fn fail(&self, writer: &mut LogWriter, doing: &str, error: &std::io::Error) {
        let reason = format!("cannot {doing}: {error}");
        tracing::error!(reason, "the audit log has failed");
        *lock(&self.failure) = Some(reason);
        self.failed.store(true, Ordering::Release);
        for group in writer.waiting.drain(..) {
            group.complete(false);
        }
        // The keeper is to try again.
        drop(lock(&self.signal));
        self.wake.notify_one();
    }

    /// Makes durable what was written until now.
    pub(super) fn sync(&self) {
        let _one = lock(&self.one_sync);
        let sync = {
            let mut writer = lock(&self.writer);
            self.unsynced.store(false, Ordering::Release);
            self.sync_urgent.store(false, Ordering::Release);
            writer.begin_sync()
        };
        let Some(sync) = sync else { return };
        let synced = sync.file.sync();
        let mut writer = lock(&self.writer);
        match &synced {
            Ok(()) => {
                writer.end_sync();
                *lock(&self.durable) = sync.head;
            }
            Err(error) => {
                writer.fail_sync();
                self.fail(&mut writer, "sync", error);
            }
        }
        drop(writer);
        for group in sync.waiting {
            group.complete(synced.is_ok());
        }
    }

    /// Ends the segment where it has its size or its day is over, and begins the next one; whether that was done.
    pub(super) fn rotate(&self) -> bool {
        let _one = lock(&self.one_sync);
        let mut writer = lock(&self.writer);
        if self.has_failed() || !writer.is_full(self.segment_bytes_max) {
            return false;
        }
        let name = writer.segment();
        let rotated = writer.close_segment("full").and_then(|head| {
            if let Some(name) = name {
                log_chain_head(&head, &name.to_string(), "a segment of the audit log ends");
            }
            writer.open_segment()
        });
        match rotated {
            Ok(head) => {
                *lock(&self.durable) = head;
                self.release(&mut writer);
                true
            }
            Err(error) => {
                self.fail(&mut writer, "begin a new segment", &error);
                false
            }
        }
    }

    /// Tells those who wait that what they wait for is durable.
    fn release(&self, writer: &mut LogWriter) {
        for group in writer.waiting.drain(..) {
            group.complete(true);
        }
    }

    /// Tries whether events can be written again.
    pub(super) fn resume(&self) {
        let _one = lock(&self.one_sync);
        let mut writer = lock(&self.writer);
        let Some(reason) = lock(&self.failure).clone() else { return };
        let lost = self.lost.load(Ordering::Relaxed);
        let resumed = writer.rewrite().and_then(|()| {
            if !writer.is_open() {
                writer.open_segment()?;
            }
            writer.append_internal(
                AuditOperation::Resumed,
                &[("lost", DetailValue::Number(lost)), ("reason", DetailValue::Text(&reason))],
            )?;
            writer.sync_now()
        });
        // Where it fails the reason stays what it was first: the log is written once and not at each attempt.
        if let Ok(head) = resumed {
            *lock(&self.durable) = head;
            self.lost.fetch_sub(lost, Ordering::Relaxed);
            *lock(&self.failure) = None;
            self.failed.store(false, Ordering::Release);
            tracing::info!(lost, "the audit log is written again");
        }
    }

    /// Records something of the log's own and makes it durable; whether that was done.
    pub(super) fn record_internal(&self, op: AuditOperation, detail: &[(&'static str, DetailValue<'_>)]) -> bool {
        let recorded = {
            let mut writer = lock(&self.writer);
            if self.has_failed() {
                return false;
            }
            writer
                .append_internal(op, detail)
                .map_err(|error| self.fail(&mut writer, "write", &error))
                .map(|()| writer.head())
        };
        self.sync();
        recorded.is_ok_and(|head| self.durable_head().sequence >= head.sequence)
    }
}

/// Tells the operator's log where the chain stands. What is kept there, away from the audit log, shows later that nothing
/// was cut off.
pub(super) fn log_chain_head(head: &ChainHead, segment: &str, message: &'static str) {
    tracing::info!(head = %head, segment, "{message}");
}
