//! Exports the records and tombstones of a vault that serves.

use std::sync::Arc;

use crate::{
    Ledger, VaultError,
    handles::Handles,
    in_flight::ReadMarker,
    keys::CurrentKeys,
    ledger::CurrentLedger,
    paged_scan::PagedScan,
    reader::Reader,
    time::{self, Clock},
    writer::WriterHandle,
};
use masker_core::{
    crypto::{ExportCipher, LockedMemoryError, SecretKey, export::SALT_BYTES},
    export::{EntryCounts, ExportEntry, ExportHeader, HeaderKey, PayloadSealer},
    keyring::{Keyring, Role},
};
use masker_store::{
    RowKey,
    record::{RecordError, RowName},
};
use masker_types::mode::Mode;

/// Why an export stopped early. An import refuses the part that was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultExportError {
    /// The store failed, or the writer.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A row has a key that the vault does not create.
    #[error("{0}; run `masker vault check`")]
    Damaged(#[from] RecordError),
    /// A commit failed meanwhile: the export may have read rows that were undone.
    #[error("a commit failed while the export read; export again")]
    Uncertain,
    /// The vault is larger than a file can be.
    #[error("the vault is larger than an export can be")]
    TooLarge,
    /// No locked memory was available for the file's key.
    #[error("no locked memory for the export's key: {0}")]
    Memory(#[from] LockedMemoryError),
}

/// A running export. It is made piece by piece, as the caller takes it.
pub struct RunningExport {
    reader: Arc<Reader>,
    /// The header, until it was returned.
    header: Option<Vec<u8>>,
    /// `None` once the end was returned.
    sealer: Option<PayloadSealer>,
    records: PagedScan,
    tombstones: PagedScan,
    since: ReadMarker,
    counts: EntryCounts,
}

/// Exports the records of the vault.
pub(crate) struct Exporter {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    clock: Clock,
}

impl Exporter {
    pub(crate) fn new(handles: &Handles) -> Self {
        Exporter {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
            clock: Arc::clone(&handles.clock),
        }
    }

    /// Implements [`Vault::export`](crate::Vault::export).
    pub(crate) async fn export(&self, vault_id: [u8; 16]) -> Result<RunningExport, VaultExportError> {
        self.writer.sync_ledger().await?;
        let since = self.reader.in_flight().read_marker();
        let keys = self.keys.load_full();
        let file_key = SecretKey::generate(&mut rand::rng())?;
        let header = header(&keys.ring, &self.ledger.load(), &file_key, vault_id, time::unix_ms(&self.clock));
        let bytes = header.encode();
        let cipher = ExportCipher::new(&file_key, &header.salt, &bytes)?;
        Ok(RunningExport {
            reader: Arc::clone(&self.reader),
            header: Some(bytes),
            sealer: Some(PayloadSealer::new(cipher)),
            records: PagedScan::new(RowName::RECORDS),
            tombstones: PagedScan::new(RowName::TOMBSTONES),
            since,
            counts: EntryCounts::default(),
        })
    }
}

fn header(
    ring: &Keyring,
    ledger: &Ledger,
    file_key: &SecretKey,
    vault_id: [u8; 16],
    created_at_ms: u64,
) -> ExportHeader {
    let mut header =
        ExportHeader { vault_id, created_at_ms, salt: rand::random::<[u8; SALT_BYTES]>(), keys: Vec::new() };
    let export_id = header.export_id();
    for ((kid, fingerprint), row) in &ledger.generations {
        let active = ring.by_fingerprint(*kid, *fingerprint).filter(|generation| generation.role() == Role::Active);
        // A key that no record needs and that mints none is left out.
        if active.is_none() && row.records == 0 {
            continue;
        }
        let wrapped = active
            .map(|generation| generation.keys(Mode::Live).wrap_export_key(file_key, &export_id, &mut rand::rng()));
        header.keys.push(HeaderKey { kid: *kid, fingerprint: *fingerprint, records: row.records, wrapped });
    }
    header
}

impl RunningExport {
    /// Returns the next piece of the file; `None` at its end.
    ///
    /// Records come before tombstones: if a record is erased after it was read, its tombstone follows, and an import
    /// prefers the tombstone.
    ///
    /// # Errors
    /// [`VaultExportError`]; the export cannot be continued then.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, VaultExportError> {
        if let Some(header) = self.header.take() {
            return Ok(Some(header));
        }
        // Put back only on success: an export cannot be continued after an error.
        let Some(mut sealer) = self.sealer.take() else { return Ok(None) };
        let store = self.reader.store();
        loop {
            let rows = match self.records.next(store).await.map_err(VaultError::from)? {
                Some(rows) => Some(rows),
                None => self.tombstones.next(store).await.map_err(VaultError::from)?,
            };
            let Some(rows) = rows else { break };
            for (key, row) in &rows {
                sealer.put(entry(key, row)?);
            }
            let sealed = sealer.sealed().ok_or(VaultExportError::TooLarge)?;
            self.counts = sealer.counts();
            if !sealed.is_empty() {
                self.sealer = Some(sealer);
                return Ok(Some(sealed));
            }
        }
        // Rows of the commit that is in flight may have been read: it must become durable first.
        self.reader.in_flight().wait_until_idle().await;
        if self.reader.in_flight().failed_since(&self.since) {
            return Err(VaultExportError::Uncertain);
        }
        sealer.finish().ok_or(VaultExportError::TooLarge).map(Some)
    }

    /// Returns what the pieces so far contain.
    pub fn counts(&self) -> EntryCounts {
        self.counts
    }
}

fn entry<'a>(key: &RowKey, row: &'a [u8]) -> Result<ExportEntry<'a>, RecordError> {
    match RowName::parse(key)? {
        RowName::Record(id) => Ok(ExportEntry::Record(id, row)),
        RowName::Tombstone(id) => Ok(ExportEntry::Tombstone(id, row)),
        _ => Err(RecordError::Damaged("its row key is of another space")),
    }
}
