//! API keys as rows: kept by the vault for [`masker_access`], which says what is in them.

use super::{Vault, VaultError, kept_rows::KeepRows, ledger::all_rows};
use masker_access::{ApiKey, ApiKeysAdmin, Permit};
use masker_store::{
    RowChange, RowKey, StoreError,
    record::{ApiKeyRow, RowName},
};

/// Why a key was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepKeyError {
    /// What is to be kept of it is too long: too many scopes, policies or contexts.
    #[error("this key names more scopes, policies and contexts than a key can: give it fewer, or make several keys")]
    TooLong,
    /// The vault could not keep it.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Vault {
    /// Every API key that is kept.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails, or a row is none that this release has written.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, VaultError> {
        let rows = all_rows(self.shared.store.as_ref(), RowName::API_KEYS).await?;
        let key = |row: &[u8]| {
            let document = ApiKeyRow::decode(row).map_err(|damage| StoreError::Damaged(damage.to_string()))?.document;
            serde_json::from_slice(&document)
                .map_err(|error| StoreError::Damaged(format!("an API key's row cannot be read: {error}")))
        };
        Ok(rows.iter().map(|(_, row)| key(row)).collect::<Result<_, StoreError>>()?)
    }

    /// Keeps a key as it is now: durable when it returns.
    ///
    /// # Errors
    /// [`KeepKeyError`]; after a failure of the store it is kept or not.
    pub async fn keep_api_key(&self, _permit: &Permit<ApiKeysAdmin>, key: &ApiKey) -> Result<(), KeepKeyError> {
        Ok(self.writer.commit(KeepRows(vec![change(key)?])).await?)
    }

    /// Keeps when keys were last used.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; it can be tried again.
    pub async fn note_api_key_use(&self, keys: &[ApiKey]) -> Result<(), VaultError> {
        // A key that was kept before is not too long now but for its last use: that is not worth its loss.
        let changes: Vec<RowChange> = keys.iter().filter_map(|key| change(key).ok()).collect();
        if changes.is_empty() { Ok(()) } else { self.writer.commit(KeepRows(changes)).await }
    }
}

fn change(key: &ApiKey) -> Result<RowChange, KeepKeyError> {
    let document = serde_json::to_vec(key).map_err(|_| KeepKeyError::TooLong)?;
    let row = ApiKeyRow { document }.encode().map_err(|_| KeepKeyError::TooLong)?;
    Ok(RowChange::Put(RowKey::api_key(key.id().as_bytes()), row))
}
