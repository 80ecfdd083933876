//! The store alone: makes rows of a record's size durable in groups of 1,000.

use std::{
    io::{self, BufRead},
    path::Path,
    time::{Duration, Instant},
};

use masker_store::{
    ApplyOutcome, Precondition, RowBatch, RowChange, RowKey, Store,
    embedded::{EmbeddedStore, StoreOptions},
};
use masker_types::engine::EngineKind;

use crate::Outcome;

/// The rows in a group: the size of the largest measured batch.
const GROUP: usize = 1_000;
/// The size of a record's row for a value of the length that `cargo xtask bench` mints.
const ROW_BYTES: usize = 150;

/// Fills a store in an empty directory and prints its size on disk. Then reads durations in seconds from standard input,
/// one per line, writes rows for each duration, and prints the rows per second. Each result is one line of JSON.
pub fn run(engine: &str, directory: &Path, rows: u64) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let store = open(engine, directory)?;
    runtime.block_on(async {
        let mut filled = 0;
        while filled < rows {
            filled += group(&store).await?;
        }
        let bytes = store.bytes_on_disk().await?;
        println!("{}", serde_json::json!({ "rows": filled, "bytes_on_disk": bytes }));
        for line in io::stdin().lock().lines() {
            let period = Duration::from_secs_f64(line?.trim().parse()?);
            let (begun, mut written) = (Instant::now(), 0);
            while begun.elapsed() < period {
                written += group(&store).await?;
            }
            let rate = written as f64 / begun.elapsed().as_secs_f64();
            println!("{}", serde_json::json!({ "rows_per_second": rate }));
        }
        store.close().await?;
        Ok(())
    })
}

/// Opens a store with an engine, named as in `[vault] engine`.
fn open(engine: &str, directory: &Path) -> Outcome<EmbeddedStore> {
    let known = EngineKind::CHOICES.into_iter().find(|(name, _)| *name == engine);
    let (_, engine) = known.ok_or_else(|| format!("unknown engine `{engine}`"))?;
    Ok(EmbeddedStore::open(
        directory,
        StoreOptions { engine: masker::daemon::engines::driver(Some(engine), directory)?, ..StoreOptions::default() },
    )?)
}

async fn group(store: &EmbeddedStore) -> Outcome<u64> {
    let key = |_| {
        let mut bytes = vec![b'r'];
        bytes.extend_from_slice(&rand::random::<[u8; 16]>());
        RowKey::new(bytes).ok_or("17 bytes are a key")
    };
    let keys: Vec<RowKey> = (0..GROUP).map(key).collect::<Result<_, _>>()?;
    let preconditions = keys.iter().cloned().map(Precondition::Absent).collect();
    let changes = keys.into_iter().map(|key| RowChange::Put(key, vec![0xA5; ROW_BYTES])).collect();
    match store.apply(RowBatch { preconditions, changes }).await? {
        ApplyOutcome::Durable => Ok(GROUP as u64),
        _ => Err("a random key exists already".into()),
    }
}
