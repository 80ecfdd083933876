//! The flushing protocol: how requests share one writer, and when they learn that their events are written.
//!
//! Each thread collects its events in a [`ThreadBatch`]. The first request of a batch writes it. While a thread writes,
//! other threads leave their batches in a queue for it: a thread never waits for another one, whose disk may hang. The
//! flush thread ([`Flusher::run`]) syncs, begins new segments, and retries after a failure. A request returns once its
//! event is written or, under [`SyncPolicy::Always`], synced.
//!
//! Locks are taken in the order `sync_lock`, `output`; a thread that holds any other lock takes none. Only `sync_lock` is
//! held during the sync of what requests wrote, and no request takes it.
//!
//! `tests/model` checks this file, `thread_batch` and `write_group` in every interleaving of a few threads.

use std::{future::poll_fn, io, mem, sync::Arc, task::Poll, time::Duration};

use prometheus::IntCounter;
use tokio::runtime::Handle;

use super::{
    sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, lock, wait_timeout_while},
    thread_batch::{Enqueued, ThreadBatch},
    write_group::WriteGroup,
};
use crate::{chain::ChainHead, error::AuditError};
use masker_types::{
    audit::{OnFailure, SyncPolicy},
    limits::{AUDIT_KEPT_BYTES_MAX, AUDIT_RETRY_PAUSE_MS, AUDIT_UNSYNCED_BYTES_SOFT_MAX},
};

/// Rounds that a request writes for others before a task takes over.
const ROUNDS_MAX: usize = 4;
/// The longest sleep of the flush thread, so that it notices the end of a day on which nothing is written.
const IDLE_PAUSE: Duration = Duration::from_secs(60);

/// Events that are written together.
pub(super) trait Batch: Default + Send + 'static {
    /// Returns the number of events.
    fn events(&self) -> usize;
    /// Returns the memory that they take, in bytes.
    fn bytes(&self) -> usize;
    /// Removes the events and keeps the buffers.
    fn clear(&mut self);
}

/// The writer that requests share.
pub(super) trait Output: Send + 'static {
    /// What it writes.
    type Batch: Batch;
    /// What a sync makes durable.
    type File: Send + Sync;

    /// Writes events at the end of the log. If it fails, the log contains none of them.
    fn append(&mut self, batch: &Self::Batch) -> io::Result<()>;
    /// Returns how many bytes are written and not known to be durable.
    fn bytes_unsynced(&self) -> usize;
    /// Returns what the next sync covers: the file and the last event. `None` if there is nothing to sync, or nothing that
    /// a sync could vouch for.
    fn begin_sync(&mut self) -> Option<(Arc<Self::File>, ChainHead)>;
    /// Makes durable what was written to a file.
    fn sync(file: &Self::File) -> io::Result<()>;
    /// Ends a sync that succeeded.
    fn end_sync(&mut self);
    /// Ends a sync that failed.
    fn fail_sync(&mut self);
    /// Writes again what is in doubt after a failure, then an event about it, and syncs. Returns the last event.
    fn resume(&mut self, lost: u64, reason: &str) -> io::Result<ChainHead>;
    /// Closes a segment that is full and begins the next one, durably. Returns the last event, or `None` if no segment is
    /// full.
    fn rotate(&mut self) -> io::Result<Option<ChainHead>>;
}

/// The writer, with the requests that wait for its next sync.
pub(super) struct SharedOutput<W> {
    pub(super) writer: W,
    waiting: Vec<WriteGroup>,
    /// The flush thread has ended, so nothing is synced any more.
    closed: bool,
}

/// Batches that are queued for the writing thread.
struct WriteQueue<B> {
    /// A thread writes, and will look at the queue again when it is done.
    writing: bool,
    batches: Vec<(B, WriteGroup)>,
}

/// Whether the queue is empty after some rounds of writing.
#[derive(PartialEq, Eq)]
enum FlushQueueState {
    /// It is, and the thread no longer writes.
    Empty,
    /// It is not: another task continues.
    MorePending,
}

/// Events that could not be written, in order. They are written when the log recovers: what they record is done, and may be
/// in the vault already.
struct KeptEvents<B> {
    batches: Vec<B>,
    bytes: usize,
}

/// The writer as requests and the flush thread share it.
pub(super) struct Flusher<W: Output> {
    sync: SyncPolicy,
    on_failure: OnFailure,
    queue: Mutex<WriteQueue<W::Batch>>,
    output: Mutex<SharedOutput<W>>,
    sync_lock: Mutex<()>,
    durable: Mutex<ChainHead>,
    /// Why nothing can be written, while that is the case.
    failure: Mutex<Option<String>>,
    /// Whether `failure` is set, without its lock.
    failed: AtomicBool,
    kept: Mutex<KeptEvents<W::Batch>>,
    /// Whether `kept` has events, without its lock.
    has_kept: AtomicBool,
    /// Events since the failure that are in no log, because there was no memory to keep them.
    lost: AtomicU64,
    failures: IntCounter,
    /// Something was written since the last sync began.
    unsynced: AtomicBool,
    /// The disk has fallen behind and requests wait for it, so the next sync is not delayed.
    sync_urgent: AtomicBool,
    /// Whether the flush thread is to stop.
    stop: Mutex<bool>,
    wake: Condvar,
}

