//! Model check of the cache with loom: runs a few threads in every interleaving, with up to [`PREEMPTIONS`] preemptions.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{
    model::Builder,
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use crate::{ApplyOutcome, Row, RowBatch, RowChange, RowKey, Store, StoreError, StoreFuture, memory::MemoryStore};
use cache::RowCache;

/// The code of the cache, with loom's primitives and with few shards.
#[path = "cache.rs"]
#[expect(clippy::duplicate_mod, reason = "the model check needs other primitives than the program")]
mod cache;

mod primitives {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    pub(super) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    };

    pub(super) type ShardHasher = BuildHasherDefault<DefaultHasher>;
    pub(super) const SHARDS: usize = 2;
}

const PREEMPTIONS: usize = 3;

/// What a batch of the model does.
#[derive(Clone, Copy)]
enum Batch {
    Succeeds,
    FailsButIsApplied,
    /// Stays pending. [`ModelStore::finish_batch`] applies it.
    Hangs,
}

/// A store of one row, which is one byte: the number of the last batch.
struct ModelStore {
    row: Mutex<u8>,
    batch: Batch,
    /// Implements the calls that the model does not make.
    store: MemoryStore,
}

impl ModelStore {
    fn finish_batch(&self, number: u8) {
        *self.row.lock().unwrap() = number;
    }
}

impl Store for ModelStore {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        Box::pin(async move { Ok(keys.iter().map(|_| Some(vec![*self.row.lock().unwrap()])).collect()) })
    }

    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        Box::pin(async move {
            let RowChange::Put(_, row) = &batch.changes[0] else { panic!("batches put rows") };
            match self.batch {
                Batch::Hangs => std::future::pending().await,
                Batch::Succeeds | Batch::FailsButIsApplied => self.finish_batch(row[0]),
            }
            match self.batch {
                Batch::FailsButIsApplied => Err(StoreError::Unavailable("a test".into())),
                _ => Ok(ApplyOutcome::Durable),
            }
        })
    }

    delegate_store!(scan_after, scan_prefixes, count, check, bytes_on_disk, compact, position, close);
}

type ModelCache = Arc<RowCache<ModelStore>>;

fn key() -> RowKey {
    RowKey::new(*b"r1").unwrap()
}

fn poll<T>(future: StoreFuture<'_, T>) -> Poll<Result<T, StoreError>> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Applies the batch with this number.
fn apply(cache: &ModelCache, number: u8) -> Poll<Result<ApplyOutcome, StoreError>> {
    let changes = vec![RowChange::Put(key(), vec![number])];
    poll(cache.apply(RowBatch { preconditions: Vec::new(), changes }))
}

/// Reads the number of the batch that the row is from.
fn read(cache: &ModelCache) -> u8 {
    let Poll::Ready(Ok(rows)) = poll(cache.get_many(vec![key()])) else { panic!("reads do not wait") };
    rows[0].as_ref().unwrap()[0]
}

/// Checks a model in which batches have this outcome. The row is from batch 1 at first, and cached if `cached`.
fn check(batch: Batch, cached: bool, model: fn(&ModelCache)) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        let store = ModelStore { row: Mutex::new(1), batch, store: MemoryStore::new() };
        let cache = Arc::new(RowCache::new(store, 1 << 16));
        if cached {
            assert_eq!(read(&cache), 1);
        }
        model(&cache);
    });
}

fn spawn(cache: &ModelCache, work: impl FnOnce(&ModelCache) + 'static) -> thread::JoinHandle<()> {
    let cache = Arc::clone(cache);
    thread::spawn(move || work(&cache))
}

/// Applies batch 2 beside two readers, one of which knows whether the batch has ended.
fn one_batch(cache: &ModelCache) {
    let ended = Arc::new(AtomicU8::new(1));
    let reader = spawn(cache, |cache| {
        read(cache);
    });
    let writer = spawn(cache, {
        let ended = Arc::clone(&ended);
        move |cache| {
            assert!(apply(cache, 2).is_ready());
            ended.store(2, Ordering::Release);
            assert_eq!(read(cache), 2);
        }
    });
    let last_ended = ended.load(Ordering::Acquire);
    assert!(read(cache) >= last_ended, "a read returned a row from before a batch that had ended");
    reader.join().unwrap();
    writer.join().unwrap();
    assert_eq!(read(cache), 2);
}

#[test]
fn no_read_is_older_than_a_batch_that_ended() {
    for cached in [false, true] {
        check(Batch::Succeeds, cached, one_batch);
    }
}

#[test]
fn no_read_is_older_than_a_batch_that_failed() {
    for cached in [false, true] {
        check(Batch::FailsButIsApplied, cached, one_batch);
    }
}

#[test]
fn no_read_is_older_than_batches_of_two_writers() {
    check(Batch::Succeeds, true, |cache| {
        let write = |cache: &ModelCache, number| {
            assert!(apply(cache, number).is_ready());
            // The other batch may have replaced this one.
            let row = read(cache);
            assert_ne!(row, 1, "a read returned a row from before a batch that had ended");
        };
        let reader = spawn(cache, |cache| {
            read(cache);
        });
        let writer = spawn(cache, move |cache| write(cache, 2));
        write(cache, 3);
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(read(cache), *cache.store.row.lock().unwrap());
    });
}

#[test]
fn no_read_is_older_than_a_batch_whose_future_was_dropped() {
    for cached in [false, true] {
        check(Batch::Hangs, cached, |cache| {
            let changes = vec![RowChange::Put(key(), vec![2])];
            let mut applying = cache.apply(RowBatch { preconditions: Vec::new(), changes });
            assert!(applying.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let reader = spawn(cache, |cache| {
                read(cache);
            });
            let engine = spawn(cache, |cache| cache.store.finish_batch(2));
            drop(applying);
            engine.join().unwrap();
            assert_eq!(read(cache), 2);
            reader.join().unwrap();
            assert_eq!(read(cache), 2);
        });
    }
}
