//! Reports of the real daemon, by HTTP and by the command line.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use super::{
    api_keys,
    harness::{Launch, Site, TestKey, events_of},
};

fn launch(site: &Site) -> Launch<'_> {
    site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("the audit chain's").base64())
}

fn site() -> Site {
    let mut site = Site::new();
    let path = site.path("audit");
    site.set("audit", "path", format!("{path:?}"));
    site
}

/// Runs `masker report` with these words.
fn masker_report(site: &Site, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.arg("report").args(words).arg("--socket").arg(site.socket());
    command.env_clear().current_dir(site.path(".")).stdin(Stdio::null()).output().expect("masker can be run")
}

#[test]
fn a_report_says_what_happened() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let billing = api_keys::create(&mut client, "billing", &["tokenize", "rehydrate", "reports:read"], json!({}));
    let mut caller = daemon.client().show(&billing.key);
    let token = caller.token("PHONE", "415-555-2671");
    caller.post("/api/v1/rehydrate", &json!({"tokens": [token, token, "rubbish"]})).ok();
    caller.get("/api/v1/keys").problem(403, "perm.denied");
    client.post("/api/v1/forget", &json!({"tokens": [token]})).ok();
    let report = caller.get("/api/v1/reports").ok();

    let log = &report["log"];
    assert_eq!(
        (&log["verification"], &log["covers_period"], &log["segments"]),
        (&json!("verified"), &json!(true), &json!(1))
    );
    assert!(log["head"].as_str().unwrap().len() > 65, "{log}");
    assert_eq!(report["generated_for"]["name"], "billing");
    let rehydrated = &report["rehydrations"][0];
    assert_eq!((&rehydrated["kind"], &rehydrated["items"]), (&json!("PHONE"), &json!(2)), "{report}");
    assert_eq!(
        (&rehydrated["caller"]["name"], &rehydrated["caller"]["key_id"]),
        (&json!("billing"), &json!(billing.id))
    );
    let malformed = &report["rehydrations"][1];
    assert_eq!((&malformed["items"], &malformed["failed"]), (&json!(0), &json!(1)), "{report}");
    let denied = report["failures"].as_array().unwrap().iter().find(|row| row["op"] == "keys.read").unwrap();
    assert_eq!((&denied["code"], &denied["requests"]), (&json!("perm.denied"), &json!(1)));
    assert_eq!(report["erasures"]["forgotten"][0]["items"], 1, "{report}");
    assert_eq!(report["api_keys"]["states"], json!({"active": 1}));
    assert_eq!(
        (&report["api_keys"]["created"], &report["api_keys"]["events"][0]["op"]),
        (&json!(1), &json!("api_key.create"))
    );
    assert_eq!(report["configuration"][0]["op"], "start");
    assert!(
        report["keys"].as_array().unwrap().iter().any(|key| key["kid"] == "K_CARE" && key["generation"] == "active")
    );
    assert!(!report.to_string().contains("415-555-2671") && !report.to_string().contains(&token));
    // The same by reading all again, but for the event of the report itself.
    let full = caller.get("/api/v1/reports?full=true").ok();
    assert_eq!(full["rehydrations"], report["rehydrations"]);

    let table = caller.get("/api/v1/reports?since=1d&format=csv");
    let table = String::from_utf8(table.body).unwrap();
    assert!(table.starts_with("section,day,time,op,"), "{table}");
    assert!(table.contains("\r\nreport,,,verification,,,,,,,,,,,,verified\r\n"), "{table}");
    daemon.stop();
    let events = events_of(&site.audit_events(), "report.read");
    assert_eq!(events.len(), 3);
    assert_eq!((&events[1]["detail"]["full"], &events[1]["caller"]["name"]), (&json!(true), &json!("billing")));
}

#[test]
fn a_report_needs_its_scope_a_log_and_a_period() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let reader = api_keys::create(&mut client, "reader", &["audit:read"], json!({}));
    let detail = daemon.client().show(&reader.key).get("/api/v1/reports?since=wrong").problem(403, "perm.denied");
    assert!(detail.contains("`reports:read`"), "{detail}");
    for query in ["since=week", "format=pdf", "full=1", "since=1d&until=2d", "since=1950-01-01", "page=2"] {
        client.get(&format!("/api/v1/reports?{query}")).problem(400, "request.invalid");
    }
    daemon.stop();
    fs::rename(site.path("audit"), site.path("aside")).unwrap();
    let daemon = site.launch().care_keys().start();
    daemon.client().get("/api/v1/reports").problem(503, "audit.unavailable");
    daemon.stop();
}

#[test]
fn the_command_line_writes_each_format() {
    let site = site();
    let daemon = launch(&site).start();
    daemon.client().token("PHONE", "415-555-2671");
    for (name, begin) in [
        ("week.json", "{\"version\""),
        ("week.csv", "section,"),
        ("week.html", "<!DOCTYPE html>"),
        ("week.pdf", "%PDF-1.7"),
    ] {
        let output = masker_report(&site, &["--since", "7d", "--output", name]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let written = fs::read(site.path(name)).unwrap();
        assert!(written.starts_with(begin.as_bytes()), "{name}: {}", String::from_utf8_lossy(&written[..40]));
        assert_eq!(site.path(name).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let output = masker_report(&site, &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["log"]["verification"]), (Some(0), &json!("verified")));
    let output = masker_report(&site, &["--output", "week.txt"]);
    assert_eq!(output.status.code(), Some(64));

    // A changed line is a failure of the command, and the report is written all the same.
    let segment = fs::read_dir(site.path("audit")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&segment).unwrap();
    let changed = text.replacen("\"op\":\"tokenize\"", "\"op\":\"tokenise\"", 1);
    assert_ne!(changed, text);
    fs::write(&segment, changed).unwrap();
    for (name, says) in
        [("week.json", "\"failed\""), ("week.csv", "verification,,,,,,,,,,,,failed"), ("week.html", "does NOT verify")]
    {
        let output = masker_report(&site, &["--output", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(fs::read_to_string(site.path(name)).unwrap().contains(says), "{name}");
    }
    daemon.stop();
}
