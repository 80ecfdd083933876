//! Tombstones in a group: which ids have one, and how that changes.
//!
//! An id has a record or a tombstone and never both, so that the count of tombstones stays exact. They are
//! read only if the vault has some: minting pays for them only after an erasure.

use std::collections::HashMap;

use super::draft::CommitDraft;
use masker_core::crypto::TokenId;
use masker_store::{RowChange, RowKey, Store, StoreError, record::TombstoneRow};

/// The tombstones that a group knows of.
#[derive(Default)]
pub(super) struct Tombstones {
    /// Ids that were looked up or changed by the group; all others have none.
    known: HashMap<TokenId, bool>,
}

impl Tombstones {
    /// Looks up the tombstones of these ids.
    pub(super) async fn load(store: &dyn Store, ids: Vec<TokenId>) -> Result<Self, StoreError> {
        let mut known = HashMap::new();
        if !ids.is_empty() {
            let keys = ids.iter().map(|id| RowKey::tombstone(id.as_bytes())).collect();
            for (id, row) in ids.into_iter().zip(store.get_many(keys).await?) {
                known.entry(id).or_insert(row.is_some());
            }
        }
        Ok(Tombstones { known })
    }
}

impl CommitDraft<'_> {
    /// Returns whether an id has a tombstone.
    pub(crate) fn has_tombstone(&self, id: TokenId) -> bool {
        self.tombstones.known.get(&id).copied().unwrap_or(false)
    }

    /// Writes a tombstone under an id that has no record.
    pub(crate) fn put_tombstone(&mut self, id: TokenId, tombstone: TombstoneRow) {
        if self.tombstones.known.insert(id, true) != Some(true) {
            self.ledger_changes.tombstone_added();
        }
        self.write(RowChange::Put(RowKey::tombstone(id.as_bytes()), tombstone.encode()));
    }

    /// Removes the tombstone of an id that gets a record, if it has one.
    pub(super) fn remove_tombstone(&mut self, id: TokenId) {
        if self.tombstones.known.insert(id, false) == Some(true) {
            self.ledger_changes.tombstone_removed();
            self.write(RowChange::Remove(RowKey::tombstone(id.as_bytes())));
        }
    }
}
