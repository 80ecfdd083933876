//! Records and tombstones out of a vault that serves.

use std::sync::Arc;

use crate::{Ledger, Vault, VaultError, VaultShared, in_flight::ReadMarker, paged_scan::PagedScan};
use masker_access::{Permit, VaultAdmin};
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

/// Why an export ended before its end. What was sent of it is refused by an import.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultExportError {
    /// The store failed, or the writer.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A row stands under a key that the vault does not make.
    #[error("{0}; `masker vault check` says more")]
    Damaged(#[from] RecordError),
    /// A commit failed meanwhile: what was read may have gone with it.
    #[error("a commit failed while the export read; export again")]
    Uncertain,
    /// The vault is larger than a file can be.
    #[error("the vault is larger than an export can be")]
    TooLarge,
    /// There is no locked memory to keep the file's key in.
    #[error("the export's key cannot be kept: {0}")]
    Memory(#[from] LockedMemoryError),
}

/// An export under way: made piece by piece, as whoever takes it asks for more.
pub struct RunningExport {
    shared: Arc<VaultShared>,
    /// The header, until it was given out.
    header: Option<Vec<u8>>,
    /// `None` once the end was given out.
    sealer: Option<PayloadSealer>,
    records: PagedScan,
    tombstones: PagedScan,
    since: ReadMarker,
    counts: EntryCounts,
}

impl Vault {
    /// Begins an export. All that was acknowledged by now will be in it; what is written meanwhile may be or not, and
    /// what is erased meanwhile is out of it or has a tombstone.
    ///
    /// # Errors
    /// [`VaultExportError`].
    pub async fn export(
        &self,
        _permit: &Permit<VaultAdmin>,
        vault_id: [u8; 16],
    ) -> Result<RunningExport, VaultExportError> {
        self.finish_pending_commits().await?;
        let shared = Arc::clone(&self.shared);
        let since = shared.in_flight.reading();
        let keys = shared.keys.load_full();
        let file_key = SecretKey::generate(&mut rand::rng())?;
        let header = header(&keys.ring, &shared.ledger.load(), &file_key, vault_id, shared.now_ms());
        let bytes = header.encode();
        let cipher = ExportCipher::new(&file_key, &header.salt, &bytes)?;
        Ok(RunningExport {
            shared,
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
    let binding = header.binding();
    for ((kid, fingerprint), row) in &ledger.generations {
        let active = ring.by_fingerprint(*kid, *fingerprint).filter(|generation| generation.role() == Role::Active);
        // Where the vault has no use for a key and a new record will not either, the file has none.
        if active.is_none() && row.records == 0 {
            continue;
        }
        let wrapped =
            active.map(|generation| generation.keys(Mode::Live).wrap_export_key(file_key, &binding, &mut rand::rng()));
        header.keys.push(HeaderKey { kid: *kid, fingerprint: *fingerprint, records: row.records, wrapped });
    }
    header
}

impl RunningExport {
    /// The next piece of the file; `None` at its end.
    ///
    /// Records come before tombstones: one that is erased after it was read has its tombstone still to come, and an
    /// import lets the tombstone count.
    ///
    /// # Errors
    /// [`VaultExportError`]; nothing that could be asked for comes after it.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, VaultExportError> {
        if let Some(header) = self.header.take() {
            return Ok(Some(header));
        }
        // Taken out: after an error there is no more.
        let Some(mut sealer) = self.sealer.take() else { return Ok(None) };
        let store = self.shared.store.as_ref();
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
        // What was read may belong to a commit that is under way. Only once that is durable, it was right to read it.
        self.shared.in_flight.wait_until_idle().await;
        if self.shared.in_flight.failed_since(&self.since) {
            return Err(VaultExportError::Uncertain);
        }
        sealer.finish().ok_or(VaultExportError::TooLarge).map(Some)
    }

    /// What was given out so far.
    pub fn counts(&self) -> EntryCounts {
        self.counts
    }
}

fn entry<'a>(key: &RowKey, row: &'a [u8]) -> Result<ExportEntry<'a>, RecordError> {
    match RowName::parse(key)? {
        RowName::Record(id) => Ok(ExportEntry::Record(id, row)),
        RowName::Tombstone(id) => Ok(ExportEntry::Tombstone(id, row)),
        _ => Err(RecordError::Damaged("its key is not one that was asked for")),
    }
}
