//! Where the records of an import go, so that no token of a value overtakes the one that the vault had first.
//!
//! A search under a kid reads the rows of that kid, and then those of the kids that records were moved from or to. Two
//! policies can therefore find two tokens of one value, each its own. A token appended to a list
//! that already has one of the value is never found first. So a record follows the tokens that the vault
//! has: it is sealed under its own kid only if that one has some, or if none of the kids has.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    index_list::{self, IndexEntry},
    ledger::Ledger,
    records::RecordIndexes,
    search::searched_pairs,
    writer::{CommitDraft, ReadPlan},
};
use masker_core::{
    crypto::{Index, OpenedRecord, TokenId},
    keyring::{KeyPair, Keyring},
};
use masker_store::record::Record;
use masker_types::{kind::Kid, mode::Mode};

/// How many ids an import remembers. They take about 50 MB.
const IMPORTED_IDS_MAX: usize = 1_000_000;

/// The rows of a value under the keys of one kid.
pub(super) struct ValuePlace {
    pub(super) kid: Kid,
    /// Its indexes under the active key; absent for a honeytoken.
    pub(super) active: RecordIndexes,
    /// Its indexes under the replaced keys that are loaded.
    pub(super) replaced: Vec<Index>,
}

impl ValuePlace {
    fn of(pair: &KeyPair, mode: Mode, record: &Record, opened: &OpenedRecord) -> Self {
        let payload = opened.payload();
        let active = pair.active();
        let replaced = pair.generations().filter(|one| one.fingerprint() != active.fingerprint());
        ValuePlace {
            kid: active.kid(),
            active: RecordIndexes::compute(active.keys(mode), record.kind, &payload),
            replaced: replaced
                .map(|one| one.keys(mode).value_index(record.kind, payload.context, payload.value))
                .collect(),
        }
    }

    /// Returns the places of a record's value, in the order of a search under the kid that seals it.
    pub(super) fn all(
        ring: &Keyring,
        ledger: &Ledger,
        mode: Mode,
        record: &Record,
        opened: &OpenedRecord,
    ) -> Vec<Self> {
        let kid = record.sealing_kid;
        if record.value_index.is_none() {
            // A honeytoken stays without indexes, and no search finds it.
            return vec![ValuePlace { kid, active: RecordIndexes::default(), replaced: Vec::new() }];
        }
        searched_pairs(ring, ledger, kid).map(|pair| Self::of(pair, mode, record, opened)).collect()
    }

    pub(super) fn plan_reads(&self, plan: &mut ReadPlan<'_>) {
        self.active.value.iter().chain(&self.replaced).for_each(|index| plan.value_index(*index));
        self.active.form.into_iter().for_each(|index| plan.form_index(index));
    }

    /// Returns the tokens of the value under the kid.
    fn tokens(&self, draft: &CommitDraft<'_>) -> impl Iterator<Item = TokenId> {
        self.active.value.iter().chain(&self.replaced).flat_map(|index| live_ids(draft, *index))
    }

    /// Returns whether the value has a token under a replaced key.
    pub(super) fn has_replaced(&self, draft: &CommitDraft<'_>) -> bool {
        self.replaced.iter().any(|index| live_ids(draft, *index).next().is_some())
    }

    /// Chooses the place of a new record among those of its value. A token under another kid counts unless this import
    /// has written it: then the exported vault finds each of the two under its own kid.
    pub(super) fn choose<'p>(
        draft: &CommitDraft<'_>,
        places: &'p [Self],
        is_imported: impl Fn(TokenId) -> bool,
    ) -> Option<&'p Self> {
        let (own, others) = places.split_first()?;
        if own.tokens(draft).next().is_some() {
            return Some(own);
        }
        let has_earlier = |place: &&Self| place.tokens(draft).any(|id| !is_imported(id));
        others.iter().find(has_earlier).or(Some(own))
    }
}

fn live_ids(draft: &CommitDraft<'_>, index: Index) -> impl Iterator<Item = TokenId> {
    let row = draft.row(&TokenId::row_key(index)).and_then(|row| index_list::decode::<TokenId>(row));
    let listed = row.map(|row| index_list::entries::<TokenId>(&row)).unwrap_or_default();
    listed.into_iter().filter(move |id| draft.is_live_id(index, *id))
}

/// The ids of the records that an import has written, at most [`IMPORTED_IDS_MAX`]. A later one counts as one that the vault
/// had: a second token of its value follows it, and is not found first under its own kid.
#[derive(Default)]
pub(super) struct ImportedIds(Mutex<HashSet<TokenId>>);

impl ImportedIds {
    /// Adds ids while there is room.
    pub(super) fn add(&self, ids: impl IntoIterator<Item = TokenId>) {
        let mut known = self.ids();
        let room = IMPORTED_IDS_MAX.saturating_sub(known.len());
        known.extend(ids.into_iter().take(room));
    }

    pub(super) fn ids(&self) -> MutexGuard<'_, HashSet<TokenId>> {
        // Every change is one call on the set.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_bounded_number_of_ids() {
        let (imported, mut bytes) = (ImportedIds::default(), [0; 20]);
        let ids = (0..IMPORTED_IDS_MAX as u64 + 5).map(|number| {
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            TokenId::from_bytes(bytes)
        });
        imported.add(ids);
        imported.add([TokenId::from_bytes([255; 20])]);
        assert_eq!(imported.ids().len(), IMPORTED_IDS_MAX);
    }
}
