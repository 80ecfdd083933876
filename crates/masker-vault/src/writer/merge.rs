//! Records and tombstones that come from elsewhere, merged into a group: nothing that is there is overwritten, and
//! nothing is written under a key that is not active.
//!
//! A merge is a group of its own: a mint beside it would search without seeing the aliases that it makes.

use subtle::ConstantTimeEq;

use super::{Job, commit_group::CommitGroup};
use crate::{GenerationRef, ItemFailure, parallel_map, records};
use masker_core::{
    crypto::{Fingerprint, GenerationKeys, OpenedRecord, TokenId},
    keyring::{Keyring, Role},
};
use masker_store::{
    Precondition, Row, RowChange, RowKey, Store, StoreError,
    record::{Alias, Record, TombstoneRow},
};
use masker_types::mode::Mode;

/// Something to merge.
pub(crate) enum MergeItem {
    /// A record, and whether it has a tombstone where it comes from.
    Record { id: TokenId, record: Box<Record>, erased: bool },
    /// A record that was erased.
    Tombstone { id: TokenId, tombstone: TombstoneRow },
}

/// What is merged in one go.
pub(crate) struct MergeRequest {
    pub(crate) incoming: Vec<MergeItem>,
    /// Whether records come back that were erased.
    pub(crate) restore_erased: bool,
}

/// What became of what was merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeCounts {
    /// Records written.
    pub imported: u64,
    /// Records written under the active key, which had been sealed under another one.
    pub resealed: u64,
    /// Records written that had been erased.
    pub restored: u64,
    /// Records that were there already, with the same value.
    pub present: u64,
    /// Records that were there with another value, or that could not be compared: the vault's stays.
    pub conflicts: u64,
    /// Records written whose value has another token in this vault: that one stays the one that is found first, unless
    /// it is found by an alias.
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

/// What is to be known of one thing to merge before it is decided.
pub(super) struct PreparedMerge<'k> {
    /// The row under its id.
    stored: Option<Row>,
    /// For a record: opened under the keys in force.
    opened: Option<Result<OpenedRow<'k>, ItemFailure>>,
}

struct OpenedRow<'k> {
    payload: OpenedRecord,
    /// The active generation of the key id that seals it, in its mode, and whether it seals it already.
    active: &'k GenerationKeys,
    is_active: bool,
    /// Its id under that generation.
    index: TokenId,
    /// Whether an alias leads elsewhere from its own id, and whether an alias or a record has the index.
    alias_of_id: bool,
    alias_of_index: bool,
    record_of_index: bool,
}

/// Opens and looks up whatever the jobs of a group want merged.
pub(super) async fn prepare<'k>(
    store: &dyn Store,
    ring: &'k Keyring,
    jobs: &[Job],
) -> Result<Vec<PreparedMerge<'k>>, StoreError> {
    let incoming: Vec<&MergeItem> = jobs.iter().flat_map(Job::merges).collect();
    if incoming.is_empty() {
        return Ok(Vec::new());
    }
    let stored = store.get_many(incoming.iter().map(|one| RowKey::record(one.id().as_bytes())).collect()).await?;
    let opened = parallel_map::map(&incoming, |one| one.open(ring));
    let mut prepared: Vec<PreparedMerge<'k>> =
        stored.into_iter().zip(opened).map(|(stored, opened)| PreparedMerge { stored, opened }).collect();

    // Of those that may be written: who else has their names.
    let names = |(one, prepared): (&&MergeItem, &PreparedMerge<'_>)| match &prepared.opened {
        Some(Ok(opened)) if prepared.stored.is_none() => {
            let (id, index) = (one.id(), opened.index);
            Some([RowKey::alias(id.as_bytes()), RowKey::alias(index.as_bytes()), RowKey::record(index.as_bytes())])
        }
        _ => None,
    };
    let names: Vec<Option<[RowKey; 3]>> = incoming.iter().zip(&prepared).map(names).collect();
    let mut rows = store.get_many(names.iter().flatten().flatten().cloned().collect()).await?.into_iter();
    for (prepared, _) in prepared.iter_mut().zip(&names).filter(|(_, names)| names.is_some()) {
        let mut there = || rows.next().flatten().is_some();
        let [alias_of_id, alias_of_index, record_of_index] = [there(), there(), there()];
        if let Some(Ok(opened)) = &mut prepared.opened {
            opened.alias_of_id = alias_of_id;
            opened.alias_of_index = alias_of_index;
            opened.record_of_index = record_of_index;
        }
    }
    Ok(prepared)
}

impl MergeItem {
    pub(super) fn id(&self) -> TokenId {
        match self {
            MergeItem::Record { id, .. } | MergeItem::Tombstone { id, .. } => *id,
        }
    }

    fn open<'k>(&self, ring: &'k Keyring) -> Option<Result<OpenedRow<'k>, ItemFailure>> {
        match self {
            MergeItem::Record { id, record, .. } => Some(open(ring, *id, record)),
            MergeItem::Tombstone { .. } => None,
        }
    }
}

