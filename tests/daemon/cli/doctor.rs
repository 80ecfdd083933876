//! `masker doctor` before a start: a site without faults, and each fault on its own.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use data_encoding::BASE64;
use jiff::Timestamp;
use masker_audit::AuditMetrics;
use masker_audit::{AuditEvent, AuditLog, AuditOperation, AuditOptions};
use masker_core::crypto::SecretKey;
use masker_types::audit::{OnFailure, SyncPolicy};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use super::{Place, bound, run};

const POLICY: &str =
    "name = \"care\"\nversion = 1\nkid = \"K_CARE\"\ntokenization = \"vault-deterministic\"\n\n[entities.PHONE]\n";
const KEY_FILE: &str = "MASKER_KEY_K_CARE_FILE";
const AUDIT_FILE: &str = "MASKER_AUDIT_HMAC_KEY_FILE";

/// A site as a daemon finds it, with keys that no other test has.
struct Site {
    place: Place,
    variables: Vec<(String, String)>,
    secrets: Vec<String>,
    /// Seeded anew for each site: `doctor` looks for its keys in the environment of all processes, also of other tests.
    random: StdRng,
}

impl Site {
    fn new() -> Self {
        let place = Place::new();
        for directory in ["policies", "keys", "run", "vault", "audit"] {
            fs::create_dir(place.path(directory)).unwrap();
            mode(&place.path(directory), 0o700);
        }
        place.write("policies/care.toml", POLICY);
        let seed = rand::random();
        println!("seed {seed}");
        let random = StdRng::seed_from_u64(seed);
        let mut site = Site { place, variables: Vec::new(), secrets: Vec::new(), random };
        let path = |name: &str| site.place.path(name).display().to_string();
        let text = format!(
            "[server]\nsocket = {:?}\n[vault]\ndata_dir = {:?}\n[policy]\npath = {:?}\n[audit]\npath = {:?}\n",
            path("run/masker.sock"),
            path("vault"),
            path("policies"),
            path("audit"),
        );
        site.place.write("masker.toml", &text);
        for (variable, file) in [(KEY_FILE, "keys/care"), (AUDIT_FILE, "keys/audit")] {
            let key = site.secret();
            site.key_file(file, &key);
            site.set(variable, &site.place.path(file).display().to_string());
        }
        site
    }

