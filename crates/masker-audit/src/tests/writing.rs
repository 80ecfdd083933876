//! Recorded events are in the log, once and in order, whichever thread writes them.

use std::{sync::Arc, time::Duration};

use super::super::{
    AuditError, AuditEvent, AuditOperation, AuditOptions, DetailValue, EventQuery, SyncPolicy, read, test_support::*,
};
use masker_types::limits::{AUDIT_LINE_BYTES_MAX, AUDIT_UNSYNCED_BYTES_SOFT_MAX};

#[test]
fn records_the_events_of_many_tasks() {
    for sync in [SyncPolicy::Always, SyncPolicy::Every(Duration::from_millis(1))] {
        let folder = scratch();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let mut options = options(folder.path());
        options.sync = sync;
        options.segment_bytes_max = 64 * 1024;
        let log = Arc::new(open(options, None, &ManualClock::new()).log);
        runtime.block_on(async {
            let tasks: Vec<_> = (0..64)
                .map(|_| {
                    let log = log.clone();
                    tokio::spawn(async move { record(&log, 50).await })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            log.close().await;
        });
        let head = log.durable_head();
        let found = verify_all(folder.path()).unwrap();
        assert_eq!(found.head, head);
        let operations = operations(folder.path());
        assert_eq!(operations.iter().filter(|op| *op == "tokenize").count(), 64 * 50);
        assert!(found.segments > 1, "the size was reached several times");
        assert_eq!(operations.iter().filter(|op| *op == "segment.closed").count() as u64, found.segments - 1);
    }
}

#[test]
fn writes_the_event_of_a_cancelled_request() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    runtime().block_on(async {
        let event = AuditEvent::new(AuditOperation::Forget, "ok");
        let mut recording = Box::pin(log.record(&event));
        // Polled once and dropped.
        tokio::select! {
            biased;
            _ = &mut recording => {}
            () = std::future::ready(()) => {}
        }
        drop(recording);
        record(&log, 1).await;
        log.close().await;
    });
    assert_eq!(operations(folder.path()), ["segment.opened", "forget", "tokenize"]);
}

#[test]
fn rejects_an_event_that_is_too_long() {
    let folder = scratch();
    let mut options = options(folder.path());
    options.segment_bytes_max = 1 << 30;
    let log = open(options, None, &ManualClock::new()).log;
    let text = "x".repeat(AUDIT_LINE_BYTES_MAX);
    runtime().block_on(async {
        let event = AuditEvent {
            detail: &[("text", DetailValue::Text(&text))],
            ..AuditEvent::new(AuditOperation::Start, "ok")
        };
        assert_eq!(log.record(&event).await, Err(AuditError::TooLong));
        let event = AuditEvent {
            detail: &[("text", DetailValue::Text(&text[300..]))],
            ..AuditEvent::new(AuditOperation::Start, "ok")
        };
        assert_eq!(log.record(&event).await, Err(AuditError::TooLong));
        let event = AuditEvent {
            detail: &[("text", DetailValue::Text(&text[400..]))],
            ..AuditEvent::new(AuditOperation::Start, "ok")
        };
        log.record(&event).await.unwrap();
        log.close().await;
    });
    assert_eq!(verify_all(folder.path()).unwrap().events, 2);
}

#[test]
fn ids_increase_although_the_clock_goes_back() {
    let folder = scratch();
    let clock = ManualClock::new();
    let log = open(options(folder.path()), None, &clock).log;
    runtime().block_on(async {
        record(&log, 2).await;
        clock.go_back(Duration::from_secs(7 * 24 * 60 * 60));
        record(&log, 2).await;
        assert!(!log.state.flusher.rotate(), "an earlier day must not begin a segment");
        log.close().await;
    });
    let page = read(folder.path(), &EventQuery { limit: 10, ..EventQuery::default() }).unwrap();
    let ids: Vec<String> =
        page.events.iter().map(|event| event.split("\"id\":\"").nth(1).unwrap()[..26].into()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[test]
fn reads_pages_across_segments() {
    let folder = scratch();
    let clock = ManualClock::new();
    three_segments(folder.path(), &clock);
    let whole = read(folder.path(), &EventQuery { limit: 100, ..EventQuery::default() }).unwrap();
    assert_eq!((whole.events.len(), whole.last, whole.more), (17, 17, false));
    for limit in 1..=17 {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let page = read(folder.path(), &EventQuery { after, limit, ..EventQuery::default() }).unwrap();
            assert!(page.events.len() <= limit);
            events.extend(page.events);
            after = page.last;
            if !page.more {
                break;
            }
        }
        assert_eq!(events, whole.events, "{limit}");
    }
    let of = |query: EventQuery| read(folder.path(), &EventQuery { limit: 100, ..query }).unwrap().events.len();
    assert_eq!(of(EventQuery { op: Some("tokenize".into()), ..EventQuery::default() }), 12);
    assert_eq!(of(EventQuery { caller: Some("billing".into()), ..EventQuery::default() }), 0);
    // A segment is closed on the day on which the next one begins.
    let since = Some("2026-03-02T12:00:00Z".parse().unwrap());
    assert_eq!(of(EventQuery { since, ..EventQuery::default() }), 12);
    assert_eq!(of(EventQuery { until: since, ..EventQuery::default() }), 5);
    let since = Some("2026-03-03T12:00:00.001Z".parse().unwrap());
    assert_eq!(of(EventQuery { since, ..EventQuery::default() }), 0);
}

#[test]
fn waits_for_a_disk_that_falls_behind() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let hour = SyncPolicy::Every(Duration::from_secs(3_600));
    let log = open(AuditOptions { sync: hour, segment_bytes_max: 1 << 30, ..options(folder.path()) }, None, &clock).log;
    let begun = log.durable_head().sequence;
    runtime().block_on(async {
        let long = "x".repeat(AUDIT_LINE_BYTES_MAX / 2);
        let detail = [("reason", DetailValue::Text(&long))];
        for _ in 0..2 * AUDIT_UNSYNCED_BYTES_SOFT_MAX / long.len() {
            log.record(&AuditEvent { detail: &detail, ..AuditEvent::new(AuditOperation::Refused, "ok") })
                .await
                .unwrap();
        }
    });
    assert!(log.durable_head().sequence > begun, "the log waited for the end of the hour");
}
