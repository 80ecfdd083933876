//! Honeytokens: they rehydrate like any token, and each use is recorded.

use std::{process::Command, time::Instant};

use serde_json::{Value, json};

use super::{
    api_keys::create,
    harness::{Client, Launch, Site, TestKey, error_code, events_of, item},
};

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
    // In the order of their ids. Those of one millisecond are in any order.
    let listed_marks = listed["honeytokens"].as_array().unwrap();
    assert!(listed_marks.len() == 2 && listed_marks.contains(&mark), "{listed}");
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
fn a_honeytoken_in_the_place_of_a_value_raises_the_alarm() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let (token, mark) = plant(&mut client, &json!({"kind": "PHONE"}));
    let items = json!({"items": [item("PHONE", "415-555-2671"), item("PHONE", &token)]});
    for operation in ["tokenize", "lookup", "forget"] {
        let results = client.post(&format!("/api/v1/{operation}"), &items).results(2);
        assert_eq!(error_code(&results[1]), "value.is_token", "{operation}");
    }
    daemon.stop();
    let events = site.audit_events();
    let raised = events_of(&events, "honeytoken.rehydrated");
    assert!(
        raised.len() == 3 && raised.iter().all(|event| event["detail"]["honeytoken_id"] == mark["id"]),
        "{raised:?}"
    );
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
fn a_honeytoken_in_a_refused_request_raises_the_alarm() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let mut root = daemon.client();
    let (token, mark) = plant(&mut root, &json!({"kind": "PHONE"}));
    let (card, _) = plant(&mut root, &json!({"kind": "CARD"}));
    let body = json!({"tokens": [token, token]}).to_string();
    let scopes = ["rehydrate", "rewrap", "forget"];
    let mut raised = 0.0;
    let mut alarms = |root: &mut Client, more: f64, what: &str| {
        raised += more;
        assert_eq!(root.metric("masker_honeytoken_rehydrated_total"), Some(raised), "{what}");
    };
    let key =
        |root: &mut Client, scopes: &[&str], limits: Value| create(root, "thief", scopes, json!({"limits": limits}));

    // No scope, no requests left, no values in one request, no budget, no session, an invalid credential, no JSON.
    let unscoped = key(&mut root, &["tokenize"], json!("none"));
    for path in ["/api/v1/rehydrate", "/api/v1/rewrap", "/api/v1/forget"] {
        unscoped.client(&daemon).exchange("POST", path, body.as_bytes()).problem(403, "perm.denied");
        alarms(&mut root, 2.0, path);
    }
    for (limits, code) in [
        (json!({"requests_per_hour": 1}), "rate.limited"),
        (json!({"values_per_hour": 1}), "rate.limited"),
        (json!({"operations_per_day": 1}), "quota.exceeded"),
        (json!({"rehydrations_per_day": 1}), "quota.exceeded"),
    ] {
        let limited = key(&mut root, &scopes, limits.clone());
        let mut client = limited.client(&daemon);
        if limits.get("requests_per_hour").is_some() {
            client.post("/api/v1/rehydrate", &json!({"tokens": []})).results(0);
        }
        client.exchange("POST", "/api/v1/rehydrate", body.as_bytes()).problem(429, code);
        alarms(&mut root, 2.0, &limits.to_string());
    }
    let free = key(&mut root, &scopes, json!("none"));
    let mut client = free.client(&daemon).within("0198b2c4d5e6f708192a3b4c5d6e7f80");
    client.exchange("POST", "/api/v1/rehydrate", body.as_bytes()).problem(404, "session.not_found");
    alarms(&mut root, 2.0, "session");
    root.exchange("DELETE", &free.path(), b"").ok();
    free.client(&daemon).exchange("POST", "/api/v1/rehydrate", body.as_bytes()).problem(401, "auth.revoked");
    alarms(&mut root, 2.0, "credential");
    root.exchange("POST", "/api/v1/rehydrate", format!("{token}\n{card}").as_bytes()).problem(400, "request.invalid");
    alarms(&mut root, 2.0, "no JSON");
    let escaped = body.replace("MSKV1", "\\u004dSKV1").replace("PHONE", "PH\\u004FNE");
    unscoped.client(&daemon).exchange("POST", "/api/v1/rehydrate", escaped.as_bytes()).problem(403, "perm.denied");
    alarms(&mut root, 2.0, "escaped");
    // Routes that take no tokens are not searched.
    unscoped.client(&daemon).exchange("POST", "/api/v1/lookup", body.as_bytes()).problem(403, "perm.denied");
    alarms(&mut root, 0.0, "lookup");

    // Forgetting erases the record, and shows the honeytoken all the same.
    assert_eq!(root.ask_tokens("/api/v1/forget", &[token.as_str()])[0], json!({"forgotten": true}));
    assert_eq!(error_code(&root.ask_tokens("/api/v1/forget", &[token.as_str()])[0]), "token.not_found");
    alarms(&mut root, 2.0, "forget");
    daemon.stop();
    let events = site.audit_events();
    let warned = events_of(&events, "honeytoken.rehydrated");
    let names = |event: &&Value| {
        let listed = event["detail"]["honeytoken_ids"].as_array();
        event["detail"]["honeytoken_id"] == mark["id"] || listed.is_some_and(|ids| ids.contains(&mark["id"]))
    };
    assert_eq!(warned.iter().filter(names).count(), 13, "{warned:?}");
    assert!(warned.iter().any(|event| event["caller"]["name"] == "thief"), "{warned:?}");
}

#[test]
fn refusals_that_show_other_honeytokens_are_counted_together() {
    const PLANTED: usize = 12;
    const REQUESTS: usize = 1_500;
    let site = Site::new();
    let daemon = launch(&site).start();
    let mut root = daemon.client();
    let planted: Vec<(String, Value)> = (0..PLANTED).map(|_| plant(&mut root, &json!({"kind": "PHONE"}))).collect();
    let mut thief = create(&mut root, "thief", &[], json!({})).client(&daemon);
    let (began, mut shown) = (Instant::now(), 0);
    for request in 1..=REQUESTS {
        // Every request shows another set of them.
        let tokens: Vec<&str> =
            (0..PLANTED).filter(|bit| request >> bit & 1 == 1).map(|bit| planted[bit].0.as_str()).collect();
        shown += tokens.len() as u64;
        thief.post("/api/v1/rehydrate", &json!({"tokens": tokens})).problem(403, "perm.denied");
    }
    // Of each second, the first has an event of its own, and the others one together. They can end a second later.
    let seconds = began.elapsed().as_secs() as usize + 2;
    assert_eq!(root.metric("masker_honeytoken_rehydrated_total"), Some(shown as f64));
    let lines = daemon.stop().log.text().matches("honeytoken used").count();
    let events = events_of(&site.audit_events(), "honeytoken.rehydrated");
    assert!(events.len() <= 2 * seconds && lines <= 2 * seconds, "{} events, {lines} lines", events.len());
    assert!(events_of(&site.audit_events(), "rehydrate").len() <= 2 * seconds);
    let of = |event: &Value| event["detail"]["times"].as_u64().unwrap();
    assert_eq!(events.iter().map(of).sum::<u64>(), shown);
    for (_, mark) in &planted[..10] {
        assert!(
            events
                .iter()
                .any(|event| event["detail"]["honeytoken_ids"].to_string().contains(mark["id"].as_str().unwrap()))
        );
    }
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
    let id = listed.lines().nth(1).and_then(|row| row.split('\t').next()).unwrap();
    masker(&["vault", "remove-honeytoken", id]);
    assert_eq!(masker(&["vault", "honeytokens"]).lines().count(), 1, "the header alone");
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
