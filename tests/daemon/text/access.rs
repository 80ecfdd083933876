//! Scopes, contexts, limits and budgets of the operations on texts, and what they leave in the log, the audit log and metrics.

use std::time::Instant;

use serde_json::{Value, json};

use super::{DETECT, MASK, NOTE, RESTORE, ask, ask_all, launch, mask, notes};
use crate::{
    api_keys::create,
    harness::{Client, error_code, events_of, item},
};

const ALL: [&str; 3] = ["text:mask", "text:restore", "text:detect"];

#[test]
fn each_route_needs_its_scope_before_the_body_is_read() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut root = daemon.client();
    for (own, path) in [("text:mask", MASK), ("text:restore", RESTORE), ("text:detect", DETECT)] {
        let own_only = create(&mut root, "own", &[own], json!({}));
        assert_eq!(own_only.client(&daemon).post(path, &json!({"text": ""})).status, 200, "{path}");
        let others: Vec<&str> =
            ALL.into_iter().chain(["tokenize", "rehydrate"]).filter(|scope| *scope != own).collect();
        let others = create(&mut root, "others", &others, json!({}));
        let detail = others.client(&daemon).exchange("POST", path, b"no JSON").problem(403, "perm.denied");
        assert!(detail.contains(&format!("`{own}`")), "{detail}");
    }
    // Callers without a rule may do what applications need.
    assert_eq!(ask(&mut root, DETECT, "no data", json!({}))["findings"], json!([]));
    daemon.stop();
}

#[test]
fn scopes_can_be_limited_to_kinds_contexts_and_policies() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut root = daemon.client();
    let key = create(&mut root, "phones", &["text:mask:PHONE", "text:restore:PHONE", "text:detect:PHONE"], json!({}));
    let mut client = key.client(&daemon);
    for path in [MASK, DETECT] {
        let texts = json!({"texts": ["call (212) 555-0147", NOTE, "Springfield"]});
        let results = ask_all(&mut client, path, &texts, 3);
        assert_eq!(results[0]["findings"][0]["kind"], "PHONE");
        assert_eq!(error_code(&results[1]), "perm.denied");
        let detail = results[1]["error"]["detail"].as_str().unwrap();
        assert!(detail.starts_with("texts[1]: ") && detail.contains(":NAME`"), "{detail}");
    }
    let masked = mask(&mut root, NOTE, json!({}));
    let result = ask(&mut client, RESTORE, &masked, json!({}));
    assert_eq!(result["restored"], 1);
    let reasons: Vec<&Value> = result["unrestored"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
    assert_eq!(reasons, [&json!("perm.denied"); 3]);
    assert!(result["text"].as_str().unwrap().contains("(212) 555-0147"), "{result}");

    let key = create(&mut root, "clinic", &ALL, json!({"contexts": ["clinic-7/*"], "policies": ["notes"]}));
    let mut client = key.client(&daemon);
    for path in [MASK, RESTORE, DETECT] {
        client.post(path, &json!({"text": "a"})).problem(403, "perm.denied");
        client.post(path, &json!({"text": "a", "context": "clinic-8/x"})).problem(403, "perm.denied");
        ask(&mut client, path, "a", json!({"context": "clinic-7/x"}));
    }
    client.post(MASK, &json!({"text": "a", "context": "clinic-7/x", "policy": "care"})).problem(403, "perm.denied");
    daemon.stop();
}

/// Returns what is left of one limit.
fn left(client: &mut Client, limit: &str) -> u64 {
    client.get("/api/v1/auth/whoami").ok()["limits_left"][limit].as_u64().expect("a number")
}

