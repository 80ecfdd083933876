//! What the process does that enters the sandbox.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::exit,
    sync::mpsc,
    thread,
};

use masker::daemon::sandbox::{Sandbox, SandboxPaths, SandboxReport};
use masker_config::{SandboxConfig, SeccompMode};

use super::attempts;

/// The first argument of a process that is to enter it.
pub const CHILD: &str = "--inside";
/// Who runs what root may not.
pub const NOBODY: u32 = 65_534;

/// The parts of a directory that a process is given.
pub struct Scene(pub PathBuf);

impl Scene {
    /// The daemon's own directory.
    pub fn vault(&self) -> PathBuf {
        self.0.join("vault")
    }

    /// A file that is read again on a reload.
    pub fn policy(&self) -> PathBuf {
        self.0.join("policies/care.toml")
    }

    /// A file that is nobody's business, readable by everybody.
    pub fn secret(&self) -> PathBuf {
        self.0.join("elsewhere/secret")
    }

    /// What stands for a socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("run/masker.sock")
    }

    fn places(&self) -> SandboxPaths {
        SandboxPaths { own: vec![self.vault()], read: vec![self.0.join("policies")], socket: Some(self.socket()) }
    }
}

/// Enters as the daemon does, with the calling thread as its only one until then.
fn enter(scene: &Scene, settings: SandboxConfig) -> SandboxReport {
    let mut sandbox = Sandbox::begin(settings);
    sandbox.confine(&scene.places());
    sandbox.close()
}

/// `MODE SCENE ATTEMPT`: enters and tries; or waits to be looked at.
pub fn run(arguments: &[String]) {
    let [mode, scene, attempt] = arguments else { panic!("{arguments:?}") };
    let scene = Scene(PathBuf::from(scene));
    let seccomp = match mode.as_str() {
        "enforce" => SeccompMode::Enforce,
        "log" => SeccompMode::Log,
        "off" => SeccompMode::Off,
        // Not at all: what shows that an attempt is not refused by something else.
        "outside" => {
            wait_as_nobody(attempt);
            answer(&tried(attempt, &scene))
        }
        mode => panic!("{mode}"),
    };
    let settings = SandboxConfig { landlock: true, seccomp };
    match attempt.as_str() {
        "report" => {
            let report = enter(&scene, settings);
            answer(&format!("{report:?}"))
        }
        "be-looked-at" => {
            become_nobody();
            enter(&scene, settings);
            say("ready");
            wait();
            exit(0)
        }
        "thread-before" => {
            let mut sandbox = Sandbox::begin(settings);
            sandbox.confine(&scene.places());
            // Started before the filter, as the runtime's are.
            let (go, gone) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                let _ = gone.recv();
                attempts::one("socket-inet").expect("it is known")(Path::new("/"))
            });
            sandbox.close();
            drop(go);
            answer(&shown(thread.join().expect("it does not panic")))
        }
        attempt => {
            enter(&scene, settings);
            answer(&tried(attempt, &scene))
        }
    }
}

fn tried(attempt: &str, scene: &Scene) -> String {
    match attempts::one(attempt) {
        Some(tries) => shown(tries(&scene.0)),
        None => panic!("there is no attempt {attempt:?}"),
    }
}

fn shown(result: io::Result<String>) -> String {
    match result {
        Ok(text) => format!("ok {text}"),
        Err(error) => format!("errno {}", error.raw_os_error().unwrap_or(0)),
    }
}

/// Where somebody else is to look at a process, both are of the same user, who is not root.
fn wait_as_nobody(attempt: &str) {
    if attempt == "be-looked-at" {
        become_nobody();
        attempts::allow_tracing();
        say("ready");
        wait();
        exit(0);
    }
    if attempts::looks_at_another(attempt) {
        become_nobody();
    }
}

fn become_nobody() {
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setgroups(&[]).and_then(|()| nix::unistd::setgid(NOBODY.into())).expect("root may");
        nix::unistd::setuid(NOBODY.into()).expect("root may");
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}

fn wait() {
    let _ = io::stdin().read(&mut [0]);
}

fn answer(line: &str) -> ! {
    say(line);
    exit(0)
}

/// A field of `/proc/.../status`, of every thread of this process: they must agree.
pub fn status(field: &str) -> io::Result<String> {
    let mut values = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(thread?.path().join("status"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap_or_default();
        values.push(value.trim().to_owned());
    }
    values.dedup();
    Ok(values.join(" and "))
}
