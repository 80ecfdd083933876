//! Procedures of an operator, under a systemd that runs as the first process of its own namespaces.
//!
//! It takes root, and a host whose files can be the lower part of an overlay. Elsewhere the tests are skipped, and say so.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// The time limit for the start of systemd.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A host: a systemd with masker's units. It ends when dropped.
struct Host {
    namespaces: Child,
    /// The first process in the namespaces.
    first: String,
    _directory: TempDir,
}

/// What a command left.
struct Outcome {
    code: Option<i32>,
    /// Its results and its messages.
    text: String,
}

impl Outcome {
    /// Checks for success and returns the text.
    fn ok(self) -> String {
        self.code(0)
    }

    /// Checks for this exit code and returns the text.
    fn code(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.text);
        self.text
    }
}

impl Host {
    /// Starts systemd. Returns `None`, with the reason on standard error, where that is not possible.
    fn start() -> Option<Self> {
        let skipped = |why: &str| {
            eprintln!("skipped: systemd does not start in namespaces here ({why})");
            None
        };
        if !nix::unistd::geteuid().is_root() {
            return skipped("it needs root");
        }
        if !Path::new("/lib/systemd/systemd").exists() {
            return skipped("it is not installed");
        }
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let name = format!("masker-test-{}", std::process::id());
        let notifications = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        notifications.set_read_timeout(Some(START_LIMIT)).unwrap();
        let log = directory.path().join("log");
        let mut namespaces = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--ipc", "--uts"])
            .arg(repository.join("tests/package/live/boot"))
            .arg(directory.path())
            .arg(env!("CARGO_BIN_EXE_masker"))
            .arg(repository)
            .env("NOTIFY_SOCKET", format!("@{name}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .ok()?;
        // It ends at once if a mount is not possible. The end of the process is not notified, so ask in between.
        let mut text = [0; 4096];
        notifications.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let begun = std::time::Instant::now();
        loop {
            let length = notifications.recv(&mut text).unwrap_or(0);
            if String::from_utf8_lossy(&text[..length]).lines().any(|line| line == "READY=1") {
                break;
            }
            let ended = namespaces.try_wait().unwrap().is_some();
            if ended || begun.elapsed() > START_LIMIT {
                let _ = namespaces.kill();
                let _ = namespaces.wait();
                return skipped(fs::read_to_string(&log).unwrap().trim());
            }
        }
        let children = format!("/proc/{0}/task/{0}/children", namespaces.id());
        let first = fs::read_to_string(children).unwrap().trim().to_owned();
        Some(Host { namespaces, first, _directory: directory })
    }

    /// Runs a command line of a shell on the host.
    fn run(&self, line: &str) -> Outcome {
        let Output { status, mut stdout, stderr } = Command::new("nsenter")
            .args(["--target", &self.first, "--mount", "--pid", "--cgroup", "--ipc", "--uts", "--root", "--wd"])
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-c", line])
            .stdin(Stdio::null())
            .output()
            .expect("util-linux is installed");
        stdout.extend(stderr);
        Outcome { code: status.code(), text: String::from_utf8(stdout).expect("text") }
    }

    /// Returns the journal of the daemon's unit.
    fn journal(&self) -> String {
        self.run("journalctl --sync; journalctl --unit masker.service --output cat --no-pager").ok()
    }

    /// Starts the units, which must fail, and returns what the journal has since.
    fn refused(&self) -> String {
        self.run("systemctl reset-failed").ok();
        let before = self.journal().len();
        self.run("systemctl start masker.service").code(1);
        self.run("systemctl stop masker.service masker.socket").ok();
        self.journal()[before..].to_owned()
    }

    fn start_units(&self) {
        self.run("systemctl reset-failed; systemctl start masker.socket masker.service").ok();
    }

    fn stop_units(&self) {
        self.run("systemctl stop masker.service masker.socket").ok();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // With the first process all others of the namespaces end, and only then `unshare`, which waits for it.
        let first = self.first.parse().map(Pid::from_raw);
        if first.is_ok_and(|first| kill(first, Signal::SIGKILL).is_err()) {
            let _ = self.namespaces.kill();
        }
        let _ = self.namespaces.wait();
    }
}

#[test]
fn an_operator_is_told_what_to_do_and_loses_nothing() {
    let Some(host) = Host::start() else { return };
    first_start(&host);
    let token = rotation(&host);
    older_copy(&host, &token);
}

/// The first start: without keys it fails with words, and `masker init` makes them.
fn first_start(host: &Host) {
    let log = host.refused();
    assert!(log.contains("MASKER_AUDIT_HMAC_KEY is empty, or its file is missing"), "{log}");
    let made = host.run("masker init").ok();
    assert!(made.contains("systemctl start masker.socket masker.service"), "{made}");
    let modes = host.run("stat --format '%a %U:%G %n' /etc/masker/keys /etc/masker/keys/* /etc/masker/audit.key").ok();
    let expected = "700 root:root /etc/masker/keys\n400 root:root /etc/masker/keys/K_HEALTHCARE\n400 root:root /etc/masker/audit.key\n";
    assert_eq!(modes, expected);
    let sums = "sha256sum /etc/masker/keys/* /etc/masker/audit.key /etc/masker/masker.toml";
    let before = host.run(sums).ok();
    host.run("masker init").ok();
    assert_eq!(host.run(sums).ok(), before, "a second run changed something");

    // An empty directory of keys, and none.
    for (take, put) in [
        ("mv /etc/masker/keys/K_HEALTHCARE /run/kept", "mv /run/kept /etc/masker/keys/K_HEALTHCARE"),
        ("mv /etc/masker/keys /run/keys", "mv /run/keys /etc/masker/keys"),
    ] {
        host.run(take).ok();
        let log = host.refused();
        assert!(log.contains("names the key K_HEALTHCARE, which is not loaded"), "{take}: {log}");
        host.run(put).ok();
    }
    host.start_units();
    // Starts that succeed do not count for the limit of starts.
    for _ in 0..8 {
        host.run("systemctl restart masker.service").ok();
    }
    let health = host.run("masker health").ok();
    assert!(health.lines().any(|line| line.starts_with("audit log\tok")), "{health}");
}

/// A rotation, with its steps repeated and too early. Returns a token from before.
fn rotation(host: &Host) -> String {
    let token = host.run("echo 415-555-0132 | masker tokenize --kind PHONE").ok();
    let rotate = "masker keys rotate --dir /etc/masker/keys --kid K_HEALTHCARE";
    let remove = "masker keys remove-old --dir /etc/masker/keys --kid K_HEALTHCARE --yes";
    let move_records = "masker vault rotate-key --new-kid K_HEALTHCARE";
    let rehydrate = format!("echo {} | masker rehydrate", token.trim());
    let restart = "run `systemctl restart masker.service`";
    let next = host.run(rotate).ok();
    assert!(next.contains(&format!("2. {restart}")), "{next}");
    for early in [rotate, remove] {
        let refused = host.run(early).code(1);
        assert!(refused.contains(restart), "{refused}");
    }
    let reloaded = host.run("masker keys reload").ok();
    assert!(reloaded.contains("no key has changed") && reloaded.contains(restart), "{reloaded}");
    host.run("systemctl restart masker.service").ok();
    assert!(host.run(remove).code(1).contains("needs it"));
    assert!(host.run(rotate).code(1).contains(move_records));
    host.run(move_records).ok();
    host.run(move_records).ok();
    host.run(remove).ok();
    assert!(host.run(remove).code(1).contains("nothing is to be removed"));
    host.run("systemctl restart masker.service").ok();
    assert_eq!(host.run(&rehydrate).ok(), "415-555-0132\n");
    rehydrate
}

/// An older copy of the vault is put back: refused, shown, accepted once.
fn older_copy(host: &Host, rehydrate: &str) {
    assert!(host.run("masker recover").ok().contains("a daemon serves the vault"));
    host.stop_units();
    assert!(host.run("masker recover").ok().contains("a start refuses nothing"));
    host.run("cp -a /var/lib/masker /var/lib/masker.copy").ok();
    host.start_units();
    host.run("echo 415-555-0133 | masker tokenize --kind PHONE").ok();
    host.stop_units();
    let put_back = "rm -r /var/lib/masker && cp -a /var/lib/masker.copy /var/lib/masker";
    host.run(put_back).ok();
    let log = host.refused();
    assert!(log.contains("is an older copy") && log.contains("masker recover"), "{log}");
    let shown = host.run("masker recover").code(2);
    assert!(shown.contains("behind-audit-log") && shown.contains("masker recover --accept loss"), "{shown}");
    host.refused();
    let accepted = host.run("masker recover --accept loss").ok();
    assert!(accepted.contains("systemctl reset-failed masker.socket masker.service"), "{accepted}");
    host.run("masker recover --accept loss").ok();
    let files = host.run("stat --format '%a %U' /etc/masker/recover.toml; find /var/lib/masker -not -user masker").ok();
    assert_eq!(files, "644 root\n");
    // The daemon's user cannot accept anything.
    host.run("chown masker /etc/masker/recover.toml").ok();
    assert!(host.refused().contains("must belong to root"));
    host.run("chown root /etc/masker/recover.toml").ok();
    host.start_units();
    assert_eq!(host.run(rehydrate).ok(), "415-555-0132\n");
    host.run("systemctl restart masker.service").ok();
    // The same copy a second time.
    host.stop_units();
    host.run(put_back).ok();
    assert!(host.refused().contains("is an older copy"));
    host.run("masker recover --accept loss").ok();
    host.start_units();
    assert_eq!(host.run(rehydrate).ok(), "415-555-0132\n");
}
