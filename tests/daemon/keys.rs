//! Key generations: active, old, missing, and returning.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use serde_json::{Value, json};

use super::harness::{CARE, Client, Daemon, Launch, Site, TestKey, error_code, item};

/// Returns the keys of a generation: `K_CARE` and `K_PAY` change together.
fn keys(generation: &str) -> [TestKey; 2] {
    ["care", "pay"].map(|kid| TestKey::named(&format!("{kid} {generation}")))
}

fn start(site: &Site, active: &str, old: Option<&str>) -> Daemon {
    launch(site, active, old).start()
}

/// Starts a daemon that has none of the keys that the vault's control key is sealed under.
fn start_without_former_keys(site: &Site, active: &str) -> Daemon {
    launch(site, active, None).accept("new-control-key").start()
}

fn launch<'s>(site: &'s Site, active: &str, old: Option<&str>) -> Launch<'s> {
    let mut launch = site.launch();
    for (generation, is_old) in [(Some(active), false), (old, true)] {
        for (kid, key) in
            generation.map(|generation| ["K_CARE", "K_PAY"].into_iter().zip(keys(generation))).into_iter().flatten()
        {
            launch = if is_old { launch.old_key(kid, &key) } else { launch.key(kid, &key) };
        }
    }
    launch
}

fn rehydrated(value: &str, kind: &str, generation: &str) -> Value {
    json!({"value": value, "kind": kind, "generation": generation})
}

fn lookup(client: &mut Client, kind: &str, value: &str) -> Value {
    client.ask_items("/api/v1/lookup", &[item(kind, value)]).remove(0)
}

fn rewrap(client: &mut Client, token: &str) -> Value {
    client.ask_tokens("/api/v1/rewrap", &[token]).remove(0)
}

