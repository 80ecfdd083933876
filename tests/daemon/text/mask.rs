//! Masking with tokens, and restoring.

use serde_json::{Value, json};

use super::{DETECT, MASK, NOTE, RESTORE, ask, ask_all, kinds, launch, mask, notes, restore};
use crate::harness::{error_code, item};

#[test]
fn a_masked_text_is_restored_byte_for_byte() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let result = ask(&mut client, MASK, NOTE, json!({}));
    assert_eq!(kinds(&result), ["NAME", "MRN", "PHONE", "EMAIL"]);
    let text = result["text"].as_str().unwrap();
    for value in ["Maria", "00455", "555-0147", "mail-host"] {
        assert!(!text.contains(value), "{text}");
    }
    for finding in result["findings"].as_array().unwrap() {
        let range = |name: &str| usize::try_from(finding[name].as_u64().unwrap()).unwrap();
        let value = &NOTE[range("start")..range("end")];
        assert_eq!(finding["action"], "tokenize");
        // The same token as `tokenize` gives.
        assert_eq!(finding["token"], client.token(finding["kind"].as_str().unwrap(), value), "{finding}");
        let confidence = finding["confidence"].as_f64().unwrap();
        assert!(confidence > 0.4 && confidence <= 1.0 && finding["rule"].is_string() && finding["why"].is_null());
        assert!(text.contains(finding["token"].as_str().unwrap()) && finding["placeholder"].is_null());
    }
    assert_eq!(result["existing"], 0);
    let restored = ask(&mut client, RESTORE, text, json!({}));
    assert_eq!(restored, json!({"text": NOTE, "restored": 4, "unrestored": []}));
    // What is masked stays as it is.
    let again = ask(&mut client, MASK, text, json!({}));
    assert_eq!((&again["text"], &again["existing"], &again["findings"]), (&json!(text), &json!(4), &json!([])));
    daemon.stop();
}

#[test]
fn a_kind_is_treated_as_its_policy_says() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = "Ticket TCK-123456 for Springfield, password=hunter2secret, see http://intra.mail-host.net/a?b=c";
    let result = ask(&mut client, MASK, text, json!({}));
    let treated: Vec<(&str, &str)> = result["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["kind"].as_str().unwrap(), finding["action"].as_str().unwrap()))
        .collect();
    assert!(treated.contains(&("TICKET", "tokenize")) && treated.contains(&("SECRET", "redact")), "{result}");
    let masked = result["text"].as_str().unwrap();
    assert!(masked.contains("[REDACTED:SECRET]") && !masked.contains("hunter2"), "{masked}");
    // The policy does not name URL.
    assert!(masked.contains("[REDACTED:URL]") && !masked.contains("intra."), "{masked}");
    assert!(masked.contains("Springfield"), "{masked}");
    for finding in result["findings"].as_array().unwrap() {
        assert_eq!(finding["token"].is_null(), finding["action"] != "tokenize", "{finding}");
    }
    // Detection finds the same, says the same, and mints nothing.
    let records = client.metric("masker_vault_records");
    let mut detected = ask(&mut client, DETECT, text, json!({}));
    let other = ask(&mut client, DETECT, "Ticket TCK-999999", json!({}));
    assert_eq!((kinds(&other), client.metric("masker_vault_records")), (vec!["TICKET"], records));
    let mut findings = result["findings"].clone();
    for finding in findings.as_array_mut().unwrap() {
        finding.as_object_mut().unwrap().remove("token");
    }
    assert_eq!(detected["findings"].take(), findings);
    daemon.stop();
}

#[test]
fn a_text_with_a_value_that_fails_does_not_come_back() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let texts = json!({"texts": ["SSN: 078-05-1120", "call (212) 555-0147"]});
    let results = ask_all(&mut client, MASK, &texts, 2);
    // The policy requires a context for SSN.
    assert_eq!(error_code(&results[0]), "context.required");
    let detail = results[0]["error"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("texts[0]: ") && !detail.contains("078"), "{detail}");
    assert!(results[0]["text"].is_null() && results[1]["text"].as_str().unwrap().starts_with("call MSKV1.PHONE."));
    let masked = mask(&mut client, "SSN: 078-05-1120", json!({"context": "ward-3"}));
    assert_eq!(restore(&mut client, &masked, json!({"context": "ward-3"})), "SSN: 078-05-1120");
    let elsewhere = ask(&mut client, RESTORE, &masked, json!({"context": "ward-4"}));
    assert_eq!((&elsewhere["text"], &elsewhere["restored"]), (&json!(masked), &json!(0)));
    assert_eq!(elsewhere["unrestored"], json!([{"start": 5, "end": masked.len(), "reason": "token.not_found"}]));
    daemon.stop();
}

