//! `masker init`.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;

use super::{contents, mode, run};
use crate::harness::Site;

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("mskr").tempdir().expect("a directory")
}

#[test]
fn makes_all_that_a_daemon_needs_and_replaces_nothing() {
    let folder = folder();
    let home = folder.path();
    let made = run(home, &["init", "d"], &[]);
    let (stdout, next) = (made.stdout.clone(), made.stderr.clone());
    made.ok();
    let dir = home.join("d");
    for (file, bits) in [
        ("", 0o700),
        ("masker.toml", 0o600),
        ("policies", 0o700),
        ("policies/healthcare-default.toml", 0o600),
        ("keys", 0o700),
        ("keys/MASKER_KEY_K_HEALTHCARE", 0o400),
        ("keys/MASKER_AUDIT_HMAC_KEY", 0o400),
    ] {
        assert_eq!(mode(&dir.join(file)), bits, "{file}");
    }
    assert_eq!(stdout.lines().filter(|line| line.starts_with("made\t")).count(), 4, "{stdout}");
    let before = contents(&dir);
    assert_eq!(before.len(), 4);
    for (path, text) in before.iter().filter(|(path, _)| path.starts_with(dir.join("keys"))) {
        assert!(!stdout.contains(text.trim()) && !next.contains(text.trim()), "{} was shown", path.display());
    }
    // The same again, also if somebody changed a file.
    fs::write(dir.join("policies/healthcare-default.toml"), before[3].1.replace("version = 1", "version = 2")).unwrap();
    let changed = contents(&dir);
    let again = run(home, &["init", "./d/"], &[]).ok();
    assert!(again.lines().skip(1).all(|line| line.starts_with("kept\t")), "{again}");
    assert_eq!(contents(&dir), changed);

    // The lines that it prints start a daemon, with an audit log.
    let start = next.lines().find_map(|line| line.split_once(". CREDENTIALS_DIRECTORY=")).expect("how to start").1;
    let (keys, command) = start.split_once(' ').unwrap();
    assert_eq!(
        (Path::new(keys), command),
        (&*dir.join("keys"), &*format!("masker serve --config {}", dir.join("masker.toml").display()))
    );
    let site = Site::new();
    let daemon = site
        .launch()
        .env("CREDENTIALS_DIRECTORY", keys)
        .flag("--config")
        .flag(dir.join("masker.toml").to_str().unwrap())
        .socket(&dir.join("masker.sock"))
        .start();
    assert_eq!(daemon.client().health().0, "ok");
    let health = run(home, &["health"], &[("MASKER_CONFIG", &dir.join("masker.toml"))]).ok();
    assert!(health.lines().any(|line| line.starts_with("audit log\tok")), "{health}");
    daemon.stop();
    assert!(dir.join("vault").is_dir() && dir.join("audit").is_dir());

    // What is missing beside a vault or an audit log is not replaced by something new.
    for (key, texts) in [
        ("MASKER_KEY_K_HEALTHCARE", ["there is a vault in", "put it back from its copy"]),
        ("MASKER_AUDIT_HMAC_KEY", ["there is an audit log in", "put it back from its copy"]),
    ] {
        fs::rename(dir.join("keys").join(key), home.join("kept")).unwrap();
        run(home, &["init", "d"], &[]).refused(&texts);
        assert!(!dir.join("keys").join(key).exists());
        fs::rename(home.join("kept"), dir.join("keys").join(key)).unwrap();
        run(home, &["init", "d"], &[]).ok();
    }
    fs::rename(dir.join("keys/MASKER_KEY_K_HEALTHCARE"), dir.join("keys/MASKER_KEY_K_HEALTHCARE_OLD")).unwrap();
    run(home, &["init", "d"], &[]).refused(&["mv --no-clobber"]);
}

#[test]
fn makes_a_key_for_each_key_id_of_policies_that_are_there() {
    let folder = folder();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let home = folder.path();
    run(home, &["init", "d", "--policies", policies.to_str().unwrap()], &[]).ok();
    let keys: Vec<String> = contents(&home.join("d/keys"))
        .iter()
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let kids = ["MASKER_AUDIT_HMAC_KEY", "MASKER_KEY_K_HEALTHCARE", "MASKER_KEY_K_PAYMENTS", "MASKER_KEY_K_STATELESS"];
    assert_eq!(keys, kids);
    assert!(!home.join("d/policies").exists());
    // Others than those of the configuration.
    run(home, &["init", "e"], &[]).ok();
    run(home, &["init", "e", "--policies", policies.to_str().unwrap()], &[]).refused(&["[policy] path", "--policies"]);
    let report = run(home, &["init", "d", "--json"], &[]).ok();
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert!(report["files"].as_array().unwrap().iter().all(|file| file["made"] == false), "{report}");
}

#[test]
fn refuses_directories_that_others_can_write_to_or_that_are_too_long() {
    let folder = folder();
    let home = folder.path();
    fs::create_dir(home.join("open")).unwrap();
    fs::set_permissions(home.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    run(home, &["init", "open"], &[]).refused(&["other users can write", "chmod go-w"]);
    assert_eq!(fs::read_dir(home.join("open")).unwrap().count(), 0);
    run(home, &["init", &"x".repeat(100)], &[]).refused(&["107 bytes", "choose a shorter directory"]);
    // A policy that is invalid is reported, and no key is made.
    run(home, &["init", "d"], &[]).ok();
    fs::write(home.join("d/policies/other.toml"), "name = 1\n").unwrap();
    let invalid = run(home, &["init", "d"], &[]);
    assert!(invalid.code == 3 && invalid.stderr.contains("other.toml:1"), "{}", invalid.stderr);
}
