//! Runs that end early: what they say, and that they can be continued.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use serde_json::json;

use super::{SWAP, command, ended, feed, masker, rows, start};
use crate::{api_keys::create, harness::Site};

/// Reads `count` lines.
fn lines(from: &mut impl BufRead, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        from.read_line(&mut text).unwrap();
    }
    text
}

fn finish(mut child: Child) -> (Option<i32>, String) {
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (child.wait().unwrap().code(), stderr)
}

fn send(signal: Signal, child: &Child) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// Returns the number of rows that a message says are done.
fn rows_done(stderr: &str) -> usize {
    let (_, rest) = stderr.split_once("The first ").unwrap_or_else(|| panic!("{stderr}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn an_interrupted_run_can_be_continued() {
    let site = Site::new();
    let daemon = start(&site);
    let table = rows(2_500);
    let whole = masker(&daemon, SWAP, &table).whole();
    assert!(masker(&daemon, &format!("{SWAP} --batch 7 --connections 3"), &table).whole() == whole, "order is kept");

    let broken = table.replace("\n1900,", "\n1900\u{0},").replace("\u{0},", &format!(",{}", "4".repeat(5_000)));
    let ended = masker(&daemon, &format!("{SWAP} --batch 100"), &broken);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("row 1900 (line 1901)"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("continue with --skip-rows 1899\n"), "{}", ended.stderr);
    let rest = masker(&daemon, &format!("{SWAP} --skip-rows 1899"), &table).whole();
    assert!([ended.stdout, rest].concat() == whole);

    let ended = masker(&daemon, &format!("{SWAP} --skip-rows 2500"), &table);
    assert_eq!(ended.whole(), b"");
    let ended = masker(&daemon, &format!("{SWAP} --skip-rows 2501"), &table);
    assert!(ended.refused(1).contains("there are 2500 rows"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn rows_that_are_too_long_are_refused_or_skipped() {
    let site = Site::new();
    let daemon = start(&site);
    let long = "x".repeat(5 << 20);
    let first = "id,phone\r\n1,415-555-0001\r\n".to_owned();
    let table = format!("{first}2,\"{long}\r\n\"\r\n3,415-555-0003\r\n");
    let tokens = daemon.client().tokens("PHONE", &["415-555-0001", "415-555-0003"]);
    let line = "tokenize --csv --column phone=PHONE";
    let file = site.path("table.csv");
    fs::write(&file, &table).unwrap();
    let from_file = |line: &str| {
        let mut command = command(&daemon, line);
        command.stdin(File::open(&file).unwrap());
        ended(command)
    };
    let too_long = "masker: row 2 is longer than 4 MiB; is a quote not closed?";
    for (ended, rest) in [
        (masker(&daemon, line, &table), "No row is done: start again with an empty output\n"),
        (from_file(line), "No row is done: start again with an empty output\n"),
    ] {
        assert!(ended.refused(2).starts_with(too_long) && ended.stderr.ends_with(rest), "{}", ended.stderr);
    }
    let ended = from_file(&format!("{line} --dry-run"));
    assert_eq!((ended.code, ended.text()), (Some(2), "rows\t3\nvalues of phone\t2\n"));
    assert!(ended.stderr.starts_with("row 2 (line 3): value.invalid: the row is too long\n"), "{}", ended.stderr);
    let ended = masker(&daemon, &format!("{line} --skip-rows 2"), &table);
    assert_eq!(ended.whole(), format!("3,{}\r\n", tokens[1]).into_bytes());
    let ended = masker(&daemon, &format!("{line} --on-error keep-row-empty"), &table);
    let expected = format!("id,phone\r\n1,{}\r\n,\r\n3,{}\r\n", tokens[0], tokens[1]);
    assert_eq!((ended.code, ended.text()), (Some(2), expected.as_str()));

    let rows = format!("{{\"a\":\"x\"}}\n{{\"a\":\"{long}\"}}\n{{\"a\":\"x\"}}\n");
    let line = "tokenize --jsonl --field a=PHONE";
    let ended = masker(&daemon, line, &rows);
    assert!(ended.code == Some(2) && ended.stderr.contains("row 2 is longer than 4 MiB"), "{}", ended.stderr);
    let advice = "1 row is done: correct the row, then continue with --skip-rows 1\n";
    assert!(ended.stderr.ends_with(advice), "{}", ended.stderr);
    assert_eq!(
        masker(&daemon, &format!("{line} --skip-rows 2"), &rows).whole().iter().filter(|byte| **byte == b'\n').count(),
        1
    );
    let ended = masker(&daemon, &format!("{line} --on-error keep-others"), &rows);
    assert_eq!((ended.code, ended.text().lines().nth(1)), (Some(2), Some("null")));
    daemon.stop();
}

#[test]
fn a_signal_ends_a_run_after_whole_rows() {
    let site = Site::new();
    let daemon = start(&site);
    let table = rows(60_000);
    let file = site.path("table.csv");
    fs::write(&file, &table).unwrap();
    for (signal, name) in [(Signal::SIGTERM, "SIGTERM"), (Signal::SIGHUP, "SIGHUP"), (Signal::SIGINT, "SIGINT")] {
        let mut child =
            command(&daemon, &format!("{SWAP} --batch 200")).stdin(File::open(&file).unwrap()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut written = lines(&mut stdout, 1_000);
        // The pipe does not hold the rest, so the run is not at its end.
        send(signal, &child);
        stdout.read_to_string(&mut written).unwrap();
        let (code, stderr) = finish(child);
        assert_eq!(code, Some(1));
        assert!(stderr.starts_with(&format!("masker: interrupted by {name}\n")), "{stderr}");
        let done = rows_done(&stderr);
        assert!(written.ends_with('\n') && written.lines().count() == done + 1, "{stderr}");
        let mut rest = command(&daemon, &format!("{SWAP} --skip-rows {done}"));
        rest.stdin(File::open(&file).unwrap());
        written.push_str(ended(rest).text());
        let back = masker(&daemon, "rehydrate --csv --column phone --column card", &written).whole();
        assert!(back == table.as_bytes());
    }
    daemon.stop();
}

#[test]
fn writes_rows_as_they_arrive_and_counts_them_when_it_ends() {
    let site = Site::new();
    let daemon = start(&site);
    let mut child = command(&daemon, "tokenize --jsonl --field p=PHONE").spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for number in 0..3 {
        // An odd number of quotes must not affect later lines.
        writeln!(stdin, "{{\"p\": \"{number}\", \"q\": \"\\\"\"}}\n").unwrap();
        assert!(lines(&mut stdout, 2).starts_with("{\"p\": \"MSKV1."));
    }
    send(Signal::SIGTERM, &child);
    let (code, stderr) = finish(child);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "masker: interrupted by SIGTERM\nThe first 6 rows are done: continue with --skip-rows 6\n");

    let mut child = command(&daemon, SWAP).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    // A complete row does not wait for the rest of the next one.
    stdin.write_all(b"id,phone,card\n1,2,3\n1,").unwrap();
    assert!(lines(&mut stdout, 2).starts_with("id,phone,card\n1,MSKV1."));
    drop(stdout);
    stdin.write_all(b"2,3\n").unwrap();
    let (code, stderr) = finish(child);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("failed to write standard output"), "{stderr}");
    assert!(stderr.contains("1 row is done: truncate the output after them"), "{stderr}");
    daemon.stop();
}

#[test]
fn rows_of_a_failed_output_do_not_count_as_done() {
    let site = Site::new();
    let daemon = start(&site);
    for (skip, advice) in
        [("", "No row is done: start again"), (" --skip-rows 7", "The first 7 rows are done: truncate the output")]
    {
        let mut command = command(&daemon, &format!("{SWAP}{skip}"));
        command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let ended = feed(command, rows(20));
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.stderr.contains("failed to write standard output") && ended.stderr.contains(advice),
            "{}",
            ended.stderr
        );
    }
    daemon.stop();
}

/// The list comes before the rows, so that no row is done.
#[test]
fn a_list_of_failures_that_cannot_be_written_ends_the_run_with_what_is_done() {
    let site = Site::new();
    let daemon = start(&site);
    for (on_error, rows) in [("stop", "id,phone,card\n1\n"), ("keep-others", "id,phone,card\n1,,\n2\n")] {
        let list = site.path(on_error);
        let line = format!("{SWAP} --on-error {on_error} --failures {}", list.display());
        let command = command(&daemon, &line);
        let mut limited = Command::new("/bin/sh");
        // No file may be longer than 0 bytes. Pipes may.
        limited.args(["-c", "ulimit -f 0; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
        limited.env_clear().env("MASKER_SOCKET", daemon.socket()).current_dir("/");
        limited.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = feed(limited, rows);
        assert_eq!((ended.code, ended.text()), (Some(1), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains("failed to write --failures"), "{}", ended.stderr);
        assert!(ended.stderr.contains("No row is done"), "{}", ended.stderr);
    }
    daemon.stop();
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let site = Site::new();
    let daemon = start(&site);
    let jsonl = "tokenize --jsonl --field a=PHONE";
    for (line, input) in [("tokenize --kind PHONE", "415-555-0001\n"), (jsonl, "{\"a\": \"1\"}\n"), ("health", "")] {
        let mut closed = Command::new("sh");
        closed.args(["-c", "exec \"$0\" \"$@\" >&-", env!("CARGO_BIN_EXE_masker")]).args(line.split(' '));
        closed.env_clear().env("MASKER_SOCKET", daemon.socket());
        closed.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let ended = feed(closed, input);
        assert_eq!(ended.code, Some(1), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains("failed to write standard output"), "{line}: {}", ended.stderr);
        let mut null = command(&daemon, line);
        null.stdout(OpenOptions::new().read(true).write(true).open("/dev/null").unwrap());
        assert_eq!(feed(null, input).code, Some(0), "{line}");
    }
    daemon.stop();
}

#[test]
fn a_limit_of_file_sizes_ends_a_run_with_the_rows_that_are_done() {
    let site = Site::new();
    let daemon = start(&site);
    let output = site.path("out");
    let limited = |line: &str| {
        let mut limited = Command::new("bash");
        limited.args(["-c", "ulimit -f 100; exec \"$0\" \"$@\" > \"$OUT\"", env!("CARGO_BIN_EXE_masker")]);
        limited.args(line.split(' ')).env_clear().env("MASKER_SOCKET", daemon.socket()).env("OUT", &output);
        limited.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        limited
    };
    let table = rows(5_000);
    let ended = feed(limited(SWAP), &table);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("masker: failed to write standard output: File too large"), "{}", ended.stderr);
    let done = rows_done(&ended.stderr);
    let written = fs::read_to_string(&output).unwrap();
    assert!(written.lines().count() > done, "{}", ended.stderr);
    let whole: String = written.split_inclusive('\n').take(done + 1).collect();
    let rest = masker(&daemon, &format!("{SWAP} --skip-rows {done}"), &table).whole();
    assert!([whole.as_bytes(), &rest].concat() == masker(&daemon, SWAP, &table).whole());

    let ended = feed(limited("tokenize --kind PHONE"), "415-555-0001\n".repeat(5_000));
    assert!(ended.code == Some(1) && ended.stderr.contains("File too large"), "{:?} {}", ended.code, ended.stderr);
    daemon.stop();
}

#[test]
fn a_daily_limit_is_used_for_whole_rows_that_are_written() {
    let site = Site::new();
    let daemon = start(&site);
    let mut root = daemon.client();
    let rows = |rows: usize| {
        let row = |number: usize| format!("{number},415-555-{number:04},name {number}\n");
        (0..rows).fold("id,phone,name\n".to_owned(), |table, number| table + &row(number))
    };
    let table = rows(400);
    let tokens = masker(&daemon, "tokenize --csv --column phone=PHONE --column name=NAME", &table).whole();
    let file = site.path("tokens.csv");
    fs::write(&file, &tokens).unwrap();
    let line = "rehydrate --csv --column phone --column name";
    // Of two columns: in one request, in many, and in many at once.
    for (limit, batch) in [(51, 1_000), (50, 30), (333, 64), (1, 10)] {
        let limits = json!({"limits": {"rehydrations_per_day": limit}});
        let key = create(&mut root, "night run", &["rehydrate"], limits);
        let mut command = command(&daemon, &format!("{line} --batch {batch}"));
        command.env("MASKER_API_KEY", &key.key).stdin(File::open(&file).unwrap());
        let ended = ended(command);
        let done = limit / 2;
        let left = key.client(&daemon).get("/api/v1/auth/whoami").ok()["limits_left"]["rehydrations_per_day"].clone();
        assert_eq!(left, limit - 2 * done, "{}", ended.stderr);
        let written: String = table.lines().take(done + 1).map(|line| format!("{line}\n")).collect();
        match done {
            0 => {
                assert_eq!(ended.text(), "");
                assert!(
                    ended.stderr.ends_with("No row is done: start again with an empty output\n"),
                    "{}",
                    ended.stderr
                );
                assert!(ended.stderr.contains("allows at most 1 values in a day"), "{}", ended.stderr);
            }
            _ => assert_eq!((ended.text(), rows_done(&ended.stderr)), (written.as_str(), done)),
        }
        assert!(ended.code == Some(1) && ended.stderr.contains("quota.exceeded"), "{}", ended.stderr);
        root.exchange("DELETE", &key.path(), b"").ok();
    }
    // Exactly as much as is in the file.
    let key = create(&mut root, "night run", &["rehydrate"], json!({"limits": {"operations_per_day": 800}}));
    let mut command = command(&daemon, line);
    command.env("MASKER_API_KEY", &key.key).stdin(File::open(&file).unwrap());
    assert_eq!(ended(command).whole(), table.as_bytes());
    daemon.stop();
}

#[test]
fn a_daily_limit_is_used_for_the_first_lines_of_a_list() {
    let site = Site::new();
    let daemon = start(&site);
    let mut root = daemon.client();
    let values: Vec<String> = (0..400).map(|number| format!("415-555-{number:04}")).collect();
    for (line, limit) in
        [("tokenize --kind PHONE", "distinct_values_per_day"), ("lookup --kind PHONE", "operations_per_day")]
    {
        let key = create(&mut root, "night run", &["tokenize", "lookup"], json!({"limits": {limit: 333}}));
        let mut command = command(&daemon, line);
        command.env("MASKER_API_KEY", &key.key);
        let ended = feed(command, values.join("\n"));
        assert_eq!((ended.code, ended.text().lines().count()), (Some(1), 333), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains("The first 333 values are done"), "{line}: {}", ended.stderr);
        root.exchange("DELETE", &key.path(), b"").ok();
    }
    daemon.stop();
}

#[test]
fn a_missing_scope_ends_a_run_after_the_rows_before() {
    let site = Site::new();
    let daemon = start(&site);
    let mut root = daemon.client();
    let (phone, name) = (root.token("PHONE", "415-555-0001"), root.token("NAME", "Ann"));
    let key = create(&mut root, "phones", &["rehydrate:PHONE"], json!({})).key;
    let table = format!("id,token\n1,{phone}\n2,{phone}\n3,{name}\n4,{phone}\n");
    for on_error in ["stop", "keep-others", "keep-row-empty"] {
        let mut command = command(&daemon, &format!("rehydrate --csv --column token --on-error {on_error}"));
        command.env("MASKER_API_KEY", &key);
        let ended = feed(command, &table);
        assert_eq!((ended.code, ended.text()), (Some(4), "id,token\n1,415-555-0001\n2,415-555-0001\n"), "{on_error}");
        assert!(ended.stderr.contains("token: perm.denied: "), "{}", ended.stderr);
        assert!(ended.stderr.ends_with("The first 2 rows are done: continue with --skip-rows 2\n"), "{}", ended.stderr);
    }
    daemon.stop();
}
