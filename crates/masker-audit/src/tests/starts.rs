//! Opening an existing log.

use std::{fs, io::Write as _, path::Path};

use super::super::{AuditOpenError, AuditOptions, ChainHead, LineError, LogSource, test_support::*, torn_tail, verify};

/// Opens a log and closes it again. Returns the notes, and whether it is healthy.
fn start(options: AuditOptions, anchor: Option<ChainHead>) -> (Vec<String>, bool) {
    let opened = open(options, anchor, &ManualClock::new());
    let healthy = opened.log.health().is_ok();
    runtime().block_on(opened.log.close());
    (opened.notes, healthy)
}

/// Creates a log of one segment with a few events. Returns its text and head.
fn small_log(directory: &Path) -> (Vec<u8>, ChainHead) {
    let log = open(options(directory), None, &ManualClock::new()).log;
    runtime().block_on(record(&log, 3));
    let head = log.durable_head();
    drop(log);
    (fs::read(&files(directory)[0]).unwrap(), head)
}

/// Returns the text of a segment, compressed or not.
fn text_of(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "zst") {
        zstd::decode_all(&*bytes).unwrap()
    } else {
        bytes
    }
}

#[test]
fn continues_an_existing_log() {
    let folder = scratch();
    let (text, head) = small_log(folder.path());
    assert_eq!(start(options(folder.path()), Some(head)), (vec![], true));
    assert_eq!(fs::read(&files(folder.path())[0]).unwrap(), text, "opening a sound log writes nothing");
    let log = open(options(folder.path()), Some(head), &ManualClock::new()).log;
    runtime().block_on(record(&log, 1));
    drop(log);
    assert_eq!(verify_all(folder.path()).unwrap().events, 5);
}

#[test]
fn rejects_a_second_process() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    let second = super::super::AuditLog::open(options(folder.path()), None, None, ManualClock::new().clock());
    assert!(matches!(second.map(drop), Err(AuditOpenError::Locked { .. })));
    drop(log);
    start(options(folder.path()), None);
}

#[test]
fn removes_a_torn_last_line_at_every_byte_and_reports_it() {
    let folder = scratch();
    let (text, _) = small_log(folder.path());
    let path = files(folder.path()).remove(0);
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let whole = lines[..2].concat().len();
    for length in whole..lines[..3].concat().len() {
        fs::write(&path, &text[..length]).unwrap();
        let torn = torn_tail(folder.path(), &key()).unwrap().map(|torn| (torn.line, torn.bytes));
        assert_eq!(torn, (length > whole).then_some((3, (length - whole) as u64)));
        assert!(fs::read(&path).unwrap() == text[..length], "looking changes nothing");
        let (notes, healthy) = start(options(folder.path()), None);
        assert!(healthy);
        let mut expected = vec!["segment.opened", "tokenize"];
        if length > whole {
            expected.push("line.cut");
            assert!(notes[0].contains(&format!("of {} bytes", length - whole)), "{notes:?}");
        }
        assert_eq!(operations(folder.path()), expected, "{length}");
        verify_all(folder.path()).unwrap();
    }
}

#[test]
fn removes_what_a_power_cut_leaves_at_the_end() {
    for tail in [&b"\0\0\0\0"[..], b"{\"event\":", b"garbage\n", b"\0\0\0\n", b"\n", b"\xFF"] {
        let folder = scratch();
        small_log(folder.path());
        assert_eq!(torn_tail(folder.path(), &key()).unwrap(), None);
        fs::OpenOptions::new().append(true).open(&files(folder.path())[0]).unwrap().write_all(tail).unwrap();
        assert_eq!(torn_tail(folder.path(), &key()).unwrap().unwrap().bytes, tail.len() as u64);
        let (notes, healthy) = start(options(folder.path()), None);
        assert!(healthy && notes.len() == 1, "{notes:?}");
        assert_eq!(verify_all(folder.path()).unwrap().events, 5);
    }
}

#[test]
fn ignores_a_segment_without_a_first_line() {
    for header in [0, 1, 50] {
        let folder = scratch();
        let clock = ManualClock::new();
        let head = three_segments(folder.path(), &clock);
        let last = files(folder.path()).remove(2);
        let text = fs::read(&last).unwrap();
        fs::write(&last, &text[..header]).unwrap();
        let torn = torn_tail(folder.path(), &key()).unwrap().map(|torn| torn.bytes);
        assert_eq!(torn, (header > 0).then_some(header as u64));
        // Its events were never durable, so the anchor is before it.
        let anchor = verify(&LogSource::Files(files(folder.path())[..2].to_vec()), &key(), None).unwrap().head;
        let opened = open(options(folder.path()), Some(anchor), &clock);
        assert!(opened.log.health().is_ok());
        runtime().block_on(record(&opened.log, 1));
        drop(opened);
        let found = verify_all(folder.path()).unwrap();
        assert_eq!(found.segments, 3);
        assert!(found.head.sequence < head.sequence);
        // If the anchor is in it, its loss is found.
        let (notes, healthy) = start(options(folder.path()), Some(head));
        assert!(!healthy && notes[0].contains("cut"), "{notes:?}");
    }
}

