//! `masker demo` with the real binary: it passes, and leaves nothing behind however it ends.

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
    // Settings for other daemons must not reach the demo's.
    command.arg("demo").env("TMPDIR", temporary).env("MASKER_CONFIG", "/nowhere").env("MASKER_KEY_K_HEALTHCARE", "x");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Returns the number before a text.
fn number_before(output: &str, text: &str) -> u64 {
    let before = output.split(text).next().filter(|before| before.len() < output.len());
    let word = before.and_then(|before| before.split_whitespace().last());
    let digits: String = word.unwrap_or_default().chars().filter(|digit| *digit != ',').collect();
    digits.parse().unwrap_or_else(|_| panic!("there is no number before {text:?} in:\n{output}"))
}

/// Returns the process ids in the output.
fn processes(output: &str) -> Vec<u32> {
    let after = output.split("is process ").skip(1);
    after.map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

fn assert_gone(output: &str) {
    for process in processes(output) {
        assert!(!Path::new(&format!("/proc/{process}")).exists(), "the daemon {process} was left behind");
    }
}

#[test]
fn the_demo_passes() {
    let temporary = tempfile::tempdir().unwrap();
    let run = demo(temporary.path()).output().unwrap();
    let output = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{output}\n{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(String::from_utf8_lossy(&run.stderr), "");

    let values = number_before(&output, " values of 13 kinds");
    assert!(values > 10_000, "{output}");
    assert_eq!(number_before(&output, " patients, "), 1_000);
    let minted = number_before(&output, " tokens were minted. ");
    assert_eq!(minted + number_before(&output, " fields repeat an earlier value"), values);
    assert_eq!(number_before(&output, " vault records.\n\n5."), minted);
    assert_eq!(number_before(&output, " opened with the old key"), values);
    assert_eq!(number_before(&output, " values kept the token from step 2"), values);
    assert_eq!(number_before(&output, " records were sealed again"), minted);
    assert_eq!(number_before(&output, " tokens opened with the new key alone"), values);
    let mut spellings = output.lines().skip_while(|line| !line.contains("share a match part")).skip(1);
    let mut spelling = || spellings.next().unwrap().trim_start().rsplit_once(' ').unwrap();
    let [(one, first), (other, second)] = [spelling(), spelling()];
    let [first, second] = [first, second].map(|token| &token[token.len() - 32..]);
    assert!(first[..16] == second[..16] && first[16..] != second[16..], "{output}");
    let (one, other) = (one.trim_end(), other.trim_end());
    assert_ne!(one, other);
    assert!(output.contains(&format!("as they were written: `{one}` and `{other}`.")), "{output}");
    let text = |what: &str| {
        let lines = output.lines().filter_map(|line| line.trim_start().strip_prefix(what));
        let found: Vec<&str> = lines.filter(|line| line.starts_with("  ")).map(str::trim).collect();
        assert_eq!(found.len(), 1, "{what}:\n{output}");
        found[0]
    };
    let (note, masked, answer) = (text("note"), text("model gets"), text("model answers"));
    for value in ["Maria Lopez", "00455-21", "03/14/2031", "(212) 555-0147"] {
        assert!(note.contains(value) && !masked.contains(value) && !answer.contains(value), "{output}");
    }
    let placeholder = masked.split(['[', ']']).nth(1).unwrap();
    assert!(placeholder.starts_with("NAME_") && answer.contains(&format!("**{placeholder}**")), "{output}");
    assert_eq!(text("restored"), "Reminder: call **Maria Lopez** at (212) 555-0147, and ask about the fever.");
    assert!(output.trim_end().lines().last().unwrap().starts_with("PASS: "), "{output}");

    let processes = processes(&output);
    assert_eq!(processes.len(), 3, "before the kill, after it, and without the old key:\n{output}");
    assert_gone(&output);
    assert_eq!(entries(temporary.path()), [""; 0]);
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child: Child = demo(temporary.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The daemon runs, and most steps are still to come.
    let mut output = String::new();
    while !output.contains("is process ") {
        output.push_str(&lines.next().expect("the demo goes on").unwrap());
        output.push('\n');
    }
    assert_ne!(entries(temporary.path()), [""; 0]);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    output.extend(lines.map(Result::unwrap));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{output}\n{stderr}");
    assert!(stderr.contains("FAIL: interrupted"), "{stderr}");
    assert_gone(&output);
    assert_eq!(entries(temporary.path()), [""; 0]);
}

#[test]
fn a_failed_demo_says_why_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    // The paths of its sockets would exceed the system's limit.
    let deep = temporary.path().join("d".repeat(100));
    fs::create_dir(&deep).unwrap();
    let output = demo(&deep).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("FAIL: ") && stderr.contains("TMPDIR chooses another"), "{stderr}");
    assert_eq!(entries(&deep), [""; 0]);
}
