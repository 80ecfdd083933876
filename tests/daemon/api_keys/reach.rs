//! The rights of a key, and which rights it can pass on.

use jiff::{SignedDuration, Timestamp};
use masker_types::grant::Scope;
use serde_json::{Value, json};

use super::{create, outcome};
use crate::harness::{Client, Site, TestKey, error_code, events_of};

#[test]
fn a_request_with_a_key_has_the_rights_of_the_key_only() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let token = daemon.client().token("PHONE", "415-555-2671");
    let key = create(&mut daemon.client(), "minter", &["tokenize:PHONE"], json!({"policies": ["care"]}));
    let mut client = key.client(&daemon);
    assert_eq!(client.token("PHONE", "415-555-2671"), token);
    client.post("/api/v1/rehydrate", &json!({"tokens": [token]})).problem(403, "perm.denied");
    client.get("/api/v1/keys").problem(403, "perm.denied");
    client.get("/metrics").problem(403, "perm.denied");
    // The same process without the key.
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
}

#[test]
fn test_and_live_keys_do_not_share_tokens() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let scopes = ["tokenize", "rehydrate", "lookup", "rewrap", "forget"];
    let [mut live, mut test] = ["live", "test"].map(|mode| {
        let key = create(&mut daemon.client(), mode, &scopes, json!({"mode": mode}));
        assert!(key.key.starts_with(&format!("masker_{mode}_")));
        key.client(&daemon)
    });
    // One kind with vault tokens, one with stateless tokens.
    for kind in ["PHONE", "CARD"] {
        let value = "4155552671";
        let (real, made_up) = (live.token(kind, value), test.token(kind, value));
        assert_ne!(real, made_up);
        let ask = |client: &mut Client, path: &str, token: &str| client.ask_tokens(path, &[token]).remove(0);
        for (client, foreign, own) in [(&mut live, &made_up, &real), (&mut test, &real, &made_up)] {
            // Vault tokens need no rewrapping: `rewrap` returns them unread to every caller.
            let rewrap = (kind == "CARD").then_some("/api/v1/rewrap");
            for path in ["/api/v1/rehydrate", "/api/v1/forget"].into_iter().chain(rewrap) {
                let result = ask(client, path, foreign);
                let held = result == json!({"forgotten": false}) || error_code(&result) == "token.not_found";
                assert!(held, "{path} {kind}: {result}");
            }
            assert_eq!(client.value(own), value);
            let found = client.ask_items("/api/v1/lookup", &[json!({"kind": kind, "value": value})]);
            assert_eq!(found[0], json!({"tokens": [own], "exact": true}), "{kind}");
        }
    }
    assert_eq!(test.get("/api/v1/auth/whoami").ok()["mode"], "test");
    daemon.stop();
}

#[test]
fn a_test_key_cannot_administer_live_data() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let administrative: Vec<&str> = Scope::ALL.iter().filter(|s| s.is_administrative()).map(|s| s.as_str()).collect();
    assert!(administrative.len() >= 4, "{administrative:?}");
    for scope in administrative.into_iter().chain(["*"]) {
        let body = json!({"name": "trial", "scopes": [scope], "mode": "test"});
        client.post("/api/v1/api-keys", &body).problem(400, "request.invalid");
        let key = create(&mut client, "trial", &["tokenize"], json!({"mode": "test"}));
        let patch = json!({"scopes": [scope]}).to_string();
        client.exchange("PATCH", &key.path(), patch.as_bytes()).problem(400, "request.invalid");
    }
    daemon.stop();
}

