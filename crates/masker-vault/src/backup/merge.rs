//! Records and tombstones of an export, merged into the vault: no existing row is overwritten, and every record is written
//! under an active key.

use subtle::ConstantTimeEq;

use crate::{
    GenerationRef, ItemFailure, parallel_map, records,
    writer::{Change, CommitDraft, ReadPlan, Reads},
};
use masker_core::{
    crypto::{Fingerprint, GenerationKeys, OpenedRecord, TokenId},
    keyring::{Keyring, Role},
};
use masker_store::{
    Precondition, RowChange, RowKey,
    record::{Alias, Record, TombstoneRow},
};
use masker_types::{kind::Kid, mode::Mode};

/// An entry to merge.
pub(crate) enum MergeItem {
    /// A record, and whether the export has a tombstone of its id.
    Record { id: TokenId, record: Box<Record>, erased: bool },
    /// A record that was erased.
    Tombstone { id: TokenId, tombstone: TombstoneRow },
}

/// Merges entries of an export. The outcome is what was merged, or [`ItemFailure::KeyUnavailable`] if a record needs a key
/// that is not loaded any more; then nothing is written.
pub(crate) struct MergeChange {
    incoming: Vec<MergeItem>,
    /// Whether erased records are restored.
    restore_erased: bool,
    /// For each record of `incoming`: its content under the keys in force.
    opened: Vec<Option<Result<OpenedItem, ItemFailure>>>,
}

/// What an import wrote and what it left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeCounts {
    /// Records written.
    pub imported: u64,
    /// Records written under the active key, which had been sealed under another one.
    pub resealed: u64,
    /// Records written that the vault had erased.
    pub restored: u64,
    /// Records that the vault has already, with the same value.
    pub present: u64,
    /// Records that the vault has with another value, or that could not be compared: the vault's stays.
    pub conflicts: u64,
    /// Records written whose value has another token in this vault. A search finds that token first, unless it leads
    /// through an alias.
    pub alias_conflicts: u64,
    /// Records left out because they were erased.
    pub erased_skipped: u64,
    /// Tombstones written.
    pub tombstones_added: u64,
    /// Tombstones left out because the vault has the record.
    pub records_kept: u64,
}

impl MergeCounts {
    pub(crate) fn add(&mut self, other: &MergeCounts) {
        self.imported += other.imported;
        self.resealed += other.resealed;
        self.restored += other.restored;
        self.present += other.present;
        self.conflicts += other.conflicts;
        self.alias_conflicts += other.alias_conflicts;
        self.erased_skipped += other.erased_skipped;
        self.tombstones_added += other.tombstones_added;
        self.records_kept += other.records_kept;
    }
}

/// A record that was opened under the keys in force.
struct OpenedItem {
    payload: OpenedRecord,
    mode: Mode,
    /// Whether the active generation of its kid sealed it.
    is_active: bool,
    /// The id of its value under the active generation.
    index: TokenId,
}

/// Which rows the vault has that concern a record.
struct ExistingRows {
    /// Its own. One that does not decode exists and cannot be compared.
    record: Option<Option<Record>>,
    /// An alias that leads elsewhere from its id.
    alias_of_id: bool,
    alias_of_index: bool,
    record_of_index: bool,
}

impl MergeItem {
    fn id(&self) -> TokenId {
        match self {
            MergeItem::Record { id, .. } | MergeItem::Tombstone { id, .. } => *id,
        }
    }

    fn open(&self, ring: &Keyring) -> Option<Result<OpenedItem, ItemFailure>> {
        match self {
            MergeItem::Record { id, record, .. } => Some(open(ring, *id, record)),
            MergeItem::Tombstone { .. } => None,
        }
    }
}

/// Returns the active generation of a kid in a mode.
fn active_keys(ring: &Keyring, kid: Kid, mode: Mode) -> Option<&GenerationKeys> {
    ring.get(kid).map(|pair| pair.active().keys(mode))
}

fn open(ring: &Keyring, id: TokenId, record: &Record) -> Result<OpenedItem, ItemFailure> {
    let (kid, fingerprint) = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
    let unavailable = || ItemFailure::KeyUnavailable(GenerationRef { kid, fingerprint: fingerprint.to_string() });
    let generation = ring.by_fingerprint(kid, fingerprint).ok_or_else(unavailable)?;
    for mode in Mode::ALL {
        if let Ok(payload) = records::open(generation.keys(mode), record.kind, record.minted_kid, id, record) {
            let active = active_keys(ring, kid, mode).ok_or_else(unavailable)?;
            let index = active.token_id(record.kind, payload.payload().context, payload.normal());
            return Ok(OpenedItem { payload, mode, is_active: generation.role() == Role::Active, index });
        }
    }
    Err(ItemFailure::Damaged)
}

impl MergeChange {
    pub(crate) fn new(incoming: Vec<MergeItem>, restore_erased: bool) -> Self {
        MergeChange { incoming, restore_erased, opened: Vec::new() }
    }
}

impl Change for MergeChange {
    type Outcome = Result<MergeCounts, ItemFailure>;

    fn row_count(&self) -> usize {
        self.incoming.len()
    }

