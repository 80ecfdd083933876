//! The running log.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    chain::ChainHead,
    directory::LogDirectoryLock,
    error::{AuditError, AuditOpenError},
    event::{AuditEvent, AuditOperation, DetailValue},
    options::AuditOptions,
    read::{EventPage, EventQuery, ReadError, read},
    recovery::{self, RecoveredLog},
    state::LogState,
    summary::{self, PeriodSummary, Rollups, SummarizeError, SummarizedLog, SummaryPeriod},
    sync::lock,
    threads::LogThreads,
    trusted_time::TrustedTime,
    vault::{CurrentPosition, PositionDetails, RecordedVault},
    writer::{Clock, LogWriter},
};
use masker_core::crypto::{ChainKey, TokenId};
use masker_types::{audit::OnFailure, vault_position::VaultId};

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
    vault: Option<CurrentPosition>,
    /// The number of the last commit that an event has.
    noted_commit: AtomicU64,
    unresolved_break: Arc<AtomicBool>,
    trusted_time: TrustedTime,
    clock: Clock,
    threads: Mutex<Option<LogThreads>>,
}

impl AuditLog {
    /// Opens a log, or creates a new one. Verifies the last segment, removes a torn last line, and compares the log with
    /// `anchor`, an event that was noted elsewhere. Records commits of `vault` that the log does not tell of. Blocks.
    ///
    /// A chain that does not verify does not prevent opening: its segments stay unchanged, and a new segment records the
    /// break. See [`AuditLog::health`].
    ///
    /// # Errors
    /// [`AuditOpenError`] if the log cannot be written, or others could write it too.
    pub fn open(
        options: AuditOptions,
        anchor: Option<ChainHead>,
        vault: Option<RecordedVault>,
        clock: Clock,
    ) -> Result<OpenedLog, AuditOpenError> {
        let key = Arc::new(ChainKey::new(&options.key)?);
        let (directory_lock, listing) = LogDirectoryLock::acquire(&options.directory)?;
        let failed_to = |operation| {
            let path = options.directory.clone();
            move |source| AuditOpenError::Io { path, operation, source }
        };
        let recovered = recovery::recover(&options.directory, &key, listing, anchor).map_err(failed_to("read"))?;
        let mut notes = recovered.notes();
        let current = vault.as_ref().map(|vault| vault.current.clone());
        let mut writer =
            LogWriter::new(&options, key.clone(), clock.clone(), recovered.position, current.clone(), directory_lock)
                .map_err(failed_to("write"))?;
        begin(&mut writer, &recovered, &options, vault.as_ref(), &mut notes).map_err(failed_to("write"))?;
        let (unresolved_break, trusted_time) = (writer.unresolved_break.clone(), writer.trusted_time.clone());
        let state = Arc::new(LogState::new(&options, key, writer));
        let threads = LogThreads::start(&state).map_err(AuditOpenError::Thread)?;
        let (noted_commit, threads) = (AtomicU64::new(0), Mutex::new(Some(threads)));
        let log = AuditLog { state, vault: current, noted_commit, unresolved_break, trusted_time, clock, threads };
        Ok(OpenedLog { log, notes })
    }

