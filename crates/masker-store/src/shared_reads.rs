//! Combines small reads that arrive at about the same time into one read of the engine.
//!
//! A read of an engine runs on a thread that may block, and waking that thread takes longer than most reads. So a small
//! read first yields, which lets other tasks of its thread add their keys. The first task that continues reads for all.
//! The read begins after the last key was added, so each task sees every batch that ended before it asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::task::yield_now;

use crate::{Row, RowKey, Store, StoreFuture};

/// Most keys of a read that is combined with others. Larger reads take long and go alone.
const KEYS_MAX: usize = 4;

/// Most keys of a group: rows may have to be read from the disk one after the other.
const KEYS_PER_GROUP_MAX: usize = 16;

/// A store that combines small reads of another store.
pub struct SharedReads<S> {
    store: Arc<S>,
    /// The newest group.
    latest: Mutex<ReadGroup>,
}

/// The rows in the order of the group's keys; `None` if the read failed.
type SharedRows = Option<Arc<[Option<Row>]>>;

/// Reads that are combined.
#[derive(Clone)]
struct ReadGroup {
    /// `None` once the read has begun.
    keys: Arc<Mutex<Option<Vec<RowKey>>>>,
    read: Shared<BoxFuture<'static, SharedRows>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No lock guards a state that a panic could leave inconsistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Store + 'static> SharedReads<S> {
    /// Combines small reads of this store.
    pub fn new(store: S) -> Self {
        let store = Arc::new(store);
        let latest = Mutex::new(ReadGroup::begin(&store));
        SharedReads { store, latest }
    }

    /// Joins the newest group, or a new one if that has begun to read or is full. Returns the index of the first key.
    fn join(&self, keys: &[RowKey]) -> (ReadGroup, usize) {
        let mut latest = lock(&self.latest);
        if let Some(first) = latest.add(keys) {
            return (latest.clone(), first);
        }
        let group = ReadGroup::begin(&self.store);
        let first = group.add(keys).unwrap_or_default();
        *latest = group.clone();
        (group, first)
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

    /// Adds keys and returns the index of the first. Returns `None` if the read has begun or the group is full.
    fn add(&self, keys: &[RowKey]) -> Option<usize> {
        let mut group = lock(&self.keys);
        let group = group.as_mut().filter(|group| group.len() + keys.len() <= KEYS_PER_GROUP_MAX)?;
        let first = group.len();
        group.extend_from_slice(keys);
        Some(first)
    }
}

impl<S: Store + 'static> Store for SharedReads<S> {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return self.store.get_many(keys);
        }
        let (group, first) = self.join(&keys);
        Box::pin(async move {
            // The first task that continues reads for all, so none depends on another one that may be dropped.
            yield_now().await;
            match group.read.await {
                Some(rows) => Ok(rows[first..first + keys.len()].to_vec()),
                // Another task's row may have caused the error, so each task repeats its own read.
                None => self.store.get_many(keys).await,
            }
        })
    }

    delegate_store!(apply, scan_after, scan_prefixes, count, check, bytes_on_disk, compact, position, close);
}

#[cfg(test)]
mod tests;