impl<W: Output> Flusher<W> {
    /// Shares a writer whose last event, `head`, is durable. `failures` counts the events that are lost.
    pub(super) fn new(
        writer: W,
        head: ChainHead,
        sync: SyncPolicy,
        on_failure: OnFailure,
        failures: IntCounter,
    ) -> Self {
        Flusher {
            sync,
            on_failure,
            queue: Mutex::new(WriteQueue { writing: false, batches: Vec::new() }),
            output: Mutex::new(SharedOutput { writer, waiting: Vec::new(), closed: false }),
            sync_lock: Mutex::new(()),
            durable: Mutex::new(head),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
            kept: Mutex::new(KeptEvents { batches: Vec::new(), bytes: 0 }),
            has_kept: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            failures,
            unsynced: AtomicBool::new(false),
            sync_urgent: AtomicBool::new(false),
            stop: Mutex::new(false),
            wake: Condvar::new(),
        }
    }

    /// Adds an event to `batch` with `push`, and waits until it is written, or synced where the policy asks for that.
    ///
    /// Dropping the future loses nothing: an event that was added is written.
    ///
    /// # Errors
    /// The error of `push`, or [`AuditError::Unavailable`].
    pub(super) async fn record(
        self: &Arc<Self>,
        batch: &ThreadBatch<W::Batch>,
        push: impl FnOnce(&mut W::Batch) -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        if self.has_failed() {
            let mut own = W::Batch::default();
            push(&mut own)?;
            self.keep(own);
            return self.outcome(false);
        }
        let group = match batch.enqueue(push)? {
            Enqueued::Later(group) => group,
            Enqueued::First(group) => {
                let guard = FlushGuard { flusher: self, batch };
                yield_to_ready_tasks().await;
                drop(guard);
                group
            }
        };
        self.outcome(group.wait().await)
    }

    /// Returns at once whether events can be written, or are allowed to be lost.
    pub(super) fn ready(&self) -> Result<(), AuditError> {
        self.outcome(!self.has_failed())
    }

    /// Returns the last event that survives a power cut.
    pub(super) fn durable_head(&self) -> ChainHead {
        *lock(&self.durable)
    }

    /// Returns why events cannot be written.
    pub(super) fn health(&self) -> Result<(), String> {
        match &*lock(&self.failure) {
            Some(failure) => Err(format!(
                "events cannot be written: {failure}; masker tries again, and answers requests when it succeeds"
            )),
            None => Ok(()),
        }
    }

