//! `masker doctor` as an operator follows it: each remedy, literally and repeated, with wrong steps in between. No key is lost.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use masker_audit::{AuditEvent, AuditLog, AuditMetrics, AuditOperation, AuditOptions, OnFailure, SyncPolicy};
use masker_core::crypto::SecretKey;
use serde_json::Value;
use tempfile::TempDir;

use super::{Outcome, contents, run};
use crate::harness::{Daemon, Site, masker};

/// A directory that `masker init` has made, with the policies of this project.
pub(super) struct Made {
    home: TempDir,
    pub(super) site: Site,
}

/// What doctor has found.
pub(super) struct Findings(pub(super) Vec<Value>);

impl Made {
    fn new() -> Self {
        let made = Made { home: tempfile::Builder::new().prefix("mskr").tempdir().unwrap(), site: Site::new() };
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        run(made.home(), &["init", "d", "--policies", policies.to_str().unwrap()], &[]).ok();
        made
    }

    /// As [`Made::new`], with a vault that has a record under each key, and an audit log.
    pub(super) fn served() -> Self {
        let made = Self::new();
        let daemon = made.start();
        let mut client = daemon.client();
        client.token("PHONE", "415-555-2671");
        daemon.stop();
        made
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("d").join(name)
    }

    pub(super) fn key(&self, name: &str) -> PathBuf {
        self.path("keys").join(name)
    }

    pub(super) fn start(&self) -> Daemon {
        let config = self.path("masker.toml");
        let launch = self.site.launch().env("CREDENTIALS_DIRECTORY", self.path("keys"));
        launch.flag("--config").flag(config.to_str().unwrap()).socket(&self.path("masker.sock")).start()
    }

    /// Expects that a start is refused.
    pub(super) fn start_is_refused(&self) {
        let config = self.path("masker.toml");
        let launch = self.site.launch().env("CREDENTIALS_DIRECTORY", self.path("keys"));
        launch.flag("--config").flag(config.to_str().unwrap()).socket(&self.path("masker.sock")).refused();
    }

    /// Runs a command with the configuration and the keys of the directory.
    pub(super) fn run(&self, words: &[&str]) -> Outcome {
        let variables = [("MASKER_CONFIG", self.path("masker.toml")), ("CREDENTIALS_DIRECTORY", self.path("keys"))];
        let variables: Vec<(&str, &Path)> = variables.iter().map(|(name, path)| (*name, path.as_path())).collect();
        run(self.home(), words, &variables)
    }

    pub(super) fn doctor(&self) -> Findings {
        Findings::of(self.run(&["doctor", "--json"]))
    }

    /// Runs the commands of a remedy as an operator copies them into a shell.
    pub(super) fn follow(&self, remedy: &str) -> bool {
        let command = remedy.split('`').nth(1).unwrap_or_else(|| panic!("no command in {remedy}"));
        let path = format!("{}:/usr/bin:/bin", masker().parent().unwrap().display());
        let mut shell = Command::new("sh");
        shell.args(["-euc", command]).env_clear().env("PATH", path).env("HOME", self.home());
        shell.env("CREDENTIALS_DIRECTORY", self.path("keys"));
        shell.current_dir(self.home()).stdin(Stdio::null()).output().unwrap().status.success()
    }

    /// Returns the text of all keys, wherever they are.
    fn keys(&self) -> BTreeSet<String> {
        let keys =
            contents(&self.path("keys")).into_iter().chain(fs::read_dir(self.home()).unwrap().filter_map(|entry| {
                let path = entry.unwrap().path();
                path.is_file().then(|| (path.clone(), fs::read_to_string(path).unwrap()))
            }));
        keys.map(|(_, text)| text).filter(|text| text.len() == 45).collect()
    }
}

