//! The audit log's head, for the writer to note with every commit.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use masker_audit::AuditLog;
use masker_store::{RowChange, RowKey, record::AuditHeadRow};

/// The log whose end is noted with every commit, and how far it is noted.
#[derive(Default)]
pub(crate) struct AuditAnchor {
    log: OnceLock<Arc<AuditLog>>,
    /// The sequence number of the last event that is noted.
    written: AtomicU64,
}

impl AuditAnchor {
    /// Sets the log. A second call has no effect.
    pub(crate) fn set_log(&self, log: Arc<AuditLog>) {
        // Only a second call fails, and the daemon has one log.
        drop(self.log.set(log));
    }

    /// Returns the log, once it is set.
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

    /// Returns whether the log has events that are not noted, other than positions of the vault. Noting one of those would
    /// be a commit, whose position the log would record, and so on.
    pub(crate) fn has_unwritten_operation(&self) -> bool {
        self.log.get().is_some_and(|log| log.last_operation() > self.written.load(Ordering::Relaxed))
    }

    /// Notes that a commit has written the head of this number.
    pub(crate) fn set_written(&self, sequence: u64) {
        self.written.fetch_max(sequence, Ordering::Relaxed);
    }
}
