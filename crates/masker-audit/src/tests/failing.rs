//! Disks that are full or broken: the chain stays whole, nobody is told what is not so, and it is over when it is over.

use std::{
    fs,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::super::{
    AuditError, AuditEvent, AuditLog, AuditOperation, EventQuery, OnFailure, chain::claimed_sequence,
    file::InjectedFaults, read, state::lock, test_support::*,
};

fn faults(log: &AuditLog) -> Arc<InjectedFaults> {
    lock(&log.shared.writer).faults.clone()
}

async fn try_record(log: &AuditLog) -> Result<(), AuditError> {
    log.record(&AuditEvent::new(AuditOperation::Rehydrate, "ok")).await
}

/// How many events the log says were lost, at each time that it went on.
fn lost(directory: &std::path::Path) -> Vec<u64> {
    let resumed = EventQuery { op: Some("log.resumed".into()), limit: 100, ..EventQuery::default() };
    let lost = |event: &String| {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        event["detail"]["lost"].as_u64().unwrap()
    };
    read(directory, &resumed).unwrap().events.iter().map(lost).collect()
}

#[test]
fn a_full_disk_refuses_and_is_over_when_there_is_room() {
    for room in [0, 1, 50, 100] {
        let folder = scratch();
        let log = open(options(folder.path()), None, &ManualClock::new()).log;
        let faults = faults(&log);
        runtime().block_on(async {
            record(&log, 2).await;
            let before = fs::read(&files(folder.path())[0]).unwrap();
            faults.limit_writes(room);
            assert_eq!(log.ready(), Ok(()), "nobody knows yet");
            assert_eq!(try_record(&log).await, Err(AuditError::Unavailable));
            assert_eq!(log.ready(), Err(AuditError::Unavailable));
            assert!(log.health().is_err());
            assert_eq!(try_record(&log).await, Err(AuditError::Unavailable));
            log.shared.resume();
            assert!(log.health().is_err(), "there is still no room");
            assert_eq!(fs::read(&files(folder.path())[0]).unwrap(), before, "no part of a line is left");

            faults.end();
            log.shared.resume();
            assert_eq!((log.ready(), log.health()), (Ok(()), Ok(())));
            record(&log, 1).await;
            log.close().await;
        });
        assert_eq!(operations(folder.path()), ["segment.opened", "tokenize", "tokenize", "log.resumed", "tokenize"]);
        assert_eq!(lost(folder.path()), [2]);
        verify_all(folder.path()).unwrap();
    }
}

#[test]
fn a_log_that_is_told_to_go_on_does_and_counts_what_it_loses() {
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
        faults.end();
        log.shared.resume();
        assert!(log.health().is_ok());
        log.close().await;
    });
    assert_eq!(operations(folder.path()), ["segment.opened", "continue.chosen", "log.resumed"]);
    assert_eq!(lost(folder.path()), [5]);
    verify_all(folder.path()).unwrap();
}

#[test]
fn what_a_failed_sync_leaves_in_doubt_is_written_anew() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    let faults = faults(&log);
    runtime().block_on(async {
        record(&log, 2).await;
        let durable = log.durable_head();
        faults.fail_syncs(true);
        assert_eq!(try_record(&log).await, Err(AuditError::Unavailable), "it may be on the disk, and may not");
        assert_eq!(log.durable_head(), durable);
        log.shared.sync();
        assert_eq!(log.durable_head(), durable, "a later sync vouches for nothing");
        log.shared.resume();
        assert!(log.health().is_err());
        // What the disk really has: nothing since the last good sync.
        let path = files(folder.path()).remove(0);
        let text = fs::read(&path).unwrap();
        let kept: Vec<&[u8]> = text
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| claimed_sequence(&line[..line.len() - 1]).unwrap() <= durable.sequence)
            .collect();
        fs::write(&path, kept.concat()).unwrap();
        faults.end();
        log.shared.resume();
        assert!(log.health().is_ok());
        assert!(log.durable_head().sequence > durable.sequence);
        log.close().await;
    });
    assert_eq!(operations(folder.path()), ["segment.opened", "tokenize", "tokenize", "rehydrate", "log.resumed"]);
    verify_all(folder.path()).unwrap();
}

#[test]
fn a_part_of_a_line_that_cannot_be_cut_off_is_cut_off_later() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    let faults = faults(&log);
    runtime().block_on(async {
        record(&log, 1).await;
        faults.limit_writes(20);
        faults.fail_cuts(true);
        assert!(try_record(&log).await.is_err());
        faults.limit_writes(usize::MAX);
        log.shared.resume();
        assert!(log.health().is_err(), "it still cannot be cut off");
        faults.end();
        log.shared.resume();
        record(&log, 1).await;
        log.close().await;
    });
    assert_eq!(operations(folder.path()), ["segment.opened", "tokenize", "log.resumed", "tokenize"]);
    verify_all(folder.path()).unwrap();
}

#[test]
fn a_disk_that_fails_at_any_point_of_a_change_of_segments_breaks_nothing() {
    // Room for no closing line; for that, and for no opening one; and syncs that fail.
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
            faults.end();
            log.shared.resume();
            log.shared.rotate();
            record(&log, 1).await;
            log.close().await;
        });
        let found = verify_all(folder.path()).unwrap();
        assert_eq!(found.segments, 2, "{room}");
        assert_eq!(operations(folder.path()).last().unwrap(), "tokenize");
    }
}

#[test]
fn a_log_that_ends_while_it_fails_is_whole() {
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
fn a_log_is_kept_until_it_is_closed_and_does_not_say_so_while_the_disk_is_waited_for() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    assert!(log.is_running());
    // A full disk is an answer.
    faults(&log).limit_writes(0);
    runtime().block_on(async { assert!(try_record(&log).await.is_err()) });
    assert!(log.is_running());
    faults(&log).end();

    thread::scope(|scope| {
        let (asked, kept) = mpsc::channel();
        let writing = lock(&log.shared.writer);
        let log = &log;
        scope.spawn(move || asked.send(log.is_running()).unwrap());
        assert!(kept.recv_timeout(Duration::from_millis(20)).is_err(), "somebody writes still");
        drop(writing);
        assert!(kept.recv().unwrap());
    });
    runtime().block_on(log.close());
    assert!(!log.is_running());
}
