//! Exports the records and tombstones of a vault that serves, and for a backup its control rows.

use std::{collections::VecDeque, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    Ledger, VaultError,
    control::ControlledStore,
    handles::Handles,
    in_flight::ReadMarker,
    index_list::{self, IndexEntry},
    keys::CurrentKeys,
    ledger::CurrentLedger,
    paged_scan::PagedScan,
    reader::Reader,
    time::{self, Clock},
    writer::WriterHandle,
};
use masker_core::{
    crypto::{ExportCipher, LockedMemoryError, SecretKey, TokenId, export::SALT_BYTES},
    export::{EntryCounts, ExportEntry, ExportHeader, HeaderKey, ListPositions, PayloadSealer},
    keyring::{Keyring, Role},
};
use masker_store::{
    Row, RowKey, Store,
    record::{Record, RecordError, RowName},
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

/// The spaces of the rows that a backup has beside records and tombstones, in the order of the file. What it does not have is
/// counted again by the restore, or tells of the exported vault alone: rotations, counts, the head of the audit log.
pub(super) const CONTROL_SPACES: [u8; 9] = [
    RowName::PLACEHOLDER_KEYS,
    RowName::USES,
    RowName::SESSION_TOKENS,
    RowName::GENERATIONS,
    RowName::HONEYTOKENS,
    RowName::API_KEYS,
    RowName::PLACEHOLDERS,
    RowName::SESSIONS,
    RowName::API_KEY_USES,
];

/// A running export. It is made piece by piece, as the caller takes it.
pub struct RunningExport {
    reader: Arc<Reader>,
    control: Arc<ControlledStore>,
    /// The header, until it was returned.
    header: Option<Vec<u8>>,
    /// `None` once the end was returned.
    sealer: Option<PayloadSealer>,
    records: PagedScan,
    tombstones: PagedScan,
    /// The control rows that are still to be read, in the order of the file.
    control_rows: VecDeque<PagedScan>,
    since: ReadMarker,
    counts: EntryCounts,
}

/// Exports the records of the vault.
pub(crate) struct Exporter {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    control: Arc<ControlledStore>,
    clock: Clock,
}

impl Exporter {
    pub(crate) fn new(handles: &Handles, control: Arc<ControlledStore>) -> Self {
        Exporter {
            control,
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
            clock: Arc::clone(&handles.clock),
        }
    }

    /// Implements [`Vault::export`](crate::Vault::export), and with `control_rows` [`Vault::export_for_backup`](crate::Vault::export_for_backup).
    pub(crate) async fn export(
        &self,
        vault_id: [u8; 16],
        control_rows: bool,
    ) -> Result<RunningExport, VaultExportError> {
        self.writer.sync_ledger().await?;
        let since = self.reader.in_flight().read_marker();
        let keys = self.keys.load_full();
        let file_key = SecretKey::generate(&mut rand::rng())?;
        let header = header(&keys.ring, &self.ledger.load(), &file_key, vault_id, time::unix_ms(&self.clock));
        let bytes = header.encode();
        let cipher = ExportCipher::new(&file_key, &header.salt, &bytes)?;
        let spaces: &[u8] = if control_rows { &CONTROL_SPACES } else { &[] };
        Ok(RunningExport {
            reader: Arc::clone(&self.reader),
            control: Arc::clone(&self.control),
            header: Some(bytes),
            sealer: Some(PayloadSealer::new(cipher)),
            records: PagedScan::new(RowName::RECORDS),
            tombstones: PagedScan::new(RowName::TOMBSTONES),
            control_rows: spaces.iter().map(|space| PagedScan::new(*space)).collect(),
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
            if let Some(rows) = self.records.next(store).await.map_err(VaultError::from)? {
                for (id, positions, row) in with_positions(store, rows).await? {
                    sealer.put(ExportEntry::Record(id, positions, &row));
                }
            } else if let Some(rows) = self.tombstones.next(store).await.map_err(VaultError::from)? {
                for (key, row) in &rows {
                    let RowName::Tombstone(id) = RowName::parse(key)? else {
                        return Err(RecordError::Damaged("its row key is of another space").into());
                    };
                    sealer.put(ExportEntry::Tombstone(id, row));
                }
            } else if let Some(scan) = self.control_rows.front_mut() {
                // After the records, so that no honeytoken in the file lacks its mark.
                match scan.next(self.control.as_ref()).await.map_err(VaultError::from)? {
                    Some(rows) => {
                        for (key, row) in rows {
                            // The keys of placeholders are in clear here.
                            let row = Zeroizing::new(row);
                            sealer.put(ExportEntry::Control { key: key.as_bytes(), row: &row });
                        }
                    }
                    None => drop(self.control_rows.pop_front()),
                }
            } else {
                break;
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

/// Returns records with their positions in the lists of their index rows. A record that has been moved meanwhile is read
/// again; one that has been erased is left out.
async fn with_positions(
    store: &dyn Store,
    rows: Vec<(RowKey, Row)>,
) -> Result<Vec<([u8; 20], ListPositions, Row)>, VaultExportError> {
    let mut all = Vec::with_capacity(rows.len());
    let keys: Vec<RowKey> = rows.iter().flat_map(|(_, row)| index_keys(row).into_iter().flatten()).collect();
    let mut lists = store.get_many(keys).await.map_err(VaultError::from)?.into_iter();
    for (key, mut row) in rows {
        let RowName::Record(id) = RowName::parse(&key)? else {
            return Err(RecordError::Damaged("its row key is of another space").into());
        };
        let mut listing: Vec<Option<Row>> = lists.by_ref().take(index_keys(&row).iter().flatten().count()).collect();
        loop {
            match positions(id, &row, &listing) {
                Some(positions) => {
                    all.push((id, positions, row));
                    break;
                }
                None => {
                    let read = store.get_many(vec![key.clone()]).await.map_err(VaultError::from)?.pop().flatten();
                    match read {
                        // Erased: its tombstone follows.
                        None => break,
                        // Damage, which the check reports.
                        Some(read) if read == row => {
                            all.push((id, ListPositions::default(), row));
                            break;
                        }
                        Some(read) => row = read,
                    }
                    let keys = index_keys(&row).into_iter().flatten().collect();
                    listing = store.get_many(keys).await.map_err(VaultError::from)?;
                }
            }
        }
    }
    Ok(all)
}

/// Returns the keys of the index rows that a record names.
fn index_keys(row: &[u8]) -> [Option<RowKey>; 2] {
    let Ok(record) = Record::decode(row) else { return [None, None] };
    [
        record.value_index.map(|index| RowKey::value_index(&index)),
        record.form_index.map(|index| RowKey::form_index(&index)),
    ]
}

/// Returns the positions of a record in these lists, which are in the order of [`index_keys`]; `None` if one does not list
/// it.
fn positions(id: [u8; 20], row: &[u8], lists: &[Option<Row>]) -> Option<ListPositions> {
    let id = TokenId::from_bytes(id);
    let mut lists = lists.iter();
    let [value, form] = index_keys(row);
    let value = value.map_or(Some(0), |_| position(lists.next()?.as_deref()?, id))?;
    let form = form.map_or(Some(0), |_| position(lists.next()?.as_deref()?, id.match_part()))?;
    Some(ListPositions { value, form })
}

fn position<E: IndexEntry>(list: &[u8], entry: E) -> Option<u8> {
    let entries: Vec<E> = index_list::entries(&index_list::decode::<E>(list)?);
    u8::try_from(entries.iter().position(|listed| *listed == entry)?).ok()
}