    /// Returns a new key, which no output may contain.
    fn secret(&mut self) -> String {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes[..]);
        self.secrets.push(BASE64.encode(&bytes));
        self.secrets[self.secrets.len() - 1].clone()
    }

    fn key_file(&self, name: &str, text: &str) {
        let path = self.place.write(name, text);
        mode(&path, 0o400);
    }

    fn set(&mut self, variable: &str, value: &str) {
        self.variables.retain(|(name, _)| name != variable);
        self.variables.push((variable.to_owned(), value.to_owned()));
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.place.masker(&[&["doctor", "--config", "masker.toml"], words].concat());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Returns the exit code and all findings.
    fn examine(&self) -> (i32, Vec<Value>) {
        let (code, stdout, stderr) = run(&mut self.command(&["--json"]));
        for secret in &self.secrets {
            assert!(!stdout.contains(&secret[..12]) && !stderr.contains(&secret[..12]), "a key was shown");
        }
        let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
        let findings = report["checks"].as_array().unwrap().clone();
        let count = |status| findings.iter().filter(|finding| finding["status"] == status).count();
        assert_eq!(
            ["errors", "warnings", "not_checked"].map(|status| report[status].as_u64()),
            ["error", "warning", "not_checked"].map(|status| Some(count(status) as u64))
        );
        assert_eq!(code, Some(if count("error") > 0 { 1 } else { 0 }));
        for finding in &findings {
            for field in ["remedy", "finding", "page"] {
                assert_eq!(finding[field].is_string(), finding["status"] != "ok", "{finding}");
            }
        }
        (code.unwrap(), findings)
    }

    /// Checks that this check, and no other, reports an error with these words, or a warning.
    fn expect(&self, status: &str, id: &str, words: &str) {
        let (code, findings) = self.examine();
        let of = |finding: &&Value| finding["status"] == status && finding["id"] == id;
        let found: Vec<&Value> = findings.iter().filter(of).collect();
        assert!(
            found.iter().any(|finding| finding["found"].as_str().unwrap().contains(words)),
            "{status} {id} {words}: {findings:#?}"
        );
        let others: Vec<&Value> = findings.iter().filter(|f| f["status"] == "error" && f["id"] != id).collect();
        assert!(others.is_empty(), "{others:#?}");
        assert_eq!(code, i32::from(status == "error"));
    }

    /// Writes an audit log of some events. Returns its only segment.
    fn write_audit_log(&self) -> std::path::PathBuf {
        let key = fs::read(self.place.path("keys/audit")).unwrap();
        let options = AuditOptions {
            directory: self.place.path("audit"),
            key: SecretKey::parse_base64(&key).unwrap(),
            sync: SyncPolicy::Always,
            on_failure: OnFailure::Refuse,
            retention_days: 1,
            segment_bytes_max: 1 << 30,
            accept_break: false,
            accept_clock: false,
            metrics: Arc::new(AuditMetrics::new().unwrap()),
        };
        let log = AuditLog::open(options, None, None, Arc::new(Timestamp::now)).unwrap().log;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..3 {
                log.record(&AuditEvent::new(AuditOperation::Start, "ok")).await.unwrap();
            }
            log.close().await;
        });
        fs::read_dir(self.place.path("audit")).unwrap().next().unwrap().unwrap().path()
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Returns all paths below a directory, with their modification times.
fn tree(directory: &Path) -> Vec<(std::path::PathBuf, SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found.push((path.clone(), fs::metadata(&path).unwrap().modified().unwrap()));
        if path.is_dir() {
            found.extend(tree(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn reports_no_fault_on_a_sound_site_and_changes_nothing() {
    let site = Site::new();
    site.write_audit_log();
    let before = tree(site.place.path("").as_path());
    let (code, findings) = site.examine();
    assert_eq!(code, 0, "{findings:#?}");
    // Findings about the host and other processes depend on the machine.
    let of_site = findings.iter().filter(|finding| {
        let id = finding["id"].as_str().unwrap();
        !id.starts_with("host.") && !id.starts_with("kernel.") && !id.starts_with("environment.")
    });
    let ids: Vec<&str> = of_site
        .map(|finding| {
            let id = finding["id"].as_str().unwrap();
            // No daemon serves, and other tests run theirs.
            let is_stopped = ["daemon.configuration", "socket.mode"].contains(&id);
            assert!(
                finding["status"] == if is_stopped { "not_checked" } else { "ok" }
                    || id.ends_with(".room")
                    || id == "daemon.configuration",
                "{finding}"
            );
            finding["id"].as_str().unwrap()
        })
        .collect();
    assert_eq!(
        ids,
        [
            "daemon.configuration",
            "config",
            "keys.read",
            "keys.differ",
            "keys.random",
            "keys.files",
            "keys.source",
            "keys.audit",
            "keys.identity",
            "policies.read",
            "policies.keys",
            "files.strays",
            "files.modes",
            "access.default",
            "access.root",
            "socket.directory",
            "socket.mode",
            "vault.directory",
            "vault.room",
            "audit.directory",
            "audit.room",
            "audit.chain",
            "clock.backwards",
            "clock.jumped",
            "daemon.start"
        ]
    );
    for id in [
        "environment.processes",
        "host.swap",
        "host.core",
        "host.locked_memory",
        "kernel.landlock",
        "kernel.seccomp",
        "kernel.secret_memory",
        "kernel.peer_pidfd",
    ] {
        assert!(findings.iter().any(|finding| finding["id"] == id), "{id}");
    }
    assert_eq!(tree(site.place.path("").as_path()), before, "looking changes nothing");
}

#[test]
fn writes_findings_as_lines_with_tabs() {
    let site = Site::new();
    mode(&site.place.path("keys/care"), 0o444);
    let (code, stdout, _) = run(&mut site.command(&[]));
    assert_eq!(code, Some(1));
    assert!(stdout.lines().all(|line| line.split('\t').count() == 5) && !stdout.contains('\x1b'), "{stdout}");
    let line = stdout.lines().find(|line| line.starts_with("error\t")).unwrap();
    let cells: Vec<&str> = line.split('\t').collect();
    assert!(cells[1] == "keys.files" && cells[3].starts_with("`chmod 0400 "), "{line}");
    assert_eq!(cells[4], "operate/doctor/key-file-open.md");
    let (_, quiet, _) = run(&mut site.command(&["--quiet"]));
    assert!(!quiet.contains("ok\t") && quiet.contains("error\tkeys.files\t"), "{quiet}");
}

#[test]
fn aligns_and_colors_findings_on_a_terminal() {
    let site = Site::new();
    mode(&site.place.path("keys/care"), 0o444);
    let on_terminal = |variables: &[(&str, &str)]| {
        let mut command = Command::new("script");
        let line = format!("exec {} doctor --config masker.toml", env!("CARGO_BIN_EXE_masker"));
        command.args(["--quiet", "--command", &line, "/dev/null"]).env_clear().current_dir(site.place.path(""));
        command.envs(site.variables.iter().map(|(name, value)| (name, value))).envs(variables.iter().copied());
        let (_, shown, _) = run(command.env("SHELL", "/bin/sh").stdin(Stdio::null()));
        shown
    };
    let shown = on_terminal(&[]);
    assert!(
        shown.contains("\x1b[1;31merror        \x1b[0mkeys.files            ") && shown.contains("→ `chmod 0400 "),
        "{shown}"
    );
    assert!(shown.contains("page operate/doctor/key-file-open.md"), "{shown}");
    assert!(
        shown.lines().any(|line| line.starts_with("errors: 1, warnings: ") && line.contains(", not checked: ")),
        "{shown}"
    );
    assert!(!shown.contains('\t') && !shown.contains("\\n"), "{shown}");
    let plain = on_terminal(&[("NO_COLOR", "1")]);
    assert!(plain.contains("error        keys.files  ") && !plain.contains('\x1b'), "{plain}");
}

#[test]
fn finds_faults_of_keys() {
    let mut site = Site::new();
    mode(&site.place.path("keys/care"), 0o440);
    site.expect("warning", "keys.files", "its group can access it");
    mode(&site.place.path("keys/care"), 0o604);
    site.expect("error", "keys.files", "every user of this host can access it");
    mode(&site.place.path("keys/care"), 0o400);
    mode(&site.place.path("keys"), 0o777);
    site.expect("error", "keys.files", "other users can replace");
    mode(&site.place.path("keys"), 0o700);

    let care = fs::read_to_string(site.place.path("keys/care")).unwrap();
    site.key_file("keys/other", &care);
    site.set("MASKER_KEY_K_OTHER_FILE", &site.place.path("keys/other").display().to_string());
    site.expect("error", "keys.differ", "MASKER_KEY_K_CARE and MASKER_KEY_K_OTHER are the same key");
    let other = site.secret();
    fs::remove_file(site.place.path("keys/other")).unwrap();
    site.key_file("keys/other", &other);
    site.expect("warning", "policies.keys", "no policy names the key K_OTHER");
    for (text, id, words) in [
        ("c2hvcnQ=", "keys.read", "is 5 bytes long"),
        ("Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAhISE=", "keys.random", "is made of printable characters"),
    ] {
        fs::remove_file(site.place.path("keys/other")).unwrap();
        site.key_file("keys/other", text);
        site.expect("error", id, words);
    }
    site.variables.retain(|(name, _)| name != "MASKER_KEY_K_OTHER_FILE");
    site.set("MASKER_KEY_K_CARE_OLD", &other);
    site.expect("warning", "keys.source", "MASKER_KEY_K_CARE_OLD in the environment");
    site.variables.retain(|(name, _)| name != AUDIT_FILE && name != "MASKER_KEY_K_CARE_OLD");
    site.expect("warning", "keys.audit", "no audit log is written");
    site.set(KEY_FILE, "/nonexistent");
    site.expect("error", "keys.read", "there is no such file");
}

#[test]
fn finds_faults_of_policies_and_configuration() {
    let site = Site::new();
    site.place.write("policies/pay.toml", &POLICY.replace("care", "pay").replace("K_CARE", "K_PAY"));
    site.expect("error", "policies.keys", "the policy `pay` names the key K_PAY, which is not provided");
    site.place.write("policies/pay.toml", "name = 1\n");
    site.expect("error", "policies.read", "pay.toml:1: ");
    fs::remove_file(site.place.path("policies/pay.toml")).unwrap();
    site.place.write("masker.toml", "[server]\nsockets = \"/s\"\n");
    site.expect("error", "config", "masker.toml:2: unknown field `sockets`");
}

#[test]
fn finds_files_that_do_not_belong_beside_keys_and_policies() {
    let site = Site::new();
    site.expect("ok", "files.strays", "hold nothing else");
    for (name, words) in [
        ("policies/.care.toml.swp", "/policies has .care.toml.swp, which"),
        ("keys/care.bak", "/keys has care.bak, which"),
        ("masker.toml~", " has masker.toml~, which"),
    ] {
        site.place.write(name, "");
        site.expect("warning", "files.strays", words);
    }
}

#[test]
fn finds_faults_of_the_socket() {
    let site = Site::new();
    mode(&site.place.path("run"), 0o777);
    site.expect("error", "socket.directory", "other users can put their own socket there");
    mode(&site.place.path("run"), 0o755);
    let socket = site.place.path("run/masker.sock");
    let _bound = bound(&socket);
    mode(&socket, 0o666);
    site.expect("error", "socket.mode", "every user of this host can connect");
    mode(&socket, 0o600);
    site.expect("warning", "socket.mode", "has mode 0600, but 0660 is configured");
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "").unwrap();
    let (_, findings) = site.examine();
    assert!(
        findings.iter().any(|f| f["id"] == "socket.mode" && f["found"].as_str().unwrap().ends_with("is not a socket"))
    );
}

#[test]
fn finds_faults_of_the_data_directory() {
    let site = Site::new();
    mode(&site.place.path("vault"), 0o755);
    site.expect("warning", "vault.directory", "other users can list its files");
    mode(&site.place.path("vault"), 0o770);
    site.expect("error", "vault.directory", "other users can write to it");
    mode(&site.place.path("vault"), 0o700);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: another owner needs root");
        return;
    }
    for directory in ["", "policies"] {
        mode(&site.place.path(directory), 0o755);
    }
    fs::create_dir_all(site.place.path("audit")).unwrap();
    mode(&site.place.path("audit"), 0o700);
    for directory in ["vault", "audit"] {
        chown(site.place.path(directory), Some(54_321), None).unwrap();
    }
    // No unit names the user of the daemon, and root can start it as any user.
    site.expect("warning", "vault.directory", "belongs to uid 54321, and a daemon started here runs as root");
}

#[test]
fn finds_a_damaged_audit_log() {
    let site = Site::new();
    let segment = site.write_audit_log();
    let (code, _) = site.examine();
    assert_eq!(code, 0);
    let mut bytes = fs::read(&segment).unwrap();
    let place = bytes.windows(4).position(|four| four == b"\"ok\"").unwrap();
    bytes[place + 1] = b'a';
    fs::write(&segment, bytes).unwrap();
    site.expect("error", "audit.chain", "the chain does not verify: ");
}

#[test]
fn finds_a_clock_that_went_back() {
    let site = Site::new();
    fs::write(site.place.path("vault/witness"), "").unwrap();
    let written = |ahead| {
        let file = File::options().write(true).open(site.place.path("vault/witness")).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(ahead)).unwrap();
    };
    // Beside what a start says of such a vault.
    let expect = |status: &str, words: &str| {
        let (_, findings) = site.examine();
        let found = findings.iter().find(|one| one["id"] == "clock.backwards").unwrap();
        assert!(found["status"] == status && found["found"].as_str().unwrap().contains(words), "{found}");
    };
    written(40);
    expect("warning", "a file of the vault has the time ");
    written(7_200);
    expect("error", "the clock has gone back by 1h 59m");
}

/// A process that is killed when dropped.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn finds_a_key_in_the_environment_of_another_process() {
    let site = Site::new();
    let key = fs::read_to_string(site.place.path("keys/care")).unwrap();
    // `cat` answers as soon as it runs, with the environment that it was given.
    let mut sleeper = Command::new("cat");
    sleeper.env_clear().env("MASKER_KEY_K_ANY", &key).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sleeper = Sleeper(sleeper.spawn().unwrap());
    std::io::Write::write_all(sleeper.0.stdin.as_mut().unwrap(), b".").unwrap();
    std::io::Read::read_exact(sleeper.0.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let words =
        format!("process {} (cat) has a key of this daemon in its environment, as MASKER_KEY_K_ANY", sleeper.0.id());
    site.expect("error", "environment.processes", &words);
}

#[test]
fn finds_a_full_disk() {
    let site = Site::new();
    let disk = site.place.path("vault");
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs"]).arg(&disk).output();
    if !mount.as_ref().is_ok_and(|mount| mount.status.success()) {
        eprintln!("skipped: a small disk needs permission to mount: {mount:?}");
        return;
    }
    let examined = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        site.expect("error", "vault.room", "writes will fail soon");
    }));
    Command::new("umount").arg("-l").arg(&disk).status().unwrap();
    examined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
