//! Backups that are damaged, and those who may make and restore one.

use std::{fs, path::Path};

use serde_json::json;

use super::{BACKUP, backup, create, launch, restore, run, set_aside, text};
use crate::harness::Site;

/// Returns a site with a backup and without a vault.
fn backed_up() -> (Site, String) {
    let site = Site::new();
    let daemon = launch(&site).start();
    let token = daemon.client().token("PHONE", "415-555-2671");
    create(&site);
    daemon.stop();
    set_aside(&site);
    (site, token)
}

/// Changes the middle byte of a file.
fn change(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn damage_is_found_by_verify_and_refused_by_restore() {
    let (site, token) = backed_up();
    let directory = site.path(BACKUP);
    let verify = |code| backup(&launch(&site), "verify", &directory).json(code);
    let assert_wrong = |part: &str, detail: &str| {
        let report = verify(1);
        let found = report["parts"].as_array().unwrap().iter().find(|one| one["what"] == part).unwrap().clone();
        assert_eq!(found["finding"], "wrong", "{report}");
        assert!(found["detail"].as_str().unwrap().contains(detail), "{detail}: {report}");
        backup(&launch(&site), "restore", &directory).refused(&["the backup is damaged, and nothing was restored"]);
        assert!(!site.vault().exists());
    };
    verify(0);
    let segment = fs::read_dir(directory.join("audit")).unwrap().next().unwrap().unwrap().path();
    for (file, part, detail) in [
        (directory.join("vault.export"), "export", "damaged"),
        (directory.join("masker.toml"), "files", "masker.toml was changed"),
        (directory.join("policies/care.toml"), "files", "care.toml was changed"),
        (segment, "audit log", "changed"),
    ] {
        let before = fs::read(&file).unwrap();
        change(&file);
        assert_wrong(part, detail);
        fs::write(&file, &before[..before.len() - 1]).unwrap();
        assert_wrong("files", "bytes, not");
        fs::remove_file(&file).unwrap();
        assert_wrong("files", "is missing");
        fs::write(&file, before).unwrap();
    }
    fs::write(directory.join("policies/other.toml"), "").unwrap();
    assert_wrong("files", "policies/other.toml is not in the manifest");
    fs::remove_file(directory.join("policies/other.toml")).unwrap();
    let manifest = directory.join("manifest.json");
    let before = fs::read_to_string(&manifest).unwrap();
    for (text, why) in [
        ("{", "is damaged"),
        ("{\"version\": 2}", "has version 2"),
        (&before.replace("\"vault.export\"", "\"../vault.export\""), "is not a path within a backup"),
    ] {
        fs::write(&manifest, text).unwrap();
        for command in ["verify", "restore"] {
            backup(&launch(&site), command, &directory).refused(&[why]);
        }
    }
    // An export of the same vault that is not of this backup.
    fs::write(&manifest, before.replacen("\"vault_id\": \"", "\"vault_id\": \"00", 1)).unwrap();
    let report = verify(1).to_string();
    assert!(report.contains("is of another vault or time"), "{report}");
    fs::remove_file(&manifest).unwrap();
    backup(&launch(&site), "restore", &directory).refused(&["is no complete backup"]);
    fs::write(&manifest, before).unwrap();
    verify(0);
    backup(&launch(&site), "restore", &directory).json(0);
    let daemon = launch(&site).start();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
}

#[test]
fn a_restore_is_refused_beside_a_daemon() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let token = daemon.client().token("PHONE", "415-555-2671");
    let directory = create(&site);
    backup(&launch(&site), "restore", &directory).refused(&["is not empty", "Stop the daemon"]);
    // The directory was moved away from under the daemon, whose audit log is locked.
    let kept = set_aside(&site);
    backup(&launch(&site), "restore", &directory).refused(&["in use"]);
    assert_eq!(fs::read_dir(site.vault()).unwrap().count(), 0);
    fs::remove_dir(site.vault()).unwrap();
    fs::rename(kept, site.vault()).unwrap();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
    restore(&site);
    launch(&site).start().stop();
}

#[test]
fn the_export_of_a_backup_gives_nobody_rights() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    let key = crate::api_keys::create(&mut client, "billing", &["rehydrate"], json!({}));
    let vault_admin = crate::api_keys::create(&mut client, "exporter", &["vault:admin", "audit:read"], json!({}));
    let directory = create(&site);
    // Both scopes are needed.
    let refused = vault_admin.client(&daemon).exchange("POST", "/api/v1/vault/export?control=true", b"");
    assert!(refused.problem(403, "perm.denied").contains("api-keys:admin"));
    assert_eq!(vault_admin.client(&daemon).exchange("POST", "/api/v1/vault/export", b"").status, 200);
    daemon.stop();

    // Another vault with the same keys takes the records, and nothing else.
    let other = Site::new();
    let daemon = launch(&other).start();
    let export = directory.join("vault.export");
    let imported = run(&launch(&other), &["vault", "import", "--json", text(&export)]);
    assert!(imported.stderr.is_empty(), "{}", imported.stderr);
    let report = imported.json(0);
    assert!(report["imported"] == 1 && report["control_rows"].as_u64().unwrap() >= 4, "{report}");
    let mut client = daemon.client();
    assert_eq!(client.value(&token), "415-555-2671");
    assert_eq!(client.get("/api/v1/api-keys").ok()["api_keys"], json!([]));
    crate::api_keys::refused(&mut key.client(&daemon), "auth.invalid");
    let said = run(&launch(&other), &["vault", "import", text(&export)]).stderr;
    assert!(said.contains("only `masker backup restore` restores them"), "{said}");
    // And a plain export says what it lacks, and is no backup.
    let plain = other.path("plain.export");
    let said = run(&launch(&other), &["vault", "export", "--output", text(&plain)]).stderr;
    assert!(said.contains("`masker backup create` saves them too"), "{said}");
    backup(&launch(&other), "restore", &other.path("policies")).refused(&["is no complete backup"]);
    daemon.stop();
}
