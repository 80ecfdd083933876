//! `masker bench`: what was asked for on the command line, measured and shown.

use std::time::Duration;

use super::{
    args::{BenchArgs, BenchOperation},
    bench::{LoadOperation, LoadTest},
    context::{CommandContext, CommandError},
    exit::Exit,
};

/// Measures, and fails if a value did.
pub(super) async fn run(args: &BenchArgs, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let load = LoadTest {
        socket: session.socket()?,
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
        authorization: session.authorization()?,
    };
    let measured = load.run().await?;
    let exit = if measured.failed == 0 { Exit::Done } else { Exit::Failure };
    let output = &mut session.output;
    if output.is_json() {
        output.json(&measured)?;
        return Ok(exit);
    }
    let milliseconds = |time: f64| format!("{time:.3} ms");
    let rows = [
        ("requests", measured.requests.to_string()),
        ("values", measured.values.to_string()),
        ("values that failed", measured.failed.to_string()),
        ("time", format!("{:.2} s", measured.seconds)),
        ("requests/s", format!("{:.0}", measured.requests_per_second)),
        ("values/s", format!("{:.0}", measured.values_per_second)),
        ("p50", milliseconds(measured.p50_ms)),
        ("p99", milliseconds(measured.p99_ms)),
        ("p99.9", milliseconds(measured.p999_ms)),
        ("longest", milliseconds(measured.max_ms)),
    ];
    output.table(&["BENCH", ""], rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec())?;
    Ok(exit)
}
