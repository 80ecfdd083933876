//! The contract of `Store`, tested on every implementation.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use masker_store::{
    ApplyOutcome, Precondition, Row, RowBatch, RowChange, RowKey, Store, StoreError, embedded::EmbeddedStore,
    memory::MemoryStore, row_cache::RowCache, shared_reads::SharedReads,
};
use masker_types::{engine::EngineKind, limits::ROW_BYTES_MAX};

use crate::{
    options, scratch, small,
    workload::{Model, Workload, differences},
};

macro_rules! contract {
    ($($clause:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $clause() { super::on(|_| super::Arc::new(super::MemoryStore::new()), super::$clause); })*
        }
        mod row_cache {
            $(#[test] fn $clause() { super::cached(super::$clause); })*
        }
        #[cfg(feature = "sled")]
        mod sled {
            $(#[test] fn $clause() { super::on_disk(super::EngineKind::Sled, super::$clause); })*
        }
        mod fjall {
            $(#[test] fn $clause() { super::on_disk(super::EngineKind::Fjall, super::$clause); })*
        }
    };
}

contract!(
    an_empty_store_has_no_rows,
    puts_replaces_and_removes_rows,
    keeps_rows_of_every_length,
    a_refused_batch_changes_nothing,
    preconditions_see_the_rows_before_the_batch,
    evaluates_preconditions_of_a_batch_without_changes,
    an_invalid_batch_changes_nothing,
    scans_return_one_space_in_order,
    pages_are_complete_and_in_order,
    prefixes_return_the_rows_that_begin_with_them,
    prefixes_follow_each_batch,
    readers_never_see_a_mixed_row,
    writers_exclude_each_other,
    checks_run_beside_writers,
    compactions_run_beside_writers,
    a_dropped_call_applies_a_whole_batch_or_nothing,
    a_closed_store_is_unavailable,
    random_batches_match_the_model,
);

/// Runs a clause with a cache that holds everything, and with a small one.
fn cached<F: Future<Output = ()>>(clause: impl Fn(Arc<dyn Store>) -> F) {
    for bytes in [1 << 24, 1 << 16] {
        on(|_| Arc::new(RowCache::new(SharedReads::new(MemoryStore::new()), bytes)), &clause);
    }
}

/// Runs a clause with a cache that holds everything, and with a small one.
fn on_disk<F: Future<Output = ()>>(engine: EngineKind, clause: impl Fn(Arc<dyn Store>) -> F) {
    for options in [options(engine), small(engine)] {
        on(|path| Arc::new(EmbeddedStore::open(path, options).unwrap()), &clause);
    }
}

fn on<F: Future<Output = ()>>(
    open: impl FnOnce(&std::path::Path) -> Arc<dyn Store>,
    clause: impl FnOnce(Arc<dyn Store>) -> F,
) {
    let folder = scratch();
    let store = open(&folder.path().join("vault"));
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    threads.block_on(async {
        clause(Arc::clone(&store)).await;
        store.close().await.unwrap();
    });
}

fn key(bytes: &[u8]) -> RowKey {
    RowKey::new(bytes).unwrap()
}

fn put(bytes: &[u8], row: &[u8]) -> RowChange {
    RowChange::Put(key(bytes), row.to_vec())
}

fn remove(bytes: &[u8]) -> RowChange {
    RowChange::Remove(key(bytes))
}

fn changes(changes: Vec<RowChange>) -> RowBatch {
    RowBatch { preconditions: Vec::new(), changes }
}

async fn get(store: &Arc<dyn Store>, bytes: &[u8]) -> Option<Vec<u8>> {
    store.get_many(vec![key(bytes)]).await.unwrap().remove(0)
}

async fn scan(store: &Arc<dyn Store>, space: u8, after: Option<&[u8]>, limit: usize) -> (Vec<Vec<u8>>, bool) {
    let page = store.scan_after(space, after.map(key), limit).await.unwrap();
    (page.rows.into_iter().map(|(key, _)| key.as_bytes().to_vec()).collect(), page.is_last)
}

async fn an_empty_store_has_no_rows(store: Arc<dyn Store>) {
    assert_eq!(get(&store, b"r1").await, None);
    assert_eq!(scan(&store, b'r', None, 10).await, (vec![], true));
    assert_eq!(store.count(b'r').await.unwrap(), 0);
    assert!(store.get_many(vec![]).await.unwrap().is_empty());
    assert!(differences(&*store, &Model::default()).await.is_ok());
    store.bytes_on_disk().await.unwrap();
}

async fn puts_replaces_and_removes_rows(store: Arc<dyn Store>) {
    let both = changes(vec![put(b"r1", b"one"), put(b"r2", b"two")]);
    assert_eq!(store.apply(both).await.unwrap(), ApplyOutcome::Durable);
    let found = store.get_many([&b"r2"[..], b"r3", b"r1", b"r2"].map(key).into()).await.unwrap();
    assert_eq!(found, [Some(b"two".to_vec()), None, Some(b"one".to_vec()), Some(b"two".to_vec())]);
    store.apply(changes(vec![put(b"r1", b"uno"), remove(b"r2"), remove(b"r3")])).await.unwrap();
    assert_eq!(get(&store, b"r1").await.as_deref(), Some(&b"uno"[..]));
    assert_eq!(get(&store, b"r2").await, None);
    assert_eq!(store.count(b'r').await.unwrap(), 1);
    let checked = store.check().await.unwrap();
    assert!(checked.sound && checked.rows == 1 && checked.rows_expected == 1);
}

async fn keeps_rows_of_every_length(store: Arc<dyn Store>) {
    let lengths = [0, 1, 100, 3_071, 3_072, 3_073, 6_144, 6_145, 9_217, ROW_BYTES_MAX - 1, ROW_BYTES_MAX];
    // Each length after every other: no piece of a longer row is left, nor seen by scans and counts.
    for first in lengths {
        for second in lengths {
            let rows = [vec![b'1'; first], (0..second).map(|i| i as u8).collect()];
            for row in &rows {
                store.apply(changes(vec![put(b"rx", row)])).await.unwrap();
                assert_eq!(get(&store, b"rx").await.as_deref(), Some(row.as_slice()));
            }
            let page = store.scan_after(b'r', None, 10).await.unwrap();
            assert!(page.is_last && page.rows.len() == 1 && page.rows[0].1 == rows[1]);
        }
        assert_eq!(store.count(b'r').await.unwrap(), 1);
        store.apply(changes(vec![remove(b"rx")])).await.unwrap();
        assert_eq!(store.count(b'r').await.unwrap(), 0);
    }
    assert!(differences(&*store, &Model::default()).await.is_ok());
}

async fn a_refused_batch_changes_nothing(store: Arc<dyn Store>) {
    store.apply(changes(vec![put(b"r1", b"one")])).await.unwrap();
    let holds = Precondition::Equals(key(b"r1"), b"one".to_vec());
    let fails = [
        Precondition::Absent(key(b"r1")),
        Precondition::Equals(key(b"r1"), b"on".to_vec()),
        Precondition::Equals(key(b"r2"), vec![]),
    ];
    for fails in fails {
        let preconditions = vec![holds.clone(), Precondition::Absent(key(b"r2")), fails.clone(), fails];
        let batch = RowBatch { preconditions, changes: vec![put(b"r1", b"other"), put(b"r2", b"two")] };
        assert_eq!(store.apply(batch).await.unwrap(), ApplyOutcome::Refused(2));
        assert_eq!(get(&store, b"r1").await.as_deref(), Some(&b"one"[..]));
        assert_eq!(get(&store, b"r2").await, None);
    }
    let batch = RowBatch { preconditions: vec![holds], changes: vec![remove(b"r1")] };
    assert_eq!(store.apply(batch).await.unwrap(), ApplyOutcome::Durable);
    assert_eq!(get(&store, b"r1").await, None);
}

async fn preconditions_see_the_rows_before_the_batch(store: Arc<dyn Store>) {
    let batch = RowBatch {
        preconditions: vec![Precondition::Absent(key(b"r1"))],
        changes: vec![put(b"r1", b"one"), put(b"r2", b"two")],
    };
    assert_eq!(store.apply(batch.clone()).await.unwrap(), ApplyOutcome::Durable);
    assert_eq!(store.apply(batch).await.unwrap(), ApplyOutcome::Refused(0));
}

async fn evaluates_preconditions_of_a_batch_without_changes(store: Arc<dyn Store>) {
    assert_eq!(store.apply(RowBatch::default()).await.unwrap(), ApplyOutcome::Durable);
    let absent = RowBatch { preconditions: vec![Precondition::Absent(key(b"r1"))], changes: vec![] };
    assert_eq!(store.apply(absent.clone()).await.unwrap(), ApplyOutcome::Durable);
    store.apply(changes(vec![put(b"r1", b"")])).await.unwrap();
    assert_eq!(store.apply(absent).await.unwrap(), ApplyOutcome::Refused(0));
}

async fn an_invalid_batch_changes_nothing(store: Arc<dyn Store>) {
    let wrong = [
        vec![put(b"r1", b"one"), put(b"r2", &vec![0; ROW_BYTES_MAX + 1])],
        vec![put(b"r1", b"one"), put(b"r1", b"two")],
        vec![put(b"r1", b"one"), remove(b"r1")],
    ];
    for wrong in wrong {
        assert!(matches!(store.apply(changes(wrong)).await, Err(StoreError::Misused(_))));
    }
    assert_eq!(store.count(b'r').await.unwrap(), 0);
    assert_eq!(store.apply(changes(vec![put(b"r1", b"one")])).await.unwrap(), ApplyOutcome::Durable);
}

async fn scans_return_one_space_in_order(store: Arc<dyn Store>) {
    // Keys with common prefixes, the longest key, and keys of the spaces before and after.
    let longest = [&b"r"[..], &[0xFF; 95]].concat();
    let in_order: [&[u8]; 10] =
        [b"r", b"r\0", b"r\0\0", b"r\0\x01", b"r\x01", b"ra", b"raa", b"rb", b"r\xff", &longest];
    let mut batch: Vec<_> = in_order.iter().rev().map(|bytes| put(bytes, &vec![7; 100 * bytes.len()])).collect();
    batch.extend([put(b"q", b""), put(b"q\xff\xff", b""), put(b"s", b""), put(b"\0x", b""), put(b"\xff", b"")]);
    store.apply(changes(batch)).await.unwrap();
    let expected: Vec<Vec<u8>> = in_order.iter().map(|bytes| bytes.to_vec()).collect();
    assert_eq!(scan(&store, b'r', None, 100).await, (expected.clone(), true));
    for (at, bytes) in in_order.iter().enumerate() {
        assert_eq!(scan(&store, b'r', Some(bytes), 100).await, (expected[at + 1..].to_vec(), true));
    }
    assert_eq!(
        scan(&store, b'r', Some(b"r\0\0\0"), 1).await,
        (vec![b"r\0\x01".to_vec()], false),
        "after a key that does not exist"
    );
    assert_eq!(
        scan(&store, b'r', Some(b"q\xff\xff"), 1).await,
        (vec![b"r".to_vec()], false),
        "after a key of an earlier space"
    );
    assert_eq!(scan(&store, b'r', Some(b"s"), 1).await, (vec![], true), "after a key of a later space");
    for (space, rows) in [(b'q', 2), (b'r', 10), (b's', 1), (0, 1), (0xFF, 1), (b't', 0)] {
        assert_eq!(store.count(space).await.unwrap(), rows);
        assert_eq!(scan(&store, space, None, 100).await.0.len() as u64, rows);
    }
}

async fn pages_are_complete_and_in_order(store: Arc<dyn Store>) {
    let keys: Vec<Vec<u8>> = (0..20_u8).map(|number| vec![b'r', number]).collect();
    store.apply(changes(keys.iter().map(|key| put(key, key)).collect())).await.unwrap();
    for limit in [1, 3, 10, 20, 21] {
        let (mut seen, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let (page, end) = scan(&store, b'r', after.as_deref(), limit).await;
            assert!(page.len() == limit || end, "a page is full or the last one");
            after = page.last().cloned();
            seen.extend(page);
            assert_eq!(end, seen.len() == 20, "the end is reported with the last row");
            if end {
                break;
            }
        }
        assert_eq!(seen, keys);
    }
    assert_eq!(scan(&store, b'r', None, 0).await, (vec![], false));
    assert_eq!(scan(&store, b'r', Some(&[b'r', 19]), 0).await, (vec![], true));
}

async fn prefixes_return_the_rows_that_begin_with_them(store: Arc<dyn Store>) {
    let longest = [&b"ra"[..], &[0xFF; 94]].concat();
    let of_ra: [&[u8]; 7] = [b"ra\0", b"ra\0\0", b"ra1", b"ra2", b"ra\xff", b"ra\xff\xff", &longest];
    let others: [&[u8]; 9] = [b"r", b"r`\xff", b"ra", b"rb", b"rb1", b"r\xff", b"qa1", b"sa1", b"r\xff\xff"];
    let all = of_ra.iter().chain(&others);
    let batch = all.rev().map(|bytes| put(bytes, &vec![bytes.len() as u8; 100 * bytes.len()])).collect();
    store.apply(changes(batch)).await.unwrap();

    let expected: Vec<Vec<u8>> = of_ra.iter().map(|bytes| bytes.to_vec()).collect();
    for limit in [0, 1, 3, 6, 7, 8, 100] {
        let found = with_prefixes(&store, &[b"ra"], limit).await;
        assert_eq!(found, [expected[..limit.min(7)].to_vec()], "up to {limit}");
    }
    // In the order of the prefixes, also if one is given twice, is longer than any row's key, or begins none.
    let found = with_prefixes(&store, &[b"rb", b"rz", b"ra\xff", b"r\xff", &longest, b"rb", b"qa", b"t"], 10).await;
    let rows = |keys: &[&[u8]]| keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>();
    let expected = [
        rows(&[b"rb1"]),
        rows(&[]),
        rows(&[b"ra\xff\xff", &longest]),
        rows(&[b"r\xff\xff"]),
        rows(&[]),
        rows(&[b"rb1"]),
        rows(&[b"qa1"]),
        rows(&[]),
    ];
    assert_eq!(found, expected);
    // A space's own key begins all rows of the space but itself.
    assert_eq!(with_prefixes(&store, &[b"r"], 100).await[0].len(), 13);
    assert!(with_prefixes(&store, &[], 10).await.is_empty());
    let found = store.scan_prefixes(vec![key(b"ra")], 100).await.unwrap().remove(0);
    assert!(found.iter().all(|(key, row)| *row == vec![key.as_bytes().len() as u8; 100 * key.as_bytes().len()]));
}

async fn prefixes_follow_each_batch(store: Arc<dyn Store>) {
    let rows = |keys: &[&[u8]]| keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>();
    assert_eq!(with_prefixes(&store, &[b"ra", b"rb"], 10).await, [rows(&[]), rows(&[])]);
    store.apply(changes(vec![put(b"ra2", b"two"), put(b"rb1", b"one")])).await.unwrap();
    assert_eq!(with_prefixes(&store, &[b"ra", b"rb"], 10).await, [rows(&[b"ra2"]), rows(&[b"rb1"])]);
    // Rows that were read before, and are replaced, removed and preceded by others now.
    assert_eq!(get(&store, b"ra2").await.as_deref(), Some(&b"two"[..]));
    store.apply(changes(vec![put(b"ra1", b"uno"), put(b"ra2", &[2; 7_000]), remove(b"rb1")])).await.unwrap();
    assert_eq!(with_prefixes(&store, &[b"rb", b"ra"], 10).await, [rows(&[]), rows(&[b"ra1", b"ra2"])]);
    assert_eq!(with_prefixes(&store, &[b"ra"], 1).await, [rows(&[b"ra1"])]);
    let found = store.scan_prefixes(vec![key(b"ra")], 10).await.unwrap().remove(0);
    assert_eq!(found[1].1, [2; 7_000]);
    store.apply(changes(vec![remove(b"ra1"), remove(b"ra2")])).await.unwrap();
    assert_eq!(with_prefixes(&store, &[b"ra"], 10).await, [rows(&[])]);
}

/// Returns the keys of the rows that begin with each prefix.
async fn with_prefixes(store: &Arc<dyn Store>, prefixes: &[&[u8]], limit: usize) -> Vec<Vec<Vec<u8>>> {
    let found = store.scan_prefixes(prefixes.iter().map(|bytes| key(bytes)).collect(), limit).await.unwrap();
    let keys = |rows: Vec<(RowKey, Row)>| rows.into_iter().map(|(key, _)| key.as_bytes().to_vec()).collect();
    found.into_iter().map(keys).collect()
}

async fn readers_never_see_a_mixed_row(store: Arc<dyn Store>) {
    // Long rows of one repeated byte, so that a mixture of two batches is detected.
    let write = |byte: u8| {
        let rows = (0..8_u8).map(|number| put(&[b'r', number], &vec![byte; ROW_BYTES_MAX - usize::from(byte)]));
        changes(rows.collect())
    };
    store.apply(write(0)).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            tokio::spawn(async move {
                let mut reads = 0_u64;
                loop {
                    let last = done.load(Ordering::Acquire);
                    let rows = if reader == 0 {
                        let page = store.scan_after(b'r', None, 100).await.unwrap();
                        page.rows.into_iter().map(|(_, row)| row).collect()
                    } else {
                        let keys = (0..8_u8).map(|number| key(&[b'r', number])).collect();
                        store.get_many(keys).await.unwrap().into_iter().map(Option::unwrap).collect::<Vec<_>>()
                    };
                    assert_eq!(rows.len(), 8);
                    for row in rows {
                        assert_eq!(row.len(), ROW_BYTES_MAX - usize::from(row[0]));
                        assert!(row.iter().all(|byte| *byte == row[0]));
                    }
                    reads += 1;
                    if last {
                        return reads;
                    }
                }
            })
        })
        .collect();
    for byte in 1..=200 {
        assert_eq!(store.apply(write(byte)).await.unwrap(), ApplyOutcome::Durable);
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

async fn writers_exclude_each_other(store: Arc<dyn Store>) {
    store.apply(changes(vec![put(b"u", &0_u64.to_be_bytes())])).await.unwrap();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut added = 0;
                while added < 50 {
                    let old = get(&store, b"u").await.unwrap();
                    let new = u64::from_be_bytes(old.as_slice().try_into().unwrap()) + 1;
                    let preconditions = vec![Precondition::Equals(key(b"u"), old)];
                    let batch = RowBatch { preconditions, changes: vec![put(b"u", &new.to_be_bytes())] };
                    if store.apply(batch).await.unwrap() == ApplyOutcome::Durable {
                        added += 1;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(get(&store, b"u").await, Some(200_u64.to_be_bytes().to_vec()));
}

async fn checks_run_beside_writers(store: Arc<dyn Store>) {
    let mut workload = Workload::new(11, 5_000, false);
    let mut model = Model::default();
    for _ in 0..100 {
        let batch = workload.batch();
        model.apply(&batch);
        store.apply(batch).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let checker = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            let mut checks = 0;
            while !done.load(Ordering::Acquire) || checks == 0 {
                let checked = store.check().await.unwrap();
                assert!(checked.sound, "{checked:?}");
                checks += 1;
            }
        }
    });
    for _ in 0..150 {
        let batch = workload.batch();
        model.apply(&batch);
        store.apply(batch).await.unwrap();
    }
    done.store(true, Ordering::Release);
    checker.await.unwrap();
    assert_eq!(differences(&*store, &model).await, Ok(()));
}

async fn compactions_run_beside_writers(store: Arc<dyn Store>) {
    let (mut workload, mut model) = (Workload::new(12, 3_000, true), Model::default());
    for _ in 0..100 {
        let batch = workload.batch();
        model.apply(&batch);
        store.apply(batch).await.unwrap();
    }
    store.compact().await.unwrap();
    assert_eq!(differences(&*store, &model).await, Ok(()), "the rows changed");
    let done = Arc::new(AtomicBool::new(false));
    let compacter = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            let mut compactions = 0;
            while !done.load(Ordering::Acquire) || compactions == 0 {
                store.compact().await.unwrap();
                compactions += 1;
            }
            compactions
        }
    });
    let reader = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            while !done.load(Ordering::Acquire) {
                store.scan_after(b'r', None, 50).await.unwrap();
                assert!(store.check().await.unwrap().sound);
                store.bytes_on_disk().await.unwrap();
            }
        }
    });
    let mut batches = 0;
    while batches < 150 {
        let mut batch = workload.batch();
        // Preconditions on two keys, which must be compared with the current rows.
        let keys = [workload.key(), workload.key()];
        batch.preconditions = keys
            .into_iter()
            .map(|key| match model.0.get(&key).cloned() {
                Some(row) => Precondition::Equals(key, row),
                None => Precondition::Absent(key),
            })
            .collect();
        model.apply(&batch);
        assert_eq!(store.apply(batch).await.unwrap(), ApplyOutcome::Durable);
        batches += 1;
    }
    done.store(true, Ordering::Release);
    println!("{} compactions", compacter.await.unwrap());
    reader.await.unwrap();
    assert_eq!(differences(&*store, &model).await, Ok(()));
}

