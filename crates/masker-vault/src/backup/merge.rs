//! Records and tombstones of an export, merged into the vault: no existing row is overwritten, and every record is written
//! under an active key.

use std::{collections::HashSet, sync::Arc};

use subtle::ConstantTimeEq;

use super::placement::{ImportedIds, ValuePlace};
use crate::{
    GenerationRef, ItemFailure,
    ledger::Ledger,
    parallel_map,
    records::{self, MintedToken},
    search::SearchBasis,
    writer::{Change, CommitDraft, Lane, ReadPlan},
};
use masker_core::{
    crypto::{Fingerprint, OpenedRecord, TokenId},
    keyring::Keyring,
};
use masker_store::{
    RowKey,
    record::{Record, TombstoneRow},
};
use masker_types::mode::Mode;

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
    /// What the vault's own records were moved under, as searches find them.
    basis: SearchBasis,
    /// Whether erased records are restored.
    restore_erased: bool,
    /// What this import has written before.
    imported: Arc<ImportedIds>,
    /// For each record of `incoming`: its content under the keys in force.
    opened: Vec<Option<Result<OpenedItem, ItemFailure>>>,
}

/// What was merged of some entries.
pub(crate) struct MergedItems {
    pub(crate) counts: MergeCounts,
    /// The records that were written, of values that can have a token under another kid too.
    pub(crate) imported: HashSet<TokenId>,
}

/// Why nothing of a batch was merged.
pub(crate) enum MergeRefusal {
    /// A record needs a key that is not loaded any more.
    KeyUnavailable(ItemFailure),
    /// The keys, or the rows that searches read, have changed since the vault's own records were moved.
    BasisChanged,
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
    /// Where it can go, in the order of a search under the kid that seals it.
    places: Vec<ValuePlace>,
}

impl MergeItem {
    fn id(&self) -> TokenId {
        match self {
            MergeItem::Record { id, .. } | MergeItem::Tombstone { id, .. } => *id,
        }
    }

    fn open(&self, ring: &Keyring, ledger: &Ledger) -> Option<Result<OpenedItem, ItemFailure>> {
        let MergeItem::Record { id, record, .. } = self else { return None };
        let opened = open(ring, *id, record).map(|(mode, payload)| {
            let places = ValuePlace::all(ring, ledger, mode, record, &payload);
            OpenedItem { payload, mode, places }
        });
        Some(opened)
    }
}

fn open(ring: &Keyring, id: TokenId, record: &Record) -> Result<(Mode, OpenedRecord), ItemFailure> {
    let (kid, fingerprint) = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
    let unavailable = || ItemFailure::KeyUnavailable(GenerationRef { kid, fingerprint: fingerprint.to_string() });
    let opened = records::open_in_either_mode(ring, id, record).ok_or_else(unavailable)?;
    opened.map_err(|_| ItemFailure::Damaged)
}

impl MergeChange {
    pub(crate) fn new(
        incoming: Arc<Vec<MergeItem>>,
        basis: SearchBasis,
        restore_erased: bool,
        imported: Arc<ImportedIds>,
    ) -> Self {
        MergeChange { incoming, basis, restore_erased, imported, opened: Vec::new() }
    }
}

impl Change for MergeChange {
    type Outcome = Result<MergedItems, MergeRefusal>;

    /// A record comes with two index rows.
    fn row_count(&self) -> usize {
        3 * self.incoming.len()
    }

