//! Closed segments are compressed on a thread of their own, and removed after their retention.

use std::{fs, path::Path, time::Duration};

use super::super::{maintenance, segment, test_support::*};

/// Returns which segments of a log are compressed.
fn compressed(directory: &Path) -> Vec<bool> {
    segment::list(directory).unwrap().segments.iter().map(|segment| segment.compressed).collect()
}

#[test]
fn compresses_a_segment_after_it_is_closed() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = open(options(folder.path()), None, &clock).log;
    runtime().block_on(record(&log, 3));
    clock.advance(Duration::from_secs(24 * 60 * 60));
    // The flush thread wakes up for the event, and then rotates.
    runtime().block_on(record(&log, 1));
    wait_until(|| compressed(folder.path()) == [true, false]);
    runtime().block_on(log.close());
    assert_eq!(verify_all(folder.path()).unwrap().segments, 2);
}

#[test]
fn compresses_at_the_start_what_a_crash_interrupted() {
    let interrupted: [fn(&Path, &segment::Segment, &[u8]); 4] = [
        // Before the compression.
        |_, _, _| (),
        // While the compressed file was written.
        |directory, segment, whole| {
            let unfinished = directory.join(format!("{}.jsonl.zst.new", segment.name));
            fs::write(unfinished, &whole[..whole.len() / 2]).unwrap();
        },
        // Before the original was removed.
        |directory, segment, whole| fs::write(segment.name.compressed(directory), whole).unwrap(),
        // A damaged compressed file.
        |directory, segment, whole| fs::write(segment.name.compressed(directory), &whole[..whole.len() / 2]).unwrap(),
    ];
    for (case, leave) in interrupted.into_iter().enumerate() {
        let (folder, clock) = (scratch(), ManualClock::new());
        let head = three_segments(folder.path(), &clock);
        let closed = segment::list(folder.path()).unwrap().segments.remove(1);
        assert!(!closed.compressed);
        let text = fs::read(&closed.path).unwrap();
        leave(folder.path(), &closed, &zstd::encode_all(&*text, 1).unwrap());
        let log = open(options(folder.path()), Some(head), &clock).log;
        wait_until(|| compressed(folder.path()) == [true, true, false] && !closed.path.exists());
        runtime().block_on(log.close());
        assert_eq!(zstd::decode_all(&*fs::read(closed.name.compressed(folder.path())).unwrap()).unwrap(), text);
        let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_none_or(|extension| extension != "rollup"));
        assert_eq!(files.count(), 3, "case {case}: nothing else is left");
        verify_all(folder.path()).unwrap();
    }
}

#[test]
fn keeps_the_original_when_a_compression_fails_and_tries_again_after_the_next_segment() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = open(options(folder.path()), None, &clock).log;
    runtime().block_on(record(&log, 3));
    let first = segment::list(folder.path()).unwrap().segments.remove(0);
    // A directory in place of the temporary file makes the compression fail.
    let obstacle = folder.path().join(format!("{}.jsonl.zst.new", first.name));
    fs::create_dir(&obstacle).unwrap();
    clock.advance(Duration::from_secs(24 * 60 * 60));
    runtime().block_on(record(&log, 1));
    wait_until(|| compressed(folder.path()).len() == 2);
    assert!(maintenance::compress_closed(&log.state).is_err());
    assert_eq!(log.health(), Ok(()), "events are recorded all the same");
    assert_eq!(compressed(folder.path()), [false, false]);
    fs::remove_dir(&obstacle).unwrap();
    clock.advance(Duration::from_secs(24 * 60 * 60));
    runtime().block_on(record(&log, 1));
    wait_until(|| compressed(folder.path()) == [true, true, false]);
    runtime().block_on(log.close());
    verify_all(folder.path()).unwrap();
}

#[test]
fn closing_leaves_uncompressed_segments_to_the_next_start() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = open(options(folder.path()), None, &clock).log;
    runtime().block_on(async {
        record(&log, 3).await;
        log.close().await;
    });
    // The threads have ended, so this segment is not compressed.
    next_day(&log, &clock);
    maintenance::compress_closed(&log.state).unwrap();
    assert_eq!(compressed(folder.path()), [false, false]);
    drop(log);
    let log = open(options(folder.path()), None, &clock).log;
    wait_until(|| compressed(folder.path()) == [true, false]);
    runtime().block_on(log.close());
    verify_all(folder.path()).unwrap();
}

#[test]
fn removes_expired_segments_and_the_rest_verifies() {
    let folder = scratch();
    let clock = ManualClock::new();
    three_segments(folder.path(), &clock);
    let names = files(folder.path());
    let with_retention = |days| {
        let mut options = options(folder.path());
        options.retention_days = days;
        options
    };
    // The first segment ended exactly a day ago, which is not more than a day.
    let log = open(with_retention(1), None, &clock).log;
    runtime().block_on(log.close());
    drop(log);
    assert!(files(folder.path())[0] == names[0]);
    clock.advance(Duration::from_secs(1));
    let log = open(with_retention(1), None, &clock).log;
    runtime().block_on(log.close());
    drop(log);
    assert!(!names[0].exists());
    let found = verify_all(folder.path()).unwrap();
    assert_eq!(found.removed_before.unwrap().sequence, 6);
    assert!(operations(folder.path()).contains(&"segment.removed".to_owned()));
    // A removal without an event is found.
    let second = files(folder.path()).remove(0);
    fs::remove_file(&second).unwrap();
    assert!(verify_all(folder.path()).is_err());
}
