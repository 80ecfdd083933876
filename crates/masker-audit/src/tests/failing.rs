//! Disks that are full or broken: the chain stays whole, no request gets a false result, and the log recovers.

use std::{
    fs,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::super::{
    AuditError, AuditEvent, AuditLog, AuditOperation, AuditOptions, EventQuery, OnFailure, SyncPolicy,
    chain::claimed_sequence, file::InjectedFaults, read, test_support::*,
};

fn faults(log: &AuditLog) -> Arc<InjectedFaults> {
    log.state.flusher.output().writer.faults.clone()
}

async fn try_record(log: &AuditLog) -> Result<(), AuditError> {
    log.record(&AuditEvent::new(AuditOperation::Rehydrate, "ok")).await
}

/// Looks at the files while nothing is written to them: the log's thread retries on its own after a failure, and what it
/// could not write completely is there until it has truncated it.
fn without_writes<T>(log: &AuditLog, look: impl FnOnce() -> T) -> T {
    let _writer = log.state.flusher.output();
    look()
}

/// Returns how many events were lost before each time that the log continued.
fn lost(directory: &std::path::Path) -> Vec<u64> {
    let resumed = EventQuery { op: Some("log.resumed".into()), limit: 100, ..EventQuery::default() };
    let lost = |event: &String| {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        event["detail"]["lost"].as_u64().unwrap()
    };
    read(directory, &resumed).unwrap().events.iter().map(lost).collect()
}

#[test]
fn a_full_disk_fails_requests_until_there_is_room() {
    for room in [0, 1, 50, 100] {
        let folder = scratch();
        let log = open(options(folder.path()), None, &ManualClock::new()).log;
        let faults = faults(&log);
        runtime().block_on(async {
            record(&log, 2).await;
            let before = fs::read(&files(folder.path())[0]).unwrap();
            faults.limit_writes(room);
            assert_eq!(log.ready(), Ok(()), "the failure is not known yet");
            assert_eq!(try_record(&log).await, Err(AuditError::Unavailable));
            assert_eq!(log.ready(), Err(AuditError::Unavailable));
            assert!(log.health().is_err());
            assert_eq!(try_record(&log).await, Err(AuditError::Unavailable));
            assert_eq!(log.state.flusher.events_kept(), 2);
            log.state.flusher.resume();
            assert!(log.health().is_err(), "there is still no room");
            let path = files(folder.path()).remove(0);
            let left = without_writes(&log, || fs::read(path).unwrap());
            assert_eq!(left, before, "no part of a line is left");

            faults.clear();
            log.state.flusher.resume();
            assert_eq!((log.ready(), log.health()), (Ok(()), Ok(())));
            record(&log, 1).await;
            log.close().await;
        });
        // The log's thread writes the two events that could not be written before.
        let mut all = operations(folder.path());
        all[4..].sort_unstable();
        let later = ["rehydrate", "rehydrate", "tokenize"];
        assert_eq!(all, [["segment.opened", "tokenize", "tokenize", "log.resumed"].as_slice(), &later].concat());
        assert_eq!(lost(folder.path()), [0]);
        verify_all(folder.path()).unwrap();
    }
}

#[test]
fn continues_without_the_log_if_so_configured_and_writes_the_events_later() {
    let folder = scratch();
    let mut options = options(folder.path());
    options.on_failure = OnFailure::Continue;
    let log = open(options, None, &ManualClock::new()).log;
    let faults = faults(&log);
    runtime().block_on(async {
        faults.limit_writes(10);
        for _ in 0..5 {
            assert_eq!(log.ready(), Ok(()));
            try_record(&log).await.unwrap();
        }
        assert!(log.health().is_err());
        faults.clear();
        log.state.flusher.resume();
        assert!(log.health().is_ok());
        log.close().await;
    });
    let later = ["rehydrate"; 5];
    let all = [["segment.opened", "continue.chosen", "log.resumed"].as_slice(), &later].concat();
    assert_eq!(operations(folder.path()), all);
    assert_eq!(lost(folder.path()), [0]);
    verify_all(folder.path()).unwrap();
}

#[test]
fn writes_again_what_a_failed_sync_leaves_in_doubt() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    let faults = faults(&log);
    runtime().block_on(async {
        record(&log, 2).await;
        let durable = log.durable_head();
        faults.fail_syncs(true);
        assert_eq!(try_record(&log).await, Err(AuditError::Unavailable), "it may be on the disk, and may not");
        assert_eq!(log.durable_head(), durable);
        log.state.flusher.sync();
        assert_eq!(log.durable_head(), durable, "a later sync must not count");
        log.state.flusher.resume();
        assert!(log.health().is_err());
        // Simulates a disk that has nothing since the last good sync.
        let path = files(folder.path()).remove(0);
        without_writes(&log, || {
            let text = fs::read(&path).unwrap();
            let kept: Vec<&[u8]> = text
                .split_inclusive(|byte| *byte == b'\n')
                .filter(|line| claimed_sequence(&line[..line.len() - 1]).unwrap() <= durable.sequence)
                .collect();
            fs::write(&path, kept.concat()).unwrap();
            faults.clear();
        });
        log.state.flusher.resume();
        assert!(log.health().is_ok());
        assert!(log.durable_head().sequence > durable.sequence);
        log.close().await;
    });
    assert_eq!(operations(folder.path()), ["segment.opened", "tokenize", "tokenize", "rehydrate", "log.resumed"]);
    verify_all(folder.path()).unwrap();
}

