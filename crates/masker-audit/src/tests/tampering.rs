//! Verification finds every kind of tampering, and names the line.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use super::super::{
    AuditOptions, ChainHead, ExpectedHead, LineError, LogSource, VerifyError, chain, condition, test_support::*, verify,
};
use masker_core::crypto::{ChainKey, SecretKey};

/// Creates a log of one segment. Returns its lines with their line ends, and its head.
fn small_log(directory: &Path) -> (Vec<Vec<u8>>, ChainHead) {
    let log = open(options(directory), None, &ManualClock::new()).log;
    runtime().block_on(record(&log, 5));
    let head = log.durable_head();
    drop(log);
    let text = fs::read(&files(directory)[0]).unwrap();
    (text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect(), head)
}

fn one_segment() -> (tempfile::TempDir, Vec<Vec<u8>>, ChainHead) {
    let folder = scratch();
    let (lines, head) = small_log(folder.path());
    (folder, lines, head)
}

/// Replaces the log's lines. Returns the line that does not verify, and why.
fn verdict(directory: &Path, lines: &[Vec<u8>], expected: Option<ChainHead>) -> (u64, LineError) {
    fs::write(&files(directory)[0], lines.concat()).unwrap();
    let (_, line, why) = failing(directory, expected);
    (line, why)
}

#[test]
fn verifies_an_unchanged_log() {
    let folder = scratch();
    let head = three_segments(folder.path(), &ManualClock::new());
    let expected = ExpectedHead::from(head);
    let found = verify(&LogSource::Directory(folder.path().into()), &key(), Some(&expected)).unwrap();
    // Four events and an opening line in each segment, and a closing line in each but the last.
    assert_eq!((found.events, found.segments, found.head), (17, 3, head));
    assert_eq!((&*found.first, &*found.last), ("2026-03-01T12:00:00.000Z", "2026-03-03T12:00:00.000Z"));
    assert_eq!(found.removed_before, None);
    // An earlier head is accepted, too.
    let first = ExpectedHead { sequence: None, hash: found.first_hash };
    verify(&LogSource::Directory(folder.path().into()), &key(), Some(&first)).unwrap();
}

#[test]
fn rejects_another_key() {
    let (folder, ..) = one_segment();
    let other = ChainKey::new(&SecretKey::generate(&mut rand::rng()).unwrap()).unwrap();
    let Err(VerifyError::Failing(failing)) = verify(&LogSource::Directory(folder.path().into()), &other, None) else {
        panic!("verified with another key")
    };
    assert_eq!((failing.line, failing.why), (1, LineError::OtherKey));
    assert!(failing.to_string().contains("not the key that wrote them"), "{failing}");
}

/// A segment that another key wrote, after one that this key wrote, does not make this the wrong key.
#[test]
fn tells_a_replaced_segment_from_another_key() {
    let (folder, clock) = (scratch(), ManualClock::new());
    three_segments(folder.path(), &clock);
    let path = files(folder.path()).pop().unwrap();
    let mut replaced = fs::read(&path).unwrap();
    for line in replaced.split_inclusive_mut(|byte| *byte == b'\n') {
        let end = line.len() - r#""}"#.len() - 1;
        line[end - 64..end].fill(b'0');
    }
    fs::write(&path, replaced).unwrap();
    assert_eq!(failing(folder.path(), None), (path, 1, LineError::OtherKeyHere));
    let notes = open(options(folder.path()), None, &clock).notes;
    assert!(notes.iter().any(|note| note.contains("every line of this segment")), "{notes:?}");
}

/// A first line that was changed, or its hash, is not taken for a wrong key.
#[test]
fn tells_a_changed_first_line_from_another_key() {
    let (folder, lines, _) = one_segment();
    let path = files(folder.path()).remove(0);
    let (field, hash) = (lines[0].len() / 2, lines[0].len() - 10);
    // Another digit, so that the line keeps its form.
    let digit = if lines[0][hash] == b'0' { b'1' } else { b'0' };
    for (at, byte) in [(field, lines[0][field] ^ 1), (hash, digit)] {
        let mut text = lines.concat();
        text[at] = byte;
        fs::write(&path, &text).unwrap();
        let (_, line, why) = failing(folder.path(), None);
        assert_eq!((line, why), (1, LineError::Changed), "byte {at}");
    }
}

