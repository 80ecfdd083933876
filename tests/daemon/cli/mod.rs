//! The real binary without a real daemon. In place of one, a few lines of HTTP record the requests.

mod credentials;
mod daemon;
mod doctor;

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use clap::CommandFactory;
use daemon::FakeDaemon;
use masker_cli::args::Arguments;
use masker_config::{Credentials, Environment};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use tempfile::TempDir;

/// A directory without configuration; commands in it have an empty environment.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn masker(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
        command.args(words).env_clear().env("HOME", self.0.path()).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs the command with this standard input.
    fn feed(&self, words: &[&str], input: &str) -> Output {
        let mut child = spawn(&mut self.masker(words));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        // A command that fails early reads no more.
        let _ = writer.join().unwrap();
        output
    }
}

/// Binds a socket that does not listen.
fn bound(path: &Path) -> OwnedFd {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    read(command.output().unwrap())
}

fn read(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Returns the words of each command, including hidden ones.
fn commands() -> Vec<(Vec<String>, clap::Command)> {
    fn walk(command: &clap::Command, words: &[String], found: &mut Vec<(Vec<String>, clap::Command)>) {
        found.push((words.to_vec(), command.clone()));
        for below in command.get_subcommands() {
            let words: Vec<String> = words.iter().cloned().chain([below.get_name().to_owned()]).collect();
            walk(below, &words, found);
        }
    }
    let mut found = Vec::new();
    walk(&Arguments::command(), &[], &mut found);
    found
}

/// Returns the examples of a help text.
fn examples(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    lines.take_while(|line| line.starts_with("  ")).map(str::trim).collect()
}

#[test]
fn each_help_text_ends_with_examples() {
    let place = Place::new();
    for (words, _) in commands() {
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let (code, stdout, stderr) = run(&mut place.masker(&words));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}");
        let command = format!("masker {}", words[..words.len() - 1].join(" "));
        let shown = examples(&stdout).iter().any(|example| example.contains(command.trim_end()));
        assert!(shown, "no example of {command}:\n{stdout}");
    }
}

#[test]
fn examples_are_valid_command_lines() {
    let mut tried = 0;
    for (words, command) in commands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in examples(&help) {
            let line = example.split("  ").next().unwrap();
            let parts = line.split(['|', '<', '>']).flat_map(|part| part.split("&&"));
            for part in parts.map(str::trim).filter(|part| part.starts_with("masker ")) {
                let words = part.split_whitespace().map(OsString::from);
                assert!(Arguments::read(words).is_ok(), "{part:?}, an example in the help of {words:?}", words = part);
                tried += 1;
            }
        }
        assert!(!help.contains("  masker\n"), "{words:?}");
    }
    assert!(tried > 40, "{tried} examples were found");
}

#[test]
fn rejects_invalid_command_lines() {
    let place = Place::new();
    for words in [
        &[][..],
        &["tokenise"],
        &["tokenize"],
        &["tokenize", "--kind"],
        &["keys"],
        &["vault", "rotate-key"],
        &["health", "--sockets", "/s"],
        &["health", "--socket", "/s", "--server", "unix:///s"],
        &["health", "--server", "http://masker.example"],
        &["doctor", "--server", "https://masker.example"],
        &["health", "--ca", "ca.pem"],
        &["serve", "--server", "tcp://127.0.0.1:1"],
        &["keys", "generate", "--kid", "K_OLD"],
        &["completions", "dos"],
    ] {
        let (code, stdout, stderr) = run(&mut place.masker(words));
        assert_eq!((code, stdout.as_str()), (Some(64), ""), "{words:?}: {stderr}");
        assert!(!stderr.is_empty(), "{words:?}");
    }
    let (code, _, stderr) = run(place.masker(&["health"]).env("MASKER_SERVER", "http://masker.example"));
    assert!(code == Some(64) && stderr.contains("MASKER_SERVER: http:// would send"), "{stderr}");
}

