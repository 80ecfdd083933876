//! API keys as rows. [`masker_access`] defines what is in them.

use std::sync::Arc;

use super::{
    VaultError, handles::Handles, kept_rows::KeepRows, ledger::all_rows, reader::Reader, writer::WriterHandle,
};
use masker_access::ApiKey;
use masker_store::{
    RowChange, RowKey, StoreError,
    record::{API_KEY_BYTES_MAX, ApiKeyRow, RowName},
};

/// Room in a key's document for what is added to it after its last change, in bytes: the last use with a unit's name, ended
/// secrets, and the time of its revocation.
const LATER_BYTES: usize = 768;

/// Why an API key was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepKeyError {
    /// Its row would be too long.
    #[error("this key names too many scopes, policies and contexts: give it fewer, or create several keys")]
    TooLong,
    /// The vault failed to store it.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Keeps API keys.
pub(crate) struct ApiKeyRows {
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
}

impl ApiKeyRows {
    pub(crate) fn new(handles: &Handles) -> Self {
        ApiKeyRows { reader: Arc::clone(&handles.reader), writer: Arc::clone(&handles.writer) }
    }

    /// Implements [`Vault::api_keys`](crate::Vault::api_keys).
    pub(crate) async fn api_keys(&self) -> Result<Vec<ApiKey>, VaultError> {
        let rows = all_rows(self.reader.store(), RowName::API_KEYS).await?;
        let key = |row: &[u8]| {
            let document = ApiKeyRow::decode(row).map_err(|damage| StoreError::Damaged(damage.to_string()))?.document;
            serde_json::from_slice(&document)
                .map_err(|error| StoreError::Damaged(format!("an API key's row cannot be read: {error}")))
        };
        Ok(rows.iter().map(|(_, row)| key(row)).collect::<Result<_, StoreError>>()?)
    }

    /// Implements [`Vault::keep_api_keys`](crate::Vault::keep_api_keys).
    pub(crate) async fn keep_api_keys(&self, keys: &[ApiKey]) -> Result<(), KeepKeyError> {
        let changes = keys.iter().map(change).collect::<Result<_, _>>()?;
        Ok(self.writer.commit(KeepRows(changes)).await?)
    }

    /// Implements [`Vault::note_api_key_use`](crate::Vault::note_api_key_use).
    pub(crate) async fn note_api_key_use(&self, keys: &[ApiKey]) -> Result<(), VaultError> {
        // A stored key can be too long only by the time of its last use: that is left out.
        let changes: Vec<RowChange> = keys.iter().filter_map(|key| change(key).ok()).collect();
        if changes.is_empty() { Ok(()) } else { self.writer.commit(KeepRows(changes)).await }
    }
}

/// Checks that the vault can store these keys, and what is added to them later: their last use, and how they end.
///
/// # Errors
/// [`KeepKeyError::TooLong`]. A revoked key is never too long.
pub fn check_api_key_lengths(keys: &[ApiKey]) -> Result<(), KeepKeyError> {
    let fits = |key: &ApiKey| {
        let document = serde_json::to_vec(key).unwrap_or_default();
        key.revoked_at_ms().is_some() || (1..=API_KEY_BYTES_MAX - LATER_BYTES).contains(&document.len())
    };
    if keys.iter().all(fits) { Ok(()) } else { Err(KeepKeyError::TooLong) }
}

fn change(key: &ApiKey) -> Result<RowChange, KeepKeyError> {
    let document = serde_json::to_vec(key).map_err(|_| KeepKeyError::TooLong)?;
    let row = ApiKeyRow { document }.encode().map_err(|_| KeepKeyError::TooLong)?;
    Ok(RowChange::Put(RowKey::api_key(key.id().as_bytes()), row))
}