#[test]
fn values_keep_their_tokens_when_the_key_becomes_old() {
    let site = Site::new();
    let daemon = start(&site, "first", None);
    let mut client = daemon.client();
    let (phone, card, pin) =
        (client.token("PHONE", "415-555-2671"), client.token("CARD", "4111"), client.token("PIN", "1234"));
    daemon.stop();

    let daemon = start(&site, "second", Some("first"));
    let mut client = daemon.client();
    assert_eq!(client.tokenize(&[item("PHONE", "415-555-2671")]), [json!({"token": phone, "created": false})]);
    assert_eq!(lookup(&mut client, "PHONE", "415-555-2671"), json!({"tokens": [phone], "exact": true}));
    let later = client.token("PHONE", "415-555-0000");
    let new_card = client.token("CARD", "4111");
    assert_ne!(new_card, card, "a token that carries its value is minted under the active key");
    assert_eq!(
        lookup(&mut client, "CARD", "4111"),
        json!({"tokens": [new_card, card], "exact": true}),
        "the active key's first"
    );
    assert_eq!(
        client.rehydrate(&[phone.as_str(), &later, &card, &new_card, &pin]),
        [
            rehydrated("415-555-2671", "PHONE", "old"),
            rehydrated("415-555-0000", "PHONE", "active"),
            rehydrated("4111", "CARD", "old"),
            rehydrated("4111", "CARD", "active"),
            rehydrated("1234", "PIN", "old"),
        ]
    );

    // From the old key to the active one, with the token's own suite.
    assert_eq!(rewrap(&mut client, &card), json!({"token": new_card, "changed": true}));
    assert_eq!(rewrap(&mut client, &new_card), json!({"token": new_card, "changed": false}));
    assert_eq!(rewrap(&mut client, &phone), json!({"token": phone, "changed": false}));
    let new_pin = rewrap(&mut client, &pin);
    assert_eq!(new_pin["changed"], true);
    let new_pin = new_pin["token"].as_str().unwrap();
    assert_ne!(rewrap(&mut client, &pin)["token"], new_pin, "its suite is randomized");
    assert_eq!(client.rehydrate(&[new_pin]), [rehydrated("1234", "PIN", "active")]);

    let answer = client.get("/api/v1/keys").ok();
    let listed: Vec<(&Value, &Value, &Value)> = answer["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (&key["fingerprint"], &key["generation"], &key["vault_records"]))
        .collect();
    let [[care_1, pay_1], [care_2, pay_2]] = [keys("first"), keys("second")];
    let expected = [
        (json!(care_2.fingerprint("K_CARE")), json!("active"), json!(1)),
        (json!(care_1.fingerprint("K_CARE")), json!("old"), json!(1)),
        (json!(pay_2.fingerprint("K_PAY")), json!("active"), json!(0)),
        (json!(pay_1.fingerprint("K_PAY")), json!("old"), json!(0)),
    ];
    assert_eq!(listed, expected.each_ref().map(|(a, b, c)| (a, b, c)));
    assert!(client.metric("masker_key_old_age_seconds{kid=\"K_CARE\"}").is_some_and(|age| age >= 0.0));
    daemon.stop();
}

#[test]
fn values_of_a_missing_key_are_refused_until_it_is_loaded() {
    let site = Site::new();
    let daemon = start(&site, "first", None);
    let mut client = daemon.client();
    let (phone, card) = (client.token("PHONE", "415-555-2671"), client.token("CARD", "4111"));
    daemon.stop();
    let daemon = start(&site, "second", Some("first"));
    let later = daemon.client().token("PHONE", "415-555-0000");
    daemon.stop();

    let daemon = start(&site, "second", None);
    let mut client = daemon.client();
    let [care, pay] = keys("first");
    let (full, prefix) = (care.fingerprint("K_CARE"), pay.fingerprint("K_PAY")[..8].to_owned());
    for (token, kid, fingerprint) in [(&phone, "K_CARE", &full), (&card, "K_PAY", &prefix)] {
        let result = client.rehydrate(&[token.as_str()]).remove(0);
        assert_eq!(error_code(&result), "key.unavailable");
        let detail = result["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(kid) && detail.contains(fingerprint), "{detail}");
    }
    assert_eq!(error_code(&rewrap(&mut client, &card)), "key.unavailable");
    let results =
        client.tokenize(&[item("PHONE", "415-555-0000"), item("PHONE", "415-555-1111"), item("CARD", "4111")]);
    assert_eq!(results[0], json!({"token": later, "created": false}), "what is found is found");
    assert_eq!(error_code(&results[1]), "key.unavailable", "it could be there under the missing key");
    assert!(results[1]["error"]["detail"].as_str().unwrap().contains(&full), "{}", results[1]);
    assert!(results[2]["token"].is_string(), "{}", results[2]);
    let unseen = lookup(&mut client, "PHONE", "415-555-2671");
    assert_eq!(error_code(&unseen), "key.unavailable", "it has a token, which cannot be found");
    assert_eq!(lookup(&mut client, "PHONE", "415-555-0000"), json!({"tokens": [later], "exact": true}));
    let missing = ["K_CARE", "K_PAY"].map(|kid| client.metric(&format!("masker_key_missing_records{{kid=\"{kid}\"}}")));
    assert_eq!(missing, [Some(1.0), Some(0.0)]);
    let (status, components) = client.health();
    assert_eq!(status, "degraded");
    let detail = components["keys"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("1 record needs the key K_CARE")
            && detail.contains(&full)
            && detail.contains("MASKER_KEY_K_CARE_OLD")
    );
    let stats = client.get("/api/v1/vault/stats").ok();
    let unloaded = json!({"kid": "K_CARE", "fingerprint": full, "generation": "unloaded", "records": 1});
    assert!(stats["by_kid"].as_array().unwrap().contains(&unloaded), "{stats}");
    let key = client.get("/api/v1/keys").ok()["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["fingerprint"] == full)
        .cloned();
    assert_eq!(key.map(|key| (key["loaded"].clone(), key["generation"].clone())), Some((json!(false), json!("old"))));
    let report = client.exchange("POST", "/api/v1/vault/check", b"").ok();
    assert_eq!((&report["ok"], &report["opened"], &report["key_not_loaded"]), (&json!(true), &json!(1), &json!(1)));
    let mut check = Command::new(env!("CARGO_BIN_EXE_masker"));
    let check = check.args(["vault", "check", "--socket"]).arg(site.socket()).env_clear().output().unwrap();
    let shown = String::from_utf8(check.stdout).unwrap();
    assert!(shown.starts_with("sound\tyes, except 1 records whose key is not loaded\n"), "{shown}");
    let log = daemon.stop().log.text();
    assert!(log.contains("1 record needs the key K_CARE"), "{log}");

    let daemon = start(&site, "second", Some("first"));
    let mut client = daemon.client();
    assert_eq!(client.health().0, "ok");
    assert_eq!(client.rehydrate(&[phone.as_str()]), [rehydrated("415-555-2671", "PHONE", "old")]);
    assert_eq!(client.rehydrate(&[card.as_str()]), [rehydrated("4111", "CARD", "old")]);
    assert_eq!(client.tokenize(&[item("PHONE", "415-555-1111")])[0]["created"], true);
    daemon.stop();
}

#[test]
fn records_of_a_missing_key_can_be_forgotten() {
    let site = Site::new();
    let daemon = start(&site, "first", None);
    let phone = daemon.client().token("PHONE", "415-555-2671");
    daemon.stop();
    let daemon = start_without_former_keys(&site, "second");
    let mut client = daemon.client();
    assert_eq!(error_code(&client.tokenize(&[item("PHONE", "415-555-2671")])[0]), "key.unavailable");
    assert_eq!(client.ask_tokens("/api/v1/forget", &[phone.as_str()]), [json!({"forgotten": true})]);
    let minted = client.tokenize(&[item("PHONE", "415-555-2671")]).remove(0);
    assert_eq!(minted["created"], true);
    assert_ne!(minted["token"], phone, "a forgotten value gets a new token");
    assert_eq!(client.health().0, "ok");
    daemon.stop();
}

#[test]
fn an_old_key_is_refused_after_the_grace_period_if_configured() {
    let mut site = Site::new();
    site.set("keys", "grace_days", "0");
    let daemon = start(&site, "first", None);
    let mut client = daemon.client();
    let (phone, card) = (client.token("PHONE", "415-555-2671"), client.token("CARD", "4111"));
    daemon.stop();
    let daemon = start(&site, "second", Some("first"));
    let mut client = daemon.client();
    assert_eq!(client.value(&phone), "415-555-2671", "the default is to warn");
    daemon.stop();

    site.set("keys", "grace_action", "\"refuse\"");
    let daemon = start(&site, "second", Some("first"));
    let mut client = daemon.client();
    let [care, pay] = keys("first");
    for (token, kid, fingerprint) in
        [(&phone, "K_CARE", care.fingerprint("K_CARE")), (&card, "K_PAY", pay.fingerprint("K_PAY"))]
    {
        let result = client.rehydrate(&[token.as_str()]).remove(0);
        assert_eq!(error_code(&result), "key.grace_expired");
        let detail = result["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(kid) && detail.contains(&fingerprint), "{detail}");
    }
    // Lookups under the old key and moving away from it still work.
    assert_eq!(client.tokenize(&[item("PHONE", "415-555-2671")]), [json!({"token": phone, "created": false})]);
    assert_eq!(lookup(&mut client, "PHONE", "415-555-2671"), json!({"tokens": [phone], "exact": true}));
    let rewrapped = rewrap(&mut client, &card);
    assert_eq!(rewrapped["changed"], true);
    assert_eq!(client.value(rewrapped["token"].as_str().unwrap()), "4111");
    daemon.stop();

    // The variable overrides the file.
    let [care_2, pay_2] = keys("second");
    let daemon = site
        .launch()
        .key("K_CARE", &care_2)
        .old_key("K_CARE", &care)
        .key("K_PAY", &pay_2)
        .old_key("K_PAY", &pay)
        .env("MASKER_KEY_ROTATION_GRACE_DAYS", "30")
        .start();
    let mut client = daemon.client();
    assert_eq!(client.value(&phone), "415-555-2671");
    let answer = client.get("/api/v1/keys").ok();
    let old = &answer["keys"][1];
    let [since, ends] =
        ["old_since", "grace_ends"].map(|name| old[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap());
    assert_eq!(ends.duration_since(since).as_hours(), 30 * 24);
    daemon.stop();
}

#[test]
fn a_replaced_key_is_refused_without_confirmation() {
    let site = Site::new();
    let daemon = start(&site, "first", None);
    let phone = daemon.client().token("PHONE", "415-555-2671");
    daemon.stop();
    start(&site, "second", Some("first")).stop();
    let [care_1, pay_1] = keys("first");
    let [care_2, pay_2] = keys("second");
    let (first, second) = (care_1.fingerprint("K_CARE"), care_2.fingerprint("K_CARE"));

    // Swapped by mistake, and restored without the later key: refused without a change.
    let launch = || site.launch().key("K_CARE", &care_1).key("K_PAY", &pay_2).old_key("K_PAY", &pay_1);
    let log = launch().old_key("K_CARE", &care_2).refused().code(1);
    for expected in ["MASKER_KEY_K_CARE and MASKER_KEY_K_CARE_OLD are swapped", &first, &second, "masker recover"] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert!(!log.contains("MASKER_KEY_K_PAY"), "the other key is not mentioned: {log}");
    let log = launch().refused().code(1);
    assert!(log.contains(&format!("MASKER_KEY_K_CARE holds {first}, which {second} replaced on ")), "{log}");
    start(&site, "second", Some("first")).stop();

    let daemon = launch().old_key("K_CARE", &care_2).accept("key-rollback").start();
    let mut client = daemon.client();
    assert_eq!(client.rehydrate(&[phone.as_str()]), [rehydrated("415-555-2671", "PHONE", "active")]);
    assert_eq!(client.token("PHONE", "415-555-2671"), phone);
    let log = daemon.stop().log.text();
    assert!(log.contains("accepted as it is: ") && log.contains(&second), "{log}");
    // It is active now.
    launch().old_key("K_CARE", &care_2).start().stop();
    assert!(start_refused(&site, "second", "first").contains(&format!("{first} replaced {second} on ")));
}

fn start_refused(site: &Site, active: &str, old: &str) -> String {
    let ([care, pay], [care_old, pay_old]) = (keys(active), keys(old));
    let launch = site.launch().key("K_CARE", &care).key("K_PAY", &pay);
    launch.old_key("K_CARE", &care_old).old_key("K_PAY", &pay_old).refused().code(1)
}

#[test]
fn mints_second_tokens_if_accepted() {
    let mut site = Site::new();
    let daemon = start(&site, "first", None);
    let mut client = daemon.client();
    let first = client.token("PHONE", "415-555-2671");
    daemon.stop();
    site.set("keys", "accept_second_tokens", "[\"k_care\", \"K_NOWHERE\"]");
    let daemon = start_without_former_keys(&site, "second");
    let warned = daemon.log().wait_for(1, "`[keys] accept_second_tokens` names a key that is not loaded");
    assert_eq!(warned[0]["kid"], "K_NOWHERE");
    let mut client = daemon.client();
    let lost = lookup(&mut client, "PHONE", "415-555-2671");
    assert_eq!(error_code(&lost), "key.unavailable", "a first token may be there all the same");
    let second = client.tokenize(&[item("PHONE", "415-555-2671")]).remove(0);
    assert_eq!(second["created"], true);
    assert_ne!(second["token"], first);
    assert_eq!(lookup(&mut client, "PHONE", "415-555-2671"), json!({"tokens": [second["token"]], "exact": true}));
    assert_eq!(error_code(&client.rehydrate(&[first.as_str()])[0]), "key.unavailable");
    let (status, components) = client.health();
    let detail = components["keys"]["detail"].as_str().unwrap();
    assert!(status == "degraded" && detail.contains("get second tokens"), "{detail}");
    daemon.stop();

    // Both are valid when the key is back, and tokenizing returns the one under the active key.
    site.set("keys", "accept_second_tokens", "[]");
    let daemon = start(&site, "second", Some("first"));
    let mut client = daemon.client();
    assert_eq!(
        lookup(&mut client, "PHONE", "415-555-2671"),
        json!({"tokens": [second["token"], first], "exact": true})
    );
    assert_eq!(client.token("PHONE", "415-555-2671"), second["token"].as_str().unwrap());
    assert_eq!(client.value(&first), "415-555-2671");
    daemon.stop();
}

#[test]
fn reads_keys_from_files_and_the_credentials_directory() {
    let site = Site::new();
    let [care, pay] = keys("first");
    let [care_old, pay_old] = keys("before");
    let daemon = start(&site, "before", None);
    let mut client = daemon.client();
    let (phone, card) = (client.token("PHONE", "415-555-2671"), client.token("CARD", "4111"));
    daemon.stop();

    let write = |name: &str, text: &str| {
        let path = site.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        path
    };
    let credentials = site.path("credentials");
    fs::create_dir(&credentials).unwrap();
    write("credentials/MASKER_KEY_K_PAY", &format!("{}\n", pay.base64()));
    write("credentials/MASKER_KEY_K_PAY_OLD", pay_old.base64().trim_end_matches('='));
    // The variable overrides the credential of the same name.
    write("credentials/MASKER_KEY_K_CARE", &TestKey::named("another").base64());
    write("credentials/unrelated", "something else");
    let daemon = site
        .launch()
        .env("MASKER_KEY_K_CARE_FILE", write("care", &format!("\n {} \n", care.base64())))
        .env("MASKER_KEY_K_CARE_OLD_FILE", write("care-old", &care_old.base64()))
        .env("CREDENTIALS_DIRECTORY", &credentials)
        .start();
    let mut client = daemon.client();
    assert_eq!(client.rehydrate(&[phone.as_str()]), [rehydrated("415-555-2671", "PHONE", "old")]);
    assert_eq!(client.rehydrate(&[card.as_str()]), [rehydrated("4111", "CARD", "old")]);
    let answer = client.get("/api/v1/keys").ok();
    let listed: Vec<&str> =
        answer["keys"].as_array().unwrap().iter().map(|key| key["fingerprint"].as_str().unwrap()).collect();
    let expected = [
        care.fingerprint("K_CARE"),
        care_old.fingerprint("K_CARE"),
        pay.fingerprint("K_PAY"),
        pay_old.fingerprint("K_PAY"),
    ];
    assert_eq!(listed, expected);
    daemon.stop();
}

#[test]
fn counts_are_exact_across_restarts() {
    let site = Site::new();
    let counts = |client: &mut Client| {
        let stats = client.get("/api/v1/vault/stats").ok();
        let listed = client.get("/api/v1/keys").ok();
        let of = |list: &Value, field: &str, kid: &str, key: &TestKey| {
            let found = list.as_array().unwrap().iter().find(|row| row["fingerprint"] == key.fingerprint(kid)).cloned();
            found.map_or(0, |row| row[field].as_u64().unwrap())
        };
        let by_key = ["first", "second"].map(|generation| {
            let [care, _] = keys(generation);
            let counted = of(&stats["by_kid"], "records", "K_CARE", &care);
            assert_eq!(of(&listed["keys"], "vault_records", "K_CARE", &care), counted);
            counted
        });
        assert_eq!(stats["records"], by_key[0] + by_key[1]);
        assert_eq!(client.metric("masker_vault_records"), Some((by_key[0] + by_key[1]) as f64));
        let report = client.exchange("POST", "/api/v1/vault/check", b"").ok();
        assert_eq!((&report["ok"], &report["counts_agree"]), (&json!(true), &json!(true)), "{report}");
        (by_key[0], by_key[1])
    };

    let daemon = start(&site, "first", None);
    let mut client = daemon.client();
    let values: Vec<String> = (0..250).map(|i| format!("{}", i % 200)).collect();
    let tokens = client.tokens("PHONE", &values);
    assert_eq!(counts(&mut client), (200, 0));
    client.ask_tokens("/api/v1/forget", &tokens[..50]);
    client.ask_tokens("/api/v1/forget", &tokens[..50]);
    assert_eq!(counts(&mut client), (150, 0));
    daemon.kill();

    let daemon = start(&site, "second", Some("first"));
    let mut client = daemon.client();
    assert_eq!(counts(&mut client), (150, 0));
    client.tokens("PHONE", &values);
    client.tokens("NAME", &["a", "b", "A"]);
    // Two spellings of a name are two values.
    assert_eq!(counts(&mut client), (150, 53));
    client.ask_tokens("/api/v1/forget", &tokens[100..110]);
    assert_eq!(counts(&mut client), (140, 53));
    daemon.stop();
    let daemon = start(&site, "second", Some("first"));
    assert_eq!(counts(&mut daemon.client()), (140, 53));
    daemon.stop();
}

#[test]
fn warns_of_a_policy_that_gives_known_values_new_tokens() {
    let site = Site::new();
    let daemon = start(&site, "first", None);
    let mut client = daemon.client();
    client.tokens("PHONE", &["415-555-2671", "415-555-0000", "415-555-1111"]);
    client.tokens("NAME", &["Ann"]);
    let reload = |client: &mut Client| client.exchange("POST", "/api/v1/policies/reload", b"").ok();

    site.policy("care.toml", &CARE.replace("normalize = \"phone_nanp\"", "normalize = \"exact\""));
    let report = reload(&mut client);
    let warnings = report["warnings"].as_array().unwrap();
    let warning = warnings[0].as_str().unwrap();
    assert_eq!((warnings.len(), &report["policies"]), (1, &json!(1)));
    for expected in ["`care`", "PHONE", "`phone_nanp`", "`exact`", "3 records"] {
        assert!(warning.contains(expected), "{expected}: {warning}");
    }
    assert_eq!(daemon.log().wait_for(1, warning).len(), 1, "the log says so, too");
    assert_eq!(client.tokenize(&[item("PHONE", "(415) 555 2671")])[0]["created"], true, "it is in force");
    assert_eq!(reload(&mut client)["warnings"], json!([]), "nothing has changed since");

    // Another key, and another scheme. A kind without records needs no warning.
    site.policy("care.toml", &CARE.replace("normalize = \"casefold\"", "normalize = \"casefold\"\nkid = \"K_PAY\""));
    daemon.reload();
    let log = daemon.stop().log.text();
    assert!(log.contains("NAME changed from vault-deterministic under K_CARE"), "{log}");

    // A change while the daemon is down is noticed at the start.
    site.policy("care.toml", &CARE.replace("normalize = \"casefold\"", "tokenization = \"reversible-aead\""));
    let daemon = start(&site, "first", None);
    daemon.client().get("/health").ok();
    let log = daemon.stop().log.text();
    assert!(!log.contains("SSN changed") && !log.contains("CARD changed"), "{log}");
}
