//! The OpenAPI document matches the routes and their answers.

use std::collections::{BTreeMap, BTreeSet};

use masker_core::token::Token;
use masker_http::routes;
use serde_json::{Value, json};

use super::schema::mismatch;
use crate::harness::{Response, Site, TestKey, item};

/// Compares an answer with the document's description of its route and status.
fn check(document: &Value, method: &str, path: &str, response: &Response) {
    let responses = &document["paths"][path][method.to_lowercase()]["responses"];
    let described = match &responses[response.status.to_string()] {
        Value::Null => &responses["default"],
        described => described,
    };
    let content = described["content"].as_object().unwrap_or_else(|| panic!("{method} {path} {}", response.status));
    let media_type = response.content_type.split(';').next().unwrap();
    let schema =
        &content.get(media_type).unwrap_or_else(|| panic!("{method} {path} {media_type}: {described}"))["schema"];
    let body = match media_type {
        "text/plain" => json!(String::from_utf8_lossy(&response.body)),
        // The schema is that of the lines before the last one.
        "application/x-ndjson" => {
            let line = response.body.split(|byte| *byte == b'\n').next().expect("a line");
            serde_json::from_slice(line).expect("JSON")
        }
        // Binary bodies are described by their media type only.
        "application/octet-stream" => return assert!(!response.body.is_empty(), "{method} {path}"),
        _ => serde_json::from_slice(&response.body).expect("JSON"),
    };
    assert_eq!(mismatch(document, schema, &body), None, "{method} {path}: {body}\nagainst {schema}");
}

/// Compares the examples of an operation with its schemas.
fn check_examples(document: &Value, operation: &Value) {
    let bodies = operation["responses"].as_object().unwrap().values().chain([&operation["requestBody"]]);
    for content in bodies.flat_map(|body| body["content"].as_object().into_iter().flatten().map(|(_, content)| content))
    {
        if let Some(example) = content.get("example") {
            assert_eq!(mismatch(document, &content["schema"], example), None, "{example}");
        }
    }
}

/// Collects the texts of a document that begin like a token.
fn example_tokens<'d>(document: &'d Value, found: &mut Vec<&'d str>) {
    match document {
        Value::String(text) if text.starts_with("MSKV1.") || text.starts_with("MSK1.") => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| example_tokens(item, found)),
        Value::Object(members) => members.values().for_each(|member| example_tokens(member, found)),
        _ => {}
    }
}

#[test]
fn the_tokens_of_the_examples_are_tokens() {
    let document = serde_json::from_str(include_str!("../../../crates/masker-http/openapi.json")).unwrap();
    let mut tokens = Vec::new();
    example_tokens(&document, &mut tokens);
    assert!(tokens.len() >= 7, "{tokens:?}");
    for token in tokens {
        assert!(Token::parse(token).is_ok(), "{token}");
    }
}

