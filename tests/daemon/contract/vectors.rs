//! The vectors of the token format, through the whole daemon.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Client, Site, TestKey, error_code, item};

fn vectors(kind_of: &str) -> Vec<Value> {
    let mut file: Value = serde_json::from_str(include_str!("../../vectors/tokens-v1.json")).expect("JSON");
    let Value::Array(all) = file["vectors"].take() else { panic!("a list of vectors") };
    all.into_iter().filter(|vector| vector["kind_of"] == kind_of).collect()
}

fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} of {vector}"))
}

/// Vectors grouped by their keys.
type ByKeys = BTreeMap<(String, String, Option<String>), Vec<Value>>;

fn by_keys(vectors: Vec<Value>) -> ByKeys {
    let mut groups = ByKeys::new();
    for vector in vectors {
        let old = vector["old"].as_str().map(str::to_owned);
        groups.entry((text(&vector, "kid").to_owned(), text(&vector, "key").to_owned(), old)).or_default().push(vector);
    }
    groups
}

/// Returns a policy for one suite, with all kinds that the vectors use.
fn policy(name: &str, kid: &str, settings: &str, kinds: &[&str]) -> String {
    let head = format!("name = \"{name}\"\nversion = 1\nkid = \"{kid}\"\n{settings}\n");
    kinds.iter().fold(head, |text, kind| format!("{text}[entities.{kind}]\n"))
}

fn tokenize(client: &mut Client, policy: &str, vector: &Value) -> Value {
    let (kind, value, context) = (text(vector, "kind"), text(vector, "value"), text(vector, "context"));
    let body = json!({"policy": policy, "context": context, "items": [{"kind": kind, "value": value}]});
    client.post("/api/v1/tokenize", &body).results(1).remove(0)
}

fn rehydrate(client: &mut Client, vector: &Value) -> Value {
    let body = json!({"context": text(vector, "context"), "tokens": [text(vector, "token")]});
    client.post("/api/v1/rehydrate", &body).results(1).remove(0)
}

#[test]
fn vectors_mint_open_and_are_rejected() {
    const SUITES: [(u64, &str, bool); 4] = [
        (0x01, "aes-256-gcm", true),
        (0x02, "xchacha20-poly1305", true),
        (0x11, "aes-256-gcm", false),
        (0x12, "xchacha20-poly1305", false),
    ];
    let all = ["msk1", "msk1-open", "msk1-reject"].into_iter().flat_map(vectors).collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for ((kid, key, old), group) in by_keys(all) {
        let mut kinds: Vec<&str> = group.iter().filter_map(|vector| vector["kind"].as_str()).collect();
        kinds.extend(kinds.is_empty().then_some("PHONE"));
        kinds.sort_unstable();
        kinds.dedup();
        let site = Site::new();
        std::fs::remove_file(site.path("policies/care.toml")).unwrap();
        for (suite, cipher, deterministic) in SUITES {
            let name = format!("suite-{suite}");
            let settings =
                format!("tokenization = \"reversible-aead\"\ncipher = \"{cipher}\"\ndeterministic = {deterministic}");
            site.policy(&format!("{name}.toml"), &policy(&name, &kid, &settings, &kinds));
        }
        let mut launch = site.launch().key(&kid, &TestKey::hex(&key));
        if let Some(old) = &old {
            launch = launch.old_key(&kid, &TestKey::hex(old));
        }
        let daemon = launch.start();
        let mut client = daemon.client();
        for vector in &group {
            *counts.entry(text(vector, "kind_of").to_owned()).or_default() += 1;
            match text(vector, "kind_of") {
                "msk1" => {
                    let suite = vector["suite"].as_u64().expect("a suite");
                    let minted = tokenize(&mut client, &format!("suite-{suite}"), vector);
                    assert_eq!(minted["token"] == vector["token"], suite < 0x10, "{vector}");
                    assert_eq!(rehydrate(&mut client, vector)["value"], vector["value"], "{vector}");
                }
                "msk1-open" => assert_eq!(rehydrate(&mut client, vector)["value"], vector["value"], "{vector}"),
                _ => assert_eq!(rehydrate(&mut client, vector)["error"]["code"], vector["expect"], "{vector}"),
            }
        }
        daemon.stop();
    }
    let expected = [("msk1", 84), ("msk1-open", 9), ("msk1-reject", 34)];
    assert_eq!(counts, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
}

#[test]
fn vectors_that_do_not_parse() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let rejected = vectors("parse-reject");
    let tokens: Vec<Value> = rejected.iter().map(|vector| vector["token"].clone()).collect();
    assert_eq!(tokens.len(), 22);
    for (vector, result) in rejected.iter().zip(daemon.client().rehydrate(&tokens)) {
        assert_eq!(result["error"]["code"], "token.malformed", "{vector}");
    }
    daemon.stop();
}

#[test]
fn vectors_of_vault_tokens_are_unknown_codes() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let vectors = vectors("mskv1");
    let tokens: Vec<Value> = vectors.iter().map(|vector| vector["token"].clone()).collect();
    assert_eq!(tokens.len(), 42);
    // They parse, and no vault has minted them.
    for (vector, result) in vectors.iter().zip(daemon.client().rehydrate(&tokens)) {
        assert_eq!(error_code(&result), "token.not_found", "{vector}");
    }
    daemon.stop();
}

#[test]
fn vectors_of_values_that_are_taken_or_refused() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let (taken, refused) = (vectors("value-taken"), vectors("value-refused"));
    assert_eq!((taken.len(), refused.len()), (6, 4));
    // Kinds of both schemes, one that the policy redacts, and one that it passes through.
    for kind in ["PHONE", "CARD", "NOTE", "CITY"] {
        for vector in &refused {
            let result = client.tokenize(&[item(kind, text(vector, "value"))]).remove(0);
            assert_eq!(error_code(&result), text(vector, "expect"), "{kind} {vector}");
        }
        for vector in &taken {
            let value = text(vector, "value");
            let result = client.tokenize(&[item(kind, value)]).remove(0);
            match kind {
                "NOTE" => assert_eq!(result, json!({"redacted": "[REDACTED:NOTE]"}), "{vector}"),
                "CITY" => assert_eq!(result, json!({"value": value}), "{vector}"),
                _ => assert_eq!(client.value(result["token"].as_str().expect("a token")), value, "{kind} {vector}"),
            }
        }
    }
    daemon.stop();
}
