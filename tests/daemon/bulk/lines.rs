//! Plain lists: one value or token on each line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Child,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{command, masker, start};
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

#[test]
fn values_that_end_in_nul_bytes_are_looked_up_and_forgotten() {
    let site = Site::new();
    let daemon = start(&site);
    let values = "1 Main St\nFlat 2\0Bob\r\n\0Ann";
    let tokens = masker(&daemon, "tokenize --kind NAME --null-separated", values).whole();
    assert_eq!(masker(&daemon, "lookup --kind NAME --null-separated", values).whole(), tokens);
    let forgotten = masker(&daemon, "vault forget --kind NAME --null-separated", values).whole();
    assert_eq!(String::from_utf8(forgotten).unwrap(), "forgotten 1\n".repeat(3));
    assert_eq!(masker(&daemon, "lookup --kind NAME --null-separated", values).whole(), b"\n\n\n");
    let ended = masker(&daemon, "vault forget --null-separated", &tokens);
    assert!(ended.refused(64).contains("--kind"), "{}", ended.stderr);
    daemon.stop();
}

/// The daemon names an item by its place in a request, which may begin anywhere in the input.
#[test]
fn errors_name_the_line_and_not_the_place_in_a_request() {
    let site = Site::new();
    let daemon = start(&site);
    for command in ["tokenize --kind NAEM", "lookup --kind NAEM", "vault forget --kind NAEM"] {
        let ended = masker(&daemon, command, "Ann\nBob\n");
        assert!(ended.stderr.contains("line 2: kind.unknown: the policy `"), "{command}: {}", ended.stderr);
        let ended = masker(&daemon, &format!("{command} --json"), "Ann\nBob\n");
        assert!(!ended.stderr.contains("items[") && !ended.text().contains("items["), "{command}: {}", ended.text());
    }
    daemon.stop();
}

#[test]
fn values_with_a_carriage_return_are_refused() {
    let site = Site::new();
    let daemon = start(&site);
    for command in ["tokenize --kind NAME", "lookup --kind NAME", "rehydrate"] {
        let ended = masker(&daemon, command, "Ann\rBob\rEve\r");
        assert_eq!((ended.code, ended.text()), (Some(2), "\n"), "{command}");
        assert!(ended.stderr.contains("a carriage return is inside the line: end lines"), "{}", ended.stderr);
    }
    daemon.stop();
}

#[test]
fn results_of_a_failed_output_do_not_count_as_done() {
    let site = Site::new();
    let daemon = start(&site);
    let mut command = command(&daemon, "tokenize --kind NAME");
    command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let ended = super::feed(command, "Ann\n");
    assert!(ended.stderr.ends_with("No value is done: start again with an empty output\n"), "{}", ended.stderr);
    daemon.stop();
}

fn send(signal: Signal, child: &Child) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn a_signal_ends_a_run_with_the_number_of_values_that_are_done() {
    let site = Site::new();
    let daemon = start(&site);
    for (line, input, items) in [
        ("tokenize --kind PHONE", "415-555-0001\n415-555-0002\n", "values"),
        ("lookup --kind PHONE", "415-555-0001\n415-555-0002\n", "values"),
        ("rehydrate", "MSKV1.x\nMSKV1.y\n", "tokens"),
    ] {
        for (signal, name) in [(Signal::SIGTERM, "SIGTERM"), (Signal::SIGHUP, "SIGHUP"), (Signal::SIGINT, "SIGINT")] {
            let mut child = command(&daemon, line).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            stdin.write_all(input.as_bytes()).unwrap();
            for _ in 0..2 {
                stdout.read_line(&mut String::new()).unwrap();
            }
            send(signal, &child);
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            let end = format!(
                "masker: interrupted by {name}\nThe first 2 {items} are done: continue with those after them\n"
            );
            assert!(stderr.ends_with(&end), "{line}: {stderr}");
            assert_eq!(child.wait().unwrap().code(), Some(1));
        }
    }
    daemon.stop();
}

#[test]
fn a_byte_of_zero_is_a_part_of_a_value() {
    let site = Site::new();
    let daemon = start(&site);
    let tokens = masker(&daemon, "tokenize --kind NAME", "a\0b\nc\0d\n").whole();
    assert_eq!(masker(&daemon, "rehydrate", tokens).whole(), b"a\0b\nc\0d\n");
    let swapped = masker(&daemon, "tokenize --csv --no-header --column 1=NAME", "a\0b\nc\0d\n").whole();
    let back = masker(&daemon, "rehydrate --csv --no-header --column 1", swapped).whole();
    assert_eq!(back, b"a\0b\nc\0d\n");
    daemon.stop();
}

#[test]
fn a_lookup_says_what_its_lines_do_not() {
    let site = Site::new();
    let daemon = start(&site);
    let token = daemon.client().token("NAME", "Zoe");
    let ended = masker(&daemon, "lookup --kind NAME", "Zoe\nZOE\nBob\n");
    assert_eq!((ended.code, ended.text()), (Some(0), format!("{token}\n{token}\n\n").as_str()));
    assert_eq!(ended.stderr, "line 2: only other spellings of the value have tokens\n");
    assert_eq!(masker(&daemon, "lookup --kind NAME --quiet", "ZOE\n").whole(), format!("{token}\n").into_bytes());
    let ended = masker(&daemon, "lookup --kind NAME --json", "ZOE\n");
    assert_eq!(ended.whole(), format!("{{\"tokens\":[\"{token}\"],\"exact\":false}}\n").into_bytes());

    // Spellings in upper and lower case.
    let spelling = |number: usize| {
        let cased = |(place, letter): (usize, char)| {
            if number >> place & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        };
        "maximiliane".chars().enumerate().map(cased).collect::<String>()
    };
    let spellings: Vec<String> = (0..1_001).map(spelling).collect();
    daemon.client().tokens("NAME", &spellings);
    let ended = masker(&daemon, "lookup --kind NAME", "Zoe\nmaximiliane\n");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert_eq!(ended.text().lines().nth(1).unwrap().split('\t').count(), 1_000);
    assert!(ended.stderr.starts_with("line 2: the value has more tokens than these 1000\n"), "{}", ended.stderr);
    let ended = masker(&daemon, "lookup --kind NAME --json", "maximiliane\n");
    assert!(ended.code == Some(2) && ended.text().ends_with(",\"exact\":true,\"more\":true}\n"), "{}", ended.text());
    daemon.stop();
}