impl Findings {
    pub(super) fn of(outcome: Outcome) -> Self {
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{}", outcome.stderr));
        let findings = Findings(report["checks"].as_array().unwrap().clone());
        let errors = findings.0.iter().filter(|finding| finding["status"] == "error").count();
        assert_eq!(outcome.code, i32::from(errors > 0));
        for finding in &findings.0 {
            let is_ok = finding["status"] == "ok";
            assert!(is_ok != (finding["remedy"].is_string() && finding["page"].is_string()), "{finding}");
            let remedy = finding["remedy"].as_str().unwrap_or_default();
            for word in ["keys generate", "purge", " rm ", "delete the", "--yes`"] {
                assert!(!remedy.contains(word), "{word}: {finding}");
            }
        }
        findings
    }

    /// Returns the findings of the site that are neither ok nor about the host.
    pub(super) fn faults(&self) -> Vec<(&str, &str)> {
        let of_site = |finding: &&Value| {
            let id = finding["id"].as_str().unwrap();
            let of_host = ["host.", "kernel.", "environment."].iter().any(|group| id.starts_with(group));
            finding["status"] != "ok" && !of_host && !id.ends_with(".room")
        };
        let faults = self.0.iter().filter(of_site);
        faults.map(|fault| (fault["id"].as_str().unwrap(), fault["finding"].as_str().unwrap())).collect()
    }

    /// Returns the only finding of this identifier, and checks its status.
    pub(super) fn one(&self, finding: &str, status: &str) -> &Value {
        let found: Vec<&Value> = self.0.iter().filter(|one| one["finding"] == finding).collect();
        let [one] = found[..] else { panic!("{finding}: {:#?}", self.0) };
        assert_eq!(one["status"], status, "{one}");
        assert_eq!(one["page"], format!("operate/doctor/{finding}.md"));
        one
    }

    pub(super) fn status(&self, id: &str) -> &str {
        let of = self.0.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("{id}: {:#?}", self.0));
        of["status"].as_str().unwrap()
    }
}

pub(super) fn remedy(finding: &Value) -> &str {
    finding["remedy"].as_str().unwrap()
}

pub(super) fn found(finding: &Value) -> &str {
    finding["found"].as_str().unwrap()
}

/// What remains of a site without faults whose daemon does not run.
const STOPPED: [(&str, &str); 2] = [("daemon.configuration", "not-checked"), ("socket.mode", "not-checked")];

/// Other tests run daemons on this host, which is a finding of `daemon.configuration` as well.
pub(super) fn of_site<'a>(faults: Vec<(&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    faults.into_iter().filter(|(id, _)| STOPPED.iter().all(|(stopped, _)| stopped != id)).collect()
}

#[test]
fn a_key_of_the_audit_log_that_is_missing_is_put_back_and_never_made_anew() {
    let made = Made::served();
    assert_eq!(of_site(made.doctor().faults()), []);
    let (key, kept) = (made.key("MASKER_AUDIT_HMAC_KEY"), made.home().join("kept"));
    let keys = made.keys();
    fs::rename(&key, &kept).unwrap();
    let findings = made.doctor();
    let missing = findings.one("audit-key-missing", "error");
    assert!(found(missing).contains("there is an audit log") && remedy(missing).contains("from its copy"), "{missing}");
    // What depends on the key is not ok.
    for id in ["audit.chain", "clock.jumped", "clock.backwards", "keys.identity"] {
        assert_eq!(findings.status(id), "not_checked", "{id}");
    }
    // Wrong steps: a directory is not begun anew, and a key of one's own is found out.
    made.run(&["init", "d"]).refused(&["put it back from its copy"]);
    made.run(&["keys", "generate", "--output", "other"]).ok();
    fs::rename(made.home().join("other"), &key).unwrap();
    let findings = made.doctor();
    let broken = findings.one("audit-log-broken", "error");
    assert!(remedy(broken).starts_with("compare the key with its copy first"), "{broken}");
    assert_eq!(findings.status("keys.identity"), "not_checked");
    fs::rename(&key, made.home().join("other")).unwrap();
    fs::copy(&kept, &key).unwrap();
    assert_eq!(of_site(made.doctor().faults()), []);
    assert!(made.keys().is_superset(&keys));
    made.start().stop();

    // A daemon without a log, in another place: it writes none, and says so.
    fs::rename(&key, made.home().join("again")).unwrap();
    made.start_is_refused();
    fs::rename(made.path("audit"), made.home().join("log")).unwrap();
    let daemon = made.start();
    let findings = made.doctor();
    let off = findings.0.iter().find(|one| one["id"] == "daemon.health").unwrap();
    assert_eq!((&off["finding"], &off["status"]), (&"audit-log-off".into(), &"warning".into()), "{off}");
    assert!(remedy(off).starts_with("if there ever was an audit log, put its key back"), "{off}");
    daemon.stop();
}

