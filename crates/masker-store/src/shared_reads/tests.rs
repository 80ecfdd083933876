use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{RowBatch, RowChange, StoreError, memory::MemoryStore};

/// A store that records how many keys each read has, and can fail once.
struct Recording {
    store: MemoryStore,
    reads: Mutex<Vec<usize>>,
    fails_once: AtomicBool,
}

impl Store for Recording {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        lock(&self.reads).push(keys.len());
        if self.fails_once.swap(false, Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Unavailable("a test".into())) });
        }
        self.store.get_many(keys)
    }

    delegate_store!(apply, scan_after, scan_prefixes, count, check, bytes_on_disk, compact, position, close);
}

fn key(number: u8) -> RowKey {
    RowKey::new([b'r', number]).unwrap()
}

fn keys(numbers: impl IntoIterator<Item = u8>) -> Vec<RowKey> {
    numbers.into_iter().map(key).collect()
}

/// Returns a store with a row for each of so many keys, which contains the key's number, and a runtime of one thread.
fn store(rows: u8) -> (Arc<SharedReads<Recording>>, Runtime) {
    let runtime = Builder::new_current_thread().build().unwrap();
    let recording =
        Recording { store: MemoryStore::new(), reads: Mutex::default(), fails_once: AtomicBool::new(false) };
    let changes = (0..rows).map(|number| RowChange::Put(key(number), vec![number])).collect();
    runtime.block_on(recording.store.apply(RowBatch { preconditions: Vec::new(), changes })).unwrap();
    (Arc::new(SharedReads::new(recording)), runtime)
}

/// Makes all these reads at the same time and returns their results.
fn read_all(
    store: &Arc<SharedReads<Recording>>,
    runtime: &Runtime,
    wanted: Vec<Vec<RowKey>>,
) -> Vec<Result<Vec<Option<Row>>, StoreError>> {
    runtime.block_on(async {
        let read = |keys| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.get_many(keys).await })
        };
        let tasks: Vec<_> = wanted.into_iter().map(read).collect();
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.unwrap());
        }
        results
    })
}

fn reads(store: &SharedReads<Recording>) -> Vec<usize> {
    std::mem::take(&mut lock(&store.store.reads))
}

#[test]
fn combines_small_reads_and_returns_each_its_rows() {
    let (store, runtime) = store(10);
    let results = read_all(&store, &runtime, vec![keys([3]), keys([7, 200]), keys([]), keys(0..4)]);
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(results[0], [Some(vec![3])]);
    assert_eq!(results[1], [Some(vec![7]), None]);
    assert!(results[2].is_empty());
    assert_eq!(results[3], [Some(vec![0]), Some(vec![1]), Some(vec![2]), Some(vec![3])]);
    let mut reads = reads(&store);
    reads.sort_unstable();
    assert_eq!(reads, [0, 7]);
}

#[test]
fn large_reads_go_alone_and_groups_are_bounded() {
    let (store, runtime) = store(100);
    let results = read_all(&store, &runtime, vec![keys([1]), keys(0..5), keys([2])]);
    assert!(results.iter().all(|rows| rows.as_ref().unwrap().iter().all(Option::is_some)));
    let mut alone = reads(&store);
    alone.sort_unstable();
    assert_eq!(alone, [2, 5]);

    let results = read_all(&store, &runtime, (0..40).map(|number| keys([number])).collect());
    for (number, rows) in (0..40).zip(results) {
        assert_eq!(rows.unwrap(), [Some(vec![number])]);
    }
    let mut full = reads(&store);
    full.sort_unstable();
    assert_eq!(full, [8, 16, 16]);
}

#[test]
fn a_read_sees_batches_that_ended_before_it() {
    let (store, runtime) = store(1);
    let one =
        |results: Vec<Result<Vec<Option<Row>>, StoreError>>| results.into_iter().next().unwrap().unwrap().remove(0);
    for number in 0..5 {
        let changes = vec![RowChange::Put(key(0), vec![number])];
        runtime.block_on(store.apply(RowBatch { preconditions: Vec::new(), changes })).unwrap();
        assert_eq!(one(read_all(&store, &runtime, vec![keys([0])])), Some(vec![number]));
    }
}

#[test]
fn repeats_each_read_after_a_combined_read_failed() {
    let (store, runtime) = store(10);
    store.store.fails_once.store(true, Ordering::SeqCst);
    let results = read_all(&store, &runtime, vec![keys([3]), keys([4])]);
    assert_eq!(results[0].as_ref().unwrap()[..], [Some(vec![3])]);
    assert_eq!(results[1].as_ref().unwrap()[..], [Some(vec![4])]);
    assert_eq!(reads(&store), [2, 1, 1]);
}

#[test]
fn a_dropped_read_does_not_affect_the_others() {
    let (store, runtime) = store(10);
    runtime.block_on(async {
        let mut first = store.get_many(keys([1]));
        let mut second = store.get_many(keys([2]));
        let third = store.get_many(keys([3]));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        drop((first, second));
        assert_eq!(third.await.unwrap(), [Some(vec![3])]);
    });
    assert_eq!(reads(&store), [3]);
}
