use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{RowBatch, RowChange, StoreError, memory::MemoryStore};

/// A store that remembers how many keys each read asked for, and can fail once.
struct Watched {
    store: MemoryStore,
    reads: Mutex<Vec<usize>>,
    fails_once: AtomicBool,
}

impl Store for Watched {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        lock(&self.reads).push(keys.len());
        if self.fails_once.swap(false, Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Unavailable("a test".into())) });
        }
        self.store.get_many(keys)
    }

    delegate_store!(apply, scan_after, count, check, bytes_on_disk, compact, close);
}

fn key(number: u8) -> RowKey {
    RowKey::new([b'r', number]).unwrap()
}

fn keys(numbers: impl IntoIterator<Item = u8>) -> Vec<RowKey> {
    numbers.into_iter().map(key).collect()
}

/// A store with a row for each of so many keys, which holds the key's number, and the one thread that asks it.
fn store(rows: u8) -> (Arc<SharedReads<Watched>>, Runtime) {
    let runtime = Builder::new_current_thread().build().unwrap();
    let watched = Watched { store: MemoryStore::new(), reads: Mutex::default(), fails_once: AtomicBool::new(false) };
    let changes = (0..rows).map(|number| RowChange::Put(key(number), vec![number])).collect();
    runtime.block_on(watched.store.apply(RowBatch { preconditions: Vec::new(), changes })).unwrap();
    (Arc::new(SharedReads::new(watched)), runtime)
}

/// Asks for each of these at the same time. Returns what each got.
fn ask(
    store: &Arc<SharedReads<Watched>>,
    runtime: &Runtime,
    asked: Vec<Vec<RowKey>>,
) -> Vec<Result<Vec<Option<Row>>, StoreError>> {
    runtime.block_on(async {
        let ask = |keys| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.get_many(keys).await })
        };
        let asked: Vec<_> = asked.into_iter().map(ask).collect();
        let mut got = Vec::new();
        for one in asked {
            got.push(one.await.unwrap());
        }
        got
    })
}

fn reads(store: &SharedReads<Watched>) -> Vec<usize> {
    std::mem::take(&mut lock(&store.store.reads))
}

#[test]
fn small_reads_of_one_turn_are_one_and_each_gets_its_own_rows() {
    let (store, runtime) = store(10);
    let got = ask(&store, &runtime, vec![keys([3]), keys([7, 200]), keys([]), keys(0..4)]);
    let got: Vec<_> = got.into_iter().map(Result::unwrap).collect();
    assert_eq!(got[0], [Some(vec![3])]);
    assert_eq!(got[1], [Some(vec![7]), None]);
    assert!(got[2].is_empty());
    assert_eq!(got[3], [Some(vec![0]), Some(vec![1]), Some(vec![2]), Some(vec![3])]);
    let mut reads = reads(&store);
    reads.sort_unstable();
    assert_eq!(reads, [0, 7]);
}

#[test]
fn large_reads_go_alone_and_no_group_grows_without_end() {
    let (store, runtime) = store(100);
    let got = ask(&store, &runtime, vec![keys([1]), keys(0..5), keys([2])]);
    assert!(got.iter().all(|got| got.as_ref().unwrap().iter().all(Option::is_some)));
    let mut alone = reads(&store);
    alone.sort_unstable();
    assert_eq!(alone, [2, 5]);

    let got = ask(&store, &runtime, (0..40).map(|number| keys([number])).collect());
    for (number, got) in (0..40).zip(got) {
        assert_eq!(got.unwrap(), [Some(vec![number])]);
    }
    let mut full = reads(&store);
    full.sort_unstable();
    assert_eq!(full, [8, 16, 16]);
}

#[test]
fn a_read_sees_what_was_written_before_it_asked() {
    let (store, runtime) = store(1);
    let one = |got: Vec<Result<Vec<Option<Row>>, StoreError>>| got.into_iter().next().unwrap().unwrap().remove(0);
    for number in 0..5 {
        let changes = vec![RowChange::Put(key(0), vec![number])];
        runtime.block_on(store.apply(RowBatch { preconditions: Vec::new(), changes })).unwrap();
        assert_eq!(one(ask(&store, &runtime, vec![keys([0])])), Some(vec![number]));
    }
}

#[test]
fn where_a_shared_read_fails_each_asks_for_itself() {
    let (store, runtime) = store(10);
    store.store.fails_once.store(true, Ordering::SeqCst);
    let got = ask(&store, &runtime, vec![keys([3]), keys([4])]);
    assert_eq!(got[0].as_ref().unwrap()[..], [Some(vec![3])]);
    assert_eq!(got[1].as_ref().unwrap()[..], [Some(vec![4])]);
    assert_eq!(reads(&store), [2, 1, 1]);
}

#[test]
fn whoever_gives_up_takes_nobody_along() {
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