    /// A mint in the same group would search without the aliases that this makes.
    fn runs_alone(&self) -> bool {
        true
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        let ring = plan.keyring();
        self.opened = parallel_map::map(&self.incoming, |item| item.open(ring));
        for (item, opened) in self.incoming.iter().zip(&self.opened) {
            let id = item.id();
            plan.tombstone(id);
            plan.row(RowKey::record(id.as_bytes()));
            if let Some(Ok(opened)) = opened {
                plan.row(RowKey::alias(id.as_bytes()));
                plan.row(RowKey::alias(opened.index.as_bytes()));
                plan.row(RowKey::record(opened.index.as_bytes()));
            }
        }
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>, reads: &mut Reads<'_, '_>) -> Self::Outcome {
        let unavailable =
            |opened: &&Result<OpenedItem, ItemFailure>| matches!(opened, Err(ItemFailure::KeyUnavailable(_)));
        if let Some(Err(failure)) = self.opened.iter().flatten().find(unavailable) {
            return Err(failure.clone());
        }
        let mut counts = MergeCounts::default();
        for (item, opened) in self.incoming.iter().zip(&self.opened) {
            let opened = opened.as_ref().and_then(|opened| opened.as_ref().ok());
            let existing = ExistingRows::take(reads, opened.is_some());
            merge(draft, item, opened, &existing, self.restore_erased, &mut counts);
        }
        Ok(counts)
    }
}

impl ExistingRows {
    /// Takes the rows of an item in the order of the plan.
    fn take(reads: &mut Reads<'_, '_>, opened: bool) -> Self {
        let record = reads.next_row().map(|row| Record::decode(&row).ok());
        let mut exists = || opened && reads.next_row().is_some();
        ExistingRows { record, alias_of_id: exists(), alias_of_index: exists(), record_of_index: exists() }
    }
}

/// Decides about one item.
fn merge(
    draft: &mut CommitDraft<'_>,
    item: &MergeItem,
    opened: Option<&OpenedItem>,
    existing: &ExistingRows,
    restore_erased: bool,
    counts: &mut MergeCounts,
) {
    let id = item.id();
    match (item, &existing.record, opened) {
        (MergeItem::Tombstone { .. }, Some(_), _) => counts.records_kept += 1,
        (MergeItem::Tombstone { tombstone, .. }, None, _) => {
            if !draft.has_tombstone(id) {
                draft.put_tombstone(id, *tombstone);
                counts.tombstones_added += 1;
            }
        }
        (MergeItem::Record { record, .. }, Some(existing), Some(opened)) => {
            let same = existing
                .as_ref()
                .is_some_and(|existing| has_same_value(draft.keyring(), id, existing, record, &opened.payload));
            if same { counts.present += 1 } else { counts.conflicts += 1 }
        }
        (MergeItem::Record { record, erased, .. }, None, Some(opened)) => {
            let erased = *erased || draft.has_tombstone(id);
            if erased && !restore_erased {
                counts.erased_skipped += 1;
            } else {
                counts.restored += u64::from(erased);
                put_record(draft, id, record, opened, existing, counts);
            }
        }
        // Damaged in the export: counted by the import.
        (MergeItem::Record { .. }, _, None) => {}
    }
}

/// Returns whether the vault's record holds the same value in the same context.
fn has_same_value(ring: &Keyring, id: TokenId, existing: &Record, incoming: &Record, payload: &OpenedRecord) -> bool {
    let Ok(opened) = open(ring, id, existing) else { return false };
    let own = opened.payload;
    let texts = own.value().as_bytes().ct_eq(payload.value().as_bytes())
        & own.context().as_bytes().ct_eq(payload.context().as_bytes());
    existing.kind == incoming.kind && existing.minted_kid == incoming.minted_kid && bool::from(texts)
}

fn put_record(
    draft: &mut CommitDraft<'_>,
    id: TokenId,
    record: &Record,
    opened: &OpenedItem,
    existing: &ExistingRows,
    counts: &mut MergeCounts,
) {
    // The record was opened under this keyring, so its kid has an active key.
    let Some(active) = active_keys(draft.keyring(), record.sealing_kid, opened.mode) else { return };
    let mut record = Record::clone(record);
    if !opened.is_active {
        let payload = opened.payload.payload();
        let sealed = active.seal_record(record.kind, record.minted_kid, id, &payload, &mut rand::rng());
        record.fingerprint = *active.fingerprint().as_bytes();
        (record.nonce, record.ciphertext) = (sealed.nonce, sealed.ciphertext);
        record.sealed_at_ms = draft.now_ms;
        counts.resealed += 1;
    }
    record.alias = None;
    let mut conflict = existing.alias_of_id || draft.drafted_row(&RowKey::alias(id.as_bytes())).is_some();
    if opened.index != id {
        let key = RowKey::alias(opened.index.as_bytes());
        let is_drafted = draft.drafted_row(&key).is_some() || draft.drafted_record(opened.index).is_some();
        if existing.alias_of_index || existing.record_of_index || is_drafted {
            conflict = true;
        } else {
            record.alias = Some(*opened.index.as_bytes());
            let alias = Alias { target: *id.as_bytes(), tag: active.alias_tag(opened.index, id) };
            draft.require(Precondition::Absent(key.clone()));
            draft.write(RowChange::Put(key, alias.encode()));
        }
    }
    counts.alias_conflicts += u64::from(conflict);
    draft.require_absent_record(id);
    draft.ledger_changes.imported(&record);
    draft.put_record(id, record);
    counts.imported += 1;
}
