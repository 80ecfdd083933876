//! Tokenizing, rehydrating, lookup, rewrapping and forgetting.

use serde_json::{Value, json};

use crate::harness::{Client, Site, TestKey, error_code, item, shape_of};

/// Returns the parts of a token, after checking the alphabet and length of its body.
fn parts(token: &Value) -> [String; 3] {
    let text = token.as_str().unwrap_or_else(|| panic!("a token: {token}"));
    let fields: Vec<&str> = text.split('.').collect();
    let [scheme, kind, kid, body] = fields[..] else { panic!("four fields: {text}") };
    assert!(body.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte)), "{text}");
    match scheme {
        "MSKV1" => assert_eq!(body.len(), 32, "{text}"),
        "MSK1" => assert!(body.len() >= 98, "{text}"),
        _ => panic!("{text}"),
    }
    [scheme, kind, kid].map(str::to_owned)
}

/// Returns the half of a vault token that spellings of one form share.
fn match_part(token: &Value) -> &str {
    let text = token.as_str().unwrap_or_else(|| panic!("a token: {token}"));
    &text[text.len() - 32..text.len() - 16]
}

fn code_of(result: &Value) -> &str {
    error_code(result)
}

#[test]
fn tokenize_answers_items_in_order() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let results = client.tokenize(&[
        item("PHONE", "415-555-2671"),
        item("NOSUCH", "a"),
        item("NOTE", "fell down the stairs"),
        item("CITY", "Springfield \"\\ \u{1F3E5}"),
        item("CARD", "4111 1111 1111 1111"),
        item("PHONE", ""),
        item("SSN", "078-05-1120"),
        item("PHONE", "(415) 555 2671"),
        json!({"kind": "SSN", "value": "078-05-1120", "context": "ward-3"}),
        item("phone", "415-555-2671"),
        item("PHONE", &"9".repeat(4_097)),
        json!({"kind": "PHONE", "value": "415-555-2671", "context": "x".repeat(257)}),
        item("NOTE", ""),
    ]);
    assert_eq!(shape_of(&results[0]), ["created", "token"]);
    assert_eq!(parts(&results[0]["token"]), ["MSKV1", "PHONE", "K_CARE"]);
    assert_eq!(results[0]["created"], true);
    assert_eq!(code_of(&results[1]), "kind.unknown");
    assert_eq!(results[2], json!({"redacted": "[REDACTED:NOTE]"}));
    assert_eq!(results[3], json!({"value": "Springfield \"\\ \u{1F3E5}"}));
    assert_eq!(shape_of(&results[4]), ["token"], "no vault holds it, so nothing was created");
    assert_eq!(parts(&results[4]["token"]), ["MSK1", "CARD", "K_PAY"], "a policy may write a kid in lower case");
    assert_eq!(code_of(&results[5]), "value.invalid");
    assert_eq!(code_of(&results[6]), "context.required");
    assert_eq!(results[7]["created"], true, "another spelling is another value");
    assert_eq!(match_part(&results[7]["token"]), match_part(&results[0]["token"]), "its match part is the first's");
    assert_ne!(results[7]["token"], results[0]["token"]);
    assert_eq!(parts(&results[8]["token"]), ["MSKV1", "SSN", "K_CARE"]);
    assert_eq!(code_of(&results[9]), "kind.unknown", "kinds are upper case");
    assert_eq!(code_of(&results[10]), "value.invalid");
    assert_eq!(code_of(&results[11]), "value.invalid", "a context of 257 bytes");
    assert_eq!(results[12], json!({"redacted": "[REDACTED:NOTE]"}));

    assert_eq!(client.post("/api/v1/tokenize", &json!({"items": []})).results(0), [] as [Value; 0]);
    daemon.stop();
}

