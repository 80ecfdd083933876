//! `masker recover` and `recover.toml`: what is accepted holds for exactly one state.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::{contents, mode, run};
use crate::harness::{Launch, Site, TestKey, is_root};

fn launch(site: &Site) -> Launch<'_> {
    site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64())
}

/// Starts a daemon, mints a token and stops it.
fn mint(site: &Site, value: &str) {
    let daemon = launch(site).start();
    daemon.client().token("PHONE", value);
    daemon.stop();
}

/// Returns a site whose vault is an older copy: commits that the audit log has are missing.
fn behind() -> Site {
    let site = Site::new();
    mint(&site, "415-555-2671");
    let older = site.copy_vault("older");
    let again = site.copy_vault("again");
    assert!(again.exists());
    mint(&site, "415-555-2672");
    fs::remove_dir_all(site.vault()).unwrap();
    fs::rename(older, site.vault()).unwrap();
    site
}

fn put_back(site: &Site) {
    fs::remove_dir_all(site.vault()).unwrap();
    fs::rename(site.path("again"), site.vault()).unwrap();
}

#[test]
fn a_loss_is_shown_and_accepted_once() {
    let site = behind();
    let (code, text) = launch(&site).recover(&[]);
    assert_eq!(code, Some(2), "{text}");
    for part in [
        "loss: the vault in",
        "reason       behind-audit-log",
        "masker recover --accept loss",
        "newer copy of the vault",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Showing changes nothing, and neither does accepting something else.
    assert!(!site.path("recover.toml").exists());
    let (code, text) = launch(&site).recover(&["--accept", "clock"]);
    assert!(code == Some(1) && text.contains("nothing was accepted"), "{text}");
    launch(&site).refused().code(1);

    let (code, text) = launch(&site).recover(&["--accept", "loss"]);
    assert!(code == Some(0) && text.contains("accepted") && text.contains("start the daemon again"), "{text}");
    let file = fs::read_to_string(site.path("recover.toml")).unwrap();
    assert!(file.contains("what = \"loss\"") && file.contains("lost = \""), "{file}");
    assert_eq!(mode(&site.path("recover.toml")), 0o644);
    // Repeated, it changes nothing.
    let (code, _) = launch(&site).recover(&["--accept", "loss"]);
    assert_eq!((code, fs::read_to_string(site.path("recover.toml")).unwrap()), (Some(0), file.clone()));
    let log = launch(&site).start().stop().log.text();
    assert!(log.contains("recover.toml accepts this state: loss"), "{log}");
    launch(&site).start().stop();
    let (code, text) = launch(&site).recover(&[]);
    assert!(code == Some(0) && text.contains("nothing prevents a start"), "{text}");

    // The same copy a second time is another state: the audit log has a later epoch.
    put_back(&site);
    launch(&site).refused().code(1);
    launch(&site).accept("loss").start().stop();
    let both = fs::read_to_string(site.path("recover.toml")).unwrap();
    assert!(both.starts_with(&file) && both.matches("[[accept]]").count() == 2, "{both}");
}

#[test]
fn an_acceptance_does_not_cover_a_greater_loss() {
    let site = behind();
    launch(&site).recover(&["--accept", "loss"]);
    // Before the start, the witness is lost as well.
    fs::remove_file(site.vault().join("witness")).unwrap();
    let log = launch(&site).refused().code(1);
    assert!(log.contains("witness file") && log.contains("is missing"), "{log}");
    launch(&site).accept("loss").start().stop();
    // The witness is missing again: not the same files.
    fs::remove_file(site.vault().join("witness")).unwrap();
    launch(&site).refused().code(1);
}

#[test]
fn a_new_vault_is_the_one_that_was_accepted() {
    let site = Site::new();
    mint(&site, "415-555-2671");
    fs::rename(site.vault(), site.path("elsewhere")).unwrap();
    let (code, text) = launch(&site).recover(&[]);
    assert!(code == Some(2) && text.contains("new-vault: ") && text.contains("Is its disk mounted?"), "{text}");
    assert!(!site.vault().exists(), "nothing is created");
    let launched = launch(&site).accept("new-vault");
    let file = fs::read_to_string(site.path("recover.toml")).unwrap();
    let id = file.lines().find_map(|line| line.strip_prefix("vault = \"")).unwrap().trim_end_matches('"').to_owned();
    // The disk was not mounted after all: the acceptance does not hurt the vault.
    fs::rename(site.path("elsewhere"), site.vault()).unwrap();
    launched.start().stop();
    fs::rename(site.vault(), site.path("elsewhere")).unwrap();
    // Since then the audit log has later commits, so that this is another state.
    let log = launch(&site).refused().code(1);
    assert!(!log.contains(&id), "{log}");
    let launched = launch(&site).accept("new-vault");
    let file = fs::read_to_string(site.path("recover.toml")).unwrap();
    let ids: Vec<&str> = file.lines().filter_map(|line| line.strip_prefix("vault = \"")).collect();
    let id = ids[1].trim_end_matches('"').to_owned();
    let daemon = launched.start();
    assert!(ids.len() == 2 && !ids[0].starts_with(&id));
    daemon.stop();
    let (code, text) = launch(&site).recover(&[]);
    assert!(code == Some(0), "{text}");
    // And the new one missing is not what was accepted.
    fs::remove_dir_all(site.vault()).unwrap();
    let log = launch(&site).refused().code(1);
    assert!(log.contains(&id), "{log}");
}

#[test]
fn root_examines_the_vault_of_another_user_as_that_user() {
    const USER: u32 = 12_345;
    if !is_root("another user") {
        return;
    }
    let site = behind();
    fs::set_permissions(site.path(""), Permissions::from_mode(0o711)).unwrap();
    let files = || contained(&site.vault()).into_iter().chain(contained(&site.path("audit")));
    files().for_each(|path| chown(path, Some(USER), Some(USER)).unwrap());
    let (code, text) = launch(&site).recover(&["--accept", "loss"]);
    assert!(code == Some(0) && text.contains("behind-audit-log"), "{text}");
    let others: Vec<_> = files().filter(|path| fs::metadata(path).unwrap().uid() != USER).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(fs::metadata(site.path("recover.toml")).unwrap().uid(), 0);
    // The daemon can open the vault, and the state is the one that was accepted.
    files().for_each(|path| chown(path, Some(0), Some(0)).unwrap());
    launch(&site).start().stop();
}

/// Returns a directory and everything in it.
fn contained(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(contained(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_file_that_the_daemon_could_write_accepts_nothing() {
    if !is_root("a file of another user") {
        return;
    }
    let site = behind();
    let file = site.path("recover.toml");
    launch(&site).recover(&["--accept", "loss"]);
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let log = launch(&site).refused().code(1);
    assert!(log.contains("others must not be able to write it") && log.contains("recover.toml"), "{log}");
    let (code, text) = launch(&site).recover(&["--accept", "loss"]);
    assert!(code == Some(1) && text.contains("remove it, and run `masker recover` again"), "{text}");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    chown(&file, Some(12_345), None).unwrap();
    launch(&site).refused().code(1);
    chown(&file, Some(0), None).unwrap();
    fs::write(&file, "accept = \"all\"\n").unwrap();
    let log = launch(&site).refused().code(1);
    assert!(log.contains("is invalid: line 1"), "{log}");
    fs::remove_file(&file).unwrap();
    launch(&site).accept("loss").start().stop();
}

#[test]
fn recover_reads_what_a_running_daemon_reports_and_changes_nothing() {
    let site = Site::new();
    let daemon = launch(&site).start();
    daemon.client().token("PHONE", "415-555-2671");
    let (code, text) = launch(&site).recover(&[]);
    assert!(code == Some(0) && text.contains("a daemon serves the vault"), "{text}");
    daemon.stop();
    let (code, text) = launch(&site).recover(&[]);
    assert!(code == Some(0) && text.contains("nothing prevents a start"), "{text}");
    let daemon = launch(&site).start();
    assert_eq!(daemon.client().health().0, "ok");
    daemon.stop();
    let unrecorded = contents(&site.path("audit")).iter().any(|(_, text)| text.contains("\"unrecorded\""));
    assert!(!unrecorded, "recover made commits");
    // What nobody can accept.
    let (code, text) = site.launch().key("K_CARE", &TestKey::named("care")).recover(&["--json"]);
    let report: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(code == Some(1) && report["problems"][0].as_str().unwrap().contains("K_PAY"), "{text}");
    let bare = tempfile::tempdir().unwrap();
    assert_ne!(run(bare.path(), &["recover", "--accept", "everything"], &[]).code, 0);
}

#[test]
fn a_loss_beside_other_keys_is_settled_one_after_the_other() {
    let site = behind();
    let foreign = || {
        let launch = site.launch().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64());
        ["K_CARE", "K_PAY"].iter().fold(launch, |launch, kid| launch.key(kid, &TestKey::named(&format!("other {kid}"))))
    };
    foreign().refused().code(1);
    // The vault is in a new epoch then, which the log must know although the start is refused.
    let log = foreign().accept("loss").refused().code(1);
    assert!(log.contains("none of the loaded keys opens this vault's control key"), "{log}");
    let log = foreign().refused().code(1);
    assert!(log.contains("none of the loaded keys opens this vault's control key"), "{log}");
    foreign().accept("new-control-key").start().stop();
    foreign().start().stop();
}

/// A disk of its own has a directory of root, and an administrator leaves things where they do not belong.
#[test]
fn only_the_files_of_the_vault_matter_to_a_start() {
    const USER: u32 = 12_345;
    if !is_root("another user") {
        return;
    }
    let site = Site::new();
    mint(&site, "415-555-2671");
    fs::set_permissions(site.path(""), Permissions::from_mode(0o711)).unwrap();
    let files = contained(&site.vault()).into_iter().chain(contained(&site.path("audit")));
    files.for_each(|path| chown(path, Some(USER), Some(USER)).unwrap());
    let (found, copy, witness) =
        (site.vault().join("lost+found"), site.vault().join("witness.bak"), site.vault().join("witness"));
    fs::create_dir(&found).unwrap();
    fs::write(&copy, "x").unwrap();
    for (path, mode) in [(&found, 0o700), (&copy, 0o600)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let (code, text) = launch(&site).recover(&[]);
    assert!(code == Some(0) && text.contains("nothing prevents a start"), "{text}");
    // A copy by root.
    chown(&witness, Some(0), Some(0)).unwrap();
    fs::set_permissions(&witness, Permissions::from_mode(0o600)).unwrap();
    let (code, text) = launch(&site).recover(&[]);
    let advice =
        format!("`chown --recursive --reference={0} {0}` and `chmod --recursive u+rwX {0}`", site.vault().display());
    assert!(code == Some(1) && text.contains("/witness: Permission denied") && text.contains(&advice), "{text}");
}
