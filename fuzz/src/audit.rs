//! The audit log: a changed log fails verification but can still be searched.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use masker_audit::AuditMetrics;
use masker_audit::{
    AuditEvent, AuditLog, AuditOperation, AuditOptions, CallerIdentity, ChainHead, DetailValue, EncodedCaller,
    EventQuery, ExpectedHead, LogSource, OutcomeCount, parse_hash, read, verify,
};
use masker_core::crypto::ChainKey;
use masker_types::audit::{OnFailure, SyncPolicy};
use tempfile::TempDir;

use super::{
    bench::{folder, key},
    edits::edited,
};

/// The maximum number of events per page.
const LIMIT: usize = 5;

/// Checks an input. The first byte selects how the others are used: as a segment, as a compressed segment, as a chain head,
/// or as edits to a valid log.
pub fn check(bytes: &[u8]) {
    static LOG: Mutex<Option<Log>> = Mutex::new(None);
    let mut slot = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = slot.get_or_insert_with(Log::new);
    match bytes.split_first() {
        Some((b'l', text)) => log.check(text, false),
        Some((b'z', compressed)) => log.check(compressed, true),
        Some((b'h', text)) => check_head(text),
        Some((_, edits)) => log.check(&edited(&log.text, edits), false),
        None => {}
    }
}

/// A valid log, and the directory in which changed versions are verified.
struct Log {
    folder: TempDir,
    name: PathBuf,
    text: Vec<u8>,
    head: ChainHead,
    key: ChainKey,
}

impl Log {
    fn new() -> Self {
        let folder = folder();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("threads").block_on(async {
            let options = AuditOptions {
                directory: folder.path().to_owned(),
                key: key(9),
                sync: SyncPolicy::Every(Duration::from_secs(3_600)),
                on_failure: OnFailure::Refuse,
                retention_days: 1,
                segment_bytes_max: 1 << 30,
                accept_break: false,
                accept_clock: false,
                metrics: Arc::new(AuditMetrics::new().expect("metrics")),
            };
            let log = AuditLog::open(options, None, None, Arc::new(Timestamp::now)).expect("a log").log;
            for number in 0..6 {
                log.record(&event(number)).await.expect("an event");
            }
            log.close().await;
        });
        let files =
            fs::read_dir(folder.path()).expect("failed to read the directory").map(|file| file.expect("a file").path());
        let name =
            files.into_iter().find(|path| path.extension().is_some_and(|end| end == "jsonl")).expect("a segment");
        let text = fs::read(&name).expect("a segment");
        let key = ChainKey::new(&key(9)).expect("a key");
        let verified =
            verify(&LogSource::Directory(folder.path().to_owned()), &key, None).expect("an unchanged log verifies");
        Log { folder, name, text, head: verified.head, key }
    }

    /// Replaces the log with `text`, and verifies and reads it.
    fn check(&self, text: &[u8], compressed: bool) {
        let path = if compressed { self.name.with_extension("jsonl.zst") } else { self.name.clone() };
        let other = if compressed { self.name.clone() } else { self.name.with_extension("jsonl.zst") };
        let _ = fs::remove_file(other);
        fs::write(&path, text).expect("failed to write the file");
        let folder = self.folder.path();
        let expected = ExpectedHead::from(self.head);
        for source in [LogSource::Directory(folder.to_owned()), LogSource::Files(vec![path])] {
            match verify(&source, &self.key, Some(&expected)) {
                Ok(verified) => {
                    assert!(compressed || *text == self.text, "a changed log verifies");
                    assert_eq!(verified.head, self.head);
                }
                Err(error) => {
                    assert!(compressed || *text != self.text, "the unchanged log does not verify: {error}");
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        let mut query = EventQuery { limit: LIMIT, ..EventQuery::default() };
        for _ in 0..8 {
            let page = read(folder, &query).expect("failed to read the directory");
            assert!(page.events.len() <= LIMIT && page.last >= query.after);
            assert!(!page.more || page.last > query.after, "the next page would be the same");
            if !page.more {
                break;
            }
            query.after = page.last;
        }
    }
}

/// Returns an event with every field set.
fn event(number: u64) -> AuditEvent<'static> {
    const COUNTS: [OutcomeCount; 1] =
        [OutcomeCount { fingerprint: None, generation: None, items: 3, kid: None, kind: None, outcome: "minted" }];
    static CALLER: LazyLock<EncodedCaller> = LazyLock::new(|| {
        EncodedCaller::new(&CallerIdentity {
            address: Some("2001:db8::1"),
            certificate: Some("0123456789abcdef"),
            gateway: Some("gateway"),
            gid: 7,
            key_id: Some("0123456789abcdef"),
            key_prefix: Some("mskr_prefix"),
            mode: "local",
            name: "billing",
            pid: Some(4_711),
            uid: 6,
            unit: Some("billing.service"),
        })
    });
    const DETAIL: [(&str, DetailValue<'static>); 3] =
        [("a", DetailValue::Number(1)), ("b", DetailValue::Text("\"quoted\" \\ ü")), ("c", DetailValue::Flag(true))];
    let operation = AuditOperation::ALL[number as usize % AuditOperation::ALL.len()];
    AuditEvent {
        caller: Some(&CALLER),
        request_id: Some("0123456789abcdef0123456789abcdef"),
        status: Some(200),
        policy: Some("care"),
        session: Some("night"),
        counts: &COUNTS,
        duration_us: Some(number),
        detail: &DETAIL,
        ..AuditEvent::new(operation, "ok")
    }
}

/// Checks that a chain head and a hash each have a single text form.
fn check_head(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(head) = text.parse::<ChainHead>() {
        assert_eq!(head.to_string().parse::<ChainHead>().ok(), Some(head));
    }
    let hash = parse_hash(text);
    let expected = text.parse::<ExpectedHead>();
    assert!(hash.is_none() || expected.is_ok_and(|expected| Some(expected.hash) == hash));
}