#[test]
fn finds_every_changed_byte_and_names_its_line() {
    let (folder, lines, _) = one_segment();
    let path = files(folder.path()).remove(0);
    let whole = lines.concat();
    let mut line = 1;
    for at in 0..whole.len() {
        for mask in [0x01, 0x02, 0x20, 0x80] {
            let mut text = whole.clone();
            text[at] ^= mask;
            fs::write(&path, &text).unwrap();
            let (_, found, why) = failing(folder.path(), None);
            assert_eq!(found, line, "byte {at}, mask {mask}: {why}");
        }
        line += u64::from(whole[at] == b'\n');
    }
}

#[test]
fn finds_every_truncation_with_the_head_and_all_but_those_at_line_ends_without() {
    let (folder, lines, head) = one_segment();
    let path = files(folder.path()).remove(0);
    let whole = lines.concat();
    for length in 1..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let ends = whole[..length].iter().filter(|byte| **byte == b'\n').count() as u64;
        if whole[length - 1] == b'\n' {
            assert_eq!(verify_all(folder.path()).unwrap().events, ends);
            assert_eq!(failing(folder.path(), Some(head)), (path.clone(), ends, LineError::Cut));
        } else {
            assert_eq!(failing(folder.path(), None), (path.clone(), ends + 1, LineError::Torn));
        }
    }
}

#[test]
fn finds_removed_lines() {
    let (folder, lines, head) = one_segment();
    for index in 0..lines.len() - 1 {
        let mut without = lines.clone();
        without.remove(index);
        let (line, why) = verdict(folder.path(), &without, None);
        let expected = index as u64 + 1;
        let reason =
            if index == 0 { LineError::Headless } else { LineError::Missing { expected, found: expected + 1 } };
        assert_eq!((line, why), (expected, reason));
        assert_eq!(why.as_str(), "missing");
    }
    let without_last = &lines[..lines.len() - 1];
    let (line, why) = verdict(folder.path(), without_last, Some(head));
    assert_eq!((line, why), (without_last.len() as u64, LineError::Cut));
}

#[test]
fn finds_swapped_and_repeated_lines() {
    let (folder, lines, _) = one_segment();
    for index in 1..lines.len() - 1 {
        let mut swapped = lines.clone();
        swapped.swap(index, index + 1);
        let expected = index as u64 + 1;
        let why = LineError::Reordered { expected, found: expected + 1 };
        assert_eq!(verdict(folder.path(), &swapped, None), (expected, why));
    }
    for index in 0..lines.len() {
        let mut repeated = lines.clone();
        repeated.insert(index + 1, lines[index].clone());
        let found = index as u64 + 1;
        let why = LineError::Reordered { expected: found + 1, found };
        assert_eq!(verdict(folder.path(), &repeated, None), (found + 1, why));
    }
}

