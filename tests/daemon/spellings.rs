//! Spellings of one value: each keeps its own token and comes back byte for byte, and searches by value find all of them.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{
    api_keys::create,
    harness::{Client, Launch, Site, TestKey, error_code, events_of, item},
};

const POLICY: &str = "name = \"care\"\nversion = 1\nkid = \"K_CARE\"\ntokenization = \"vault-deterministic\"\n\
                      [entities.PHONE]\nnormalize = \"phone_nanp\"\n\
                      [entities.MRN]\nnormalize = \"trim\"\n\
                      [entities.CODE]\n\
                      [entities.NAME]\nnormalize = \"casefold\"\n\
                      [entities.CARD]\nkid = \"K_PAY\"\ntokenization = \"reversible-aead\"\n\
                      [entities.PIN]\nkid = \"K_PAY\"\ntokenization = \"reversible-aead\"\ndeterministic = false\n\
                      [entities.NOTE]\naction = \"redact\"\n\
                      [entities.CITY]\naction = \"passthrough\"\n";
/// Spellings of one telephone number.
const SPELLINGS: [&str; 4] = ["415-555-2671", "(415) 555-2671", " +1 415 555 2671 ", "1.415.555.2671"];

fn site() -> Site {
    let site = Site::new();
    site.policy("care.toml", POLICY);
    site
}

/// Starts with an audit log.
fn launch(site: &Site) -> Launch<'_> {
    site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64())
}

fn lookup(client: &mut Client, kind: &str, value: &str) -> Value {
    client.ask_items("/api/v1/lookup", &[item(kind, value)]).remove(0)
}

fn forget(client: &mut Client, items: &[Value]) -> Vec<Value> {
    client.ask_items("/api/v1/forget", items)
}

/// Returns the half of a vault token that spellings of one form share.
fn match_part(token: &str) -> &str {
    &token[token.len() - 32..token.len() - 16]
}

/// Returns strings of JSON, sorted.
fn sorted(tokens: &[Value]) -> Vec<&str> {
    let mut tokens: Vec<&str> = tokens.iter().map(|token| token.as_str().unwrap()).collect();
    tokens.sort_unstable();
    tokens
}

#[test]
fn spellings_come_back_byte_for_byte_and_share_a_match_part() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    // One after another, and in one request.
    let mut tokens = client.tokens("PHONE", &SPELLINGS[..1]);
    tokens.extend(client.tokens("PHONE", &SPELLINGS[1..]));
    for (token, spelling) in tokens.iter().zip(SPELLINGS) {
        assert_eq!(client.value(token), spelling);
        assert_eq!(match_part(token), match_part(&tokens[0]), "{spelling}");
        assert_eq!(tokens.iter().filter(|other| *other == token).count(), 1, "{spelling} has its own token");
        assert_eq!(client.tokenize(&[item("PHONE", spelling)]), [json!({"token": token, "created": false})]);
    }
    let together = client.tokens("NAME", &["Ann Lee", "ANN  LEE", "ann lee"]);
    assert!(together.iter().all(|token| match_part(token) == match_part(&together[0])));
    assert_eq!(
        together.iter().map(|token| client.value(token)).collect::<Vec<_>>(),
        ["Ann Lee", "ANN  LEE", "ann lee"]
    );
    // Another kind, another context and another number have other match parts.
    let elsewhere = client.post("/api/v1/tokenize", &json!({"context": "b", "items": [item("PHONE", SPELLINGS[0])]}));
    let elsewhere = elsewhere.results(1)[0]["token"].as_str().unwrap().to_owned();
    let others = [elsewhere, client.token("CODE", SPELLINGS[0]), client.token("PHONE", "415-555-0000")];
    for other in &others {
        assert_ne!(match_part(other), match_part(&tokens[0]));
    }
    daemon.kill();

    let daemon = launch(&site).start();
    let mut client = daemon.client();
    assert_eq!(client.tokens("PHONE", &SPELLINGS), tokens, "each is found again after a start");
    let later = client.token("PHONE", "001-415-555-2671");
    assert_ne!(match_part(&later), match_part(&tokens[0]), "not how the number is written in North America");
    assert_eq!(match_part(&client.token("PHONE", "011 1 415 555 2671")), match_part(&tokens[0]));
    daemon.stop();
}

