//! Keys that are loaded again while the daemon serves, by request and by signal, all or nothing.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use super::harness::{CARE, Client, Daemon, Launch, Site, TestKey, error_code, item, shape_of};

const KIDS: [&str; 2] = ["K_CARE", "K_PAY"];

fn key(kid: &str, generation: &str) -> TestKey {
    TestKey::named(&format!("{kid} {generation}"))
}

/// The key files of a site, named by variables.
struct Files<'s>(&'s Site);

impl<'s> Files<'s> {
    /// Creates files with the active keys of this generation. The files of old keys are named but do not exist.
    fn new(site: &'s Site, generation: &str) -> Self {
        let files = Files(site);
        files.rotate(generation, None);
        files
    }

    fn path(&self, kid: &str, suffix: &str) -> PathBuf {
        self.0.path(&format!("{kid}{suffix}.key"))
    }

    fn launch(&self) -> Launch<'s> {
        let mut launch = self.0.launch();
        for kid in KIDS {
            for suffix in ["", "_OLD"] {
                launch = launch.env(&format!("MASKER_KEY_{kid}{suffix}_FILE"), self.path(kid, suffix));
            }
        }
        launch
    }

    fn put(&self, kid: &str, suffix: &str, text: &str) {
        write(&self.path(kid, suffix), text);
    }

    fn remove(&self, kid: &str, suffix: &str) {
        fs::remove_file(self.path(kid, suffix)).expect("it was there");
    }

    /// Writes the keys of both kids.
    fn rotate(&self, active: &str, old: Option<&str>) {
        for kid in KIDS {
            self.put(kid, "", &key(kid, active).base64());
            match old {
                Some(old) => self.put(kid, "_OLD", &key(kid, old).base64()),
                None => drop(fs::remove_file(self.path(kid, "_OLD"))),
            }
        }
    }
}

/// Writes atomically, so that no reader sees half a key.
fn write(path: &PathBuf, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).expect("the key is written");
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o400)).expect("its mode is set");
    fs::rename(&draft, path).expect("it is put in place");
}

fn reload(client: &mut Client) -> Value {
    client.exchange("POST", "/api/v1/keys/reload", b"").ok()
}

fn refusal(client: &mut Client) -> String {
    client.exchange("POST", "/api/v1/keys/reload", b"").problem(422, "keys.invalid")
}

/// Returns the loaded keys: kid, fingerprint, generation.
fn loaded(answer: &Value) -> Vec<(String, String, String)> {
    let keys = answer["keys"].as_array().expect("a list").iter().filter(|key| key["loaded"] == true);
    let text = |key: &Value, name: &str| key[name].as_str().expect("a text").to_owned();
    keys.map(|key| (text(key, "kid"), text(key, "fingerprint"), text(key, "generation"))).collect()
}

/// Returns the expected result of [`loaded`] for both kids.
fn expected(active: &str, old: Option<&str>) -> Vec<(String, String, String)> {
    let mut keys = Vec::new();
    for kid in KIDS {
        let line =
            |generation: &str, role: &str| (kid.to_owned(), key(kid, generation).fingerprint(kid), role.to_owned());
        keys.push(line(active, "active"));
        keys.extend(old.map(|old| line(old, "old")));
    }
    keys
}