#[test]
fn help_and_version_exit_with_success() {
    let place = Place::new();
    for words in [&["--help"][..], &["-h"], &["help"], &["help", "vault"], &["--version"], &["-V"], &["vault", "-h"]] {
        let (code, stdout, stderr) = run(&mut place.masker(words));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}");
        assert!(!stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn the_last_of_repeated_flags_counts() {
    let place = Place::new();
    for words in [
        &["health", "--socket", "/first", "--socket", "/last"][..],
        &["--socket", "/first", "health", "--socket", "/last"],
        &["--socket", "/first", "--socket", "/last", "health", "--json", "--json", "-v", "-q", "-v"],
        &["health", "--server", "unix:///first", "--server", "unix:///last"],
    ] {
        let (code, _, stderr) = run(&mut place.masker(words));
        assert!(code == Some(5) && stderr.contains("/last") && !stderr.contains("/first"), "{words:?}: {stderr}");
    }
    let daemon = FakeDaemon::start(&place.path("s"));
    let words = ["tokenize", "--socket", "s", "--kind", "A", "--kind", "B", "-c", "x", "-c", "y", "1", "2"];
    assert_eq!(run(&mut place.masker(&words)).1, "B/y/1\nB/y/2\n");
    drop(daemon);
}

#[test]
fn an_unreachable_daemon_has_an_exit_code_and_advice() {
    let place = Place::new();
    let socket = place.path("s");
    let (code, _, stderr) = run(&mut place.masker(&["health", "--socket", "s"]));
    assert!(code == Some(5) && stderr.contains("there is no socket") && stderr.contains("masker serve"), "{stderr}");
    // Bound but not listening. Dropping a listener is not enough: a child process that another test is starting has a
    // copy until it runs its program.
    let _bound = bound(&socket);
    for words in [&["health"][..], &["tokenize", "--kind", "A", "x"], &["keys", "status"], &["policy", "show"]] {
        let (code, stdout, stderr) = run(place.masker(words).env("MASKER_SOCKET", &socket));
        assert_eq!((code, stdout.as_str()), (Some(5), ""), "{words:?}");
        assert!(stderr.contains("nobody listens on") && stderr.contains("systemctl start masker"), "{stderr}");
    }
}

#[test]
fn reports_all_errors_of_a_configuration() {
    let place = Place::new();
    place.write("masker.toml", "[server]\nsocket = 1\nmode = \"0660\"\n");
    for words in [&["health"][..], &["serve"]] {
        let (code, stdout, stderr) = run(&mut place.masker(words));
        assert_eq!((code, stdout.as_str()), (Some(3), ""), "{words:?}");
        assert!(
            stderr.contains("masker.toml:2: ") && stderr.contains("masker.toml:3: unknown field `mode`"),
            "{stderr}"
        );
    }
}

#[test]
fn serve_reports_errors_of_settings_and_keys_together() {
    let place = Place::new();
    place.write("masker.toml", "[keys]\ngrace_days = \"many\"\n");
    let (code, stdout, stderr) =
        run(place.masker(&["serve"]).env("MASKER_KEY_K", "hunter2").env("MASKER_KEY_L_FILE", "/nonexistent"));
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    for part in ["masker.toml:2: ", "MASKER_KEY_K is not", "MASKER_KEY_L_FILE (/nonexistent) cannot be read"] {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn lists_errors_of_policies_with_their_lines() {
    let place = Place::new();
    fs::create_dir(place.path("policies")).unwrap();
    place.write("policies/a.toml", "name = \"a\"\nversion = 1\nkid = \"K\"\n\n[entities.A]\nnormalize = \"fone\"\n");
    place.write("policies/b.toml", "name = \"b\"\nversion = = 1\nversions = 2\n");
    let (code, stdout, stderr) = run(&mut place.masker(&["policy", "validate", "policies"]));
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    for start in ["policies/a.toml:1: ", "policies/a.toml:6: ", "policies/b.toml:2: ", "policies/b.toml:3: "] {
        assert!(stderr.lines().any(|line| line.starts_with(start)), "{start:?} begins no line of\n{stderr}");
    }

    let (code, stdout, _) = run(&mut place.masker(&["policy", "validate", "policies/a.toml", "--json"]));
    let verdict: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &verdict["valid"]), (Some(3), &false.into()));
    let lines: Vec<&serde_json::Value> = verdict["errors"].as_array().unwrap().iter().map(|e| &e["line"]).collect();
    assert_eq!(lines, [1, 6]);
    assert_eq!(verdict["errors"][0]["file"], "policies/a.toml");
    let (code, _, stderr) = run(&mut place.masker(&["policy", "validate", "nowhere"]));
    assert!(code == Some(3) && stderr.starts_with("nowhere: ") && !stderr.contains("[policy]"), "{stderr}");
}

#[test]
fn lists_valid_policies() {
    let place = Place::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    symlink(shipped, place.path("policies")).unwrap();
    let (code, stdout, stderr) = run(&mut place.masker(&["policy", "validate", "policies"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let names: Vec<&str> = stdout.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(names, ["POLICY", "healthcare-default", "payments", "stateless"]);
    let (code, stdout, _) = run(&mut place.masker(&["policy", "validate", "policies", "--json"]));
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("{\"valid\":true,"), "{stdout}");
}

#[test]
fn warns_of_policies_that_match_a_kind_differently() {
    let place = Place::new();
    fs::create_dir(place.path("policies")).unwrap();
    for (name, normalizer) in [("a", "date_mdy"), ("b", "date_dmy")] {
        let text = format!(
            "name = \"{name}\"\nversion = 1\nkid = \"K\"\ntokenization = \"vault-deterministic\"\n\
             [entities.DOB]\nnormalize = \"{normalizer}\"\n"
        );
        place.write(&format!("policies/{name}.toml"), &text);
    }
    let warning = "DOB under K has different normalizers: `date_mdy` in `a`, `date_dmy` in `b`";
    let (code, _, stderr) = run(&mut place.masker(&["policy", "validate", "policies"]));
    assert!(code == Some(0) && stderr.contains(warning), "{stderr}");
    let (code, stdout, _) = run(&mut place.masker(&["policy", "validate", "policies", "--json"]));
    assert!(code == Some(0) && stdout.contains(warning), "{stdout}");
}

#[test]
fn compares_policies_by_their_effect() {
    let place = Place::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/healthcare-default.toml");
    let text = fs::read_to_string(shipped).unwrap();
    place.write("old.toml", &text);
    place.write("same.toml", &text.replace("version = 1", "version = 2 # and a remark"));
    place.write("new.toml", &text.replacen("normalize = \"phone_nanp\"", "normalize = \"phone\"", 1));
    let (code, stdout, stderr) = run(&mut place.masker(&["policy", "diff", "old.toml", "same.toml"]));
    assert!((code, stdout.as_str()) == (Some(0), "") && stderr.contains("no value is treated differently"), "{stderr}");
    let (code, stdout, _) = run(&mut place.masker(&["policy", "diff", "./old.toml", "new.toml", "--json"]));
    let changes: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, changes.as_array().map(Vec::len)), (Some(0), Some(1)));
    assert_eq!((&changes[0]["kind"], &changes[0]["new_tokens"]), (&"PHONE".into(), &false.into()));
    place.write("broken.toml", "name = 1");
    assert_eq!(run(&mut place.masker(&["policy", "diff", "old.toml", "broken.toml"])).0, Some(3));

    let _daemon = FakeDaemon::start(&place.path("s"));
    let (code, stdout, stderr) = run(&mut place.masker(&["--socket", "s", "policy", "diff", "loaded", "old.toml"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let first = "ACCOUNT\t-\tvault-deterministic K_HEALTHCARE trim\trequests can use it from now on";
    assert_eq!(stdout.lines().take(2).collect::<Vec<_>>(), ["KIND\tBEFORE\tAFTER\tEFFECT", first]);
    assert!(stdout.contains("PHONE\treversible-aead K_X aes-256-gcm random, context required\t"), "{stdout}");
}

#[test]
fn generated_keys_are_valid() {
    let place = Place::new();
    let mut seen = Vec::new();
    for (words, name) in [
        (&["keys", "generate"][..], "MASKER_KEY_K_HEALTHCARE"),
        (&["keys", "generate", "--kid", "k_x"], "MASKER_KEY_K_X"),
        (&["keys", "generate", "--kid", "K_X"], "MASKER_KEY_K_X"),
    ] {
        let (code, stdout, stderr) = run(&mut place.masker(words));
        assert_eq!(code, Some(0));
        let (variable, value) = stdout.trim_end().split_once('=').unwrap();
        assert_eq!(variable, name);
        let environment: Environment = [(variable.into(), value.into())].into_iter().collect();
        let credentials = Credentials::collect(&environment).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(credentials.keys.len(), 1);
        assert!(!stderr.contains(value) && stderr.contains("fingerprint"), "{stderr}");
        seen.push(value.to_owned());
    }
    assert_ne!(seen[1], seen[2]);
    let (_, stdout, stderr) = run(&mut place.masker(&["keys", "generate", "--json", "--quiet"]));
    let key: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&key["variable"], stderr.as_str()), (&"MASKER_KEY_K_HEALTHCARE".into(), ""));
}

#[test]
fn prints_the_fingerprint_of_a_key() {
    let place = Place::new();
    let (_, made, _) = run(&mut place.masker(&["keys", "generate", "--kid", "K_X", "--json", "--quiet"]));
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let key = made["key"].as_str().unwrap();
    let print = |kid: &str, text: &str| read(place.feed(&["keys", "fingerprint", "--kid", kid], text));
    let fingerprint = format!("{}\n", made["fingerprint"].as_str().unwrap());
    assert_eq!(print("k_x", &format!("{key}\n")), (Some(0), fingerprint, String::new()));
    assert_ne!(print("K_Y", key).1, print("K_X", key).1, "the key id is part of it");
    for wrong in ["", "no key", &key[..40], &format!("MASKER_KEY_K_X={key}")] {
        let (code, stdout, stderr) = print("K_X", wrong);
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(stderr.contains("standard input") && (wrong.is_empty() || !stderr.contains(wrong)), "{stderr}");
        assert_eq!(stderr.contains("give the base64 alone"), wrong.contains('='), "{stderr}");
    }
}

#[test]
fn an_argument_that_cannot_be_read_is_an_error_of_the_command_line() {
    let place = Place::new();
    for words in [
        &["api-keys", "create", "--name", "n", "--scope", "tokenise"][..],
        &["api-keys", "create", "--name", "n", "--scope", "tokenize", "--limits", "value_per_second=5"],
        &["audit", "show", "--since", "yesterday"],
        &["sessions", "list", "--since", "yesterday"],
        &["vault", "purge", "--before", "yesterday"],
    ] {
        let (code, _, stderr) = run(&mut place.masker(words));
        assert!(code == Some(64) && stderr.contains("--"), "{words:?}: {code:?} {stderr}");
    }
    let (code, _, stderr) = run(&mut place.masker(&["vault", "import", "nowhere"]));
    assert_eq!((code, &*stderr), (Some(1), "masker: failed to read nowhere: No such file or directory\n"));
}

#[test]
fn writes_completions_for_each_shell() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, stdout, stderr) = run(&mut place.masker(&["completions", shell]));
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(stdout.contains("MASKER_COMPLETE"), "{shell}");
    }
}

