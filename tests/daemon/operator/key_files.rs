//! The key files of a rotation: `masker keys generate --output`, `keys rotate` and `keys remove-old`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Outcome, contents, mode, run};
use crate::harness::{Daemon, Site, is_root};

/// A site whose keys are in a credentials directory.
struct KeySite {
    site: Site,
    keys: PathBuf,
}

impl KeySite {
    fn new() -> Self {
        let site = Site::new();
        let keys = site.path("keys");
        fs::create_dir(&keys).unwrap();
        for kid in ["K_CARE", "K_PAY"] {
            let file = keys.join(format!("MASKER_KEY_{kid}"));
            run(&site.path(""), &["keys", "generate", "--output", file.to_str().unwrap()], &[]).ok();
        }
        KeySite { site, keys }
    }

    fn start(&self) -> Daemon {
        self.site.launch().env("CREDENTIALS_DIRECTORY", &self.keys).start()
    }

    /// Runs a command with the socket of the site.
    fn run(&self, words: &[&str]) -> Outcome {
        run(&self.site.path(""), words, &[("MASKER_SOCKET", &self.site.socket())])
    }

    fn rotate(&self) -> Outcome {
        self.run(&["keys", "rotate", "--dir", "keys", "--kid", "K_CARE"])
    }

    fn remove_old(&self, words: &[&str]) -> Outcome {
        self.run(&[&["keys", "remove-old", "--dir", "keys", "--kid", "K_CARE"], words].concat())
    }

    fn active(&self) -> PathBuf {
        self.keys.join("MASKER_KEY_K_CARE")
    }

    fn old(&self) -> PathBuf {
        self.keys.join("MASKER_KEY_K_CARE_OLD")
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a key file")
}

#[test]
fn a_key_is_written_to_a_new_file_only() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let shown = run(here, &["keys", "generate", "--output", "K_PAYMENTS"], &[]);
    let (stdout, stderr) = (shown.stdout.clone(), shown.stderr.clone());
    shown.ok();
    let key = text(&here.join("K_PAYMENTS"));
    assert_eq!((mode(&here.join("K_PAYMENTS")), key.len(), key.ends_with("=\n")), (0o400, 45, true));
    assert!(
        !stdout.contains(key.trim()) && !stderr.contains(key.trim()) && stderr.contains("Store a copy"),
        "{stderr}"
    );
    // Its name is the key id.
    let fingerprint = stdout.trim();
    let input = fs::File::open(here.join("K_PAYMENTS")).unwrap();
    let printed = std::process::Command::new(crate::harness::masker())
        .args(["keys", "fingerprint", "--kid", "K_PAYMENTS"])
        .stdin(input)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap().trim(), fingerprint);
    run(here, &["keys", "generate", "--output", "K_PAYMENTS"], &[])
        .refused(&["K_PAYMENTS exists, and is not replaced"]);
    assert_eq!(text(&here.join("K_PAYMENTS")), key);
    // A rotation by hand, half done: a new key would take the place of one that is only renamed.
    fs::rename(here.join("K_PAYMENTS"), here.join("K_PAYMENTS_OLD")).unwrap();
    run(here, &["keys", "generate", "--output", "K_PAYMENTS"], &[])
        .refused(&["mv --no-clobber K_PAYMENTS_OLD K_PAYMENTS"]);
    assert_eq!(contents(here), [(here.join("K_PAYMENTS_OLD"), key)]);
    let other = run(here, &["keys", "generate", "--kid", "K_OTHER", "--output", "K_NEW"], &[]);
    assert!(other.code == 64 && other.stderr.contains("the key K_NEW, and --kid the key K_OTHER"), "{}", other.stderr);
    assert!(!here.join("K_NEW").exists());
    run(here, &["keys", "generate", "--output", "nowhere/K"], &[]).refused(&["failed to write nowhere/K"]);
}

#[test]
fn a_rotation_in_any_order_of_its_steps_loses_no_key() {
    let site = KeySite::new();
    let first = text(&site.active());
    let daemon = site.start();
    let token = daemon.client().token("PHONE", "415-555-2671");
    site.remove_old(&["--yes"]).refused(&["there is no", "nothing is to be removed"]);

    let rotated = site.rotate();
    let next = rotated.stderr.clone();
    rotated.ok();
    assert!(next.contains("1. store a copy") && next.contains("2. run `masker keys reload`"), "{next}");
    let second = text(&site.active());
    assert!(second != first && text(&site.old()) == first);
    assert_eq!((mode(&site.active()), mode(&site.old())), (0o400, 0o400));
    let files = contents(&site.keys);

    // Each step again, and each too early.
    site.rotate().refused(&["No key was changed", "has not loaded these keys yet: run `masker keys reload`"]);
    site.remove_old(&["--yes"]).refused(&["stays", "is the daemon's active key", "run `masker keys reload`"]);
    site.run(&["keys", "reload"]).ok();
    site.rotate().refused(&[
        "the old key is still needed",
        "1 record needs it",
        "masker vault rotate-key --new-kid K_CARE",
    ]);
    site.remove_old(&["--yes"]).refused(&["stays: 1 record needs it"]);
    assert_eq!(contents(&site.keys), files);

    // The two files swapped.
    for (from, to) in
        [("MASKER_KEY_K_CARE", "x"), ("MASKER_KEY_K_CARE_OLD", "MASKER_KEY_K_CARE"), ("x", "MASKER_KEY_K_CARE_OLD")]
    {
        fs::rename(site.keys.join(from), site.keys.join(to)).unwrap();
    }
    site.rotate().refused(&["the two files are swapped"]);
    for (from, to) in
        [("MASKER_KEY_K_CARE", "x"), ("MASKER_KEY_K_CARE_OLD", "MASKER_KEY_K_CARE"), ("x", "MASKER_KEY_K_CARE_OLD")]
    {
        fs::rename(site.keys.join(from), site.keys.join(to)).unwrap();
    }

    site.run(&["vault", "rotate-key", "--new-kid", "K_CARE"]).ok();
    site.rotate().refused(&["nothing in the vault needs the old key any more: masker keys remove-old"]);
    let removable = site.remove_old(&[]);
    assert!(
        removable.stderr.contains("nothing was removed yet") && removable.stderr.contains("MSK1"),
        "{}",
        removable.stderr
    );
    removable.ok();
    assert_eq!(contents(&site.keys), files);
    site.remove_old(&["--yes"]).ok();
    assert!(!site.old().exists() && text(&site.active()) == second);
    site.remove_old(&["--yes"]).refused(&["there is no"]);
    site.run(&["keys", "reload"]).ok();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    // The next rotation.
    site.rotate().ok();
    assert_eq!(text(&site.old()), second);
    daemon.stop();
    let daemon = site.start();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
}