#[test]
fn tokens_are_refused_as_values() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    for token in [client.token("PHONE", "415-555-2671"), client.token("CARD", "4111 1111 1111 1111")] {
        // Also a kind that the policy redacts, and one that it passes through.
        let [phone, note, city] = ["PHONE", "NOTE", "CITY"].map(|kind| item(kind, &token));
        for result in client.tokenize(&[phone, note, city]) {
            assert_eq!(code_of(&result), "value.is_token");
            assert!(!result.to_string().contains(&token), "the token is not repeated");
        }
        let spaced = format!("{token} ");
        assert_eq!(client.tokenize(&[item("CITY", &spaced)]), [json!({"value": spaced})]);
    }
    daemon.stop();
}

#[test]
fn values_that_fail_their_check_are_refused() {
    let site = Site::new();
    let text =
        "name = \"care\"\nversion = 1\nkid = \"K_CARE\"\ntokenization = \"vault-deterministic\"\n[entities.CARD]\n";
    site.policy("care.toml", &format!("{text}validate = \"luhn\"\n"));
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    assert_eq!(client.get("/api/v1/policies/care").ok()["entities"]["CARD"]["validate"], "luhn");
    let results = client.tokenize(&[item("CARD", "4111 1111 1111 1111"), item("CARD", "4111 1111 1111 1112")]);
    assert_eq!(shape_of(&results[0]), ["created", "token"]);
    assert_eq!(code_of(&results[1]), "value.invalid");
    let detail = results[1]["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("`luhn`") && !detail.contains("1111"), "{detail}");
    // The check is for new values: others can still be looked up.
    let looked_up = client.ask_items("/api/v1/lookup", &[item("CARD", "4111 1111 1111 1112")]);
    assert_eq!(looked_up[0]["tokens"], json!([]));
    daemon.stop();
}

#[test]
fn items_can_override_policy_and_context() {
    let site = Site::new();
    site.policy(
        "other.toml",
        "name = \"other\"\nversion = 1\nkid = \"K_CARE\"\ntokenization = \"vault-deterministic\"\n[entities.PHONE]\n",
    );
    let mut site = site;
    site.set("policy", "default", "\"care\"");
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let mut tokenize = |body: Value| client.post("/api/v1/tokenize", &body).results(2);
    let [kind, other] =
        [item("PHONE", "415-555-2671"), json!({"kind": "PHONE", "value": "415-555-2671", "context": "b"})];

    let none = tokenize(json!({"items": [kind, other]}));
    let given = tokenize(json!({"context": "a", "items": [kind, other]}));
    let empty = tokenize(json!({"policy": "care", "context": "", "items": [kind, other]}));
    assert_eq!(none[0]["token"], empty[0]["token"], "no context is the empty one, no policy the default");
    assert_eq!(none[1]["token"], given[1]["token"], "an item's own context counts before the request's");
    assert_ne!(none[0]["token"], given[0]["token"]);
    assert_eq!(given[0]["created"], true);

    // The other policy matches nothing but equal values, and a value's tokens do not depend on how it matches.
    let by_other = tokenize(json!({"policy": "other", "items": [kind, item("PHONE", " 415-555-2671 ")]}));
    assert_eq!(by_other[0], json!({"token": none[0]["token"], "created": false}));
    assert_eq!(by_other[1]["created"], true);
    assert_ne!(match_part(&by_other[1]["token"]), match_part(&none[0]["token"]));
    daemon.stop();
}

#[test]
fn rehydrate_answers_tokens_in_order() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let minted = client.tokenize(&[
        item("PHONE", "415-555-2671"),
        json!({"kind": "SSN", "value": "078-05-1120", "context": "ward-3"}),
        item("CARD", "4111 1111 1111 1111"),
        json!({"kind": "IBAN", "value": "DE89 3704", "context": "ward-3"}),
        item("PIN", "1234"),
        item("CVV", "987"),
        item("NAME", "Ann  LEE \u{1F3E5}\n\"\\\u{0}"),
    ]);
    let token = |i: usize| minted[i]["token"].clone();
    let value = |value: &str, kind: &str| json!({"value": value, "kind": kind, "generation": "active"});

    let asked = [
        token(0),
        json!("rubbish"),
        json!({"token": token(1), "context": "ward-3"}),
        json!({"token": token(2)}),
        token(1),
        json!({"token": token(3), "context": "ward-3"}),
        token(4),
        token(5),
        token(6),
        token(0),
    ];
    let results = client.rehydrate(&asked);
    assert_eq!(results[0], value("415-555-2671", "PHONE"));
    assert_eq!(code_of(&results[1]), "token.malformed");
    assert_eq!(results[2], value("078-05-1120", "SSN"));
    assert_eq!(results[3], value("4111 1111 1111 1111", "CARD"));
    assert_eq!(code_of(&results[4]), "token.not_found", "its context was not given");
    assert_eq!(results[5], value("DE89 3704", "IBAN"));
    assert_eq!(results[6], value("1234", "PIN"));
    assert_eq!(results[7], value("987", "CVV"));
    assert_eq!(results[8], value("Ann  LEE \u{1F3E5}\n\"\\\u{0}", "NAME"), "the value as it was given");
    assert_eq!(results[9], results[0]);

    // The context of the request applies to tokens without their own.
    let body = json!({"context": "ward-3", "tokens": [token(1), {"token": token(0), "context": ""}, token(0)]});
    let results = client.post("/api/v1/rehydrate", &body).results(3);
    assert_eq!(results[0], value("078-05-1120", "SSN"));
    assert_eq!(results[1], value("415-555-2671", "PHONE"));
    assert_eq!(code_of(&results[2]), "token.not_found");
    daemon.stop();
}

