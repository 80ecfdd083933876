//! The cache; see the parent module for what it guarantees.

use std::{future::ready, hash::BuildHasher, sync::PoisonError};

use quick_cache::{Weighter, unsync::Cache};

use super::primitives::{AtomicBool, Mutex, MutexGuard, Ordering, SHARDS, ShardHasher};
use crate::{ApplyOutcome, Row, RowBatch, RowChange, RowKey, Store, StoreError, StoreFuture};

/// Memory of an entry in addition to its key and row, in bytes: pointers, lengths, queues, and the allocator's overhead.
const ENTRY_BYTES: u64 = 96;

/// A store with a cache of its rows in front of it.
pub struct RowCache<S> {
    pub(super) store: S,
    pub(super) shards: Box<[Mutex<Shard>]>,
    hasher: ShardHasher,
    /// Whether the cache is no longer used: a call that changes rows was dropped, and may end at any time.
    bypassed: AtomicBool,
}

pub(super) struct Shard {
    /// Counts the beginnings and ends of batches that change its rows.
    changes: u64,
    pub(super) rows: Cache<RowKey, Row, RowWeighter>,
}

#[derive(Clone)]
pub(super) struct RowWeighter;

impl Weighter<RowKey, Row> for RowWeighter {
    fn weight(&self, key: &RowKey, row: &Row) -> u64 {
        (key.as_bytes().len() + row.len()) as u64 + ENTRY_BYTES
    }
}

/// A batch that is being applied. If it is dropped before its end, the cache is bypassed from then on.
struct PendingApply<'c, S: Store> {
    cache: &'c RowCache<S>,
    keys: Vec<RowKey>,
    finished: bool,
}

impl<S: Store> RowCache<S> {
    /// Puts a cache of at most so many bytes in front of a store. With 0 bytes, every read goes to the store.
    pub fn new(store: S, bytes: u64) -> Self {
        let bytes_per_shard = bytes / SHARDS as u64;
        let items = usize::try_from(bytes_per_shard / (2 * ENTRY_BYTES)).unwrap_or(0);
        let shard =
            || Mutex::new(Shard { changes: 0, rows: Cache::with_weighter(items, bytes_per_shard, RowWeighter) });
        RowCache {
            store,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: ShardHasher::default(),
            bypassed: AtomicBool::new(bytes == 0),
        }
    }

    fn shard(&self, key: &RowKey) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // No lock guards a state that a panic could leave inconsistent.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_bypassed(&self) -> bool {
        self.bypassed.load(Ordering::Acquire)
    }

    /// Removes the rows under these keys, and prevents rows that are being read now from being kept.
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

    /// Keeps a row that was read, unless a batch has begun or ended since.
    fn keep(&self, key: &RowKey, row: &Row, changes: u64) {
        let mut shard = self.shard(key);
        if shard.changes == changes && !self.is_bypassed() {
            shard.rows.insert(key.clone(), row.clone());
        }
    }

    fn begin(&self, batch: &RowBatch) -> PendingApply<'_, S> {
        let keys: Vec<RowKey> = batch.changes.iter().map(RowChange::key).cloned().collect();
        self.invalidate(&keys);
        PendingApply { cache: self, keys, finished: false }
    }
}

impl<S: Store> PendingApply<'_, S> {
    fn finish(mut self, applied: &Result<ApplyOutcome, StoreError>) {
        self.finished = true;
        match applied {
            Ok(_) => self.cache.invalidate(&self.keys),
            // It is unknown which rows the store will have when it serves again.
            Err(_) => self.cache.invalidate_all(),
        }
    }
}

impl<S: Store> Drop for PendingApply<'_, S> {
    fn drop(&mut self) {
        if !self.finished {
            tracing::warn!("a write to the vault was abandoned; reads bypass the row cache until the daemon restarts");
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
        for (index, key) in keys.iter().enumerate() {
            let shard = self.shard(key);
            let row = shard.rows.get(key).cloned();
            if row.is_none() {
                missing.push((index, shard.changes));
            }
            rows.push(row);
        }
        if missing.is_empty() {
            return Box::pin(ready(Ok(rows)));
        }
        Box::pin(async move {
            let read = self.store.get_many(missing.iter().map(|(index, _)| keys[*index].clone()).collect()).await?;
            for ((index, changes), row) in missing.into_iter().zip(read) {
                if let Some(row) = &row {
                    self.keep(&keys[index], row, changes);
                }
                rows[index] = row;
            }
            Ok(rows)
        })
    }

    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        Box::pin(async move {
            let applying = self.begin(&batch);
            let applied = self.store.apply(batch).await;
            applying.finish(&applied);
            applied
        })
    }

    delegate_store!(scan_after, scan_prefixes, count, check, bytes_on_disk, compact, position);

    fn close(&self) -> StoreFuture<'_, ()> {
        self.bypass();
        self.store.close()
    }
}
