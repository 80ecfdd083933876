//! Files of records through the command line: what is tokenized, what is copied, and that no value gets through.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{
    api_keys::create,
    harness::{Daemon, Site},
};

/// The result of a command. Its output can be binary.
struct Ended {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ended {
    /// Returns the output of a command that succeeded.
    fn whole(self) -> Vec<u8> {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""));
        self.stdout
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    /// Checks that the command failed with `code` and wrote nothing. Returns the message.
    fn refused(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stdout.as_slice()), (Some(code), &b""[..]), "{}", self.stderr);
        &self.stderr
    }
}

fn command(daemon: &Daemon, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.args(line.split(' ')).env_clear().env("MASKER_SOCKET", daemon.socket()).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn feed(mut command: Command, input: impl AsRef<[u8]>) -> Ended {
    let mut child = command.spawn().expect("masker can be run");
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.as_ref().to_vec());
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A command that fails early reads no more.
    let _ = writer.join().unwrap();
    let stderr = String::from_utf8(output.stderr).expect("text");
    Ended { code: output.status.code(), stdout: output.stdout, stderr }
}

fn masker(daemon: &Daemon, line: &str, input: impl AsRef<[u8]>) -> Ended {
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
fn tokenizes_columns_and_copies_the_others() {
    let site = Site::new();
    let daemon = start(&site);
    let mut table = "\u{feff}note,phone,\"a, b\",name\r\n".as_bytes().to_vec();
    table.extend_from_slice("\"said \"\"no\"\"\r\nand left\",415-555-0001,x,Zoë\r\n".as_bytes());
    table.extend_from_slice(b"caf\xE9,,,\"two\nlines, and \"\"quotes\"\"\"\r\n");
    table.extend_from_slice("\" \",415-555-0002,,\r\n".as_bytes());
    let swapped = masker(&daemon, "tokenize --csv --column phone=PHONE --column name=NAME", &table).whole();

    let mut client = daemon.client();
    let phones = client.tokens("PHONE", &["415-555-0001", "415-555-0002"]);
    let names = client.tokens("NAME", &["Zoë", "two\nlines, and \"quotes\""]);
    let mut expected = "\u{feff}note,phone,\"a, b\",name\r\n".as_bytes().to_vec();
    expected.extend(format!("\"said \"\"no\"\"\r\nand left\",{},x,{}\r\n", phones[0], names[0]).into_bytes());
    expected.extend_from_slice(b"caf\xE9,,,");
    expected.extend(format!("{}\r\n\" \",{},,\r\n", names[1], phones[1]).into_bytes());
    // Only fields that need quotes have them.
    let unquoted = String::from_utf8_lossy(&expected).replace("\" \"", " ").into_bytes();
    assert_eq!(String::from_utf8_lossy(&swapped).into_owned().into_bytes(), unquoted);
    assert!(swapped.windows(4).any(|bytes| bytes == b"caf\xE9"), "what is copied need not be UTF-8");

    let back = masker(&daemon, "rehydrate --csv --column phone --column name", &swapped).whole();
    let unquoted = String::from_utf8_lossy(&table).replace("\" \"", " ");
    assert_eq!(String::from_utf8_lossy(&back), unquoted);
    daemon.stop();
}

#[test]
fn reports_failed_cells_and_writes_them_empty() {
    let site = Site::new();
    let daemon = start(&site);
    let failures = site.path("failures.csv");
    let long = "4".repeat(5_000);
    let huge = "7".repeat(300_000);
    let mut table = format!("id,phone,text\n1,415-555-0001,{huge}\n2,{long},b\n3,{huge},c\n").into_bytes();
    // Invalid UTF-8; one cell too many, after which columns are uncertain; one too few; valid text again.
    table.extend_from_slice(b"4,555\xE9,d\n5,x,415-555-0005,e\n6,415-555-0006\n7,415-555-0007,g\n");
    let line = format!("tokenize --csv --column phone=PHONE --failures {}", failures.display());
    let ended = masker(&daemon, &line, &table);
    let tokens = daemon.client().tokens("PHONE", &["415-555-0001", "415-555-0007"]);
    let expected = format!("id,phone,text\n1,{},{huge}\n2,,b\n3,,c\n4,,d\n,,\n,,\n7,{},g\n", tokens[0], tokens[1]);
    assert_eq!((ended.code, ended.text()), (Some(2), expected.as_str()));

    let reported: Vec<&str> = ended.stderr.lines().collect();
    for (line, start) in reported.iter().zip([
        "row 2, phone: value.invalid: ",
        "row 3, phone: value.invalid: ",
        "row 4, phone: value.invalid: ",
        "row 5: value.invalid: ",
        "row 6: value.invalid: ",
        "5 failed: value.invalid 5; all are in ",
    ]) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(reported.len(), 6);
    let listed = fs::read_to_string(&failures).unwrap();
    let begins: Vec<String> =
        listed.lines().map(|line| line.splitn(4, ',').take(3).collect::<Vec<_>>().join(",")).collect();
    assert_eq!(
        begins,
        [
            "row,column,code",
            "2,phone,value.invalid",
            "3,phone,value.invalid",
            "4,phone,value.invalid",
            "5,,value.invalid",
            "6,,value.invalid"
        ]
    );
    for raw in ["415-555", "4444", "7777"] {
        assert!(!ended.stderr.contains(raw) && !listed.contains(raw), "{raw}");
    }

    let unknown = tokens[0].replace("MSKV1.PHONE.K_CARE.", "MSKV1.PHONE.K_CARE.A");
    let ended = masker(&daemon, "rehydrate --csv --column t", format!("t\n{unknown}\nnonsense\n{}\n", tokens[0]));
    assert_eq!((ended.code, ended.text()), (Some(2), "t\n\"\"\n\"\"\n415-555-0001\n"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn lists_the_first_failures_and_counts_the_others() {
    let site = Site::new();
    let daemon = start(&site);
    let table = "t\n".to_owned() + &"nonsense\n".repeat(3_000);
    let ended = masker(&daemon, "rehydrate --csv --column t --batch 100", table);
    assert_eq!((ended.code, ended.text().lines().count()), (Some(2), 3_001));
    let reported: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(reported.len(), 21);
    assert!(reported[19].starts_with("row 20, t: token.malformed: "), "{}", reported[19]);
    assert!(reported[20].starts_with("3000 failed: token.malformed 3000; "), "{}", reported[20]);
    daemon.stop();
}

#[test]
fn an_interrupted_run_can_be_continued() {
    let site = Site::new();
    let daemon = start(&site);
    let table = rows(2_500);
    let whole = masker(&daemon, SWAP, &table).whole();
    assert!(masker(&daemon, &format!("{SWAP} --batch 7 --connections 3"), &table).whole() == whole, "order is kept");

    // A quote that is not closed makes the rest one row.
    let broken = table.replace("\n1900,", "\n\"1900,") + &"x".repeat(5 << 20);
    let ended = masker(&daemon, &format!("{SWAP} --batch 100"), &broken);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("is a quote not closed?"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("continue with --skip-rows 1899\n"), "{}", ended.stderr);
    let rest = masker(&daemon, &format!("{SWAP} --skip-rows 1899"), &table).whole();
    assert!([ended.stdout, rest].concat() == whole);

    let ended = masker(&daemon, &format!("{SWAP} --skip-rows 2500"), &table);
    assert_eq!(ended.whole(), b"");
    let ended = masker(&daemon, &format!("{SWAP} --skip-rows 2501"), &table);
    assert!(ended.refused(1).contains("there are 2500 rows"), "{}", ended.stderr);
    daemon.stop();
}

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

#[test]
fn writes_rows_as_they_arrive_and_counts_them_on_interrupt() {
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
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let (code, stderr) = finish(child);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "masker: interrupted\nThe first 6 rows are done: continue with --skip-rows 6\n");

    let mut child = command(&daemon, SWAP).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    // A complete row does not wait for the rest of the next one.
    stdin.write_all(b"id,phone,card\n1,2,3\n1,").unwrap();
    assert!(lines(&mut stdout, 2).starts_with("id,phone,card\n1,MSKV1."));
    drop(stdout);
    // A closed output is not a failure, as with `head`.
    stdin.write_all(b"2,3\n").unwrap();
    let (code, stderr) = finish(child);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    daemon.stop();
}

#[test]
fn rows_of_a_failed_output_do_not_count_as_done() {
    let site = Site::new();
    let daemon = start(&site);
    for (skip, advice) in
        [("", "No row is done: start again"), (" --skip-rows 7", "The first 7 rows are done: cut the output")]
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

#[test]
fn tokenizes_fields_of_json_lines_and_keeps_all_other_bytes() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let tokens = client.tokens("PHONE", &["415-555-0001", "415-555-0002", "415-555-0003"]);
    let [one, two, three] = [&tokens[0], &tokens[1], &tokens[2]];
    let input = "\u{feff}{ \"z\":1.50, \"patient\" : {\"phone\":\"415-555-\\u0030001\" ,\"age\":1e2}, \"a\":\"\\u00e9\"}\r\n\
        \n\
        {\"patient\": [{\"phone\": [\"415-555-0002\", null, \"\"]}, {\"phone\": \"415-555-0003\"}]}\n\
        {\"patient\": null, \"phone\": \"kept\"}\n\
        {\"patient\": {\"phone\": \"415-555-0001\", \"phone\": \"415-555-0002\"}}";
    let expected = input
        .replace("415-555-\\u0030001", one)
        .replace("415-555-0001", one)
        .replace("415-555-0002", two)
        .replace("415-555-0003", three);
    let swapped = masker(&daemon, "tokenize --jsonl --field patient.phone=PHONE", input).whole();
    assert_eq!(String::from_utf8_lossy(&swapped), expected);
    let back = masker(&daemon, "rehydrate --jsonl --field patient.phone", &swapped).whole();
    assert_eq!(String::from_utf8_lossy(&back), input.replace("\\u00300", "00"));

    let input = "{\"phone\": 4155550001, \"a\": 1}\n{\"phone\": \"415-555-0001\"\n{\"phone\": {\"x\": \"415-555-0001\"}}\n\
        {\"phone\": \"\\ud800\"}\n{\"phone\": \"415-555-0001\"}\n";
    let ended = masker(&daemon, "tokenize --jsonl --field phone=PHONE", input);
    let expected = format!(
        "{{\"phone\": null, \"a\": 1}}\nnull\n{{\"phone\": null}}\n{{\"phone\": null}}\n{{\"phone\": \"{one}\"}}\n"
    );
    assert_eq!((ended.code, ended.text()), (Some(2), expected.as_str()));
    let places: Vec<&str> = ended.stderr.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places[..4], ["row 1, phone", "row 2", "row 3, phone", "row 4, phone"]);
    assert!(!ended.stderr.contains("4155550001") && !ended.stderr.contains("415-555"), "{}", ended.stderr);

    // Deeply nested lists.
    let nested = "[".repeat(100_000) + &"]".repeat(100_000) + "\n";
    let ended = masker(&daemon, "tokenize --jsonl --field phone=PHONE", nested);
    assert_eq!((ended.code, ended.text()), (Some(2), "null\n"));

    // More values in one row than a request can have.
    let many: Vec<String> = (0..12_000).map(|number| format!("415{number:07}")).collect();
    let input = json!({"phone": many}).to_string() + "\n";
    let swapped = masker(&daemon, "tokenize --jsonl --field phone=PHONE --batch 10000", &input).whole();
    let row: Value = serde_json::from_slice(&swapped).unwrap();
    assert_eq!(row["phone"].as_array().unwrap().len(), 12_000);
    assert_eq!(row["phone"][11_999], client.token("PHONE", &many[11_999]));
    daemon.stop();
}

#[test]
fn reads_and_writes_other_forms_of_tables() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-0001");
    let table = "a;415-555-0001;b,c\nd;;\n";
    let swapped = masker(&daemon, "tokenize --csv --no-header --delimiter ; --column 2=PHONE", table).whole();
    assert_eq!(swapped, format!("a;{token};b,c\nd;;\n").into_bytes());
    assert_eq!(masker(&daemon, "tokenize --csv --no-header --column 2=PHONE", "").whole(), b"");
    // A column name that occurs twice means both columns; one kind and context for all; kinds that a policy redacts
    // or passes through.
    let table = "p,n,c,p\n415-555-0001,secret,Bonn,415-555-0001\n";
    let line = "tokenize --csv --policy care --context x --kind PHONE --column p --column n=NOTE --column c=CITY";
    let swapped = masker(&daemon, line, table).whole();
    let bound = client
        .post("/api/v1/tokenize", &json!({"context": "x", "items": [{"kind": "PHONE", "value": "415-555-0001"}]}));
    let bound = bound.results(1)[0]["token"].as_str().unwrap().to_owned();
    assert_eq!(String::from_utf8_lossy(&swapped), format!("p,n,c,p\n{bound},[REDACTED:NOTE],Bonn,{bound}\n"));
    let ended = masker(&daemon, "rehydrate --csv --context x --column p", format!("p\n{bound}\n"));
    assert_eq!(ended.whole(), b"p\n415-555-0001\n");
    daemon.stop();
}

#[test]
fn reports_usage_errors_before_writing() {
    let site = Site::new();
    let daemon = start(&site);
    for (line, input, code, part) in [
        ("tokenize --csv --column fone=PHONE", "phone\n415-555-0001\n", 1, "has no column \"fone\""),
        ("tokenize --csv --column Phone=PHONE", "phone\n1\n", 1, "did you mean \"phone\"?"),
        ("rehydrate --csv --column phone=PHONE", "phone\n1\n", 1, "use --column phone"),
        ("tokenize --csv --column phone=PHONE", "", 1, "has no column"),
        ("tokenize --csv --no-header --column 2=PHONE", "1\n", 1, "there is no column 2"),
        ("tokenize --csv --no-header --column a=PHONE", "1\n", 64, "numbers from 1"),
        ("tokenize --csv --no-header --column 1=PHONE --column 01=CARD", "1\n", 64, "given twice"),
        ("tokenize --csv --column a=PHONE", "\u{feff}", 1, "has no column"),
        ("tokenize --csv --column a=SHOE_SIZE", "a\n42\n", 1, "a: kind.unknown: "),
        ("tokenize --csv --column a=SSN", "a\n42\n", 1, "a: context.required: "),
        ("tokenize --csv --column a=PHONE --policy none", "a\n42\n", 1, "policy.unknown"),
        ("tokenize --csv --json --column a=PHONE", "a\n42\n", 64, "--json"),
        ("tokenize --jsonl --field a=PHONE --field a.b=PHONE", "{}\n", 64, "is inside another"),
    ] {
        let ended = masker(&daemon, line, input);
        let stderr = ended.refused(code);
        assert!(stderr.contains(part) && !stderr.contains("415-555"), "{line}: {stderr}");
    }
    let ended = masker(&daemon, "tokenize --csv --column a=PHONE", b"\xFF\xFEa\0");
    assert!(ended.refused(1).contains("UTF-16"), "{}", ended.stderr);
    let ended = masker(&daemon, "tokenize --csv --column a=PHONE --socket /nowhere", "a\n42\n");
    assert!(ended.refused(5).contains("there is no socket"), "{}", ended.stderr);
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
        command.env("MASKER_SESSION", id);
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
fn appends_to_the_list_of_failures() {
    let site = Site::new();
    let daemon = start(&site);
    let failures: &Path = &site.path("failures.csv");
    let line = format!("rehydrate --csv --column t --failures {}", failures.display());
    assert_eq!(masker(&daemon, &line, "t\nx\ny\n").code, Some(2));
    let first = fs::read_to_string(failures).unwrap();
    assert_eq!(masker(&daemon, &format!("{line} --skip-rows 1"), "t\nx\ny\n").code, Some(2));
    let second = fs::read_to_string(failures).unwrap();
    let last = first.lines().last().unwrap();
    assert!(last.starts_with("2,t,token.malformed,"), "{last}");
    assert_eq!(second, format!("{first}{last}\n"));
    fs::remove_file(failures).unwrap();
    assert_eq!(masker(&daemon, &format!("{line} --skip-rows 1"), "t\nx\ny\n").code, Some(2));
    assert_eq!(fs::read_to_string(failures).unwrap(), format!("row,column,code,detail\n{last}\n"));
    daemon.stop();
}
