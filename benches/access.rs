//! Measures the cost of access control and auditing: two daemons, one with both disabled and one with both enabled,
//! run the same load in turn.
//!
//! `cargo bench --bench access -- [ROUNDS]` runs 5 rounds by default. The daemon with both enabled matches a client rule,
//! applies limits (which the load never reaches), and writes each request to the audit log before it responds; the log
//! is synced every 100 ms. The output shows the median request rates and latencies, and the ratios of the rates. The
//! load generator runs on the same cores.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use masker_client::Client;
use masker_core::crypto::SecretKey;
use secrecy::ExposeSecret;
use tokio::time::sleep;
use xtask::bench::load::{LoadOperation, LoadResult, LoadTest};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const POLICY: &str = include_str!("../policies/stateless.toml");
/// The duration of each measurement.
const SLICE: Duration = Duration::from_secs(3);
const SEED: u64 = 1;
/// The loads: name, operation, number of connections, and values per request.
const LOADS: [(&str, LoadOperation, usize, usize); 4] = [
    ("tokenize", LoadOperation::Tokenize, 16, 1),
    ("tokenize", LoadOperation::Tokenize, 1, 1),
    ("rehydrate", LoadOperation::Rehydrate, 16, 1),
    ("tokenize", LoadOperation::Tokenize, 4, 1_000),
];

fn main() -> Outcome<()> {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    tokio::runtime::Runtime::new()?.block_on(measure(rounds))
}

async fn measure(rounds: usize) -> Outcome<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let without = Daemon::start(&folder.path().join("without"), false).await?;
    let with = Daemon::start(&folder.path().join("with"), true).await?;
    println!(
        "operation  connections  batch   without/s      with/s  ratio   p50 without, with (ms)   p99 without, with (ms)"
    );
    for (name, operation, connections, batch) in LOADS {
        let (mut plain, mut full) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            plain.push(without.load(operation, connections, batch).run().await?);
            full.push(with.load(operation, connections, batch).run().await?);
        }
        let median = |results: &[LoadResult], field: fn(&LoadResult) -> f64| {
            let mut numbers: Vec<f64> = results.iter().map(field).collect();
            numbers.sort_by(f64::total_cmp);
            numbers[numbers.len() / 2]
        };
        let rates = [&plain, &full].map(|results| median(results, |result| result.requests_per_second));
        let p50 = [&plain, &full].map(|results| median(results, |result| result.p50_ms));
        let p99 = [&plain, &full].map(|results| median(results, |result| result.p99_ms));
        println!(
            "{name:<10} {connections:>11} {batch:>6} {:>11.0} {:>11.0} {:>6.2} {:>12.3} {:>11.3} {:>12.3} {:>11.3}",
            rates[0],
            rates[1],
            rates[1] / rates[0],
            p50[0],
            p50[1],
            p99[0],
            p99[1]
        );
    }
    Ok(())
}

/// A daemon with its own data directory.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Starts a daemon and waits until it responds.
    async fn start(root: &Path, guarded: bool) -> Outcome<Self> {
        fs::create_dir_all(root.join("policies"))?;
        fs::write(root.join("policies/stateless.toml"), POLICY)?;
        let key =
            || -> Outcome<String> { Ok(SecretKey::generate(&mut rand::rng())?.to_base64().expose_secret().to_owned()) };
        let kid = POLICY.lines().find_map(|line| line.strip_prefix("kid = \"")?.split('"').next());
        let kid = kid.ok_or("the policy has no kid")?.to_ascii_uppercase();
        let socket = root.join("masker.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
        command.arg("serve").env_clear().env(format!("MASKER_KEY_{kid}"), key()?).env("MASKER_SOCKET", &socket);
        command.env("MASKER_DATA_DIR", root.join("vault")).env("MASKER_POLICY_PATH", root.join("policies"));
        command.env("MASKER_LOG_LEVEL", "error");
        let mut configuration = String::new();
        if guarded {
            let uid = nix::unistd::geteuid();
            configuration = format!(
                "[[clients]]\nname = \"other\"\nuid = 65533\nscopes = [\"*\"]\n\
                 [[clients]]\nname = \"bench\"\nuid = {uid}\nscopes = [\"tokenize\", \"rehydrate\", \"vault:read\"]\n\
                 [clients.limits]\nrequests_per_second = 1000000\nvalues_per_hour = 1000000000000\n\
                 [audit]\nsync = \"100ms\"\n"
            );
            command.env("MASKER_AUDIT_HMAC_KEY", key()?);
        }
        fs::write(root.join("masker.toml"), configuration)?;
        command.arg("--config").arg(root.join("masker.toml"));
        let mut child = command.stdin(Stdio::null()).spawn()?;
        while Client::connect(&socket).await.is_err() {
            if let Some(status) = child.try_wait()? {
                return Err(format!("failed to start the daemon: {status}").into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        // The socket accepts connections before the daemon is ready to serve requests.
        Client::connect(&socket).await?.get("/api/v1/vault/stats").await?;
        Ok(Daemon { child, socket })
    }

    fn load(&self, operation: LoadOperation, connections: usize, batch: usize) -> LoadTest {
        let (socket, kind) = (self.socket.clone(), "PHONE".to_owned());
        LoadTest {
            socket,
            connections,
            batch,
            operation,
            policy: None,
            kind,
            authorization: None,
            duration: SLICE,
            seed: SEED,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A clean shutdown is unnecessary: the directory is about to be deleted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
