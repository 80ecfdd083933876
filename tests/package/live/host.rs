//! A host: a systemd that runs as the first process of its own namespaces.
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
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
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
pub struct Host {
    namespaces: Child,
    /// The first process in the namespaces.
    first: String,
    _directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// One host at a time: their units share control groups.
static HOSTS: Mutex<()> = Mutex::new(());

/// What a command left.
pub struct Outcome {
    pub code: Option<i32>,
    /// Its results and its messages.
    pub text: String,
}

impl Outcome {
    /// Checks for success and returns the text.
    pub fn ok(self) -> String {
        self.code(0)
    }

    /// Checks for this exit code and returns the text.
    pub fn code(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.text);
        self.text
    }
}

impl Host {
    /// Starts systemd. Returns `None`, with the reason on standard error, where that is not possible.
    pub fn start() -> Option<Self> {
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
        // A test that failed with a host leaves nothing behind.
        let alone = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("masker-test-{}-{number}", std::process::id());
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
        Some(Host { namespaces, first, _directory: directory, _alone: alone })
    }

    /// Runs a command line of a shell on the host.
    pub fn run(&self, line: &str) -> Outcome {
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
    pub fn journal(&self) -> String {
        self.run("journalctl --sync; journalctl --unit masker.service --output cat --no-pager").ok()
    }

    /// Starts the units, which must fail, and returns what the journal has since.
    pub fn refused(&self) -> String {
        self.run("systemctl reset-failed").ok();
        let before = self.journal().len();
        self.run("systemctl start masker.service").code(1);
        self.run("systemctl stop masker.service masker.socket").ok();
        self.journal()[before..].to_owned()
    }

    pub fn start_units(&self) {
        let started = self.run("systemctl reset-failed; systemctl start masker.socket masker.service");
        assert_eq!(
            started.code,
            Some(0),
            "{}",
            self.run("journalctl --unit masker.service --lines 20 --output cat").text
        );
    }

    pub fn stop_units(&self) {
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