#[test]
fn a_closed_output_is_not_a_failure() {
    let place = Place::new();
    let mut child = spawn(&mut place.masker(&["completions", "zsh"]));
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn writes_one_line_for_each_input_line() {
    let place = Place::new();
    let _daemon = FakeDaemon::start(&place.path("s"));
    let words = ["tokenize", "--socket", "s", "--kind", "A", "--policy", "p", "--context", "c"];
    let (code, stdout, stderr) = read(place.feed(&words, "one\nbad\n\r\n x \nlast"));
    assert_eq!(stdout, "A/c/one\n\nA/c/\nA/c/ x \nA/c/last\n");
    assert_eq!(code, Some(2));
    assert_eq!(stderr, "line 2: value.invalid: it is bad\n1 of 5 values failed\n");

    let words = ["rehydrate", "--socket", "s", "--json"];
    let (code, stdout, stderr) = read(place.feed(&words, "good\nbad\n"));
    let lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len(), &lines[0]["value"]), (Some(2), 2, &"good".into()));
    assert_eq!(lines[1]["error"]["code"], "value.invalid");
    assert!(stderr.starts_with("line 2: "), "{stderr}");

    let (code, stdout, _) = run(&mut place.masker(&["lookup", "--socket", "s", "--kind", "A", "x", "y"]));
    assert_eq!((code, stdout.as_str()), (Some(0), "x1\tx2\ny1\ty2\n"));
    let (code, stdout, _) = run(&mut place.masker(&["vault", "forget", "--socket", "s", "x", "unheld"]));
    assert_eq!((code, stdout.as_str()), (Some(0), "forgotten\nnot held\n"));
}

