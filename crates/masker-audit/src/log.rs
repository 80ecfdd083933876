//! The running log.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use super::{
    chain::ChainHead,
    directory::DirectoryLock,
    error::{AuditError, AuditOpenError},
    event::{AuditEvent, AuditOperation, DetailValue},
    options::AuditOptions,
    read::{EventPage, EventQuery, ReadError, read},
    recovery::{self, RecoveredLog},
    state::LogState,
    sync::lock,
    threads::LogThreads,
    writer::{Clock, LogWriter},
};
use masker_core::crypto::ChainKey;
use masker_types::audit::OnFailure;

/// The result of [`AuditLog::open`].
pub struct OpenedLog {
    /// The log.
    pub log: AuditLog,
    /// Messages for the operator.
    pub notes: Vec<String>,
}

/// The audit log. Only this process writes it. Dropping it closes it, which blocks.
pub struct AuditLog {
    pub(super) state: Arc<LogState>,
    unresolved_break: bool,
    threads: Mutex<Option<LogThreads>>,
}

impl AuditLog {
    /// Opens a log, or creates a new one. Verifies the last segment, removes a torn last line, and compares the log with
    /// `anchor`, an event that was noted elsewhere. Blocks.
    ///
    /// A chain that does not verify does not prevent opening: its segments stay unchanged, and a new segment records the
    /// break. See [`AuditLog::health`].
    ///
    /// # Errors
    /// [`AuditOpenError`] if the log cannot be written, or others could write it too.
    pub fn open(options: AuditOptions, anchor: Option<ChainHead>, clock: Clock) -> Result<OpenedLog, AuditOpenError> {
        let key = Arc::new(ChainKey::new(&options.key)?);
        let (directory_lock, listing) = DirectoryLock::acquire(&options.directory)?;
        let failed_to = |operation| {
            let path = options.directory.clone();
            move |source| AuditOpenError::Io { path, operation, source }
        };
        let recovered = recovery::recover(&options.directory, &key, listing, anchor).map_err(failed_to("read"))?;
        let mut notes = recovered.notes();
        let mut writer = LogWriter::new(&options, key.clone(), clock, recovered.position, directory_lock)
            .map_err(failed_to("write"))?;
        begin(&mut writer, &recovered, &options, &mut notes).map_err(failed_to("write"))?;
        let unresolved_break = writer.unresolved_break;
        let state = Arc::new(LogState::new(&options, key, writer));
        let threads = LogThreads::start(&state).map_err(AuditOpenError::Thread)?;
        Ok(OpenedLog { log: AuditLog { state, unresolved_break, threads: Mutex::new(Some(threads)) }, notes })
    }

    /// Writes an event. When this returns, the log contains it, and it is durable if the options ask for that.
    ///
    /// Dropping the future loses nothing: an event that was handed in is written.
    ///
    /// # Errors
    /// [`AuditError`]; with [`OnFailure::Continue`] only if the event is too long.
    pub async fn record(&self, event: &AuditEvent<'_>) -> Result<(), AuditError> {
        self.state.flusher.record(self.state.batches.current_thread(), |batch| batch.push(event)).await
    }

    /// Checks that events can be written. Call this before an operation that needs a record, so that the operation does
    /// not stop halfway when the record fails.
    ///
    /// # Errors
    /// [`AuditError::Unavailable`], at once, while events cannot be written and [`OnFailure::Refuse`] applies. The log
    /// retries in the background.
    pub fn ready(&self) -> Result<(), AuditError> {
        self.state.flusher.ready()
    }

    /// Checks that the chain is not broken and that events can be written.
    ///
    /// # Errors
    /// A message for the operator.
    pub fn health(&self) -> Result<(), String> {
        self.state.flusher.health()?;
        if self.unresolved_break {
            return Err("the chain is broken; `masker audit verify` shows where, and a start with \
                        `--accept-audit-break` accepts the break"
                .into());
        }
        Ok(())
    }

    /// Returns whether the thread that syncs runs. Waits for a write or a sync in progress, so it does not return while the
    /// disk hangs. Blocks. The result does not depend on whether events can be written: see [`AuditLog::health`].
    pub fn is_running(&self) -> bool {
        self.state.flusher.wait_for_disk();
        lock(&self.threads).as_ref().is_some_and(LogThreads::is_running)
    }

    /// Reads events. Blocks.
    ///
    /// # Errors
    /// [`ReadError`] if a file cannot be read.
    pub fn read(&self, query: &EventQuery) -> Result<EventPage, ReadError> {
        read(&self.state.directory, query)
    }

    /// Returns the directory of the log.
    pub fn directory(&self) -> &Path {
        &self.state.directory
    }

    /// Returns the last event that survives a power cut, to be noted outside of the log.
    pub fn durable_head(&self) -> ChainHead {
        self.state.flusher.durable_head()
    }

    /// Syncs everything, writes the head of the chain to the program's log, and ends the threads. Events that are recorded
    /// later are written but not synced, so [`AuditLog::record`] fails where it would wait for a sync.
    pub async fn close(&self) {
        let threads = lock(&self.threads).take();
        let state = self.state.clone();
        if let Some(threads) = threads
            && tokio::task::spawn_blocking(move || threads.stop(&state)).await.is_err()
        {
            tracing::error!("closing the audit log panicked");
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        if let Some(threads) = lock(&self.threads).take() {
            threads.stop(&self.state);
        }
    }
}

/// Opens a segment and writes the events about the start: what was recovered, and what the operator chose.
fn begin(
    writer: &mut LogWriter,
    recovered: &RecoveredLog,
    options: &AuditOptions,
    notes: &mut Vec<String>,
) -> std::io::Result<()> {
    if writer.is_full() {
        writer.close_segment("full")?;
    }
    if !writer.is_open() {
        writer.open_segment()?;
    }
    if let Some(tail) = &recovered.torn_tail {
        let detail = [("bytes", DetailValue::Number(tail.bytes)), ("segment", DetailValue::Text(&tail.segment))];
        writer.append_internal(AuditOperation::LineCut, &detail)?;
    }
    if let Some(broken) = &recovered.broken {
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
        notes.push("the break in the audit log's chain is accepted; the broken lines stay as they are".into());
    }
    if options.on_failure == OnFailure::Continue {
        writer.append_internal(AuditOperation::ContinueChosen, &[])?;
    }
    writer.sync_now().map(drop)
}
