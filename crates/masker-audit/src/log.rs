//! The running log.

use std::{
    future::poll_fn,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    task::Poll,
};

use tokio::runtime::Handle;

use super::{
    chain::ChainHead,
    directory::DirectoryLock,
    error::{AuditError, AuditOpenError},
    event::{AuditEvent, AuditOperation, DetailValue},
    maintenance::LogThreads,
    read::{EventPage, EventQuery, ReadError, read},
    recovery::{self, RecoveredLog},
    state::{LogState, WriteProgress, lock},
    thread_batch::{Enqueued, ThreadBatch},
    writer::{Clock, LogWriter},
};
use crate::metrics::AuditMetrics;
use masker_core::crypto::{ChainKey, SecretKey};
use masker_types::audit::{OnFailure, SyncPolicy};

/// Rounds that a request writes for others before somebody else takes over.
const ROUNDS_MAX: usize = 4;

/// How a log is kept.
pub struct AuditOptions {
    /// The log's directory: it holds nothing else.
    pub directory: PathBuf,
    /// The key of the chain.
    pub key: SecretKey,
    /// When events are made durable.
    pub sync: SyncPolicy,
    /// What happens while they cannot be written.
    pub on_failure: OnFailure,
    /// How long a segment is kept after its end, in days.
    pub retention_days: u32,
    /// Size from which on a segment is closed, in bytes.
    pub segment_bytes_max: u64,
    /// Whether the operator has taken note of a broken chain.
    pub accept_break: bool,
    /// Where events are counted.
    pub metrics: Arc<AuditMetrics>,
}

/// A log that was opened.
pub struct OpenedLog {
    /// The log.
    pub log: AuditLog,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// The audit log, which this process alone writes. Dropping it closes it, and blocks meanwhile.
pub struct AuditLog {
    pub(super) shared: Arc<LogState>,
    unresolved_break: bool,
    threads: Mutex<Option<LogThreads>>,
}

impl AuditLog {
    /// Opens a log, or makes a new one. Verifies the last segment, cuts a torn last line off, and holds the log against an
    /// end of it that was noted elsewhere. Blocks.
    ///
    /// A chain that does not verify is no reason not to open: it is left as it is, and a new segment says so. See
    /// [`AuditLog::health`].
    ///
    /// # Errors
    /// [`AuditOpenError`], where the log cannot be written or may be written by others.
    pub fn open(options: AuditOptions, anchor: Option<ChainHead>, clock: Clock) -> Result<OpenedLog, AuditOpenError> {
        let key = Arc::new(ChainKey::new(&options.key)?);
        let (directory_lock, listing) = DirectoryLock::take(&options.directory)?;
        let failed = |doing| {
            let path = options.directory.clone();
            move |source| AuditOpenError::Io { path, doing, source }
        };
        let found = recovery::recover(&options.directory, &key, listing, anchor).map_err(failed("read"))?;
        let (mut notes, position) = (found.notes(), found.position);
        let mut writer = LogWriter::new(key.clone(), clock, &options.directory, position, Arc::clone(&options.metrics))
            .map_err(failed("write"))?;
        begin(&mut writer, &found, &options, &mut notes).map_err(failed("write"))?;
        let unresolved_break = writer.unresolved_break;
        let shared = Arc::new(LogState::new(&options, key, writer, directory_lock));
        let threads = LogThreads::start(&shared).map_err(AuditOpenError::Thread)?;
        Ok(OpenedLog { log: AuditLog { shared, unresolved_break, threads: Mutex::new(Some(threads)) }, notes })
    }

    /// Writes an event. When this returns it is in the log, and durable where that was asked for.
    ///
    /// Dropping the future loses nothing: an event that was handed in is written.
    ///
    /// # Errors
    /// [`AuditError`]; with [`OnFailure::Continue`] only where the event itself is too long.
    pub async fn record(&self, event: &AuditEvent<'_>) -> Result<(), AuditError> {
        if self.shared.has_failed() {
            self.shared.lose(1);
            return self.shared.outcome_of_write(false);
        }
        let lane = self.shared.lanes.current_thread();
        let group = match lane.enter(event)? {
            Enqueued::Later(group) => group,
            Enqueued::First(group) => {
                let turn = FlushGuard { shared: &self.shared, lane };
                yield_to_ready_tasks().await;
                drop(turn);
                group
            }
        };
        self.shared.outcome_of_write(group.wait().await)
    }