    /// Writes an event. When this returns, the log contains it, and it is durable if the options ask for that.
    ///
    /// Dropping the future loses nothing: an event that was handed in is written.
    ///
    /// # Errors
    /// [`AuditError`]; with [`OnFailure::Continue`] only if the event is too long.
    pub async fn record(&self, event: &AuditEvent<'_>) -> Result<(), AuditError> {
        match self.vault.as_ref().filter(|_| event.op.has_vault_position()) {
            None => self.write(event).await,
            Some(current) => {
                let position = current();
                let details = PositionDetails::new(position);
                let detail = [event.detail, &details.members()].concat();
                self.write(&AuditEvent { detail: &detail, ..*event }).await?;
                self.noted_commit.fetch_max(position.sequence, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    async fn write(&self, event: &AuditEvent<'_>) -> Result<(), AuditError> {
        self.state.flusher.record(self.state.batches.current_thread(), |batch| batch.push(event)).await
    }

    /// Records the vault's position, if it has commits that are later than the last recorded one. Call this once a second:
    /// then a start finds how many commits are missing in an older copy of the vault.
    ///
    /// # Errors
    /// [`AuditError`], as [`AuditLog::record`].
    pub async fn record_vault_position(&self) -> Result<(), AuditError> {
        self.ready()?;
        let noted = self.noted_commit.load(Ordering::Relaxed);
        match &self.vault {
            Some(current) if current().sequence > noted => {
                self.record(&AuditEvent::new(AuditOperation::VaultPosition, "ok")).await
            }
            _ => Ok(()),
        }
    }

    /// Returns the number of the last event that is more than a position of the vault.
    pub fn last_operation(&self) -> u64 {
        self.state.last_operation.load(Ordering::Acquire)
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
        if self.unresolved_break.load(Ordering::Relaxed) {
            return Err("the chain is broken; `masker audit verify` shows where, and \
                        `masker recover` accepts the break"
                .into());
        }
        Ok(())
    }

    /// Returns whether the clock is near enough to the last event to decide what is old enough to delete. If it is not, an operator
    /// can accept it with [`AuditOptions::accept_clock`].
    pub fn clock_is_trusted(&self) -> bool {
        self.trusted_time.accepts((self.clock)())
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

    /// Verifies the log and summarizes a period of it. With `full`, reads all segments again; otherwise uses the rollups of closed
    /// segments, and reads those that have none or where the period begins or ends. Takes long for a large log. Blocks.
    ///
    /// # Errors
    /// [`SummarizeError`] if a file cannot be read, or if the log is closed meanwhile.
    pub fn summarize(&self, period: &SummaryPeriod, full: bool) -> Result<PeriodSummary, SummarizeError> {
        let log = SummarizedLog {
            directory: &self.state.directory,
            key: &self.state.key,
            expected: self.durable_head(),
            is_stopping: &|| self.state.flusher.is_stopping(),
        };
        let summary = summary::summarize(&log, period, if full { Rollups::Ignore } else { Rollups::Use })?;
        if summary.rollups_missing > 0
            && let Some(threads) = &*lock(&self.threads)
        {
            threads.request_maintenance(&self.state);
        }
        Ok(summary)
    }

    /// Returns the mark of an erased record, by which the log tells a restore what must not come back.
    pub fn erasure_mark(&self, id: &TokenId) -> [u8; 16] {
        self.state.key.erasure_mark(id)
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
    vault: Option<&RecordedVault>,
    notes: &mut Vec<String>,
) -> std::io::Result<()> {
    if options.accept_clock && writer.is_open() {
        writer.accept_clock()?;
    }
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
    // What this start has found is not what the operator was shown.
    let is_known = recovered.broken.is_none();
    if is_known && writer.unresolved_break.load(Ordering::Relaxed) && options.accept_break {
        writer.append_internal(AuditOperation::BreakAccepted, &[])?;
        writer.unresolved_break.store(false, Ordering::Relaxed);
        notes.push("the break in the audit log's chain is accepted; the broken lines stay as they are".into());
    }
    if options.accept_clock {
        writer.accept_clock()?;
    }
    writer.watch_clock()?;
    if let Some(vault) = vault {
        note_vault(writer, vault, recovered.stopped, notes)?;
    }
    if options.on_failure == OnFailure::Continue {
        writer.append_internal(AuditOperation::ContinueChosen, &[])?;
    }
    writer.sync_now().map(drop)
}

/// Writes what the start found of the vault: a loss or another vault that an operator has accepted, or commits without an
/// event. After an orderly stop (`stopped`), one commit follows the last event: it notes that event in the vault.
fn note_vault(
    writer: &mut LogWriter,
    vault: &RecordedVault,
    stopped: bool,
    notes: &mut Vec<String>,
) -> std::io::Result<()> {
    let Some(recorded) = vault.recorded else { return Ok(()) };
    if recorded.vault_id != vault.found.vault_id {
        let previous = VaultId(recorded.vault_id).to_string();
        return writer.append_internal(AuditOperation::VaultAccepted, &[("previous", DetailValue::Text(&previous))]);
    }
    if let Some(commits) = vault.accepted_loss {
        return writer.append_internal(AuditOperation::LossAccepted, &[("commits", DetailValue::Number(commits))]);
    }
    let commits = vault.found.sequence.saturating_sub(recorded.sequence);
    if vault.found.epoch == recorded.epoch && commits <= u64::from(stopped) {
        return Ok(());
    }
    let detail =
        [("commits", DetailValue::Number(commits)), ("recorded_sequence", DetailValue::Number(recorded.sequence))];
    writer.append_internal(AuditOperation::Unrecorded, &detail)?;
    notes.push(format!("the vault has {commits} commits after the last position that the audit log has recorded"));
    Ok(())
}
