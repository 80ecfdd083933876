//! Where the audit log stands, kept by the vault: what is cut off the log's end is missed by whoever holds it against
//! this. It goes with every group commit, which costs it nothing, and at the latest from time to time.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use super::{Vault, VaultError, kept_rows::KeepRows};
use masker_audit::AuditLog;
use masker_store::{
    RowChange, RowKey, StoreError,
    record::{AuditHeadRow, RecordError},
};

impl Vault {
    /// Where the audit log stood when the vault was last told.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails or the row does not decode.
    pub async fn audit_head(&self) -> Result<Option<AuditHeadRow>, VaultError> {
        let rows = self.shared.store.get_many(vec![RowKey::audit_head()]).await?;
        let row = rows.into_iter().next().flatten();
        let damaged = |damage: RecordError| StoreError::Damaged(damage.to_string());
        Ok(row.map(|row| AuditHeadRow::decode(&row)).transpose().map_err(damaged)?)
    }

    /// From now on notes where this log stands with every commit. A second log is not taken.
    pub fn anchor(&self, log: Arc<AuditLog>) {
        // Only a second call could fail, and the daemon has one log.
        drop(self.shared.audit_anchor.log.set(log));
    }

    /// Notes where the log stands now, if that is not noted yet.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails. Either head may be there then.
    pub async fn write_audit_head(&self) -> Result<(), VaultError> {
        match self.shared.audit_anchor.unwritten_head() {
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
