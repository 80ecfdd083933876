//! Secrets, and all places where they must not appear.

mod memory;
mod needles;

use std::{
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use data_encoding::HEXLOWER;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::harness::{Client, Daemon, Site, TestKey};
use memory::Memory;
use needles::{Needles, text_of_keys};

const KEYS: [(&str, &str); 4] = [
    ("K_CARE", "MASKER_KEY_K_CARE"),
    ("K_CARE", "MASKER_KEY_K_CARE_OLD"),
    ("K_PAY", "MASKER_KEY_K_PAY"),
    ("K_PAY", "MASKER_KEY_K_PAY_OLD"),
];
const AUDIT: &str = "MASKER_AUDIT_HMAC_KEY";
const CONTEXT: &str = "a ward that nobody may know of";

fn key(variable: &str) -> TestKey {
    TestKey::named(variable)
}

fn start(site: &Site) -> Daemon {
    let mut launch = site.launch().env("MASKER_LOG_LEVEL", "trace").env(AUDIT, key(AUDIT).base64());
    for (_, variable) in KEYS {
        launch = launch.env(variable, key(variable).base64());
    }
    launch.env("MASKER_API_KEY", "an API key that is not the daemon's").start()
}

/// Returns a value that occurs nowhere else, and shares no digits with the thousand others.
fn value(i: usize) -> String {
    format!("secret value {i} of {}", u64::from(u32::MAX) * (i as u64 + 7))
}

/// Sends all operations, in requests of one item and in large ones, and all kinds of failures. Returns the tokens
/// that were minted, and the bodies of the answers that may not contain secrets.
fn traffic(daemon: &Daemon, round: usize) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut client = daemon.client();
    let kinds = ["PHONE", "NAME", "SSN", "CARD", "IBAN", "PIN", "CVV", "NOTE", "CITY"];
    let subject =
        |i: usize| json!({"kind": kinds[i % kinds.len()], "value": value(1_000 * round + i), "context": CONTEXT});
    let (mut tokens, mut answers) = (Vec::new(), Vec::new());
    for size in [1, 900] {
        let items: Vec<Value> = (0..size).map(subject).collect();
        let minted = client.tokenize(&items);
        let made: Vec<Value> =
            minted.iter().filter(|result| result["token"].is_string()).map(|result| result["token"].clone()).collect();
        let asked = json!({"context": CONTEXT, "tokens": made});
        for path in ["/api/v1/rehydrate", "/api/v1/rewrap"] {
            client.post(path, &asked).results(made.len());
        }
        client.ask_items("/api/v1/lookup", &items);
        // Without their context they are not found, and the answer does not say why.
        answers.push(client.post("/api/v1/rehydrate", &json!({ "tokens": made })).body);
        client.post("/api/v1/forget", &json!({"context": CONTEXT, "tokens": made[..made.len() / 4]})).ok();
        tokens.extend(made.iter().map(|token| token.as_str().expect("a token").to_owned()));
    }
    answers.extend(failures(&mut client, &value(0), &tokens[0]));
    for path in
        ["/metrics", "/api/v1/keys", "/api/v1/vault/stats", "/health", "/api/v1/policies", "/api/v1/auth/whoami"]
    {
        answers.push(client.get(path).body);
    }
    answers.push(client.exchange("POST", "/api/v1/vault/check", b"").body);
    (tokens, answers)
}

/// Sends secrets in the wrong places.
fn failures(client: &mut Client, value: &str, token: &str) -> Vec<Vec<u8>> {
    let long = value.repeat(200);
    let bodies = [
        value.to_owned(),
        format!("{{\"items\": [{{\"kind\": \"{value}\", \"value\": \"{value}\"}}]}}"),
        format!("{{\"policy\": \"{value}\", \"items\": []}}"),
        format!("{{\"{token}\": 1}}"),
        format!(
            "{{\"items\": [{{\"kind\": \"PHONE\", \"value\": \"{value}\", \"context\": 1, \"{value}\": \"{CONTEXT}\"}}]}}"
        ),
        format!("{{\"items\": [{{\"kind\": \"PHONE\", \"value\": \"{long}\"}}]}}"),
        format!("{{\"items\": [{{\"kind\": \"SSN\", \"value\": \"{value}\"}}]}}"),
        format!("{{\"tokens\": [\"{token}A\", \"{value}\", {{\"token\": \"{token}\", \"context\": \"{long}\"}}]}}"),
        format!("{{\"tokens\": [\"{token}\""),
        format!("{{\"context\": [\"{CONTEXT}\"], \"tokens\": [\"{token}\"]}}"),
    ];
    let mut answers = Vec::new();
    for path in ["/api/v1/tokenize", "/api/v1/rehydrate", "/api/v1/lookup", "/api/v1/rewrap", "/api/v1/forget"] {
        answers.extend(bodies.iter().map(|body| client.exchange("POST", path, body.as_bytes()).body));
    }
    let name = value.replace(' ', "%20");
    for path in
        [format!("/{name}"), format!("/{token}"), format!("/api/v1/policies/{token}"), format!("/health?{token}")]
    {
        answers.push(client.get(&path).body);
        answers.push(client.exchange("DELETE", &path, b"").body);
    }
    answers
}

