//! The events of the log, and reading it.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Instant,
};

use masker_audit::AuditOperation;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{KEY, assert_whole, audit, events, launch, of, only, segments, site, text_of};
use crate::harness::{Client, Daemon, Site, TestKey, item};

/// Sends a request and returns its id.
fn ask(client: &mut Client, method: &str, path: &str, body: &Value) -> (u16, String, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let answer = client.exchange(method, path, &body);
    let content = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, answer.request_id, content)
}

#[test]
fn each_request_of_a_connection_is_recorded_for_its_caller() {
    let site = site();
    let daemon = launch(&site).start();
    let mut admin = daemon.client();
    let mut issue = |name: &str| {
        let (_, _, made) = ask(&mut admin, "POST", "/api/v1/api-keys", &json!({"name": name, "scopes": ["tokenize"]}));
        (made["api_key"]["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
    };
    let ((id, one), (_, other)) = (issue("one"), issue("other"));
    let mut client = daemon.client();
    client.token("PHONE", "1");
    for key in [&one, &other, &one] {
        client = client.show(key);
        client.token("PHONE", "1");
    }
    admin.exchange("PATCH", &format!("/api/v1/api-keys/{id}"), b"{\"name\": \"renamed\"}").ok();
    client.token("PHONE", "1");
    daemon.stop();

    let events = events(&site);
    let callers: Vec<_> = of(&events, "tokenize")
        .iter()
        .map(|event| {
            let caller = &event["caller"];
            (caller["name"].as_str().unwrap(), caller["key_prefix"].as_str(), caller["pid"].as_u64().unwrap())
        })
        .collect();
    let (one, other, pid) = (Some(&one[..16]), Some(&other[..16]), u64::from(std::process::id()));
    assert_eq!(
        callers,
        [("trusted", None, pid), ("one", one, pid), ("other", other, pid), ("one", one, pid), ("renamed", one, pid)]
    );
}

#[test]
fn each_operation_is_recorded() {
    let site = site();
    let (key, uid) = (TestKey::named("care"), nix::unistd::getuid().as_raw());
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let items = json!({"policy": "care", "items": [item("PHONE", "1"), item("PHONE", "2"), item("NOSUCH", "x"), item("NAME", "Ada")]});
    let (_, minted_by, minted) = ask(&mut client, "POST", "/api/v1/tokenize", &items);
    let phone = minted["results"][0]["token"].clone();
    let (_, opened_by, _) = ask(&mut client, "POST", "/api/v1/rehydrate", &json!({"tokens": [phone, "rubbish"]}));
    ask(&mut client, "POST", "/api/v1/lookup", &items);
    ask(&mut client, "POST", "/api/v1/rewrap", &json!({"tokens": [phone]}));
    ask(&mut client, "POST", "/api/v1/forget", &json!({"tokens": [phone]}));
    ask(&mut client, "POST", "/api/v1/tokenize", &json!({"policy": "nosuch", "items": []}));
    for path in
        ["/api/v1/keys", "/api/v1/vault/stats", "/api/v1/policies", "/api/v1/policies/care", "/api/v1/vault/rotations"]
    {
        client.get(path).ok();
    }
    for path in ["/api/v1/keys/reload", "/api/v1/policies/reload", "/api/v1/vault/check", "/api/v1/vault/compact"] {
        client.exchange("POST", path, b"").ok();
    }
    let export = client.exchange("POST", "/api/v1/vault/export", b"").body;
    client.exchange("POST", "/api/v1/vault/import", &export).ok();
    client.post("/api/v1/vault/purge", &json!({"before": "2001-01-01"})).ok();
    let (_, _, rotation) = ask(&mut client, "POST", "/api/v1/vault/rotations", &json!({"new_kid": "K_CARE"}));
    let (_, _, created) =
        ask(&mut client, "POST", "/api/v1/api-keys", &json!({"name": "billing", "scopes": ["tokenize"]}));
    let (id, secret) = (created["api_key"]["id"].as_str().unwrap(), created["key"].as_str().unwrap());
    let mut billing = daemon.client().show(secret);
    billing.token("PHONE", "3");
    billing.get("/api/v1/keys").problem(403, "perm.denied");
    client.get("/api/v1/api-keys").ok();
    client.exchange("PATCH", &format!("/api/v1/api-keys/{id}"), b"{\"scopes\": []}").ok();
    client.exchange("POST", &format!("/api/v1/api-keys/{id}/rotate"), b"{}").ok();
    client.exchange("DELETE", &format!("/api/v1/api-keys/{id}"), b"").ok();
    billing.get("/api/v1/keys").problem(401, "auth.revoked");
    client.get(&format!("/health?key={secret}")).problem(400, "request.invalid");
    // These operate on nothing and are not recorded.
    for path in ["/health", "/metrics", "/api/v1/openapi.json", "/api/v1/auth/whoami"] {
        daemon.client().get(path);
    }
    assert_eq!(daemon.client().metric("masker_audit_events_total{op=\"vault.purge\"}"), Some(1.0));
    assert!(daemon.client().metric("masker_audit_last_sequence").is_some_and(|last| last > 30.0));
    daemon.reload();
    daemon.log().wait_for(1, "rotation ended");
    daemon.stop();

    let events = events(&site);
    let minted = of(&events, "tokenize")[0];
    assert_eq!(
        (&minted["request_id"], &minted["policy"], &minted["status"]),
        (&json!(minted_by), &json!("care"), &json!(200))
    );
    let caller = &minted["caller"];
    assert_eq!(
        (&caller["uid"], &caller["pid"], &caller["mode"]),
        (&json!(uid), &json!(std::process::id()), &json!("live"))
    );
    let active = |kind: &str, outcome: &str, items: u64| json!({"kind": kind, "kid": "K_CARE", "fingerprint": key.fingerprint("K_CARE"), "generation": "active", "outcome": outcome, "items": items});
    let counts = minted["counts"].as_array().unwrap();
    for expected in
        [active("PHONE", "created", 2), active("NAME", "created", 1), json!({"items": 1, "outcome": "kind.unknown"})]
    {
        assert!(counts.contains(&expected), "{expected} is not in {counts:?}");
    }
    assert!(minted["duration_us"].as_u64().is_some_and(|took| took > 0));
    let opened = of(&events, "rehydrate")[0];
    assert_eq!(opened["request_id"], json!(opened_by));
    assert!(opened["counts"].as_array().unwrap().iter().any(|count| count["generation"] == "active"), "{opened}");
    assert_eq!(of(&events, "tokenize")[1]["outcome"], "policy.unknown");

    let start = only(&events, "start");
    assert!(start["caller"].is_null() && start["counts"].as_array().unwrap().len() == 2, "{start}");
    assert_eq!(start["detail"]["version"], env!("CARGO_PKG_VERSION"));
    let exported = only(&events, "vault.exported");
    assert_eq!(exported["request_id"], only(&events, "vault.export")["request_id"]);
    assert_eq!((&exported["outcome"], &exported["detail"]["bytes"]), (&json!("ok"), &json!(export.len())));
    assert_eq!(only(&events, "rotation.end")["detail"]["rotation"], rotation["id"]);
    assert_eq!(only(&events, "rotation.begin")["detail"]["rotation"], rotation["id"]);
    assert_eq!(only(&events, "vault.purge")["detail"]["dry_run"], true);
    assert_eq!(only(&events, "keys.reload")["counts"].as_array().unwrap().len(), 2);
    assert_eq!(only(&events, "reload")["counts"].as_array().unwrap().len(), 2);
    assert_eq!(only(&events, "api_key.create")["detail"]["api_key_id"], json!(id));
    let denied = of(&events, "keys.read");
    let denied = denied.iter().find(|event| event["outcome"] == "perm.denied").unwrap();
    assert_eq!(denied["caller"]["key_prefix"], json!(&secret[..16]));
    assert_eq!(denied["caller"]["key_id"], json!(id));
    assert_eq!(only(&events, "auth.failed")["outcome"], "auth.revoked");
    assert_eq!(only(&events, "refused")["detail"]["reason"], "an API key in a URL");
    let leaving = [
        "lookup",
        "rewrap",
        "forget",
        "vault.stats",
        "vault.check",
        "vault.compact",
        "vault.import",
        "policies.read",
        "policies.reload",
        "rotation.read",
        "api_key.list",
        "api_key.change",
        "api_key.rotate",
        "api_key.revoke",
        "stop",
        "segment.opened",
    ];
    for op in leaving {
        assert!(!of(&events, op).is_empty(), "nothing tells of {op}");
    }
    let known: Vec<&str> = AuditOperation::ALL.iter().map(|op| op.as_str()).collect();
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(events.iter().all(|event| known.contains(&event["op"].as_str().unwrap())));
    let log: String = segments(&site).iter().map(|path| text_of(path)).collect();
    assert!(!log.contains(secret) && !log.contains(phone.as_str().unwrap().rsplit('.').next().unwrap()));
    assert_eq!(assert_whole(&site)["events"], events.len());
}

/// Returns a daemon whose log has events of two callers.
fn two_callers(site: &Site) -> (Daemon, String) {
    let daemon = launch(site).start();
    let mut client = daemon.client();
    let created =
        client.post("/api/v1/api-keys", &json!({"name": "billing", "scopes": ["tokenize", "rehydrate"]})).json();
    let secret = created["key"].as_str().unwrap().to_owned();
    let token = client.token("PHONE", "1");
    let mut billing = daemon.client().show(&secret);
    for _ in 0..5 {
        billing.rehydrate(&[token.as_str()]);
    }
    (daemon, secret)
}

fn lines(output: &std::process::Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn filters_events_by_time_caller_and_operation() {
    let site = site();
    let (daemon, secret) = two_callers(&site);
    let shown = lines(&audit(&site, &["show", "--json", "--since", "24h", "--caller", "billing", "--op", "rehydrate"]));
    assert_eq!(shown.len(), 5);
    assert!(shown.iter().all(|event| event["op"] == "rehydrate" && event["caller"]["name"] == "billing"), "{shown:?}");
    assert!(shown.iter().all(|event| events(&site).contains(event)), "as in the log");
    assert!(lines(&audit(&site, &["show", "--json", "--until", "2001-01-01"])).is_empty());
    let text = audit(&site, &["show", "--op", "rehydrate"]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.lines().count() == 5 && text.contains("\trehydrate\tok\tbilling ("), "{text}");
    for wrong in [["--op", "rehydrated"], ["--since", "yesterday"]] {
        let output = audit(&site, &[&["show"][..], &wrong].concat());
        assert_eq!(output.status.code(), Some(64), "{}", String::from_utf8_lossy(&output.stderr));
    }

    // The pages together are the whole log, in order and without repetitions.
    let mut client = daemon.client();
    let (mut cursor, mut numbers) = ("0".to_owned(), Vec::new());
    loop {
        let page = client.get(&format!("/api/v1/audit/events?limit=2&until=2999-01-01&cursor={cursor}")).ok();
        numbers.extend(page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()));
        cursor = page["cursor"].as_str().unwrap().to_owned();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    for query in ["limit=0", "limit=1001", "cursor=x", "since=yesterday", "op=tokenise", "page=2"] {
        client.get(&format!("/api/v1/audit/events?{query}")).problem(400, "request.invalid");
    }
    let detail = daemon.client().show(&secret).get("/api/v1/audit/events").problem(403, "perm.denied");
    assert!(detail.contains("`audit:read`"), "{detail}");
    // Reading the log is recorded, except for reads that found only such events.
    let before = of(&events(&site), "audit.read").len();
    assert!(before > 0);
    client.get(&format!("/api/v1/audit/events?cursor={cursor}")).ok();
    let looks = of(&events(&site), "audit.read").len();
    client.get("/api/v1/audit/events?op=audit.read").ok();
    assert_eq!(of(&events(&site), "audit.read").len(), looks);
    daemon.stop();
}

#[test]
fn follows_events_as_they_are_written() {
    let site = site();
    let (daemon, _) = two_callers(&site);
    let mut tail = Command::new(env!("CARGO_BIN_EXE_masker"))
        .args(["audit", "tail", "--json", "--op", "tokenize"])
        .env_clear()
        .env("MASKER_SOCKET", daemon.socket())
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&shown.next().unwrap().unwrap()).unwrap();
    let first = next();
    let asked = daemon.client().post("/api/v1/tokenize", &json!({"items": [item("NAME", "Ada")]}));
    let second = next();
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert_eq!(second["request_id"], asked.request_id);
    assert!(first["seq"].as_u64() < second["seq"].as_u64());
    daemon.stop();
}

#[test]
fn warns_that_there_is_no_log_without_a_key() {
    let site = site();
    let daemon = site.launch().care_keys().start();
    daemon.client().token("PHONE", "1");
    let (status, components) = daemon.client().health();
    assert_eq!((status.as_str(), &components["audit_log"]["status"]), ("ok", &json!("off")));
    let detail = daemon.client().get("/api/v1/audit/events").problem(503, "audit.unavailable");
    assert!(detail.contains(KEY), "{detail}");
    let log = daemon.stop().log.text();
    assert!(log.contains("there is no audit log") && !site.path("audit").exists(), "{log}");
}

#[test]
fn segments_are_closed_by_size_compressed_and_form_one_chain() {
    let mut site = site();
    site.set("audit", "segment_mb", "1");
    site.set("audit", "sync", "\"100ms\"");
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    // Each event has some 400 bytes.
    for _ in 0..4_000 {
        client.get("/api/v1/keys").ok();
    }
    let ended = daemon.log().wait_for(1, "a segment of the audit log ends").remove(0);
    daemon.log().wait_for(1, "a closed segment of the audit log was compressed");
    let stopped = daemon.stop();
    let files = segments(&site);
    assert!(files.len() >= 2 && files[0].to_str().unwrap().ends_with(".jsonl.zst"), "{files:?}");
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().permissions().mode() & 0o7777 == 0o600));
    let report = assert_whole(&site);
    assert_eq!(report["segments"], files.len());
    // The heads in the daemon's log, at the end of the segment and at the stop, are in the chain.
    let last = stopped.log.wait_for(1, "the audit log ends").remove(0);
    for line in [ended, last] {
        let head = line["head"].as_str().expect("a head");
        let (report, code) = super::verify(&site, &["--head", head]);
        assert_eq!((code, &report["compared_with"]), (Some(0), &json!("argument")), "{report}");
    }
    let (report, code) = super::verify(&site, &[files[0].to_str().unwrap()]);
    assert_eq!((code, &report["ok"]), (Some(2), &json!(true)), "it is compared with nothing: {report}");
}

#[test]
fn a_reload_that_a_stop_meets_is_recorded() {
    let site = site();
    let daemon = launch(&site).start();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_notification("RELOADING=1");
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_notification("STOPPING=1");
    daemon.stopped(Instant::now());
    only(&events(&site), "reload");
    assert_whole(&site);
}
