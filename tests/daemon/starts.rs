//! Starts that are refused because of keys, policies, configuration or vault, and that change nothing.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use super::harness::{Daemon, Site, TestKey};

fn start(site: &Site) -> Daemon {
    site.launch().care_keys().start()
}

#[test]
fn reports_all_configuration_errors_at_once() {
    let mut site = Site::new();
    site.set("server", "socket_mode", "\"0999\"");
    site.set("keys", "grace_days", "-1");
    site.set("keys", "grace_acton", "\"refuse\"");
    let short = TestKey::named("short").base64()[..20].to_owned();
    let launch = site.launch().env("MASKER_KEY_K_CARE", short.clone()).env("MASKER_KEY_k_pay", "x");
    let log = launch.env("MASKER_KEY_K_PAY_OLD", TestKey::named("pay").base64()).refused().code(3);
    for expected in [
        "masker.toml:",
        "socket_mode",
        "grace_days",
        "grace_acton",
        "MASKER_KEY_K_CARE ",
        "15 bytes",
        "MASKER_KEY_k_pay",
        "MASKER_KEY_K_PAY_OLD",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert!(!log.contains(&short), "{log}");
    assert!(!site.vault().exists());
}

#[test]
fn rejects_invalid_keys_by_name_without_showing_them() {
    let site = Site::new();
    let good = TestKey::named("care").base64();
    let file = site.path("key");
    fs::write(&file, &good).unwrap();
    let cases: [(&str, &str, &str); 6] = [
        ("MASKER_KEY_K_CARE", "not base64 at all!", "standard base64"),
        ("MASKER_KEY_K_CARE", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", "32 equal bytes"),
        ("MASKER_KEY_K_CARE_OLD", &good, "the same key as MASKER_KEY_K_CARE"),
        ("MASKER_KEY_K_CARE_FILE", file.to_str().unwrap(), "both set"),
        ("MASKER_KEY_K_PAY_FILE", "/nowhere/at/all", "cannot be read"),
        ("MASKER_AUDIT_HMAC_KEY", "c2hvcnQ=", "5 bytes"),
    ];
    for (name, value, expected) in cases {
        let launch = site.launch().env("MASKER_KEY_K_CARE", good.clone()).env(name, value);
        let log = launch.refused().code(1);
        assert!(log.contains(name.trim_end_matches("_FILE")) && log.contains(expected), "{name}: {log}");
        assert!(!log.contains(&good) && !log.contains("QUFBQ") && !log.contains("at all!"), "{log}");
    }
}

#[test]
fn refuses_to_start_without_the_key_of_a_policy() {
    let site = Site::new();
    site.policy(
        "more.toml",
        "name = \"more\"\nversion = 1\nkid = \"K_MORE\"\ntokenization = \"reversible-aead\"\n[entities.A]\n",
    );
    let log = site.launch().key("K_CARE", &TestKey::named("care")).refused().code(3);
    for (policy, kid) in [("care", "K_PAY"), ("more", "K_MORE")] {
        assert!(log.contains(&format!("`{policy}` names the key {kid}")), "{log}");
        assert!(log.contains(&format!("set MASKER_KEY_{kid}_FILE")), "{log}");
    }
    // The reverse is a warning, because a rotation may need it.
    let daemon = site
        .launch()
        .care_keys()
        .key("K_MORE", &TestKey::named("more"))
        .key("K_SPARE", &TestKey::named("spare"))
        .start();
    let warned = daemon.log().wait_for(1, "this key is loaded but no policy names it; it only opens existing tokens");
    assert_eq!((warned.len(), &warned[0]["kid"]), (1, &json!("K_SPARE")));
    daemon.stop();
}

#[test]
fn refuses_to_start_with_invalid_policies() {
    let site = Site::new();
    site.policy("care.toml", "name = \"care\"\nversion = 0\nkid = \"K_CARE\"\n[entities.PHONE]\nnormalise = \"x\"\n");
    site.policy("twin.toml", "name = \"Twin\"\nversion = 1\n");
    let log = site.launch().care_keys().refused().code(3);
    for expected in ["care.toml:2: ", "care.toml:5: ", "twin.toml:1: "] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    fs::remove_dir_all(site.path("policies")).unwrap();
    let log = site.launch().care_keys().refused().code(3);
    assert!(log.contains("no such file or directory") && log.contains("MASKER_POLICY_PATH"), "{log}");
}

/// Creates a vault with a value. Returns its token.
fn vault_with_a_value(site: &Site) -> String {
    let daemon = start(site);
    let token = daemon.client().token("PHONE", "415-555-2671");
    daemon.stop();
    token
}

/// Returns the names and contents of the files of a vault, except the lock.
fn files(site: &Site) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![site.vault()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if entry.file_name() != "lock" {
                files.push((path.display().to_string(), fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn refuses_a_vault_of_a_later_release_unchanged() {
    const VERSION_AT: usize = 15;
    let site = Site::new();
    vault_with_a_value(&site);
    let witness = site.vault().join("witness");
    let mut bytes = fs::read(&witness).unwrap();
    bytes[VERSION_AT] += 1;
    fs::write(&witness, bytes).unwrap();
    let before = files(&site);
    let log = site.launch().care_keys().refused().code(1);
    assert!(log.contains("use a later release"), "{log}");
    assert!(files(&site) == before, "something was changed");
    assert!(!site.socket().exists());
}

#[test]
fn refuses_a_damaged_vault_unchanged() {
    let site = Site::of("sled");
    let token = vault_with_a_value(&site);
    let witness = site.vault().join("witness");
    let sound = fs::read(&witness).unwrap();
    fs::write(&witness, &sound[..100]).unwrap();
    let before = files(&site);
    let log = site.launch().care_keys().refused().code(1);
    assert!(log.contains("is damaged") && log.contains("masker recover"), "{log}");
    assert!(files(&site) == before, "something was changed");

    fs::write(&witness, sound).unwrap();
    let daemon = start(&site);
    assert_eq!(daemon.client().value(&token), "415-555-2671", "mended");
    daemon.stop();

    // Acknowledged rows are missing.
    let database = site.vault().join("sled/db");
    let bytes = fs::read(&database).unwrap();
    fs::write(&database, vec![0; bytes.len()]).unwrap();
    let before = files(&site);
    let log = site.launch().care_keys().refused().code(1);
    assert!(log.contains("the vault in") && log.contains("restore a backup"), "{log}");
    assert!(files(&site) == before, "something was changed");
}

#[test]
fn refuses_a_directory_of_another_owner() {
    let site = Site::new();
    let vault = site.vault();
    let refused = |expected: &str| {
        let log = site.launch().care_keys().refused().code(1);
        assert!(log.contains(expected), "{log}");
    };
    fs::create_dir(&vault).unwrap();
    fs::set_permissions(&vault, fs::Permissions::from_mode(0o777)).unwrap();
    refused("other users can write to the data directory");
    fs::set_permissions(&vault, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(vault.join("letter.txt"), "Dear Ann").unwrap();
    refused("holds no vault, but \\\"letter.txt\\\"");
    let names: Vec<_> = fs::read_dir(&vault).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["letter.txt"], "nothing was added");
    fs::remove_file(vault.join("letter.txt")).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&vault, Some(54_321), None).unwrap();
        refused("belongs to user 54321");
        std::os::unix::fs::chown(&vault, Some(0), None).unwrap();
    }
    fs::remove_dir_all(&vault).unwrap();
    fs::write(&vault, "a file").unwrap();
    refused("failed to use the data directory");
    assert_eq!(fs::read(&vault).unwrap(), b"a file");
}
