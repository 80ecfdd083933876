//! Starts a process for each attempt, and judges how it went.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        process::ExitStatusExt,
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use masker_cli::doctor::kernel::KernelFeatures;

use super::{
    attempts,
    inside::{CHILD, NOBODY, Scene},
};

const SIGSYS: i32 = libc::SIGSYS;

/// Everything.
pub fn run() {
    let kernel = KernelFeatures::here();
    println!("{kernel:?}");
    report_says_what_is_in_force();
    what_the_daemon_does_is_let_through();
    if kernel.filters() {
        forbidden_calls_kill();
        forbidden_calls_are_only_logged_where_that_is_asked_for();
    } else {
        println!("skipped: this kernel has no seccomp");
    }
    if kernel.landlock.is_some() {
        forbidden_files_are_out_of_reach();
    } else {
        println!("skipped: this kernel has no Landlock");
    }
    what_was_given_up_does_not_come_back();
    nobody_of_the_same_user_looks_in();
    println!("the sandbox holds: ok");
}

/// A directory for one attempt, as a site is laid out.
fn scene() -> (tempfile::TempDir, Scene) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let scene = Scene(fs::canonicalize(folder.path()).unwrap());
    for directory in ["vault", "policies", "elsewhere", "run"] {
        fs::create_dir(scene.0.join(directory)).unwrap();
    }
    for file in ["elsewhere/secret", "elsewhere/victim", "policies/victim", "policies/care.toml", "run/masker.sock"] {
        fs::write(scene.0.join(file), file).unwrap();
    }
    // As an editor does it.
    fs::write(scene.0.join("policies/renewed.draft"), "renewed").unwrap();
    fs::rename(scene.0.join("policies/renewed.draft"), scene.0.join("policies/renewed.toml")).unwrap();
    symlink("../elsewhere/secret", scene.0.join("vault/way-out")).unwrap();
    (folder, scene)
}

fn command(mode: &str, scene: &Scene, attempt: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.args([CHILD, mode]).arg(&scene.0).arg(attempt).env_remove("NOTIFY_SOCKET");
    command
}

fn tried(mode: &str, scene: &Scene, attempt: &str) -> Output {
    command(mode, scene, attempt).stdin(Stdio::null()).output().expect("this program can be started")
}

/// What an attempt came to, where it did not end the process.
fn outcome(mode: &str, attempt: &str) -> String {
    let (_folder, scene) = scene();
    told(&tried(mode, &scene, attempt), attempt)
}

fn told(output: &Output, attempt: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{attempt}: {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn report_says_what_is_in_force() {
    let report = outcome("enforce", "report");
    for mechanism in ["CoreDumps", "Tracing", "NewPrivileges", "KeyMemory", "Landlock", "Capabilities", "Seccomp"] {
        assert!(report.contains(&format!("({mechanism}, ")), "{report}");
    }
    assert_eq!(report.contains("(Seccomp, Active(\"violations kill\"))"), KernelFeatures::here().filters(), "{report}");
    for (mode, instead) in [("off", "off"), ("log", "violations are logged")] {
        let report = outcome(mode, "report");
        assert!(report.contains(&format!("(Seccomp, Off({instead:?}))")), "{mode}: {report}");
    }
}

fn forbidden_calls_kill() {
    for (attempt, _) in attempts::CALLS {
        let (_folder, scene) = scene();
        let output = tried("enforce", &scene, attempt);
        assert_eq!(output.status.signal(), Some(SIGSYS), "{attempt}: {output:?}");
        assert!(!output.status.core_dumped(), "{attempt}");
    }
    // Threads that were there before are held as well.
    let (_folder, scene) = scene();
    assert_eq!(tried("enforce", &scene, "thread-before").status.signal(), Some(SIGSYS));
}

fn forbidden_calls_are_only_logged_where_that_is_asked_for() {
    let kernel = KernelFeatures::here();
    for mode in ["log", "off"] {
        for (attempt, _) in attempts::CALLS {
            let (_folder, scene) = scene();
            let output = tried(mode, &scene, attempt);
            assert_eq!(output.status.signal(), None, "{mode} {attempt}: {output:?}");
        }
        // What is not of the filter is in force all the same.
        for attempt in ["run-a-program", "read-elsewhere"].iter().filter(|_| kernel.landlock.is_some()) {
            assert_eq!(outcome(mode, attempt), format!("errno {}", libc::EACCES), "{mode} {attempt}");
        }
    }
}

fn forbidden_files_are_out_of_reach() {
    for (attempt, _) in attempts::FILES {
        // It is the sandbox that refuses, and no mode of a file, except where one does so to everybody.
        let before = outcome("outside", attempt);
        assert!(before.starts_with("ok") || *attempt == "read-shadow", "{attempt}: {before}");
        assert_eq!(outcome("enforce", attempt), format!("errno {}", libc::EACCES), "{attempt}");
    }
}

fn what_the_daemon_does_is_let_through() {
    for (attempt, _) in attempts::HARMLESS {
        let said = outcome("enforce", attempt);
        assert!(said.starts_with("ok"), "{attempt}: {said}");
    }
    assert_eq!(outcome("enforce", "look-up-a-user"), "ok Some(0) true");
    assert_eq!(outcome("enforce", "read-policy-that-was-renewed"), "ok renewed");
    // As an older kernel would have answered.
    assert_eq!(outcome("enforce", "newer-call"), format!("ok {}", libc::ENOSYS));
    assert_eq!(outcome("enforce", "no-new-privileges"), "ok 1");
    assert_eq!(outcome("enforce", "core-limit"), "ok 0 0");
    let none = format!("ok {}", ["0000000000000000"; 4].join(" "));
    assert_eq!(outcome("enforce", "capabilities"), none);
    assert_eq!(outcome("enforce", "filter"), if KernelFeatures::here().filters() { "ok 2" } else { "ok 0" });
    assert_eq!(outcome("off", "filter"), "ok 0");
}

/// What the kernel refuses by itself, without a filter before it.
fn what_was_given_up_does_not_come_back() {
    for (attempt, _) in attempts::PRIVILEGED {
        if nix::unistd::geteuid().is_root() {
            assert!(outcome("outside", attempt).starts_with("ok"), "{attempt}");
        }
        assert_eq!(outcome("off", attempt), format!("errno {}", libc::EPERM), "{attempt}");
    }
}

/// A process that waits until its input ends.
struct Waiting(Child);

impl Waiting {
    fn start(mode: &str, scene: &Scene) -> Self {
        let mut command = command(mode, scene, "be-looked-at");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says something");
        assert_eq!(line, "ready\n");
        Waiting(child)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn nobody_of_the_same_user_looks_in() {
    let look = |mode: &str, attempt: &str| {
        let (_folder, scene) = scene();
        give_to_nobody(&scene.vault());
        let waiting = Waiting::start(mode, &scene);
        fs::write(scene.0.join("pid"), waiting.0.id().to_string()).unwrap();
        told(&tried("outside", &scene, attempt), attempt)
    };
    for (attempt, refused) in
        [("trace-it", libc::EPERM), ("read-its-memory", libc::EACCES), ("read-its-environment", libc::EACCES)]
    {
        assert!(look("outside", attempt).starts_with("ok"), "{attempt} is not refused to anybody on this host");
        assert_eq!(look("enforce", attempt), format!("errno {refused}"), "{attempt}");
    }
}

fn give_to_nobody(directory: &Path) {
    if nix::unistd::geteuid().is_root() {
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
}
