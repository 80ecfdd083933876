//! The store alone: rows of a record's size made durable in groups of 1,000.

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

/// Rows of a group: those of the largest batch that is measured.
const GROUP: usize = 1_000;
/// What the row of a record takes whose value is as long as those that `cargo xtask bench` mints.
const ROW_BYTES: usize = 150;

/// Fills a store in an empty directory and says what it takes on the disk; then, for each line of standard input, makes
/// rows durable for as many seconds as the line says, and prints how many in a second. Figures are lines of JSON.
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

/// The engines that `[vault] engine` knows.
fn open(engine: &str, directory: &Path) -> Outcome<EmbeddedStore> {
    let known = EngineKind::CHOICES.into_iter().find(|(name, _)| *name == engine);
    let (_, engine) = known.ok_or_else(|| format!("no engine is called `{engine}`"))?;
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
        _ => Err("random keys met twice".into()),
    }
}