async fn a_dropped_call_applies_a_whole_batch_or_nothing(store: Arc<dyn Store>) {
    for round in 0..50_u8 {
        let both = changes(vec![put(&[b'r', round, 0], &[round; 5_000]), put(&[b'r', round, 1], &[round; 50])]);
        let mut call = store.apply(both);
        // Polled once, so that it has begun, and then dropped.
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context))).await;
        drop(polled);
        drop(call);
        // The batch may still run, and a read of two rows is not atomic. Read until the batch is found whole or not at all.
        let (whole, none) = ([Some(vec![round; 5_000]), Some(vec![round; 50])], [None, None]);
        let keys = || vec![key(&[b'r', round, 0]), key(&[b'r', round, 1])];
        let mut rows = store.get_many(keys()).await.unwrap();
        while rows != whole && rows != none {
            rows = store.get_many(keys()).await.unwrap();
        }
    }
    assert!(store.check().await.unwrap().sound);
}

async fn a_closed_store_is_unavailable(store: Arc<dyn Store>) {
    store.apply(changes(vec![put(b"r1", b"one")])).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    let unavailable = |error: Option<StoreError>| matches!(error, Some(StoreError::Unavailable(_)));
    assert!(unavailable(store.get_many(vec![key(b"r1")]).await.err()));
    assert!(unavailable(store.apply(RowBatch::default()).await.err()));
    assert!(unavailable(store.scan_after(b'r', None, 1).await.err()));
    assert!(unavailable(store.scan_prefixes(vec![key(b"r")], 1).await.err()));
    assert!(unavailable(store.count(b'r').await.err()));
    assert!(unavailable(store.check().await.err()));
    assert!(unavailable(store.bytes_on_disk().await.err()));
    assert!(unavailable(store.compact().await.err()));
}

