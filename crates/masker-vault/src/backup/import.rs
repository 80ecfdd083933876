//! Imports the records and tombstones of an export into a vault that serves.
//!
//! The file is read to its end before anything is written, for only then it is known to be whole. The writer decides what
//! to merge, group by group. An interrupted import can be repeated: records that the vault has by then are counted as
//! present.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    sync::Arc,
};

use super::{
    import_error::VaultImportError,
    later::LaterErasures,
    merge::{MergeChange, MergeCounts, MergeItem, MergeRefusal, MergedItems},
    placement::ImportedIds,
    replaced_mover::ReplacedMover,
    spool::{Spool, SpoolCursor, SpoolEntry, TombstoneReader},
};
use crate::{
    handles::Handles,
    keys::CurrentKeys,
    ledger::CurrentLedger,
    parallel_map, records,
    search::SearchBasis,
    time::{self, Clock},
    writer::{Change, CommitDraft, Lane, WriterHandle},
};
use masker_core::{
    crypto::{Fingerprint, TokenId},
    export::ListPositions,
    keyring::Keyring,
};
use masker_store::record::{Record, TombstoneRow};
use masker_types::kind::Kid;

/// An operator's rules for one import.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportRules {
    /// Whether erased records are restored.
    pub restore_erased: bool,
    /// Whether records whose key is not loaded are left out. Without it they keep the import from writing anything.
    pub skip_missing_keys: bool,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    /// Records in the export.
    pub records: u64,
    /// Records in the export that do not open under their own key: the exported vault was damaged.
    pub damaged: u64,
    /// Records in the export that were left out because their key is not loaded.
    pub key_missing: u64,
    /// Tombstones in the export.
    pub tombstones: u64,
    /// Records in the export that were erased since, as the audit log says. Only a restore leaves them out.
    pub erased_since: u64,
    /// Control rows in the export, which only the restore of a backup reads.
    pub control_rows: u64,
    /// What was merged.
    pub merged: MergeCounts,
}

/// Merges exports into the vault.
pub(crate) struct Importer {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    writer: Arc<WriterHandle>,
    mover: ReplacedMover,
    clock: Clock,
}

impl Importer {
    pub(crate) fn new(handles: &Handles) -> Self {
        let writer = Arc::clone(&handles.writer);
        Importer {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            writer: Arc::clone(&writer),
            mover: ReplacedMover { reader: Arc::clone(&handles.reader), writer },
            clock: Arc::clone(&handles.clock),
        }
    }

    /// Implements [`Vault::import`](crate::Vault::import).
    pub(crate) async fn import(&self, file: File, rules: ImportRules) -> Result<ImportOutcome, VaultImportError> {
        let spool = Arc::new(Spool::open(file, &self.keys.load_full().ring)?);
        self.merge_all(&spool, rules, &Arc::default()).await
    }

    /// Merges the records and tombstones of an export. Of the records that are erased since, only tombstones.
    pub(super) async fn merge_all(
        &self,
        spool: &Arc<Spool>,
        rules: ImportRules,
        later: &Arc<LaterErasures>,
    ) -> Result<ImportOutcome, VaultImportError> {
        let keys = self.keys.load_full();
        let (mut outcome, found) = survey(spool, &keys.ring, later).await?;
        let Survey { order, kid_moves, sealing_kids, missing } = found;
        drop(keys);
        if !missing.is_empty() && !rules.skip_missing_keys {
            return Err(VaultImportError::KeysMissing(missing));
        }
        if !kid_moves.is_empty() {
            self.writer.commit(KidMovesChange(kid_moves)).await?;
        }
        let ledger = self.ledger.load_full();
        let is_related = |kid: &Kid| ledger.related_kids(*kid).iter().any(|related| sealing_kids.contains(related));
        let run = ImportRun {
            rules,
            remembers_ids: sealing_kids.iter().any(is_related),
            imported: Arc::new(ImportedIds::default()),
            later: Arc::clone(later),
            left_out: missing.into_keys().collect(),
        };

        // Lists have one entry each but for second tokens, moves of kids and earlier imports. So there is one pass but for
        // these, and a second one for records under old keys.
        for pass in order {
            let Err(failed) = self.merge_pass(spool, pass, &run, &mut outcome).await else { continue };
            let merged = outcome.merged;
            return Err(match merged == MergeCounts::default() {
                true => failed,
                false => VaultImportError::Interrupted { merged, failed: Box::new(failed) },
            });
        }
        Ok(outcome)
    }