#[test]
fn requests_that_cannot_be_understood_are_refused() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for body in [
        json!({}),
        json!({"text": "a", "texts": ["b"]}),
        json!({"text": null}),
        json!({"texts": [1]}),
        json!({"text": "a", "offsets": "words"}),
        json!({"text": "a", "replace_with": "nothing"}),
        json!({"text": "a", "format": "xml"}),
        json!({"text": "a", "language": "fr"}),
        json!({"text": "a", "context": "x".repeat(257)}),
        json!({"text": "a", "more": 1}),
    ] {
        let detail = client.post(MASK, &body).problem(400, "request.invalid");
        assert!(!detail.contains("words") && !detail.contains("xml"), "{detail}");
    }
    client.post(MASK, &json!({"text": "a", "policy": "nosuch"})).problem(422, "policy.unknown");
    client.post(RESTORE, &json!({"texts": vec!["a"; 10_001]})).problem(413, "request.too_large");
    let masked = mask(&mut client, "(212) 555-0147 ", json!({}));
    client.post(RESTORE, &json!({"text": masked.repeat(10_001)})).problem(413, "request.too_large");
    let long = "a ".repeat(2 * 1024 * 1024 + 1);
    for path in [MASK, DETECT, RESTORE] {
        let results = ask_all(&mut client, path, &json!({"texts": [long, "no data"]}), 2);
        assert_eq!(error_code(&results[0]), "text.too_long", "{path}");
        assert!(results[1]["error"].is_null(), "{}", results[1]);
    }
    daemon.stop();
}

#[test]
fn tokens_of_other_routes_are_restored_and_strange_ones_reported() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let phone = client.token("PHONE", "212-555-0147");
    let text = format!("first {phone}, then {phone}B, then MSKV1.PHONE.K_CARE.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA é");
    let result = ask(&mut client, RESTORE, &text, json!({"offsets": "chars"}));
    assert_eq!(
        result["text"],
        "first 212-555-0147, then 212-555-0147B, then MSKV1.PHONE.K_CARE.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA é"
    );
    let end = text.chars().count() - 2;
    let strange = "MSKV1.PHONE.K_CARE.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".len();
    assert_eq!(result["unrestored"], json!([{"start": end - strange, "end": end, "reason": "token.not_found"}]));
    let erased = client.post("/api/v1/forget", &json!({"tokens": [phone]})).results(1);
    assert_eq!(erased[0]["forgotten"], true);
    assert_eq!(ask(&mut client, RESTORE, &phone, json!({}))["restored"], 0);
    assert_eq!(client.tokenize(&[item("PHONE", "212-555-0147")])[0]["created"], true);
    daemon.stop();
}

#[test]
fn reversible_tokens_with_random_nonces_come_back_too() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = "card 4111 1111 1111 1111 and 4111 1111 1111 1111";
    let result = ask(&mut client, MASK, text, json!({}));
    assert_eq!(kinds(&result), ["CARD", "CARD"], "{result}");
    assert_ne!(result["findings"][0]["token"], result["findings"][1]["token"]);
    assert_eq!(restore(&mut client, result["text"].as_str().unwrap(), json!({})), text);
    daemon.stop();
}

/// Tokens that several texts of one request share, with texts between them that fail.
#[test]
fn results_keep_the_order_of_texts() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let texts = ["call (212) 555-0147", "", "SSN: 078-05-1120", "mail ann.lee@mail-host.net, (212) 555-0147"];
    let results = ask_all(&mut client, MASK, &json!({ "texts": texts }), 4);
    assert_eq!((&results[1]["text"], &results[1]["findings"]), (&json!(""), &json!([])));
    assert_eq!(error_code(&results[2]), "context.required");
    assert_eq!(results[0]["findings"][0]["token"], results[3]["findings"][1]["token"]);
    let masked: Vec<Value> = [0, 1, 3].map(|at| results[at]["text"].clone()).to_vec();
    let restored = ask_all(&mut client, RESTORE, &json!({ "texts": masked }), 3);
    let restored: Vec<&str> = restored.iter().map(|result| result["text"].as_str().unwrap()).collect();
    assert_eq!(restored, [texts[0], texts[1], texts[3]]);
    assert_eq!(ask_all(&mut client, MASK, &json!({"texts": []}), 0), Vec::<Value>::new());
    daemon.stop();
}
