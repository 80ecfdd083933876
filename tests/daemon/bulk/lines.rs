//! Plain lists: one value or token on each line.

use super::{masker, start};
use crate::harness::Site;

#[test]
fn files_of_windows_are_recognized() {
    let site = Site::new();
    let daemon = start(&site);
    let plain = masker(&daemon, "tokenize --kind NAME", "Zoë\nBob\n").whole();
    assert!(masker(&daemon, "tokenize --kind NAME", "\u{feff}Zoë\r\nBob\r\n").whole() == plain);
    let marked = [&b"\xEF\xBB\xBF"[..], &plain].concat();
    assert_eq!(masker(&daemon, "rehydrate", &marked).whole(), "Zoë\nBob\n".as_bytes());
    assert!(masker(&daemon, "lookup --kind NAME", "\u{feff}Zoë\nBob\n").whole() == plain);
    for mark in ["", "\u{feff}"] {
        let wide: Vec<u8> = format!("{mark}Ann\nEve\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let ended = masker(&daemon, "tokenize --kind NAME", wide);
        assert!(ended.refused(1).contains("UTF-16"), "{}", ended.stderr);
    }
    let ended = masker(&daemon, "tokenize --kind NAME", b"\x1F\x8B\x08\0\0");
    assert!(ended.refused(1).contains("gunzip"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn values_with_line_breaks_do_not_shift_the_lines() {
    let site = Site::new();
    let daemon = start(&site);
    let tokens = masker(&daemon, "tokenize --kind NAME --null-separated", "1 Main St\nFlat 2\0Bob\r\n\0Ann").whole();
    assert_eq!(tokens.iter().filter(|byte| **byte == b'\n').count(), 3);
    let ended = masker(&daemon, "rehydrate", &tokens);
    assert_eq!((ended.code, ended.text()), (Some(2), "\n\nAnn\n"));
    assert!(
        ended.stderr.starts_with("line 1: the value has line breaks; use --json or --null-separated\n"),
        "{}",
        ended.stderr
    );
    assert_eq!(masker(&daemon, "rehydrate --null-separated", &tokens).whole(), b"1 Main St\nFlat 2\0Bob\r\n\0Ann\0");
    let objects = masker(&daemon, "rehydrate --json", &tokens).whole();
    assert!(String::from_utf8_lossy(&objects).starts_with("{\"value\":\"1 Main St\\nFlat 2\""));
    daemon.stop();
}
