//! Honeytokens: they rehydrate like any token, and each use is recorded.

use std::process::Command;

use serde_json::{Value, json};

use super::harness::{Client, Launch, Site, TestKey, error_code, events_of};

const HONEYTOKENS: &str = "/api/v1/vault/honeytokens";

/// Starts with an audit log.
fn launch(site: &Site) -> Launch<'_> {
    site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64())
}

fn plant(client: &mut Client, request: &Value) -> (String, Value) {
    let response = client.post(HONEYTOKENS, request);
    assert_eq!(response.status, 201);
    let planted = response.json();
    (planted["token"].as_str().unwrap().to_owned(), planted["honeytoken"].clone())
}

#[test]
fn a_honeytoken_rehydrates_and_is_recorded_before_the_answer() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let ordinary = client.token("PHONE", "415-555-2671");
    let (token, mark) = plant(&mut client, &json!({"kind": "PHONE", "label": "the customers' backup"}));
    let (card, _) = plant(&mut client, &json!({"kind": "CARD", "value": "4000-nobody"}));
    let listed = client.get(HONEYTOKENS).ok();
    assert_eq!((&listed["honeytokens"][0], listed["honeytokens"].as_array().unwrap().len()), (&mark, 2));
    assert!(!listed.to_string().contains(&token[token.len() - 32..]), "a list has no tokens");
    assert_eq!(
        (&mark["kind"], &mark["label"], &mark["carries_value"]),
        (&json!("PHONE"), &json!("the customers' backup"), &json!(false))
    );

    client.rehydrate(&[ordinary.as_str()]);
    assert_eq!(client.metric("masker_honeytoken_rehydrated_total"), Some(0.0));
    let opened = client.rehydrate(&[ordinary.as_str(), &token, &token]);
    assert!(opened[1]["value"].as_str().unwrap().starts_with('+') && opened[1]["generation"] == "active", "{opened:?}");
    assert_eq!(client.value(&card), "4000-nobody");
    assert_eq!(client.metric("masker_honeytoken_rehydrated_total"), Some(3.0));
    // A honeytoken that does not open is recorded too, because it has the same origin.
    let other = client.post("/api/v1/rehydrate", &json!({"context": "elsewhere", "tokens": [token]})).results(1);
    assert_eq!(error_code(&other[0]), "token.not_found");
    // A rewrapped token is not a honeytoken; the rewrap itself is recorded.
    assert_eq!(client.ask_tokens("/api/v1/rewrap", &[card.as_str()])[0], json!({"token": card, "changed": false}));
    let warned = daemon.log().wait_for(4, "honeytoken used");
    assert_eq!(warned[0]["level"], "WARN", "{}", warned[0]);

    daemon.stop();
    let events = site.audit_events();
    let raised = events_of(&events, "honeytoken.rehydrated");
    assert_eq!(raised.len(), 4, "{raised:?}");
    let first = &raised[0];
    assert_eq!(first["detail"], json!({"honeytoken_id": mark["id"], "times": 2}), "{first}");
    assert_eq!((&first["caller"]["name"], &first["outcome"]), (&json!("trusted"), &json!("warning")), "{first}");
    assert_eq!(events_of(&events, "honeytoken.plant").len(), 2);
    let text = serde_json::to_string(&events).unwrap();
    for secret in [&token[token.len() - 32..], "4000-nobody", "customers"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn honeytokens_survive_a_kill_until_removed() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let (token, mark) = plant(&mut daemon.client(), &json!({"kind": "NAME"}));
    daemon.kill();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    client.value(&token);
    assert_eq!(client.metric("masker_honeytoken_rehydrated_total"), Some(1.0));
    let path = format!("{HONEYTOKENS}/{}", mark["id"].as_str().unwrap());
    assert_eq!(client.exchange("DELETE", &path, b"").ok(), mark);
    client.exchange("DELETE", &path, b"").problem(404, "honeytoken.not_found");
    client.value(&token);
    assert_eq!(client.metric("masker_honeytoken_rehydrated_total"), Some(1.0));
    daemon.stop();
}

#[test]
fn rejects_invalid_honeytokens() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let long = "l".repeat(129);
    for (request, status, code) in [
        (json!({"kind": "NOTE"}), 422, "honeytoken.refused"),
        (json!({"kind": "NOSUCH"}), 422, "kind.unknown"),
        (json!({"kind": "SSN"}), 422, "context.required"),
        (json!({"kind": "NAME", "policy": "nosuch"}), 422, "policy.unknown"),
        (json!({"kind": "NAME", "label": long}), 400, "request.invalid"),
        (json!({"kind": "NAME", "extra": 1}), 400, "request.invalid"),
    ] {
        client.post(HONEYTOKENS, &request).problem(status, code);
    }
    assert_eq!(client.get(HONEYTOKENS).ok(), json!({"honeytokens": []}));
    daemon.stop();
}

#[test]
fn the_command_line_plants_lists_and_removes_honeytokens() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let masker = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
        let output = command.args(words).arg("--socket").arg(site.socket()).env_clear().output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let token =
        masker(&["vault", "plant-honeytoken", "--kind", "SSN", "--context", "clinic-7", "--label", "in a dump"]);
    assert!(token.starts_with("MSKV1.SSN.K_CARE."), "{token}");
    let listed = masker(&["vault", "honeytokens"]);
    assert!(listed.ends_with("\tin a dump\n"), "{listed}");
    let id = listed.split('\t').next().unwrap();
    masker(&["vault", "remove-honeytoken", id]);
    assert_eq!(masker(&["vault", "honeytokens"]), "");
    daemon.stop();
}

#[test]
fn planting_without_an_audit_log_warns() {
    for (site, warns) in [(Site::new(), false), (Site::new(), true)] {
        let daemon = if warns { site.launch().care_keys() } else { launch(&site) }.start();
        let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
        command.args(["vault", "plant-honeytoken", "--kind", "NAME", "--socket"]).arg(site.socket()).env_clear();
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.contains("there is no audit log")), (Some(0), warns), "{stderr}");
        daemon.stop();
    }
}
