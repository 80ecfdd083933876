//! What happened after a backup happens again when it is restored.

use std::fs;

use serde_json::{Value, json};

use super::{BACKUP, backup, create, launch, restore, set_aside};
use crate::{
    api_keys::{self, Issued},
    harness::{CARE, Client, Daemon, Site, TestKey, error_code, events_of, item},
};

/// A site whose vault was backed up, and changed afterwards.
struct Changed {
    site: Site,
    kept: String,
    forgotten: [String; 3],
    keys: Keys,
    session: String,
    honeytoken: String,
}

struct Keys {
    kept: Issued,
    revoked: Issued,
    created_by_revoked: Issued,
    left_by_parent: Issued,
    changed: Issued,
    rotated: Issued,
}

fn issue(client: &mut Client, name: &str) -> Issued {
    api_keys::create(client, name, &["rehydrate", "api-keys:admin"], json!({}))
}

impl Changed {
    fn new() -> Self {
        let site = Site::new();
        let daemon = launch(&site).start();
        let mut client = daemon.client();
        let kept = client.token("PHONE", "415-555-0001");
        let by_token = client.token("PHONE", "415-555-0002");
        let by_value = [client.token("PHONE", "415-555-0003"), client.token("PHONE", "(415) 555-0003")];
        let revoked = issue(&mut client, "revoked");
        let created_by_revoked = issue(&mut revoked.client(&daemon), "created");
        let parent = issue(&mut client, "parent");
        let left_by_parent = issue(&mut parent.client(&daemon), "left");
        let keys = Keys {
            kept: issue(&mut client, "kept"),
            changed: issue(&mut client, "changed"),
            rotated: issue(&mut client, "rotated"),
            revoked,
            created_by_revoked,
            left_by_parent,
        };
        let session =
            client.post("/api/v1/sessions", &json!({"label": "run"})).json()["id"].as_str().unwrap().to_owned();
        let planted = client.post("/api/v1/vault/honeytokens", &json!({"kind": "PHONE", "label": "a dump"})).json();
        create(&site);

        client.exchange("DELETE", &keys.revoked.path(), b"").ok();
        client.exchange("DELETE", &format!("{}?keep_descendants=true", parent.path()), b"").ok();
        client.exchange("PATCH", &keys.changed.path(), br#"{"scopes": ["tokenize"]}"#).ok();
        client.exchange("POST", &format!("{}/rotate", keys.rotated.path()), b"{}").ok();
        client.ask_tokens("/api/v1/forget", &[by_token.as_str()]);
        client.ask_items("/api/v1/forget", &[item("PHONE", "415 555 0003")]);
        client.exchange("DELETE", &format!("/api/v1/sessions/{session}"), b"").ok();
        let mark = planted["honeytoken"]["id"].as_str().unwrap();
        client.exchange("DELETE", &format!("/api/v1/vault/honeytokens/{mark}"), b"").ok();
        // What is repeated is recorded again.
        assert_eq!(error_code(&client.ask_tokens("/api/v1/forget", &[by_token.as_str()])[0]), "token.not_found");
        daemon.stop();
        let [first, second] = by_value;
        let honeytoken = planted["token"].as_str().unwrap().to_owned();
        Changed { site, kept, forgotten: [by_token, first, second], keys, session, honeytoken }
    }

    fn start(&self) -> Daemon {
        launch(&self.site).start()
    }

    /// Checks that what was erased is, and that the rest is there.
    fn assert_erased(&self, daemon: &Daemon) {
        let mut client = daemon.client();
        assert_eq!(client.value(&self.kept), "415-555-0001");
        for forgotten in &self.forgotten {
            assert_eq!(error_code(&client.rehydrate(&[forgotten.as_str()])[0]), "token.not_found");
        }
        assert_eq!(client.exchange("POST", "/api/v1/vault/check", b"").ok()["ok"], true);
    }
}

/// Returns the names of the keys that a restore has suspended, sorted: keys of one millisecond have no order.
fn suspended(restored: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        restored["suspended"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_was_revoked_changed_and_erased_stays_so() {
    let changed = Changed::new();
    let restored = restore(&changed.site);
    assert_eq!((&restored["erased_since"], &restored["records"]), (&json!(3), &json!(2)), "{restored}");
    assert_eq!((&restored["revoked_since"], &restored["closed_since"]), (&json!(3), &json!(1)), "{restored}");
    assert_eq!(suspended(&restored), ["changed", "rotated"]);
    assert!(restored["events_since"].as_u64().unwrap() >= 9 && restored["notes"] == json!([]), "{restored}");
    let daemon = changed.start();
    changed.assert_erased(&daemon);
    let keys = &changed.keys;
    for (key, code) in [
        (&keys.revoked, "auth.revoked"),
        (&keys.created_by_revoked, "auth.revoked"),
        (&keys.changed, "auth.suspended"),
        (&keys.rotated, "auth.suspended"),
    ] {
        api_keys::refused(&mut key.client(&daemon), code);
    }
    for key in [&keys.kept, &keys.left_by_parent] {
        assert_eq!(key.client(&daemon).value(&changed.kept), "415-555-0001");
    }
    let mut client = daemon.client();
    assert_eq!(client.get(&format!("/api/v1/sessions/{}", changed.session)).ok()["status"], "closed");
    client.value(&changed.honeytoken);
    assert_eq!(client.metric("masker_honeytoken_rehydrated_total"), Some(0.0), "its mark was removed");
    // A suspended key cannot resume itself, and its secrets work again once somebody has.
    let resume = br#"{"suspended": false}"#;
    keys.changed.client(&daemon).exchange("PATCH", &keys.changed.path(), resume).problem(401, "auth.suspended");
    assert_eq!(client.get(&keys.changed.path()).ok()["state"], "suspended");
    assert_eq!(client.exchange("PATCH", &keys.changed.path(), resume).ok()["state"], "active");
    assert_eq!(keys.changed.client(&daemon).value(&changed.kept), "415-555-0001");
    client.exchange("PATCH", &keys.revoked.path(), resume).problem(409, "api_key.revoked");
    // And suspended again.
    client.exchange("PATCH", &keys.changed.path(), br#"{"suspended": true}"#).ok();
    api_keys::refused(&mut keys.changed.client(&daemon), "auth.suspended");
    daemon.stop();

    // The log tells the same of a second restore, with what has happened since the first.
    let restored = restore(&changed.site);
    assert_eq!((&restored["erased_since"], &restored["revoked_since"]), (&json!(3), &json!(3)), "{restored}");
    assert_eq!(suspended(&restored), ["changed", "rotated"]);
    let daemon = changed.start();
    changed.assert_erased(&daemon);
    daemon.stop();
    // No mark is of a token.
    let text = changed.site.audit_events().iter().map(Value::to_string).collect::<String>();
    assert!(changed.forgotten.iter().all(|token| !text.contains(&token[token.len() - 32..])));
    assert_eq!(events_of(&changed.site.audit_events(), "vault.accepted").len(), 2);
}

#[test]
fn without_a_log_that_has_the_backup_all_keys_are_suspended() {
    let changed = Changed::new();
    let site = &changed.site;
    let all = ["revoked", "created", "parent", "left", "kept", "changed", "rotated"];
    let assert_unknown = |restored: &Value, why: &str| {
        let names = suspended(restored);
        let mut expected: Vec<&str> = all.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert!(restored["events_since"].is_null(), "{restored}");
        let notes = restored["notes"].to_string();
        assert!(notes.contains(why), "{why}: {notes}");
    };
    // The log is gone.
    fs::rename(site.path("audit"), site.path("audit.elsewhere")).unwrap();
    let restored = restore(site);
    assert_unknown(&restored, "there is no audit log in");
    assert_eq!((&restored["erased_since"], &restored["is_accepted"]), (&json!(0), &json!(false)), "{restored}");
    let daemon = changed.start();
    api_keys::refused(&mut changed.keys.kept.client(&daemon), "auth.suspended");
    // The forgotten are back: nothing tells of them.
    assert_eq!(daemon.client().value(&changed.forgotten[0]), "415-555-0002");
    daemon.stop();

    // A log of its own, which does not have the head.
    let restored = restore(site);
    assert_unknown(&restored, "cannot be compared with the backup");
    fs::remove_dir_all(site.path("audit")).unwrap();
    fs::rename(site.path("audit.elsewhere"), site.path("audit")).unwrap();

    // No key: it is to be put back. And another one.
    set_aside(site);
    let without = site.launch().care_keys();
    backup(&without, "restore", &site.path(BACKUP)).refused(&["its key is missing"]);
    let other = launch(site).env("MASKER_AUDIT_HMAC_KEY", TestKey::named("another").base64());
    backup(&other, "restore", &site.path(BACKUP))
        .refused(&["no line of the audit log", "put the key of this log back"]);

    // Broken: what verifies still tells what was erased, and what was revoked.
    let segment = fs::read_dir(site.path("audit")).unwrap().map(|file| file.unwrap().path()).max().unwrap();
    let text = fs::read_to_string(&segment).unwrap();
    let broken = text.replacen("\"op\":\"session.open\"", "\"op\":\"session.oben\"", 1);
    assert_ne!(text, broken);
    fs::write(&segment, broken).unwrap();
    let restored = backup(&launch(site), "restore", &site.path(BACKUP)).json(0);
    assert_eq!((&restored["erased_since"], &restored["revoked_since"]), (&json!(3), &json!(3)), "{restored}");
    assert_eq!(suspended(&restored).len(), 4);
    assert!(restored["notes"].to_string().contains("changed: its hash does not match"), "{restored}");
    let daemon = launch(site).start();
    changed.assert_erased(&daemon);
    api_keys::refused(&mut changed.keys.kept.client(&daemon), "auth.suspended");
    daemon.stop();
}

#[test]
fn purges_are_repeated_by_their_rule() {
    let site = Site::new();
    let (care, later) = (TestKey::named("care"), TestKey::named("care, later"));
    let daemon = launch(&site).start();
    let lost = daemon.client().tokens("PHONE", &["415-555-0001", "415-555-0002"]);
    daemon.stop();
    let second = || launch(&site).key("K_CARE", &later);
    let daemon = second().old_key("K_CARE", &care).start();
    let kept = daemon.client().token("PHONE", "415-555-0003");
    create_with(&site, &second().old_key("K_CARE", &care));
    daemon.stop();
    // The key is lost, and its records are given up.
    let daemon = second().start();
    let purge = |daemon: &Daemon, rule: &Value| {
        let mut body = rule.clone();
        body["dry_run"] = json!(false);
        daemon.client().post("/api/v1/vault/purge", &body).ok()["records"].clone()
    };
    assert_eq!(purge(&daemon, &json!({"key": care.fingerprint("K_CARE")})), 2);
    daemon.client().post("/api/v1/vault/purge", &json!({"before": "9999-01-01"})).ok();
    daemon.stop();
    set_aside(&site);
    let restored = backup(&second(), "restore", &site.path(BACKUP)).json(0);
    assert_eq!((&restored["erased_since"], &restored["records"]), (&json!(2), &json!(1)), "{restored}");
    let daemon = second().start();
    assert_eq!(daemon.client().value(&kept), "415-555-0003");
    assert_eq!(error_code(&daemon.client().rehydrate(&[lost[0].as_str()])[0]), "token.not_found");
    // Everything until now, but not what is minted later.
    assert_eq!(purge(&daemon, &json!({"before": "9999-01-01"})), 1);
    daemon.stop();
    set_aside(&site);
    let restored = backup(&second(), "restore", &site.path(BACKUP)).json(0);
    assert_eq!((&restored["erased_since"], &restored["records"]), (&json!(3), &json!(0)), "{restored}");
}

fn create_with(site: &Site, launch: &crate::harness::Launch<'_>) {
    backup(launch, "create", &site.path(BACKUP)).json(0);
}

/// Erases the records under a key. Returns how many.
fn purge(client: &mut Client, key: &TestKey, kid: &str) -> Value {
    let rule = json!({"key": key.fingerprint(kid), "dry_run": false});
    client.post("/api/v1/vault/purge", &rule).ok()["records"].clone()
}

#[test]
fn a_purge_by_key_after_a_rotation_is_not_repeated() {
    let site = Site::new();
    site.policy("care.toml", &format!("{CARE}\n[entities.MRN]\nkid = \"K_PAY\"\n"));
    let (care, pay) = (TestKey::named("care"), TestKey::named("pay"));
    let daemon = launch(&site).start();
    let moved = daemon.client().token("PHONE", "415-555-0001");
    let purged = daemon.client().token("MRN", "4711");
    create(&site);
    daemon.stop();
    // One key is replaced, and its records are moved. The other is lost, and its records are given up.
    let later = || {
        let launch = launch(&site).key("K_CARE", &TestKey::named("care, later")).old_key("K_CARE", &care);
        launch.key("K_PAY", &TestKey::named("pay, later"))
    };
    let daemon = later().start();
    let mut client = daemon.client();
    assert_eq!(client.post("/api/v1/vault/rotations", &json!({"new_kid": "K_CARE"})).status, 202);
    daemon.log().wait_for(1, "rotation ended");
    // Nothing was left under the former key.
    assert_eq!((purge(&mut client, &care, "K_CARE"), purge(&mut client, &pay, "K_PAY")), (json!(0), json!(1)));
    daemon.stop();
    set_aside(&site);
    let with_pay = || later().old_key("K_PAY", &pay);
    let restored = backup(&with_pay(), "restore", &site.path(BACKUP)).json(0);
    assert_eq!((&restored["erased_since"], &restored["records"]), (&json!(0), &json!(2)), "{restored}");
    let notes = restored["notes"].as_array().unwrap();
    assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains("the purge is not repeated"), "{restored}");
    let daemon = with_pay().start();
    let mut client = daemon.client();
    assert_eq!((client.value(&moved), client.value(&purged)), ("415-555-0001".to_owned(), "4711".to_owned()));
    daemon.stop();
}

/// Of a rotation that began before the backup and was cancelled after it, the backup has a part of the records under the former
/// key that the vault has under the later one.
#[test]
fn a_purge_by_key_after_a_cancelled_rotation_is_not_repeated() {
    let site = Site::new();
    let care = TestKey::named("care");
    let daemon = launch(&site).start();
    let phones: Vec<String> = (0..40).map(|number| format!("+1415555{number:04}")).collect();
    let tokens = daemon.client().tokens("PHONE", &phones);
    daemon.stop();
    let later = || launch(&site).key("K_CARE", &TestKey::named("care, later")).old_key("K_CARE", &care);
    let daemon = later().start();
    let mut client = daemon.client();
    let begin = json!({"new_kid": "K_CARE", "max_rows_per_second": 1});
    let rotation = client.post("/api/v1/vault/rotations", &begin).json()["id"].as_str().unwrap().to_owned();
    create_with(&site, &later());
    let path = format!("/api/v1/vault/rotations/{rotation}");
    let done = |client: &mut Client| client.get(&path).ok()["rows_done"].as_u64().unwrap();
    let before = done(&mut client);
    while done(&mut client) < before + 2 {
        std::thread::yield_now();
    }
    client.exchange("DELETE", &path, b"").ok();
    assert!(purge(&mut client, &care, "K_CARE").as_u64().unwrap() > 0);
    let kept: Vec<bool> = client.rehydrate(&tokens).iter().map(|item| item["value"].is_string()).collect();
    daemon.stop();
    let events = site.audit_events();
    let ends = events.iter().filter(|event| event["op"] == "rotation.end");
    assert_eq!(
        ends.map(|event| &event["outcome"]).collect::<Vec<_>>(),
        ["cancelled"],
        "at once, in the pause between steps"
    );
    set_aside(&site);
    let restored = backup(&later(), "restore", &site.path(BACKUP)).json(0);
    assert!(restored["notes"].to_string().contains("the purge is not repeated"), "{restored}");
    let daemon = later().start();
    let mut client = daemon.client();
    for (token, phone) in tokens.iter().zip(&phones).zip(kept).filter_map(|(pair, kept)| kept.then_some(pair)) {
        assert_eq!(client.value(token), *phone);
    }
    daemon.stop();
}

/// A dry run moves nothing.
#[test]
fn a_purge_by_key_after_a_dry_run_is_repeated() {
    let site = Site::new();
    let care = TestKey::named("care");
    let daemon = launch(&site).start();
    let lost = daemon.client().token("PHONE", "415-555-0001");
    create(&site);
    daemon.stop();
    let later = || launch(&site).key("K_CARE", &TestKey::named("care, later")).old_key("K_CARE", &care);
    let daemon = later().start();
    let mut client = daemon.client();
    assert_eq!(client.post("/api/v1/vault/rotations", &json!({"new_kid": "K_CARE", "dry_run": true})).status, 202);
    daemon.log().wait_for(1, "rotation ended");
    assert_eq!(purge(&mut client, &care, "K_CARE"), json!(1));
    daemon.stop();
    set_aside(&site);
    let restored = backup(&later(), "restore", &site.path(BACKUP)).json(0);
    assert_eq!(restored["erased_since"], json!(1), "{restored}");
    let daemon = later().start();
    assert_eq!(error_code(&daemon.client().rehydrate(&[lost.as_str()])[0]), "token.not_found");
    daemon.stop();
}

/// An import moves the records that the vault has of its values to the active key.
#[test]
fn a_purge_by_key_after_an_import_is_not_repeated() {
    let elsewhere = Site::new();
    let daemon = launch(&elsewhere).start();
    daemon.client().token("PHONE", "415-555-0001");
    let export = daemon.client().exchange("POST", "/api/v1/vault/export", b"").body;
    daemon.stop();
    let site = Site::new();
    let care = TestKey::named("care");
    let daemon = launch(&site).start();
    let (moved, purged) =
        (daemon.client().token("PHONE", "415-555-0001"), daemon.client().token("PHONE", "415-555-0002"));
    create(&site);
    daemon.stop();
    let later = || launch(&site).key("K_CARE", &TestKey::named("care, later")).old_key("K_CARE", &care);
    let daemon = later().start();
    let mut client = daemon.client();
    client.exchange("POST", "/api/v1/vault/import", &export).ok();
    assert_eq!(purge(&mut client, &care, "K_CARE"), json!(1));
    assert_eq!(client.value(&moved), "415-555-0001");
    daemon.stop();
    set_aside(&site);
    let restored = backup(&later(), "restore", &site.path(BACKUP)).json(0);
    assert!(restored["notes"].to_string().contains("the purge is not repeated"), "{restored}");
    let daemon = later().start();
    let mut client = daemon.client();
    assert_eq!((client.value(&moved), client.value(&purged)), ("415-555-0001".to_owned(), "415-555-0002".to_owned()));
    daemon.stop();
}
