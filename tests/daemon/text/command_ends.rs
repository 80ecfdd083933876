//! `masker text`: runs that fail or end early, long texts, and files that are written.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::{NOTE, launch, notes};
use crate::{
    api_keys::create,
    bulk::{command, ended, feed, masker},
    harness::{Site, events_of},
};

/// A value whose kind needs a context in the policy.
const NEEDS_CONTEXT: &str = "SSN: 219-09-9999";

fn write(site: &Site, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = site.path(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A text of so many bytes with some values.
fn long(bytes: usize) -> String {
    let paragraph = format!("{}{NOTE}\n", "The weather was fine, and nothing else happened.\n".repeat(200));
    let mut text = paragraph.repeat(bytes / paragraph.len() + 1);
    text.truncate(bytes);
    text
}

/// Returns the most memory that a process has used, in KiB.
fn memory_peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn memory_does_not_depend_on_the_length_of_a_text() {
    let site = notes();
    let daemon = launch(&site).start();
    let text = long(20 << 20);
    let original = write(&site, "long.txt", &text);
    let masked = site.path("masked.txt");
    for (line, expected, target) in
        [("text mask --replace-with placeholder", None, Some(&masked)), ("text restore", Some(&text), None)]
    {
        let input = if expected.is_some() { masked.to_str().unwrap() } else { &original };
        let mut command = command(&daemon, &format!("{line} {input}"));
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let (mut stdout, mut read) = (child.stdout.take().unwrap(), Vec::new());
        let mut peaks = Vec::new();
        let mut piece = vec![0; 1 << 20];
        loop {
            let length = stdout.read(&mut piece).unwrap();
            if length == 0 {
                break;
            }
            let before = read.len() >> 20;
            read.extend_from_slice(&piece[..length]);
            if read.len() >> 20 > before && read.len() < text.len() - (1 << 20) {
                peaks.push(memory_peak(child.id()));
            }
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (first, last) = (peaks[1], peaks[peaks.len() - 1]);
        assert!(peaks.len() > 15 && last < first + 6 * 1_024, "{line}: {peaks:?} KiB");
        match (expected, target) {
            (Some(expected), _) => assert!(read == expected.as_bytes()),
            (None, Some(target)) => {
                assert!(!String::from_utf8(read.clone()).unwrap().contains("0147"));
                fs::write(target, read).unwrap();
            }
            (None, None) => unreachable!(),
        }
    }
    daemon.stop();
}

#[test]
fn a_reader_that_closes_its_end_is_no_failure() {
    let site = notes();
    let daemon = launch(&site).start();
    let file = write(&site, "long.txt", long(2 << 20));
    for line in ["text mask", "text restore", "text mask --json", "text detect --json"] {
        let mut command = command(&daemon, &format!("{line} {file}"));
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut first = [0; 10];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(0), "".into()), "{line}");
    }
    daemon.stop();
}

#[test]
fn bad_inputs_are_reported_before_anything_is_written() {
    let site = notes();
    let daemon = launch(&site).start();
    let good = write(&site, "good.txt", NOTE);
    let bad = write(&site, "bad.txt", b"Ann\nZo\xEB");
    let cut = write(&site, "cut.txt", b"line\nAnn \xE6\xB8");
    let wide = write(&site, "wide.txt", b"\xFF\xFEA\0n\0n\0");
    let packed = write(&site, "packed.txt", b"\x1F\x8B\x08\0\0\0\0\0");
    let missing = site.path("missing.txt").to_str().unwrap().to_owned();
    let folder = site.path("policies").to_str().unwrap().to_owned();
    for command in ["mask", "restore", "detect", "mask --json", "mask --format json"] {
        for (file, parts) in [
            (&bad, vec!["bad.txt:2:3: not UTF-8 text (byte 6)", "iconv"]),
            (&cut, vec!["cut.txt:2:5: not UTF-8 text (byte 9)"]),
            (&wide, vec!["wide.txt is UTF-16: convert it"]),
            (&packed, vec!["packed.txt is compressed with gzip"]),
            (&missing, vec!["failed to read ", "missing.txt: "]),
            (&folder, vec!["failed to read ", "policies: "]),
        ] {
            let ended = masker(&daemon, &format!("text {command} {good} {file}"), "");
            let message = ended.refused(1);
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
            assert!(!message.contains("Maria") && message.lines().count() == 1, "{message}");
        }
        // From a file, standard input is checked first, too.
        let mut from_file = crate::bulk::command(&daemon, &format!("text {command}"));
        from_file.stdin(File::open(&bad).unwrap());
        let message = ended(from_file);
        assert!(message.refused(1).contains("standard input:2:3: not UTF-8 text (byte 6)"), "{}", message.stderr);
    }
    // From a pipe, what is before it may be written, masked.
    let piped = masker(&daemon, "text mask", [long(100_000).as_bytes(), b"\xFF"].concat());
    assert!(piped.code == Some(1) && !piped.text().contains("0147"), "{}", piped.text());
    assert!(piped.stderr.contains(": not UTF-8 text (byte 100000)"), "{}", piped.stderr);
    let has_advice = piped.stderr.ends_with("The output is not complete: discard it\n");
    assert_eq!(has_advice, !piped.stdout.is_empty(), "{}", piped.stderr);
    for document in ["{\"a\": \"Maria Lopez\",\n \"b\": hunter2}", "{} {}", "", "{\"a\": 'b'}"] {
        let ended = masker(&daemon, "text mask --format json", document);
        let message = ended.refused(1);
        assert!(message.contains("standard input:") && message.contains("not a JSON document"), "{message}");
        assert!(!message.contains("hunter2") && !message.contains("Maria"), "{message}");
    }
    let huge = long((4 << 20) + 1);
    let document = json!({ "text": huge }).to_string();
    for (line, text) in [("text detect", &huge), ("text mask --format json", &document)] {
        let ended = masker(&daemon, line, text);
        assert!(ended.refused(1).contains("standard input is longer than 4 MiB"), "{}", ended.stderr);
    }
    daemon.stop();
}

#[test]
fn a_text_that_cannot_be_masked_is_not_shown() {
    let site = notes();
    let daemon = launch(&site).start();
    let fine = "The weather was fine.\n".repeat(1_000);
    let (first, second) =
        (write(&site, "first.txt", "Nothing here.\n"), write(&site, "second.txt", format!("{fine}{NEEDS_CONTEXT}")));
    let ended = masker(&daemon, &format!("text mask {first} {second}"), "");
    assert_eq!(ended.code, Some(1));
    assert!(!ended.text().contains("219-09") && ended.text().starts_with("Nothing here.\nThe weather"));
    let (place, rest) = ended.stderr.split_once("second.txt:").unwrap().1.split_once(": ").unwrap();
    let line: usize = place.split(':').next().unwrap().parse().unwrap();
    assert!((500..=1_001).contains(&line), "{}", ended.stderr);
    assert!(rest.starts_with("at or after this place: ") && rest.contains("(context.required)"), "{rest}");
    assert!(rest.ends_with("The output is not complete: discard it\n"), "{rest}");

    let output = write(&site, "output.txt", "kept");
    for line in [
        format!("text mask --output {output} {second}"),
        format!("text mask --json --output {output} {second}"),
        format!("text mask --output {output} {first} {second}"),
    ] {
        let ended = masker(&daemon, &line, "");
        let message = ended.refused(1);
        assert!(message.contains("context.required") && message.ends_with("output.txt was not changed\n"), "{message}");
        assert_eq!(fs::read_to_string(&output).unwrap(), "kept");
    }
    let document = json!({"a": "Nothing.", "b": NEEDS_CONTEXT}).to_string();
    let ended = masker(&daemon, "text mask --format json", document);
    assert!(ended.refused(1).contains("standard input: ") && ended.stderr.contains("context.required"));
    let ended = masker(&daemon, "text mask --context clinic-7", NEEDS_CONTEXT);
    assert!(String::from_utf8(ended.whole()).unwrap().contains("MSKV1.SSN."));

    let phones = create(&mut daemon.client(), "phones", &["text:mask:PHONE"], json!({}));
    let with_key = |line: &str, text: &str| {
        let mut command = command(&daemon, line);
        command.env("MASKER_API_KEY", &phones.key);
        feed(command, text)
    };
    assert!(with_key("text mask", NOTE).refused(4).contains("perm.denied"));
    assert!(with_key("text restore", NOTE).refused(4).contains("perm.denied"));
    assert!(with_key("text mask --policy nosuch", NOTE).refused(1).contains("policy.unknown"));
    let unreachable = masker(&daemon, "text mask --socket /nowhere", NOTE);
    assert!(unreachable.refused(5).contains("there is no socket"), "{}", unreachable.stderr);
    daemon.stop();
    let events = events_of(&site.audit_events(), "text.streamed");
    assert!(events.iter().any(|event| event["outcome"] == "context.required"), "{events:?}");
}

#[test]
fn an_output_file_is_replaced_as_a_whole() {
    let site = notes();
    let daemon = launch(&site).start();
    let (original, masked) = (write(&site, "note.txt", NOTE), site.path("masked.txt"));
    let output = masked.to_str().unwrap();
    let mode = || fs::metadata(&masked).unwrap().permissions().mode() & 0o777;
    masker(&daemon, &format!("text mask --output {output} {original}"), "").whole();
    assert!(fs::read_to_string(&masked).unwrap().contains("MSKV1.NAME."));
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&masked, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::metadata(&masked).unwrap().ino();
    masker(&daemon, &format!("text mask --output {output} -"), "Nothing here.\n").whole();
    assert_eq!((fs::read_to_string(&masked).unwrap().as_str(), mode()), ("Nothing here.\n", 0o644));
    assert_ne!(fs::metadata(&masked).unwrap().ino(), before);
    // A link stays, and a file can be its own output.
    let link = site.path("link.txt");
    symlink(&original, &link).unwrap();
    for line in ["text mask", "text restore"] {
        masker(&daemon, &format!("{line} --output {} {original}", link.display()), "").whole();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&original).unwrap() == NOTE, line == "text restore");
    }
    let json = masker(&daemon, &format!("text mask --json --output {output} {original}"), "");
    assert_eq!(json.whole(), b"");
    assert!(fs::read_to_string(&masked).unwrap().starts_with("{\"file\":\""));
    assert!(masker(&daemon, "text mask --output -", "Nothing.").whole() == b"Nothing.");
    for (path, code, part) in [("/dev/null", 64, "it is not a file"), ("/nowhere/x", 1, "failed to write /nowhere/x")] {
        let ended = masker(&daemon, &format!("text mask --output {path} {original}"), "");
        assert!(ended.refused(code).contains(part), "{}", ended.stderr);
    }
    let names: Vec<_> = fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains(".partial")), "{names:?}");

    let same = |line: String| {
        let mut command = command(&daemon, &line);
        command.stdin(Stdio::null()).stdout(File::options().append(true).open(&original).unwrap());
        ended(command)
    };
    let refused = same(format!("text mask {original}"));
    assert!(refused.code == Some(64) && refused.stderr.contains("is also the output"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&original).unwrap(), NOTE);
    daemon.stop();
}

