//! Requests that are rejected as a whole.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Client, Daemon, Site, item};

/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Text that no answer may contain.
const PRIVATE: &str = "PRIVATE-078051120";

fn start(site: &Site) -> Daemon {
    site.launch().care_keys().start()
}

#[test]
fn errors_name_the_item_and_the_nearest_kind() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let mut items = vec![item("PHONE", "415-555-2671"); 7_777];
    items.push(json!({"kind": "PHONE", "value": 4_155_552_671_u64}));
    let body = json!({"items": items}).to_string();
    let detail = client.exchange("POST", "/api/v1/tokenize", body.as_bytes()).problem(400, "request.invalid");
    assert!(detail.starts_with("items[7777].value: wrong type, expected a string (line 1, column "), "{detail}");
    items[7_777] = item("PHNOE", "415-555-2671");
    for path in ["/api/v1/tokenize", "/api/v1/lookup"] {
        let results = client.post(path, &json!({"items": items})).results(7_778);
        let expected = "items[7777]: the policy `care` has no such kind; did you mean `PHONE`?";
        assert_eq!(results[7_777]["error"], json!({"code": "kind.unknown", "detail": expected}), "{path}");
    }
    let gzip = b"\x1F\x8B\x08\0\0\0\0\0\0\x03\xAB\xAE\x05\0";
    let detail = client.exchange("POST", "/api/v1/tokenize", gzip).problem(400, "request.invalid");
    assert_eq!(detail, "the body is compressed (gzip); send it uncompressed, as JSON");
    daemon.stop();
}

#[test]
fn rejects_invalid_requests_by_position_without_quoting_them() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let bodies = [
        (String::new(), "the body is empty"),
        (PRIVATE.to_owned(), "the body is not JSON (line 1, column 1)"),
        (format!("{{\"items\":\n [{{\"kind\": {PRIVATE}"), "the body is not JSON (line 2, column 12)"),
        (format!("{{\"items\": \"{PRIVATE}\"}}"), "wrong type, expected a sequence (line 1, column "),
        (format!("{{\"items\": [], \"{PRIVATE}\": 1}}"), "unknown field, expected one of `policy`, `context`, `items`"),
        (
            format!("{{\"items\": [{{\"kind\": \"PHONE\", \"{PRIVATE}\": 1}}]}}"),
            "unknown field, expected one of `kind`",
        ),
        (format!("{{\"items\": [{{\"value\": \"{PRIVATE}\"}}]}}"), "missing field `kind` (line 1, column "),
        (format!("{{\"items\": [], \"items\": [\"{PRIVATE}\"]}}"), "duplicate field `items`"),
        (format!("{{\"items\": []}} {PRIVATE}"), "the body is not JSON (line 1, column 15)"),
        (format!("[\"{PRIVATE}\"]"), "wrong type, expected an object (line 1, column "),
        (format!("[null, null, [[\"PHONE\", \"{PRIVATE}\"]]]"), "wrong type, expected an object (line 1, column "),
        (format!("{{\"items\": [[\"PHONE\", \"{PRIVATE}\"]]}}"), "wrong type, expected an object (line 1, column "),
        (format!("{}{PRIVATE}", "[".repeat(10_000)), "(line 1, column "),
        (format!("{{\"policy\": {{\"{PRIVATE}\": 0}}, \"items\": []}}"), "(line 1, column "),
    ];
    for (body, expected) in &bodies {
        let detail = client.exchange("POST", "/api/v1/tokenize", body.as_bytes()).problem(400, "request.invalid");
        assert!(detail.contains(expected), "{detail}");
        assert!(!detail.contains("PRIVATE") && !detail.contains("078"), "{detail}");
    }
    for body in [format!("{{\"tokens\": [{{\"{PRIVATE}\": 1}}]}}"), format!("{{\"tokens\": [[\"{PRIVATE}\"]]}}")] {
        for path in ["/api/v1/rehydrate", "/api/v1/rewrap", "/api/v1/forget"] {
            let detail = client.exchange("POST", path, body.as_bytes()).problem(400, "request.invalid");
            assert!(detail.contains("(line 1, column ") && !detail.contains("PRIVATE"), "{detail}");
        }
    }
    let listed = format!("{{\"items\": [[\"PHONE\", \"{PRIVATE}\"]]}}");
    for path in ["/api/v1/tokenize", "/api/v1/lookup", "/api/v1/forget"] {
        let detail = client.exchange("POST", path, listed.as_bytes()).problem(400, "request.invalid");
        assert!(detail.contains("expected an object") && !detail.contains("PRIVATE"), "{path}: {detail}");
    }
    let invalid_utf8 = b"{\"items\": [{\"kind\": \"PHONE\", \"value\": \"\xC3\x28\"}]}";
    client.exchange("POST", "/api/v1/tokenize", invalid_utf8).problem(400, "request.invalid");
    let lone_surrogate = br#"{"items": [{"kind": "PHONE", "value": "\ud800"}]}"#;
    client.exchange("POST", "/api/v1/tokenize", lone_surrogate).problem(400, "request.invalid");
    assert!(!daemon.log().text().contains("PRIVATE"));
    daemon.stop();
}