#[test]
fn an_interrupted_rotation_is_completed_by_repeating_it() {
    let site = KeySite::new();
    let first = text(&site.active());
    fs::copy(site.active(), site.old()).unwrap();
    let left = site.keys.join(".MASKER_KEY_K_CARE.0123456789abcdef.partial");
    fs::write(&left, "what the interrupted run has left").unwrap();
    let rotated = site.rotate();
    // No daemon runs: the message names both ways.
    assert!(rotated.stderr.contains("systemctl restart masker.service"), "{}", rotated.stderr);
    rotated.ok();
    assert!(text(&site.old()) == first && text(&site.active()) != first && !left.exists());
    site.rotate().refused(&["No key was changed", "start the daemon", "masker keys status"]);
    site.remove_old(&["--yes"]).refused(&["stays: only the daemon knows"]);
    let files = contents(&site.keys);
    fs::rename(site.active(), site.site.path("kept")).unwrap();
    site.rotate().refused(&["mv --no-clobber", "from its copy"]);
    fs::rename(site.old(), site.site.path("kept-old")).unwrap();
    site.rotate().refused(&["there is no key K_CARE in keys", "Put it back from its copy"]);
    fs::rename(site.site.path("kept"), site.active()).unwrap();
    fs::rename(site.site.path("kept-old"), site.old()).unwrap();
    assert_eq!(contents(&site.keys), files);
    // Files of two forms: the daemon reads one of them.
    fs::copy(site.active(), site.keys.join("K_CARE")).unwrap();
    site.rotate().refused(&["are both there"]);
}

#[test]
fn a_key_that_the_daemon_does_not_serve_under_is_not_rotated() {
    let site = KeySite::new();
    let daemon = site.start();
    daemon.client().token("PHONE", "415-555-2671");
    // The active key was replaced by hand, and the first one is lost if this goes on.
    fs::rename(site.active(), site.site.path("kept")).unwrap();
    let file = site.active();
    site.run(&["keys", "generate", "--output", file.to_str().unwrap()]).ok();
    let keep = ["in its memory: do not restart the daemon", "back from its copy"];
    site.rotate()
        .refused(&[&["no key was changed", "the active key K_CARE of the daemon is", "--socket"], &keep[..]].concat());
    assert!(!site.old().exists());
    // Nor is a restart the next step of a rotation whose old key is another one than the daemon's.
    fs::copy(site.keys.join("MASKER_KEY_K_PAY"), site.old()).unwrap();
    let refused = site.rotate().refused(&keep);
    assert!(!refused.contains("systemctl") && !refused.contains("keys reload"), "{refused}");
    daemon.stop();
}

/// A directory below /run/credentials, as systemd makes one. Removed when dropped.
struct SystemdCredentials(PathBuf);

impl Drop for SystemdCredentials {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_daemon_whose_keys_systemd_provides_asks_for_a_restart() {
    if !is_root("a directory below /run/credentials") {
        return;
    }
    let site = KeySite::new();
    let unit = format!("masker-test-{}.service", std::process::id());
    let credentials = SystemdCredentials(Path::new("/run/credentials").join(&unit));
    fs::create_dir_all(&credentials.0).unwrap();
    for entry in fs::read_dir(&site.keys).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, credentials.0.join(from.file_name().unwrap())).unwrap();
    }
    let daemon = site.site.launch().env("CREDENTIALS_DIRECTORY", &credentials.0).start();
    daemon.client().token("PHONE", "415-555-2671");
    let restart = format!("run `systemctl restart {unit}`");
    let rotated = site.rotate();
    assert!(rotated.stderr.contains(&format!("2. {restart}")), "{}", rotated.stderr);
    rotated.ok();
    site.rotate().refused(&[&format!("has not loaded these keys yet: {restart}")]);
    let reloaded = site.run(&["keys", "reload"]);
    assert!(
        reloaded.stderr.contains("warning: no key has changed") && reloaded.stderr.contains(&restart),
        "{}",
        reloaded.stderr
    );
    reloaded.ok();
    daemon.stop();
}