#[test]
fn an_input_line_that_is_not_text_fails_alone() {
    let place = Place::new();
    let _daemon = FakeDaemon::start(&place.path("s"));
    let path = place.path("input");
    fs::write(&path, b"a\n\xFF\nb\n").unwrap();
    let mut command = place.masker(&["tokenize", "--socket", "s", "--kind", "A"]);
    let (code, stdout, stderr) = run(command.stdin(fs::File::open(path).unwrap()));
    assert_eq!((code, stdout.as_str()), (Some(2), "A//a\n\nA//b\n"));
    assert!(stderr.starts_with("line 2: value.invalid: "), "{stderr}");
}

#[test]
fn splits_long_input_into_requests_in_order() {
    let place = Place::new();
    let daemon = FakeDaemon::start(&place.path("s"));
    let input: String = (0..25_000).map(|number| format!("{number}\n")).collect();
    let (code, stdout, _) = read(place.feed(&["tokenize", "--socket", "s", "--kind", "A"], &input));
    let expected: String = (0..25_000).map(|number| format!("A//{number}\n")).collect();
    assert!(code == Some(0) && stdout == expected);
    let sizes = daemon.items();
    assert!(sizes.iter().all(|size| *size <= 10_000) && sizes.iter().sum::<usize>() == 25_000, "{sizes:?}");
}