    /// Locks the writer.
    pub(super) fn output(&self) -> MutexGuard<'_, SharedOutput<W>> {
        lock(&self.output)
    }

    /// Waits for a write or a sync that is in progress.
    pub(super) fn wait_for_disk(&self) {
        let _sync_lock = lock(&self.sync_lock);
        drop(self.output());
    }

    /// Syncs, begins segments and retries after a failure until [`Flusher::stop`]. Calls `segment_closed` after each new
    /// segment.
    pub(super) fn run(&self, mut segment_closed: impl FnMut()) {
        loop {
            let stop = self.wait_for_work();
            if self.has_failed() {
                self.resume();
            }
            self.write_kept();
            self.sync();
            if self.rotate() {
                segment_closed();
            }
            if stop {
                break;
            }
        }
    }

    /// Ends [`Flusher::run`] after one more sync.
    pub(super) fn stop(&self) {
        *lock(&self.stop) = true;
        self.wake.notify_one();
    }

    /// Fails the requests that wait for a sync, now and from now on. Call this after [`Flusher::run`] has returned.
    pub(super) fn close(&self) {
        let mut output = self.output();
        output.closed = true;
        complete_all(output.waiting.drain(..), false);
    }

    /// Returns whether [`Flusher::stop`] was called.
    pub(super) fn is_stopping(&self) -> bool {
        *lock(&self.stop)
    }

    /// Syncs what was written until now.
    pub(super) fn sync(&self) {
        let _sync_lock = lock(&self.sync_lock);
        let (file, head, waiting) = {
            let mut output = self.output();
            self.unsynced.store(false, Ordering::Release);
            self.sync_urgent.store(false, Ordering::Release);
            let Some((file, head)) = output.writer.begin_sync() else { return };
            (file, head, mem::take(&mut output.waiting))
        };
        let synced = W::sync(&file);
        let mut output = self.output();
        match &synced {
            Ok(()) => {
                output.writer.end_sync();
                *lock(&self.durable) = head;
            }
            Err(error) => {
                output.writer.fail_sync();
                self.fail(&mut output, "sync", error);
            }
        }
        drop(output);
        complete_all(waiting, synced.is_ok());
    }

    /// Begins the next segment if the current one is full or its day is over. Returns whether it did.
    pub(super) fn rotate(&self) -> bool {
        let _sync_lock = lock(&self.sync_lock);
        let mut output = self.output();
        if self.has_failed() {
            return false;
        }
        match output.writer.rotate() {
            Ok(None) => false,
            Ok(Some(head)) => {
                *lock(&self.durable) = head;
                // Closing a segment syncs it.
                complete_all(output.waiting.drain(..), true);
                true
            }
            Err(error) => {
                self.fail(&mut output, "begin a new segment", &error);
                false
            }
        }
    }

    /// Tries to write again after a failure.
    pub(super) fn resume(&self) {
        let _sync_lock = lock(&self.sync_lock);
        let mut output = self.output();
        let Some(reason) = lock(&self.failure).clone() else { return };
        let lost = self.lost.load(Ordering::Relaxed);
        // After a failed attempt the first reason stays, so that the program's log has one line and not one for each
        // attempt.
        if let Ok(head) = output.writer.resume(lost, &reason) {
            *lock(&self.durable) = head;
            self.lost.fetch_sub(lost, Ordering::Relaxed);
            *lock(&self.failure) = None;
            self.failed.store(false, Ordering::Release);
            tracing::info!(lost, "the audit log is written again");
        }
    }

    /// Appends an event of the log itself with `append`, which returns the last event, and syncs. Returns whether that
    /// event is durable.
    pub(super) fn append_and_sync(&self, append: impl FnOnce(&mut W) -> io::Result<ChainHead>) -> bool {
        let head = {
            let mut output = self.output();
            if self.has_failed() {
                return false;
            }
            append(&mut output.writer).map_err(|error| self.fail(&mut output, "write", &error))
        };
        self.sync();
        head.is_ok_and(|head| self.durable_head().sequence >= head.sequence)
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Returns what a request learns about its event.
    fn outcome(&self, written: bool) -> Result<(), AuditError> {
        if written || self.on_failure == OnFailure::Continue { Ok(()) } else { Err(AuditError::Unavailable) }
    }

    /// Keeps events that could not be written, or counts them as lost if too many are kept. Those that come first stay: they are of
    /// requests that were at work when the log failed.
    fn keep(&self, batch: W::Batch) {
        let mut kept = lock(&self.kept);
        if kept.bytes + batch.bytes() > AUDIT_KEPT_BYTES_MAX {
            let events = batch.events() as u64;
            self.lost.fetch_add(events, Ordering::Relaxed);
            self.failures.inc_by(events);
            return;
        }
        kept.bytes += batch.bytes();
        kept.batches.push(batch);
        self.has_kept.store(true, Ordering::Release);
        drop(kept);
        self.wake_flush_thread();
    }

    /// Returns the number of events that are kept.
    #[cfg(test)]
    pub(super) fn events_kept(&self) -> usize {
        lock(&self.kept).batches.iter().map(Batch::events).sum()
    }

    /// Writes the events that were kept, up to one that cannot be written.
    fn write_kept(&self) {
        if self.has_failed() || !self.has_kept.load(Ordering::Acquire) {
            return;
        }
        let mut output = self.output();
        let mut batches = {
            let mut kept = lock(&self.kept);
            self.has_kept.store(false, Ordering::Release);
            kept.bytes = 0;
            mem::take(&mut kept.batches).into_iter()
        };
        while let Some(batch) = batches.next() {
            let Err(error) = output.writer.append(&batch) else { continue };
            self.fail(&mut output, "write", &error);
            let mut kept = lock(&self.kept);
            let later = mem::take(&mut kept.batches);
            kept.batches = std::iter::once(batch).chain(batches).chain(later).collect();
            kept.bytes = kept.batches.iter().map(Batch::bytes).sum();
            self.has_kept.store(true, Ordering::Release);
            return;
        }
    }

    /// Writes the events of `batch`, or leaves them to the thread that writes.
    fn flush_thread_batch(&self, batch: &ThreadBatch<W::Batch>) -> FlushQueueState {
        let Some((mut events, group)) = batch.take() else { return FlushQueueState::Empty };
        {
            let mut queue = lock(&self.queue);
            if mem::replace(&mut queue.writing, true) {
                queue.batches.push((events, group));
                return FlushQueueState::Empty;
            }
        }
        self.write_batch(&mut self.output(), &mut events, group);
        events.clear();
        batch.reuse(events);
        self.flush_queue()
    }

    /// Writes the queue, and what is added to it meanwhile, for a few rounds.
    fn flush_queue(&self) -> FlushQueueState {
        for _ in 0..ROUNDS_MAX {
            let batches = {
                let mut queue = lock(&self.queue);
                if queue.batches.is_empty() {
                    queue.writing = false;
                    return FlushQueueState::Empty;
                }
                mem::take(&mut queue.batches)
            };
            let mut output = self.output();
            for (mut events, group) in batches {
                self.write_batch(&mut output, &mut events, group);
            }
        }
        FlushQueueState::MorePending
    }

    /// Writes events. If that fails, `events` is empty afterwards, because they are kept.
    fn write_batch(&self, output: &mut SharedOutput<W>, events: &mut W::Batch, group: WriteGroup) {
        let written = !self.has_failed()
            && output.writer.append(events).map_err(|error| self.fail(output, "write", &error)).is_ok();
        if !written {
            self.keep(mem::take(events));
            return group.complete(false);
        }
        // Requests wait for a disk that falls behind, long before it counts as hung.
        let behind = output.writer.bytes_unsynced() > AUDIT_UNSYNCED_BYTES_SOFT_MAX;
        match self.sync {
            SyncPolicy::Every(_) if !behind => group.complete(true),
            SyncPolicy::Always | SyncPolicy::Every(_) if output.closed => group.complete(false),
            SyncPolicy::Always | SyncPolicy::Every(_) => output.waiting.push(group),
        }
        let first_unsynced = !self.unsynced.swap(true, Ordering::AcqRel);
        if first_unsynced | (behind && !self.sync_urgent.swap(true, Ordering::AcqRel)) {
            self.wake_flush_thread();
        }
    }

    /// Records that nothing can be written, and completes the requests that wait.
    fn fail(&self, output: &mut SharedOutput<W>, operation: &str, error: &io::Error) {
        let reason = format!("failed to {operation}: {error}");
        tracing::error!(reason, "the audit log has failed");
        *lock(&self.failure) = Some(reason);
        self.failed.store(true, Ordering::Release);
        complete_all(output.waiting.drain(..), false);
        self.wake_flush_thread();
    }

    fn wake_flush_thread(&self) {
        // Waits for the flush thread if it is between its check and its sleep, where it would miss the notification.
        drop(lock(&self.stop));
        self.wake.notify_one();
    }

    /// Waits until the flush thread has something to do. Returns whether it is to stop.
    fn wait_for_work(&self) -> bool {
        let mut stop = lock(&self.stop);
        if self.has_failed() {
            stop = self.wait_until(stop, Duration::from_millis(AUDIT_RETRY_PAUSE_MS), || false);
            return *stop;
        }
        let has_kept = || self.has_kept.load(Ordering::Acquire);
        if !self.has_unsynced() && !has_kept() {
            stop = self.wait_until(stop, IDLE_PAUSE, || self.has_unsynced() || self.has_failed() || has_kept());
        }
        if let (SyncPolicy::Every(pause), true) = (self.sync, self.has_unsynced()) {
            stop = self.wait_until(stop, pause, || self.has_failed() || self.sync_urgent.load(Ordering::Acquire));
        }
        *stop
    }

    /// Waits until `condition` is true, the time is over, or the flush thread is to stop.
    fn wait_until<'a>(
        &self,
        stop: MutexGuard<'a, bool>,
        timeout: Duration,
        condition: impl Fn() -> bool,
    ) -> MutexGuard<'a, bool> {
        wait_timeout_while(&self.wake, stop, timeout, |stop| !*stop && !condition())
    }

    fn has_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::Acquire)
    }
}

fn complete_all(groups: impl IntoIterator<Item = WriteGroup>, written: bool) {
    for group in groups {
        group.complete(written);
    }
}

/// Writes a batch when it is dropped, so that the events of other requests are written although this one was cancelled.
struct FlushGuard<'a, W: Output> {
    flusher: &'a Arc<Flusher<W>>,
    batch: &'a ThreadBatch<W::Batch>,
}

impl<W: Output> Drop for FlushGuard<'_, W> {
    fn drop(&mut self) {
        if self.flusher.flush_thread_batch(self.batch) == FlushQueueState::Empty {
            return;
        }
        let flusher = self.flusher.clone();
        match Handle::try_current() {
            // A request must not write for others without end: a new task takes over.
            Ok(runtime) => drop(runtime.spawn(async move {
                while flusher.flush_queue() == FlushQueueState::MorePending {
                    tokio::task::yield_now().await;
                }
            })),
            Err(_) => while flusher.flush_queue() == FlushQueueState::MorePending {},
        }
    }
}

/// Moves the task to the end of its thread's queue. Unlike [`tokio::task::yield_now`] this makes no system call.
async fn yield_to_ready_tasks() {
    let mut yielded = false;
    poll_fn(|task| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
