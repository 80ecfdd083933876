//! The log's own threads: one syncs, begins segments and tries again what failed; the other compresses closed segments and
//! removes those past their time.

use std::{
    fs, io,
    sync::{Arc, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use jiff::SignedDuration;

use super::{
    chain::{ChainHead, ChainVerifier},
    event::{AuditOperation, DetailValue},
    idle::run_at_idle_priority,
    segment::{self, NextLine, Segment, SegmentLines},
    state::{KeeperSignal, LogState, lock, log_chain_head},
};
use masker_types::audit::SyncPolicy;
use masker_types::limits::AUDIT_RETRY_PAUSE_MILLISECONDS;

/// The threads, which end when this is asked to.
pub(super) struct LogThreads {
    keeper: JoinHandle<()>,
    housekeeper: JoinHandle<()>,
}

impl LogThreads {
    pub(super) fn start(shared: &Arc<LogState>) -> io::Result<Self> {
        let (closed, segments) = mpsc::sync_channel(1);
        let (keeping, housekeeping) = (shared.clone(), shared.clone());
        let housekeeper = thread::Builder::new()
            .name("audit-segments".into())
            .spawn(move || run_maintenance(&housekeeping, &segments))?;
        let keeper = thread::Builder::new().name("audit".into()).spawn(move || keep(&keeping, &closed))?;
        Ok(LogThreads { keeper, housekeeper })
    }

    /// Whether what syncs, and tries again what failed, has not ended.
    pub(super) fn is_running(&self) -> bool {
        !self.keeper.is_finished()
    }

    /// Waits until everything written is synced and both have ended. Blocks.
    pub(super) fn stop(self, shared: &LogState) {
        lock(&shared.signal).stop = true;
        shared.wake.notify_one();
        for thread in [self.keeper, self.housekeeper] {
            if thread.join().is_err() {
                tracing::error!("a thread of the audit log has panicked");
            }
        }
        let segment = lock(&shared.writer).segment().map(|name| name.to_string()).unwrap_or_default();
        log_chain_head(&shared.durable_head(), &segment, "the audit log ends");
    }
}

fn keep(shared: &LogState, closed: &mpsc::SyncSender<()>) {
    // What an earlier run has left behind.
    let _ = closed.try_send(());
    loop {
        let stop = wait(shared);
        if shared.has_failed() {
            shared.resume();
        }
        shared.sync();
        if shared.rotate() {
            // Where one notice is waiting already, it is of this segment too.
            let _ = closed.try_send(());
        }
        if stop {
            break;
        }
    }
}

/// Waits until there is something to do; whether the log is to end.
fn wait(shared: &LogState) -> bool {
    let mut signal = lock(&shared.signal);
    if shared.has_failed() {
        signal = wait_for(shared, signal, Duration::from_millis(AUDIT_RETRY_PAUSE_MILLISECONDS), || false);
        return signal.stop;
    }
    if !shared.has_unsynced() {
        // The time is for nothing but the day that ends while nothing is written.
        signal = wait_for(shared, signal, Duration::from_secs(60), || shared.has_unsynced() || shared.has_failed());
    }
    if let (SyncPolicy::Every(pause), true) = (shared.sync, shared.has_unsynced()) {
        signal = wait_for(shared, signal, pause, || shared.has_failed() || shared.is_sync_urgent());
    }
    signal.stop
}

/// Waits until something is so, the time is over, or the log is to end.
fn wait_for<'a>(
    shared: &'a LogState,
    signal: MutexGuard<'a, KeeperSignal>,
    time: Duration,
    until: impl Fn() -> bool,
) -> MutexGuard<'a, KeeperSignal> {
    let waited = shared.wake.wait_timeout_while(signal, time, |signal| !signal.stop && !until());
    waited.unwrap_or_else(PoisonError::into_inner).0
}

/// Compresses and removes until the keeper has ended.
fn run_maintenance(shared: &LogState, closed: &mpsc::Receiver<()>) {
    while let Ok(()) = closed.recv() {
        if let Err(error) = compress_closed(shared) {
            tracing::warn!(%error, "a closed segment of the audit log was not compressed; it stays as it is");
        }
        if let Err(error) = remove_expired(shared) {
            tracing::warn!(%error, "an old segment of the audit log was not removed");
        }
    }
}

/// Compresses every closed segment that is not, but leaves the rest for the next time when the log ends.
pub(super) fn compress_closed(shared: &LogState) -> io::Result<()> {
    let current = lock(&shared.writer).segment();
    for segment in segment::list(&shared.directory)?.segments {
        if !segment.compressed && current.is_some_and(|current| segment.name.number < current.number) {
            if lock(&shared.signal).stop {
                return Ok(());
            }
            run_at_idle_priority(|| segment::compress(&segment.name, &shared.directory))?;
            tracing::info!(segment = %segment.name, "a closed segment of the audit log was compressed");
        }
    }
    Ok(())
}

/// Removes the segments that are past their time, oldest first, each only after the log says so durably. A segment's time
/// runs from its end, which is when the next one was begun.
pub(super) fn remove_expired(shared: &LogState) -> io::Result<()> {
    let now = lock(&shared.writer).now();
    let kept = SignedDuration::from_hours(24 * i64::from(shared.retention_days));
    let segments = segment::list(&shared.directory)?.segments;
    for pair in segments.windows(2) {
        let [segment, next] = pair else { continue };
        if now.duration_since(next.name.begun) <= kept {
            break;
        }
        let head = previous_segment_head(shared, next)?;
        let (name, head) = (segment.name.to_string(), head.to_string());
        let detail = [("head", DetailValue::Text(&head)), ("segment", DetailValue::Text(&name))];
        if !shared.record_internal(AuditOperation::SegmentRemoved, &detail) {
            return Err(io::Error::other("the log cannot be written"));
        }
        for path in [segment.name.plain(&shared.directory), segment.name.compressed(&shared.directory)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        masker_files::sync_directory(&shared.directory)?;
    }
    Ok(())
}

/// Where the chain stood when a segment was begun.
fn previous_segment_head(shared: &LogState, segment: &Segment) -> io::Result<ChainHead> {
    let (mut lines, mut text) = (SegmentLines::open(&segment.path, segment.compressed)?, Vec::new());
    let opened = match lines.next(&mut text)? {
        NextLine::Line => ChainVerifier::new(&shared.key, false).follow(&text).ok().and_then(|line| line.opened),
        _ => None,
    };
    opened.map(|opened| opened.previous).ok_or_else(|| io::Error::other("the segment after it does not verify"))
}