#[test]
fn leaves_a_broken_chain_unchanged_and_reports_it_until_accepted() {
    let folder = scratch();
    let (mut text, head) = small_log(folder.path());
    let path = files(folder.path()).remove(0);
    let at = text.len() - 300;
    text[at] ^= 1;
    fs::write(&path, &text).unwrap();
    let (_, line, _) = failing(folder.path(), None);
    assert_eq!(torn_tail(folder.path(), &key()).unwrap(), None, "a changed line is not a torn one");
    for round in 0..2 {
        let (notes, healthy) = start(options(folder.path()), Some(head));
        assert!(!healthy, "{round}");
        assert_eq!(notes.len(), 1 - round, "{notes:?}");
    }
    assert_eq!(text_of(&files(folder.path())[0]), text, "the broken lines stay as evidence");
    assert_eq!(failing(folder.path(), None).1, line);
    let after = files(folder.path()).split_off(1);
    let operations = operations(folder.path());
    assert_eq!(operations.iter().filter(|op| *op == "chain.broken").count(), 1);
    // The next segment records it too.
    let clock = ManualClock::new();
    let log = open(options(folder.path()), None, &clock).log;
    next_day(&log, &clock);
    assert!(log.health().is_err());
    drop(log);
    assert!(!start(options(folder.path()), None).1);

    let mut accepting = options(folder.path());
    accepting.accept_break = true;
    let (notes, healthy) = start(accepting, Some(head));
    assert!(healthy && notes.len() == 1);
    assert_eq!(start(options(folder.path()), Some(head)), (vec![], true));
    // Maintenance may have compressed it by now.
    let kept = files(folder.path()).remove(0);
    if kept != path {
        fs::remove_file(&kept).unwrap();
        fs::write(&path, &text).unwrap();
    }
    // The broken line is still there and is named, and the later segments verify without it.
    let verified = verify_all(folder.path()).unwrap();
    let [accepted] = verified.accepted_breaks.as_slice() else { panic!("{verified:?}") };
    assert_eq!((&accepted.file, accepted.line), (&path, line));
    assert!(accepted.recorded <= accepted.accepted, "{accepted:?}");
    verify(&LogSource::Files(after), &key(), None).unwrap();
    // What fails at any other place is a new break.
    for at in [20, text.len() / 2, text.len() - 900] {
        let mut other = text.clone();
        other[at] ^= 1;
        fs::write(&path, &other).unwrap();
        assert!(failing(folder.path(), None).1 < line, "{at}");
    }
    fs::write(&path, &text).unwrap();
    let last = files(folder.path()).pop().unwrap();
    let mut later = text_of(&last);
    let at = later.len() - 300;
    later[at] ^= 1;
    fs::write(&last, &later).unwrap();
    assert_eq!(failing(folder.path(), None).0, last);
}

/// Accepts what the last start has found.
fn accept(directory: &Path, anchor: Option<ChainHead>) {
    let accepting = AuditOptions { accept_break: true, ..options(directory) };
    assert!(start(accepting, anchor).1);
}

#[test]
fn an_accepted_break_between_segments_is_passed_over_and_a_new_gap_is_not() {
    // The end of the last segment is cut off.
    let folder = scratch();
    let (text, head) = small_log(folder.path());
    let path = files(folder.path()).remove(0);
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(&path, lines[..3].concat()).unwrap();
    assert!(!start(options(folder.path()), Some(head)).1);
    assert!(verify_all(folder.path()).is_err());
    accept(folder.path(), None);
    let clock = ManualClock::new();
    let log = open(options(folder.path()), None, &clock).log;
    next_day(&log, &clock);
    drop(log);
    let verified = verify_all(folder.path()).unwrap();
    assert_eq!(verified.accepted_breaks.len(), 1, "{verified:?}");
    // One more line is missing.
    fs::write(&path, lines[..2].concat()).unwrap();
    assert!(verify_all(folder.path()).is_err());
    fs::write(&path, lines[..3].concat()).unwrap();
    // The segment that recorded the break is missing, under its own name or that of the next one.
    let later = files(folder.path());
    fs::remove_file(&later[1]).unwrap();
    assert!(verify_all(folder.path()).is_err());
    fs::rename(&later[2], &later[1]).unwrap();
    assert!(verify_all(folder.path()).is_err());

    // The whole log is gone.
    let folder = scratch();
    let (_, head) = small_log(folder.path());
    fs::remove_file(&files(folder.path())[0]).unwrap();
    assert!(!start(options(folder.path()), Some(head)).1);
    accept(folder.path(), None);
    let verified = verify_all(folder.path()).unwrap();
    assert_eq!(verified.accepted_breaks[0].why, LineError::Beheaded { before: head.sequence });
}

