//! `kill -9` at any moment, repeatedly.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use masker_store::{
    ApplyOutcome, CompactionSizes, Precondition, Row, RowBatch, RowChange, RowKey, RowPage, Store, StoreCheck,
    StoreError, StoreFuture,
    embedded::EmbeddedStore,
    memory::{InjectedFault, MemoryStore},
};
use masker_types::engine::EngineKind;

use crate::{
    child::Child,
    compaction::is_left_over,
    options,
    powercut::disk::Seeded,
    runtime, scratch,
    workload::{Model, Workload, differences},
};

on_each_engine!(
    acknowledged_batches_survive_kills,
    acknowledged_batches_survive_kills_during_compactions,
    random_operations_with_crashes_match_the_model,
);

fn acknowledged_batches_survive_kills(engine: EngineKind) {
    survives_kills(engine, 41, false);
}

fn acknowledged_batches_survive_kills_during_compactions(engine: EngineKind) {
    survives_kills(engine, 42, true);
}

fn survives_kills(engine: EngineKind, seed: u64, compacts: bool) {
    let kills = std::env::var("STORE_KILLS").map_or(30, |text| text.parse().unwrap());
    let keys = 1_500;
    println!("seed {seed}, {kills} kills");
    let folder = scratch();
    let root = folder.path().join("vault");
    let mut random = Seeded(seed);
    let mut workload = Workload::new(seed, keys, true);
    let (mut model, mut next, mut answered) = (Model::default(), Model::default(), 0);
    let (mut compactions, mut interrupted) = (0, 0);
    next.apply(&workload.batch());
    for kill in 0..kills {
        let child = Child { engine, seed, keys, from: answered, to: u64::MAX, closes: false, compacts };
        let mut process = child.command(&root).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let wanted = answered + 1 + random.below(40);
        // The child is killed some time after this answer. Every answer that it printed counts.
        let mut note = |line: String| {
            if let Some(number) = line.strip_prefix("answered ") {
                assert_eq!(number.parse(), Ok(answered), "batches are acknowledged in order");
                answered += 1;
                model = next.clone();
                next.apply(&workload.batch());
            }
            compactions += u64::from(line == "compacted");
            answered
        };
        while note(lines.next().expect("the child ended before it was killed")) < wanted {}
        process.kill().unwrap();
        process.wait().unwrap();
        for line in lines {
            note(line);
        }

        interrupted += u64::from(is_left_over(&root));
        let store = EmbeddedStore::open(&root, options(engine)).unwrap();
        assert!(!is_left_over(&root));
        runtime().block_on(async {
            let (old, new) = (differences(&store, &model).await, differences(&store, &next).await);
            assert!(old.is_ok() || new.is_ok(), "kill {kill}, after {answered} batches: {old:?}, {new:?}");
            store.close().await.unwrap();
        });
    }
    println!("{compactions} compactions, {interrupted} of them interrupted");
    assert_eq!(compactions > 0 && interrupted > 0, compacts);
}

/// A store that can crash.
trait Crashing {
    fn store(&self) -> &dyn Store;
    /// Returns the store after a crash.
    fn crash(self) -> Self;
}

/// A store on disk. A crash copies its files while they are open, as `kill -9` leaves them.
struct OnDisk {
    engine: EngineKind,
    store: EmbeddedStore,
    folder: tempfile::TempDir,
}

impl OnDisk {
    fn new(engine: EngineKind) -> Self {
        let folder = scratch();
        let store = EmbeddedStore::open(folder.path().join("vault"), options(engine)).unwrap();
        OnDisk { engine, store, folder }
    }
}

impl Crashing for OnDisk {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn crash(self) -> Self {
        let engine = self.engine;
        let folder = scratch();
        copy(&self.folder.path().join("vault"), &folder.path().join("vault"));
        let store = EmbeddedStore::open(folder.path().join("vault"), options(engine)).unwrap();
        OnDisk { engine, store, folder }
    }
}

fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A store in memory that loses a change of every 37th batch: it shows that the test detects losses.
#[derive(Clone, Default)]
struct Forgetful {
    inner: MemoryStore,
    batches: Arc<AtomicU64>,
}

impl Store for Forgetful {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        self.inner.get_many(keys)
    }

    fn apply(&self, mut batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        if self.batches.fetch_add(1, Ordering::Relaxed) % 37 == 36 {
            batch.changes.pop();
        }
        self.inner.apply(batch)
    }

    fn scan_after(&self, space: u8, after: Option<RowKey>, limit: usize) -> StoreFuture<'_, RowPage> {
        self.inner.scan_after(space, after, limit)
    }

    fn count(&self, space: u8) -> StoreFuture<'_, u64> {
        self.inner.count(space)
    }

    fn check(&self) -> StoreFuture<'_, StoreCheck> {
        self.inner.check()
    }

    fn position(&self) -> masker_types::vault_position::VaultPosition {
        self.inner.position()
    }

    fn bytes_on_disk(&self) -> StoreFuture<'_, u64> {
        self.inner.bytes_on_disk()
    }

    fn compact(&self) -> StoreFuture<'_, CompactionSizes> {
        self.inner.compact()
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        self.inner.close()
    }
}

