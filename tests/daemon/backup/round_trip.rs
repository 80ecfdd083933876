//! Backups that are made, verified and restored.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::{BACKUP, backup, contained, create, launch, restore, run, set_aside, text};
use crate::{
    api_keys,
    harness::{Client, Site, TestKey, error_code, events_of},
};

fn open_session(client: &mut Client, label: &str) -> String {
    let opened = client.post("/api/v1/sessions", &json!({ "label": label }));
    assert_eq!(opened.status, 201);
    opened.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_restored_vault_has_everything_and_the_next_start_just_works() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    let forgotten = client.token("PHONE", "415-555-2672");
    client.ask_tokens("/api/v1/forget", &[forgotten.as_str()]);
    let key = api_keys::create(&mut client, "billing", &["rehydrate", "tokenize"], json!({}));
    let gone = api_keys::create(&mut client, "gone", &["rehydrate"], json!({}));
    client.exchange("DELETE", &gone.path(), b"").ok();
    key.client(&daemon).value(&token);
    let planted = client.post("/api/v1/vault/honeytokens", &json!({"kind": "PHONE", "label": "a dump"})).json();
    let honeytoken = planted["token"].as_str().unwrap();
    let (open, closed) = (open_session(&mut client, "night run"), open_session(&mut client, "day run"));
    let within = daemon.client().within(&open).token("NAME", "Ada");
    client.exchange("DELETE", &format!("/api/v1/sessions/{closed}"), b"").ok();
    let note = json!({"text": "Call 415-555-2671.", "replace_with": "placeholder"});
    let masked = |client: &mut Client| client.post("/api/v1/text/mask", &note).ok()["results"][0]["text"].clone();
    let (of_session, of_key) = (masked(&mut daemon.client().within(&open)), masked(&mut client));
    assert!(of_session != of_key && of_session != note["text"], "{of_session} {of_key}");
    let keys_before = client.get("/api/v1/keys").ok();
    let listed_before = client.get("/api/v1/api-keys").ok();
    // What sessions have counted is written once a second, and at a stop.
    daemon.stop();
    let daemon = launch(&site).start();

    let directory = site.path(BACKUP);
    let made = backup(&launch(&site), "create", &directory).json(0);
    assert!(made["records"] == 3 && made["audit_head"].is_string(), "{made}");
    for path in contained(&directory).into_iter().chain([directory.clone()]) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    let manifest: Value = serde_json::from_slice(&fs::read(directory.join("manifest.json")).unwrap()).unwrap();
    let left_out: Vec<&str> =
        manifest["not_included"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert!(left_out.contains(&"keys") && left_out.contains(&"key of the audit log"), "{left_out:?}");
    let paths: Vec<&str> =
        manifest["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"vault.export") && paths.contains(&"masker.toml"), "{paths:?}");
    assert!(paths.contains(&"policies/care.toml") && paths.iter().any(|path| path.starts_with("audit/")), "{paths:?}");
    let again = backup(&launch(&site), "create", &directory);
    again.refused(&["exists already"]);
    // While the daemon serves, and without one.
    let verified = backup(&launch(&site), "verify", &directory).json(0);
    assert!(verified["parts"].as_array().unwrap().iter().all(|part| part["finding"] == "verified"), "{verified}");
    let refused = backup(&launch(&site), "restore", &directory);
    refused.refused(&["is not empty", "mv "]);
    let lost = client_token_after(&daemon);
    daemon.stop();
    let events = site.audit_events();
    assert_eq!(events_of(&events, "vault.export")[0]["detail"]["control"], true);

    // Without keys, nothing is wrong, and not everything was compared.
    let partly = backup(&site.launch(), "verify", &directory).json(2);
    let finding = |what: &str| {
        let parts = partly["parts"].as_array().unwrap();
        parts.iter().find(|part| part["what"] == what).unwrap()["finding"].clone()
    };
    assert_eq!((finding("files"), finding("export")), (json!("verified"), json!("not_compared")));
    assert_eq!(finding("audit log"), "not_compared");

    let restored = restore(&site);
    assert_eq!((&restored["records"], &restored["tombstones"]), (&json!(3), &json!(1)), "{restored}");
    assert_eq!(
        (&restored["api_keys"], &restored["honeytokens"], &restored["sessions"]),
        (&json!(2), &json!(1), &json!(2))
    );
    assert_eq!((&restored["suspended"], &restored["is_accepted"]), (&json!([]), &json!(true)), "{restored}");
    assert!(fs::read_to_string(site.path("recover.toml")).unwrap().contains("what = \"new-vault\""));

    let daemon = launch(&site).start();
    let mut client = daemon.client();
    assert_eq!(client.health().0, "ok", "{:?}", client.health().1);
    assert_eq!(key.client(&daemon).value(&token), "415-555-2671");
    api_keys::refused(&mut gone.client(&daemon), "auth.revoked");
    assert_eq!(client.value(&within), "Ada");
    assert_eq!(client.token("PHONE", "415-555-2671"), token, "a value keeps its token");
    for unknown in [&forgotten, &lost] {
        assert_eq!(error_code(&client.rehydrate(&[unknown.as_str()])[0]), "token.not_found");
    }
    client.value(honeytoken);
    daemon.log().wait_for(1, "honeytoken used");
    let session = client.get(&format!("/api/v1/sessions/{open}")).ok();
    assert_eq!((&session["status"], &session["minted"]), (&json!("open"), &json!(2)), "{session}");
    for (mut client, text) in [(daemon.client().within(&open), of_session), (daemon.client(), of_key)] {
        let restored = client.post("/api/v1/text/restore", &json!({"text": &text})).ok();
        assert_eq!(restored["results"][0]["text"], note["text"]);
        assert_eq!(masked(&mut client), text, "a value keeps its placeholder");
    }
    daemon.client().within(&open).token("NAME", "Grace");
    assert_eq!(client.get(&format!("/api/v1/sessions/{open}")).ok()["minted"], 3);
    assert_eq!(client.get(&format!("/api/v1/sessions/{closed}")).ok()["status"], "closed");
    let first_seen = |keys: &Value| {
        let keys = keys["keys"].as_array().unwrap_or_else(|| panic!("{keys}"));
        keys.iter().map(|key| (key["fingerprint"].clone(), key["first_seen"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(first_seen(&client.get("/api/v1/keys").ok()), first_seen(&keys_before));
    let without_use = |listed: &Value| {
        let mut keys = listed["api_keys"].as_array().unwrap().clone();
        keys.iter_mut().for_each(|key| key["last_used"] = Value::Null);
        keys
    };
    let listed = client.get("/api/v1/api-keys").ok();
    assert_eq!(without_use(&listed), without_use(&listed_before));
    assert!(listed["api_keys"][0]["last_used"]["at"].is_string(), "{listed}");
    let checked = client.exchange("POST", "/api/v1/vault/check", b"").ok();
    assert!(checked["ok"] == true && checked["tombstones"] == 1, "{checked}");
    daemon.stop();
    assert_eq!(events_of(&site.audit_events(), "vault.accepted").len(), 1);
    // It is a vault like any other.
    launch(&site).start().stop();
    let (code, text) = launch(&site).recover(&[]);
    assert!(code == Some(0) && text.contains("nothing prevents a start"), "{text}");
}

/// Mints a token that no backup has.
fn client_token_after(daemon: &crate::harness::Daemon) -> String {
    daemon.client().token("PHONE", "415-555-9999")
}

#[test]
fn a_backup_is_restored_on_another_host_with_later_keys() {
    let (here, there) = (Site::new(), Site::new());
    let daemon = launch(&here).start();
    let token = daemon.client().token("PHONE", "415-555-2671");
    let directory = create(&here);
    daemon.stop();
    let later =
        || launch(&there).key("K_CARE", &TestKey::named("care, later")).old_key("K_CARE", &TestKey::named("care"));
    // The keys of another vault do not open it, and nothing is left of the attempt.
    let foreign = launch(&there).key("K_CARE", &TestKey::named("foreign")).key("K_PAY", &TestKey::named("foreign too"));
    backup(&foreign, "restore", &directory).refused(&["no key is loaded that opens this export"]);
    assert_eq!(fs::read_dir(there.vault()).unwrap().count(), 0);
    let restored = backup(&later(), "restore", &directory).json(0);
    assert!(restored["is_accepted"] == false && restored["events_since"].is_null(), "{restored}");
    assert!(restored["notes"][0].as_str().unwrap().contains("there is no audit log in"), "{restored}");
    let daemon = later().start();
    let mut client = daemon.client();
    assert_eq!(client.value(&token), "415-555-2671");
    let directory = there.path(BACKUP);
    backup(&later(), "create", &directory).json(0);
    daemon.stop();

    // The register of keys remembers which key replaced which.
    set_aside(&there);
    backup(&launch(&there), "restore", &directory).refused(&["need keys that are not loaded"]);
    let swapped = launch(&there).old_key("K_CARE", &TestKey::named("care, later"));
    backup(&swapped, "restore", &directory).refused(&["are swapped"]);
    backup(&later(), "restore", &directory).json(0);
    let daemon = later().start();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
}

#[test]
fn configuration_and_policies_are_put_in_place_only_where_there_are_none() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let token = daemon.client().token("PHONE", "415-555-2671");
    create(&site);
    daemon.stop();
    let restored = restore(&site);
    assert_eq!((&restored["placed"], &restored["differences"]), (&json!([]), &json!([])), "{restored}");

    // A host without any of it. The paths are those of the backup.
    let text_of = |name: &str| fs::read_to_string(site.path(name)).unwrap();
    let (configuration, policy) = (text_of("masker.toml"), text_of("policies/care.toml"));
    let words = ["backup", "restore", "--json", text(&site.path(BACKUP)).to_owned().leak() as &str];
    let command = || {
        // The harness writes the configuration.
        let command = launch(&site).command(&words);
        set_aside(&site);
        command
    };
    let missing = command();
    // Under any umask of the operator, the daemon can read what is put in place.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "umask 077 && exec \"$0\" \"$@\""]).arg(missing.get_program()).args(missing.get_args());
    shell
        .env_clear()
        .envs(missing.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", "/usr/bin:/bin");
    let mut missing = shell;
    fs::remove_file(site.path("masker.toml")).unwrap();
    fs::remove_dir_all(site.path("policies")).unwrap();
    let restored = super::Ended::of(missing.output().unwrap()).json(0);
    assert_eq!(restored["placed"], json!([site.path("masker.toml"), site.path("policies/care.toml")]), "{restored}");
    assert_eq!((text_of("masker.toml"), text_of("policies/care.toml")), (configuration.clone(), policy.clone()));
    let mode = |name: &str| fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o777;
    let modes = ["policies", "policies/care.toml", "masker.toml"].map(mode);
    assert_eq!(modes, [0o755, 0o644, 0o644]);

    let mut differing = command();
    let other = "# changed\n".to_owned() + &configuration;
    fs::write(site.path("masker.toml"), &other).unwrap();
    fs::write(site.path("policies/care.toml"), "# changed\n".to_owned() + &policy).unwrap();
    let more = policy.replace("name = \"care\"", "name = \"more\"");
    fs::write(site.path("policies/more.toml"), more).unwrap();
    let restored = super::Ended::of(differing.output().unwrap()).json(0);
    assert_eq!(restored["placed"], json!([]), "{restored}");
    let differences = restored["differences"].to_string();
    for named in
        ["masker.toml is not as in the backup", "care.toml is not as in the backup", "more.toml is here and not in"]
    {
        assert!(differences.contains(named), "{named}: {differences}");
    }
    assert_eq!(text_of("masker.toml"), other, "nothing is replaced");
    let daemon = launch(&site).start();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
}

#[test]
fn a_parent_keeps_a_number_of_backups() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let parent = site.path("backups");
    let into = |more: &[&str]| {
        let words = [&["backup", "create", "--json", "--into", text(&parent)], more].concat();
        run(&launch(&site), &words)
    };
    into(&[]).refused(&["there is no directory", "create it first"]);
    fs::create_dir(&parent).unwrap();
    // Earlier ones of the timer, and what is not of it.
    for name in ["masker-20200101T000000Z", "masker-20200102T000000Z"] {
        let manifest = json!({
            "version": 1, "release": "0.1.0", "name": name, "began_at": "", "ended_at": "", "vault_id": "", "keys": [],
            "audit_head": null, "files": [], "not_included": []
        });
        fs::create_dir(parent.join(name)).unwrap();
        fs::write(parent.join(name).join("manifest.json"), manifest.to_string()).unwrap();
    }
    fs::create_dir(parent.join("mine")).unwrap();
    fs::create_dir(parent.join(".masker-20200103T000000Z.partial")).unwrap();
    let made = into(&["--keep", "2"]).json(0);
    assert_eq!(made["removed"], json!(["masker-20200101T000000Z"]));
    let mut left: Vec<_> = fs::read_dir(&parent).unwrap().map(|entry| entry.unwrap().path()).collect();
    left.sort();
    let directory = made["directory"].as_str().unwrap();
    assert_eq!(left, [parent.join("masker-20200102T000000Z"), directory.into(), parent.join("mine")]);
    backup(&launch(&site), "verify", directory.as_ref()).json(0);
    let named = text(&site.path("named")).to_owned();
    assert_eq!(run(&launch(&site), &["backup", "create", "--keep", "2", &named]).code, Some(64));
    daemon.stop();
}

#[test]
fn a_daemon_without_an_audit_log_has_backups_too() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let key = api_keys::create(&mut client, "billing", &["rehydrate"], json!({}));
    let token = client.token("PHONE", "415-555-2671");
    let directory = site.path(BACKUP);
    let ended = backup(&site.launch(), "create", &directory);
    assert!(ended.stderr.contains("keeps no audit log"), "{}", ended.stderr);
    assert!(ended.json(0)["audit_head"].is_null());
    daemon.stop();
    backup(&site.launch().care_keys(), "verify", &directory).json(0);
    set_aside(&site);
    let restored = backup(&site.launch().care_keys(), "restore", &directory).json(0);
    assert_eq!(restored["suspended"][0]["id"], key.id.as_str(), "{restored}");
    let daemon = site.launch().care_keys().start();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    api_keys::refused(&mut key.client(&daemon), "auth.suspended");
    daemon.stop();
}
