//! Tombstones in a group: which ids have one, and how that changes.
//!
//! An id has a record or a tombstone and never both, so that the count of tombstones stays exact. They are
//! read only if the vault has some: minting pays for them only after an erasure.

use std::collections::HashMap;

use masker_core::crypto::TokenId;
use masker_store::{RowKey, Store, StoreError};

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

    /// Returns whether an id has a tombstone.
    pub(super) fn has(&self, id: TokenId) -> bool {
        self.known.get(&id).copied().unwrap_or(false)
    }

    /// Sets whether an id has a tombstone. Returns whether it had one.
    pub(super) fn set(&mut self, id: TokenId, exists: bool) -> bool {
        self.known.insert(id, exists) == Some(true)
    }
}
