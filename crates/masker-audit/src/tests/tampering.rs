//! Every kind of tampering is found, and the line is named.

use std::{
    fs::{self, File},
    path::Path,
};

use super::super::{ChainHead, ExpectedHead, LineError, LogSource, VerifyError, chain, test_support::*, verify};
use masker_core::crypto::{ChainKey, SecretKey};

/// A log of one segment; its file's lines with their ends, and where it ends.
fn small_log(directory: &Path) -> (Vec<Vec<u8>>, ChainHead) {
    let log = open(options(directory), None, &ManualClock::new()).log;
    runtime().block_on(record(&log, 5));
    let head = log.durable_head();
    drop(log);
    let text = fs::read(&files(directory)[0]).unwrap();
    (text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect(), head)
}

fn one_log() -> (tempfile::TempDir, Vec<Vec<u8>>, ChainHead) {
    let folder = scratch();
    let (lines, head) = small_log(folder.path());
    (folder, lines, head)
}

/// What verification says of these lines in place of the log's.
fn verdict(directory: &Path, lines: &[Vec<u8>], expected: Option<ChainHead>) -> (u64, LineError) {
    fs::write(&files(directory)[0], lines.concat()).unwrap();
    let (_, line, why) = failing(directory, expected);
    (line, why)
}

#[test]
fn an_untouched_log_verifies() {
    let folder = scratch();
    let head = three_segments(folder.path(), &ManualClock::new());
    let expected = ExpectedHead::from(head);
    let found = verify(&LogSource::Directory(folder.path().into()), &key(), Some(&expected)).unwrap();
    // Four events a segment, one that opens each, and one that closes each but the last.
    assert_eq!((found.events, found.segments, found.head), (17, 3, head));
    assert_eq!((&*found.first, &*found.last), ("2026-03-01T12:00:00.000Z", "2026-03-03T12:00:00.000Z"));
    assert_eq!(found.removed_before, None);
    // A head that it had, and has no more, is as good.
    let first = ExpectedHead { sequence: None, hash: found.first_hash };
    verify(&LogSource::Directory(folder.path().into()), &key(), Some(&first)).unwrap();
}

#[test]
fn another_key_verifies_nothing() {
    let (folder, ..) = one_log();
    let other = ChainKey::new(&SecretKey::generate(&mut rand::rng()).unwrap()).unwrap();
    let Err(VerifyError::Failing(failing)) = verify(&LogSource::Directory(folder.path().into()), &other, None) else {
        panic!("verified with another key")
    };
    assert_eq!((failing.line, failing.why), (1, LineError::Changed));
}

#[test]
fn every_changed_byte_is_found_and_its_line_named() {
    let (folder, lines, _) = one_log();
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
fn every_truncation_is_found_with_the_head_and_all_but_those_at_line_ends_without() {
    let (folder, lines, head) = one_log();
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
fn removed_lines_are_missing() {
    let (folder, lines, head) = one_log();
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
fn swapped_and_repeated_lines_are_reordered() {
    let (folder, lines, _) = one_log();
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
fn lines_made_without_the_key_are_found() {
    let (folder, lines, _) = one_log();
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
fn a_line_with_another_number_in_its_place_is_changed() {
    let (folder, lines, _) = one_log();
    let text = String::from_utf8(lines[2].clone()).unwrap();
    for number in ["1", "77"] {
        let mut changed = lines.clone();
        changed[2] = text.replace("\"seq\":3", &format!("\"seq\":{number}")).into_bytes();
        assert_eq!(verdict(folder.path(), &changed, None), (3, LineError::Changed));
    }
}

#[test]
fn segments_that_are_gone_or_elsewhere_are_found() {
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

    // Two that were given each other's names.
    let (folder, files, _) = scene();
    let text = fs::read(&files[1]).unwrap();
    fs::rename(&files[2], &files[1]).unwrap();
    fs::write(&files[2], text).unwrap();
    assert_eq!(failing(folder.path(), None), (files[1].clone(), 1, LineError::Reordered { expected: 7, found: 13 }));

    // An old one in the place of the last.
    let (folder, files, _) = scene();
    fs::copy(&files[1], &files[2]).unwrap();
    assert_eq!(failing(folder.path(), None), (files[2].clone(), 1, LineError::Reordered { expected: 13, found: 7 }));

    // Files by name, in any order: from any one on.
    let (_folder, files, head) = scene();
    let found = verify(&LogSource::Files(vec![files[2].clone(), files[1].clone()]), &key(), None).unwrap();
    assert_eq!((found.segments, found.events, found.head), (2, 11, head));
    assert_eq!(found.removed_before.unwrap().sequence, 6);
}

#[test]
fn every_changed_byte_of_a_compressed_segment_is_found_or_changes_nothing() {
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
