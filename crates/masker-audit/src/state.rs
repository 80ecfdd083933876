//! The log as its requests and threads share it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use super::{
    event::{AuditOperation, DetailValue},
    flush::Flusher,
    options::AuditOptions,
    thread_batch::ThreadBatches,
    writer::{EventBatch, LogWriter},
};
use masker_core::crypto::ChainKey;

/// The log as its requests and threads share it.
pub(super) struct LogState {
    pub(super) directory: PathBuf,
    pub(super) key: Arc<ChainKey>,
    pub(super) retention_days: u32,
    /// The number of the last event that is more than a position of the vault.
    pub(super) last_operation: Arc<AtomicU64>,
    pub(super) batches: ThreadBatches<EventBatch>,
    pub(super) flusher: Arc<Flusher<LogWriter>>,
    /// One thread at a time writes rollups.
    pub(super) summarizing: Mutex<()>,
}

impl LogState {
    /// Shares a writer whose events are all durable.
    pub(super) fn new(options: &AuditOptions, key: Arc<ChainKey>, writer: LogWriter) -> Self {
        let (head, failures) = (writer.head(), options.metrics.failures.clone());
        LogState {
            directory: options.directory.clone(),
            key,
            retention_days: options.retention_days,
            last_operation: writer.last_operation.clone(),
            batches: ThreadBatches::default(),
            flusher: Arc::new(Flusher::new(writer, head, options.sync, options.on_failure, failures)),
            summarizing: Mutex::default(),
        }
    }

    /// Records an event of the log itself and syncs it. Returns whether it is durable.
    pub(super) fn record_internal(&self, op: AuditOperation, detail: &[(&'static str, DetailValue<'_>)]) -> bool {
        self.flusher.append_and_sync(|writer| {
            writer.append_internal(op, detail)?;
            Ok(writer.head())
        })
    }
}
