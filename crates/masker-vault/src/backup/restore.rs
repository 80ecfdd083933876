//! Restores the export of a backup into a new vault, with its control rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{
    import::{self, ImportOutcome, ImportRules, Importer},
    import_error::VaultImportError,
    later::{LaterChanges, LaterErasures},
    spool::{Spool, SpoolCursor, SpoolEntry},
};
use crate::{
    VaultError,
    api_keys::document_row,
    handles::Handles,
    ids::HoneytokenId,
    kept_rows::KeepRows,
    keys::CurrentKeys,
    ledger::CurrentLedger,
    time::{self, Clock},
    writer::WriterHandle,
};
use masker_access::{ApiKey, ApiKeyId, KeyPrefix, LastUse};
use masker_core::{crypto::Fingerprint, export::ExportError, keyring::Keyring};
use masker_store::{
    Row, RowChange, RowKey,
    record::{
        ApiKeyRow, GenerationRow, GenerationUseRow, HoneytokenRow, PlaceholderKeyRow, PlaceholderRow, RowName,
        SessionRow, SessionTokenRow,
    },
};
use masker_types::kind::Kid;

/// Rows in one commit.
const ROWS_PER_COMMIT: usize = 500;

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultRestoreError {
    /// Its records cannot be imported.
    #[error(transparent)]
    Import(#[from] VaultImportError),
    /// The export has no control rows.
    #[error("the export has no control rows: it is not that of a backup. Import it with `masker vault import`")]
    NoControlRows,
    /// The vault is not new.
    #[error("the vault is not new: it has records, API keys or honeytokens")]
    NotNew,
}

impl From<VaultError> for VaultRestoreError {
    fn from(failed: VaultError) -> Self {
        VaultRestoreError::Import(failed.into())
    }
}

impl From<ExportError> for VaultRestoreError {
    fn from(error: ExportError) -> Self {
        VaultRestoreError::Import(error.into())
    }
}

/// An API key that was restored suspended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspendedKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its name.
    pub name: String,
    /// The first characters of its secret, which are public.
    pub prefix: KeyPrefix,
}

/// What a restore wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// What became of the records and tombstones.
    pub records: ImportOutcome,
    /// API keys, with those that are revoked.
    pub api_keys: u64,
    /// API keys that were revoked after the backup.
    pub revoked_since: u64,
    /// API keys that are restored suspended.
    pub suspended: Vec<SuspendedKey>,
    /// Honeytokens.
    pub honeytokens: u64,
    /// Sessions.
    pub sessions: u64,
    /// Keys in the register.
    pub generations: u64,
}

/// What an export has, by reading all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportSummary {
    /// What an import would read.
    pub records: ImportOutcome,
    /// API keys.
    pub api_keys: u64,
    /// Honeytokens.
    pub honeytokens: u64,
    /// Sessions.
    pub sessions: u64,
    /// The keys of records that are not loaded, with the number of records that need each.
    pub missing_keys: BTreeMap<(Kid, Fingerprint), u64>,
}

/// Reads a whole export: opens every record whose key is loaded, decodes every row, and writes nothing. Blocks, and must be called within a tokio
/// runtime.
///
/// # Errors
/// [`VaultImportError`].
pub async fn read_export(file: File, ring: &Keyring) -> Result<ExportSummary, VaultImportError> {
    let spool = Arc::new(Spool::open(file, ring)?);
    // First, because this does not depend on the keys of records.
    let rows = RestoredControlRows::read(&spool).await?;
    let (records, found) = import::survey(&spool, ring, &LaterErasures::default()).await?;
    let (api_keys, honeytokens) = (rows.api_keys.len() as u64, rows.honeytokens);
    Ok(ExportSummary { records, api_keys, honeytokens, sessions: rows.sessions, missing_keys: found.missing })
}

/// The control rows of an export, decoded.
#[derive(Default)]
struct RestoredControlRows {
    api_keys: BTreeMap<ApiKeyId, ApiKey>,
    honeytokens: u64,
    sessions: u64,
    generations: u64,
}

impl RestoredControlRows {
    /// Reads the file to its end.
    async fn read(spool: &Arc<Spool>) -> Result<Self, VaultImportError> {
        let mut rows = RestoredControlRows::default();
        let mut cursor = SpoolCursor::new(spool);
        loop {
            let (rest, items) = cursor.next_batch().await?;
            cursor = rest;
            if items.is_empty() {
                return Ok(rows);
            }
            for item in &items {
                if let SpoolEntry::Control(key, row) = item {
                    rows.add(key, row).ok_or(ExportError::Damaged("a control row does not decode"))?;
                }
            }
        }
    }

