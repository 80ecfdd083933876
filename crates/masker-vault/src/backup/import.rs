//! Records and tombstones of an export into a vault that serves.
//!
//! The file is read to its end before anything is written: only then it is known to be whole. What is merged and what
//! is left alone is decided by the writer, group by group, so an import that was interrupted can be made again: what is
//! there already is counted as present.

use std::{collections::BTreeMap, fs::File, io, sync::Arc};

use super::{
    merge::{MergeChange, MergeCounts, MergeItem},
    spool::{Spool, SpoolCursor, SpoolEntry, TombstoneReader},
};
use crate::{ItemFailure, Vault, VaultError, parallel_map, records};
use masker_access::{Permit, VaultAdmin};
use masker_core::{
    crypto::{Fingerprint, LockedMemoryError, TokenId},
    export::ExportError,
    keyring::Keyring,
};
use masker_store::record::Record;
use masker_types::{kind::Kid, mode::Mode};

/// Why nothing was imported, or why an import ended before its end: then it can be made again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultImportError {
    /// It is no export, or not the one that was made.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// No key is loaded that opens it: those that would.
    #[error("no key is loaded that opens this export: it needs one of {}", listed(.0))]
    Closed(Vec<(Kid, Fingerprint)>),
    /// Records in it are under keys that are not loaded: how many under each.
    #[error(
        "records of this export need keys that are not loaded: {}; load each as MASKER_KEY_<KID>_OLD (or as \
         MASKER_KEY_<KID>) and import again; nothing was written",
        counted(.0)
    )]
    KeysMissing(BTreeMap<(Kid, Fingerprint), u64>),
    /// The keys changed while the import ran, and one that it needs is not loaded any more.
    #[error("the keys changed during the import; make it again: {0}")]
    KeysChanged(ItemFailure),
    /// The store failed, or the writer.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The file that holds the export meanwhile cannot be read.
    #[error("the export that was received cannot be read back: {0}")]
    Spool(#[source] io::Error),
    /// There is no locked memory to keep the file's key in.
    #[error("the export's key cannot be kept: {0}")]
    Memory(#[from] LockedMemoryError),
}

fn listed(keys: &[(Kid, Fingerprint)]) -> String {
    let keys: Vec<String> =
        keys.iter().map(|(kid, fingerprint)| format!("{kid} with fingerprint {fingerprint}")).collect();
    keys.join(", ")
}

fn counted(keys: &BTreeMap<(Kid, Fingerprint), u64>) -> String {
    let key = |((kid, fingerprint), records): (&(Kid, Fingerprint), &u64)| {
        format!("{records} need {kid} with fingerprint {fingerprint}")
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}

/// What an operator decides for one import.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportRules {
    /// Whether records come back that were erased.
    pub restore_erased: bool,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    /// Records in the export.
    pub records: u64,
    /// Records in the export that do not open under their own key: the vault that was exported was damaged.
    pub damaged: u64,
    /// Tombstones in the export.
    pub tombstones: u64,
    /// What became of them.
    pub merged: MergeCounts,
}

impl Vault {
    /// Merges an export into the vault: all of it is verified first, nothing in the vault is overwritten, and every
    /// record is written under an active key. An import that was dropped or failed on the way can be made again.
    ///
    /// # Errors
    /// [`VaultImportError`]. Only [`VaultImportError::Vault`], [`VaultImportError::Spool`] and [`VaultImportError::KeysChanged`] can
    /// come after something was written.
    pub async fn import(
        &self,
        _permit: &Permit<VaultAdmin>,
        file: File,
        rules: ImportRules,
    ) -> Result<ImportOutcome, VaultImportError> {
        let keys = self.shared.keys.load_full();
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
                        // One that does not decode was counted by the survey.
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

/// Reads all of an export and opens every record.
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
        for seen in parallel_map::map(&items, |item| look_at(ring, item)) {
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

fn look_at(ring: &Keyring, item: &SpoolEntry) -> ImportEntryState {
    let SpoolEntry::Record(id, row) = item else { return ImportEntryState::Tombstone };
    let Ok(record) = Record::decode(row) else { return ImportEntryState::Damaged };
    let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
    let Some(generation) = ring.by_fingerprint(name.0, name.1) else { return ImportEntryState::KeyNotLoaded(name) };
    let id = TokenId::from_bytes(*id);
    let mut keys = Mode::ALL.into_iter().map(|mode| generation.keys(mode));
    let opens = keys.any(|keys| records::open(keys, record.kind, record.minted_kid, id, &record).is_ok());
    if opens { ImportEntryState::Whole } else { ImportEntryState::Damaged }
}