#[test]
fn a_missing_key_is_named_with_its_fingerprint() {
    let made = Made::served();
    let key = made.key("MASKER_KEY_K_HEALTHCARE");
    let fingerprint = Command::new(masker())
        .args(["keys", "fingerprint", "--kid", "K_HEALTHCARE"])
        .stdin(fs::File::open(&key).unwrap())
        .output()
        .unwrap();
    let fingerprint = String::from_utf8(fingerprint.stdout).unwrap();
    let kept = made.home().join("kept");
    fs::rename(&key, &kept).unwrap();
    let findings = made.doctor();
    let missing = findings.0.iter().filter(|finding| finding["finding"] == "key-missing").collect::<Vec<_>>();
    assert!(missing.iter().any(|one| one["id"] == "policies.keys" && one["status"] == "error"), "{missing:?}");
    let named = missing.iter().find(|one| one["id"] == "keys.identity").expect("the fingerprint");
    assert!(remedy(named).contains(fingerprint.trim()), "{named}");
    // A wrong step: another key in its place is valid, and is not the one.
    made.run(&["keys", "generate", "--output", key.to_str().unwrap()]).ok();
    let findings = made.doctor();
    let replaced = findings.one("key-replaced", "error");
    assert!(found(replaced).contains(fingerprint.trim()) && remedy(replaced).contains("from its copy"), "{replaced}");
    fs::rename(&key, made.home().join("wrong")).unwrap();
    fs::rename(&kept, &key).unwrap();
    assert_eq!(of_site(made.doctor().faults()), []);
    // An empty file, as systemd provides one for a file that is missing.
    fs::rename(&key, &kept).unwrap();
    fs::write(&key, "\n").unwrap();
    assert!(remedy(made.doctor().0.iter().find(|one| one["id"] == "keys.read").unwrap()).contains("from its copy"));
    fs::remove_file(&key).unwrap();
    fs::rename(&kept, &key).unwrap();
    // While a daemon runs, whose key is only in its memory.
    let daemon = made.start();
    assert_eq!(made.doctor().status("keys.identity"), "ok");
    fs::rename(&key, &kept).unwrap();
    let findings = made.doctor();
    let named = findings.0.iter().find(|one| one["id"] == "keys.identity").expect("the key");
    assert!(named["finding"] == "key-missing" && remedy(named).contains(fingerprint.trim()), "{named}");
    fs::rename(&kept, &key).unwrap();
    assert_eq!(made.doctor().faults(), []);
    daemon.stop();
}

#[test]
fn files_beside_keys_are_moved_away_and_not_deleted() {
    let made = Made::served();
    let copy = made.key("MASKER_KEY_K_HEALTHCARE.bak");
    fs::copy(made.key("MASKER_KEY_K_HEALTHCARE"), &copy).unwrap();
    fs::write(made.key("notes"), "of the night").unwrap();
    fs::write(made.path("masker.toml~"), "").unwrap();
    made.start_is_refused();
    let findings = made.doctor();
    let misnamed = remedy(findings.one("key-name-invalid", "error")).to_owned();
    let strays: Vec<String> = findings
        .0
        .iter()
        .filter(|one| one["finding"] == "stray-files")
        .inspect(|one| assert_eq!(one["status"], "warning"))
        .map(|one| remedy(one).to_owned())
        .collect();
    assert_eq!(strays.len(), 2, "{strays:?}");
    assert!(made.follow(&misnamed));
    assert!(!copy.exists() && made.home().join("MASKER_KEY_K_HEALTHCARE.bak").exists());
    // Repeated, it has nothing to do.
    assert!(!made.follow(&misnamed));
    for stray in made.doctor().0.iter().filter(|one| one["finding"] == "stray-files") {
        assert!(made.follow(remedy(stray)));
    }
    assert_eq!(of_site(made.doctor().faults()), []);
    assert_eq!(fs::read_to_string(made.home().join("notes")).unwrap(), "of the night");
    // A second copy does not replace the first.
    fs::write(&copy, "another\n").unwrap();
    made.follow(remedy(made.doctor().one("key-name-invalid", "error")));
    assert!(made.keys().len() == 4, "the copy is still there");
    made.doctor().one("key-name-invalid", "error");
}