#[test]
fn the_document_matches_the_routes_and_their_answers() {
    let site = Site::new();
    let launch = || site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64());
    let daemon = launch().old_key("K_CARE", &TestKey::named("care before")).start();
    let mut client = daemon.client();
    let document = client.get("/api/v1/openapi.json").ok();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));

    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let served: BTreeSet<(String, String)> =
        routes().iter().map(|route| (route.method().to_string(), route.path().to_owned())).collect();
    assert_eq!(described, served);

    let items = json!({"items": [
        item("PHONE", "1"), item("NOTE", "a"), item("CITY", "a"), item("CARD", "4111"), item("NOSUCH", "a"), item("PIN", "1"),
        {"kind": "SSN", "value": "1", "context": "ward-3"},
    ]});
    let minted = client.post("/api/v1/tokenize", &items).results(7);
    let tokens = json!({"tokens": [
        minted[0]["token"], minted[3]["token"], "rubbish", {"token": minted[6]["token"], "context": "ward-3"},
    ]});
    // Enough records that a rotation at one per second still runs when it is cancelled.
    client.tokens("NAME", &(0..120).map(|number| format!("patient {number}")).collect::<Vec<_>>());
    // The ids of created objects, by the path that created them.
    let mut made: BTreeMap<&str, String> = BTreeMap::new();
    for route in routes() {
        let (method, path) = (route.method().as_str(), route.path());
        let place = path.replace("{name}", "care");
        let within = made.iter().find(|(maker, _)| path.starts_with(**maker));
        let place = within.map_or(place.clone(), |(_, id)| place.replace("{id}", id));
        let operation = &document["paths"][path][method.to_lowercase()];
        assert!(operation["description"].is_string() || operation["summary"].is_string(), "{path}");
        let request = &operation["requestBody"]["content"]["application/json"]["schema"];
        check_examples(&document, operation);
        let body = match path {
            "/api/v1/tokenize" | "/api/v1/lookup" => items.clone(),
            "/api/v1/rehydrate" | "/api/v1/rewrap" | "/api/v1/forget" => tokens.clone(),
            // Slow enough to run until it is cancelled.
            "/api/v1/vault/rotations" if method == "POST" => json!({"new_kid": "K_CARE", "max_rows_per_second": 1}),
            "/api/v1/api-keys" if method == "POST" => {
                json!({"name": "billing", "scopes": ["tokenize"], "limits": "none"})
            }
            "/api/v1/api-keys/{id}" if method == "PATCH" => json!({"scopes": ["rehydrate:PHONE"], "expires_at": null}),
            "/api/v1/api-keys/{id}/rotate" => json!({"grace_seconds": 60}),
            "/api/v1/sessions" if method == "POST" => json!({"label": "night run"}),
            "/api/v1/vault/honeytokens" if method == "POST" => json!({"kind": "PHONE", "label": "in a dump"}),
            "/api/v1/vault/purge" => json!({"before": "2001-01-01"}),
            "/api/v1/text/mask" | "/api/v1/text/detect" => {
                json!({"texts": ["call (212) 555-0147", "SSN: 078-05-1120"], "offsets": "utf16", "explain": true})
            }
            "/api/v1/text/restore" => json!({"text": "MSKV1.PHONE.K_CARE.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}),
            _ => Value::Null,
        };
        let expected = match (method, path) {
            ("POST", "/api/v1/vault/rotations") => 202,
            ("POST", "/api/v1/api-keys" | "/api/v1/sessions" | "/api/v1/vault/honeytokens") => 201,
            _ => 200,
        };
        if path == "/api/v1/vault/import" {
            let bytes = &operation["requestBody"]["content"]["application/octet-stream"];
            assert!(bytes.is_object(), "{operation}");
            let export = client.exchange("POST", "/api/v1/vault/export", b"").body;
            let response = client.exchange(method, path, &export);
            assert_eq!(response.status, 200, "{path}");
            check(&document, method, path, &response);
            check(&document, method, path, &client.exchange(method, path, b"no export"));
        } else if path.ends_with("/stream") {
            let lines = &operation["requestBody"]["content"]["application/x-ndjson"]["schema"];
            assert_eq!(mismatch(&document, lines, &json!({})), None, "{path}");
            let response = client.exchange(method, path, b"{}\n{\"text\": \"call (212) 555-0147\"}\n");
            assert_eq!(response.status, 200, "{path}");
            check(&document, method, path, &response);
        } else if body.is_null() {
            assert!(request.is_null(), "{path} takes no body");
            let response = client.exchange(method, &place, b"");
            assert_eq!(response.status, expected, "{path}");
            check(&document, method, path, &response);
        } else {
            assert_eq!(mismatch(&document, request, &body), None, "{path}");
            let response = client.exchange(method, &place, body.to_string().as_bytes());
            assert_eq!(response.status, expected, "{path}");
            if expected != 200 {
                let answer = response.json();
                let ids = [&answer["id"], &answer["api_key"]["id"], &answer["honeytoken"]["id"]];
                let id = ids.into_iter().find_map(Value::as_str).expect("an id");
                made.insert(path, id.to_owned());
            }
            check(&document, method, path, &response);
            check(&document, method, path, &client.exchange(method, &place, b"[]"));
        }
    }
    check(&document, "GET", "/api/v1/policies/{name}", &client.get("/api/v1/policies/nosuch"));
    let request = &document["paths"]["/api/v1/forget"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(mismatch(&document, request, &items), None, "forgetting by value");
    check(&document, "POST", "/api/v1/forget", &client.post("/api/v1/forget", &items));
    daemon.stop();

    // A degraded daemon, missing keys, and invalid policies.
    let daemon = launch().key("K_CARE", &TestKey::named("care after")).start();
    site.policy("care.toml", "name = 1");
    let mut client = daemon.client();
    for (method, path, status) in [
        ("POST", "/api/v1/policies/reload", 422),
        ("GET", "/health", 503),
        ("GET", "/api/v1/keys", 200),
        ("GET", "/api/v1/vault/stats", 200),
        ("POST", "/api/v1/vault/check", 200),
    ] {
        let response = client.exchange(method, path, b"");
        assert_eq!(response.status, status, "{path}");
        check(&document, method, path, &response);
    }
    daemon.stop();
}

#[test]
fn the_schema_check_detects_mismatches() {
    let document =
        json!({"components": {"A": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}}});
    let schema =
        json!({"type": "array", "items": {"oneOf": [{"$ref": "#/components/A"}, {"type": ["string", "null"]}]}});
    assert_eq!(mismatch(&document, &schema, &json!([{"a": 1}, "b", null])), None);
    for wrong in
        [json!({}), json!([1]), json!([{}]), json!([{"a": "1"}]), json!([{"a": 1, "b": 1}]), json!([{"a": 1.5}])]
    {
        assert!(mismatch(&document, &schema, &wrong).is_some(), "{wrong}");
    }
}
