//! The control key: what write access to the vault's files gains, and how the vault gets another control key.

use std::fs;

use serde_json::{Value, json};

use super::{
    api_keys::{create, outcome},
    harness::{Daemon, Launch, Site, TestKey},
};

const KIDS: [&str; 2] = ["K_CARE", "K_PAY"];

/// Returns the settings of a daemon whose keys have this name.
fn launch<'s>(site: &'s Site, name: &str) -> Launch<'s> {
    KIDS.iter().fold(site.launch(), |launch, kid| launch.key(kid, &TestKey::named(&format!("{kid} {name}"))))
}

fn start(site: &Site, name: &str) -> Daemon {
    launch(site, name).start()
}

fn refused(site: &Site, name: &str) -> String {
    launch(site, name).refused().code(1)
}

#[test]
fn a_daemon_with_other_keys_makes_no_api_key_for_the_vault() {
    let site = Site::new();
    let daemon = start(&site, "own");
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    let key = create(&mut client, "app", &["rehydrate"], json!({}));
    daemon.stop();

    // A program that can write the files can start a daemon on them, with other keys.
    let log = refused(&site, "foreign");
    let fingerprint = TestKey::named("K_CARE own").fingerprint("K_CARE");
    assert!(log.contains(&format!("K_CARE {fingerprint}")) && log.contains("masker recover"), "{log}");
    let daemon = launch(&site, "foreign").accept("new-control-key").start();
    let forged = create(&mut daemon.client(), "forged", &["rehydrate"], json!({}));
    assert_eq!(outcome(&mut forged.client(&daemon)), (200, String::new()));
    assert_eq!(outcome(&mut key.client(&daemon)).0, 401, "the vault's own keys were removed");
    daemon.stop();
    let log = refused(&site, "own");
    assert!(log.contains("none of the loaded keys opens this vault's control key"), "{log}");

    // First the control key, and then the key that the foreign one had replaced.
    let log = launch(&site, "own").accept("new-control-key").refused().code(1);
    assert!(log.contains("recover.toml accepts this state: new-control-key") && log.contains("replaced"), "{log}");
    let daemon = launch(&site, "own").accept("key-rollback").start();
    assert_eq!(outcome(&mut forged.client(&daemon)).0, 401);
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
    start(&site, "own").stop();
}

#[test]
fn a_new_control_key_keeps_what_was_sound() {
    let site = Site::new();
    let daemon = start(&site, "own");
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    let key = create(&mut client, "app", &["rehydrate"], json!({}));
    let answer = client.exchange("POST", "/api/v1/vault/control-key", b"").ok();
    assert_eq!(answer["epoch"], 2, "{answer}");
    let holders: Vec<&Value> = answer["holders"].as_array().unwrap().iter().map(|holder| &holder["kid"]).collect();
    assert_eq!(holders, ["K_CARE", "K_PAY"]);
    key.client(&daemon).exchange("POST", "/api/v1/vault/control-key", b"").problem(403, "perm.denied");
    daemon.stop();
    let daemon = start(&site, "own");
    assert_eq!(key.client(&daemon).value(&token), "415-555-2671");
    assert_eq!(daemon.client().health().0, "ok");
    assert_eq!(daemon.client().exchange("POST", "/api/v1/vault/check", b"").ok()["ok"], true);
    daemon.stop();
}

#[test]
fn an_earlier_copy_of_the_vault_brings_no_revoked_api_key_back() {
    let site = Site::new();
    let launch = || site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64());
    let start = || launch().start();
    let daemon = start();
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    let key = create(&mut client, "app", &["rehydrate"], json!({}));
    daemon.stop();
    let copy = site.copy_vault("copy");

    let daemon = start();
    let revoked = daemon.client().exchange("DELETE", &format!("/api/v1/api-keys/{}", key.id), b"");
    assert_eq!(revoked.status, 200);
    daemon.stop();

    fs::remove_dir_all(site.vault()).unwrap();
    fs::rename(&copy, site.vault()).unwrap();
    for accept in [true, false] {
        let daemon = if accept { launch().accept("loss").start() } else { start() };
        assert_eq!(outcome(&mut key.client(&daemon)).0, 401, "{accept}");
        let mut client = daemon.client();
        assert_eq!((client.health().0.as_str(), client.value(&token).as_str()), ("degraded", "415-555-2671"));
        daemon.stop();
    }
    let daemon = start();
    let mut client = daemon.client();
    client.exchange("POST", "/api/v1/vault/control-key", b"").ok();
    assert_eq!(client.health().0, "ok");
    assert_eq!(outcome(&mut key.client(&daemon)).0, 401);
    let new = create(&mut client, "app", &["rehydrate"], json!({}));
    assert_eq!(new.client(&daemon).value(&token), "415-555-2671");
    daemon.stop();
    let daemon = start();
    assert_eq!(daemon.client().health().0, "ok");
    daemon.stop();
}