async fn random_batches_match_the_model(store: Arc<dyn Store>) {
    let (seed, mut model) = (21, Model::default());
    println!("seed {seed}");
    let mut workload = Workload::new(seed, 300, true);
    for _ in 0..150 {
        let batch = workload.batch();
        model.apply(&batch);
        assert_eq!(store.apply(batch).await.unwrap(), ApplyOutcome::Durable);
        let keys: Vec<_> = (0..5).map(|_| workload.key()).collect();
        let expected: Vec<_> = keys.iter().map(|key| model.0.get(key).cloned()).collect();
        assert_eq!(store.get_many(keys.clone()).await.unwrap(), expected);
        let prefixes: Vec<_> = keys.iter().map(|key| RowKey::new(&key.as_bytes()[..2]).unwrap()).collect();
        let begun_with = |prefix: &RowKey| {
            let rows = model.0.iter().filter(|(key, _)| {
                key.as_bytes().starts_with(prefix.as_bytes()) && key.as_bytes().len() > prefix.as_bytes().len()
            });
            rows.take(10).map(|(key, row)| (key.clone(), row.clone())).collect::<Vec<_>>()
        };
        let expected: Vec<_> = prefixes.iter().map(begun_with).collect();
        assert!(store.scan_prefixes(prefixes, 10).await.unwrap() == expected);
    }
    assert_eq!(differences(&*store, &model).await, Ok(()));
}
