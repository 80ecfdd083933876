//! Shares: what counts together when sessions and tokens are bounded for each owner.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use masker_access::ApiKey;
use masker_store::{
    RowKey, Store, StoreError,
    record::{ApiKeyRow, SessionOwner},
};

/// Whose sessions count together: those of one caller, or of an API key and of all keys that come from it. A caller that
/// hands out keys has no more room for that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Caller { uid: Option<u32>, name: String },
    KeysOf([u8; 16]),
}

/// The share of a holder, with the tokens that its sessions track.
#[derive(Debug)]
pub(super) struct Share {
    holder: Holder,
    tokens: AtomicUsize,
}

impl Share {
    /// Finds whose share the sessions of an owner belong to. An API key belongs to the first key of its line, which a client
    /// has created.
    pub(super) async fn of(owner: &SessionOwner, store: &dyn Store) -> Result<Arc<Self>, StoreError> {
        let holder = match owner.key_id {
            None => Holder::Caller { uid: owner.uid, name: owner.name.clone() },
            Some(id) => Holder::KeysOf(first_of_line(id, store).await?),
        };
        Ok(Arc::new(Share { holder, tokens: AtomicUsize::new(0) }))
    }

    /// Returns whether both are of the same holder.
    pub(super) fn is_same(&self, other: &Share) -> bool {
        self.holder == other.holder
    }

    /// Returns how many tokens its sessions track.
    pub(super) fn tokens(&self) -> usize {
        self.tokens.load(Ordering::Relaxed)
    }

    pub(super) fn add_token(&self) {
        self.tokens.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_tokens(&self, tokens: usize) {
        self.tokens.fetch_sub(tokens, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn of_caller(name: &str) -> Arc<Self> {
        let holder = Holder::Caller { uid: None, name: name.to_owned() };
        Arc::new(Share { holder, tokens: AtomicUsize::new(0) })
    }
}

/// Follows an API key to the key that has created it, and so on. A damaged row ends the line: the start reports it.
async fn first_of_line(id: [u8; 16], store: &dyn Store) -> Result<[u8; 16], StoreError> {
    let (mut first, mut line) = (id, HashSet::from([id]));
    loop {
        let rows = store.get_many(vec![RowKey::api_key(&first)]).await?;
        let row = rows.into_iter().next().flatten();
        let document = row.and_then(|row| Some(ApiKeyRow::decode(&row).ok()?.document));
        let key = document.and_then(|document| serde_json::from_slice::<ApiKey>(&document).ok());
        match key.and_then(|key| key.parent()).map(|parent| *parent.as_bytes()) {
            // Damaged rows could lead in a circle.
            Some(parent) if line.insert(parent) => first = parent,
            _ => return Ok(first),
        }
    }
}