fn open<'k>(ring: &'k Keyring, id: TokenId, record: &Record) -> Result<OpenedRow<'k>, ItemFailure> {
    let (kid, fingerprint) = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
    let unavailable = || ItemFailure::KeyUnavailable(GenerationRef { kid, fingerprint: fingerprint.to_string() });
    let generation = ring.by_fingerprint(kid, fingerprint).ok_or_else(unavailable)?;
    let pair = ring.get(kid).ok_or_else(unavailable)?;
    for mode in Mode::ALL {
        if let Ok(payload) = records::open(generation.keys(mode), record.kind, record.minted_kid, id, record) {
            let active = pair.active().keys(mode);
            let context = payload.payload().context;
            let index = active.token_id(record.kind, context, payload.normal());
            let is_active = generation.role() == Role::Active;
            let (alias_of_id, alias_of_index, record_of_index) = (false, false, false);
            return Ok(OpenedRow { payload, active, is_active, index, alias_of_id, alias_of_index, record_of_index });
        }
    }
    Err(ItemFailure::Damaged)
}

impl CommitGroup<'_> {
    /// Decides what becomes of each, and puts what is to be written into the group.
    ///
    /// # Errors
    /// [`ItemFailure::KeyUnavailable`] if a key is not loaded any more that a record needs; then nothing of it is written.
    pub(super) fn merge(
        &mut self,
        merge: &MergeRequest,
        prepared: Vec<PreparedMerge<'_>>,
    ) -> Result<MergeCounts, ItemFailure> {
        if let Some(Err(gone @ ItemFailure::KeyUnavailable(_))) = prepared
            .iter()
            .filter_map(|prepared| prepared.opened.as_ref())
            .find(|opened| matches!(opened, Err(ItemFailure::KeyUnavailable(_))))
        {
            return Err(gone.clone());
        }
        let mut merged = MergeCounts::default();
        for (incoming, PreparedMerge { stored, opened }) in merge.incoming.iter().zip(prepared) {
            let id = incoming.id();
            // One that does not decode is there, and cannot be compared.
            let there = stored.map(|row| Record::decode(&row).ok());
            match (incoming, there, opened) {
                (MergeItem::Tombstone { .. }, Some(_), _) => merged.records_kept += 1,
                (MergeItem::Tombstone { tombstone, .. }, None, _) => {
                    if !self.tombstones.has(id) {
                        self.put_tombstone(id, *tombstone);
                        merged.tombstones_added += 1;
                    }
                }
                (MergeItem::Record { record, .. }, Some(there), Some(Ok(opened))) => {
                    let same = there.is_some_and(|there| self.same(id, &there, record, &opened.payload));
                    if same { merged.present += 1 } else { merged.conflicts += 1 }
                }
                (MergeItem::Record { record, erased, .. }, None, Some(Ok(opened))) => {
                    let erased = *erased || self.tombstones.has(id);
                    if erased && !merge.restore_erased {
                        merged.erased_skipped += 1;
                        continue;
                    }
                    merged.restored += u64::from(erased);
                    self.put_record(id, record, &opened, &mut merged);
                }
                // Damaged where it comes from: counted there.
                (MergeItem::Record { .. }, _, _) => {}
            }
        }
        Ok(merged)
    }

    /// Whether the record that is there holds the same value in the same context.
    fn same(&self, id: TokenId, there: &Record, incoming: &Record, payload: &OpenedRecord) -> bool {
        let Ok(opened) = open(self.keyring, id, there) else { return false };
        let mine = opened.payload;
        let texts = mine.value().as_bytes().ct_eq(payload.value().as_bytes())
            & mine.context().as_bytes().ct_eq(payload.context().as_bytes());
        there.kind == incoming.kind && there.minted_kid == incoming.minted_kid && bool::from(texts)
    }

    fn put_record(&mut self, id: TokenId, record: &Record, opened: &OpenedRow<'_>, merged: &mut MergeCounts) {
        let mut record = Record::clone(record);
        if !opened.is_active {
            let payload = opened.payload.payload();
            let sealed = opened.active.seal_record(record.kind, record.minted_kid, id, &payload, &mut rand::rng());
            record.fingerprint = *opened.active.fingerprint().as_bytes();
            (record.nonce, record.ciphertext) = (sealed.nonce, sealed.ciphertext);
            record.sealed_at_ms = self.now_ms;
            merged.resealed += 1;
        }
        record.alias = None;
        let mut conflict = opened.alias_of_id || self.changes.contains_key(&RowKey::alias(id.as_bytes()));
        if opened.index != id {
            let key = RowKey::alias(opened.index.as_bytes());
            let taken = opened.alias_of_index || opened.record_of_index;
            // Or by something that was merged just before.
            if taken || self.changes.contains_key(&key) || self.records.contains_key(&opened.index) {
                conflict = true;
            } else {
                record.alias = Some(*opened.index.as_bytes());
                let alias = Alias { target: *id.as_bytes(), tag: opened.active.alias_tag(opened.index, id) };
                self.preconditions.push(Precondition::Absent(key.clone()));
                self.changes.insert(key.clone(), RowChange::Put(key, alias.encode()));
            }
        }
        merged.alias_conflicts += u64::from(conflict);
        let key = RowKey::record(id.as_bytes());
        self.preconditions.push(Precondition::Absent(key.clone()));
        self.changes.insert(key.clone(), RowChange::Put(key, record.encode()));
        self.remove_tombstone(id);
        self.draft.imported(&record);
        self.records.insert(id, Some(record));
        self.in_flight.push(id);
        merged.imported += 1;
    }
}
