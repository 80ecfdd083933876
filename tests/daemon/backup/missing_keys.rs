//! Backups and exports with records whose key is missing.

use std::fs;

use serde_json::{Value, json};

use super::{BACKUP, Ended, backup, launch, run, set_aside, text};
use crate::harness::{Launch, Site, TestKey, error_code, events_of};

/// Prepares a start after the key of `K_CARE` was lost.
fn without_the_key(site: &Site) -> Launch<'_> {
    launch(site).key("K_CARE", &TestKey::named("care, later"))
}

/// Prepares a start for which the lost key was found again.
fn with_the_key(site: &Site) -> Launch<'_> {
    without_the_key(site).old_key("K_CARE", &TestKey::named("care"))
}

fn restore_skipping(launch: &Launch<'_>, words: &[&str], site: &Site) -> Ended {
    let directory = site.path(BACKUP);
    run(launch, &[&["backup", "restore", "--skip-missing-keys"], words, &[text(&directory)]].concat())
}

fn export_part(report: &Value) -> &Value {
    report["parts"].as_array().unwrap().iter().find(|part| part["what"] == "export").unwrap()
}

#[test]
fn a_record_that_needs_a_missing_key_is_not_left_out_without_a_word() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let token = daemon.client().token("PHONE", "415-555-2671");
    daemon.stop();
    let daemon = with_the_key(&site).start();
    let directory = site.path(BACKUP);
    let made = backup(&with_the_key(&site), "create", &directory);
    assert!(!made.stderr.contains("warning"), "{}", made.stderr);
    assert_eq!(made.json(0)["missing_keys"], json!([]));
    daemon.stop();
    set_aside(&site);
    let report = backup(&without_the_key(&site), "verify", &directory).json(2).to_string();
    assert!(report.contains("need keys that are not provided"), "{report}");
    let refused = backup(&without_the_key(&site), "restore", &directory);
    refused.refused(&["need keys that are not loaded", "MASKER_KEY_<KID>_OLD", "--skip-missing-keys"]);
    assert_eq!(fs::read_dir(site.vault()).unwrap().count(), 0, "nothing is left of the attempt");
    backup(&with_the_key(&site), "restore", &directory).json(0);
    // The records are under the active key then.
    let daemon = without_the_key(&site).start();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
}

/// The operator keeps the records under a lost key, and everything else can still be restored and imported.
#[test]
fn records_under_a_lost_key_stay_out_of_a_restore_until_the_key_is_back() {
    let mut site = Site::new();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let (lost, both) = (client.token("PHONE", "415-555-2671"), client.token("PHONE", "415-555-2672"));
    daemon.stop();
    site.set("keys", "accept_second_tokens", "[\"K_CARE\"]");
    let daemon = without_the_key(&site).start();
    let mut client = daemon.client();
    let (kept, second) = (client.token("PHONE", "415-555-0000"), client.token("PHONE", "415-555-2672"));
    assert_ne!(second, both);

    let directory = site.path(BACKUP);
    let made = backup(&without_the_key(&site), "create", &directory);
    let fingerprint = TestKey::named("care").fingerprint("K_CARE");
    assert!(made.stderr.contains("--skip-missing-keys") && made.stderr.contains(&fingerprint), "{}", made.stderr);
    let missing = json!([{"kid": "K_CARE", "fingerprint": fingerprint, "records": 2}]);
    assert_eq!(made.json(0)["missing_keys"], missing);
    daemon.stop();

    let report = backup(&without_the_key(&site), "verify", &directory).json(2);
    let export = export_part(&report);
    let detail = export["detail"].as_str().unwrap();
    assert_eq!(export["finding"], "not_compared");
    assert!(
        detail.starts_with("4 records, ") && detail.contains(&format!("2 need K_CARE with fingerprint {fingerprint}"))
    );
    assert!(detail.contains("A restore needs each") && detail.contains("--skip-missing-keys"), "{detail}");
    assert!(!detail.contains("nothing was written"), "{detail}");

    set_aside(&site);
    let refused = backup(&without_the_key(&site), "restore", &directory);
    refused.refused(&[&format!("2 need K_CARE with fingerprint {fingerprint}"), "--skip-missing-keys"]);
    let restored = restore_skipping(&without_the_key(&site), &["--json"], &site).json(0);
    assert_eq!((&restored["records"], &restored["key_missing"]), (&json!(2), &json!(2)), "{restored}");
    set_aside(&site);
    let said = restore_skipping(&without_the_key(&site), &[], &site);
    assert!(
        said.code == Some(0) && said.stdout.contains("not provided, not restored"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    assert!(said.stderr.contains("They stay in the backup"), "{}", said.stderr);

    let daemon = without_the_key(&site).start();
    let mut client = daemon.client();
    assert_eq!((client.value(&kept), client.value(&second)), ("415-555-0000".to_owned(), "415-555-2672".to_owned()));
    for token in [&lost, &both] {
        assert_eq!(error_code(&client.rehydrate(&[token.as_str()])[0]), "token.not_found");
    }
    assert_eq!(client.token("PHONE", "415-555-2672"), second);
    assert_eq!(client.exchange("POST", "/api/v1/vault/check", b"").ok()["ok"], true);
    // An import of the file says the same, and leaves out the same.
    let export = directory.join("vault.export");
    let refused = run(&without_the_key(&site), &["vault", "import", text(&export)]);
    refused.refused(&["key.unavailable", "--skip-missing-keys"]);
    let import = ["vault", "import", "--skip-missing-keys"];
    let said = run(&without_the_key(&site), &[&import[..], &[text(&export)]].concat());
    assert!(said.code == Some(0) && said.stderr.contains("their key is back"), "{}", said.stderr);
    let imported = run(&without_the_key(&site), &[&import[..], &["--json", text(&export)]].concat()).json(0);
    assert_eq!((&imported["present"], &imported["key_missing"]), (&json!(2), &json!(2)), "{imported}");
    client.exchange("POST", "/api/v1/vault/import?skip_missing_keys=perhaps", b"").problem(400, "request.invalid");
    daemon.stop();
    let events = site.audit_events();
    let last = events_of(&events, "vault.import").into_iter().rfind(|event| event["outcome"] == "ok").unwrap();
    assert_eq!((&last["detail"]["records"], &last["detail"]["key_missing"]), (&json!(4), &json!(2)), "{last}");

    // The key is back.
    let daemon = with_the_key(&site).start();
    let imported = run(&with_the_key(&site), &["vault", "import", "--json", text(&export)]).json(0);
    assert_eq!((&imported["imported"], &imported["key_missing"]), (&json!(2), &json!(0)), "{imported}");
    let mut client = daemon.client();
    assert_eq!((client.value(&lost), client.value(&both)), ("415-555-2671".to_owned(), "415-555-2672".to_owned()));
    assert_eq!(client.token("PHONE", "415-555-2671"), lost, "the value has its first token again");
    assert_eq!(client.token("PHONE", "415-555-2672"), second, "the token that the vault had stays first");
    assert_eq!(client.exchange("POST", "/api/v1/vault/check", b"").ok()["ok"], true);
    daemon.stop();
}