#[test]
fn a_signal_ends_a_run_and_leaves_the_old_file() {
    let site = notes();
    let daemon = launch(&site).start();
    let output = write(&site, "output.txt", "kept");
    for (line, advice) in [
        (format!("text mask --output {output} --verbose"), "output.txt was not changed\n"),
        ("text mask --verbose".to_owned(), "The output is not complete: discard it\n"),
    ] {
        let mut child = command(&daemon, &line).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(long(100_000).as_bytes()).unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut shown = String::new();
        stderr.read_line(&mut shown).unwrap();
        assert!(shown.starts_with("POST /api/v1/text/mask/stream: request "), "{shown}");
        let stdout = child.stdout.take().unwrap();
        let mut stdout = BufReader::new(stdout);
        if !line.contains("--output") {
            stdout.read_line(&mut String::new()).unwrap();
        }
        // Its standard input stays open.
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        stdout.read_to_end(&mut Vec::new()).unwrap();
        shown.clear();
        stderr.read_to_string(&mut shown).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{shown}");
        assert!(shown.starts_with("masker: interrupted by SIGINT\n") && shown.ends_with(advice), "{shown}");
        drop(stdin);
    }
    assert_eq!(fs::read_to_string(&output).unwrap(), "kept");
    daemon.stop();
}

#[test]
fn files_wait_for_limits_by_requests() {
    let site = notes();
    let daemon = launch(&site).start();
    let limits = json!({"limits": {"requests_per_second": 2, "requests_burst": 2}});
    let key = create(&mut daemon.client(), "slow", &["text:mask", "text:detect"], limits).key;
    let files: Vec<String> = (0..5).map(|at| write(&site, &format!("{at}.txt"), NOTE)).collect();
    for line in ["text mask", "text detect --json"] {
        let mut limited = command(&daemon, &format!("{line} {}", files.join(" ")));
        limited.env("MASKER_API_KEY", &key);
        let whole = masker(&daemon, &format!("{line} {}", files.join(" ")), "").whole();
        assert_eq!(ended(limited).whole().len(), whole.len(), "{line}");
    }
    daemon.stop();
}
