//! Imports the records and tombstones of an export into a vault that serves.
//!
//! The file is read to its end before anything is written, for only then it is known to be whole. The writer decides what
//! to merge, group by group. An interrupted import can be repeated: records that the vault has by then are counted as
//! present.

use std::{collections::BTreeMap, fs::File, sync::Arc};

use super::{
    import_error::VaultImportError,
    merge::{MergeChange, MergeCounts, MergeItem},
    spool::{Spool, SpoolCursor, SpoolEntry, TombstoneReader},
};
use crate::{handles::Handles, keys::CurrentKeys, parallel_map, records, writer::WriterHandle};
use masker_core::{
    crypto::{Fingerprint, TokenId},
    keyring::Keyring,
};
use masker_store::record::Record;
use masker_types::{kind::Kid, mode::Mode};

/// An operator's rules for one import.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportRules {
    /// Whether erased records are restored.
    pub restore_erased: bool,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    /// Records in the export.
    pub records: u64,
    /// Records in the export that do not open under their own key: the exported vault was damaged.
    pub damaged: u64,
    /// Tombstones in the export.
    pub tombstones: u64,
    /// What was merged.
    pub merged: MergeCounts,
}

/// Merges exports into the vault.
pub(crate) struct Importer {
    keys: Arc<CurrentKeys>,
    writer: Arc<WriterHandle>,
}

impl Importer {
    pub(crate) fn new(handles: &Handles) -> Self {
        Importer { keys: Arc::clone(&handles.keys), writer: Arc::clone(&handles.writer) }
    }

    /// Implements [`Vault::import`](crate::Vault::import).
    pub(crate) async fn import(&self, file: File, rules: ImportRules) -> Result<ImportOutcome, VaultImportError> {
        let keys = self.keys.load_full();
        let spool = Arc::new(Spool::open(file, &keys.ring)?);
        let mut outcome = survey(&spool, &keys.ring).await?;
        drop(keys);

        let mut tombstone_reader = TombstoneReader::new(&spool, outcome.tombstones);
        let mut cursor = SpoolCursor::new(&spool);
        loop {
            let (rest, items) = cursor.next_batch().await?;
            cursor = rest;
            if items.is_empty() {
                return Ok(outcome);
            }
            let mut incoming = Vec::with_capacity(items.len());
            for item in items {
                let id = TokenId::from_bytes(*item.id());
                match item {
                    SpoolEntry::Record(raw, row) => {
                        // The survey has counted records that do not decode.
                        let Ok(record) = Record::decode(&row) else { continue };
                        let (record, erased) = (Box::new(record), tombstone_reader.has(&raw).await?);
                        incoming.push(MergeItem::Record { id, record, erased });
                    }
                    SpoolEntry::Tombstone(_, tombstone) => incoming.push(MergeItem::Tombstone { id, tombstone }),
                }
            }
            let merge = MergeChange::new(incoming, rules.restore_erased);
            outcome.merged.add(&self.writer.commit(merge).await?.map_err(VaultImportError::KeysChanged)?);
        }
    }
}

/// Reads a whole export and opens every record.
async fn survey(spool: &Arc<Spool>, ring: &Keyring) -> Result<ImportOutcome, VaultImportError> {
    let mut outcome = ImportOutcome::default();
    let mut missing: BTreeMap<(Kid, Fingerprint), u64> = BTreeMap::new();
    let mut cursor = SpoolCursor::new(spool);
    loop {
        let (rest, items) = cursor.next_batch().await?;
        cursor = rest;
        if items.is_empty() {
            break;
        }
        for seen in parallel_map::map(&items, |item| entry_state(ring, item)) {
            match seen {
                ImportEntryState::Tombstone => outcome.tombstones += 1,
                ImportEntryState::Whole => outcome.records += 1,
                ImportEntryState::Damaged => {
                    outcome.records += 1;
                    outcome.damaged += 1;
                }
                ImportEntryState::KeyNotLoaded(name) => *missing.entry(name).or_default() += 1,
            }
        }
    }
    if missing.is_empty() { Ok(outcome) } else { Err(VaultImportError::KeysMissing(missing)) }
}

enum ImportEntryState {
    Tombstone,
    Whole,
    Damaged,
    KeyNotLoaded((Kid, Fingerprint)),
}

fn entry_state(ring: &Keyring, item: &SpoolEntry) -> ImportEntryState {
    let SpoolEntry::Record(id, row) = item else { return ImportEntryState::Tombstone };
    let Ok(record) = Record::decode(row) else { return ImportEntryState::Damaged };
    let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
    let Some(generation) = ring.by_fingerprint(name.0, name.1) else { return ImportEntryState::KeyNotLoaded(name) };
    let id = TokenId::from_bytes(*id);
    let mut keys = Mode::ALL.into_iter().map(|mode| generation.keys(mode));
    let opens = keys.any(|keys| records::open(keys, record.kind, record.minted_kid, id, &record).is_ok());
    if opens { ImportEntryState::Whole } else { ImportEntryState::Damaged }
}
