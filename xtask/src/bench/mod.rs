//! `cargo xtask bench`: puts load on a running daemon and prints what was measured.

pub mod load;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use masker_config::{CommandLineOptions, Config, Environment, HostEnvironment};

use self::load::{LoadOperation, LoadResult, LoadTest};
use crate::Error;

/// The end of the command's help.
pub const HELP: &str = "\
Examples:
  cargo xtask bench --policy stateless --connections 16
  cargo xtask bench --op rehydrate --batch 1000 --duration 30
  cargo xtask bench --op mint --connections 64 --json

Each connection has one request in flight. The values are generated and stay in the vault; with --op mint every value is \
new. MASKER_API_KEY authenticates the requests. The exit code is 2 if a value failed.";

/// The arguments of `cargo xtask bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// The daemon's socket [default: MASKER_SOCKET, or the configuration's]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// The operation to request
    #[arg(long, value_enum, default_value_t = BenchOperation::Tokenize)]
    pub op: BenchOperation,
    /// Number of connections
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub connections: u16,
    /// Items in a request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub batch: u16,
    /// The policy [default: the daemon's default policy]
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// The kind of the values
    #[arg(long, value_name = "KIND", default_value = "PHONE")]
    pub kind: String,
    /// Seconds to measure for
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub duration: u64,
    /// A number that makes the values differ from those of other runs [default: random]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

/// The operation that `cargo xtask bench` requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchOperation {
    /// Tokenize values that already have a token
    Tokenize,
    /// Rehydrate tokens
    Rehydrate,
    /// Look up the tokens of values
    Lookup,
    /// Tokenize values that are new each time
    Mint,
}

/// Measures, prints the result, and fails if a value did.
///
/// # Errors
/// The daemon cannot be reached or refuses a request, or the result cannot be printed.
pub fn run(args: &BenchArgs) -> Result<ExitCode, Error> {
    let environment: Environment = std::env::vars_os().collect();
    let current_dir = std::env::current_dir()?;
    let host = HostEnvironment::of_process(&environment, &current_dir);
    let load = LoadTest {
        socket: Config::find_socket_path(CommandLineOptions { config: None, socket: args.socket.as_deref() }, host)?,
        connections: args.connections.into(),
        batch: args.batch.into(),
        operation: match args.op {
            BenchOperation::Tokenize => LoadOperation::Tokenize,
            BenchOperation::Rehydrate => LoadOperation::Rehydrate,
            BenchOperation::Lookup => LoadOperation::Lookup,
            BenchOperation::Mint => LoadOperation::Mint,
        },
        policy: args.policy.clone(),
        kind: args.kind.clone(),
        duration: Duration::from_secs(args.duration),
        seed: args.seed.unwrap_or_else(rand::random),
        authorization: masker_cli::authorization(&environment)?,
    };
    let result = tokio::runtime::Runtime::new()?.block_on(load.run())?;
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
    } else {
        print(&result);
    }
    Ok(if result.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn print(result: &LoadResult) {
    let milliseconds = |time: f64| format!("{time:.3} ms");
    for (name, value) in [
        ("requests", result.requests.to_string()),
        ("values", result.values.to_string()),
        ("failed values", result.failed.to_string()),
        ("time", format!("{:.2} s", result.seconds)),
        ("requests/s", format!("{:.0}", result.requests_per_second)),
        ("values/s", format!("{:.0}", result.values_per_second)),
        ("p50", milliseconds(result.p50_ms)),
        ("p99", milliseconds(result.p99_ms)),
        ("p99.9", milliseconds(result.p999_ms)),
        ("maximum", milliseconds(result.max_ms)),
    ] {
        println!("{name:<14} {value}");
    }
}
