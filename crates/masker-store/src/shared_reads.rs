//! Small reads made together: those that come in one turn of their threads ask the engine once.
//!
//! A read of an engine is a call on a thread that may block, and waking that thread takes longer than most reads. So whoever
//! wants a few rows lets the others of its turn ahead, and the first that goes on reads for all. A read begins after the
//! last of them has come, so each sees whatever was there when it asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::task::yield_now;

use super::{Row, RowKey, Store, StoreFuture};

/// Keys of a read at most for it to be made together with others: what takes long is not made to wait, nor waited for.
const KEYS_MAX: usize = 4;

/// Keys of those that are read together, at most: rows may have to come from the disk, one after the other.
const KEYS_PER_GROUP_MAX: usize = 16;

/// A store whose small reads are made together.
pub struct SharedReads<S> {
    store: Arc<S>,
    /// The group that was begun last.
    latest: Mutex<ReadGroup>,
}

/// Rows by the places of their keys; `None` if the read failed.
type SharedRows = Option<Arc<[Option<Row>]>>;

/// Reads that are made together.
#[derive(Clone)]
struct ReadGroup {
    /// `None` once they are being read.
    keys: Arc<Mutex<Option<Vec<RowKey>>>>,
    read: Shared<BoxFuture<'static, SharedRows>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic leaves nothing half done that a lock guards.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Store + 'static> SharedReads<S> {
    /// Makes small reads of a store together.
    pub fn new(store: S) -> Self {
        let store = Arc::new(store);
        let latest = Mutex::new(ReadGroup::begin(&store));
        SharedReads { store, latest }
    }

    /// Joins the group that has not begun to read, or a new one. Returns the place of the first key.
    fn join(&self, keys: &[RowKey]) -> (ReadGroup, usize) {
        let mut latest = lock(&self.latest);
        if let Some(place) = latest.enter(keys) {
            return (latest.clone(), place);
        }
        let group = ReadGroup::begin(&self.store);
        let place = group.enter(keys).unwrap_or_default();
        *latest = group.clone();
        (group, place)
    }
}

impl ReadGroup {
    fn begin<S: Store + 'static>(store: &Arc<S>) -> Self {
        let keys = Arc::new(Mutex::new(Some(Vec::new())));
        let read = {
            let (keys, store) = (Arc::clone(&keys), Arc::clone(store));
            async move {
                let keys = lock(&keys).take().unwrap_or_default();
                store.get_many(keys).await.ok().map(Arc::from)
            }
        };
        ReadGroup { keys, read: read.boxed().shared() }
    }

    /// The place of the first of these keys; `None` if it is too late for them, or there are too many already.
    fn enter(&self, keys: &[RowKey]) -> Option<usize> {
        let mut known = lock(&self.keys);
        let known = known.as_mut().filter(|known| known.len() + keys.len() <= KEYS_PER_GROUP_MAX)?;
        let place = known.len();
        known.extend_from_slice(keys);
        Some(place)
    }
}

impl<S: Store + 'static> Store for SharedReads<S> {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return self.store.get_many(keys);
        }
        let (group, place) = self.join(&keys);
        Box::pin(async move {
            // Whoever goes on first reads for all, so nobody depends on another who may give up.
            yield_now().await;
            match group.read.await {
                Some(rows) => Ok(rows[place..place + keys.len()].to_vec()),
                // It may have been another's row: each has an answer of its own.
                None => self.store.get_many(keys).await,
            }
        })
    }

    delegate_store!(apply, scan_after, count, check, bytes_on_disk, compact, close);
}

#[cfg(test)]
mod tests;