    /// Merges the records of one pass; in the first pass, with the tombstones.
    async fn merge_pass(
        &self,
        spool: &Arc<Spool>,
        pass: MergePass,
        run: &ImportRun,
        outcome: &mut ImportOutcome,
    ) -> Result<(), VaultImportError> {
        let mut tombstone_reader = TombstoneReader::new(spool, outcome.tombstones);
        let mut cursor = SpoolCursor::new(spool);
        loop {
            let (rest, items) = cursor.next_batch().await?;
            cursor = rest;
            if items.is_empty() {
                return Ok(());
            }
            let mut incoming = Vec::with_capacity(items.len());
            for item in items {
                match item {
                    SpoolEntry::Record(raw, positions, row) => {
                        let id = TokenId::from_bytes(raw);
                        // The survey has counted records that do not decode.
                        let Ok(record) = Record::decode(&row) else { continue };
                        if MergePass::of(spool, positions, &record) != pass {
                            continue;
                        }
                        if run.later.has(id, &record) {
                            let tombstone = TombstoneRow { erased_at_ms: time::unix_ms(&self.clock) };
                            incoming.push(MergeItem::Tombstone { id, tombstone });
                            continue;
                        }
                        if run.left_out.contains(&key_name(&record)) {
                            continue;
                        }
                        let (record, erased) = (Box::new(record), tombstone_reader.has(&raw).await?);
                        incoming.push(MergeItem::Record { id, record, erased });
                    }
                    SpoolEntry::Tombstone(raw, tombstone) if pass == MergePass::default() => {
                        incoming.push(MergeItem::Tombstone { id: TokenId::from_bytes(raw), tombstone });
                    }
                    SpoolEntry::Tombstone(..) | SpoolEntry::Control(..) => {}
                }
            }
            if !incoming.is_empty() {
                outcome.merged.add(&self.merge(Arc::new(incoming), run).await?);
            }
        }
    }

    /// Merges some entries. Begins again when the keys change meanwhile, or the rows that searches read, or a value gets a token.
    async fn merge(&self, incoming: Arc<Vec<MergeItem>>, run: &ImportRun) -> Result<MergeCounts, VaultImportError> {
        let restore_erased = run.rules.restore_erased;
        loop {
            let (keys, ledger) = (self.keys.load_full(), self.ledger.load_full());
            let now_ms = time::unix_ms(&self.clock);
            if !self.mover.move_replaced(&keys, &ledger, &incoming, restore_erased, now_ms).await? {
                continue;
            }
            let basis = SearchBasis::new(&keys.ring, &ledger);
            let merge = MergeChange::new(Arc::clone(&incoming), basis, restore_erased, Arc::clone(&run.imported));
            match self.writer.commit(merge).await? {
                Ok(MergedItems { counts, imported }) => {
                    if run.remembers_ids {
                        run.imported.add(imported);
                    }
                    return Ok(counts);
                }
                Err(MergeRefusal::KeyUnavailable(failure)) => return Err(VaultImportError::KeysChanged(failure)),
                Err(MergeRefusal::BasisChanged) => {}
            }
        }
    }
}

/// What the batches of one import share.
struct ImportRun {
    rules: ImportRules,
    /// Whether it can write two tokens of a value under kids of one search: then it remembers what it has written. An export
    /// has two such kids if a move of records from one to the other was not complete, or if the former got records again.
    remembers_ids: bool,
    imported: Arc<ImportedIds>,
    later: Arc<LaterErasures>,
    /// The keys that were not loaded when the export was read, whose records are left out: also if one is loaded meanwhile, so
    /// that the count holds.
    left_out: BTreeSet<(Kid, Fingerprint)>,
}

/// The records that one pass merges. The order of passes is that in which a search of the exported vault finds records: those
/// under active keys first, and of each list in its order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct MergePass {
    is_old: bool,
    positions: ListPositions,
}

impl MergePass {
    fn of(spool: &Spool, positions: ListPositions, record: &Record) -> Self {
        MergePass { is_old: !spool.active.contains(&key_name(record)), positions }
    }
}

