//! A clock that is far past the last event.

use std::{fs, path::Path, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use masker_audit::{AuditEvent, AuditLog, AuditMetrics, AuditOperation, AuditOptions, OnFailure, SyncPolicy};
use masker_core::crypto::SecretKey;

use super::{events, key, launch, of, segments, site};

/// What a daemon logs in place of removing sessions.
const KEPT: &str = "expired sessions are kept, because the clock is far past the audit log's last event";

/// Writes a log on two days, a hundred days ago.
fn write_old_log(directory: &Path) {
    for day in [100, 99] {
        let options = AuditOptions {
            directory: directory.to_owned(),
            key: SecretKey::parse_base64(key().base64().as_bytes()).unwrap(),
            sync: SyncPolicy::Always,
            on_failure: OnFailure::Refuse,
            retention_days: 1_000,
            segment_bytes_max: 1 << 30,
            accept_break: false,
            accept_clock: false,
            metrics: Arc::new(AuditMetrics::new().unwrap()),
        };
        let clock = move || Timestamp::now() - SignedDuration::from_hours(24 * day);
        let log = AuditLog::open(options, None, None, Arc::new(clock)).unwrap().log;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(log.record(&AuditEvent::new(AuditOperation::Start, "ok"))).unwrap();
    }
}

#[test]
fn a_daemon_that_was_off_for_long_deletes_nothing_until_its_clock_is_accepted() {
    let mut site = site();
    site.set("audit", "retention_days", "10");
    write_old_log(&site.path("audit"));
    let first = segments(&site).remove(0);
    let name = first.file_name().unwrap().to_string_lossy().split_once('.').unwrap().0.to_owned();
    let exists = || segments(&site).iter().any(|path| path.to_string_lossy().contains(&name));
    for starts in 1..=2 {
        let daemon = launch(&site).start();
        daemon.log().wait_for(1, KEPT);
        let log = daemon.stop().log.text();
        assert!(log.contains("masker recover"), "{log}");
        assert!(exists());
        assert_eq!(of(&events(&site), "clock.jumped").len(), starts);
    }
    let log = launch(&site).accept("clock").start().stop().log.text();
    assert!(!log.contains(KEPT), "{log}");
    assert!(!exists(), "its retention is over");
    launch(&site).start().stop();
    let all = events(&site);
    assert_eq!((of(&all, "clock.accepted").len(), of(&all, "clock.jumped").len()), (1, 2));
    assert!(fs::read_dir(site.path("audit")).unwrap().count() >= 2);
}
