//! Where the audit log stands, kept by the vault: what is cut off the log's end is missed by whoever holds it against
//! this. It goes with every group commit, which costs it nothing, and at the latest from time to time.

use std::sync::{Arc, atomic::Ordering};

use super::{Vault, VaultError, VaultShared};
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
        drop(self.shared.audit.set(log));
    }

    /// Notes where the log stands now, if that is not noted yet.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails. Either head may be there then.
    pub async fn write_audit_head(&self) -> Result<(), VaultError> {
        match self.shared.audit_head() {
            Some((_, change)) => self.writer.keep(vec![change]).await,
            None => Ok(()),
        }
    }
}

impl VaultShared {
    /// The row that notes where the audit log stands, and its number there, if that is not noted yet.
    pub(super) fn audit_head(&self) -> Option<(u64, RowChange)> {
        let head = self.audit.get()?.durable_head();
        let row = AuditHeadRow { sequence: head.sequence, hash: head.hash };
        let news = head.sequence > self.audit_head_written.load(Ordering::Relaxed);
        news.then(|| (head.sequence, RowChange::Put(RowKey::audit_head(), row.encode())))
    }

    /// A commit has noted it.
    pub(super) fn set_audit_head_written(&self, sequence: u64) {
        self.audit_head_written.fetch_max(sequence, Ordering::Relaxed);
    }
}
