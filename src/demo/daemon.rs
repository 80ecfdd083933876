//! The daemon of the demo: this program in another process.

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

/// The only policy of the demo: the shipped one for health care.
pub(super) const POLICY: &str = include_str!("../../policies/healthcare-default.toml");
/// The variable of its key.
const KEY: &str = "MASKER_KEY_K_HEALTHCARE";
/// Time for the daemon to start, in seconds. It takes a fraction of a second unless the disk is busy.
const START_SECONDS_MAX: u64 = 30;
/// How often to check that the daemon still runs, in milliseconds.
const POLL_MS: u64 = 50;
/// Lines of the daemon's log that are shown if it does not start.
const LOG_LINES_MAX: usize = 20;

/// The files of the demo, in a directory that is removed when this is dropped.
pub(super) struct DemoDirectory {
    directory: tempfile::TempDir,
}

impl DemoDirectory {
    pub(super) fn new() -> Result<Self, DemoError> {
        let directory = tempfile::Builder::new()
            .prefix("masker-demo-")
            .tempdir()
            .map_err(DemoError::system("create a temporary directory"))?;
        let demo = DemoDirectory { directory };
        let policies = demo.path("policies");
        let written = fs::create_dir(&policies)
            .and_then(|()| fs::write(policies.join("healthcare-default.toml"), POLICY))
            .and_then(|()| fs::write(demo.path("masker.toml"), demo.configuration()));
        written.map_err(DemoError::system("write the configuration"))?;
        Ok(demo)
    }

    /// Returns the configuration. Its relative paths are relative to its own directory.
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

/// A running daemon. It is killed when this is dropped.
pub(super) struct Daemon {
    child: Child,
    /// The time from its start until it was ready.
    pub(super) took: Duration,
}

impl Daemon {
    /// Starts a daemon, and waits until it is ready.
    pub(super) async fn start(
        demo: &DemoDirectory,
        active: &SecretKey,
        old: Option<&SecretKey>,
    ) -> Result<Self, DemoError> {
        let notify_path = demo.path("notify.sock");
        // The previous daemon's socket may still exist.
        let _ = fs::remove_file(&notify_path);
        let notify = UnixDatagram::bind(&notify_path).map_err(DemoError::system(
            "create a socket in the temporary directory (is its path too long? TMPDIR chooses another)",
        ))?;
        let program = std::env::current_exe().map_err(DemoError::system("find the path of this program"))?;
        let log_path = demo.path("daemon.log");
        let log = File::create(&log_path).map_err(DemoError::system("create the daemon's log"))?;

        let mut command = Command::new(program);
        // The daemon must inherit no key, no configuration and no socket of a service manager.
        command.env_clear().env("NOTIFY_SOCKET", &notify_path).env(KEY, active.to_base64().expose_secret());
        if let Some(old) = old {
            command.env(format!("{KEY}_OLD"), old.to_base64().expose_secret());
        }
        command.arg("serve").arg("--config").arg(demo.path("masker.toml"));
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
                        let length = received.map_err(DemoError::system("receive the daemon's notification"))?;
                        let mut lines = message.get(..length).unwrap_or_default().split(|byte| *byte == b'\n');
                        if lines.any(|line| line == b"READY=1") {
                            return Ok(());
                        }
                    }
                    // A daemon that has exited sends no notification.
                    () = sleep(Duration::from_millis(POLL_MS)) => {
                        let exited = self.child.try_wait().map_err(DemoError::system("check the daemon"))?;
                        if let Some(status) = exited {
                            return Err(failed(status.to_string()));
                        }
                    }
                }
            }
        };
        let waited = timeout_at(deadline, wait).await;
        waited.unwrap_or_else(|_| Err(failed(format!("it was not ready within {START_SECONDS_MAX} s"))))
    }

    /// Returns the process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process with `SIGKILL`, which leaves it no time to save anything.
    pub(super) fn kill(mut self) -> Result<(), DemoError> {
        self.child.kill().map_err(DemoError::system("kill the daemon"))?;
        let status = self.child.wait().map_err(DemoError::system("wait for the daemon to exit"))?;
        match status.signal() {
            Some(9) => Ok(()),
            _ => Err(DemoError::Check(format!("the daemon exited before it was killed: {status}"))),
        }
    }

    /// Stops the process with `SIGTERM`, and waits for an orderly exit.
    pub(super) fn stop(mut self) -> Result<(), DemoError> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGTERM).map_err(|errno| DemoError::system("stop the daemon")(errno.into()))?;
        let status = self.child.wait().map_err(DemoError::system("wait for the daemon to exit"))?;
        if status.success() {
            return Ok(());
        }
        Err(DemoError::Check(format!("the daemon failed to stop: {status}")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Does nothing to a process that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_else(|error| format!("(failed to read the log: {error})"));
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES_MAX);
    lines.get(from..).unwrap_or_default().join("\n")
}
