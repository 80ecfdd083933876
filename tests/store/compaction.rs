//! Compaction: what it leaves on the disk, and interrupted compactions.

use std::{
    fs,
    future::Future,
    path::Path,
    task::Poll,
    time::{Duration, Instant},
};

use masker_store::{
    ApplyOutcome, RowBatch, RowChange, RowKey, Store, StoreError,
    embedded::{EmbeddedStore, StoreOpenError, StoreOptions},
};
use masker_types::engine::EngineKind;

use crate::{
    damage::overwrite_every_other_page,
    opening::{refused, snapshot, vault},
    options,
    powercut::disk::Seeded,
    runtime, scratch,
    workload::{Model, Workload, differences},
};

on_each_engine!(
    a_compaction_restores_the_size_after_every_row_was_rewritten,
    removed_rows_are_in_no_file_after_a_compaction,
    a_compacted_vault_keeps_its_id_and_witness,
    the_next_start_finishes_an_interrupted_compaction,
    rejects_a_second_compaction_meanwhile,
    dropping_the_future_ends_a_compaction,
    closing_ends_a_compaction_and_removes_its_files,
    an_unreadable_row_ends_a_compaction_and_nothing_else,
    compacts_an_empty_store,
);

fn key(space: u8, number: u64) -> RowKey {
    RowKey::new([&[space][..], &Seeded(number).bytes(16)].concat()).unwrap()
}

async fn put(store: &EmbeddedStore, rows: impl IntoIterator<Item = (RowKey, Vec<u8>)>) {
    let rows: Vec<_> = rows.into_iter().collect();
    for group in rows.chunks(1_000) {
        let changes = group.iter().map(|(key, row)| RowChange::Put(key.clone(), row.clone())).collect();
        store.apply(RowBatch { preconditions: Vec::new(), changes }).await.unwrap();
    }
}

/// Returns the rows of so many records and their aliases, sealed for the `generation`-th time.
fn records(count: u64, generation: u64) -> impl Iterator<Item = (RowKey, Vec<u8>)> {
    (0..count).flat_map(move |number| {
        let content = Seeded(number ^ (generation << 40)).bytes(200);
        let alias = content[..33].to_vec();
        [(key(b'r', number), content), (key(b'a', number ^ (generation << 40)), alias)]
    })
}

/// Returns whether there is a database that a compaction has begun or replaced.
pub fn is_left_over(root: &Path) -> bool {
    names(root).iter().any(|name| name.ends_with(".new") || name.ends_with(".old"))
}

/// Returns the entries of a data directory when no compaction runs.
pub fn settled(engine: EngineKind) -> Vec<String> {
    let mut names = ["lock", engine.name(), "witness"].map(str::to_owned).to_vec();
    names.sort();
    names
}

/// Returns whether a file below a folder contains these bytes.
fn is_in_some_file(root: &Path, bytes: &[u8]) -> bool {
    snapshot(root).values().any(|(_, content)| content.windows(bytes.len()).any(|window| window == bytes))
}

