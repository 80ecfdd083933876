//! The audit log: what is not as it was written does not verify, and can be looked through all the same.

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

/// Events of a read at most.
const LIMIT: usize = 5;

/// The first byte says what the others are: a file of the log, a packed one, a head, or changes of a log that verifies.
pub fn holds(bytes: &[u8]) {
    static LOG: Mutex<Option<Log>> = Mutex::new(None);
    let mut place = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = place.get_or_insert_with(Log::new);
    match bytes.split_first() {
        Some((b'l', text)) => log.holds(text, false),
        Some((b'z', packed)) => log.holds(packed, true),
        Some((b'h', text)) => head_holds(text),
        Some((_, edits)) => log.holds(&edited(&log.text, edits), false),
        None => {}
    }
}

/// A log that was written, and the folder in which it is looked at.
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
                metrics: Arc::new(AuditMetrics::new().expect("metrics")),
            };
            let log = AuditLog::open(options, None, Arc::new(Timestamp::now)).expect("a log").log;
            for number in 0..6 {
                log.record(&event(number)).await.expect("an event");
            }
            log.close().await;
        });
        let files = fs::read_dir(folder.path()).expect("a folder of ours").map(|file| file.expect("a file").path());
        let name =
            files.into_iter().find(|path| path.extension().is_some_and(|end| end == "jsonl")).expect("a segment");
        let text = fs::read(&name).expect("a segment");
        let key = ChainKey::new(&key(9)).expect("a key");
        let verified =
            verify(&LogSource::Directory(folder.path().to_owned()), &key, None).expect("it is as it was written");
        Log { folder, name, text, head: verified.head, key }
    }

    /// Puts this text in the place of the log.
    fn holds(&self, text: &[u8], packed: bool) {
        let path = if packed { self.name.with_extension("jsonl.zst") } else { self.name.clone() };
        let other = if packed { self.name.clone() } else { self.name.with_extension("jsonl.zst") };
        let _ = fs::remove_file(other);
        fs::write(&path, text).expect("a file of ours");
        let folder = self.folder.path();
        let expected = ExpectedHead::from(self.head);
        for source in [LogSource::Directory(folder.to_owned()), LogSource::Files(vec![path])] {
            match verify(&source, &self.key, Some(&expected)) {
                Ok(verified) => {
                    assert!(packed || *text == self.text, "it verifies, and is not what was written");
                    assert_eq!(verified.head, self.head);
                }
                Err(error) => {
                    assert!(packed || *text != self.text, "it does not verify, and is what was written: {error}");
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        let mut query = EventQuery { limit: LIMIT, ..EventQuery::default() };
        for _ in 0..8 {
            let page = read(folder, &query).expect("a folder of ours");
            assert!(page.events.len() <= LIMIT && page.last >= query.after);
            assert!(!page.more || page.last > query.after, "the next page is this one");
            if !page.more {
                break;
            }
            query.after = page.last;
        }
    }
}

/// An event in which everything is that can be.
fn event(number: u64) -> AuditEvent<'static> {
    const COUNTS: [OutcomeCount; 1] =
        [OutcomeCount { fingerprint: None, generation: None, items: 3, kid: None, kind: None, outcome: "minted" }];
    static CALLER: LazyLock<EncodedCaller> = LazyLock::new(|| {
        EncodedCaller::new(&CallerIdentity {
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

/// A head and a hash have one text each.
fn head_holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(head) = text.parse::<ChainHead>() {
        assert_eq!(head.to_string().parse::<ChainHead>().ok(), Some(head));
    }
    let hash = parse_hash(text);
    let expected = text.parse::<ExpectedHead>();
    assert!(hash.is_none() || expected.is_ok_and(|expected| Some(expected.hash) == hash));
}
