//! Files of records through the command line: what is tokenized, what is copied, and that no value gets through.

mod damage;
mod ends;
mod json_lines;
mod lines;
mod tables;

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use serde_json::json;

use super::{
    api_keys::create,
    harness::{Daemon, Site},
};

/// The result of a command. Its output can be binary.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// Returns the output of a command that succeeded.
    pub fn whole(self) -> Vec<u8> {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""));
        self.stdout
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    /// Checks that the command failed with `code` and wrote nothing. Returns the message.
    pub fn refused(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stdout.as_slice()), (Some(code), &b""[..]), "{}", self.stderr);
        &self.stderr
    }
}

pub fn command(daemon: &Daemon, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.args(line.split(' ')).env_clear().env("MASKER_SOCKET", daemon.socket()).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn feed(mut command: Command, input: impl AsRef<[u8]>) -> Ended {
    let mut child = command.spawn().expect("masker can be run");
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.as_ref().to_vec());
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A command that fails early reads no more.
    let _ = writer.join().unwrap();
    let stderr = String::from_utf8(output.stderr).expect("text");
    Ended { code: output.status.code(), stdout: output.stdout, stderr }
}

/// Runs a command whose standard input is set.
pub fn ended(mut command: Command) -> Ended {
    let output = command.output().expect("masker can be run");
    let stderr = String::from_utf8(output.stderr).expect("text");
    Ended { code: output.status.code(), stdout: output.stdout, stderr }
}

pub fn masker(daemon: &Daemon, line: &str, input: impl AsRef<[u8]>) -> Ended {
    feed(command(daemon, line), input)
}

fn start(site: &Site) -> Daemon {
    site.launch().care_keys().start()
}

fn rows(count: usize) -> String {
    let row = |number: usize| format!("{number},415{number:07},4111{number:012}\n");
    "id,phone,card\n".to_owned() + &(1..=count).map(row).collect::<String>()
}

const SWAP: &str = "tokenize --csv --column phone=PHONE --column card=CARD";