#[test]
fn values_that_were_taken_for_each_other_keep_their_own() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for (kind, pair) in [
        ("PHONE", ["1-800-CONTACTS", "1-800-FLOWERS"]),
        ("PHONE", ["=cmd|' /C calc'!A0 415-555-2671", "415-555-2671"]),
        ("MRN", ["1234.0", "12340"]),
        ("MRN", ["BA-B 123", "B-AB 123"]),
    ] {
        let tokens = client.tokens(kind, &pair);
        assert_ne!(match_part(&tokens[0]), match_part(&tokens[1]), "{pair:?}");
        for (token, value) in tokens.iter().zip(pair) {
            assert_eq!(client.value(token), value);
            assert_eq!(lookup(&mut client, kind, value), json!({"tokens": [token], "exact": true}));
        }
    }
    daemon.stop();
}

#[test]
fn lookup_finds_exact_tokens_first_and_then_other_spellings() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let tokens = client.tokens("PHONE", &SPELLINGS);
    for (token, spelling) in tokens.iter().zip(SPELLINGS) {
        let found = lookup(&mut client, "PHONE", spelling);
        assert_eq!((&found["exact"], &found["tokens"][0]), (&json!(true), &json!(token)), "{found}");
        assert_eq!(
            sorted(found["tokens"].as_array().unwrap()),
            sorted(&tokens.iter().map(|t| json!(t)).collect::<Vec<_>>())
        );
    }
    let found = lookup(&mut client, "PHONE", "+14155552671");
    assert_eq!((&found["exact"], found["tokens"].as_array().unwrap().len()), (&json!(false), 4), "{found}");
    assert!(found.get("more").is_none(), "{found}");
    assert_eq!(lookup(&mut client, "PHONE", "415-555-0000"), json!({"tokens": [], "exact": false}));
    assert_eq!(lookup(&mut client, "CODE", SPELLINGS[0]), json!({"tokens": [], "exact": false}), "of another kind");
    let elsewhere = json!({"context": "b", "items": [item("PHONE", SPELLINGS[0])]});
    let found = client.post("/api/v1/lookup", &elsewhere).results(1).remove(0);
    assert_eq!(found, json!({"tokens": [], "exact": false}), "of another context");
    // `exact` matches nothing but equal values.
    let code = client.token("CODE", "Q 7");
    assert_eq!(lookup(&mut client, "CODE", "Q 7"), json!({"tokens": [code], "exact": true}));
    assert_eq!(lookup(&mut client, "CODE", "Q  7"), json!({"tokens": [], "exact": false}));

    // At most 1,000 tokens for an item.
    let spaced = |number: usize| format!("Ann{}Lee", " ".repeat(1 + number));
    let names: Vec<String> = (0..1_001).map(spaced).collect();
    let tokens = client.tokens("NAME", &names);
    let found = lookup(&mut client, "NAME", &names[500]);
    assert_eq!(
        (&found["tokens"][0], &found["exact"], &found["more"]),
        (&json!(tokens[500]), &json!(true), &json!(true))
    );
    assert_eq!(found["tokens"].as_array().unwrap().len(), 1_000);
    daemon.stop();
}

#[test]
fn matching_outlives_a_change_of_normalizers() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let before = client.token("PHONE", "415-555-2671");
    site.policy("care.toml", &POLICY.replace("phone_nanp", "digits"));
    client.exchange("POST", "/api/v1/policies/reload", b"").ok();
    assert_eq!(client.token("PHONE", "415-555-2671"), before, "a value keeps its token");
    let after = client.token("PHONE", "(415) 555-2671");
    assert_ne!(match_part(&after), match_part(&before), "spellings from before and after a change do not join");
    for spelling in ["415-555-2671", "(415) 555-2671", "+1 415 555 2671"] {
        let found = lookup(&mut client, "PHONE", spelling);
        let tokens = sorted(found["tokens"].as_array().unwrap());
        assert!(tokens.contains(&before.as_str()), "by the form of its own normalizer: {found}");
    }
    assert_eq!(client.value(&after), "(415) 555-2671");
    daemon.stop();
}

