//! The audit log of the real binary: its events, its integrity, and failures to write it.

mod clock;
mod damage;
mod failing;
mod file_tampering;
mod reading;
mod vault;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use super::harness::{Daemon, Launch, Site, TestKey};

const KEY: &str = "MASKER_AUDIT_HMAC_KEY";

fn key() -> TestKey {
    TestKey::named("the audit chain's")
}

/// Returns a site whose log is in its own directory and syncs each event.
fn site() -> Site {
    let mut site = Site::new();
    let path = site.path("audit");
    site.set("audit", "path", format!("{path:?}"));
    site.set("audit", "sync", "\"always\"");
    site
}

fn launch(site: &Site) -> Launch<'_> {
    site.launch().care_keys().env(KEY, key().base64())
}

/// Returns the segments in order.
fn segments(site: &Site) -> Vec<PathBuf> {
    let mut segments: Vec<_> = fs::read_dir(site.path("audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_none_or(|extension| extension != "rollup"));
    segments.sort();
    segments
}

/// Returns the text of a segment, compressed or not.
fn text_of(path: &Path) -> String {
    let Ok(file) = File::open(path) else { return text_of(&path.with_extension("jsonl.zst")) };
    let bytes = match path.extension().is_some_and(|extension| extension == "zst") {
        true => zstd::decode_all(file),
        false => fs::read(path),
    };
    String::from_utf8(bytes.expect("a segment")).expect("text")
}

/// Returns the events.
fn events(site: &Site) -> Vec<Value> {
    let text: String = segments(site).iter().map(|path| text_of(path)).collect();
    let event = |line: &str| serde_json::from_str::<Value>(line).expect("a line is JSON")["event"].clone();
    text.lines().map(event).collect()
}

fn of<'e>(events: &'e [Value], op: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["op"] == op).collect()
}

/// Returns the only event of an operation.
fn only<'e>(events: &'e [Value], op: &str) -> &'e Value {
    let found = of(events, op);
    assert_eq!(found.len(), 1, "{op}: {found:?}");
    found[0]
}

/// Runs `masker audit …` with the key and the configuration of a site.
fn audit(site: &Site, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.arg("audit").args(words).arg("--config").arg(site.path("masker.toml"));
    command.env_clear().env(KEY, key().base64()).current_dir("/").stdin(Stdio::null());
    command.output().expect("masker can be run")
}

/// Returns the output of `masker audit verify --json` and its exit code.
fn verify(site: &Site, words: &[&str]) -> (Value, Option<i32>) {
    let output = audit(site, &[&["verify", "--json"], words].concat());
    let text = String::from_utf8(output.stdout).expect("text");
    let error = String::from_utf8_lossy(&output.stderr);
    (serde_json::from_str(&text).unwrap_or_else(|_| panic!("JSON, not {text:?}: {error}")), output.status.code())
}

/// Checks that the log verifies up to its end, which the vault records.
fn assert_whole(site: &Site) -> Value {
    let (report, code) = verify(site, &[]);
    assert_eq!(
        (code, &report["ok"], &report["compared_with"]),
        (Some(0), &Value::Bool(true), &Value::from("vault")),
        "{report}"
    );
    report
}

/// Returns the detail of `/health` about the log, if it is degraded.
fn complaint(daemon: &Daemon) -> Option<String> {
    let (_, components) = daemon.client().health();
    let log = &components["audit_log"];
    (log["status"] != "ok").then(|| log["detail"].as_str().expect("a reason").to_owned())
}
