//! Engines: which one stores the vault, and moving a vault to the other one.

use std::{fs, process::Command};

use serde_json::Value;

use super::harness::{Launch, Site};

const PHONES: [&str; 3] = ["415-555-2671", "415-555-2672", "415-555-2673"];

fn launch(site: &Site) -> Launch<'_> {
    site.launch().care_keys()
}

fn phones() -> Vec<String> {
    PHONES.map(str::to_owned).to_vec()
}

/// Runs `masker vault migrate` with the site's configuration. Returns the exit code and both outputs.
fn migrate(site: &Site, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.args(["vault", "migrate", "--config"]).arg(site.path("masker.toml")).args(words).env_clear();
    let output = command.output().expect("masker can be run");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_fjall_vault_survives_kills() {
    let site = Site::of("fjall");
    let mut tokens: Vec<String> = Vec::new();
    for number in 0..4 {
        let daemon = launch(&site).start();
        let mut client = daemon.client();
        for (phone, token) in phones().iter().zip(&tokens) {
            assert_eq!(&client.value(token), phone, "after {number} kills");
        }
        tokens = client.tokens("PHONE", &phones());
        daemon.kill();
    }
    assert!(site.vault().join("fjall").is_dir() && !site.vault().join("sled").exists());
}

#[test]
fn a_vault_is_opened_by_the_engine_that_created_it() {
    for (made, other) in [("sled", "fjall"), ("fjall", "sled")] {
        let mut site = Site::of(made);
        let daemon = launch(&site).start();
        let token = daemon.client().token("PHONE", PHONES[0]);
        daemon.stop();
        site.set("vault", "engine", format!("{other:?}"));
        let log = launch(&site).refused().code(1);
        assert!(log.contains(&format!("masker vault migrate --to {other}")), "{log}");
        // The variable overrides the file.
        let daemon = launch(&site).env("MASKER_VAULT_ENGINE", made).start();
        assert_eq!(daemon.client().value(&token), PHONES[0]);
        daemon.stop();
    }
}

#[test]
fn migrates_a_vault_without_a_daemon() {
    let mut site = Site::of("sled");
    let daemon = launch(&site).start();
    let tokens = daemon.client().tokens("PHONE", &phones());

    let (code, _, stderr) = migrate(&site, &["--to", "fjall"]);
    assert!(code == Some(1) && stderr.contains("is in use by process"), "{stderr}");
    assert_eq!(daemon.client().value(&tokens[0]), PHONES[0], "it serves on");
    daemon.stop();
    let (code, _, stderr) = migrate(&site, &["--to", "rocksdb"]);
    assert!(code == Some(64) && stderr.contains("fjall or sled"), "{stderr}");

    let (code, report, stderr) = migrate(&site, &["--to", "fjall", "--json"]);
    assert!(code == Some(0) && stderr.contains("`[vault] engine` is sled: set it to \"fjall\""), "{stderr}");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((&report["engine"], &report["moved"]["from"]), (&"fjall".into(), &"sled".into()));
    assert!(report["moved"]["rows"].as_u64().is_some_and(|rows| rows >= 6), "{report}");
    launch(&site).refused().code(1);

    site.set("vault", "engine", "\"fjall\"");
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for (phone, token) in phones().iter().zip(&tokens) {
        assert_eq!(&client.value(token), phone);
    }
    assert_eq!(client.tokens("PHONE", &phones()), tokens);
    daemon.stop();
    let (code, _, stderr) = migrate(&site, &["--to", "fjall"]);
    assert!(code == Some(0) && stderr.contains("uses fjall already"), "{stderr}");
}

/// A copy from before a migration is put beside the database that the daemon serves.
#[test]
fn a_refused_start_names_the_older_of_two_databases() {
    for (from, to) in [("sled", "fjall"), ("fjall", "sled")] {
        let mut site = Site::of(from);
        let daemon = launch(&site).start();
        let token = daemon.client().token("PHONE", PHONES[0]);
        daemon.stop();
        let older = site.copy_vault("older");
        let (code, _, stderr) = migrate(&site, &["--to", to]);
        assert_eq!(code, Some(0), "{stderr}");
        site.set("vault", "engine", format!("{to:?}"));
        let daemon = launch(&site).start();
        daemon.client().token("PHONE", PHONES[1]);
        daemon.stop();
        fs::rename(older.join(from), site.vault().join(from)).unwrap();
        site.set("vault", "engine", format!("{from:?}"));
        let expected = format!("{from} is the older one: set `[vault] engine = {to:?}`");
        let log = launch(&site).refused().code(1);
        // The log is JSON.
        assert!(log.contains(&expected.replace('"', "\\\"")) && log.matches("commit 1.").count() == 2, "{log}");
        let (code, text) = launch(&site).recover(&[]);
        assert!(code == Some(1) && text.contains(&expected) && !text.contains("--accept"), "{text}");
        let (code, _, stderr) = migrate(&site, &["--to", to]);
        assert!(code == Some(1) && stderr.contains(&expected), "{stderr}");
        // As it says.
        site.set("vault", "engine", format!("{to:?}"));
        let daemon = launch(&site).start();
        assert_eq!(daemon.client().value(&token), PHONES[0]);
        daemon.stop();
        assert!(!site.vault().join("rehearsal").exists());
    }
}
