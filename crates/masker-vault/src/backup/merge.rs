//! Records and tombstones of an export, merged into the vault: no existing row is overwritten, and every record is written
//! under an active key.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::{
    GenerationRef, ItemFailure,
    index_list::{self, IndexEntry},
    parallel_map,
    records::{self, MintedToken, RecordIndexes},
    writer::{Change, CommitDraft, Lane, ReadPlan},
};
use masker_core::{
    crypto::{Fingerprint, GenerationKeys, Index, OpenedRecord, TokenId},
    keyring::Keyring,
};
use masker_store::{
    RowKey,
    record::{Record, TombstoneRow},
};
use masker_types::{kind::Kid, mode::Mode};

/// An entry to merge.
pub(crate) enum MergeItem {
    /// A record, and whether the export has a tombstone of its id.
    Record { id: TokenId, record: Box<Record>, erased: bool },
    /// A record that was erased.
    Tombstone { id: TokenId, tombstone: TombstoneRow },
}

/// Merges entries of an export. The outcome is what was merged.
pub(crate) struct MergeChange {
    incoming: Arc<Vec<MergeItem>>,
    /// The keyring that records were brought forward under.
    epoch: u64,
    /// Whether erased records are restored.
    restore_erased: bool,
    /// For each record of `incoming`: its content under the keys in force.
    opened: Vec<Option<Result<OpenedItem, ItemFailure>>>,
}

/// Why nothing of a batch was merged.
pub(crate) enum MergeRefusal {
    /// A record needs a key that is not loaded any more.
    KeyUnavailable(ItemFailure),
    /// The keys have changed since records were brought forward.
    KeysChanged,
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
    /// Records written whose value has another token under the same key. A search finds that token first.
    pub index_conflicts: u64,
    /// Records left out because an index row has no room for another token, or because a damaged record of their value could
    /// not be moved to the active key.
    pub rows_failed: u64,
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
        self.index_conflicts += other.index_conflicts;
        self.rows_failed += other.rows_failed;
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
    /// Its indexes under the active generation.
    indexes: RecordIndexes,
    /// The indexes of its value under the replaced generations of its kid.
    replaced: Vec<Index>,
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
    let opened = records::open_in_either_mode(ring, id, record).ok_or_else(unavailable)?;
    let (mode, payload) = opened.map_err(|_| ItemFailure::Damaged)?;
    let active = active_keys(ring, kid, mode).ok_or_else(unavailable)?;
    let is_active = active.fingerprint() == fingerprint;
    // A honeytoken stays without indexes.
    let (mut indexes, mut replaced) = (RecordIndexes::default(), Vec::new());
    if record.value_index.is_some() {
        let opened = payload.payload();
        indexes = RecordIndexes::compute(active, record.kind, &opened);
        let generations = ring.get(kid).into_iter().flat_map(|pair| pair.generations());
        replaced = generations
            .filter(|one| one.fingerprint() != active.fingerprint())
            .map(|one| one.keys(mode).value_index(record.kind, opened.context, opened.value))
            .collect();
    }
    Ok(OpenedItem { payload, mode, is_active, indexes, replaced })
}

impl MergeChange {
    pub(crate) fn new(incoming: Arc<Vec<MergeItem>>, epoch: u64, restore_erased: bool) -> Self {
        MergeChange { incoming, epoch, restore_erased, opened: Vec::new() }
    }
}

impl Change for MergeChange {
    type Outcome = Result<MergeCounts, MergeRefusal>;

    /// A record comes with two index rows.
    fn row_count(&self) -> usize {
        3 * self.incoming.len()
    }

