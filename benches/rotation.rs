//! Measures the speed of a rotation and its effect on requests, with the real daemon on the disk that has `target/`.
//!
//! `cargo bench --bench rotation -- [RECORDS]` fills the vault with RECORDS records (1,000,000 by default) and reports:
//!
//! - the rows per second that a rotation writes without other load, relative to the rows per second that the store alone
//!   makes durable in groups of 1,000, in the same run and with as many rows. Each record is five rows: the record, and
//!   its two index rows, which are written under the new key and removed under the old one;
//! - the p99 of mints and rehydrations over 8 connections during a rotation, relative to the p99 without one;
//! - the start time of the daemon with that vault.
//!
//! The load generator runs on the same cores.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use masker_api::{Rotation, RotationBegin, RotationList};
use masker_client::Client;
use masker_core::crypto::SecretKey;
use masker_store::{
    Precondition, RowBatch, RowChange, RowKey, Store,
    embedded::{EmbeddedStore, StoreOptions},
};
use secrecy::ExposeSecret;
use tokio::time::sleep;
use xtask::bench::load::{LoadOperation, LoadResult, LoadTest};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const POLICY: &str = include_str!("../policies/healthcare-default.toml");
const ROTATIONS: &str = "/api/v1/vault/rotations";
const KEY: &str = "MASKER_KEY_K_HEALTHCARE";
/// The duration of each measurement.
const SLICE: Duration = Duration::from_secs(8);
/// The size of the store's cache: the daemon's default.
const CACHE_BYTES: u64 = 128 * 1024 * 1024;
/// The rows in a group, and the bytes of a row, for the store alone.
const GROUP: usize = 1_000;
const ROW_BYTES: usize = 150;
/// The rows that a rotation changes for each record: itself, and two index rows under either key.
const ROWS_PER_RECORD: f64 = 5.0;
/// The first seed. Each load has a different seed, and so different values.
const SEED: u64 = 1;

fn main() -> Outcome<()> {
    let records = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    tokio::runtime::Runtime::new()?.block_on(measure(records))
}

async fn measure(records: u64) -> Outcome<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let place = Place::make(folder.path())?;
    let (first, second, third) = (key()?, key()?, key()?);

    let daemon = place.start(&first, None).await?;
    let mut filled = 0;
    let mut seed = SEED;
    while filled < records {
        seed += 1;
        filled += place.load(LoadOperation::Mint, 4, 1_000, Duration::from_secs(2), seed).run().await?.values;
    }
    daemon.stop()?;

    let daemon = place.start(&second, Some(&first)).await?;
    println!("records in the vault              {filled:>12}");
    println!("start                             {:>12.2} s", daemon.took.as_secs_f64());
    let (mint, rehydrate) = place.both(seed + 100).await?;

    begin(&place).await?;
    let begun = latest(&place).await?;
    let (mint_during, rehydrate_during) = place.both(seed + 200).await?;
    let ended = latest(&place).await?;
    if ended.phase != "moving" {
        return Err("the rotation ended before the load; run with more records".into());
    }
    println!("records moved per s, under load   {:>12.0}", rate(&begun, &ended, SLICE));
    for (name, before, during) in [("mint", &mint, &mint_during), ("rehydrate", &rehydrate, &rehydrate_during)] {
        println!(
            "{name:<9} p50 {:>7.2} ms, p99 {:>7.2} ms, {:>7.0} requests/s; during a rotation p50 {:>7.2} ms, p99 \
             {:>7.2} ms, {:>7.0} requests/s; p99 ratio {:.2}",
            before.p50_ms,
            before.p99_ms,
            before.requests_per_second,
            during.p50_ms,
            during.p99_ms,
            during.requests_per_second,
            during.p99_ms / before.p99_ms
        );
    }

    let store = StoreAlone::fill(&folder.path().join("store"), filled).await?;
    let alone = store.rate().await?;
    let (began, before) = (Instant::now(), latest(&place).await?);
    sleep(SLICE).await;
    let (took, after) = (began.elapsed(), latest(&place).await?);
    let moved = rate(&before, &after, took);
    let again = store.rate().await?;
    let store = f64::midpoint(alone, again);
    println!("store, durable rows/s in groups of {GROUP}  {alone:.0} before, {again:.0} after");
    println!("rotation, rows/s                  {:>12.0}", ROWS_PER_RECORD * moved);
    println!("ratio                             {:>12.2}", ROWS_PER_RECORD * moved / store);

    let rotation = wait(&place).await?;
    println!(
        "rotation                          {:>12} ({} records, {} failed)",
        rotation.state, rotation.rows_resealed, rotation.rows_failed
    );
    let began = Instant::now();
    daemon.stop()?;
    println!("stop                              {:>12.2} s", began.elapsed().as_secs_f64());
    let daemon = place.start(&third, Some(&second)).await?;
    println!("start, after a rotation           {:>12.2} s", daemon.took.as_secs_f64());
    daemon.stop()
}

/// The store without a daemon, in a separate database.
struct StoreAlone(EmbeddedStore);