#[test]
fn values_count_in_limits_and_budgets() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut root = daemon.client();
    let masked = mask(&mut root, NOTE, json!({}));
    let limits = json!({"values_per_hour": 40, "distinct_values_per_day": 9, "rehydrations_per_day": 9});
    let key = create(&mut root, "limited", &ALL, json!({ "limits": limits }));
    let mut client = key.client(&daemon);
    // Four values are found, and the third time they are not new.
    for values_left in [36, 32] {
        ask(&mut client, MASK, NOTE, json!({}));
        assert_eq!(
            (left(&mut client, "values_per_hour"), left(&mut client, "distinct_values_per_day")),
            (values_left, 5)
        );
    }
    ask(&mut client, DETECT, NOTE, json!({}));
    assert_eq!((left(&mut client, "values_per_hour"), left(&mut client, "distinct_values_per_day")), (28, 5));
    let new = json!({"texts": (0..6).map(|number| format!("call (212) 555-02{number}7")).collect::<Vec<_>>()});
    client.post(MASK, &new).problem(429, "quota.exceeded");
    // A miss costs what a token costs.
    ask(&mut client, RESTORE, &masked, json!({}));
    assert_eq!(left(&mut client, "rehydrations_per_day"), 5);
    ask(&mut client, RESTORE, "MSKV1.PHONE.K_CARE.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA [PHONE_7F3KQ2X0]", json!({}));
    assert_eq!(left(&mut client, "rehydrations_per_day"), 3);
    client.post(RESTORE, &json!({"text": masked})).problem(429, "quota.exceeded");
    daemon.stop();
}

#[test]
fn misses_are_slowed_down() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = "MSKV1.PHONE.K_CARE.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ".repeat(40);
    let began = Instant::now();
    assert_eq!(ask(&mut client, RESTORE, &text, json!({}))["restored"], 0);
    assert!(began.elapsed().as_millis() >= 400, "{:?}", began.elapsed());
    daemon.stop();
}

#[test]
fn no_text_is_in_a_log_an_event_or_a_metric() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let masked = mask(&mut client, NOTE, json!({}));
    ask(&mut client, DETECT, &format!("{NOTE} password=hunter2secret"), json!({"explain": true}));
    ask(&mut client, RESTORE, &format!("{masked} [PHONE_7F3KQ2X0]"), json!({}));
    ask(&mut client, MASK, "SSN: 078-05-1120", json!({}));
    client
        .exchange("POST", MASK, b"{\"text\": \"Maria Lopez\", \"x\": \"(212) 555-0147\"}")
        .problem(400, "request.invalid");
    let metrics = String::from_utf8(client.get("/metrics").body).unwrap();
    assert!(metrics.contains("masker_text_findings_total{kind=\"PHONE\"} 2"), "{metrics}");
    assert!(metrics.contains("masker_text_bytes_total{op=\"restore\"}"), "{metrics}");
    assert!(metrics.contains("op=\"mask\""), "{metrics}");
    let log = daemon.log().text();
    daemon.stop();
    let events = site.audit_events();
    let of = |operation: &str| events_of(&events, operation);
    let counts = |event: &Value| event["counts"].to_string();
    let masks = of("text.mask");
    assert_eq!((masks[0]["policy"].as_str(), masks[0]["outcome"].as_str()), (Some("notes"), Some("ok")));
    for kind in ["NAME", "MRN", "PHONE", "EMAIL"] {
        assert!(counts(&masks[0]).contains(kind), "{}", masks[0]);
    }
    assert!(counts(&masks[1]).contains("context.required"), "{}", masks[1]);
    assert!(counts(&of("text.detect")[0]).contains("SECRET"), "{}", of("text.detect")[0]);
    assert!(counts(&of("text.restore")[0]).contains("placeholder.check"), "{}", of("text.restore")[0]);
    let events = serde_json::to_string(&events).unwrap();
    for text in [&events, &log, &metrics] {
        for needle in ["Maria", "555-0147", "00455", "mail-host", "hunter2", "078-05", "7F3KQ2X0"] {
            assert!(!text.contains(needle), "{needle}");
        }
    }
}

#[test]
fn honeytokens_in_texts_raise_the_alarm() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let planted = client.post("/api/v1/vault/honeytokens", &json!({"kind": "PHONE"}));
    let token = planted.json()["token"].as_str().unwrap().to_owned();
    let mut raised = 0.0;
    for path in [MASK, RESTORE, DETECT] {
        ask(&mut client, path, &format!("call {token} now"), json!({}));
        raised += 1.0;
        assert_eq!(client.metric("masker_honeytoken_rehydrated_total"), Some(raised), "{path}");
    }
    let unscoped = create(&mut client, "thief", &["tokenize"], json!({}));
    unscoped.client(&daemon).post(RESTORE, &json!({ "text": token })).problem(403, "perm.denied");
    assert_eq!(client.metric("masker_honeytoken_rehydrated_total"), Some(raised + 1.0));
    assert_eq!(client.tokenize(&[item("PHONE", "212-555-0147")]).len(), 1);
    daemon.stop();
    assert_eq!(events_of(&site.audit_events(), "honeytoken.rehydrated").len(), 4);
}
