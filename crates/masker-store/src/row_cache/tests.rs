use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::sync::Semaphore;

use super::RowCache;
use crate::{ApplyOutcome, Row, RowBatch, RowChange, RowKey, Store, StoreError, StoreFuture, memory::MemoryStore};

/// A store whose batches wait for a permit before they begin, and whose reads wait for one before they return.
struct Gated {
    store: MemoryStore,
    reads: AtomicUsize,
    after_reads: Arc<Semaphore>,
    before_batches: Arc<Semaphore>,
    fails: AtomicBool,
}

impl Gated {
    /// Creates a store whose calls do not wait.
    fn open() -> Self {
        let open = || Arc::new(Semaphore::new(1_000));
        Gated {
            store: MemoryStore::new(),
            reads: AtomicUsize::new(0),
            after_reads: open(),
            before_batches: open(),
            fails: AtomicBool::new(false),
        }
    }
}

async fn pass(gate: &Semaphore) {
    gate.acquire().await.unwrap().forget();
}

impl Store for Gated {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        Box::pin(async move {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let rows = self.store.get_many(keys).await;
            pass(&self.after_reads).await;
            rows
        })
    }

    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        Box::pin(async move {
            pass(&self.before_batches).await;
            let applied = self.store.apply(batch).await;
            if self.fails.load(Ordering::SeqCst) { Err(StoreError::Unavailable("a test".into())) } else { applied }
        })
    }

    delegate_store!(scan_after, scan_prefixes, count, check, bytes_on_disk, compact, position, close);
}

fn cache() -> RowCache<Gated> {
    RowCache::new(Gated::open(), 1 << 20)
}

fn key() -> RowKey {
    RowKey::new(*b"r1").unwrap()
}

fn put(row: &[u8]) -> RowBatch {
    RowBatch { preconditions: Vec::new(), changes: vec![RowChange::Put(key(), row.to_vec())] }
}

fn poll_once<T>(future: StoreFuture<'_, T>) -> Poll<Result<T, StoreError>> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn done<T>(future: StoreFuture<'_, T>) -> T {
    match poll_once(future) {
        Poll::Ready(done) => done.unwrap(),
        Poll::Pending => panic!("the call waits"),
    }
}

fn read(cache: &RowCache<Gated>) -> Option<Row> {
    done(cache.get_many(vec![key()])).remove(0)
}

fn reads(cache: &RowCache<Gated>) -> usize {
    cache.store.reads.load(Ordering::SeqCst)
}

#[test]
fn reads_a_row_once_until_it_changes() {
    let cache = cache();
    assert_eq!(read(&cache), None);
    assert_eq!(read(&cache), None);
    assert_eq!(reads(&cache), 2, "a missing row is not cached");
    done(cache.apply(put(b"one")));
    for _ in 0..3 {
        assert_eq!(read(&cache).as_deref(), Some(&b"one"[..]));
    }
    assert_eq!(reads(&cache), 3);
    done(cache.apply(put(b"two")));
    assert_eq!(read(&cache).as_deref(), Some(&b"two"[..]));
    assert_eq!(reads(&cache), 4);
    done(cache.apply(RowBatch { preconditions: Vec::new(), changes: vec![RowChange::Remove(key())] }));
    assert_eq!(read(&cache), None);
}

#[test]
fn does_not_keep_a_row_read_before_a_batch_ended() {
    let cache = cache();
    done(cache.apply(put(b"one")));
    cache.store.after_reads.forget_permits(1_000);
    let mut reading = cache.get_many(vec![key()]);
    assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    done(cache.apply(put(b"two")));
    cache.store.after_reads.add_permits(1_000);
    assert_eq!(done(reading), [Some(b"one".to_vec())], "it began before the batch");
    assert_eq!(read(&cache).as_deref(), Some(&b"two"[..]));
}

#[test]
fn removes_a_row_read_while_a_batch_waited() {
    let cache = cache();
    done(cache.apply(put(b"one")));
    cache.store.before_batches.forget_permits(1_000);
    let mut applying = cache.apply(put(b"two"));
    assert!(applying.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(read(&cache).as_deref(), Some(&b"one"[..]));
    cache.store.before_batches.add_permits(1_000);
    done(applying);
    assert_eq!(read(&cache).as_deref(), Some(&b"two"[..]));
}

#[test]
fn reads_everything_again_after_a_failed_batch() {
    let cache = cache();
    done(cache.apply(put(b"one")));
    assert_eq!(read(&cache).as_deref(), Some(&b"one"[..]));
    cache.store.fails.store(true, Ordering::SeqCst);
    let other = RowChange::Put(RowKey::new(*b"r2").unwrap(), b"x".to_vec());
    assert!(matches!(
        poll_once(cache.apply(RowBatch { preconditions: Vec::new(), changes: vec![other] })),
        Poll::Ready(Err(StoreError::Unavailable(_)))
    ));
    let before = reads(&cache);
    assert_eq!(read(&cache).as_deref(), Some(&b"one"[..]));
    assert_eq!(reads(&cache), before + 1);
}

#[test]
fn bypasses_the_cache_after_a_dropped_batch() {
    let cache = cache();
    done(cache.apply(put(b"one")));
    assert_eq!(read(&cache).as_deref(), Some(&b"one"[..]));
    cache.store.before_batches.forget_permits(1_000);
    let mut applying = cache.apply(put(b"two"));
    assert!(applying.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(applying);
    for _ in 0..2 {
        let before = reads(&cache);
        assert_eq!(read(&cache).as_deref(), Some(&b"one"[..]));
        assert_eq!(reads(&cache), before + 1);
    }
}

#[test]
fn stays_within_its_size() {
    let cache = cache();
    for number in 0..20_000_u32 {
        let key = RowKey::new([b"r".as_slice(), &number.to_be_bytes()].concat()).unwrap();
        let change = RowChange::Put(key.clone(), vec![7; 100]);
        done(cache.apply(RowBatch { preconditions: Vec::new(), changes: vec![change] }));
        done(cache.get_many(vec![key]));
        cache.store.after_reads.add_permits(1);
        cache.store.before_batches.add_permits(1);
    }
    let kept: u64 = cache.shards.iter().map(|shard| shard.lock().unwrap().rows.weight()).sum();
    assert!((1 << 19..=1 << 20).contains(&kept), "{kept}");
}

#[test]
fn a_cache_of_zero_bytes_keeps_nothing() {
    let cache = RowCache::new(Gated::open(), 0);
    done(cache.apply(put(b"one")));
    read(&cache);
    read(&cache);
    assert_eq!(reads(&cache), 2);
}