struct InMemory<S>(S);

impl<S: Store> Crashing for InMemory<S> {
    fn store(&self) -> &dyn Store {
        &self.0
    }

    fn crash(self) -> Self {
        self
    }
}

/// Runs random operations, with crashes between them, on a store and on the model.
async fn against_the_model(mut subject: impl Crashing, seed: u64, operations: u64) -> Result<(), String> {
    let mut random = Seeded(seed);
    let mut workload = Workload::new(seed, 300, true);
    let mut model = Model::default();
    let text = |error: StoreError| error.to_string();
    for operation in 0..operations {
        match random.below(100) {
            0..60 => {
                let mut batch = workload.batch();
                for _ in 0..random.below(3) {
                    let key = workload.key();
                    let row = model.0.get(&key).cloned();
                    batch.preconditions.push(match row {
                        Some(row) if random.chance(80) => Precondition::Equals(key, row),
                        _ => Precondition::Absent(key),
                    });
                }
                let refused =
                    batch.preconditions.iter().position(|p| !p.holds(model.0.get(p.key()).map(Vec::as_slice)));
                let expected = refused.map_or(ApplyOutcome::Durable, ApplyOutcome::Refused);
                let applied = subject.store().apply(batch.clone()).await.map_err(text)?;
                if applied != expected {
                    return Err(format!("operation {operation}: {applied:?} instead of {expected:?}"));
                }
                if applied == ApplyOutcome::Durable {
                    model.apply(&batch);
                }
            }
            60..85 => {
                let keys: Vec<_> = (0..1 + random.below(20)).map(|_| workload.key()).collect();
                let expected: Vec<_> = keys.iter().map(|key| model.0.get(key).cloned()).collect();
                if subject.store().get_many(keys).await.map_err(text)? != expected {
                    return Err(format!("operation {operation}: other rows than the model's"));
                }
            }
            85..97 => {
                let (from, limit) = (workload.key(), random.below(50) as usize);
                let page = subject.store().scan_after(from.space(), Some(from.clone()), limit).await.map_err(text)?;
                let after = model.0.range(&from..).filter(|(key, _)| **key != from && key.space() == from.space());
                let expected: Vec<_> = after.clone().take(limit).map(|(key, row)| (key.clone(), row.clone())).collect();
                if page.rows != expected || page.is_last != (after.count() <= limit) {
                    return Err(format!("operation {operation}: another page than the model's"));
                }
            }
            _ => subject = subject.crash(),
        }
    }
    differences(subject.store(), &model).await
}

fn random_operations_with_crashes_match_the_model(engine: EngineKind) {
    for seed in 51..54 {
        println!("seed {seed}");
        assert_eq!(runtime().block_on(against_the_model(OnDisk::new(engine), seed, 300)), Ok(()), "seed {seed}");
        assert_eq!(
            runtime().block_on(against_the_model(InMemory(MemoryStore::new()), seed, 2_000)),
            Ok(()),
            "seed {seed}"
        );
    }
}

#[test]
fn detects_a_store_that_loses_a_row() {
    for seed in 51..54 {
        let outcome = runtime().block_on(against_the_model(InMemory(Forgetful::default()), seed, 300));
        assert!(outcome.is_err(), "seed {seed}");
    }
}

#[test]
fn the_model_injects_faults() {
    runtime().block_on(async {
        let store = MemoryStore::new();
        let put = |byte: u8| RowBatch {
            preconditions: Vec::new(),
            changes: vec![RowChange::Put(RowKey::new([byte]).unwrap(), vec![byte])],
        };
        store.fail_next_apply(InjectedFault::NotApplied);
        store.fail_next_apply(InjectedFault::AppliedUnanswered);
        assert!(store.apply(put(1)).await.is_err());
        assert!(store.apply(put(2)).await.is_err());
        assert_eq!(store.apply(put(3)).await.unwrap(), ApplyOutcome::Durable);
        let found = store.get_many((1..=3).map(|byte| RowKey::new([byte]).unwrap()).collect()).await.unwrap();
        assert_eq!(found, [None, Some(vec![2]), Some(vec![3])]);

        store.set_unavailable(true);
        assert!(store.count(1).await.is_err());
        store.set_unavailable(false);

        let held = store.hold_applies().await;
        let mut waiting = store.apply(put(4));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(waiting.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        assert_eq!(store.count(4).await.unwrap(), 1, "visible to readers, but not durable");
        drop(held);
        assert_eq!(waiting.await.unwrap(), ApplyOutcome::Durable);
    });
}