pub fn copy(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Returns the names in a directory.
pub fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn a_compaction_restores_the_size_after_every_row_was_rewritten(engine: EngineKind) {
    let folder = scratch();
    let root = folder.path().join("vault");
    let store = EmbeddedStore::open(&root, options(engine)).unwrap();
    let fresh = EmbeddedStore::open(folder.path().join("fresh"), options(engine)).unwrap();
    runtime().block_on(async {
        let count = 10_000;
        put(&store, records(count, 0)).await;
        for generation in 1..=3 {
            put(&store, records(count, generation)).await;
            let old = (0..count).map(|number| RowChange::Remove(key(b'a', number ^ ((generation - 1) << 40))));
            let batch = RowBatch { preconditions: Vec::new(), changes: old.collect() };
            assert_eq!(store.apply(batch).await.unwrap(), ApplyOutcome::Durable);
        }
        put(&fresh, records(count, 3)).await;
        let compacted = store.compact().await.unwrap();
        let (after, fresh_size) = (store.bytes_on_disk().await.unwrap(), fresh.bytes_on_disk().await.unwrap());
        println!("{compacted:?}, a fresh store has {fresh_size}");
        assert_eq!(compacted.bytes_after, after);
        assert!(compacted.bytes_before * 2 > fresh_size * 3, "the store did not grow");
        assert!(after * 2 <= fresh_size * 3, "{after} bytes, and {fresh_size} in a fresh store");
        assert!(store.check().await.unwrap().sound);
        store.close().await.unwrap();
        fresh.close().await.unwrap();
    });
}

fn removed_rows_are_in_no_file_after_a_compaction(engine: EngineKind) {
    let folder = scratch();
    let root = folder.path().join("vault");
    let store = EmbeddedStore::open(&root, options(engine)).unwrap();
    let (removed, replaced, kept) = (b"a row that is removed", b"a row that is replaced", b"a row that stays");
    // Long rows, whose last piece contains the words.
    let long = |words: &[u8]| [&Seeded(5).bytes(10_000), words].concat();
    runtime().block_on(async {
        put(&store, records(300, 0)).await;
        for (number, words) in [&removed[..], replaced, kept].into_iter().enumerate() {
            let number = 1_000 + 2 * number as u64;
            put(&store, [(key(b'r', number), words.to_vec()), (key(b'r', number + 1), long(words))]).await;
        }
        let removes = [1_000, 1_001].map(|number| RowChange::Remove(key(b'r', number))).into();
        store.apply(RowBatch { preconditions: Vec::new(), changes: removes }).await.unwrap();
        put(&store, [1_002, 1_003].map(|number| (key(b'r', number), b"other words".to_vec()))).await;
        assert!(is_in_some_file(&root, removed) && is_in_some_file(&root, replaced) && is_in_some_file(&root, kept));
        store.compact().await.unwrap();
        assert!(!is_in_some_file(&root, removed) && !is_in_some_file(&root, replaced));
        assert!(is_in_some_file(&root, kept));
        assert_eq!(store.get_many(vec![key(b'r', 1_005)]).await.unwrap(), [Some(long(kept))]);
        store.close().await.unwrap();
        assert!(!is_in_some_file(&root, removed) && !is_in_some_file(&root, replaced));
    });
    assert_eq!(names(&root), settled(engine));
}

fn a_compacted_vault_keeps_its_id_and_witness(engine: EngineKind) {
    let folder = scratch();
    let (root, older) = (folder.path().join("vault"), folder.path().join("older"));
    let mut model = vault(engine, &root, 91, 60);
    let mut workload = Workload::new(92, 600, true);
    let id = EmbeddedStore::open(&root, options(engine)).unwrap().vault_id();
    for round in 0..3 {
        fs::rename(root.join(engine.name()), &older).unwrap();
        copy(&older, &root.join(engine.name()));
        let store = EmbeddedStore::open(&root, options(engine)).unwrap();
        assert_eq!((store.vault_id(), store.accepted_loss()), (id, None));
        runtime().block_on(async {
            assert_eq!(differences(&store, &model).await, Ok(()), "round {round}");
            let batch = workload.batch();
            model.apply(&batch);
            store.apply(batch).await.unwrap();
            store.compact().await.unwrap();
            assert_eq!(differences(&store, &model).await, Ok(()), "round {round}");
            for (path, (mode, _)) in snapshot(&root) {
                assert_eq!(mode & 0o7777, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
            }
            // Closed without another commit in the first round, and with some in the others.
            for _ in 0..round * 5 {
                let batch = workload.batch();
                model.apply(&batch);
                store.apply(batch).await.unwrap();
            }
            store.close().await.unwrap();
        });
        // The witness has seen the commit before the compaction and those after it.
        let current = folder.path().join("current");
        fs::rename(root.join(engine.name()), &current).unwrap();
        fs::rename(&older, root.join(engine.name())).unwrap();
        let error = refused(&root, options(engine));
        assert!(matches!(error, StoreOpenError::BehindWitness { lost, .. } if lost == 1 + round * 5), "{error}");
        fs::remove_dir_all(root.join(engine.name())).unwrap();
        fs::rename(&current, root.join(engine.name())).unwrap();
    }
}

fn the_next_start_finishes_an_interrupted_compaction(engine: EngineKind) {
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(engine, &sound, 93, 40);
    let half_made = folder.path().join("half-made");
    fs::create_dir(&half_made).unwrap();
    fs::write(half_made.join("db"), b"the beginning of a database").unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    // The databases that a crash leaves: part of the new one, both, part of the old one.
    let database = sound.join(engine.name());
    let left: [(&str, [Option<&Path>; 3]); 7] = [
        ("while building the new one", [Some(&database), Some(&half_made), None]),
        ("before the new one has a file", [Some(&database), Some(&empty), None]),
        ("before the first rename", [Some(&database), Some(&database), None]),
        ("after the first rename", [None, Some(&database), Some(&database)]),
        ("after undoing the second rename", [None, None, Some(&database)]),
        ("after the second rename", [Some(&database), None, Some(&database)]),
        ("while removing the old one", [Some(&database), None, Some(&half_made)]),
    ];
    for (moment, places) in left {
        let root = folder.path().join("left");
        copy(&sound, &root);
        fs::remove_dir_all(root.join(engine.name())).unwrap();
        for (suffix, what) in ["", ".new", ".old"].into_iter().zip(places) {
            let name = format!("{}{suffix}", engine.name());
            if let Some(what) = what {
                copy(what, &root.join(&name));
            }
        }
        let store = EmbeddedStore::open(&root, options(engine)).unwrap_or_else(|error| panic!("{moment}: {error}"));
        assert_eq!(runtime().block_on(differences(&store, &model)), Ok(()), "{moment}");
        assert_eq!(names(&root), settled(engine), "{moment}");
        runtime().block_on(store.close()).unwrap();
        drop(store);
        fs::remove_dir_all(&root).unwrap();
    }

    // Without a witness nothing is changed, and no new vault is created beside an old one.
    fs::rename(&database, sound.join(format!("{}.old", engine.name()))).unwrap();
    fs::remove_file(sound.join("witness")).unwrap();
    assert!(matches!(refused(&sound, options(engine)), StoreOpenError::WitnessMissing { .. }));
    fs::remove_dir_all(sound.join(format!("{}.old", engine.name()))).unwrap();
    fs::create_dir(sound.join(format!("{}.new", engine.name()))).unwrap();
    assert_eq!(runtime().block_on(EmbeddedStore::open(&sound, options(engine)).unwrap().count(b'r')).unwrap(), 0);
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))).await
}