    fn add(&mut self, key: &RowKey, row: &[u8]) -> Option<()> {
        match RowName::parse(key).ok()? {
            RowName::ApiKey(id) => {
                let key: ApiKey = serde_json::from_slice(&ApiKeyRow::decode(row).ok()?.document).ok()?;
                (*key.id().as_bytes() == id).then_some(())?;
                self.api_keys.insert(key.id(), key);
            }
            RowName::ApiKeyUse(_) => {
                drop(serde_json::from_slice::<LastUse>(&ApiKeyRow::decode(row).ok()?.document).ok()?);
            }
            RowName::Honeytoken(_) => {
                HoneytokenRow::decode(row).ok()?;
                self.honeytokens += 1;
            }
            RowName::Session(_) => {
                SessionRow::decode(row).ok()?;
                self.sessions += 1;
            }
            RowName::SessionToken(..) => drop(SessionTokenRow::decode(row).ok()?),
            RowName::Generation(..) => {
                GenerationRow::decode(row).ok()?;
                self.generations += 1;
            }
            RowName::PlaceholderKey(_) => drop(Zeroizing::new(PlaceholderKeyRow::decode(row).ok()?.key)),
            RowName::Placeholder(..) => drop(PlaceholderRow::decode(row).ok()?),
            RowName::Uses(..) => drop(GenerationUseRow::decode(row).ok()?),
            _ => return None,
        }
        Some(())
    }

    /// Returns the keys that a key was created by.
    fn ancestors(&self, key: &ApiKey) -> Vec<ApiKeyId> {
        let mut found = BTreeSet::new();
        let mut next = key.parent();
        // Damaged rows could lead in a circle.
        while let Some(id) = next.filter(|id| !found.contains(id)) {
            found.insert(id);
            next = self.api_keys.get(&id).and_then(ApiKey::parent);
        }
        found.into_iter().collect()
    }
}

/// Restores the export of a backup.
pub(crate) struct Restorer {
    keys: Arc<CurrentKeys>,
    importer: Importer,
    writer: Arc<WriterHandle>,
    clock: Clock,
    ledger: Arc<CurrentLedger>,
}

impl Restorer {
    pub(crate) fn new(handles: &Handles) -> Self {
        Restorer {
            keys: Arc::clone(&handles.keys),
            importer: Importer::new(handles),
            writer: Arc::clone(&handles.writer),
            clock: Arc::clone(&handles.clock),
            ledger: Arc::clone(&handles.ledger),
        }
    }

    /// Implements [`Vault::restore`](crate::Vault::restore).
    pub(crate) async fn restore(
        &self,
        file: File,
        rules: ImportRules,
        later: LaterChanges,
    ) -> Result<RestoreOutcome, VaultRestoreError> {
        if self.ledger.load().records() > 0 {
            return Err(VaultRestoreError::NotNew);
        }
        let spool = Arc::new(Spool::open(file, &self.keys.load_full().ring)?);
        // Reads the file to its end before anything is written.
        let rows = RestoredControlRows::read(&spool).await?;
        if rows.generations == 0 {
            return Err(VaultRestoreError::NoControlRows);
        }
        let records = self.importer.merge_all(&spool, rules, &later.erasures).await?;
        let now_ms = time::unix_ms(&self.clock);
        let mut outcome = RestoreOutcome {
            records,
            api_keys: rows.api_keys.len() as u64,
            sessions: rows.sessions,
            generations: rows.generations,
            ..RestoreOutcome::default()
        };
        let mut changes = Vec::new();
        let mut cursor = SpoolCursor::new(&spool);
        loop {
            let (rest, items) = cursor.next_batch().await?;
            cursor = rest;
            if items.is_empty() {
                break;
            }
            for item in items {
                let SpoolEntry::Control(key, row) = item else { continue };
                changes.extend(restored_row(&rows, &later, key, row, now_ms, &mut outcome)?);
                if changes.len() >= ROWS_PER_COMMIT {
                    self.writer.commit(KeepRows(std::mem::take(&mut changes))).await?;
                }
            }
        }
        if !changes.is_empty() {
            self.writer.commit(KeepRows(changes)).await?;
        }
        Ok(outcome)
    }
}

/// Returns how a control row is restored, if it is.
fn restored_row(
    rows: &RestoredControlRows,
    later: &LaterChanges,
    key: RowKey,
    row: Row,
    now_ms: u64,
    outcome: &mut RestoreOutcome,
) -> Result<Option<RowChange>, VaultRestoreError> {
    let damaged = ExportError::Damaged("a control row does not decode");
    let row = match RowName::parse(&key).map_err(|_| damaged.clone())? {
        RowName::ApiKey(id) => {
            let api_key = rows.api_keys.get(&ApiKeyId::from_bytes(id)).ok_or(damaged.clone())?;
            let restored = later.restored(api_key, &rows.ancestors(api_key), now_ms);
            outcome.revoked_since += u64::from(restored.revoked_at_ms().is_some() && api_key.revoked_at_ms().is_none());
            if restored.is_suspended() && restored.revoked_at_ms().is_none() {
                let (id, name, prefix) = (restored.id(), restored.name().to_owned(), restored.prefix());
                outcome.suspended.push(SuspendedKey { id, name, prefix });
            }
            document_row(&restored).map_err(|_| damaged)?
        }
        RowName::Honeytoken(id) if later.unmarked.contains(&HoneytokenId::from_bytes(id)) => return Ok(None),
        RowName::Honeytoken(_) => {
            outcome.honeytokens += 1;
            row
        }
        // The new vault has proven nothing.
        RowName::Generation(..) => {
            let generation = GenerationRow::decode(&row).map_err(|_| damaged)?;
            GenerationRow { proven_at_ms: None, ..generation }.encode()
        }
        _ => row,
    };
    Ok(Some(RowChange::Put(key, row)))
}
