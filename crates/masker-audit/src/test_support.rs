//! Helpers of the tests.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    AuditEvent, AuditLog, AuditOperation, AuditOptions, ChainHead, Clock, EventQuery, ExpectedHead, InvalidLine,
    LineError, LogSource, OnFailure, OpenedLog, SyncPolicy, VerifiedLog, VerifyError, read, segment, verify,
};
use crate::metrics::AuditMetrics;
use masker_core::crypto::{ChainKey, SecretKey};

pub(super) fn secret() -> SecretKey {
    SecretKey::from_bytes(Zeroizing::new(std::array::from_fn(|i| i as u8))).unwrap()
}

pub(super) fn key() -> ChainKey {
    ChainKey::new(&secret()).unwrap()
}

/// A clock that tests set. It begins at noon on 2026-03-01.
#[derive(Clone)]
pub(super) struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    pub(super) fn new() -> Self {
        ManualClock(Arc::new(AtomicI64::new("2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap().as_millisecond())))
    }

    pub(super) fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_millis() as i64, Ordering::SeqCst);
    }

    pub(super) fn go_back(&self, time: Duration) {
        self.0.fetch_sub(time.as_millis() as i64, Ordering::SeqCst);
    }

    pub(super) fn clock(&self) -> Clock {
        let now = self.0.clone();
        Arc::new(move || Timestamp::from_millisecond(now.load(Ordering::SeqCst)).unwrap())
    }
}

pub(super) fn options(directory: &Path) -> AuditOptions {
    AuditOptions {
        directory: directory.to_owned(),
        key: secret(),
        sync: SyncPolicy::Always,
        on_failure: OnFailure::Refuse,
        retention_days: 2_555,
        segment_bytes_max: 1 << 20,
        accept_break: false,
        accept_clock: false,
        metrics: Arc::new(AuditMetrics::new().unwrap()),
    }
}

/// Returns a directory in memory if possible: these tests inject the faults of disks.
pub(super) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(super) fn open(options: AuditOptions, anchor: Option<ChainHead>, clock: &ManualClock) -> OpenedLog {
    AuditLog::open(options, anchor, None, clock.clock()).unwrap()
}

/// Records events, one after the other.
pub(super) async fn record(log: &AuditLog, events: usize) {
    for _ in 0..events {
        log.record(&AuditEvent::new(AuditOperation::Tokenize, "ok")).await.unwrap();
    }
}

/// Advances the clock to the next day, and begins a segment.
pub(super) fn next_day(log: &AuditLog, clock: &ManualClock) {
    clock.advance(Duration::from_secs(24 * 60 * 60));
    log.state.flusher.rotate();
}

/// Creates a log of three segments: the first is compressed, the last is open. Returns its head.
pub(super) fn three_segments(directory: &Path, clock: &ManualClock) -> ChainHead {
    let log = open(options(directory), None, clock).log;
    let head = runtime().block_on(async {
        for day in 0..3 {
            if day > 0 {
                next_day(&log, clock);
            }
            record(&log, 4).await;
        }
        log.close().await;
        log.durable_head()
    });
    drop(log);
    let first = segment::list(directory).unwrap().segments.swap_remove(0);
    if !first.compressed {
        segment::compress(&first.name, directory).unwrap();
    }
    let second = segment::list(directory).unwrap().segments.swap_remove(1);
    if second.compressed {
        fs::write(second.name.plain(directory), zstd::decode_all(File::open(&second.path).unwrap()).unwrap()).unwrap();
        fs::remove_file(second.path).unwrap();
    }
    head
}

/// Returns the files of a log, in order.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    segment::list(directory).unwrap().segments.into_iter().map(|segment| segment.path).collect()
}

/// Returns the operations of all events, in order.
pub(super) fn operations(directory: &Path) -> Vec<String> {
    let page = read(directory, &EventQuery { limit: usize::MAX, ..EventQuery::default() }).unwrap();
    let op = |event: &String| serde_json::from_str::<Value>(event).unwrap()["op"].as_str().unwrap().to_owned();
    page.events.iter().map(op).collect()
}

pub(super) fn verify_all(directory: &Path) -> Result<VerifiedLog, VerifyError> {
    verify(&LogSource::Directory(directory.to_owned()), &key(), None)
}

/// Returns the file, the number and the error of the first invalid line.
pub(super) fn failing(directory: &Path, expected: Option<ChainHead>) -> (PathBuf, u64, LineError) {
    let expected = expected.map(ExpectedHead::from);
    match verify(&LogSource::Directory(directory.to_owned()), &key(), expected.as_ref()) {
        Err(VerifyError::Failing(InvalidLine { file, line, why, .. })) => (file, line, why),
        other => panic!("{other:?}"),
    }
}

/// Waits until `condition` is true.
pub(super) fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "the condition did not become true");
        std::thread::sleep(Duration::from_millis(1));
    }
}
