//! `masker text`: what goes in comes back, and what is shown of it.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{DETECT, MASK, NOTE, RESTORE, ask, launch, notes};
use crate::{
    bulk::{command, ended, feed, masker},
    harness::{Daemon, Site, shape_of},
};

/// Texts that must come back byte for byte.
fn texts() -> Vec<String> {
    vec![
        String::new(),
        "\n".to_owned(),
        NOTE.to_owned(),
        format!("{NOTE}\r\n\r\nCall back at (212) 555-0147.\r\n"),
        format!("\u{feff}{NOTE}\n"),
        format!("<p>{NOTE}</p> **bold** 渚😀 \u{1}\t\u{7f}"),
        format!("{}\n{NOTE}", "The weather was fine, and nothing else happened. ".repeat(2_000)),
    ]
}

/// Writes a file of a site, and returns its path.
fn write(site: &Site, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = site.path(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Returns the lines of an output of JSON.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Runs a command on a terminal.
fn on_terminal(daemon: &Daemon, line: &str, variables: &[(&str, &str)]) -> String {
    let mut script = Command::new("script");
    let line = format!("exec {} {line}", env!("CARGO_BIN_EXE_masker"));
    script.args(["--quiet", "--command", &line, "/dev/null"]).env_clear().envs(variables.iter().copied());
    script.env("MASKER_SOCKET", daemon.socket()).env("SHELL", "/bin/sh").stdin(Stdio::null());
    String::from_utf8(script.output().unwrap().stdout).unwrap()
}

#[test]
fn a_masked_text_comes_back_byte_for_byte() {
    let site = notes();
    let daemon = launch(&site).start();
    for text in texts() {
        for form in ["", " --replace-with placeholder"] {
            let masked = masker(&daemon, &format!("text mask{form}"), &text).whole();
            let masked_text = std::str::from_utf8(&masked).unwrap();
            assert!(!masked_text.contains("Maria") && !masked_text.contains("0147"), "{masked_text}");
            assert_eq!(masked_text == text, !text.contains("Maria"), "{masked_text}");
            assert!(masker(&daemon, "text restore", &masked).whole() == text.as_bytes(), "{text}");
            // What is masked already stays.
            assert!(masker(&daemon, &format!("text mask{form} -"), &masked).whole() == masked, "{masked_text}");
            assert_eq!(masker(&daemon, "text detect --check", &masked).whole(), b"");
        }
    }
    daemon.stop();
}

#[test]
fn a_command_answers_as_the_interface_does() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let document = json!({"note": NOTE, "lines": "a\nb \"quoted\"", "mrn": "00455-21"}).to_string();
    for (text, format) in [(NOTE, "plain"), (texts()[6].as_str(), "plain"), (document.as_str(), "json")] {
        let file = write(&site, "a file.txt", text);
        for (line, options) in [
            ("text mask", json!({})),
            ("text mask --explain --replace-with placeholder", json!({"explain": true, "replace_with": "placeholder"})),
            ("text mask --context clinic-7", json!({"context": "clinic-7"})),
        ] {
            let mut options = options;
            options["format"] = format.into();
            let asked = ask(&mut client, MASK, text, options.clone());
            let mut command = command(&daemon, &format!("{line} --json --format {format}"));
            let masked = json_lines(ended(with_file(&mut command, &file)).text()).remove(0);
            compare(&masked, &asked, &file);
            let masked = asked["text"].as_str().unwrap();
            let context =
                options["context"].as_str().map(|context| format!(" --context {context}")).unwrap_or_default();
            let back = masker(&daemon, &format!("text restore --json --format {format}{context}"), masked);
            let more = json!({"context": options["context"].as_str().unwrap_or(""), "format": format});
            compare(&json_lines(back.text())[0], &ask(&mut client, RESTORE, masked, more), "-");
        }
        let asked = ask(&mut client, DETECT, text, json!({"format": format}));
        let found = masker(&daemon, &format!("text detect --json --format {format} -"), text);
        compare(&json_lines(found.text())[0], &asked, "-");
        assert!(!found.text().contains("Maria") && !found.text().contains("0147"), "{}", found.text());
    }
    daemon.stop();
}

fn with_file(command: &mut Command, file: &str) -> Command {
    let mut with = Command::new(command.get_program());
    with.args(command.get_args()).arg(file).env_clear().stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        with.env(name, value.unwrap());
    }
    with
}