#[test]
fn a_key_cannot_exceed_its_creator() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut root = daemon.client();
    let at = |seconds: i64| (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string();
    let end = at(3_600);
    let own = json!({"policies": ["care"], "contexts": ["clinic-7/*"], "limits": {"values_per_hour": 100}, "expires_at": end});
    let scopes = ["api-keys:admin", "tokenize:PHONE", "lookup"];
    let creator = create(&mut root, "creator", &scopes, own.clone());
    let strong = create(&mut root, "strong", &["*"], json!({}));
    let mut client = creator.client(&daemon);
    let body = |field: &str, value: Value| {
        let mut body = own.clone();
        body["name"] = json!("made");
        body["scopes"] = json!(["tokenize:PHONE"]);
        match value {
            Value::Null => drop(body.as_object_mut().unwrap().remove(field)),
            value => body[field] = value,
        }
        body
    };
    assert_eq!(client.post("/api/v1/api-keys", &body("name", json!("fits"))).status, 201);
    assert_eq!(client.post("/api/v1/api-keys", &body("contexts", json!(["clinic-7/ward"]))).status, 201);
    for (field, beyond) in [
        ("scopes", json!(["rehydrate"])),
        ("scopes", json!(["tokenize"])),
        ("scopes", json!(["tokenize:NAME"])),
        ("scopes", json!(["*"])),
        ("policies", Value::Null),
        ("contexts", Value::Null),
        ("contexts", json!(["clinic-8/*"])),
        ("contexts", json!(["clinic-7/*", ""])),
        ("limits", json!("none")),
        ("limits", Value::Null),
        ("limits", json!({"values_per_hour": 101})),
        ("expires_at", Value::Null),
        ("expires_at", json!(at(7_200))),
    ] {
        let detail = client.post("/api/v1/api-keys", &body(field, beyond.clone())).problem(403, "perm.denied");
        assert!(detail.contains("a caller cannot grant more than it has"), "{field} {beyond}: {detail}");
    }
    // Changing an existing key does not exceed the caller's grant either.
    client.post(&format!("{}/rotate", strong.path()), &json!({})).problem(403, "perm.denied");
    client.exchange("PATCH", &strong.path(), br#"{"name": "mine"}"#).problem(403, "perm.denied");
    client.exchange("PATCH", &creator.path(), br#"{"expires_at": null}"#).problem(403, "perm.denied");
    client.exchange("PATCH", &creator.path(), br#"{"limits": "none"}"#).problem(403, "perm.denied");
    client.exchange("PATCH", &creator.path(), br#"{"scopes": ["*"]}"#).problem(403, "perm.denied");
    assert_eq!(outcome(&mut strong.client(&daemon)).0, 200, "the key still works");
    // Revoking needs only the scope.
    client.exchange("DELETE", &strong.path(), b"").ok();
    daemon.stop();
}

#[test]
fn rejects_credentials_in_other_forms_and_places() {
    let site = Site::new();
    let launch = site.launch().care_keys();
    let daemon = launch.env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64()).start();
    let key = create(&mut daemon.client(), "app", &["tokenize"], json!({})).key;
    let ask = |path: &str, headers: &[&str]| {
        let mut client = daemon.client();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        client.send_raw(format!("GET {path} HTTP/1.1\r\nhost: masker\r\n{headers}\r\n").as_bytes()).unwrap();
        client.receive()
    };
    let whoami = "/api/v1/auth/whoami";
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer  "] {
        let answer = ask(whoami, &[&format!("Authorization: {scheme} {key}")]);
        assert_eq!(answer.ok()["name"], "app", "{scheme}");
    }
    let bearer = format!("authorization: Bearer {key}");
    let mistyped = format!("authorization: Bearer {}", key.replace(&key[20..21], "_"));
    for (headers, code) in [
        (&[&*bearer, &*bearer][..], "auth.invalid"),
        (&["authorization: Basic dTpw"], "auth.invalid"),
        (&["authorization:"], "auth.missing"),
        (&["authorization: Bearer"], "auth.missing"),
        (&[&*mistyped], "auth.invalid"),
        (&[&*format!("authorization: {key}")], "auth.invalid"),
        (&[&*format!("{bearer} {key}")], "auth.invalid"),
    ] {
        let detail = ask(whoami, headers).problem(401, code);
        assert!(!detail.contains(&key[16..]), "{detail}");
    }
    let encoded: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for path in [
        format!("{whoami}?api_key={key}"),
        format!("/api/v1/api-keys/{key}"),
        format!("/nowhere/{key}"),
        format!("{whoami}?k={encoded}"),
        format!("http://{key}@masker/health"),
        format!("http://{key}/health"),
        format!("http://{encoded}@masker/health"),
        format!("http://masker/nowhere?{key}"),
        format!("/health#{key}"),
        format!("{whoami}#{encoded}"),
        format!("http://masker/health#{key}"),
    ] {
        for headers in [&[][..], &[&*bearer]] {
            let detail = ask(&path, headers).problem(400, "request.invalid");
            assert!(detail.contains("does not belong in a URL") && !detail.contains(&key[16..]), "{detail}");
        }
    }
    let log = daemon.stop().log.text();
    assert!(!log.contains(&key[16..]) && !log.contains(&encoded), "a key is in the log");
    let segments = std::fs::read_dir(site.path("audit")).unwrap();
    let audit: String = segments
        .map(|segment| segment.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let refused = events_of(&site.audit_events(), "refused");
    assert!(refused.iter().all(|event| event["detail"]["reason"] == "an API key in a URL"), "{audit}");
    let times = |event: &Value| event["detail"]["repeated"].as_u64().unwrap_or(1);
    assert_eq!(refused.iter().map(times).sum::<u64>(), 22, "{audit}");
    assert!(!audit.contains(&key[16..]) && !audit.contains(&encoded), "a key is in the audit log");
}