#[test]
fn a_segment_is_missing_after_an_accepted_break() {
    let folder = scratch();
    let clock = ManualClock::new();
    three_segments(folder.path(), &clock);
    let paths = files(folder.path());
    let mut text = fs::read(&paths[0]).unwrap();
    text[0] ^= 1;
    fs::write(&paths[0], text).unwrap();
    let anchor = ChainHead { sequence: 5, hash: [7; 32] };
    assert!(!start(options(folder.path()), Some(anchor)).1);
    accept(folder.path(), None);
    let verified = verify_all(folder.path()).unwrap();
    assert_eq!((verified.accepted_breaks.len(), verified.segments), (1, 3), "{verified:?}");
    // Their names can have changed with their compression.
    let paths = files(folder.path());
    fs::remove_file(&paths[1]).unwrap();
    assert!(verify_all(folder.path()).is_err());
    fs::rename(&paths[2], &paths[1]).unwrap();
    assert!(verify_all(folder.path()).is_err());
}

#[test]
fn accepting_a_break_without_a_break_writes_nothing() {
    let folder = scratch();
    let (text, _) = small_log(folder.path());
    let mut accepting = options(folder.path());
    accepting.accept_break = true;
    assert_eq!(start(accepting, None), (vec![], true));
    assert_eq!(fs::read(&files(folder.path())[0]).unwrap(), text);
}

#[test]
fn finds_a_tail_that_was_cut_before_the_anchor() {
    let folder = scratch();
    let (text, head) = small_log(folder.path());
    let path = files(folder.path()).remove(0);
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for kept in 0..lines.len() {
        for file in files(folder.path()) {
            fs::remove_file(file).unwrap();
        }
        fs::write(&path, lines[..kept].concat()).unwrap();
        let (notes, healthy) = start(options(folder.path()), Some(head));
        assert!(!healthy && notes[0].contains("cut"), "{kept}: {notes:?}");
        // Later events have new numbers.
        let after = files(folder.path()).pop().unwrap();
        let found = verify(&LogSource::Files(vec![after]), &key(), None).unwrap();
        assert_eq!(found.removed_before, Some(head), "{kept}");
    }
}

#[test]
fn finds_the_anchor_in_any_segment() {
    let folder = scratch();
    let clock = ManualClock::new();
    three_segments(folder.path(), &clock);
    let mut heads = vec![ChainHead::GENESIS];
    for path in files(folder.path()) {
        let text = text_of(&path);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let hash = std::str::from_utf8(&line[line.len() - 66..line.len() - 2]).unwrap();
            heads.push(ChainHead { sequence: heads.len() as u64, hash: super::super::parse_hash(hash).unwrap() });
        }
    }
    assert_eq!(heads.len(), 18);
    for head in &heads {
        assert_eq!(start(options(folder.path()), Some(*head)), (vec![], true), "{}", head.sequence);
    }
    for head in &heads[1..] {
        let copy = scratch();
        for path in files(folder.path()) {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let other = ChainHead { hash: [7; 32], ..*head };
        let (notes, healthy) = start(options(copy.path()), Some(other));
        assert!(!healthy && notes[0].contains("another event"), "{}: {notes:?}", head.sequence);
    }
}

#[test]
fn reports_a_missing_log() {
    let folder = scratch();
    let (_, head) = small_log(folder.path());
    fs::remove_file(&files(folder.path())[0]).unwrap();
    let (_, healthy) = start(options(folder.path()), Some(head));
    assert!(!healthy);
    assert_eq!(failing(folder.path(), None).2, LineError::Beheaded { before: head.sequence });
}

#[test]
fn reports_nothing_above_a_known_break() {
    let folder = scratch();
    let clock = ManualClock::new();
    let two_days = |log: super::super::AuditLog| {
        runtime().block_on(async {
            record(&log, 3).await;
            next_day(&log, &clock);
            record(&log, 3).await;
            log.close().await;
        });
    };
    two_days(open(options(folder.path()), None, &clock).log);
    let second = files(folder.path()).remove(1);
    let mut text = fs::read(&second).unwrap();
    let middle = text.len() / 2;
    text[middle] ^= 1;
    fs::write(&second, text).unwrap();
    let accepting = || AuditOptions { accept_break: true, ..options(folder.path()) };
    let opened = open(accepting(), None, &clock);
    assert!(opened.notes[0].contains("chain is broken"), "{:?}", opened.notes);
    let close = |log: super::super::AuditLog| runtime().block_on(log.close());
    close(opened.log);
    // What a start has found itself is not accepted by it.
    let opened = open(options(folder.path()), None, &clock);
    assert!(opened.log.health().is_err());
    close(opened.log);
    two_days(open(accepting(), None, &clock).log);
    assert_eq!(files(folder.path()).len(), 4);
    // An event of the first day, two segments above the known break.
    let anchor = ChainHead { sequence: 2, hash: [7; 32] };
    assert_eq!(start(options(folder.path()), Some(anchor)), (vec![], true));
}