impl StoreAlone {
    /// Creates a store with at least `rows` rows.
    async fn fill(path: &Path, rows: u64) -> Outcome<Self> {
        let alone = StoreAlone(EmbeddedStore::open(
            path,
            StoreOptions { cache_bytes: CACHE_BYTES, ..StoreOptions::default() },
        )?);
        let mut filled = 0;
        while filled < rows {
            filled += alone.group().await?;
        }
        Ok(alone)
    }

    /// Returns the number of rows per second that the store makes durable.
    async fn rate(&self) -> Outcome<f64> {
        let (began, mut rows) = (Instant::now(), 0);
        while began.elapsed() < SLICE {
            rows += self.group().await?;
        }
        Ok(rows as f64 / began.elapsed().as_secs_f64())
    }

    async fn group(&self) -> Outcome<u64> {
        let key = |_| {
            let mut bytes = vec![b'r'];
            bytes.extend_from_slice(&rand::random::<[u8; 16]>());
            RowKey::new(bytes).expect("17 bytes are a key")
        };
        let keys: Vec<RowKey> = (0..GROUP).map(key).collect();
        let preconditions = keys.iter().cloned().map(Precondition::Absent).collect();
        let changes = keys.into_iter().map(|key| RowChange::Put(key, vec![0xA5; ROW_BYTES])).collect();
        self.0.apply(RowBatch { preconditions, changes }).await?;
        Ok(GROUP as u64)
    }
}

fn key() -> Outcome<String> {
    Ok(SecretKey::generate(&mut rand::rng())?.to_base64().expose_secret().to_owned())
}

async fn begin(place: &Place) -> Outcome<()> {
    let begin =
        RotationBegin { new_kid: "K_HEALTHCARE".to_owned(), old_kid: None, dry_run: false, max_rows_per_second: 0 };
    place.client().await?.post(ROTATIONS, &begin).await?;
    Ok(())
}

async fn latest(place: &Place) -> Outcome<Rotation> {
    let list: RotationList = place.client().await?.get(ROTATIONS).await?.json()?;
    list.rotations.into_iter().next().ok_or_else(|| "no rotation found".into())
}

async fn wait(place: &Place) -> Outcome<Rotation> {
    loop {
        let rotation = latest(place).await?;
        if rotation.state != "running" {
            return Ok(rotation);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn rate(before: &Rotation, after: &Rotation, took: Duration) -> f64 {
    (after.rows_done - before.rows_done) as f64 / took.as_secs_f64()
}

/// The directory of the daemon's files.
struct Place {
    root: PathBuf,
}

impl Place {
    fn make(root: &Path) -> Outcome<Self> {
        let place = Place { root: root.to_owned() };
        fs::create_dir(place.root.join("policies"))?;
        fs::write(place.root.join("policies/healthcare-default.toml"), POLICY)?;
        Ok(place)
    }

    fn socket(&self) -> PathBuf {
        self.root.join("masker.sock")
    }

    async fn client(&self) -> Outcome<Client> {
        Ok(Client::connect(&self.socket()).await?)
    }

    /// Starts the daemon and waits until it responds.
    async fn start(&self, active: &str, old: Option<&str>) -> Outcome<Daemon> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
        command.arg("serve").env_clear().env(KEY, active);
        if let Some(old) = old {
            command.env(format!("{KEY}_OLD"), old);
        }
        command.env("MASKER_SOCKET", self.socket()).env("MASKER_DATA_DIR", self.root.join("vault"));
        command.env("MASKER_POLICY_PATH", self.root.join("policies")).env("MASKER_LOG_LEVEL", "error");
        let began = Instant::now();
        let mut child = command.stdin(Stdio::null()).spawn()?;
        while Client::connect(&self.socket()).await.is_err() {
            if let Some(status) = child.try_wait()? {
                return Err(format!("failed to start the daemon: {status}").into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        // The socket accepts connections before the daemon is ready to serve requests.
        self.client().await?.get("/api/v1/vault/stats").await?;
        Ok(Daemon { child, took: began.elapsed() })
    }

    fn load(
        &self,
        operation: LoadOperation,
        connections: usize,
        batch: usize,
        duration: Duration,
        seed: u64,
    ) -> LoadTest {
        let kind = "NAME".to_owned();
        LoadTest {
            socket: self.socket(),
            connections,
            batch,
            operation,
            policy: None,
            kind,
            duration,
            seed,
            authorization: None,
        }
    }

    /// Runs mints and rehydrations concurrently, over four connections each.
    async fn both(&self, seed: u64) -> Outcome<(LoadResult, LoadResult)> {
        let mint = self.load(LoadOperation::Mint, 4, 1, SLICE, seed);
        let rehydrate = self.load(LoadOperation::Rehydrate, 4, 1, SLICE, seed + 1);
        let (mint, rehydrate) = tokio::join!(mint.run(), rehydrate.run());
        Ok((mint?, rehydrate?))
    }
}

struct Daemon {
    child: Child,
    took: Duration,
}

impl Daemon {
    fn stop(mut self) -> Outcome<()> {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After `stop` the process has been reaped, and `kill` sends no signal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
