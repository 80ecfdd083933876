//! Backups that are damaged, and those who may make and restore one.

use std::{fs, path::Path};

use serde_json::json;

use super::{BACKUP, backup, contained, create, launch, restore, run, set_aside, text};
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
        let what_to_do = report["remedy"].as_str().unwrap();
        let refused = backup(&launch(&site), "restore", &directory);
        refused.refused(&["the backup is damaged, and nothing was restored"]);
        // If only another file than the export is wrong, there is a way on.
        let is_export = report.to_string().contains("vault.export is missing")
            || report.to_string().contains("vault.export was")
            || report.to_string().contains("vault.export has");
        for text in [what_to_do, &refused.stderr] {
            assert_eq!(text.contains("--export-only"), !is_export, "{text}");
            assert_eq!(text.contains("another backup"), is_export, "{text}");
        }
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
    backup(&launch(&site), "restore", &directory).refused(&["is not a complete backup"]);
    fs::write(&manifest, before).unwrap();
    verify(0);
    backup(&launch(&site), "restore", &directory).json(0);
    let daemon = launch(&site).start();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
}

#[test]
fn the_export_of_a_damaged_backup_is_restored_with_all_api_keys_suspended() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    crate::api_keys::create(&mut client, "billing", &["rehydrate"], json!({}));
    let directory = create(&site);
    daemon.stop();
    set_aside(&site);
    let segment = fs::read_dir(directory.join("audit")).unwrap().next().unwrap().unwrap().path();
    change(&segment);
    change(&directory.join("policies/care.toml"));
    let restore =
        |words: &[&str]| run(&launch(&site), &[&["backup", "restore", "--json", text(&directory)], words].concat());
    restore(&[]).refused(&["audit/", "policies/care.toml was changed", "--export-only"]);
    // An export that is not what was written is never restored.
    let export = directory.join("vault.export");
    let sound = fs::read(&export).unwrap();
    change(&export);
    restore(&["--export-only"]).refused(&["vault.export was changed", "another backup"]);
    fs::write(&export, sound).unwrap();
    let report = restore(&["--export-only"]).json(0);
    assert_eq!((&report["records"], report["suspended"].as_array().unwrap().len()), (&json!(1), 1), "{report}");
    assert!(report["notes"].to_string().contains("only the export of the backup was used"), "{report}");
    assert_eq!(report["placed"], json!([]));
    let daemon = launch(&site).start();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
}

#[test]
fn another_key_of_the_audit_log_is_not_taken_for_damage() {
    let (site, _) = backed_up();
    let directory = site.path(BACKUP);
    let other = || launch(&site).env("MASKER_AUDIT_HMAC_KEY", crate::harness::TestKey::named("another").base64());
    let of_log = |report: &serde_json::Value| {
        report["parts"].as_array().unwrap().iter().find(|part| part["what"] == "audit log").unwrap().clone()
    };
    let report = backup(&other(), "verify", &directory).json(2);
    let part = of_log(&report);
    assert_eq!(part["finding"], "not_compared", "{report}");
    assert!(part["detail"].as_str().unwrap().contains("cannot be checked with this key"), "{part}");
    // If the files are not what was written, that is what it says.
    change(&fs::read_dir(directory.join("audit")).unwrap().next().unwrap().unwrap().path());
    assert_eq!(of_log(&backup(&other(), "verify", &directory).json(1))["finding"], "wrong");
}

#[test]
fn an_accepted_break_of_the_audit_log_is_named_and_no_error() {
    let site = Site::new();
    launch(&site).start().stop();
    change(&fs::read_dir(site.path("audit")).unwrap().next().unwrap().unwrap().path());
    launch(&site).start().stop();
    let doctor = || {
        let report: serde_json::Value =
            serde_json::from_str(&run(&launch(&site), &["doctor", "--json"]).stdout).unwrap();
        report["checks"].as_array().unwrap().iter().find(|check| check["id"] == "audit.chain").unwrap().clone()
    };
    assert_eq!(doctor()["finding"], "audit-log-broken");
    let daemon = launch(&site).accept("audit-break").start();
    let directory = create(&site);
    assert!(
        doctor()["status"] == "ok" && doctor()["found"].as_str().unwrap().contains("accepted break"),
        "{}",
        doctor()
    );
    daemon.stop();
    let report = backup(&launch(&site), "verify", &directory).json(0);
    assert!(report.to_string().contains("accepted break"), "{report}");
    // A new one is an error.
    let last = |directory: &Path| {
        let mut segments: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        segments.sort();
        segments.pop().unwrap()
    };
    change(&last(&directory.join("audit")));
    backup(&launch(&site), "verify", &directory).json(1);
    change(&last(&site.path("audit")));
    assert_eq!(doctor()["finding"], "audit-log-broken");
}

#[test]
fn nothing_is_written_into_directories_of_the_daemon_or_over_other_files() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let before = [site.vault(), site.path("audit"), site.path("policies")].map(|directory| contained(&directory));
    for (directory, what) in
        [("vault", "the data directory"), ("audit", "the audit log"), ("policies", "the policies"), ("vault/x", "data")]
    {
        let inner = site.path(directory).join("new");
        backup(&launch(&site), "create", &inner).refused(&["of the daemon, where nothing else belongs", what]);
        let into = run(&launch(&site), &["backup", "create", "--into", text(&site.path(directory))]);
        into.refused(&["where nothing else belongs"]);
        let export = run(&launch(&site), &["vault", "export", "--force", "--output", text(&inner)]);
        export.refused(&["where nothing else belongs"]);
        let mask = run(&launch(&site), &["text", "restore", "--output", text(&inner), "/dev/null"]);
        assert!(mask.stderr.contains("where nothing else belongs"), "{}", mask.stderr);
    }
    let after = [site.vault(), site.path("audit"), site.path("policies")].map(|directory| contained(&directory));
    assert_eq!(after.map(|paths| paths.len()), before.map(|paths| paths.len()));
    // Only an export is replaced.
    let file = site.path("notes.txt");
    fs::write(&file, "notes").unwrap();
    let export = |words: &[&str]| run(&launch(&site), &[&["vault", "export", "--output", text(&file)], words].concat());
    export(&["--force"]).refused(&["does not begin as an export does", "--force replaces only"]);
    assert_eq!(fs::read(&file).unwrap(), b"notes");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("elsewhere", &file).unwrap();
    export(&["--force"]).refused(&["is not a regular file"]);
    fs::remove_file(&file).unwrap();
    for words in [&[][..], &["--force"]] {
        assert_eq!(export(words).code, Some(0));
    }
    export(&[]).refused(&["exists already"]);
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
    backup(&launch(&other), "restore", &other.path("policies")).refused(&["is not a complete backup"]);
    daemon.stop();
}
