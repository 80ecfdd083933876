//! Where the audit log stands, kept by the vault: what is cut off the log's end is missed by whoever holds it against this.

use super::{Vault, VaultError};
use crate::store::{
    Change, RowKey, StoreError,
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
        Ok(row.map(|row| AuditHeadRow::decode(&row)).transpose().map_err(damaged)?)
    }

    /// Keeps where the audit log stands: durable when it returns.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails. Either head may be there then.
    pub async fn keep_audit_head(&self, head: &AuditHeadRow) -> Result<(), VaultError> {
        self.writer.keep(vec![Change::Put(RowKey::audit_head(), head.encode())]).await
    }
}

fn damaged(damage: RecordError) -> StoreError {
    StoreError::Damaged(damage.to_string())
}
