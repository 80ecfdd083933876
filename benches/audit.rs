//! Measures the cost of an audit event: from one task, and from 16 concurrent tasks on two threads, on the disk that has
//! `target/`.
//!
//! Run it with `cargo bench --bench audit`. CPU time is that of the whole process, divided by the number of events. Results
//! are medians of several runs; compare only results from the same machine and the same day.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use masker_audit::AuditMetrics;
use masker_audit::{AuditEvent, AuditLog, AuditOperation, AuditOptions, CallerIdentity, EncodedCaller, OutcomeCount};
use masker_core::{
    crypto::{Fingerprint, SecretKey},
    keyring::Role,
};
use masker_types::{
    audit::{OnFailure, SyncPolicy},
    kind::{EntityKind, Kid},
};
use nix::sys::resource::{UsageWho, getrusage};

const RUNS: usize = 5;

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("failed to read the resource usage");
    let time = |of: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(of.tv_sec() * 1_000_000 + of.tv_usec()).unwrap_or(0))
    };
    time(usage.user_time()) + time(usage.system_time())
}

async fn record(log: &AuditLog, events: usize) {
    let counts = [OutcomeCount {
        kind: EntityKind::parse("PHONE"),
        outcome: "ok",
        kid: Kid::parse("K_HEALTHCARE"),
        fingerprint: Some(Fingerprint::from_bytes([0xab; 8])),
        generation: Some(Role::Active),
        items: 1,
    }];
    let caller = EncodedCaller::new(&CallerIdentity {
        address: None,
        certificate: None,
        gateway: None,
        name: "billing",
        uid: 1_000,
        gid: 1_000,
        pid: Some(12_345),
        unit: Some("billing.service"),
        key_id: None,
        key_prefix: None,
        mode: "live",
    });
    for _ in 0..events {
        let event = AuditEvent {
            caller: Some(&caller),
            request_id: Some("00112233445566778899aabbccddeeff"),
            status: Some(200),
            policy: Some("healthcare-default"),
            counts: &counts,
            duration_us: Some(17),
            ..AuditEvent::new(AuditOperation::Tokenize, "ok")
        };
        log.record(&event).await.expect("failed to record the event");
        // A request yields after its event too.
        tokio::task::yield_now().await;
    }
}

fn measure(name: &str, tasks: usize, events: usize, sync: SyncPolicy) -> Result<(), Box<dyn std::error::Error>> {
    let mut figures = Vec::new();
    for _ in 0..RUNS {
        let folder = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let options = AuditOptions {
            directory: folder.path().join("audit"),
            key: SecretKey::generate(&mut rand::rng())?,
            sync,
            on_failure: OnFailure::Refuse,
            retention_days: 1,
            segment_bytes_max: 1 << 30,
            accept_break: false,
            accept_clock: false,
            metrics: Arc::new(AuditMetrics::new()?),
        };
        let log = Arc::new(AuditLog::open(options, None, None, Arc::new(Timestamp::now))?.log);
        let (begun, before) = (Instant::now(), cpu_time());
        runtime.block_on(async {
            let tasks: Vec<_> = (0..tasks)
                .map(|_| {
                    let log = log.clone();
                    tokio::spawn(async move { record(&log, events / tasks).await })
                })
                .collect();
            for task in tasks {
                task.await.expect("recording task panicked");
            }
        });
        let (wall, used) = (begun.elapsed(), cpu_time() - before);
        let per_event = |time: Duration| time.as_secs_f64() * 1e6 / events as f64;
        figures.push((per_event(used), per_event(wall)));
        runtime.block_on(log.close());
    }
    figures.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (used, wall) = figures[RUNS / 2];
    println!("{name:<34} {used:>8.2} µs CPU time {wall:>8.2} µs wall time, per event");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo test` also runs benchmarks, with `--test`.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let grouped = SyncPolicy::Every(Duration::from_millis(100));
    measure("1 task, sync every 100 ms", 1, 200_000, grouped)?;
    measure("16 tasks, sync every 100 ms", 16, 400_000, grouped)?;
    measure("1 task, sync always", 1, 500, SyncPolicy::Always)?;
    measure("16 tasks, sync always", 16, 4_000, SyncPolicy::Always)?;
    Ok(())
}