/// Returns the name of the key that seals a record.
fn key_name(record: &Record) -> (Kid, Fingerprint) {
    (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint))
}

/// What an import learns from a first reading of the export. Records whose key is not loaded count in `missing` alone.
pub(super) struct Survey {
    /// The passes that it needs.
    order: BTreeSet<MergePass>,
    /// Between which kids records were moved: each names that of its token and that of its key.
    kid_moves: BTreeSet<(Kid, Kid)>,
    /// The kids whose keys seal its records.
    sealing_kids: BTreeSet<Kid>,
    /// The keys of its records that are not loaded, with the number of records that need each.
    pub(super) missing: BTreeMap<(Kid, Fingerprint), u64>,
}

/// Remembers moves of kids, as rotations do, so that searches under either kid find what is imported.
struct KidMovesChange(BTreeSet<(Kid, Kid)>);

impl Change for KidMovesChange {
    type Outcome = ();

    fn lane(&self) -> Lane {
        Lane::Background
    }

    /// It changes which rows a search reads.
    fn runs_alone(&self) -> bool {
        true
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) {
        for (source, target) in &self.0 {
            draft.ledger_changes.note_kid_move(*source, *target);
        }
    }
}

/// Reads a whole export and opens every record whose key is loaded.
pub(super) async fn survey(
    spool: &Arc<Spool>,
    ring: &Keyring,
    later: &LaterErasures,
) -> Result<(ImportOutcome, Survey), VaultImportError> {
    let mut outcome = ImportOutcome::default();
    let mut order = BTreeSet::from([MergePass::default()]);
    let (mut kid_moves, mut sealing_kids) = (BTreeSet::new(), BTreeSet::new());
    let mut missing: BTreeMap<(Kid, Fingerprint), u64> = BTreeMap::new();
    let mut cursor = SpoolCursor::new(spool);
    loop {
        let (rest, items) = cursor.next_batch().await?;
        cursor = rest;
        if items.is_empty() {
            break;
        }
        let states = parallel_map::map(&items, |item| entry_state(ring, later, item));
        for (item, state) in items.iter().zip(states) {
            match state {
                ImportEntryState::Tombstone => outcome.tombstones += 1,
                ImportEntryState::Control => outcome.control_rows += 1,
                ImportEntryState::Whole => outcome.records += 1,
                ImportEntryState::ErasedSince => {
                    outcome.records += 1;
                    outcome.erased_since += 1;
                }
                ImportEntryState::Damaged => {
                    outcome.records += 1;
                    outcome.damaged += 1;
                }
                ImportEntryState::KeyNotLoaded(name) => {
                    outcome.records += 1;
                    outcome.key_missing += 1;
                    *missing.entry(name).or_default() += 1;
                    continue;
                }
            }
            let SpoolEntry::Record(_, positions, row) = item else { continue };
            let Ok(record) = Record::decode(row) else { continue };
            order.insert(MergePass::of(spool, *positions, &record));
            sealing_kids.insert(record.sealing_kid);
            if record.minted_kid != record.sealing_kid && record.value_index.is_some() {
                kid_moves.insert((record.minted_kid, record.sealing_kid));
            }
        }
    }
    Ok((outcome, Survey { order, kid_moves, sealing_kids, missing }))
}

enum ImportEntryState {
    Tombstone,
    Control,
    ErasedSince,
    Whole,
    Damaged,
    KeyNotLoaded((Kid, Fingerprint)),
}

fn entry_state(ring: &Keyring, later: &LaterErasures, item: &SpoolEntry) -> ImportEntryState {
    let (id, row) = match item {
        SpoolEntry::Record(id, _, row) => (id, row),
        SpoolEntry::Tombstone(..) => return ImportEntryState::Tombstone,
        SpoolEntry::Control(..) => return ImportEntryState::Control,
    };
    let Ok(record) = Record::decode(row) else { return ImportEntryState::Damaged };
    if later.has(TokenId::from_bytes(*id), &record) {
        return ImportEntryState::ErasedSince;
    }
    match records::open_in_either_mode(ring, TokenId::from_bytes(*id), &record) {
        None => ImportEntryState::KeyNotLoaded(key_name(&record)),
        Some(Ok(_)) => ImportEntryState::Whole,
        Some(Err(_)) => ImportEntryState::Damaged,
    }
}