#[test]
fn no_log_metric_or_error_contains_secrets() {
    let site = Site::new();
    let daemon = start(&site);
    let (tokens, answers) = traffic(&daemon, 0);
    let proc = |file: &str| fs::read(format!("/proc/{}/{file}", daemon.pid()));
    let places = [("/proc/PID/environ", proc("environ")), ("/proc/PID/cmdline", proc("cmdline"))];

    let mut needles = text_of_keys(KEYS.iter().map(|(_, variable)| *variable).chain([AUDIT]));
    needles.add("an API key", b"an API key that is not the daemon's");
    let before = needles.len();
    for i in 0..900 {
        needles.add("a value", value(i).as_bytes());
    }
    needles.add("a context", CONTEXT.as_bytes());
    for token in &tokens {
        needles.add("a token", token.as_bytes());
        needles.add("a token's body", token.rsplit('.').next().expect("a body").as_bytes());
    }
    // A digest would confirm a guessed value.
    let values = (0..900).map(value);
    for text in values.chain(tokens.iter().cloned()).chain([CONTEXT.to_owned()]) {
        needles.add("a digest", HEXLOWER.encode(&Sha256::digest(text)).as_bytes());
    }
    assert!(needles.len() > before + 900);

    for (place, bytes) in places {
        match bytes {
            Ok(bytes) => {
                assert!(!bytes.is_empty());
                needles.assert_absent(place, &bytes);
            }
            // Without root the process cannot be traced.
            Err(error) => eprintln!("{place} was not searched: {error}"),
        }
    }
    for answer in &answers {
        needles.assert_absent("an answer", answer);
    }
    let log = daemon.stop().log.text();
    assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "the log has debug lines");
    needles.assert_absent("the log", log.as_bytes());
    // The vault stores ids of tokens in plain text, and nothing else of them.
    assert!(site.path("audit").is_dir(), "the audit log has no token ids either");
    for file in [files_under(&site.vault()), files_under(&site.path("audit"))].concat() {
        needles.assert_absent(&file.display().to_string(), &fs::read(&file).unwrap());
    }
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

#[test]
fn dumpable_and_swappable_memory_contains_no_key() {
    let site = Site::new();
    let daemon = start(&site);
    let texts = text_of_keys(KEYS.iter().map(|(_, variable)| *variable).chain([AUDIT]));
    let mut derived = Needles::default();
    for (kid, variable) in KEYS {
        derived.add_derived(variable, kid, &key(variable));
    }
    let search = |when: &str| {
        let memory = Memory::of(daemon.pid())?;
        assert!(memory.sheltered() > 0, "keys are in memory that is neither dumped nor swapped");
        let mut found = memory.find_swapped(&texts);
        found.extend(memory.find_dumped(&texts));
        // Stacks are not dumped, and hold round keys only while they are in use.
        found.extend(memory.find_dumped(&derived));
        assert!(found.is_empty(), "{when}:\n{}", found.join("\n"));
        Ok::<usize, io::Error>(memory.bytes())
    };
    let before = match search("right after the start") {
        Ok(bytes) => bytes,
        Err(error) => return eprintln!("skipped: the memory of another process cannot be read here: {error}"),
    };
    for round in 0..3 {
        thread::scope(|scope| {
            for connection in 0..4 {
                let daemon = &daemon;
                scope.spawn(move || traffic(daemon, 10 * connection + round));
            }
        });
        daemon.reload();
    }
    let after = search("after work").expect("as before");
    eprintln!("searched {before} bytes, then {after}");

    // The search works: it finds the value of the latest request.
    let mut canary = Needles::default();
    let text = "a canary that is easily found in any buffer";
    canary.add("the canary", text.as_bytes());
    let mut client = daemon.client();
    let head = "POST /api/v1/tokenize HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n";
    client.send_raw(format!("{head}x: {text}\r\n\r\n").as_bytes()).unwrap();
    client.receive_continue();
    let memory = Memory::of(daemon.pid()).unwrap();
    assert!(
        !memory.find_dumped(&canary).is_empty() && !memory.find_swapped(&canary).is_empty(),
        "this test sees nothing"
    );
    drop(client);
    daemon.stop();
}

#[test]
fn crashes_leave_no_core_dump() {
    let site = Site::new();
    let daemon = site.launch().care_keys().prelude("ulimit -c unlimited 2> /dev/null").start();
    if let Ok(limits) = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())) {
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        let numbers: Vec<&str> =
            line.split_whitespace().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit())).collect();
        assert_eq!(numbers, ["0", "0"], "{line}");
    }
    assert!(!daemon.crash(Signal::SIGABRT).status.core_dumped());

    // Other processes do leave a core dump, if the system is set up for it.
    let canary = Command::new("/bin/sh")
        .arg("-c")
        .arg("ulimit -c unlimited && kill -ABRT $$")
        .current_dir(site.path(""))
        .status();
    if !canary.unwrap().core_dumped() {
        eprintln!("no process leaves core images on this host");
    }
}
