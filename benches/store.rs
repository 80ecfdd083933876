//! Measures the store with each engine, on the disk that has `target/`: durable rows by group size, point reads, scans,
//! memory, and compaction with and without concurrent writes.
//!
//! `cargo bench --bench store -- [ROWS] [ENGINE]...` first writes ROWS rows (200,000 by default) and measures the named
//! engines (all by default). Each engine runs in a separate process, so that its memory can be measured. Rates are medians
//! of several time slices. They depend mostly on the disk: compare only results from the same machine and the same day.

use std::{
    cell::Cell,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use masker_store::{
    Precondition, RowBatch, RowChange, RowKey, Store,
    embedded::{EmbeddedStore, StoreOptions},
};
use masker_types::engine::EngineKind;

const ROW_BYTES: usize = 110;
const SLICES: usize = 5;
const SLICE: Duration = Duration::from_millis(500);

/// Returns the pseudorandom key for a number.
fn key(number: u64) -> RowKey {
    let mut state = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bytes = vec![b'r'];
    for _ in 0..2 {
        state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(state ^ (state >> 31)).to_be_bytes());
    }
    RowKey::new(bytes).expect("17 bytes are a key")
}

fn group(next: &mut u64, size: u64) -> RowBatch {
    let keys: Vec<RowKey> = (*next..*next + size).map(key).collect();
    *next += size;
    RowBatch {
        preconditions: keys.iter().cloned().map(Precondition::Absent).collect(),
        changes: keys.into_iter().map(|key| RowChange::Put(key, vec![0xA5; ROW_BYTES])).collect(),
    }
}

/// Repeats `work`, which returns the number of units it did, and returns the units per second.
async fn rate(mut work: impl AsyncFnMut() -> u64) -> f64 {
    let mut rates = Vec::new();
    for _ in 0..SLICES {
        let (begun, mut done) = (Instant::now(), 0);
        while begun.elapsed() < SLICE {
            done += work().await;
        }
        rates.push(done as f64 / begun.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    rates[SLICES / 2]
}

/// Returns the resident memory of this process in MiB.
fn resident_mb() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("VmRSS is missing")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

async fn measure(engine: EngineKind, rows: u64) -> Result<(), Box<dyn std::error::Error>> {
    let options = StoreOptions {
        engine: masker::daemon::engines::driver(Some(engine), Path::new(""))?,
        ..StoreOptions::default()
    };
    let folder = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let store = EmbeddedStore::open(folder.path().join("vault"), options)?;
    let mut next = 0;
    while next < rows {
        let size = (rows - next).min(2_000);
        store.apply(group(&mut next, size)).await?;
    }
    let per_row = store.bytes_on_disk().await? / rows.max(1);
    println!("{engine}: {rows} rows in the vault, {per_row} bytes on disk per row, {} MiB resident", resident_mb()?);
    let mut durable = 0.0;
    for size in [1, 10, 32, 64, 100, 1_000] {
        let rate = rate(async || {
            store.apply(group(&mut next, size)).await.expect("store operation failed");
            size
        });
        durable = rate.await;
        println!("durable rows/s, groups of {size:>5}: {durable:>10.0}");
    }
    let mut number = 0_u64;
    for at_once in [1, 100, 1_000] {
        let rate = rate(async || {
            let keys = (0..at_once).map(|_| {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                key(number % rows)
            });
            let found = store.get_many(keys.collect()).await.expect("store operation failed");
            assert!(found.iter().all(Option::is_some));
            at_once
        });
        println!("point reads/s, {at_once:>5} per call:  {:>10.0}", rate.await);
    }
    let begun = Instant::now();
    let count = store.count(b'r').await?;
    println!("rows counted/s:                  {:>10.0}", count as f64 / begun.elapsed().as_secs_f64());
    let (begun, mut after, mut scanned) = (Instant::now(), None, 0);
    loop {
        let page = store.scan_after(b'r', after, 1_000).await?;
        scanned += page.rows.len();
        after = page.rows.into_iter().last().map(|(key, _)| key);
        if page.is_last {
            break;
        }
    }
    println!("rows scanned/s:                  {:>10.0}", scanned as f64 / begun.elapsed().as_secs_f64());
    println!("MiB resident:                    {:>10}", resident_mb()?);
    let begun = Instant::now();
    let checked = store.check().await?;
    assert!(checked.sound);
    println!("rows checked/s:                  {:>10.0}", checked.rows as f64 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let compacted = store.compact().await?;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("rows compacted/s:                {rate:>10.0} ({:.2} of the durable rate)", rate / durable);
    println!("bytes on disk before and after:  {:>10} {:>10}", compacted.bytes_before, compacted.bytes_after);
    let (begun, first, done) = (Instant::now(), next, Cell::new(false));
    let compacting = async {
        let compacted = store.compact().await;
        done.set(true);
        compacted.map(|_| begun.elapsed())
    };
    let writing = async {
        let mut slowest = Duration::ZERO;
        while !done.get() {
            let started = Instant::now();
            store.apply(group(&mut next, 1_000)).await.expect("store operation failed");
            slowest = slowest.max(started.elapsed());
        }
        slowest
    };
    let (took, slowest) = tokio::join!(compacting, writing);
    let (took, written) = (took?.as_secs_f64(), (next - first) as f64);
    println!("durable rows/s, compacting:      {:>10.0} (slowest group {slowest:.1?})", written / took);
    println!("rows compacted/s, with writes:   {:>10.0}", count as f64 / took);
    store.close().await?;
    let begun = Instant::now();
    let store = EmbeddedStore::open(folder.path().join("vault"), options)?;
    println!("seconds to open:                 {:>10.2}", begun.elapsed().as_secs_f64());
    store.close().await?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` adds `--bench` to the arguments, which is neither a number nor an engine.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rows = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(200_000);
    let wanted = |(name, _): &(&str, EngineKind)| arguments.iter().any(|argument| argument == name);
    let engines: Vec<_> = EngineKind::CHOICES.into_iter().filter(wanted).collect();
    let [(_, engine)] = *engines else {
        let engines = if engines.is_empty() { EngineKind::CHOICES.to_vec() } else { engines };
        for (name, _) in engines {
            let status = Command::new(std::env::current_exe()?).args([&rows.to_string(), name]).status()?;
            if !status.success() {
                return Err(format!("{name}: {status}").into());
            }
        }
        return Ok(());
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(engine, rows))
}