#[test]
fn answers_each_line_at_once_even_after_a_closed_connection() {
    let place = Place::new();
    let daemon = FakeDaemon::closing(&place.path("s"));
    let mut child = spawn(&mut place.masker(&["tokenize", "--socket", "s", "--kind", "A"]));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for number in 0..20 {
        writeln!(stdin, "{number}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("A//{number}\n"));
        daemon.wait_until_closed(number + 1);
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(daemon.items(), [1; 20]);
}

#[test]
fn refusals_have_exit_codes_and_reasons() {
    let place = Place::new();
    let _daemon = FakeDaemon::start(&place.path("s"));
    for (policy, expected) in
        [("denied", 4), ("no-credential", 4), ("unavailable", 1), ("nonsense", 1), ("foreign", 1), ("broken", 5)]
    {
        let words = ["tokenize", "--socket", "s", "--kind", "A", "--policy", policy, "secret-value"];
        let (code, stdout, stderr) = run(&mut place.masker(&words));
        assert_eq!((code, stdout.as_str()), (Some(expected), ""), "{policy}: {stderr}");
        assert!(!stderr.contains("secret-value"), "{stderr}");
        if ["denied", "unavailable"].contains(&policy) {
            assert!(stderr.contains("what to do") && stderr.contains("request r-1"), "{stderr}");
        }
    }
    let (code, _, stderr) = run(&mut place.masker(&["policy", "reload", "--socket", "s"]));
    assert!(code == Some(3) && stderr.contains("policy.invalid"), "{stderr}");
}

#[test]
fn a_degraded_daemon_has_its_own_exit_code() {
    let place = Place::new();
    let _daemon = FakeDaemon::start(&place.path("s"));
    let (code, stdout, stderr) = run(&mut place.masker(&["health", "--socket", "s", "-v"]));
    assert_eq!(code, Some(2));
    assert!(stdout.starts_with("PART\tSTATUS\t\nmasker\tdegraded\tversion 0.0.0, up 7 s\n"), "{stdout}");
    assert!(stdout.contains("vault\tdegraded\tthe disk\\tis full\n"), "{stdout}");
    assert!(stderr.starts_with("GET /health: 503 in "), "{stderr}");
}

#[test]
fn names_are_percent_encoded_in_paths() {
    let place = Place::new();
    let daemon = FakeDaemon::start(&place.path("s"));
    let (code, _, _) = run(&mut place.masker(&["policy", "show", "../auth/whoami?x", "--socket", "s"]));
    assert_eq!(code, Some(1));
    assert_eq!(daemon.paths(), ["GET /api/v1/policies/%2E%2E%2Fauth%2Fwhoami%3Fx"]);
}

#[test]
fn values_are_written_unchanged() {
    let place = Place::new();
    let _daemon = FakeDaemon::start(&place.path("s"));
    let value = "Zoë \"\\\" \u{1f600} \u{7f}";
    let (_, stdout, _) = read(place.feed(&["rehydrate", "--socket", "s"], &format!("{value}\n")));
    assert_eq!(stdout, format!("{value}\n"));
    let mut rest = Vec::new();
    let mut child = spawn(&mut place.masker(&["rehydrate", "--socket", "s", "two\nlines"]));
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((rest.as_slice(), output.status.code()), (&b"\n"[..], Some(2)), "two lines would look like two values");
    assert!(String::from_utf8(output.stderr).unwrap().contains("use --json or --null-separated"));
}
