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
use masker_types::grant::{UNLISTED_NAME, UNRESTRICTED_NAME};

/// Whose sessions count together. A client or a key that hands out keys has no more room for that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    /// A client of the configuration, with all keys that come from it.
    Client(String),
    /// Another local caller. Its keys are for others, since it may do everything.
    Caller { uid: Option<u32>, name: String },
    /// An API key of such a caller, with all keys that come from it.
    KeysOf([u8; 16]),
}

/// The share of a holder, with the tokens that its sessions track.
#[derive(Debug)]
pub(super) struct SessionShare {
    holder: Holder,
    tokens: AtomicUsize,
}

impl SessionShare {
    /// Finds whose share the sessions of an owner belong to.
    pub(super) async fn of(owner: &SessionOwner, store: &dyn Store) -> Result<Arc<Self>, StoreError> {
        let holder = match owner.key_id {
            None if is_client(&owner.name) => Holder::Client(owner.name.clone()),
            None => Holder::Caller { uid: owner.uid, name: owner.name.clone() },
            Some(id) => holder_of_key(id, store).await?,
        };
        Ok(Arc::new(SessionShare { holder, tokens: AtomicUsize::new(0) }))
    }

    /// Returns whether both are of the same holder.
    pub(super) fn is_same(&self, other: &SessionShare) -> bool {
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
        Arc::new(SessionShare { holder, tokens: AtomicUsize::new(0) })
    }
}

/// Finds the holder of an API key: the client that has created the first key of its line, or that key itself if the operator
/// has. A damaged row ends the line: the start reports it.
async fn holder_of_key(id: [u8; 16], store: &dyn Store) -> Result<Holder, StoreError> {
    let (mut first, mut line) = (id, HashSet::from([id]));
    loop {
        let rows = store.get_many(vec![RowKey::api_key(&first)]).await?;
        let row = rows.into_iter().next().flatten();
        let document = row.and_then(|row| Some(ApiKeyRow::decode(&row).ok()?.document));
        let key = document.and_then(|document| serde_json::from_slice::<ApiKey>(&document).ok());
        let Some(key) = key else { return Ok(Holder::KeysOf(first)) };
        match key.parent().map(|parent| *parent.as_bytes()) {
            // Damaged rows could lead in a circle.
            Some(parent) if line.insert(parent) => first = parent,
            None if is_client(key.created_by()) => return Ok(Holder::Client(key.created_by().to_owned())),
            _ => return Ok(Holder::KeysOf(first)),
        }
    }
}

/// Returns whether a principal that is not an API key is a client of the configuration, which cannot have the other names.
fn is_client(name: &str) -> bool {
    ![UNRESTRICTED_NAME, UNLISTED_NAME].contains(&name)
}
