//! What access and audit cost: two daemons, one with both switched off and one with both, under the same load in turn.
//!
//! `cargo bench --bench access -- [ROUNDS]`: 5 unless told. With them means that a client's rule is matched, that the
//! client is limited (by more than it asks), and that each request is in the audit log before its answer leaves, which
//! is made durable each 100 ms. It tells the medians of requests a second and of the latencies, and their ratios. The
//! client takes its part of the same cores.

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
/// How long each load is measured.
const SLICE: Duration = Duration::from_secs(3);
const SEED: u64 = 1;
/// What is asked: connections, and values in a request.
const LOADS: [(&str, LoadOperation, usize, usize); 4] = [
    ("tokenize", LoadOperation::Tokenize, 16, 1),
    ("tokenize", LoadOperation::Tokenize, 1, 1),
    ("rehydrate", LoadOperation::Rehydrate, 16, 1),
    ("tokenize", LoadOperation::Tokenize, 4, 1_000),
];

fn main() -> Outcome<()> {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5);
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
        let median = |of: &[LoadResult], what: fn(&LoadResult) -> f64| {
            let mut numbers: Vec<f64> = of.iter().map(what).collect();
            numbers.sort_by(f64::total_cmp);
            numbers[numbers.len() / 2]
        };
        let rates = [&plain, &full].map(|of| median(of, |measured| measured.requests_per_second));
        let p50 = [&plain, &full].map(|of| median(of, |measured| measured.p50_ms));
        let p99 = [&plain, &full].map(|of| median(of, |measured| measured.p99_ms));
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

/// A daemon with files of its own.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Starts one and waits until it answers.
    async fn start(root: &Path, guarded: bool) -> Outcome<Self> {
        fs::create_dir_all(root.join("policies"))?;
        fs::write(root.join("policies/stateless.toml"), POLICY)?;
        let key =
            || -> Outcome<String> { Ok(SecretKey::generate(&mut rand::rng())?.to_base64().expose_secret().to_owned()) };
        let kid = POLICY.lines().find_map(|line| line.strip_prefix("kid = \"")?.split('"').next());
        let kid = kid.ok_or("the policy names no key")?.to_ascii_uppercase();
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
                return Err(format!("the daemon did not start: {status}").into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        // The socket is there before the daemon serves; an answer is not.
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
        // Its files are gone in a moment.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
