//! The audit log's head, noted in the vault: a log that was truncated is detected by comparing it with this. The head is
//! written with every group commit, which costs nothing extra, and otherwise from time to time.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use super::{VaultError, kept_rows::KeepRows, reader::Reader, vault::Handles, writer::WriterHandle};
use masker_audit::AuditLog;
use masker_store::{
    RowChange, RowKey, StoreError,
    record::{AuditHeadRow, RecordError},
};

/// Keeps the audit log's head.
pub(crate) struct AuditHeads {
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    audit_anchor: Arc<AuditAnchor>,
}

impl AuditHeads {
    pub(crate) fn new(handles: &Handles, audit_anchor: Arc<AuditAnchor>) -> Self {
        AuditHeads { reader: Arc::clone(&handles.reader), writer: Arc::clone(&handles.writer), audit_anchor }
    }

    /// Implements [`Vault::audit_head`](crate::Vault::audit_head).
    pub(crate) async fn audit_head(&self) -> Result<Option<AuditHeadRow>, VaultError> {
        let rows = self.reader.store().get_many(vec![RowKey::audit_head()]).await?;
        let row = rows.into_iter().next().flatten();
        let damaged = |damage: RecordError| StoreError::Damaged(damage.to_string());
        Ok(row.map(|row| AuditHeadRow::decode(&row)).transpose().map_err(damaged)?)
    }

    /// Implements [`Vault::anchor`](crate::Vault::anchor).
    pub(crate) fn anchor(&self, log: Arc<AuditLog>) {
        // Only a second call fails, and the daemon has one log.
        drop(self.audit_anchor.log.set(log));
    }

    /// Implements [`Vault::write_audit_head`](crate::Vault::write_audit_head).
    pub(crate) async fn write_audit_head(&self) -> Result<(), VaultError> {
        match self.audit_anchor.unwritten_head() {
            Some((_, change)) => self.writer.commit(KeepRows(vec![change])).await,
            None => Ok(()),
        }
    }
}

/// The log whose end is noted with every commit, and how far it is noted.
#[derive(Default)]
pub(crate) struct AuditAnchor {
    log: OnceLock<Arc<AuditLog>>,
    /// The sequence number of the last event that is noted.
    written: AtomicU64,
}

impl AuditAnchor {
    /// Returns the log, once there is one.
    pub(crate) fn log(&self) -> Option<&Arc<AuditLog>> {
        self.log.get()
    }

    /// Returns the row that notes the log's durable end, with its sequence number, unless that is noted already.
    pub(crate) fn unwritten_head(&self) -> Option<(u64, RowChange)> {
        let head = self.log.get()?.durable_head();
        let row = AuditHeadRow { sequence: head.sequence, hash: head.hash };
        let is_unwritten = head.sequence > self.written.load(Ordering::Relaxed);
        is_unwritten.then(|| (head.sequence, RowChange::Put(RowKey::audit_head(), row.encode())))
    }

    /// Notes that a commit has written the head of this number.
    pub(crate) fn set_written(&self, sequence: u64) {
        self.written.fetch_max(sequence, Ordering::Relaxed);
    }
}
