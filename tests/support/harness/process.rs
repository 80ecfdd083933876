//! A running daemon, and how it ends.

use std::{
    ffi::OsString,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{self, Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Client, LIMIT, Log, notify::Notifications};

/// The time limit for an orderly stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Returns the gateway's program, for its own tests.
pub fn masker_gateway() -> PathBuf {
    let Some(program) = option_env!("CARGO_BIN_EXE_masker-gateway") else {
        panic!("only the package of the gateway has its program")
    };
    program.into()
}

/// The command to run.
pub(super) struct Command {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(String, OsString)>,
    /// Lines for a shell that then becomes the daemon. Without any, no shell is used.
    pub(super) prelude: Vec<&'static str>,
    pub(super) stdin: Option<OwnedFd>,
    /// The socket for notifications.
    pub(super) notify: PathBuf,
}

/// Returns the program under test: the one that was built with the tests, or the one that `MASKER_BINARY` names.
pub fn masker() -> PathBuf {
    let built = || match option_env!("CARGO_BIN_EXE_masker") {
        Some(program) => program.into(),
        // The tests of the gateway are of another package.
        None => masker_gateway().with_file_name("masker"),
    };
    std::env::var_os("MASKER_BINARY").map_or_else(built, PathBuf::from)
}

/// A process of this test, killed when dropped.
pub(super) struct Process {
    child: Child,
    log: Log,
    notifications: Notifications,
}

/// A process that has ended.
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// The time from the signal or the start to the end.
    pub took: Duration,
    /// Its log.
    pub log: Log,
}

impl Ended {
    /// Checks for this exit code and returns the log.
    pub fn code(&self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{}:\n{}", self.status, self.log.text());
        self.log.text()
    }
}

impl Process {
    pub(super) fn spawn(command: Command) -> Self {
        let program = command.program;
        let mut process = if command.prelude.is_empty() {
            process::Command::new(program)
        } else {
            let mut shell = process::Command::new("/bin/sh");
            shell.arg("-c").arg(format!("{}\nexec \"$0\" \"$@\"", command.prelude.join("\n"))).arg(program);
            shell
        };
        let notifications = Notifications::bind(command.notify);
        process
            .args(command.arguments)
            .env_clear()
            .envs(command.environment)
            .env("NOTIFY_SOCKET", notifications.path())
            .current_dir("/")
            .stdin(command.stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = process.spawn().expect("masker can be run");
        let stderr = child.stderr.take().expect("a pipe, as asked for");
        let log = Log::follow(stderr, notifications.end());
        Process { child, log, notifications }
    }

    /// Waits for the end of a process that must not become ready.
    pub(super) fn refused(mut self) -> Ended {
        let started = Instant::now();
        let next = self.notification();
        assert_eq!(next, None, "it should not have started");
        self.end(started, LIMIT)
    }

    /// Kills it with -9 once it has logged this message.
    pub(super) fn killed_at(mut self, message: &str) -> Ended {
        self.log.wait_for(1, message);
        let since = Instant::now();
        self.signal(Signal::SIGKILL);
        self.end(since, LIMIT)
    }

    fn notification(&self) -> Option<Vec<String>> {
        self.notifications.next(LIMIT).unwrap_or_else(|nothing| panic!("{nothing}; the log:\n{}", self.log.text()))
    }

    fn signal(&self, signal: Signal) {
        // The process was not reaped yet, so the id is still its own.
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the process can be signalled");
    }

    fn end(&mut self, since: Instant, limit: Duration) -> Ended {
        assert!(self.log.wait_for_end(limit), "it did not end within {limit:?}:\n{}", self.log.text());
        let status = self.child.wait().expect("the process can be waited for");
        Ended { status, took: since.elapsed(), log: self.log.clone() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let text = self.log.text();
            let tail = text.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
            eprintln!("the end of the daemon's log:\n{tail}");
        }
    }
}

/// A daemon that is ready to serve.
pub struct Daemon {
    process: Process,
    socket: PathBuf,
}

impl Daemon {
    pub(super) fn ready(process: Process, socket: PathBuf) -> Self {
        Daemon::ready_or_gone(process, socket)
            .unwrap_or_else(|ended| panic!("it did not start: {}\n{}", ended.status, ended.log.text()))
    }

