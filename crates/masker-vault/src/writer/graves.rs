//! Tombstones in a group: which ids have one, and how that changes.
//!
//! An id has a record or a tombstone and never both, so that the count of tombstones stays exact. A vault without
//! tombstones is not asked for any: minting pays for them only where something was erased.

use std::collections::HashMap;

use super::group::Group;
use crate::forget::Erased;
use masker_core::crypto::{Fingerprint, TokenId};
use masker_store::{
    Change, RowKey, Store, StoreError,
    record::{Record, TombstoneRow},
};

/// The tombstones that a group knows of.
#[derive(Default)]
pub(super) struct Graves {
    /// Ids that were looked for, or changed by the group; all others have none.
    known: HashMap<TokenId, bool>,
}

impl Graves {
    /// Looks for the tombstones of ids that the group may give a record. `any` tells whether the vault has tombstones.
    pub(super) async fn look_for(&mut self, store: &dyn Store, any: bool, ids: Vec<TokenId>) -> Result<(), StoreError> {
        if !any || ids.is_empty() {
            return Ok(());
        }
        let keys = ids.iter().map(|id| RowKey::tombstone(id.as_bytes())).collect();
        for (id, row) in ids.into_iter().zip(store.get_many(keys).await?) {
            self.known.entry(id).or_insert(row.is_some());
        }
        Ok(())
    }

    pub(super) fn has(&self, id: TokenId) -> bool {
        self.known.get(&id).copied().unwrap_or(false)
    }
}

impl Group<'_> {
    /// Removes a record with its alias, and leaves a tombstone.
    pub(super) fn bury(&mut self, id: TokenId, record: &Record) -> Erased {
        let key = RowKey::record(id.as_bytes());
        self.changes.insert(key.clone(), Change::Remove(key));
        if let Some(alias) = record.alias {
            let key = RowKey::alias(&alias);
            self.changes.insert(key.clone(), Change::Remove(key));
        }
        self.draft.erased(record);
        self.records.insert(id, None);
        self.in_flight.push(id);
        self.put_tombstone(id, TombstoneRow { erased_at_ms: self.now_ms });
        Erased { sealed_under: (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint)) }
    }

    /// Leaves a tombstone under an id without one.
    pub(super) fn put_tombstone(&mut self, id: TokenId, tombstone: TombstoneRow) {
        if self.graves.known.insert(id, true) != Some(true) {
            self.draft.buried();
        }
        let key = RowKey::tombstone(id.as_bytes());
        self.changes.insert(key.clone(), Change::Put(key, tombstone.encode()));
    }

    /// Removes the tombstone of an id that gets a record, if it has one.
    pub(super) fn take_tombstone(&mut self, id: TokenId) {
        if self.graves.known.insert(id, false) == Some(true) {
            self.draft.unburied();
            let key = RowKey::tombstone(id.as_bytes());
            self.changes.insert(key.clone(), Change::Remove(key));
        }
    }
}