#[test]
fn retries_to_truncate_a_partial_line() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    let faults = faults(&log);
    runtime().block_on(async {
        record(&log, 1).await;
        faults.limit_writes(20);
        faults.fail_truncations(true);
        assert!(try_record(&log).await.is_err());
        faults.limit_writes(usize::MAX);
        log.state.flusher.resume();
        assert!(log.health().is_err(), "the file still cannot be truncated");
        faults.clear();
        log.state.flusher.resume();
        record(&log, 1).await;
        log.close().await;
    });
    let mut all = operations(folder.path());
    all[3..].sort_unstable();
    assert_eq!(all, ["segment.opened", "tokenize", "log.resumed", "rehydrate", "tokenize"]);
    verify_all(folder.path()).unwrap();
}

#[test]
fn a_disk_that_fails_during_a_rotation_breaks_nothing() {
    // No room for the closing line; room for it but not for the opening line; and syncs that fail.
    for (room, syncs_fail) in [(0, false), (280, false), (usize::MAX, true)] {
        let folder = scratch();
        let clock = ManualClock::new();
        let log = open(options(folder.path()), None, &clock).log;
        let faults = faults(&log);
        runtime().block_on(async {
            record(&log, 2).await;
            faults.limit_writes(room);
            faults.fail_syncs(syncs_fail);
            next_day(&log, &clock);
            assert!(log.health().is_err(), "{room}");
            assert!(try_record(&log).await.is_err());
            faults.clear();
            log.state.flusher.resume();
            log.state.flusher.rotate();
            record(&log, 1).await;
            log.close().await;
        });
        let found = verify_all(folder.path()).unwrap();
        assert_eq!(found.segments, 2, "{room}");
        let all = operations(folder.path());
        assert!(all.ends_with(&["tokenize".to_owned()]) || all.ends_with(&["rehydrate".to_owned()]), "{all:?}");
        assert_eq!(all.iter().filter(|op| *op == "tokenize").count(), 3);
    }
}

#[test]
fn a_log_that_is_closed_during_a_failure_is_whole() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    let faults = faults(&log);
    runtime().block_on(async {
        record(&log, 2).await;
        faults.limit_writes(30);
        assert!(try_record(&log).await.is_err());
        log.close().await;
    });
    drop(log);
    assert_eq!(verify_all(folder.path()).unwrap().events, 3);
    assert!(open(options(folder.path()), None, &ManualClock::new()).notes.is_empty());
}

#[test]
fn a_closed_log_does_not_promise_a_sync() {
    for (sync, recorded) in
        [(SyncPolicy::Always, Err(AuditError::Unavailable)), (SyncPolicy::Every(Duration::from_millis(1)), Ok(()))]
    {
        let folder = scratch();
        let log = open(AuditOptions { sync, ..options(folder.path()) }, None, &ManualClock::new()).log;
        runtime().block_on(async {
            log.close().await;
            let late = tokio::time::timeout(Duration::from_secs(10), try_record(&log));
            assert_eq!(late.await.expect("the log never answers"), recorded);
        });
        assert_eq!(operations(folder.path()), ["segment.opened", "rehydrate"]);
    }
}

#[test]
fn is_running_until_closed_and_waits_for_the_disk() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    assert!(log.is_running());
    // A full disk is not a hung disk.
    faults(&log).limit_writes(0);
    runtime().block_on(async { assert!(try_record(&log).await.is_err()) });
    assert!(log.is_running());
    faults(&log).clear();

    thread::scope(|scope| {
        let (sender, running) = mpsc::channel();
        let writing = log.state.flusher.output();
        let log = &log;
        scope.spawn(move || sender.send(log.is_running()).unwrap());
        assert!(running.recv_timeout(Duration::from_millis(20)).is_err(), "a write is in progress");
        drop(writing);
        assert!(running.recv().unwrap());
    });
    runtime().block_on(log.close());
    assert!(!log.is_running());
}
