//! Rows that were read lately, kept in memory before a store: a read that meets them asks no engine and no disk.
//!
//! What is kept is what the store gave, sealed as it was. A row is let go before a batch that changes it is applied, and
//! again once the batch has ended; what was read from the store in between is kept only if no batch has begun or ended
//! since the read began. So after a batch has ended, no read meets a row from before it.

use std::{
    future::ready,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use quick_cache::{Weighter, unsync::Cache};

use super::{ApplyOutcome, Row, RowBatch, RowChange, RowKey, Store, StoreError, StoreFuture};

/// Parts that are locked apart from each other.
const SHARDS: usize = 64;
/// What an entry takes beside its key and its row, in bytes: pointers, lengths, places in queues, the allocator's share.
const ENTRY_BYTES: u64 = 96;

/// A store behind a cache of its rows.
pub struct RowCache<S> {
    store: S,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Nothing is kept any more: a call that changes rows was given up, and nobody knows when it ends.
    bypassed: AtomicBool,
}

struct Shard {
    /// How many batches that change its rows have begun and ended.
    changes: u64,
    rows: Cache<RowKey, Row, RowWeighter>,
}

#[derive(Clone)]
struct RowWeighter;

impl Weighter<RowKey, Row> for RowWeighter {
    fn weight(&self, key: &RowKey, row: &Row) -> u64 {
        (key.as_bytes().len() + row.len()) as u64 + ENTRY_BYTES
    }
}

/// A batch that is being applied. Where it is dropped before its end, nothing is kept from then on.
struct PendingApply<'c, S: Store> {
    cache: &'c RowCache<S>,
    keys: Vec<RowKey>,
    ended: bool,
}

impl<S: Store> RowCache<S> {
    /// A cache before a store, of at most so many bytes. One of none keeps nothing.
    pub fn new(store: S, bytes: u64) -> Self {
        let of_each = bytes / SHARDS as u64;
        let items = usize::try_from(of_each / (2 * ENTRY_BYTES)).unwrap_or(0);
        let shard = || Mutex::new(Shard { changes: 0, rows: Cache::with_weighter(items, of_each, RowWeighter) });
        RowCache {
            store,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            bypassed: AtomicBool::new(bytes == 0),
        }
    }

    fn shard(&self, key: &RowKey) -> MutexGuard<'_, Shard> {
        let place = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // A panic leaves nothing half done that a lock guards.
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_bypassed(&self) -> bool {
        self.bypassed.load(Ordering::Acquire)
    }

    /// Lets go of the rows under these keys, and of those that are just being read.
    fn invalidate(&self, keys: &[RowKey]) {
        for key in keys {
            let mut shard = self.shard(key);
            shard.changes += 1;
            shard.rows.remove(key);
        }
    }

    fn invalidate_all(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.changes += 1;
            shard.rows.clear();
        }
    }

    fn bypass(&self) {
        self.bypassed.store(true, Ordering::Release);
        self.invalidate_all();
    }

    /// Keeps a row that was read, unless something has changed since.
    fn keep(&self, key: &RowKey, row: &Row, changes: u64) {
        let mut shard = self.shard(key);
        if shard.changes == changes && !self.is_bypassed() {
            shard.rows.insert(key.clone(), row.clone());
        }
    }

    fn begin(&self, batch: &RowBatch) -> PendingApply<'_, S> {
        let keys: Vec<RowKey> = batch.changes.iter().map(RowChange::key).cloned().collect();
        self.invalidate(&keys);
        PendingApply { cache: self, keys, ended: false }
    }
}

impl<S: Store> PendingApply<'_, S> {
    fn end(mut self, applied: &Result<ApplyOutcome, StoreError>) {
        self.ended = true;
        match applied {
            Ok(_) => self.cache.invalidate(&self.keys),
            // Which rows there are once the store serves again, nobody knows.
            Err(_) => self.cache.invalidate_all(),
        }
    }
}

impl<S: Store> Drop for PendingApply<'_, S> {
    fn drop(&mut self) {
        if !self.ended {
            self.cache.bypass();
        }
    }
}

impl<S: Store> Store for RowCache<S> {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        if self.is_bypassed() {
            return self.store.get_many(keys);
        }
        let mut rows: Vec<Option<Row>> = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let shard = self.shard(key);
            let row = shard.rows.get(key).cloned();
            if row.is_none() {
                missing.push((place, shard.changes));
            }
            rows.push(row);
        }
        if missing.is_empty() {
            return Box::pin(ready(Ok(rows)));
        }
        Box::pin(async move {
            let read = self.store.get_many(missing.iter().map(|(place, _)| keys[*place].clone()).collect()).await?;
            for ((place, changes), row) in missing.into_iter().zip(read) {
                if let Some(row) = &row {
                    self.keep(&keys[place], row, changes);
                }
                rows[place] = row;
            }
            Ok(rows)
        })
    }

    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        Box::pin(async move {
            let applying = self.begin(&batch);
            let applied = self.store.apply(batch).await;
            applying.end(&applied);
            applied
        })
    }

    delegate_store!(scan_after, count, check, bytes_on_disk, compact);

    fn close(&self) -> StoreFuture<'_, ()> {
        self.bypass();
        self.store.close()
    }
}

#[cfg(test)]
mod tests;