    /// Waits until the daemon is ready or has ended.
    pub(super) fn ready_or_gone(mut process: Process, socket: PathBuf) -> Result<Self, Ended> {
        let started = Instant::now();
        match process.notification() {
            Some(states) => assert_eq!(states, ["READY=1"]),
            None => return Err(process.end(started, LIMIT)),
        }
        Ok(Daemon { process, socket })
    }

    /// Returns a new connection.
    pub fn client(&self) -> Client {
        Client::connect(&self.socket).expect("a daemon that is ready can be connected to")
    }

    /// Returns the path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Returns its log.
    pub fn log(&self) -> &Log {
        &self.process.log
    }

    /// Returns the lines of the next notification to the service manager; `None` if the daemon has ended.
    pub fn notification(&self) -> Option<Vec<String>> {
        self.process.notification()
    }

    /// Skips notifications until this one. Concurrent reloads send theirs in any order.
    pub fn wait_for_notification(&self, state: &str) {
        while !self.notification().expect("the daemon is not gone").iter().any(|line| line == state) {}
    }

    /// Skips the notifications that are there, and those within a pause after each, so that they do not fill the daemon's
    /// queue. More can follow: signals that arrive together cause one reload, so the number of reloads is unknown.
    pub fn take_notifications(&self, pause: Duration) {
        while let Ok(Some(_)) = self.process.notifications.next(pause) {}
    }

    /// Returns how it ended, if it does so within a time without a signal.
    pub fn ended_within(mut self, limit: Duration) -> Result<Ended, Self> {
        if self.process.log.wait_for_end(limit) { Ok(self.process.end(Instant::now(), LIMIT)) } else { Err(self) }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends `SIGHUP` and waits until the reload is over, successful or not.
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
        let began = self.notification().expect("a reload does not end the daemon");
        let clock = began.get(1).and_then(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(began.len() == 2 && began[0] == "RELOADING=1", "{began:?}");
        assert!(clock.is_some_and(|usec| usec.parse::<u64>().is_ok_and(|usec| usec > 0)), "{began:?}");
        assert_eq!(self.notification().expect("as before"), ["READY=1"]);
    }

    /// Sends `SIGTERM` and waits until the daemon says that it is stopping. Returns the time of the signal.
    pub fn terminate(&self) -> Instant {
        let since = Instant::now();
        self.signal(Signal::SIGTERM);
        assert_eq!(self.notification().as_deref(), Some(&["STOPPING=1".to_owned()][..]));
        since
    }

    /// Waits for the orderly end of a daemon that was stopped at `since`: exit code 0, within 10 s.
    pub fn stopped(mut self, since: Instant) -> Ended {
        let ended = self.process.end(since, STOP_LIMIT.saturating_sub(since.elapsed()));
        assert!(ended.status.success(), "{}:\n{}", ended.status, ended.log.text());
        ended
    }

    /// Calls [`Daemon::terminate`], then [`Daemon::stopped`].
    pub fn stop(self) -> Ended {
        let since = self.terminate();
        self.stopped(since)
    }

    /// Kills it with -9 and waits for the end.
    pub fn kill(self) -> Ended {
        self.crash(Signal::SIGKILL)
    }

    /// Ends it with a signal that it does not handle, and waits for the end.
    pub fn crash(mut self, signal: Signal) -> Ended {
        let since = Instant::now();
        self.signal(signal);
        let ended = self.process.end(since, LIMIT);
        assert_eq!(ended.status.signal(), Some(signal as i32), "it was gone before");
        ended
    }
}