#[test]
fn lookup_mints_nothing() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let phone = client.token("PHONE", "415-555-2671");
    let card = client.token("CARD", "4111");
    let results = client.ask_items(
        "/api/v1/lookup",
        &[
            item("PHONE", "415-555-2671"),
            item("PHONE", "415-555-0000"),
            item("CARD", "4111"),
            item("PIN", "1234"),
            item("NOTE", "a"),
            item("CITY", "Springfield"),
            item("NOSUCH", "a"),
            item("SSN", "078-05-1120"),
            item("NAME", ""),
        ],
    );
    assert_eq!(results[0], json!({"tokens": [phone], "exact": true}));
    assert_eq!(results[1], json!({"tokens": [], "exact": false}));
    assert_eq!(results[2], json!({"tokens": [card], "exact": true}), "one for each loaded generation");
    assert_eq!(code_of(&results[3]), "lookup.impossible");
    assert_eq!(results[4], json!({"tokens": [], "exact": false}));
    assert_eq!(results[5], json!({"tokens": [], "exact": false}));
    assert_eq!(code_of(&results[6]), "kind.unknown");
    assert_eq!(code_of(&results[7]), "context.required");
    assert_eq!(code_of(&results[8]), "value.invalid");
    assert_eq!(client.get("/api/v1/vault/stats").ok()["records"], 1, "only what was tokenized");
    daemon.stop();
}

#[test]
fn rewrap_keeps_vault_tokens_and_tokens_of_the_active_key() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let (phone, pin) = (client.token("PHONE", "415-555-2671"), client.token("PIN", "1234"));
    let results = client.ask_tokens("/api/v1/rewrap", &[phone.as_str(), "rubbish", &pin, &relabelled(&pin, 1, "CARD")]);
    assert_eq!(results[0], json!({"token": phone, "changed": false}));
    assert_eq!(code_of(&results[1]), "token.malformed");
    assert_eq!(results[2], json!({"token": pin, "changed": false}));
    assert_eq!(code_of(&results[3]), "token.not_found");
    daemon.stop();
}

