//! `masker demo`, told by the real binary: it ends well, and however it ends it leaves nothing behind.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn demo(temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    // What is set here for other daemons must not reach the demonstration's.
    command.arg("demo").env("TMPDIR", temporary).env("MASKER_CONFIG", "/nowhere").env("MASKER_KEY_K_HEALTHCARE", "x");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// The number before a text.
fn number_before(told: &str, text: &str) -> u64 {
    let before = told.split(text).next().filter(|before| before.len() < told.len());
    let word = before.and_then(|before| before.split_whitespace().last());
    let digits: String = word.unwrap_or_default().chars().filter(|digit| *digit != ',').collect();
    digits.parse().unwrap_or_else(|_| panic!("there is no number before {text:?} in:\n{told}"))
}

/// Process ids that the story names.
fn processes(told: &str) -> Vec<u32> {
    let after = told.split("is process ").skip(1);
    after.map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

fn assert_gone(told: &str) {
    for process in processes(told) {
        assert!(!Path::new(&format!("/proc/{process}")).exists(), "the daemon {process} was left behind");
    }
}

#[test]
fn the_story_ends_well() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path()).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    let values = number_before(&told, " values of 13 kinds");
    assert!(values > 10_000, "{told}");
    assert_eq!(number_before(&told, " patients, "), 1_000);
    let minted = number_before(&told, " tokens were minted; ");
    assert_eq!(minted + number_before(&told, " fields hold a value that had one"), values);
    assert_eq!(number_before(&told, " vault records are sealed under it.\n\n5."), minted);
    assert_eq!(number_before(&told, " opened under the old key"), values);
    assert_eq!(number_before(&told, " got the token that they had"), values);
    assert_eq!(number_before(&told, " records were sealed again"), minted);
    assert_eq!(number_before(&told, " tokens opened under the new key alone"), values);
    assert!(told.trim_end().lines().last().unwrap().starts_with("PASS: "), "{told}");

    let processes = processes(&told);
    assert_eq!(processes.len(), 3, "before the kill, after it, and without the old key:\n{told}");
    assert_gone(&told);
    assert_eq!(entries(temporary.path()), [""; 0]);
}

#[test]
fn an_interrupted_story_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child: Child = demo(temporary.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The daemon serves, and most of the story is still to be told.
    let mut told = String::new();
    while !told.contains("is process ") {
        told.push_str(&lines.next().expect("the story goes on").unwrap());
        told.push('\n');
    }
    assert_ne!(entries(temporary.path()), [""; 0]);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    told.extend(lines.map(Result::unwrap));
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{told}\n{complaint}");
    assert!(complaint.contains("FAIL: interrupted"), "{complaint}");
    assert_gone(&told);
    assert_eq!(entries(temporary.path()), [""; 0]);
}

#[test]
fn a_story_that_cannot_be_told_says_why_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    // The paths of its sockets would be longer than the system takes.
    let deep = temporary.path().join("d".repeat(100));
    fs::create_dir(&deep).unwrap();
    let output = demo(&deep).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("FAIL: ") && complaint.contains("TMPDIR chooses another"), "{complaint}");
    assert_eq!(entries(&deep), [""; 0]);
}