#[test]
fn finds_lines_that_were_forged_without_the_key() {
    let (folder, lines, _) = one_segment();
    let other = ChainKey::new(&SecretKey::generate(&mut rand::rng()).unwrap()).unwrap();
    for index in 1..=lines.len() {
        let sequence = index as u64 + 1;
        let mut forged = Vec::new();
        let start = chain::begin_line(&mut forged);
        forged.extend_from_slice(
            format!(r#"{{"op":"forget","outcome":"ok","seq":{sequence},"time":"2026-03-01T12:00:00.000Z","v":1}}"#)
                .as_bytes(),
        );
        chain::seal(&mut forged, start, &other, &ChainHead { sequence: sequence - 1, hash: [0; 32] });
        let mut inserted = lines.clone();
        inserted.insert(index, forged.clone());
        assert_eq!(verdict(folder.path(), &inserted, None), (sequence, LineError::Changed));
        if index < lines.len() {
            let mut replaced = lines.clone();
            replaced[index] = forged;
            assert_eq!(verdict(folder.path(), &replaced, None), (sequence, LineError::Changed));
        }
    }
}

#[test]
fn finds_a_changed_number() {
    let (folder, lines, _) = one_segment();
    let text = String::from_utf8(lines[2].clone()).unwrap();
    for number in ["1", "77"] {
        let mut changed = lines.clone();
        changed[2] = text.replace("\"seq\":3", &format!("\"seq\":{number}")).into_bytes();
        assert_eq!(verdict(folder.path(), &changed, None), (3, LineError::Changed));
    }
}

#[test]
fn finds_missing_and_exchanged_segments() {
    let scene = || {
        let folder = scratch();
        let head = three_segments(folder.path(), &ManualClock::new());
        let files = files(folder.path());
        (folder, files, head)
    };
    let (folder, files, _) = scene();
    fs::remove_file(&files[0]).unwrap();
    assert_eq!(failing(folder.path(), None), (files[1].clone(), 1, LineError::Beheaded { before: 6 }));

    let (folder, files, _) = scene();
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(failing(folder.path(), None), (files[2].clone(), 1, LineError::Missing { expected: 7, found: 13 }));

    let (folder, files, head) = scene();
    fs::remove_file(&files[2]).unwrap();
    verify_all(folder.path()).unwrap();
    assert_eq!(failing(folder.path(), Some(head)), (files[1].clone(), 6, LineError::Cut));

    // Two files with exchanged names.
    let (folder, files, _) = scene();
    let text = fs::read(&files[1]).unwrap();
    fs::rename(&files[2], &files[1]).unwrap();
    fs::write(&files[2], text).unwrap();
    assert_eq!(failing(folder.path(), None), (files[1].clone(), 1, LineError::Reordered { expected: 7, found: 13 }));

    // A copy of an earlier segment in place of the last one.
    let (folder, files, _) = scene();
    fs::copy(&files[1], &files[2]).unwrap();
    assert_eq!(failing(folder.path(), None), (files[2].clone(), 1, LineError::Reordered { expected: 13, found: 7 }));

    // Files in any order, from any segment on.
    let (_folder, files, head) = scene();
    let found = verify(&LogSource::Files(vec![files[2].clone(), files[1].clone()]), &key(), None).unwrap();
    assert_eq!((found.segments, found.events, found.head), (2, 11, head));
    assert_eq!(found.removed_before.unwrap().sequence, 6);
}

#[test]
fn finds_every_changed_byte_of_a_compressed_segment_that_changes_its_text() {
    let folder = scratch();
    three_segments(folder.path(), &ManualClock::new());
    let path = files(folder.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let text = zstd::decode_all(&*whole).unwrap();
    for at in 0..whole.len() {
        for mask in [0x01, 0x10, 0x80] {
            let mut changed = whole.clone();
            changed[at] ^= mask;
            fs::write(&path, &changed).unwrap();
            let same = zstd::decode_all(File::open(&path).unwrap()).is_ok_and(|found| found == text);
            assert_eq!(verify_all(folder.path()).is_ok(), same, "byte {at}, mask {mask}");
        }
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(verify_all(folder.path()).is_err(), "{length} bytes");
    }
}

#[test]
fn the_largest_number_of_an_unverified_line_is_no_overflow() {
    let folder = scratch();
    let file = folder.path().join("renamed.jsonl");
    let zeros = "0".repeat(64);
    // The lines are forged: their hashes match no key.
    let opening = |previous: u64| {
        format!(
            "{{\"event\":{{\"detail\":{{\"previous\":\"{previous}:{zeros}\",\"segment\":1,\"unresolved_break\":false}},\
             \"op\":\"segment.opened\",\"seq\":1,\"time\":\"t\"}},\"hash\":\"{zeros}\"}}\n"
        )
    };
    let why = |previous: u64| {
        fs::write(&file, opening(previous).repeat(2)).unwrap();
        match verify(&LogSource::Files(vec![file.clone()]), &key(), None) {
            Err(VerifyError::Failing(invalid)) => invalid.why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(why(u64::MAX), LineError::Malformed);
    assert_eq!(why(u64::MAX - 1), LineError::Reordered { expected: u64::MAX, found: 1 });
}

/// Opening a pipe waits for a writer, which never comes.
#[test]
fn a_pipe_or_a_directory_in_the_place_of_a_segment_is_a_break_that_can_be_accepted() {
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    for (index, replace) in (0..3).flat_map(|index| [(index, &pipe as &dyn Fn(&Path)), (index, &directory)]) {
        let (folder, clock) = (scratch(), ManualClock::new());
        let head = three_segments(folder.path(), &clock);
        let path = files(folder.path()).swap_remove(index);
        fs::remove_file(&path).unwrap();
        replace(&path);
        assert_eq!(failing(folder.path(), None), (path, 1, LineError::NotRegularFile));
        let events = operations(folder.path());
        assert_eq!(events.iter().filter(|op| *op == "tokenize").count(), 8, "segment {index}");
        if index < 2 {
            continue;
        }
        // The last segment: the log continues in a new one.
        let found = condition(folder.path(), &secret()).unwrap();
        assert_eq!(found.broken, None, "no start has recorded it yet");
        let log = open(options(folder.path()), Some(head), &clock).log;
        assert!(log.health().is_err());
        drop(log);
        assert!(condition(folder.path(), &secret()).unwrap().broken.is_some());
        let accepting = AuditOptions { accept_break: true, ..options(folder.path()) };
        let log = open(accepting, Some(head), &clock).log;
        assert_eq!(log.health(), Ok(()));
        drop(log);
        assert_eq!(verify_all(folder.path()).unwrap().accepted_breaks.len(), 1);
    }
}