/// Exchanges two files.
pub(super) fn exchange(one: &Path, two: &Path) {
    let aside = one.with_extension("aside");
    for (from, to) in [(one, &*aside), (two, one), (&aside, two)] {
        fs::rename(from, to).unwrap();
    }
}

#[test]
fn swapped_keys_are_found_and_exchanged() {
    let made = Made::served();
    let files = contents(&made.path("keys"));
    let [care, pay, audit] =
        ["MASKER_KEY_K_HEALTHCARE", "MASKER_KEY_K_PAYMENTS", "MASKER_AUDIT_HMAC_KEY"].map(|name| made.key(name));
    for (one, two, id) in
        [(&care, &pay, "keys.identity"), (&care, &audit, "audit.chain"), (&pay, &audit, "audit.chain")]
    {
        exchange(one, two);
        let findings = made.doctor();
        let swapped = findings.one("keys-swapped", "error");
        assert_eq!(swapped["id"], id, "{swapped}");
        // A wrong step: what a start refuses is not accepted, and doctor still says the same.
        made.run(&["keys", "rotate", "--dir", "d/keys", "--kid", "K_OTHER"]).refused(&["there is no key"]);
        assert_eq!(made.doctor().one("keys-swapped", "error"), swapped);
        assert!(made.follow(remedy(swapped)), "{swapped}");
        assert_eq!(of_site(made.doctor().faults()), []);
        assert_eq!(contents(&made.path("keys")), files);
    }
    // Only one of the two: the other one is missing.
    fs::rename(&pay, made.home().join("kept")).unwrap();
    fs::copy(&care, &pay).unwrap();
    let findings = made.doctor();
    findings.one("keys-equal", "error");
    assert!(remedy(findings.one("keys-swapped", "error")).contains("from its copy"));
    fs::rename(made.home().join("kept"), &pay).unwrap();
    assert_eq!(contents(&made.path("keys")), files);
    made.start().stop();

    // A start and a reload refuse them.
    exchange(&care, &pay);
    made.start_is_refused();
    exchange(&care, &pay);
    let daemon = made.start();
    exchange(&care, &pay);
    made.run(&["keys", "reload"])
        .refused(&["MASKER_KEY_K_HEALTHCARE holds the key", "of K_PAYMENTS: put each key back"]);
    let swapped = remedy(made.doctor().one("keys-swapped", "error")).to_owned();
    assert!(made.follow(&swapped));
    made.run(&["keys", "reload"]).ok();
    assert_eq!(contents(&made.path("keys")), files);
    assert_eq!(made.doctor().faults(), []);
    daemon.stop();
}