    /// Asked before anything is done that needs a record, so that it is not half done when the record fails.
    ///
    /// # Errors
    /// [`AuditError::Unavailable`], at once, while events cannot be written and [`OnFailure::Refuse`] holds. That is tried
    /// again meanwhile, whether anyone asks or not.
    pub fn ready(&self) -> Result<(), AuditError> {
        self.shared.outcome_of_write(!self.shared.has_failed())
    }

    /// Whether the log is whole and can be written.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn health(&self) -> Result<(), String> {
        self.shared.health()?;
        if self.unresolved_break {
            return Err("the chain is broken; `masker audit verify` says where, and a start with \
                        `--accept-audit-break` takes note of it"
                .into());
        }
        Ok(())
    }

    /// Whether the thread that keeps the log runs. Waits for whoever writes or syncs at this moment, so it does not return
    /// while the disk does not answer. Blocks. Events that cannot be written are no matter here: see [`AuditLog::health`].
    pub fn is_running(&self) -> bool {
        self.shared.wait_for_disk();
        lock(&self.threads).as_ref().is_some_and(LogThreads::is_running)
    }

    /// Reads events back. Blocks.
    ///
    /// # Errors
    /// [`ReadError`], where a file cannot be read.
    pub fn read(&self, query: &EventQuery) -> Result<EventPage, ReadError> {
        read(&self.shared.directory, query)
    }

    /// The directory that it is in.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// The last event that is known to survive a power cut: what is to be noted outside of the log.
    pub fn durable_head(&self) -> ChainHead {
        self.shared.durable_head()
    }

    /// Makes everything durable, tells the operator's log where the chain stands, and ends. What is recorded later is
    /// written, and nobody makes it durable.
    pub async fn close(&self) {
        let threads = lock(&self.threads).take();
        let shared = self.shared.clone();
        if let Some(threads) = threads
            && tokio::task::spawn_blocking(move || threads.stop(&shared)).await.is_err()
        {
            tracing::error!("the audit log's end has panicked");
        }
    }
}

/// Goes to the end of the thread's queue of tasks. Unlike [`tokio::task::yield_now`] this asks the system for nothing.
async fn yield_to_ready_tasks() {
    let mut gone = false;
    poll_fn(|task| {
        if gone {
            return Poll::Ready(());
        }
        gone = true;
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A request's turn to write what has come to its lane. It writes when it is dropped, so a request that is given up does
/// not take the others with it.
struct FlushGuard<'a> {
    shared: &'a Arc<LogState>,
    lane: &'a ThreadBatch,
}

impl Drop for FlushGuard<'_> {
    fn drop(&mut self) {
        let mut written = self.shared.flush_thread_batch(self.lane, ROUNDS_MAX);
        match Handle::try_current() {
            // A request must not serve others for ever: a task of its own goes on.
            Ok(runtime) if written == WriteProgress::MoreComes => {
                let shared = self.shared.clone();
                runtime.spawn(async move {
                    while shared.flush_queue(ROUNDS_MAX) == WriteProgress::MoreComes {
                        tokio::task::yield_now().await;
                    }
                });
            }
            _ => {
                while written == WriteProgress::MoreComes {
                    written = self.shared.flush_queue(ROUNDS_MAX);
                }
            }
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        if let Some(threads) = lock(&self.threads).take() {
            threads.stop(&self.shared);
        }
    }
}

/// Writes what has to be said at the beginning: of what was found, and of what was chosen.
fn begin(
    writer: &mut LogWriter,
    found: &RecoveredLog,
    options: &AuditOptions,
    notes: &mut Vec<String>,
) -> std::io::Result<()> {
    if writer.is_full(options.segment_bytes_max) {
        writer.close_segment("full")?;
    }
    if !writer.is_open() {
        writer.open_segment()?;
    }
    if let Some(cut) = &found.cut {
        let detail = [("bytes", DetailValue::Number(cut.bytes)), ("segment", DetailValue::Text(&cut.segment))];
        writer.append_internal(AuditOperation::LineCut, &detail)?;
    }
    if let Some(broken) = &found.broken {
        let why = broken.why.to_string();
        let detail = [
            ("line", DetailValue::Number(broken.line)),
            ("segment", DetailValue::Text(&broken.segment)),
            ("why", DetailValue::Text(&why)),
        ];
        writer.append_internal(AuditOperation::ChainBroken, &detail)?;
    }
    if writer.unresolved_break && options.accept_break {
        writer.append_internal(AuditOperation::BreakAccepted, &[])?;
        writer.unresolved_break = false;
        notes.push("the broken chain of the audit log is taken note of; it stays broken at that place".into());
    }
    if options.on_failure == OnFailure::Continue {
        writer.append_internal(AuditOperation::ContinueChosen, &[])?;
    }
    writer.sync_now().map(drop)
}