#[test]
fn forgotten_values_can_be_tokenized_again() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let [first, second] = ["415-555-2671", "415-555-0000"].map(|value| client.token("PHONE", value));
    let ssn = client.tokenize(&[json!({"kind": "SSN", "value": "1", "context": "ward-3"})])[0]["token"].clone();
    let card = client.token("CARD", "4111");
    let forget = |client: &mut Client, tokens: &[Value]| client.ask_tokens("/api/v1/forget", tokens);

    let results = forget(&mut client, &[json!(first), json!("rubbish"), json!(card), ssn.clone(), json!(first)]);
    assert_eq!(results[0], json!({"forgotten": true}));
    assert_eq!(code_of(&results[1]), "token.malformed");
    assert_eq!(results[2], json!({"forgotten": false}), "it carries its own value");
    assert_eq!(code_of(&results[3]), "token.not_found", "of another context");
    assert_eq!(code_of(&results[4]), "token.not_found", "gone since the first item");

    let results = client.rehydrate(&[first.as_str(), &second]);
    assert_eq!(code_of(&results[0]), "token.not_found");
    assert_eq!(results[1]["value"], "415-555-0000");
    let body = json!({"context": "ward-3", "tokens": [ssn]});
    assert_eq!(client.post("/api/v1/rehydrate", &body).results(1)[0]["value"], "1", "it was not erased");

    let again = client.tokenize(&[item("PHONE", "415-555-2671")]).remove(0);
    assert_eq!(again["created"], true);
    assert_ne!(match_part(&again["token"]), match_part(&json!(first)), "nothing of the forgotten token comes again");
    assert_eq!(client.value(again["token"].as_str().unwrap()), "415-555-2671");
    assert_eq!(code_of(&client.rehydrate(&[first.as_str()])[0]), "token.not_found");
    daemon.stop();
}

/// Returns a token with another text in one of its fields.
fn relabelled(token: &str, field: usize, text: &str) -> String {
    let mut fields: Vec<&str> = token.split('.').collect();
    fields[field] = text;
    fields.join(".")
}

#[test]
fn relabelled_tokens_do_not_rehydrate() {
    let site = Site::new();
    // The same key under two kids: a relabelled token reaches the same key bytes.
    let daemon = site.launch().care_keys().key("K_SPARE", &TestKey::named("care")).start();
    let mut client = daemon.client();
    let (phone, card) = (client.token("PHONE", "415-555-2671"), client.token("CARD", "4111"));
    let other = |token: &str| json!({"token": token, "context": "other"});
    let forged = [
        json!(relabelled(&phone, 1, "NAME")),
        json!(relabelled(&phone, 1, "NOSUCH")),
        json!(relabelled(&phone, 2, "K_SPARE")),
        json!(relabelled(&phone, 2, "K_NOT_LOADED")),
        json!(relabelled(&phone, 3, &"A".repeat(32))),
        other(&phone),
        json!(relabelled(&card, 1, "PIN")),
        json!(relabelled(&card, 1, "NOSUCH")),
        other(&card),
    ];
    for path in ["/api/v1/rehydrate", "/api/v1/forget", "/api/v1/rewrap"] {
        for (asked, result) in forged.iter().zip(client.ask_tokens(path, &forged)) {
            let text = asked.as_str().unwrap_or("MSKV1.PHONE or MSK1.CARD in another context");
            match (path, text.starts_with("MSK1.") || (asked.is_object() && asked["token"] == json!(card))) {
                ("/api/v1/rewrap", false) => assert_eq!(result["changed"], false, "{text}"),
                ("/api/v1/forget", true) => assert_eq!(result, json!({"forgotten": false}), "{text}"),
                _ => assert_eq!(code_of(&result), "token.not_found", "{path} {text}"),
            }
        }
    }
    // The fingerprint selects the key, and these kids have no key with it.
    for kid in ["K_CARE", "K_NOT_LOADED"] {
        let result = client.rehydrate(&[relabelled(&card, 2, kid)]).remove(0);
        assert_eq!(code_of(&result), "key.unavailable");
        let detail = result["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(kid) && detail.contains(&TestKey::named("pay").fingerprint("K_PAY")[..8]), "{detail}");
    }
    assert_eq!(client.value(&phone), "415-555-2671");
    assert_eq!(client.value(&card), "4111");
    daemon.stop();
}