#[test]
fn an_active_key_and_its_old_one_that_are_swapped_are_exchanged() {
    let made = Made::served();
    let mut daemon = Some(made.start());
    made.run(&["keys", "rotate", "--dir", "d/keys", "--kid", "K_HEALTHCARE"]).ok();
    let findings = made.doctor();
    let pending = findings.one("keys-not-loaded", "warning");
    assert!(remedy(pending).contains("`masker keys reload`"), "{pending}");
    made.run(&["keys", "reload"]).ok();
    assert_eq!(made.doctor().status("keys.identity"), "ok");
    let files = contents(&made.path("keys"));
    let [active, old] = ["MASKER_KEY_K_HEALTHCARE", "MASKER_KEY_K_HEALTHCARE_OLD"].map(|name| made.key(name));
    for running in [true, false] {
        exchange(&active, &old);
        let findings = made.doctor();
        let swapped = findings.one("keys-swapped", "error");
        assert!(found(swapped).contains("are swapped"), "{swapped}");
        if running {
            assert_ne!(made.run(&["keys", "reload"]).code, 0);
        }
        assert!(made.follow(remedy(swapped)));
        assert_eq!(made.doctor().status("keys.identity"), "ok");
        assert_eq!(contents(&made.path("keys")), files);
        if running {
            made.run(&["keys", "reload"]).ok();
            daemon.take().unwrap().stop();
        }
    }
    // The old key in place of the active one, which is in no file.
    fs::rename(&active, made.home().join("kept")).unwrap();
    fs::rename(&old, &active).unwrap();
    let findings = made.doctor();
    let replaced = findings.one("key-replaced", "error");
    assert!(remedy(replaced).contains("from its copy as MASKER_KEY_K_HEALTHCARE"), "{replaced}");
    fs::rename(&active, &old).unwrap();
    let alone = made.doctor();
    assert!(remedy(alone.one("old-key-alone", "error")).contains("from its copy"));
    fs::rename(made.home().join("kept"), &active).unwrap();
    assert_eq!(contents(&made.path("keys")), files);
    made.start().stop();
}

/// Adds an event to the audit log by a clock that differs by so many hours.
fn record(made: &Made, hours: i64) {
    let key = fs::read(made.key("MASKER_AUDIT_HMAC_KEY")).unwrap();
    let options = AuditOptions {
        directory: made.path("audit"),
        key: SecretKey::parse_base64(&key).unwrap(),
        sync: SyncPolicy::Always,
        on_failure: OnFailure::Refuse,
        retention_days: 1_000,
        segment_bytes_max: 1 << 30,
        accept_break: false,
        accept_clock: false,
        metrics: Arc::new(AuditMetrics::new().unwrap()),
    };
    let clock = move || Timestamp::now() + SignedDuration::from_hours(hours);
    let log = AuditLog::open(options, None, None, Arc::new(clock)).unwrap().log;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        log.record(&AuditEvent::new(AuditOperation::Stop, "ok")).await.unwrap();
        log.close().await;
    });
}

