//! Rows that the vault keeps durably for others, and does not look into.

use super::{Vault, VaultError, pages::Pages};
use crate::store::{
    Change, RowKey, StoreError,
    record::{ApiKeyRow, AuditHeadRow, KeyError, Named, RecordError},
};

/// Why an API key was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepFailed {
    /// What was to be kept cannot be.
    #[error(transparent)]
    Row(#[from] KeyError),
    /// The vault could not write it.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Vault {
    /// Every API key that is kept, with its id.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails or a row does not decode.
    pub async fn api_keys(&self) -> Result<Vec<([u8; 16], ApiKeyRow)>, VaultError> {
        let mut pages = Pages::new(Named::API_KEYS);
        let mut keys = Vec::new();
        while let Some(rows) = pages.next(self.shared.store.as_ref()).await? {
            for (key, row) in rows {
                if let Named::ApiKey(id) = Named::parse(&key).map_err(damaged)? {
                    keys.push((id, ApiKeyRow::decode(&row).map_err(damaged)?));
                }
            }
        }
        Ok(keys)
    }

    /// Keeps an API key in the place of what was kept under its id: durable when it returns.
    ///
    /// # Errors
    /// [`KeepFailed`]. After a failure of the store either may be there once it serves again.
    pub async fn keep_api_key(&self, id: [u8; 16], key: &ApiKeyRow) -> Result<(), KeepFailed> {
        Ok(self.writer.keep(vec![Change::Put(RowKey::api_key(&id), key.encode()?)]).await?)
    }

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
