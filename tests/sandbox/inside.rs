//! The process that enters the sandbox.

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

/// The first argument of the process that enters the sandbox.
pub const CHILD: &str = "--inside";
/// The user of attempts that root must not make.
pub const NOBODY: u32 = 65_534;

/// The directory of one attempt.
pub struct Scene(pub PathBuf);

impl Scene {
    /// The daemon's own directory.
    pub fn vault(&self) -> PathBuf {
        self.0.join("vault")
    }

    /// A file that a reload reads.
    pub fn policy(&self) -> PathBuf {
        self.0.join("policies/care.toml")
    }

    /// A file outside of the sandbox, with a mode that allows everyone to read it.
    pub fn secret(&self) -> PathBuf {
        self.0.join("elsewhere/secret")
    }

    /// A file in place of the socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("run/masker.sock")
    }

    fn places(&self) -> SandboxPaths {
        SandboxPaths { own: vec![self.vault()], read: vec![self.0.join("policies")], socket: Some(self.socket()) }
    }
}

/// Enters the sandbox as the daemon does. The calling thread must be the only one.
fn enter(scene: &Scene, settings: SandboxConfig) -> SandboxReport {
    let mut sandbox = Sandbox::begin(settings);
    sandbox.confine(&scene.places());
    sandbox.close()
}

/// Handles the arguments `MODE SCENE ATTEMPT`: enters the sandbox and makes the attempt, or waits to be inspected.
pub fn run(arguments: &[String]) {
    let [mode, scene, attempt] = arguments else { panic!("{arguments:?}") };
    let scene = Scene(PathBuf::from(scene));
    let seccomp = match mode.as_str() {
        "enforce" => SeccompMode::Enforce,
        "log" => SeccompMode::Log,
        "off" => SeccompMode::Off,
        // No sandbox, which shows that nothing else denies the attempt.
        "outside" => {
            wait_as_nobody(attempt);
            answer(&make_attempt(attempt, &scene))
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
            // Started before the filter, like the runtime's threads.
            let (go, gone) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                let _ = gone.recv();
                attempts::by_name("socket-inet").expect("a known attempt")(Path::new("/"))
            });
            sandbox.close();
            drop(go);
            answer(&display(thread.join().expect("no panic")))
        }
        attempt => {
            enter(&scene, settings);
            answer(&make_attempt(attempt, &scene))
        }
    }
}

fn make_attempt(name: &str, scene: &Scene) -> String {
    match attempts::by_name(name) {
        Some(attempt) => display(attempt(&scene.0)),
        None => panic!("there is no attempt {name:?}"),
    }
}

fn display(result: io::Result<String>) -> String {
    match result {
        Ok(text) => format!("ok {text}"),
        Err(error) => format!("errno {}", error.raw_os_error().unwrap_or(0)),
    }
}

/// For attempts on another process, gives both processes the same user, who is not root.
fn wait_as_nobody(attempt: &str) {
    if attempt == "be-looked-at" {
        become_nobody();
        attempts::allow_tracing();
        say("ready");
        wait();
        exit(0);
    }
    if attempts::is_by_pid(attempt) {
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
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent reads");
}

fn wait() {
    let _ = io::stdin().read(&mut [0]);
}

fn answer(line: &str) -> ! {
    say(line);
    exit(0)
}

/// Returns a field of `/proc/.../status` of every thread of this process, which must agree.
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