    fn lane(&self) -> Lane {
        Lane::Background
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        let (ring, ledger) = (plan.keyring(), plan.ledger());
        self.opened = parallel_map::map(&self.incoming, |item| item.open(ring, ledger));
        for (item, opened) in self.incoming.iter().zip(&self.opened) {
            let id = item.id();
            plan.tombstone(id);
            plan.row(RowKey::record(id.as_bytes()));
            if let Some(Ok(opened)) = opened {
                opened.places.iter().for_each(|place| place.plan_reads(plan));
            }
        }
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        let unavailable =
            |opened: &&Result<OpenedItem, ItemFailure>| matches!(opened, Err(ItemFailure::KeyUnavailable(_)));
        if let Some(Err(failure)) = self.opened.iter().flatten().find(unavailable) {
            return Err(MergeRefusal::KeyUnavailable(failure.clone()));
        }
        if SearchBasis::new(draft.keyring(), draft.ledger()) != self.basis {
            return Err(MergeRefusal::BasisChanged);
        }
        let earlier = self.imported.ids();
        let mut merge = Merge {
            draft,
            restore_erased: self.restore_erased,
            earlier: &earlier,
            merged: MergedItems { counts: MergeCounts::default(), imported: HashSet::new() },
        };
        for (item, opened) in self.incoming.iter().zip(&self.opened) {
            merge.item(item, opened.as_ref().and_then(|opened| opened.as_ref().ok()));
        }
        Ok(merge.merged)
    }
}

/// The merge of some items into a draft.
struct Merge<'m, 'k> {
    draft: &'m mut CommitDraft<'k>,
    restore_erased: bool,
    /// What the import has written before.
    earlier: &'m HashSet<TokenId>,
    merged: MergedItems,
}

impl Merge<'_, '_> {
    /// Decides about one item.
    fn item(&mut self, item: &MergeItem, opened: Option<&OpenedItem>) {
        let id = item.id();
        let Merge { draft, merged: MergedItems { counts, .. }, .. } = self;
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
                if erased && !self.restore_erased {
                    counts.erased_skipped += 1;
                } else if self.put_record(id, record, opened) {
                    self.merged.counts.imported += 1;
                    self.merged.counts.restored += u64::from(erased);
                    if opened.places.len() > 1 {
                        self.merged.imported.insert(id);
                    }
                } else {
                    self.merged.counts.rows_failed += 1;
                }
            }
            // Damaged in the export: counted by the import.
            (MergeItem::Record { .. }, _, None) => {}
        }
    }

    /// Writes a record under the active key of the kid that its place has, unless its value has a token under a replaced key
    /// or its index rows have no room for it. Returns whether it was written.
    fn put_record(&mut self, id: TokenId, record: &Record, opened: &OpenedItem) -> bool {
        let Merge { draft, earlier, merged: MergedItems { counts, imported }, .. } = self;
        let is_own = |id: TokenId| earlier.contains(&id) || imported.contains(&id);
        let Some(place) = ValuePlace::choose(draft, &opened.places, is_own) else { return false };
        // The place was found under this keyring, so its kid has an active key.
        let Some(active) = draft.keyring().get(place.kid).map(|pair| pair.active().keys(opened.mode)) else {
            return false;
        };
        if place.has_replaced(draft) {
            return false;
        }
        let payload = opened.payload.payload();
        let is_active = (record.sealing_kid, record.fingerprint) == (active.kid(), *active.fingerprint().as_bytes());
        let record = match is_active {
            true => record.clone(),
            false => {
                let token = MintedToken::of(id, record);
                records::seal(active, &token, place.active, &payload, draft.now_ms, &mut rand::rng())
            }
        };
        let listed = match place.active.value {
            Some(index) => {
                draft.entries::<TokenId>(active, index).map(|ids| ids.iter().any(|id| draft.is_live_id(index, *id)))
            }
            None => Ok(false),
        };
        let added = listed.and_then(|listed| {
            let added = draft.add_record(active, id, &record, payload.normalizer.name())?;
            Ok(added.map(|()| listed))
        });
        let Ok(Ok(has_other_token)) = added else { return false };
        counts.index_conflicts += u64::from(has_other_token);
        counts.resealed += u64::from(!is_active);
        true
    }
}

/// Returns whether the vault's record holds the same value in the same context.
fn has_same_value(ring: &Keyring, id: TokenId, existing: &Record, incoming: &Record, payload: &OpenedRecord) -> bool {
    let Ok((_, own)) = open(ring, id, existing) else { return false };
    let texts = own.value().as_bytes().ct_eq(payload.value().as_bytes())
        & own.context().as_bytes().ct_eq(payload.context().as_bytes());
    existing.kind == incoming.kind && existing.minted_kid == incoming.minted_kid && bool::from(texts)
}
