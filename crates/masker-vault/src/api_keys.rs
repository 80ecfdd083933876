//! API keys as rows. [`masker_access`] defines what is in them.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    VaultError,
    control::ControlledStore,
    handles::Handles,
    kept_rows::KeepRows,
    ledger::all_rows,
    reader::Reader,
    writer::{Change, CommitDraft, Lane, ReadPlan, WriterHandle},
};
use masker_access::{ApiKey, ApiKeyId, LastUse};
use masker_store::{
    Row, RowChange, RowKey, StoreError,
    record::{API_KEY_BYTES_MAX, ApiKeyRow, RowName},
};

/// Room in a key's document for what is added to it after its last change, in bytes: ended secrets, and the time of its
/// revocation.
const LATER_BYTES: usize = 768;

/// Why an API key was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepKeyError {
    /// Its row would be too long.
    #[error("this key names too many scopes, policies and contexts: give it fewer, or create several keys")]
    TooLong,
    /// The rows of API keys are void.
    #[error(
        "the vault's control rows are not those that it wrote, so API keys are void: run `masker vault new-control-key`, \
         which removes them, then create the key again"
    )]
    Void,
    /// The vault failed to store it.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Keeps API keys.
pub(crate) struct ApiKeyRows {
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    control: Arc<ControlledStore>,
}

impl ApiKeyRows {
    pub(crate) fn new(handles: &Handles, control: Arc<ControlledStore>) -> Self {
        ApiKeyRows { reader: Arc::clone(&handles.reader), writer: Arc::clone(&handles.writer), control }
    }

    /// Implements [`Vault::api_keys`](crate::Vault::api_keys).
    pub(crate) async fn api_keys(&self) -> Result<Vec<ApiKey>, VaultError> {
        let keys: Vec<ApiKey> = self.documents(RowName::API_KEYS).await?.into_values().collect();
        let mut uses: BTreeMap<RowKey, LastUse> = self.documents(RowName::API_KEY_USES).await?;
        let with_use = |key: ApiKey| match uses.remove(&RowKey::api_key_use(key.id().as_bytes())) {
            Some(last) => key.used(last),
            None => key,
        };
        Ok(keys.into_iter().map(with_use).collect())
    }

    /// Reads the documents of a space.
    async fn documents<D: DeserializeOwned>(&self, space: u8) -> Result<BTreeMap<RowKey, D>, StoreError> {
        let rows = all_rows(self.reader.store(), space).await?;
        let document = |(key, row): (RowKey, Row)| {
            let row = ApiKeyRow::decode(&row).map_err(|damage| StoreError::Damaged(damage.to_string()))?;
            let document = serde_json::from_slice(&row.document)
                .map_err(|error| StoreError::Damaged(format!("an API key's row cannot be read: {error}")))?;
            Ok((key, document))
        };
        rows.into_iter().map(document).collect()
    }

    /// Implements [`Vault::keep_api_keys`](crate::Vault::keep_api_keys).
    pub(crate) async fn keep_api_keys(&self, keys: &[ApiKey]) -> Result<(), KeepKeyError> {
        if !self.control.is_sound() {
            return Err(KeepKeyError::Void);
        }
        let changes = keys.iter().map(key_row).collect::<Result<_, _>>()?;
        Ok(self.writer.commit(KeepRows(changes)).await?)
    }

    /// Implements [`Vault::note_api_key_use`](crate::Vault::note_api_key_use).
    pub(crate) async fn note_api_key_use(&self, keys: &[ApiKey]) -> Result<(), VaultError> {
        if !self.control.is_sound() {
            // The rows are void, and a new control key removes them.
            return Ok(());
        }
        let keys: Vec<KeyUse> = keys.iter().filter_map(KeyUse::of).collect();
        if keys.is_empty() { Ok(()) } else { self.writer.commit(NoteUses(keys)).await }
    }
}

/// Checks that the vault can store these keys, and what is added to them later: how they end. A key that is new or gets more
/// rights than the one `before` must also have room for rotations and for rights that are taken away.
///
/// # Errors
/// [`KeepKeyError::TooLong`]. A revoked key is never too long.
pub fn check_api_key_lengths(keys: &[ApiKey], before: impl Fn(ApiKeyId) -> Option<ApiKey>) -> Result<(), KeepKeyError> {
    let rights_bytes = |key: &ApiKey| serde_json::to_vec(&key.rights()).map_or(0, |rights| rights.len());
    let fits = |key: &ApiKey| {
        let grows = before(key.id()).is_none_or(|before| rights_bytes(key) > rights_bytes(&before));
        let document = if grows { serde_json::to_vec(&key.at_full_length()) } else { serde_json::to_vec(key) };
        let document = document.unwrap_or_default();
        key.revoked_at_ms().is_some() || (1..=API_KEY_BYTES_MAX - LATER_BYTES).contains(&document.len())
    };
    if keys.iter().all(fits) { Ok(()) } else { Err(KeepKeyError::TooLong) }
}

/// Stores the last uses of keys, and the keys themselves where they changed: secrets whose grace period was seen to be over
/// never work again.
struct NoteUses(Vec<KeyUse>);

struct KeyUse {
    key: RowChange,
    last_use: Option<RowChange>,
}

impl KeyUse {
    fn of(key: &ApiKey) -> Option<Self> {
        let last_use = key.last_use().and_then(|last| {
            let row = document_row(last).ok()?;
            Some(RowChange::Put(RowKey::api_key_use(key.id().as_bytes()), row))
        });
        Some(KeyUse { key: key_row(key).ok()?, last_use })
    }
}

impl Change for NoteUses {
    type Outcome = ();

    fn row_count(&self) -> usize {
        self.0.len()
    }

    fn lane(&self) -> Lane {
        Lane::Control
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        self.0.iter().for_each(|used| plan.row(used.key.key().clone()));
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) {
        for KeyUse { key, last_use } in &self.0 {
            if !matches!((key, draft.row(key.key())), (RowChange::Put(_, now), Some(stored)) if now == stored) {
                draft.write(key.clone());
            }
            last_use.iter().for_each(|row| draft.write(row.clone()));
        }
    }
}

fn key_row(key: &ApiKey) -> Result<RowChange, KeepKeyError> {
    Ok(RowChange::Put(RowKey::api_key(key.id().as_bytes()), document_row(key)?))
}

pub(crate) fn document_row(document: &impl Serialize) -> Result<Row, KeepKeyError> {
    let document = serde_json::to_vec(document).map_err(|_| KeepKeyError::TooLong)?;
    ApiKeyRow { document }.encode().map_err(|_| KeepKeyError::TooLong)
}