#[test]
fn forgetting_a_value_erases_every_spelling() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let tokens = client.tokens("PHONE", &SPELLINGS);
    let (other, code) = (client.token("PHONE", "415-555-0000"), client.token("CODE", SPELLINGS[0]));
    let elsewhere = client.post("/api/v1/tokenize", &json!({"context": "b", "items": [item("PHONE", SPELLINGS[0])]}));
    let elsewhere = elsewhere.results(1)[0]["token"].clone();

    let asked = [
        item("PHONE", "+14155552671"),
        item("PHONE", SPELLINGS[0]),
        item("PHONE", "415-555-9999"),
        item("NOSUCH", "x"),
        item("CARD", "4111"),
        item("PIN", "1234"),
        item("NOTE", "a"),
        item("CITY", "b"),
    ];
    let results = forget(&mut client, &asked);
    let counts: u64 = results[..2].iter().map(|result| result["count"].as_u64().unwrap()).sum();
    assert_eq!(counts, 4, "a record counts once: {results:?}");
    assert_eq!(results[2], json!({"forgotten": false, "count": 0}));
    assert_eq!(error_code(&results[3]), "kind.unknown");
    assert_eq!([error_code(&results[4]), error_code(&results[5])], ["lookup.impossible"; 2]);
    assert_eq!(results[6..], [json!({"forgotten": false, "count": 0}), json!({"forgotten": false, "count": 0})]);
    for result in client.rehydrate(&tokens) {
        assert_eq!(error_code(&result), "token.not_found");
    }
    assert_eq!([client.value(&other), client.value(&code)], ["415-555-0000", SPELLINGS[0]], "others are kept");
    let kept = client.post("/api/v1/rehydrate", &json!({"context": "b", "tokens": [elsewhere]})).results(1).remove(0);
    assert_eq!(kept["value"], SPELLINGS[0], "the value in another context is kept");
    assert_eq!(lookup(&mut client, "PHONE", SPELLINGS[0]), json!({"tokens": [], "exact": false}));
    let again = client.tokenize(&[item("PHONE", SPELLINGS[0])]).remove(0);
    assert_eq!(again["created"], true);
    assert_ne!(match_part(again["token"].as_str().unwrap()), match_part(&tokens[0]), "it gets a new token");
    let body = json!({"policy": "care", "context": "b", "items": [item("PHONE", SPELLINGS[1])]});
    let result = client.post("/api/v1/forget", &body).results(1).remove(0);
    assert_eq!(result, json!({"forgotten": true, "count": 1}), "the request's context");
    for body in [
        json!({}),
        json!({"tokens": [], "items": []}),
        json!({"policy": "care", "tokens": []}),
        json!({"items": [{"kind": "PHONE"}]}),
    ] {
        client.post("/api/v1/forget", &body).problem(400, "request.invalid");
    }
    let checked = client.exchange("POST", "/api/v1/vault/check", b"").ok();
    assert_eq!((&checked["ok"], &checked["records"]), (&json!(true), &json!(3)), "{checked}");
    let receipt = &daemon.log().wait_for(1, "records were forgotten")[0];
    let fingerprint = TestKey::named("care").fingerprint("K_CARE");
    assert_eq!((&receipt["records"], &receipt["keys"]), (&json!(4), &json!(format!("K_CARE {fingerprint}: 4"))));
    daemon.stop();

    let events = site.audit_events();
    let forgotten = events_of(&events, "forget");
    assert_eq!((&forgotten[0]["policy"], &forgotten[0]["outcome"]), (&json!("care"), &json!("ok")), "{}", forgotten[0]);
    let erased = json!({"kid": "K_CARE", "fingerprint": fingerprint, "outcome": "forgotten", "items": 4});
    let counts = forgotten[0]["counts"].as_array().unwrap();
    let says = |count: &Value| erased.as_object().unwrap().iter().all(|(member, value)| count[member] == *value);
    assert!(counts.iter().any(says), "{}", forgotten[0]);
    let text = serde_json::to_string(&events).unwrap();
    for secret in ["555-2671", "4155552671", &tokens[0][tokens[0].len() - 32..]] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn forgetting_a_value_erases_more_than_a_lookup_shows() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let names: Vec<String> = (0..2_100).map(|number| format!("Ann{}Lee", " ".repeat(1 + number))).collect();
    client.tokens("NAME", &names);
    assert_eq!(forget(&mut client, &[item("NAME", "ann lee")]), [json!({"forgotten": true, "count": 2_100})]);
    assert_eq!(client.get("/api/v1/vault/stats").ok()["records"], 0);
    assert_eq!(client.get("/api/v1/vault/stats").ok()["index_rows"], 0);
    daemon.stop();
}