fn generation(client: &mut Client, token: &str) -> String {
    let result = client.rehydrate(&[token]).remove(0);
    result["generation"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

/// Reloads by request or by signal, and checks that it succeeds.
fn reload_by(daemon: &Daemon, client: &mut Client, by_signal: bool) {
    if by_signal {
        daemon.reload();
    } else {
        reload(client);
    }
    assert_eq!(client.health().0, "ok");
}

#[test]
fn keys_rotate_by_request_and_by_signal() {
    let site = Site::new();
    let files = Files::new(&site, "1");
    let daemon = files.launch().start();
    let mut client = daemon.client();
    let mut phones: BTreeMap<String, String> = BTreeMap::new();
    let mut cards = Vec::new();
    for (round, by_signal) in [(1, true), (2, false), (3, true)] {
        let (before, after) = (format!("{round}"), format!("{}", round + 1));
        let value = format!("415-555-000{round}");
        phones.insert(value.clone(), client.token("PHONE", &value));
        cards.push(client.token("CARD", &before));
        // Checks the records of the key before the old one is needed for that.
        if round > 1 {
            let of_first: Vec<&str> = phones.values().map(String::as_str).collect();
            client.ask_tokens("/api/v1/forget", &of_first);
            phones.clear();
            phones.insert(value.clone(), client.token("PHONE", &value));
        }

        files.rotate(&after, Some(&before));
        // A reload moves nothing.
        assert_eq!(generation(&mut client, &phones[&value]), "active");
        reload_by(&daemon, &mut client, by_signal);
        assert_eq!(loaded(&client.get("/api/v1/keys").ok()), expected(&after, Some(&before)));
        assert_eq!(generation(&mut client, &phones[&value]), "old");
        assert_eq!(generation(&mut client, cards.last().unwrap()), "old");
        assert_eq!(client.tokenize(&[item("PHONE", &value)]), [json!({"token": phones[&value], "created": false})]);
        let later = client.token("PHONE", &format!("415-555-111{round}"));
        assert_eq!(generation(&mut client, &later), "active");
        client.ask_tokens("/api/v1/forget", &[later]);
    }
    let log = daemon.stop().log;
    assert_eq!(log.wait_for(3, "the keys were reloaded").len(), 3);
    assert_eq!(log.wait_for(2, "the policies were reloaded").len(), 2, "a signal means both");

    // A start finds the keys that were loaded.
    let daemon = files.launch().start();
    assert_eq!(loaded(&daemon.client().get("/api/v1/keys").ok()), expected("4", Some("3")));
    daemon.stop();
}

#[test]
fn a_reload_reports_its_effect() {
    let site = Site::new();
    let files = Files::new(&site, "1");
    let daemon = files.launch().start();
    let mut client = daemon.client();
    let phone = client.token("PHONE", "415-555-2671");
    let answer = reload(&mut client);
    assert_eq!(shape_of(&answer), ["keys", "warnings"]);
    assert_eq!(loaded(&answer), expected("1", None));

    files.rotate("2", Some("1"));
    assert_eq!(shape_of(&reload(&mut client)), ["keys", "warnings"]);
    // Without the old key, and with a file that others can read.
    files.rotate("2", None);
    fs::set_permissions(files.path("K_PAY", ""), fs::Permissions::from_mode(0o444)).unwrap();
    let answer = reload(&mut client);
    assert_eq!(loaded(&answer), expected("2", None));
    let warnings: Vec<&str> = answer["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    for expected in ["chmod 0400", "1 record needs the key K_CARE", "MASKER_KEY_K_CARE_OLD_FILE"] {
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{expected}: {warnings:?}");
    }
    // The log says so, too.
    warnings.iter().for_each(|warning| drop(daemon.log().wait_for(1, warning)));
    assert_eq!(error_code(&client.rehydrate(&[phone.as_str()])[0]), "key.unavailable");
    daemon.stop();
}

#[test]
fn a_reload_reads_credentials_again_but_not_variables() {
    let site = Site::new();
    let credentials = site.path("credentials");
    fs::create_dir(&credentials).unwrap();
    let put = |name: &str, generation: &str| {
        write(&credentials.join(name), &key("K_PAY", generation).base64());
        // The draft is gone; it would count as a credential.
        assert!(!credentials.join(name).with_extension("draft").exists());
    };
    put("MASKER_KEY_K_PAY", "1");
    let launch = site.launch().key("K_CARE", &key("K_CARE", "1")).old_key("K_CARE", &key("K_CARE", "0"));
    let daemon = launch.env("CREDENTIALS_DIRECTORY", &credentials).start();
    let mut client = daemon.client();
    let (phone, card) = (client.token("PHONE", "415-555-2671"), client.token("CARD", "4111"));

    put("MASKER_KEY_K_PAY", "2");
    put("MASKER_KEY_K_PAY_OLD", "1");
    // Variables override files, after a reload too.
    put("MASKER_KEY_K_CARE", "2");
    write(&credentials.join("MASKER_KEY_K_SPARE"), &key("K_SPARE", "1").base64());
    let answer = reload(&mut client);
    let line = |kid: &str, generation: &str, role: &str| {
        (kid.to_owned(), key(kid, generation).fingerprint(kid), role.to_owned())
    };
    let [care, care_old] = [line("K_CARE", "1", "active"), line("K_CARE", "0", "old")];
    let [pay, pay_old] = [line("K_PAY", "2", "active"), line("K_PAY", "1", "old")];
    assert_eq!(loaded(&answer), [care.clone(), care_old.clone(), pay.clone(), pay_old, line("K_SPARE", "1", "active")]);
    assert!(answer["warnings"].to_string().contains("K_SPARE is loaded but no policy names it"), "{answer}");
    assert_eq!((client.value(&phone), client.value(&card)), ("415-555-2671".to_owned(), "4111".to_owned()));
    assert_eq!(generation(&mut client, &phone), "active");

    fs::remove_file(credentials.join("MASKER_KEY_K_PAY_OLD")).unwrap();
    fs::remove_file(credentials.join("MASKER_KEY_K_SPARE")).unwrap();
    assert_eq!(loaded(&reload(&mut client)), [care, care_old, pay]);
    assert_eq!(error_code(&client.rehydrate(&[card.as_str()])[0]), "key.unavailable");
    assert_eq!(generation(&mut client, &phone), "active");
    assert_eq!(client.health().0, "ok", "no record needs what went");
    daemon.stop();
}

#[test]
fn a_refused_reload_reports_all_errors_and_changes_nothing() {
    let site = Site::new();
    let files = Files::new(&site, "1");
    let daemon = files.launch().start();
    let mut client = daemon.client();
    let phone = client.token("PHONE", "415-555-2671");
    files.rotate("2", Some("1"));
    reload(&mut client);
    let in_force = expected("2", Some("1"));

    type Damage = fn(&Files<'_>);
    let cases: [(Damage, &[&str]); 6] = [
        (
            |files| {
                files.put("K_CARE", "", "hunter2!");
                files.put("K_PAY", "_OLD", "c2hvcnQ=");
            },
            &["MASKER_KEY_K_CARE_FILE (", "base64", "MASKER_KEY_K_PAY_OLD_FILE (", "5 bytes"],
        ),
        (|files| files.remove("K_PAY", ""), &["MASKER_KEY_K_PAY_FILE (", "no such file"]),
        (
            |files| files.put("K_CARE", "_OLD", &key("K_CARE", "2").base64()),
            &["MASKER_KEY_K_CARE_OLD is the same key as MASKER_KEY_K_CARE"],
        ),
        (
            |files| {
                files.put("K_CARE", "", &key("K_CARE", "1").base64());
                files.put("K_CARE", "_OLD", &key("K_CARE", "2").base64());
            },
            &["MASKER_KEY_K_CARE and MASKER_KEY_K_CARE_OLD are swapped", "swap them back"],
        ),
        (
            |files| files.put("K_PAY", "", &key("K_PAY", "1").base64()),
            &["MASKER_KEY_K_PAY_OLD is the same key as MASKER_KEY_K_PAY"],
        ),
        (
            |files| {
                files.put("K_PAY", "", &key("K_PAY", "1").base64());
                files.remove("K_PAY", "_OLD");
                files.put("K_CARE", "_OLD", "");
            },
            &["MASKER_KEY_K_CARE_OLD_FILE (", "is empty"],
        ),
    ];
    for (damage, words) in cases {
        for by_signal in [false, true] {
            damage(&files);
            if by_signal {
                // Valid policies are not loaded together with invalid keys.
                site.policy("care.toml", &CARE.replace("version = 3", "version = 4"));
                daemon.reload();
            } else {
                let detail = refusal(&mut client);
                assert!(words.iter().all(|word| detail.contains(word)), "{words:?}: {detail}");
            }
            let (status, components) = client.health();
            assert_eq!((status.as_str(), &components["policies"]["status"]), ("degraded", &json!("ok")));
            let detail = components["keys"]["detail"].as_str().unwrap();
            assert!(words.iter().all(|word| detail.contains(word)), "{words:?}: {detail}");
            assert_eq!(loaded(&client.get("/api/v1/keys").ok()), in_force);
            assert_eq!(client.get("/api/v1/policies").ok()["policies"][0]["version"], 3);
            assert_eq!(generation(&mut client, &phone), "old");
            assert_eq!(client.token("PHONE", "415-555-2671"), phone);

            site.policy("care.toml", CARE);
            files.rotate("2", Some("1"));
            reload_by(&daemon, &mut client, by_signal);
            assert_eq!(loaded(&client.get("/api/v1/keys").ok()), in_force);
        }
    }
    let log = daemon.stop().log.text();
    assert!(log.contains("failed to reload the keys; the previous ones stay in force"), "{log}");
    for secret in ["hunter2", "c2hvcnQ", &key("K_CARE", "1").base64(), &key("K_CARE", "2").base64()] {
        assert!(!log.contains(secret), "the log contains a key");
    }
}

#[test]
fn keys_and_policies_are_reloaded_together_or_not_at_all() {
    let site = Site::new();
    let credentials = site.path("credentials");
    fs::create_dir(&credentials).unwrap();
    let put = |kid: &str, generation: &str| {
        write(&credentials.join(format!("MASKER_KEY_{kid}")), &key(kid, generation).base64());
    };
    for kid in KIDS {
        put(kid, "1");
    }
    let daemon = site.launch().env("CREDENTIALS_DIRECTORY", &credentials).start();
    let mut client = daemon.client();
    client.token("PHONE", "415-555-2671");

    // A loaded policy names a kid whose key would be removed.
    fs::remove_file(credentials.join("MASKER_KEY_K_PAY")).unwrap();
    let detail = refusal(&mut client);
    assert!(detail.contains("`care` names the key K_PAY"), "{detail}");
    let pay_less = CARE.replace("\"k_pay\"", "\"K_NEW\"").replace("\"K_PAY\"", "\"K_NEW\"");
    site.policy("care.toml", &pay_less);
    client.exchange("POST", "/api/v1/policies/reload", b"").problem(422, "policy.invalid");
    daemon.reload();
    let (_, components) = client.health();
    assert!(components["policies"]["detail"].as_str().unwrap().contains("`care` names the key K_NEW"), "{components}");

    // One file of each is invalid.
    write(&credentials.join("MASKER_KEY_K_NEW"), "hunter2!");
    site.policy("care.toml", "name = 1");
    daemon.reload();
    let (_, components) = client.health();
    assert!(components["keys"]["detail"].as_str().unwrap().contains("MASKER_KEY_K_NEW"), "{components}");
    assert!(components["policies"]["detail"].as_str().unwrap().contains("care.toml:1"), "{components}");
    assert!(client.tokenize(&[item("CARD", "4111")])[0]["token"].as_str().unwrap().contains("K_PAY"));

    // Both together: neither could be loaded first.
    put("K_NEW", "1");
    site.policy("care.toml", &pay_less);
    daemon.reload();
    assert_eq!(client.health().0, "ok");
    let kids: Vec<String> = loaded(&client.get("/api/v1/keys").ok()).into_iter().map(|(kid, _, _)| kid).collect();
    assert_eq!(kids, ["K_CARE", "K_NEW"]);
    assert!(client.tokenize(&[item("CARD", "4111")])[0]["token"].as_str().unwrap().contains("K_NEW"));
    daemon.stop();
}

#[test]
fn a_reload_restores_an_old_key_that_was_removed_early() {
    let site = Site::new();
    let files = Files::new(&site, "1");
    let daemon = files.launch().start();
    let mut client = daemon.client();
    let (phone, card) = (client.token("PHONE", "415-555-2671"), client.token("CARD", "4111"));
    files.rotate("2", Some("1"));
    reload(&mut client);
    let later = client.token("PHONE", "415-555-0000");

    files.rotate("2", None);
    reload(&mut client);
    let fingerprint = key("K_CARE", "1").fingerprint("K_CARE");
    let (status, components) = client.health();
    let detail = components["keys"]["detail"].as_str().unwrap();
    assert!(status == "degraded" && detail.contains("1 record needs the key K_CARE") && detail.contains(&fingerprint));
    for token in [&phone, &card] {
        assert_eq!(error_code(&client.rehydrate(&[token.as_str()])[0]), "key.unavailable");
    }
    let results = client.tokenize(&["415-555-0000", "415-555-2671", "new"].map(|value| item("PHONE", value)));
    assert_eq!(results[0], json!({"token": later, "created": false}));
    assert_eq!([error_code(&results[1]), error_code(&results[2])], ["key.unavailable"; 2]);
    let looked_up = client.ask_items("/api/v1/lookup", &[item("PHONE", "415-555-2671"), item("PHONE", "new")]);
    assert_eq!([error_code(&looked_up[0]), error_code(&looked_up[1])], ["key.unavailable"; 2]);
    let answer = client.get("/api/v1/keys").ok();
    let advice = answer["advice"][0]["text"].as_str().unwrap();
    assert!(advice.starts_with(&format!("put the key {fingerprint} back as MASKER_KEY_K_CARE_OLD")), "{advice}");

    files.rotate("2", Some("1"));
    reload(&mut client);
    assert_eq!(client.health().0, "ok");
    assert_eq!([client.value(&phone), client.value(&card)], ["415-555-2671", "4111"]);
    assert_eq!(client.token("PHONE", "415-555-2671"), phone);
    assert_eq!(client.tokenize(&[item("PHONE", "new")])[0]["created"], true);
    daemon.stop();
}

#[test]
fn a_removable_old_key_can_be_removed_by_a_reload() {
    let site = Site::new();
    let files = Files::new(&site, "1");
    let daemon = files.launch().start();
    let mut client = daemon.client();
    let phone = client.token("PHONE", "415-555-2671");
    files.rotate("2", Some("1"));
    reload(&mut client);
    let old = |client: &mut Client| {
        let answer = client.get("/api/v1/keys").ok();
        let advice = answer["advice"][0]["text"].as_str().unwrap().to_owned();
        (answer["keys"][1]["removable"] == true, answer["keys"][1]["proven_at"].is_string(), advice)
    };
    let (removable, proven, advice) = old(&mut client);
    assert!(!removable && !proven && advice.starts_with("rotate the vault's records"), "{advice}");

    client.exchange("POST", "/api/v1/vault/rotations", br#"{"new_kid": "K_CARE"}"#);
    daemon.log().wait_for(1, "rotation ended");
    let (removable, proven, advice) = old(&mut client);
    let fingerprint = key("K_CARE", "1").fingerprint("K_CARE");
    assert!(removable && proven, "{advice}");
    assert!(advice.contains(&format!("the old key {fingerprint} can be removed")), "{advice}");

    files.rotate("2", None);
    assert_eq!(loaded(&reload(&mut client)), expected("2", None));
    assert_eq!(client.health().0, "ok");
    assert_eq!(client.value(&phone), "415-555-2671");
    assert_eq!(client.tokenize(&[item("PHONE", "415-555-2671")]), [json!({"token": phone, "created": false})]);
    let answer = client.get("/api/v1/keys").ok();
    let apply = "run `masker keys reload`";
    assert_eq!(
        answer["advice"][0],
        json!({"kid": "K_CARE", "action": "none", "text": "nothing to do", "apply": apply})
    );
    daemon.stop();
}

#[test]
fn a_grace_period_is_shown_and_measured() {
    let mut site = Site::new();
    site.set("keys", "grace_days", "2");
    let files = Files::new(&site, "1");
    let daemon = files.launch().start();
    let mut client = daemon.client();
    let phone = client.token("PHONE", "415-555-2671");
    let gauge = "masker_key_grace_seconds_left{kid=\"K_CARE\"}";
    assert_eq!(client.metric(gauge), None);
    files.rotate("2", Some("1"));
    reload(&mut client);
    let answer = client.get("/api/v1/keys").ok();
    let old = &answer["keys"][1];
    assert_eq!((&old["generation"], &old["grace_days_left"]), (&json!("old"), &json!(2)));
    let [since, ends] =
        ["old_since", "grace_ends"].map(|name| old[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap());
    assert_eq!(ends.duration_since(since).as_hours(), 48);
    let left = client.metric(gauge).unwrap();
    assert!((0.0..=f64::from(2 * 24 * 60 * 60)).contains(&left), "{left}");
    let advice = answer["advice"][0]["text"].as_str().unwrap();
    assert!(advice.contains("masker vault rotate-key --new-kid K_CARE") && advice.contains("in 2 days"), "{advice}");
    daemon.stop();

    site.set("keys", "grace_days", "0");
    let daemon = Files(&site).launch().start();
    let mut client = daemon.client();
    assert!(client.metric(gauge).unwrap() <= 0.0);
    let answer = client.get("/api/v1/keys").ok();
    assert_eq!(answer["keys"][1]["grace_days_left"], 0);
    assert!(answer["advice"][0]["text"].as_str().unwrap().contains("its grace period ended on"), "{answer}");
    assert_eq!(client.value(&phone), "415-555-2671", "a warning is all that the default does");
    let log = daemon.stop().log.text();
    assert!(log.contains("the grace period of the old key K_CARE"), "{log}");
}

#[test]
fn reloads_during_minting_create_no_second_tokens() {
    // The key changes once in each round, at different moments.
    for _ in 0..3 {
        mint_while_keys_change();
    }
}

fn mint_while_keys_change() {
    const CONNECTIONS: usize = 8;
    const VALUES: usize = 40;
    let site = Site::new();
    let files = Files::new(&site, "1");
    let daemon = files.launch().start();
    let mut client = daemon.client();
    let first = client.token("NAME", "first");
    let (begin, done) = (Barrier::new(CONNECTIONS + 1), AtomicBool::new(false));
    let mint = |connection: usize| {
        let mut client = daemon.client();
        let mut answers = Vec::new();
        begin.wait();
        // All connections share the values of a round, so that each is minted while others look it up.
        for round in 0.. {
            let value = |i| format!("{round}-{}", (i + connection * VALUES / CONNECTIONS) % VALUES);
            let values: Vec<String> = (0..VALUES).map(value).collect();
            for batch in values.chunks(connection + 1) {
                answers.extend(batch.iter().cloned().zip(client.tokens("NAME", batch)));
            }
            if done.load(Ordering::Relaxed) {
                break;
            }
        }
        answers
    };
    let answers: Vec<(String, String)> = thread::scope(|scope| {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let mint = &mint;
                scope.spawn(move || mint(connection))
            })
            .collect();
        begin.wait();
        files.rotate("2", Some("1"));
        // Each key change invalidates what was prepared before it.
        for round in 0..6 {
            reload_by(&daemon, &mut client, round % 2 == 1);
        }
        done.store(true, Ordering::Relaxed);
        connections.into_iter().flat_map(|connection| connection.join().expect("no client failed")).collect()
    });

    let mut tokens: BTreeMap<&str, &str> = BTreeMap::from([("first", first.as_str())]);
    for (value, token) in &answers {
        assert_eq!(tokens.entry(value).or_insert(token), token, "a second token for one value");
    }
    let last = client.token("NAME", "last");
    tokens.insert("last", &last);
    assert_eq!([generation(&mut client, &first), generation(&mut client, &last)], ["old", "active"]);
    let asked: Vec<(&str, &str)> = tokens.into_iter().collect();
    for batch in asked.chunks(5_000) {
        let results = client.rehydrate(&batch.iter().map(|(_, token)| *token).collect::<Vec<_>>());
        assert!(batch.iter().zip(results).all(|((value, _), result)| result["value"] == *value));
    }
    let report = client.exchange("POST", "/api/v1/vault/check", b"").ok();
    assert_eq!((&report["ok"], &report["records"]), (&json!(true), &json!(asked.len())), "{report}");
    daemon.stop();
}
