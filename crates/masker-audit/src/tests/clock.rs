//! A clock that is wrong once, or a daemon that was off for long.

use std::{fs, path::Path, time::Duration};

use super::super::{AuditOptions, maintenance, segment, test_support::*};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn short_retention(directory: &Path) -> AuditOptions {
    AuditOptions { retention_days: 40, ..options(directory) }
}

/// Starts and stops a log, with one event. Returns whether its clock was trusted.
fn run(options: AuditOptions, clock: &ManualClock) -> bool {
    let log = open(options, None, clock).log;
    let trusted = log.clock_is_trusted();
    runtime().block_on(async {
        record(&log, 1).await;
        // This waits for the thread that removes segments.
        log.close().await;
    });
    trusted
}

fn count(directory: &Path, op: &str) -> usize {
    operations(directory).iter().filter(|found| *found == op).count()
}

#[test]
fn a_start_far_past_the_last_event_deletes_nothing_until_the_clock_is_accepted() {
    let (folder, clock) = (scratch(), ManualClock::new());
    three_segments(folder.path(), &clock);
    let names: Vec<_> = segment::list(folder.path()).unwrap().segments.iter().map(|segment| segment.name).collect();
    let exist = || segment::list(folder.path()).unwrap().segments.iter().filter(|s| names.contains(&s.name)).count();

    clock.advance(20 * 365 * DAY);
    for starts in 1..=3 {
        assert!(!run(short_retention(folder.path()), &clock), "also not by an event with the wrong time");
        assert_eq!((exist(), count(folder.path(), "clock.jumped")), (3, starts));
        clock.advance(DAY);
    }
    // Set right again, the clock is trusted without further ado.
    clock.go_back(20 * 365 * DAY);
    assert!(run(short_retention(folder.path()), &clock));
    assert_eq!((exist(), count(folder.path(), "clock.jumped")), (3, 3));

    // A daemon that was off for longer asks too.
    clock.advance(32 * DAY);
    assert!(!run(short_retention(folder.path()), &clock));
    clock.advance(DAY);
    assert!(verify_all(folder.path()).unwrap().clock_jump.is_some());
    let accepting = AuditOptions { accept_clock: true, ..short_retention(folder.path()) };
    assert!(run(accepting, &clock));
    assert_eq!(count(folder.path(), "clock.accepted"), 1);
    clock.advance(30 * DAY);
    assert!(run(short_retention(folder.path()), &clock));
    assert_eq!(exist(), 0, "their retention is over");
    assert!(verify_all(folder.path()).unwrap().clock_jump.is_none(), "it was accepted");
}

#[test]
fn a_jump_while_the_log_runs_is_recorded_and_deletes_nothing() {
    let (folder, clock) = (scratch(), ManualClock::new());
    three_segments(folder.path(), &clock);
    let log = open(short_retention(folder.path()), None, &clock).log;
    runtime().block_on(async {
        record(&log, 1).await;
        clock.advance(100 * DAY);
        for _ in 0..3 {
            record(&log, 1).await;
            log.state.flusher.rotate();
            maintenance::run(&log.state);
            clock.advance(DAY);
        }
        assert!(!log.clock_is_trusted());
        assert_eq!(count(folder.path(), "clock.jumped"), 1);
        assert_eq!(count(folder.path(), "segment.removed"), 0);
    });
}

#[test]
fn daily_segments_end_after_a_clock_that_was_ahead() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = open(short_retention(folder.path()), None, &clock).log;
    let segments = || files(folder.path()).len();
    runtime().block_on(async {
        record(&log, 1).await;
        clock.advance(100 * DAY);
        record(&log, 1).await;
        log.state.flusher.rotate();
        clock.go_back(100 * DAY);
        record(&log, 1).await;
        log.state.flusher.rotate();
        let before = segments();
        for days in 1..=3 {
            next_day(&log, &clock);
            assert_eq!(segments(), before + days, "each day ends one");
            record(&log, 1).await;
        }
        // A step back over midnight ends none.
        clock.go_back(DAY);
        log.state.flusher.rotate();
        assert_eq!(segments(), before + 3);
        log.close().await;
    });
    drop(log);

    // Retention is counted from when segments really ended, and not from their names.
    let newest = segment::list(folder.path()).unwrap().segments.pop().unwrap().name;
    for _ in 0..10 {
        clock.advance(5 * DAY);
        run(short_retention(folder.path()), &clock);
    }
    let left = segment::list(folder.path()).unwrap().segments;
    assert!(left[0].name.number >= newest.number, "{left:?}");
    assert!(fs::read_dir(folder.path()).unwrap().count() > 5);
    verify_all(folder.path()).unwrap();
}