#[test]
fn reports_usage_errors_before_writing() {
    let site = Site::new();
    let daemon = start(&site);
    for (line, input, code, part) in [
        ("tokenize --csv --column fone=PHONE", "phone\n415-555-0001\n", 1, "has no column \"fone\""),
        ("tokenize --csv --column phnoe=PHONE", "phone\n1\n", 1, "did you mean the name of column 1?"),
        ("tokenize --csv --column phone=PHONE", "id;phone\n1;2\n", 1, "use --delimiter ';'"),
        ("tokenize --csv --column phone=PHONE", "\"id\";\"phone\"\n1;2\n", 2, "use --delimiter ';'"),
        ("tokenize --csv --delimiter ; --column phone=PHONE", "id\tphone\n1\t2\n", 1, "use --delimiter '\\t'"),
        ("tokenize --csv --no-header --column 2=PHONE", "1|415-555-0001\n", 1, "use --delimiter '|'"),
        ("tokenize --csv --column Phone=PHONE", "phone\n1\n", 1, "did you mean \"phone\"?"),
        ("tokenize --csv --column phone=PHONE", "sep=;\nid;phone\n1;2\n", 1, "remove it"),
        ("tokenize --csv --column phone=PHONE", "Patients of May\n\nid,phone\n1,2\n", 1, "line 3 has the names"),
        ("rehydrate --csv --column phone=PHONE", "phone\n1\n", 1, "use --column phone"),
        ("tokenize --csv --column phone=PHONE", "", 1, "the input is empty"),
        ("tokenize --csv --no-header --column 2=PHONE", "1\n", 1, "there is no column 2"),
        ("tokenize --csv --no-header --column a=PHONE", "1\n", 64, "numbers from 1"),
        ("tokenize --csv --no-header --column 1=PHONE --column 01=CARD", "1\n", 64, "given twice"),
        ("tokenize --csv --column a=PHONE", "\u{feff}", 1, "the input is empty"),
        // A first row that is one of values.
        ("tokenize --csv --column yes=PHONE", "Ann,yes,yes\n", 1, "2 columns of the header have the name \"yes\""),
        ("tokenize --csv --column 3=SSN", "1,Ann,078-05-1120\n", 1, "for a table without a header use --no-header"),
        ("tokenize --csv --column 1=NAME", "B,415-555-0132\n", 1, "for a table without a header use --no-header"),
        ("tokenize --csv --column 415-555-0023=PHONE", "Ann,415-555-0132\n", 1, "did you mean the name of column 2?"),
        ("tokenize --csv --column ann@example.net=PHONE", "id,ann@example.org\n", 1, "the name of column 2?"),
        ("tokenize --jsonl --field 415-555-0023=PHONE", "{\"415-555-0132\": \"x\"}\n", 1, "write `?` after its path"),
        ("tokenize --csv --column a=SHOE_SIZE", "a\n42\n", 1, "a: kind.unknown: the policy"),
        ("tokenize --csv --column a=SSN", "a\n42\n", 1, "a: context.required: "),
        ("tokenize --csv --column a=PHONE --policy none", "a\n42\n", 1, "policy.unknown"),
        ("tokenize --csv --json --column a=PHONE", "a\n42\n", 64, "--json"),
        ("tokenize --jsonl --field a=PHONE --field a.b=PHONE", "{}\n", 64, "is inside another"),
    ] {
        let ended = masker(&daemon, line, input);
        let stderr = ended.refused(code);
        let values = ["415-555-01", "ann@example.org"];
        assert!(stderr.contains(part) && !values.iter().any(|value| stderr.contains(value)), "{line}: {stderr}");
    }
    let wide = "column,".repeat(700_000);
    let ended = masker(&daemon, "tokenize --csv --column a=PHONE", wide);
    assert!(ended.refused(2).contains("the first row (line 1) is longer than 4 MiB; "), "{}", ended.stderr);
    let ended = masker(&daemon, "tokenize --csv --column a=PHONE", b"\xFF\xFEa\0");
    assert!(ended.refused(1).contains("UTF-16"), "{}", ended.stderr);
    let ended = masker(&daemon, "tokenize --csv --column n\u{e9}=PHONE", b"id,n\xE9\n1,2\n");
    assert!(ended.refused(1).contains("use --encoding"), "{}", ended.stderr);
    let ended = masker(&daemon, "tokenize --csv --column phone=PHONE", "id,phone\n1,2\n\u{1a}");
    assert!(ended.code == Some(2) && ended.stderr.contains("bytes 0x1A"), "{}", ended.stderr);
    let ended = masker(&daemon, "tokenize --csv --column a=PHONE --socket /nowhere", "a\n42\n");
    assert!(ended.refused(5).contains("there is no socket"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn lists_the_first_failures_and_counts_the_others() {
    let site = Site::new();
    let daemon = start(&site);
    let table = "t\n".to_owned() + &"MSKV1.nonsense\n".repeat(3_000);
    let ended = masker(&daemon, "rehydrate --csv --on-error keep-others --column t --batch 100", table);
    assert_eq!((ended.code, ended.text().lines().count()), (Some(2), 3_001));
    let reported: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(reported.len(), 21);
    assert!(reported[19].starts_with("row 20 (line 21), t: token.malformed: "), "{}", reported[19]);
    assert!(reported[20].starts_with("3000 failed: token.malformed 3000; "), "{}", reported[20]);
    daemon.stop();
}

#[test]
fn honours_scopes_and_waits_for_rate_limits() {
    let site = Site::new();
    let daemon = start(&site);
    let scopes = ["tokenize:PHONE"];
    let key = create(&mut daemon.client(), "bulk", &scopes, json!({"limits": {"values_per_second": 100}}));
    let with_key = |line: &str, table: &str| {
        let mut command = command(&daemon, line);
        command.env("MASKER_API_KEY", &key.key);
        feed(command, table)
    };
    let table = rows(300);
    let limited = with_key("tokenize --csv --column phone=PHONE --batch 100", &table).whole();
    assert!(limited == masker(&daemon, "tokenize --csv --column phone=PHONE", &table).whole());
    let ended = with_key(SWAP, "id,phone,card\n1,2,3\n");
    assert!(ended.refused(4).contains("card: perm.denied: "), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn uses_the_session_of_the_environment() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let session = client.post("/api/v1/sessions", &json!({"label": "bulk"})).json();
    let id = session["id"].as_str().unwrap();
    let within = |line: &str, id: &str, table: &[u8]| {
        let mut command = command(&daemon, line);
        command.env("MASKER_APP_SESSION", id);
        feed(command, table)
    };
    let swapped = within("tokenize --csv --column phone=PHONE --batch 10", id, rows(30).as_bytes()).whole();
    within("rehydrate --csv --column phone --skip-rows 9", id, &swapped).whole();
    let session = client.get(&format!("/api/v1/sessions/{id}")).ok();
    assert_eq!((&session["minted"], &session["rehydrated"]), (&json!(30), &json!(21)));
    let ended = within("rehydrate --csv --column phone", "0", &swapped);
    assert!(ended.refused(1).contains("session.not_found"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn continues_the_list_of_failures() {
    let site = Site::new();
    let daemon = start(&site);
    let failures: &Path = &site.path("failures.csv");
    let line = format!("rehydrate --csv --on-error keep-others --column t --failures {}", failures.display());
    assert_eq!(masker(&daemon, &line, "t\nMSKV1.x\nMSK1.y\n").code, Some(2));
    let first = fs::read_to_string(failures).unwrap();
    assert_eq!(masker(&daemon, &format!("{line} --skip-rows 1"), "t\nMSKV1.x\nMSK1.y\n").code, Some(2));
    let second = fs::read_to_string(failures).unwrap();
    let last = first.lines().last().unwrap();
    assert!(last.starts_with("2,t,token.malformed,"), "{last}");
    // The failures of rows that are not skipped are listed again, and not twice.
    assert_eq!(second, first);
    fs::remove_file(failures).unwrap();
    assert_eq!(masker(&daemon, &format!("{line} --skip-rows 1"), "t\nMSKV1.x\nMSK1.y\n").code, Some(2));
    assert_eq!(fs::read_to_string(failures).unwrap(), format!("row,column,code,detail\n{last}\n"));
    daemon.stop();
}

#[test]
fn a_list_of_failures_overwrites_nothing() {
    let site = Site::new();
    let daemon = start(&site);
    let (input, link) = (site.path("input.csv"), site.path("link.csv"));
    let table = "phone\n415-555-0001\n";
    fs::write(&input, table).unwrap();
    symlink(&input, &link).unwrap();
    for path in [&input, &link] {
        for option in ["", " --dry-run", " --skip-rows 1"] {
            let line = format!("tokenize --csv --column phone=PHONE{option} --failures {}", path.display());
            let ended = masker(&daemon, &line, table);
            assert!(ended.refused(1).contains("exists already: "), "{}", ended.stderr);
            assert_eq!(fs::read_to_string(&input).unwrap(), table);
        }
    }
    // Without failures, no file is left.
    let list = site.path("failures.csv");
    for option in ["", " --dry-run"] {
        let line = format!("tokenize --csv --column phone=PHONE{option} --failures {}", list.display());
        assert_eq!(masker(&daemon, &line, table).code, Some(0));
        assert!(!list.exists());
    }
    daemon.stop();
}

#[test]
fn a_row_that_ends_a_run_is_in_the_list_of_failures() {
    let site = Site::new();
    let daemon = start(&site);
    let (file, list) = (site.path("table.csv"), site.path("failures.csv"));
    for (table, message) in [
        (
            "a,b\n1,2\n3\n",
            "masker: stopped at row 2, which has failed: correct it, or use --on-error keep-others or keep-row-empty",
        ),
        ("a,b\n1,2\n3,\"4\n", "masker: row 2 (line 3): "),
    ] {
        fs::write(&file, table).unwrap();
        let line = format!("tokenize --csv --column b=NAME --failures {}", list.display());
        let mut lists = Vec::new();
        for (option, is_file) in [("", true), ("", false), (" --dry-run", true)] {
            let mut command = command(&daemon, &format!("{line}{option}"));
            let ended = if is_file {
                command.stdin(File::open(&file).unwrap());
                ended(command)
            } else {
                feed(command, table)
            };
            // A dry run goes on.
            if option.is_empty() || message.contains("(line 3)") {
                assert!(ended.refused(2).contains(message), "{}", ended.stderr);
            } else {
                assert_eq!((ended.code, ended.text()), (Some(2), "rows\t2\nvalues of b\t1\n"), "{}", ended.stderr);
            }
            lists.push(fs::read_to_string(&list).unwrap());
            fs::remove_file(&list).unwrap();
        }
        assert!(lists[0].starts_with("row,column,code,detail\n2,,value.invalid,"), "{}", lists[0]);
        assert_eq!((&lists[1], &lists[2]), (&lists[0], &lists[0]));
    }
    daemon.stop();
}

#[test]
fn requests_are_as_large_as_the_limits_of_the_caller_allow() {
    let site = Site::new();
    let daemon = start(&site);
    let limits = json!({"limits": {"values_per_second": 1_000_000, "values_burst": 300}});
    let key = create(&mut daemon.client(), "app", &["tokenize", "rehydrate"], limits).key;
    let run = |line: &str, input: &[u8]| {
        let mut command = command(&daemon, line);
        command.env("MASKER_API_KEY", &key);
        feed(command, input).whole()
    };
    let table = rows(1_000);
    let tokens = run(SWAP, table.as_bytes());
    let back = run("rehydrate --csv --column phone --column card", &tokens);
    assert!(back == table.as_bytes());
    let list: String = (0..2_500).map(|number| format!("415{number:07}\n")).collect();
    let tokens = run("tokenize --kind PHONE", list.as_bytes());
    assert!(run("rehydrate", &tokens) == list.as_bytes());
    daemon.stop();
}

#[test]
fn an_input_that_is_also_the_output_is_refused() {
    let site = Site::new();
    let daemon = start(&site);
    let file = site.path("in.csv");
    fs::write(&file, rows(3)).unwrap();
    for line in [SWAP, "tokenize --kind PHONE"] {
        let mut command = command(&daemon, line);
        command.stdin(File::open(&file).unwrap());
        command.stdout(File::options().append(true).open(&file).unwrap());
        let refused = ended(command);
        assert!(refused.code == Some(64) && refused.stderr.contains("is also the output"), "{}", refused.stderr);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), rows(3));
    let empty = masker(&daemon, SWAP, "");
    assert!(empty.refused(1).contains("the input is empty"), "{}", empty.stderr);
    let context = "x".repeat(257);
    let long = masker(&daemon, &format!("{SWAP} --context {context}"), rows(3));
    assert!(long.refused(64).contains("256 bytes"), "{}", long.stderr);
    daemon.stop();
}
