//! The daemon of the demonstration: this program, as a process of its own.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use secrecy::ExposeSecret;
use tokio::{
    net::UnixDatagram,
    time::{sleep, timeout_at},
};

use super::DemoError;
use masker_core::crypto::SecretKey;

/// The only policy of the demonstration: the one that is shipped for health care.
pub(super) const POLICY: &str = include_str!("../../policies/healthcare-default.toml");
/// The variable of its key.
const KEY: &str = "MASKER_KEY_K_HEALTHCARE";
/// Time for the daemon to serve, in seconds. It takes a fraction of one where the disk is not busy.
const START_SECONDS_MAX: u64 = 30;
/// How often it is looked whether the daemon is still there, in milliseconds.
const POLL_MS: u64 = 50;
/// Lines of the daemon's log that are shown when it does not start.
const LOG_LINES_MAX: usize = 20;

/// The files of the demonstration, in a directory that is removed when this is dropped.
pub(super) struct DemoDirectory {
    directory: tempfile::TempDir,
}

impl DemoDirectory {
    pub(super) fn new() -> Result<Self, DemoError> {
        let directory = tempfile::Builder::new()
            .prefix("masker-demo-")
            .tempdir()
            .map_err(DemoError::system("make a temporary directory"))?;
        let place = DemoDirectory { directory };
        let policies = place.path("policies");
        let written = fs::create_dir(&policies)
            .and_then(|()| fs::write(policies.join("healthcare-default.toml"), POLICY))
            .and_then(|()| fs::write(place.path("masker.toml"), place.configuration()));
        written.map_err(DemoError::system("write its configuration"))?;
        Ok(place)
    }

    /// Relative paths start at the file's own directory.
    fn configuration(&self) -> &'static str {
        "[server]\nsocket = \"masker.sock\"\nsocket_mode = \"0600\"\n\
         [vault]\ndata_dir = \"vault\"\n\
         [policy]\npath = \"policies\"\n\
         [log]\nformat = \"pretty\"\n"
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path("masker.sock")
    }
}

/// A daemon that serves. It is killed when this is dropped.
pub(super) struct Daemon {
    child: Child,
    /// From its start to the moment at which it said that it serves.
    pub(super) took: Duration,
}

impl Daemon {
    /// Starts it, and waits until it says that it serves.
    pub(super) async fn start(
        place: &DemoDirectory,
        active: &SecretKey,
        old: Option<&SecretKey>,
    ) -> Result<Self, DemoError> {
        let notify_path = place.path("notify.sock");
        // A daemon before this one had a socket there.
        let _ = fs::remove_file(&notify_path);
        let notify = UnixDatagram::bind(&notify_path).map_err(DemoError::system(
            "make a socket in the temporary directory (is its path too long? TMPDIR chooses another)",
        ))?;
        let program = std::env::current_exe().map_err(DemoError::system("find its own program"))?;
        let log_path = place.path("daemon.log");
        let log = File::create(&log_path).map_err(DemoError::system("write the daemon's log"))?;

        let mut command = Command::new(program);
        // Nothing of this environment is the daemon's: no key, no configuration, no socket of a service manager.
        command.env_clear().env("NOTIFY_SOCKET", &notify_path).env(KEY, active.to_base64().expose_secret());
        if let Some(old) = old {
            command.env(format!("{KEY}_OLD"), old.to_base64().expose_secret());
        }
        command.arg("serve").arg("--config").arg(place.path("masker.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);

        let started = Instant::now();
        let child = command.spawn().map_err(DemoError::system("start the daemon"))?;
        let mut daemon = Daemon { child, took: Duration::ZERO };
        daemon.wait_until_ready(&notify, started, &log_path).await?;
        daemon.took = started.elapsed();
        Ok(daemon)
    }

    async fn wait_until_ready(&mut self, notify: &UnixDatagram, started: Instant, log: &Path) -> Result<(), DemoError> {
        let failed = |reason: String| DemoError::Daemon { reason, log: last_lines(log) };
        let deadline = tokio::time::Instant::from_std(started) + Duration::from_secs(START_SECONDS_MAX);
        let mut message = [0; 1_024];
        let wait = async {
            loop {
                tokio::select! {
                    received = notify.recv(&mut message) => {
                        let length = received.map_err(DemoError::system("hear from the daemon"))?;
                        let mut lines = message.get(..length).unwrap_or_default().split(|byte| *byte == b'\n');
                        if lines.any(|line| line == b"READY=1") {
                            return Ok(());
                        }
                    }
                    // A daemon that is gone says nothing.
                    () = sleep(Duration::from_millis(POLL_MS)) => {
                        let ended = self.child.try_wait().map_err(DemoError::system("look after the daemon"))?;
                        if let Some(status) = ended {
                            return Err(failed(status.to_string()));
                        }
                    }
                }
            }
        };
        let waited = timeout_at(deadline, wait).await;
        waited.unwrap_or_else(|_| Err(failed(format!("it did not serve within {START_SECONDS_MAX} s"))))
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`: the process has no say in it, and no moment to save anything.
    pub(super) fn kill(mut self) -> Result<(), DemoError> {
        self.child.kill().map_err(DemoError::system("kill the daemon"))?;
        let status = self.child.wait().map_err(DemoError::system("wait for the daemon's end"))?;
        match status.signal() {
            Some(9) => Ok(()),
            _ => Err(DemoError::Claim(format!("the daemon was to be killed and ended by itself, with {status}"))),
        }
    }

    /// `SIGTERM`: the process ends in order.
    pub(super) fn stop(mut self) -> Result<(), DemoError> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGTERM).map_err(|errno| DemoError::system("stop the daemon")(errno.into()))?;
        let status = self.child.wait().map_err(DemoError::system("wait for the daemon's end"))?;
        if status.success() {
            return Ok(());
        }
        Err(DemoError::Claim(format!("the daemon was asked to stop and did not do so in order: {status}")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A process that has ended and was waited for is not signalled again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_else(|error| format!("(its log cannot be read: {error})"));
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES_MAX);
    lines.get(from..).unwrap_or_default().join("\n")
}