#[test]
fn a_clock_that_is_behind_or_ahead_is_found_before_a_start() {
    let behind = Made::served();
    record(&behind, 5);
    let files = contents(&behind.path("keys"));
    let findings = behind.doctor();
    let finding = findings.one("clock-behind", "error");
    assert!(
        found(finding).contains("the audit log's last event") && found(finding).contains("gone back by 4h"),
        "{finding}"
    );
    assert!(remedy(finding).contains("change no file"), "{finding}");
    // The command shows the clock, and changes nothing.
    behind.follow(remedy(finding));
    assert_eq!(contents(&behind.path("keys")), files);
    behind.doctor().one("clock-behind", "error");

    let ahead = Made::new();
    fs::create_dir(ahead.path("audit")).unwrap();
    fs::set_permissions(ahead.path("audit"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    record(&ahead, -24 * 40);
    let findings = ahead.doctor();
    let finding = findings.one("clock-ahead", "warning");
    assert!(found(finding).contains("40 days past the audit log's last event"), "{finding}");
    assert!(remedy(finding).contains("if it is wrong, stop the daemon and set it"), "{finding}");
    // A start does not settle it, and neither does another one.
    for _ in 0..2 {
        ahead.start().stop();
        ahead.doctor().one("clock-ahead", "warning");
    }
    assert_eq!(ahead.run(&["recover", "--accept", "clock"]).code, 0);
    ahead.doctor().one("clock-ahead", "warning");
    ahead.start().stop();
    assert_eq!(of_site(ahead.doctor().faults()), []);
    let repeated = ahead.run(&["recover", "--accept", "clock"]);
    assert!(repeated.code == 1 && repeated.stderr.contains("nothing was accepted"), "{}", repeated.stderr);
}

#[test]
fn says_which_daemon_and_which_configuration_were_examined() {
    let (dev, other) = (Made::served(), Made::new());
    let daemon = dev.start();
    let socket = dev.path("masker.sock");
    let config = dev.path("masker.toml").display().to_string();
    // As after `make run`: only the socket is known, and everything is about that daemon.
    let findings = Findings::of(run(dev.home(), &["doctor", "--json"], &[("MASKER_SOCKET", &socket)]));
    assert_eq!(findings.faults(), []);
    let of = |id: &str| found(findings.0.iter().find(|finding| finding["id"] == id).unwrap()).to_owned();
    let examined = of("daemon.configuration");
    for part in [&format!("process {} ", daemon.pid()), &config, &dev.path("vault").display().to_string()] {
        assert!(examined.contains(part), "{part}: {examined}");
    }
    assert!(of("config").contains(&config) && of("vault.directory").contains(&dev.path("vault").display().to_string()));
    assert_eq!(findings.status("keys.identity"), "ok");

    // Another configuration is examined: the finding says so, and what is ok is about its files.
    let others = other.path("masker.toml");
    let words = ["doctor", "--json", "--config", others.to_str().unwrap()];
    let findings = Findings::of(run(dev.home(), &words, &[("MASKER_SOCKET", &socket)]));
    let finding = findings.one("other-daemon", "warning");
    for part in [&*config, others.to_str().unwrap(), "are not that daemon's"] {
        assert!(found(finding).contains(part), "{part}: {finding}");
    }
    for ok in findings.0.iter().filter(|one| one["status"] == "ok") {
        let id = ok["id"].as_str().unwrap();
        // The daemon and the socket are those that were named.
        let is_of_daemon = id.starts_with("daemon.") || id.starts_with("socket.");
        assert!(is_of_daemon || !found(ok).contains(dev.home().to_str().unwrap()), "{ok}");
    }
    for id in ["keys.read", "policies.keys"] {
        assert_eq!(findings.status(id), "not_checked", "nothing says where the keys of the other configuration are");
    }
    // The remedy, literally.
    assert!(dev.follow(remedy(finding)));

    // No daemon serves on the socket of the other one: those that run are named.
    let findings = other.doctor();
    let finding = findings.one("other-daemon", "warning");
    assert!(found(finding).contains(&format!("process {} (`", daemon.pid())), "{finding}");
    assert_eq!(of_site(findings.faults()), []);
    daemon.stop();
}

#[test]
fn root_or_the_daemons_user_is_told_that_a_client_limits_it() {
    let mut site = Site::new();
    let uid = nix::unistd::geteuid().as_raw();
    site.client(&format!("name = \"ops\"\nuid = {uid}\nscopes = [\"tokenize\"]"));
    let daemon = site.launch().care_keys().start();
    let (directory, config) = (site.path(""), site.path("masker.toml"));
    let words = ["doctor", "--json", "--config", config.to_str().unwrap()];
    let doctor = || Findings::of(run(&directory, &words, &[]));
    let findings = doctor();
    let limited = findings.one("root-limited", "warning");
    assert!(found(limited).contains("the client `ops`") && found(limited).contains("tokenize"), "{limited}");
    for id in ["daemon.configuration", "daemon.version", "daemon.keys", "daemon.counters"] {
        assert_eq!(findings.status(id), "not_checked", "{id}");
        let of = findings.0.iter().find(|one| one["id"] == id).unwrap();
        assert!(uid != 0 || !remedy(of).contains("run doctor as root"), "{of}");
    }
    // Wrong steps: what needs a scope is refused, and changes nothing.
    assert_ne!(run(&site.path(""), &["policy", "reload"], &[("MASKER_SOCKET", daemon.socket())]).code, 0);
    doctor().one("root-limited", "warning");
    // The configuration is corrected, and a signal reloads it although the socket refuses.
    site.forget_clients();
    site.write();
    daemon.reload();
    let findings = doctor();
    assert_eq!((findings.status("access.root"), findings.status("daemon.configuration")), ("ok", "ok"));
    daemon.stop();
}