/// Compares a line of a command with a result of the interface. Streams do not name labels of earlier parts.
fn compare(line: &Value, result: &Value, file: &str) {
    let shape = shape_of(line);
    assert!(shape.contains(&"file"), "{line}");
    let mut expected = result.clone();
    expected["file"] = file.into();
    assert_eq!(shape, shape_of(&expected));
    for (member, value) in expected.as_object().unwrap() {
        assert!(line[member] == *value, "{member} of\n{line}\nand\n{expected}");
    }
}

#[test]
fn several_files_are_texts_of_their_own() {
    let site = notes();
    let daemon = launch(&site).start();
    let files: Vec<String> =
        texts().iter().enumerate().map(|(at, text)| write(&site, &format!("{at}.txt"), text)).collect();
    let line = format!("text mask --replace-with placeholder {}", files.join(" "));
    let masked = masker(&daemon, &line, "").whole();
    let each = files.iter().map(|file| masker(&daemon, &format!("text mask --replace-with placeholder {file}"), ""));
    assert!(each.map(|each| each.whole()).collect::<Vec<_>>().concat() == masked);
    assert!(masker(&daemon, "text restore", &masked).whole() == texts().concat().as_bytes());

    let lines = masker(&daemon, &format!("text mask --json {} - {}", files[2], files[3]), NOTE).whole();
    let lines = json_lines(std::str::from_utf8(&lines).unwrap());
    let names: Vec<&str> = lines.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!(names, [files[2].as_str(), "-", files[3].as_str()]);
    assert_eq!((&lines[0]["findings"], &lines[0]["text"]), (&lines[1]["findings"], &lines[1]["text"]));
    let found = masker(&daemon, &format!("text detect {} {}", files[3], files[2]), "").whole();
    let found = String::from_utf8(found).unwrap();
    assert_eq!(found.lines().count(), 1 + 5 + 4, "one header:\n{found}");
    let twice = masker(&daemon, "text mask - -", "");
    assert!(twice.refused(64).contains("given once"), "{}", twice.stderr);
    daemon.stop();
}

#[test]
fn what_is_found_has_a_place_and_no_value() {
    let site = notes();
    let daemon = launch(&site).start();
    let text = "Zoë wrote:\r\nCall (212) 555-0147 from Denver, password: hunter2-hunter2\n";
    let found = masker(&daemon, "text detect", text).whole();
    let found = String::from_utf8(found).unwrap();
    let rows: Vec<Vec<&str>> = found.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0], ["FILE", "PLACE", "BYTES", "KIND", "ACTION", "CONFIDENCE", "RULE"]);
    let phone = rows.iter().find(|row| row[3] == "PHONE").unwrap_or_else(|| panic!("{found}"));
    assert_eq!(phone[..5], ["-", "2:6", "18-32", "PHONE", "tokenize"], "{found}");
    assert!(rows.iter().any(|row| row[3] == "SECRET" && row[4] == "redact"), "{found}");
    assert!(rows.iter().any(|row| row[3] == "LOCATION" && row[4] == "passthrough"), "{found}");
    for value in ["Zoë", "555", "hunter2", "Denver"] {
        assert!(!found.contains(value), "{found}");
    }

    let explained = masker(&daemon, "text detect --explain", text).whole();
    let explained = String::from_utf8(explained).unwrap();
    assert_eq!(explained.lines().count(), rows.len() - 1, "{explained}");
    let line = explained.lines().find(|line| line.contains("PHONE")).unwrap();
    assert!(line.starts_with("standard input:2:6: PHONE 0.") && line.contains(" tokenize: rule "), "{line}");
    assert!(line.contains(" (validated)") || line.contains(" (labelled)") || line.contains(" (pattern)"), "{line}");
    let masked = masker(&daemon, "text mask --explain", text);
    assert_eq!(masked.code, Some(0));
    let places =
        |lines: &str| lines.lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(places(&masked.stderr), places(&explained), "{}", masked.stderr);
    for shown in [&explained, &masked.stderr] {
        assert!(!shown.contains("555") && !shown.contains("hunter2") && !shown.contains('\x1b'), "{shown}");
    }
    daemon.stop();
}