#[test]
fn the_command_line_forgets_values() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    client.tokens("PHONE", &SPELLINGS);
    let forget = |arguments: &[&str]| {
        let all = [&["vault", "forget"], arguments].concat();
        let mut masker = Command::new(env!("CARGO_BIN_EXE_masker"));
        let ended = masker.args(&all).env("MASKER_SOCKET", daemon.socket()).stdin(Stdio::null()).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, stdout, _) = forget(&["--kind", "PHONE", "4155552671", "4155550000"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "forgotten 4\nnot held\n"));
    let (code, stdout, stderr) = forget(&["--json", "--kind", "CARD", "4111111111111111"]);
    assert_eq!(code, Some(2));
    assert!(stdout.contains("lookup.impossible") && stderr.contains("lookup.impossible"), "{stdout} {stderr}");
    assert_eq!(forget(&["--policy", "care", "MSKV1.PHONE.K_CARE.X"]).0, Some(64));
    daemon.stop();
}

#[test]
fn forgetting_a_value_needs_both_scopes() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let token = client.token("PHONE", SPELLINGS[0]);
    let name = client.token("NAME", "Ann");
    let body = json!({"items": [item("PHONE", SPELLINGS[0])]});
    let mut caller = |name: &str, scopes: &[&str]| create(&mut client, name, scopes, json!({})).client(&daemon);
    let detail = caller("one", &["forget"]).post("/api/v1/forget", &body).problem(403, "perm.denied");
    assert!(detail.contains("`lookup`"), "{detail}");
    let detail = caller("other", &["lookup"]).post("/api/v1/forget", &body).problem(403, "perm.denied");
    assert!(detail.contains("`forget`"), "{detail}");
    // A scope for one kind covers no other.
    let items = [item("NAME", "Ann"), item("PHONE", SPELLINGS[0])];
    for (name, scopes, missing) in
        [("names", ["forget", "lookup:PHONE"], "lookup:NAME"), ("phones", ["forget:PHONE", "lookup"], "forget:NAME")]
    {
        let results = forget(&mut caller(name, &scopes), &items);
        assert_eq!(error_code(&results[0]), "perm.denied");
        assert!(results[0]["error"]["detail"].as_str().unwrap().contains(missing), "{}", results[0]);
        let count = u64::from(name == "names");
        assert_eq!(results[1], json!({"forgotten": count > 0, "count": count}));
    }
    // Tokens need `forget` alone.
    assert_eq!(
        caller("tokens", &["forget"]).ask_tokens("/api/v1/forget", &[name.as_str()]),
        [json!({"forgotten": true})]
    );
    assert_eq!(error_code(&client.rehydrate(&[token.as_str()])[0]), "token.not_found");
    daemon.stop();
}

#[test]
fn a_blind_vault_forgets_no_values() {
    let site = site();
    let keys = |launch: Launch<'_>, active: &str, old: Option<&str>| {
        let launch = launch.key("K_CARE", &TestKey::named(active));
        match old {
            Some(old) => launch.old_key("K_CARE", &TestKey::named(old)).start(),
            None => launch.start(),
        }
    };
    let daemon = launch(&site).start();
    let old = daemon.client().token("PHONE", SPELLINGS[0]);
    daemon.stop();
    let daemon = keys(launch(&site), "care, later", Some("care"));
    let new = daemon.client().token("PHONE", SPELLINGS[1]);
    assert_eq!(match_part(&new), match_part(&old), "the match part is found under the old key");
    daemon.stop();

    let daemon = keys(launch(&site), "care, later", None);
    let mut client = daemon.client();
    for spelling in &SPELLINGS[..2] {
        let result = forget(&mut client, &[item("PHONE", spelling)]).remove(0);
        assert_eq!(error_code(&result), "key.unavailable", "a spelling may be under the missing key");
    }
    assert_eq!(client.value(&new), SPELLINGS[1], "nothing was erased");
    assert_eq!(lookup(&mut client, "PHONE", SPELLINGS[1]), json!({"tokens": [new], "exact": true}));
    assert_eq!(error_code(&lookup(&mut client, "PHONE", SPELLINGS[0])), "key.unavailable");
    daemon.stop();

    let daemon = keys(launch(&site), "care, later", Some("care"));
    let result = forget(&mut daemon.client(), &[item("PHONE", SPELLINGS[2])]).remove(0);
    assert_eq!(result, json!({"forgotten": true, "count": 2}));
    daemon.stop();
}