    fn lane(&self) -> Lane {
        Lane::Background
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        let ring = plan.keyring();
        self.opened = parallel_map::map(&self.incoming, |item| item.open(ring));
        for (item, opened) in self.incoming.iter().zip(&self.opened) {
            let id = item.id();
            plan.tombstone(id);
            plan.row(RowKey::record(id.as_bytes()));
            if let Some(Ok(opened)) = opened {
                opened.indexes.value.into_iter().for_each(|index| plan.value_index(index));
                opened.replaced.iter().for_each(|index| plan.value_index(*index));
                opened.indexes.form.into_iter().for_each(|index| plan.form_index(index));
            }
        }
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        let unavailable =
            |opened: &&Result<OpenedItem, ItemFailure>| matches!(opened, Err(ItemFailure::KeyUnavailable(_)));
        if let Some(Err(failure)) = self.opened.iter().flatten().find(unavailable) {
            return Err(MergeRefusal::KeyUnavailable(failure.clone()));
        }
        if draft.keyring().epoch() != self.epoch {
            return Err(MergeRefusal::KeysChanged);
        }
        let mut counts = MergeCounts::default();
        for (item, opened) in self.incoming.iter().zip(&self.opened) {
            let opened = opened.as_ref().and_then(|opened| opened.as_ref().ok());
            merge(draft, item, opened, self.restore_erased, &mut counts);
        }
        Ok(counts)
    }
}

/// Decides about one item.
fn merge(
    draft: &mut CommitDraft<'_>,
    item: &MergeItem,
    opened: Option<&OpenedItem>,
    restore_erased: bool,
    counts: &mut MergeCounts,
) {
    let id = item.id();
    // One that does not decode exists and cannot be compared.
    let existing = draft.row(&RowKey::record(id.as_bytes())).map(|row| Record::decode(row).ok());
    match (item, existing, opened) {
        (MergeItem::Tombstone { .. }, Some(_), _) => counts.records_kept += 1,
        (MergeItem::Tombstone { tombstone, .. }, None, _) => {
            if !draft.has_tombstone(id) {
                draft.put_tombstone(id, *tombstone);
                counts.tombstones_added += 1;
            }
        }
        (MergeItem::Record { record, .. }, Some(existing), Some(opened)) => {
            let same = existing
                .is_some_and(|existing| has_same_value(draft.keyring(), id, &existing, record, &opened.payload));
            if same { counts.present += 1 } else { counts.conflicts += 1 }
        }
        (MergeItem::Record { record, erased, .. }, None, Some(opened)) => {
            let erased = *erased || draft.has_tombstone(id);
            if erased && !restore_erased {
                counts.erased_skipped += 1;
            } else {
                let imported = put_record(draft, id, record, opened, counts);
                counts.restored += u64::from(erased && imported);
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

/// Writes a record under the active key of its sealing kid, unless its value is held under a replaced key or its index rows
/// have no room for it. Returns whether it was written.
fn put_record(
    draft: &mut CommitDraft<'_>,
    id: TokenId,
    record: &Record,
    opened: &OpenedItem,
    counts: &mut MergeCounts,
) -> bool {
    let is_held = |index: &Index| {
        let row = draft.row(&TokenId::row_key(*index)).and_then(|row| index_list::decode::<TokenId>(row));
        row.is_some_and(|row| index_list::entries(&row).into_iter().any(|id| draft.is_live_id(*index, id)))
    };
    if opened.replaced.iter().any(is_held) {
        counts.rows_failed += 1;
        return false;
    }
    // The record was opened under this keyring, so its kid has an active key.
    let Some(active) = active_keys(draft.keyring(), record.sealing_kid, opened.mode) else { return false };
    let payload = opened.payload.payload();
    let record = match opened.is_active {
        true => record.clone(),
        false => {
            let token = MintedToken::of(id, record);
            records::seal(active, &token, opened.indexes, &payload, draft.now_ms, &mut rand::rng())
        }
    };
    let listed = match opened.indexes.value {
        Some(index) => {
            draft.entries::<TokenId>(active, index).map(|ids| ids.iter().any(|id| draft.is_live_id(index, *id)))
        }
        None => Ok(false),
    };
    let added = listed.and_then(|listed| {
        let added = draft.add_record(active, id, &record, payload.normalizer.name())?;
        Ok(added.map(|()| listed))
    });
    let Ok(Ok(has_other_token)) = added else {
        counts.rows_failed += 1;
        return false;
    };
    counts.index_conflicts += u64::from(has_other_token);
    counts.resealed += u64::from(!opened.is_active);
    counts.imported += 1;
    true
}