#[test]
fn limits_of_bodies_and_batches_are_inclusive() {
    let site = Site::new();
    let daemon = start(&site);

    let mut body = json!({"items": [item("CITY", "a")]}).to_string();
    body.push_str(&" ".repeat(BODY_BYTES_MAX - body.len()));
    let mut client = daemon.client();
    client.exchange("POST", "/api/v1/tokenize", body.as_bytes()).results(1);

    // Rejected by its announced length, before any of it is sent.
    let head =
        format!("POST /api/v1/tokenize HTTP/1.1\r\nhost: masker\r\ncontent-length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
    client.send_raw(head.as_bytes()).unwrap();
    let response = client.receive();
    assert!(response.problem(413, "request.too_large").contains("16 MiB"));
    assert!(response.close, "the end of the body is unknown");
    client.expect_end();

    let items = vec![item("CITY", "a"); 10_000];
    let mut client = daemon.client();
    client.post("/api/v1/tokenize", &json!({ "items": items })).results(10_000);
    let items = vec![item("CITY", "a"); 10_001];
    let tokens = vec!["a"; 10_001];
    for (path, body) in [
        ("/api/v1/tokenize", json!({ "items": items })),
        ("/api/v1/lookup", json!({ "items": items })),
        ("/api/v1/rehydrate", json!({ "tokens": tokens })),
        ("/api/v1/rewrap", json!({ "tokens": tokens })),
        ("/api/v1/forget", json!({ "tokens": tokens })),
    ] {
        let response = client.post(path, &body);
        assert!(response.problem(413, "request.too_large").contains("10000 items"));
        assert!(!response.close, "the request was understood, and the connection can go on");
    }
    daemon.stop();
}

#[test]
fn rejects_unknown_routes_methods_and_queries_without_quoting_them() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/tokenize/",
        "/API/v1/tokenize",
        "/api/v2/tokenize",
        "//health",
        "/PRIVATE",
    ] {
        let detail = client.get(path).problem(404, "route.not_found");
        assert!(!detail.contains("PRIVATE"), "{detail}");
    }
    for (method, path, allow) in [
        ("GET", "/api/v1/tokenize", "POST"),
        ("POST", "/health", "GET"),
        ("PUT", "/api/v1/rehydrate", "POST"),
        ("DELETE", "/api/v1/policies/care", "GET"),
        ("OPTIONS", "/metrics", "GET"),
        ("PRIVATE", "/api/v1/keys", "GET"),
    ] {
        let response = client.exchange(method, path, b"");
        assert_eq!(response.allow.as_deref(), Some(allow));
        let detail = response.problem(405, "route.method");
        assert!(!detail.contains("PRIVATE"), "{detail}");
    }
    for path in ["/health?PRIVATE", "/metrics?", "/api/v1/keys?kid=PRIVATE"] {
        let detail = client.get(path).problem(400, "request.invalid");
        assert!(!detail.contains("PRIVATE"), "{detail}");
    }
    client.get("/PRIVATE?PRIVATE=PRIVATE").problem(404, "route.not_found");
    let metrics = String::from_utf8(client.get("/metrics").body).unwrap();
    assert!(!metrics.contains("PRIVATE"), "{metrics}");
    assert!(!daemon.log().text().contains("PRIVATE"), "{}", daemon.log().text());
    daemon.stop();
}

#[test]
fn rejects_requests_with_an_unknown_policy() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    for path in ["/api/v1/tokenize", "/api/v1/lookup"] {
        let detail = client
            .post(path, &json!({"policy": "PRIVATE", "items": [item("CITY", "a")]}))
            .problem(422, "policy.unknown");
        assert!(!detail.contains("PRIVATE"), "{detail}");
    }
    client.get("/api/v1/policies/nosuch").problem(422, "policy.unknown");
    daemon.stop();

    // With several policies and no default, a request must name one.
    site.policy("second.toml", "name = \"second\"\nversion = 1\n[entities.NOTE]\naction = \"redact\"\n");
    let daemon = start(&site);
    let mut client = daemon.client();
    client.post("/api/v1/tokenize", &json!({"items": []})).problem(422, "policy.unknown");
    client.post("/api/v1/tokenize", &json!({"policy": "second", "items": [item("NOTE", "a")]})).results(1);
    daemon.stop();
}

#[test]
fn distinguishes_malformed_and_unknown_tokens() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let (vault, own) = (client.token("PHONE", "415-555-2671"), client.token("CARD", "4111"));
    let mut malformed = vec![
        String::new(),
        "MSKV1".to_owned(),
        "MSKV1...".to_owned(),
        vault.replace("MSKV1", "MSKV2"),
        vault.replace("MSKV1", "MSK1"),
        own.replace("MSK1", "MSKV1"),
        vault.replace("K_CARE", "K_CARE_OLD"),
        vault.replace("K_CARE", "K_CARE_FILE"),
        vault.replace("K_CARE", "ROTATION_GRACE_DAYS"),
        vault.replace("PHONE", &"P".repeat(33)),
        format!("MSKV1.PHONE.K_CARE.{}", "A".repeat(26)),
        "MSK1.CARD.K_PAY.".to_owned(),
    ];
    for token in [&vault, &own] {
        malformed.extend([
            token.to_lowercase(),
            format!(" {token}"),
            format!("{token}\n"),
            format!("{token}="),
            format!("{token}.A"),
            format!("{token}A"),
            token[..token.len() - 1].to_owned(),
            token.replacen('.', "\u{2024}", 1),
        ]);
    }
    for path in ["/api/v1/rehydrate", "/api/v1/rewrap", "/api/v1/forget"] {
        for (token, result) in malformed.iter().zip(client.ask_tokens(path, &malformed)) {
            assert_eq!(result["error"]["code"], "token.malformed", "{path} {token:?}");
        }
    }
    daemon.stop();
}

#[test]
fn request_ids_are_unique() {
    let site = Site::new();
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for _ in 0..2 {
        let daemon = start(&site);
        for _ in 0..3 {
            let mut client = daemon.client();
            let mut ask = |client: &mut Client, path| {
                ids.insert(client.get(path).request_id);
                count += 1;
            };
            for path in ["/health", "/nosuch", "/api/v1/tokenize"] {
                ask(&mut client, path);
            }
        }
        daemon.stop();
    }
    assert_eq!(ids.len(), count);
}