#[test]
fn test_credentials_find_and_forget_nothing_of_live_ones() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let scopes = ["tokenize", "rehydrate", "lookup", "forget"];
    let [mut live, mut test] =
        ["live", "test"].map(|mode| create(&mut client, mode, &scopes, json!({"mode": mode})).client(&daemon));
    let real = live.token("PHONE", SPELLINGS[0]);
    assert_eq!(lookup(&mut test, "PHONE", SPELLINGS[1]), json!({"tokens": [], "exact": false}));
    assert_eq!(forget(&mut test, &[item("PHONE", SPELLINGS[0])]), [json!({"forgotten": false, "count": 0})]);
    let made_up = test.token("PHONE", SPELLINGS[1]);
    assert_ne!(match_part(&made_up), match_part(&real), "a test credential's tokens join with none of a live one's");
    assert_eq!(lookup(&mut live, "PHONE", SPELLINGS[2]), json!({"tokens": [real], "exact": false}));
    assert_eq!(lookup(&mut test, "PHONE", SPELLINGS[2]), json!({"tokens": [made_up], "exact": false}));
    assert_eq!(forget(&mut test, &[item("PHONE", SPELLINGS[2])]), [json!({"forgotten": true, "count": 1})]);
    assert_eq!(live.value(&real), SPELLINGS[0]);
    daemon.stop();
}

/// What a policy says now may not be what it said when a token was minted.
#[test]
fn forgetting_by_value_does_not_depend_on_what_the_policy_says_now() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for (number, rule) in [
        "action = \"redact\"",
        "action = \"passthrough\"",
        "kid = \"K_PAY\"",
        "tokenization = \"reversible-aead\"",
        "normalize = \"exact\"",
    ]
    .into_iter()
    .enumerate()
    {
        site.policy("care.toml", POLICY);
        client.post("/api/v1/policies/reload", &json!({})).ok();
        let value = format!("415-555-010{number}");
        let token = client.token("PHONE", &value);
        let changed = POLICY.replace("normalize = \"phone_nanp\"", rule);
        assert_ne!(changed, POLICY);
        site.policy("care.toml", &changed);
        client.post("/api/v1/policies/reload", &json!({})).ok();
        let forgotten = forget(&mut client, &[item("PHONE", &value)]).remove(0);
        let rehydrated = client.ask_tokens("/api/v1/rehydrate", &[token.as_str()]).remove(0);
        assert_eq!(error_code(&rehydrated), "token.not_found", "{rule}: {forgotten}");
        // A token that contains its value cannot be erased.
        match rule.contains("reversible") {
            true => assert_eq!(error_code(&forgotten), "lookup.impossible", "{forgotten}"),
            false => assert_eq!(forgotten, json!({"forgotten": true, "count": 1}), "{rule}"),
        }
    }
    daemon.stop();
}

#[test]
fn no_search_by_value_finds_a_honeytoken() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for (kind, value) in [("PHONE", "415-555-0100"), ("CODE", "nobody"), ("CARD", "4000-nobody")] {
        let planted = client.post("/api/v1/vault/honeytokens", &json!({"kind": kind, "value": value}));
        assert_eq!(planted.status, 201);
        let planted = planted.json()["token"].as_str().unwrap().to_owned();
        let found = lookup(&mut client, kind, value);
        assert!(!found.to_string().contains(&planted), "{kind}: {found}");
        let minted = client.tokenize(&[item(kind, value)]).remove(0);
        assert_ne!(minted["token"], planted, "{kind}: the value gets its own token");
        let found = lookup(&mut client, kind, value);
        assert_eq!(found, json!({"tokens": [minted["token"]], "exact": true}), "{kind}");
        if kind != "CARD" {
            assert_eq!(minted["created"], true);
            assert_eq!(forget(&mut client, &[item(kind, value)]), [json!({"forgotten": true, "count": 1})]);
        }
        assert_eq!(client.value(&planted), value, "{kind}: it is not erased");
    }
    let checked = client.exchange("POST", "/api/v1/vault/check", b"").ok();
    assert_eq!((&checked["ok"], &checked["index_rows"]), (&json!(true), &json!(0)), "{checked}");
    daemon.stop();
}

#[test]
fn a_vault_of_the_former_format_is_refused() {
    let site = site();
    let daemon = launch(&site).start();
    daemon.client().token("PHONE", SPELLINGS[0]);
    daemon.stop();
    let path = site.vault().join("witness");
    let mut witness = std::fs::read(&path).unwrap();
    witness[15] -= 1;
    std::fs::write(&path, witness).unwrap();
    let log = launch(&site).refused().code(1);
    let expected = "has format 2, but this release of masker reads format 3; use the build that wrote it";
    assert!(log.contains(expected), "{log}");
}
