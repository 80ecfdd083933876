//! Tombstones in a group: which ids have one, and how that changes.
//!
//! An id has a record or a tombstone and never both, so that the count of tombstones stays exact. A vault without
//! tombstones is not asked for any: minting pays for them only where something was erased.

use std::collections::HashMap;

use super::commit_group::CommitGroup;
use crate::forget::ErasedRecord;
use masker_core::crypto::{Fingerprint, TokenId};
use masker_store::{
    RowChange, RowKey, Store, StoreError,
    record::{Record, TombstoneRow},
};

/// The tombstones that a group knows of.
#[derive(Default)]
pub(super) struct Tombstones {
    /// Ids that were looked for, or changed by the group; all others have none.
    known: HashMap<TokenId, bool>,
}

impl Tombstones {
    /// Looks for the tombstones of ids that the group may give a record. `any` tells whether the vault has tombstones.
    pub(super) async fn load(&mut self, store: &dyn Store, any: bool, ids: Vec<TokenId>) -> Result<(), StoreError> {
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

impl CommitGroup<'_> {
    /// Removes a record with its alias, and leaves a tombstone.
    pub(super) fn erase_record(&mut self, id: TokenId, record: &Record) -> ErasedRecord {
        let key = RowKey::record(id.as_bytes());
        self.changes.insert(key.clone(), RowChange::Remove(key));
        if let Some(alias) = record.alias {
            let key = RowKey::alias(&alias);
            self.changes.insert(key.clone(), RowChange::Remove(key));
        }
        self.draft.erased(record);
        self.records.insert(id, None);
        self.in_flight.push(id);
        self.put_tombstone(id, TombstoneRow { erased_at_ms: self.now_ms });
        ErasedRecord { sealed_under: (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint)) }
    }

    /// Leaves a tombstone under an id without one.
    pub(super) fn put_tombstone(&mut self, id: TokenId, tombstone: TombstoneRow) {
        if self.tombstones.known.insert(id, true) != Some(true) {
            self.draft.tombstone_added();
        }
        let key = RowKey::tombstone(id.as_bytes());
        self.changes.insert(key.clone(), RowChange::Put(key, tombstone.encode()));
    }

    /// Removes the tombstone of an id that gets a record, if it has one.
    pub(super) fn remove_tombstone(&mut self, id: TokenId) {
        if self.tombstones.known.insert(id, false) == Some(true) {
            self.draft.tombstone_removed();
            let key = RowKey::tombstone(id.as_bytes());
            self.changes.insert(key.clone(), RowChange::Remove(key));
        }
    }
}