#[test]
fn explanations_have_colors_on_a_terminal() {
    let site = notes();
    let daemon = launch(&site).start();
    let file = write(&site, "note.txt", NOTE);
    let shown = on_terminal(&daemon, &format!("text detect --explain {file}"), &[]);
    assert!(shown.contains(&format!("\x1b[1m{file}:1:1\x1b[0m: \x1b[1;36mNAME\x1b[0m 0.")), "{shown}");
    assert!(shown.contains("\x1b[32mtokenize\x1b[0m: rule ") && !shown.contains("Maria"), "{shown}");
    let shown = on_terminal(&daemon, &format!("text detect --explain {file}"), &[("NO_COLOR", "1")]);
    assert!(shown.contains(&format!("{file}:1:1: NAME 0.")) && !shown.contains('\x1b'), "{shown}");
    let shown = on_terminal(&daemon, &format!("text detect {file}"), &[]);
    assert!(shown.contains("CONFIDENCE") && shown.contains("PHONE") && !shown.contains("0147"), "{shown}");
    // A text cannot move the cursor.
    let file = write(&site, "escape.txt", "\x1b[2J red\tand\nblue");
    let shown = on_terminal(&daemon, &format!("text mask {file}"), &[]);
    assert_eq!(shown, "\\u{1b}[2J red\tand\r\nblue");
    daemon.stop();
}

#[test]
fn a_check_has_an_exit_code() {
    let site = notes();
    let daemon = launch(&site).start();
    for (text, code) in [
        ("The weather was fine.", 0),
        ("", 0),
        (NOTE, 2),
        ("my password: hunter2-hunter2", 2),
        // The policy passes it through, so masking leaves it in the text.
        ("It rained in Denver.", 0),
    ] {
        let ended = masker(&daemon, "text detect --check", text);
        assert_eq!(ended.code, Some(code), "{text}: {}{}", ended.text(), ended.stderr);
        assert_eq!(masker(&daemon, "text detect", text).code, Some(0));
        assert_eq!(masker(&daemon, "text detect --check --json", text).code, Some(code));
    }
    let files = [write(&site, "clean.txt", "The weather was fine."), write(&site, "note.txt", NOTE)];
    assert_eq!(masker(&daemon, &format!("text detect --check {}", files.join(" ")), "").code, Some(2));
    daemon.stop();
}