/// Creates a store whose compaction takes so long that other calls run meanwhile.
fn large(engine: EngineKind, root: &Path) -> EmbeddedStore {
    let store = EmbeddedStore::open(root, options(engine)).unwrap();
    runtime().block_on(put(&store, records(20_000, 0)));
    store
}

/// Starts a compaction, and polls it until it has created files.
pub async fn begun<'a>(
    store: &'a EmbeddedStore,
    root: &Path,
) -> masker_store::StoreFuture<'a, masker_store::CompactionSizes> {
    let mut compacting = store.compact();
    let since = Instant::now();
    while !names(root).iter().any(|name| name.ends_with(".new")) {
        assert!(poll_once(&mut compacting).await.is_pending(), "the compaction ended too early");
        assert!(since.elapsed() < Duration::from_secs(60), "the compaction does not begin");
        tokio::task::yield_now().await;
    }
    compacting
}

fn rejects_a_second_compaction_meanwhile(engine: EngineKind) {
    let folder = scratch();
    let root = folder.path().join("vault");
    let store = large(engine, &root);
    runtime().block_on(async {
        let first = begun(&store, &root).await;
        assert!(matches!(store.compact().await, Err(StoreError::Busy(_))));
        let compacted = first.await.unwrap();
        assert!(compacted.bytes_after > 0);
        store.compact().await.unwrap();
        store.close().await.unwrap();
    });
}

fn dropping_the_future_ends_a_compaction(engine: EngineKind) {
    let folder = scratch();
    let root = folder.path().join("vault");
    let store = large(engine, &root);
    runtime().block_on(async {
        drop(begun(&store, &root).await);
        let since = Instant::now();
        while is_left_over(&root) {
            assert!(since.elapsed() < Duration::from_secs(60), "the compaction does not end");
            tokio::task::yield_now().await;
        }
        put(&store, records(1, 7)).await;
        assert!(store.check().await.unwrap().sound);
        store.close().await.unwrap();
    });
}

fn closing_ends_a_compaction_and_removes_its_files(engine: EngineKind) {
    let folder = scratch();
    for round in 0..4 {
        let root = folder.path().join(format!("vault-{round}"));
        let store = large(engine, &root);
        runtime().block_on(async {
            let compacting = begun(&store, &root).await;
            store.close().await.unwrap();
            assert_eq!(names(&root), settled(engine));
            assert!(matches!(compacting.await, Err(StoreError::Unavailable(_))));
        });
        let again = EmbeddedStore::open(&root, options(engine)).unwrap();
        let checked = runtime().block_on(again.check()).unwrap();
        assert!(checked.sound && checked.rows == 40_000);
        runtime().block_on(again.close()).unwrap();
    }
}

fn an_unreadable_row_ends_a_compaction_and_nothing_else(engine: EngineKind) {
    let folder = scratch();
    let root = folder.path().join("vault");
    let model = vault(engine, &root, 94, 150);
    let store = EmbeddedStore::open(
        &root,
        StoreOptions { engine: crate::driver(engine), cache_bytes: 64 * 1024, ..StoreOptions::default() },
    )
    .unwrap();
    overwrite_every_other_page(engine, &root, 95);
    runtime().block_on(async {
        let error = store.compact().await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_) | StoreError::Unavailable(_)), "{error}");
        assert!(!is_left_over(&root));
        // A row is read as it was or is an error.
        for (key, row) in model.0.iter().take(50) {
            if let Ok(found) = store.get_many(vec![key.clone()]).await {
                assert!(found == [Some(row.clone())]);
            }
        }
        let _ = store.close().await;
    });
}

fn compacts_an_empty_store(engine: EngineKind) {
    let folder = scratch();
    let root = folder.path().join("vault");
    let store = EmbeddedStore::open(&root, options(engine)).unwrap();
    runtime().block_on(async {
        store.compact().await.unwrap();
        assert_eq!(differences(&store, &Model::default()).await, Ok(()));
        put(&store, records(1, 0)).await;
        store.close().await.unwrap();
    });
    let again = EmbeddedStore::open(&root, options(engine)).unwrap();
    assert_eq!(runtime().block_on(again.count(b'r')).unwrap(), 1);
}