#[test]
fn placeholders_belong_to_the_session_of_the_environment() {
    let site = notes();
    let daemon = launch(&site).start();
    let session = daemon.client().post("/api/v1/sessions", &json!({"label": "chat"})).json();
    let within = |line: &str, input: &[u8]| {
        let mut command = command(&daemon, line);
        command.env("MASKER_APP_SESSION", session["id"].as_str().unwrap());
        feed(command, input)
    };
    let document = json!({"note": NOTE}).to_string();
    for (line, text) in [("", NOTE), (" --format json", document.as_str())] {
        let masked = within(&format!("text mask --replace-with placeholder{line}"), text.as_bytes()).whole();
        assert!(within(&format!("text restore{line}"), &masked).whole() == text.as_bytes());
        // The caller has other placeholders without the session.
        let ended = masker(&daemon, &format!("text restore{line}"), &masked);
        assert_eq!((ended.code, &ended.stdout), (Some(2), &masked));
        let column = if line.is_empty() { 1 } else { 10 };
        let first = format!("standard input:1:{column}: not restored: placeholder.not_found");
        assert_eq!(ended.stderr.lines().next(), Some(first.as_str()), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 4, "{}", ended.stderr);
        let ended = masker(&daemon, &format!("text restore --json{line}"), &masked);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""));
        assert_eq!(json_lines(ended.text())[0]["unrestored"].as_array().unwrap().len(), 4);
    }
    let changed = masker(&daemon, "text restore", "a\nb [PHONE_7F3KQ2X0]\n");
    assert_eq!((changed.code, changed.text()), (Some(2), "a\nb [PHONE_7F3KQ2X0]\n"));
    assert_eq!(changed.stderr, "standard input:2:3: not restored: placeholder.check\n");
    let many = "[PHONE_7F3KQ2X0]\n".repeat(30);
    let many = masker(&daemon, "text restore", many);
    assert_eq!(many.stderr.lines().count(), 21);
    assert!(many.stderr.ends_with("not restored: 30 in all\n"), "{}", many.stderr);
    daemon.stop();
}

#[test]
fn json_documents_keep_everything_else() {
    let site = notes();
    let daemon = launch(&site).start();
    let document = "\u{feff}{ \"mrn\" : \"00455-21\",\r\n\t\"Maria Lopez\": [\"call (212) 555-0147\", 1e3, null]}\r\n";
    let masked = masker(&daemon, "text mask --format json", document).whole();
    let masked_text = std::str::from_utf8(&masked).unwrap();
    assert!(masked_text.starts_with("\u{feff}{ \"mrn\" : \"MSKV1.MRN.") && masked_text.contains("1e3, null]}\r\n"));
    assert!(masked_text.contains("\"Maria Lopez\"") && !masked_text.contains("0147"), "{masked_text}");
    assert!(masker(&daemon, "text restore --format json", &masked).whole() == document.as_bytes());
    let found = masker(&daemon, "text detect --format json", document).whole();
    let found = String::from_utf8(found).unwrap();
    assert!(found.lines().nth(1).unwrap().starts_with("-\t1:12\t14-22\tMRN\t"), "{found}");
    let found = masker(&daemon, "text detect --format json --json", document).whole();
    assert_eq!(serde_json::from_slice::<Value>(&found).unwrap()["findings"][0]["start"], 14);
    daemon.stop();
}

#[test]
fn options_reach_the_daemon() {
    let site = notes();
    site.policy("other.toml", "name = \"other\"\nversion = 1\nkid = \"K_CARE\"\ntokenization = \"vault-deterministic\"\n[entities.PHONE]\n[text]\nlanguages = [\"en\", \"de\"]\n");
    let daemon = launch(&site).start();
    let masked = masker(&daemon, "text mask --policy other --language de", NOTE).whole();
    let masked = String::from_utf8(masked).unwrap();
    assert!(masked.contains("[REDACTED:NAME]") && masked.contains("MSKV1.PHONE.K_CARE."), "{masked}");
    for line in ["text mask --language de", "text detect --language de"] {
        let ended = masker(&daemon, line, NOTE);
        assert!(ended.refused(1).contains("`language` is not one of the policy"), "{}", ended.stderr);
    }
    let context = "x".repeat(257);
    let long = masker(&daemon, &format!("text restore --context {context}"), NOTE);
    assert!(long.refused(64).contains("256 bytes"), "{}", long.stderr);
    daemon.stop();
}

#[test]
fn an_input_that_waits_is_answered_at_its_end() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut child = command(&daemon, "text mask").spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for part in ["Call (212) ", "555-01", "47, \u{e9}"] {
        stdin.write_all(part.as_bytes()).unwrap();
    }
    // Within a character.
    stdin.write_all(&"é".as_bytes()[..1]).unwrap();
    stdin.write_all(&"é".as_bytes()[1..]).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("Call MSKV1.PHONE.") && text.ends_with(", éé"), "{text}");
    daemon.stop();
}
