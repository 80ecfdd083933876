//! Starts a process for each attempt, and checks its outcome.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        net::{UnixDatagram, UnixListener},
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

/// Runs all checks.
pub fn run() {
    let kernel = KernelFeatures::here();
    println!("{kernel:?}");
    the_report_matches_the_kernel();
    the_daemons_own_operations_succeed();
    if kernel.filters() {
        forbidden_calls_kill();
        forbidden_calls_are_only_logged_if_configured();
        connections_are_refused();
    } else {
        println!("skipped: this kernel has no seccomp");
    }
    if kernel.landlock.is_some() {
        files_outside_are_denied();
    } else {
        println!("skipped: this kernel has no Landlock");
    }
    dropped_privileges_cannot_be_regained();
    processes_of_the_same_user_cannot_look_inside();
    println!("the sandbox holds: ok");
}

/// Creates the directory for one attempt, with the layout of an installation.
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
    // Replaces a file as an editor does.
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

fn attempt_in(mode: &str, scene: &Scene, attempt: &str) -> Output {
    command(mode, scene, attempt).stdin(Stdio::null()).output().expect("this program can be started")
}

/// Returns the outcome of an attempt that does not kill the process.
fn outcome(mode: &str, attempt: &str) -> String {
    let (_folder, scene) = scene();
    printed(&attempt_in(mode, &scene, attempt), attempt)
}

fn printed(output: &Output, attempt: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{attempt}: {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn the_report_matches_the_kernel() {
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
        let output = attempt_in("enforce", &scene, attempt);
        assert_eq!(output.status.signal(), Some(SIGSYS), "{attempt}: {output:?}");
        assert!(!output.status.core_dumped(), "{attempt}");
    }
    // The filter also applies to threads that started before it.
    let (_folder, scene) = scene();
    assert_eq!(attempt_in("enforce", &scene, "thread-before").status.signal(), Some(SIGSYS));
}

fn forbidden_calls_are_only_logged_if_configured() {
    let kernel = KernelFeatures::here();
    for mode in ["log", "off"] {
        for (attempt, _) in attempts::CALLS {
            let (_folder, scene) = scene();
            let output = attempt_in(mode, &scene, attempt);
            assert_eq!(output.status.signal(), None, "{mode} {attempt}: {output:?}");
        }
        // The rest of the sandbox is in force all the same.
        for attempt in ["run-a-program", "read-elsewhere"].iter().filter(|_| kernel.landlock.is_some()) {
            assert_eq!(outcome(mode, attempt), format!("errno {}", libc::EACCES), "{mode} {attempt}");
        }
    }
}

fn connections_are_refused() {
    for (attempt, _) in attempts::CONNECTIONS {
        let connect = |mode| {
            let (_folder, scene) = scene();
            let _streams = ["elsewhere/stream", "run/listening"].map(|path| UnixListener::bind(scene.0.join(path)));
            let _datagrams = UnixDatagram::bind(scene.0.join("elsewhere/datagrams")).unwrap();
            printed(&attempt_in(mode, &scene, attempt), attempt)
        };
        assert_eq!(connect("enforce"), format!("errno {}", libc::EACCES), "{attempt}");
        for mode in ["outside", "log", "off"] {
            assert_eq!(connect(mode), "ok", "{attempt} {mode}: nothing else denies it");
        }
    }
}

fn files_outside_are_denied() {
    for (attempt, _) in attempts::FILES {
        // Without the sandbox the attempt succeeds, unless the file's mode denies it.
        let before = outcome("outside", attempt);
        assert!(before.starts_with("ok") || *attempt == "read-shadow", "{attempt}: {before}");
        assert_eq!(outcome("enforce", attempt), format!("errno {}", libc::EACCES), "{attempt}");
    }
}

fn the_daemons_own_operations_succeed() {
    for (attempt, _) in attempts::HARMLESS {
        let outcome = outcome("enforce", attempt);
        assert!(outcome.starts_with("ok"), "{attempt}: {outcome}");
    }
    assert_eq!(outcome("enforce", "look-up-a-user"), "ok Some(0) true");
    assert_eq!(outcome("enforce", "read-policy-that-was-renewed"), "ok renewed");
    // The answer of an older kernel.
    assert_eq!(outcome("enforce", "newer-call"), format!("ok {}", libc::ENOSYS));
    assert_eq!(outcome("enforce", "no-new-privileges"), "ok 1");
    assert_eq!(outcome("enforce", "core-limit"), "ok 0 0");
    let none = format!("ok {}", ["0000000000000000"; 4].join(" "));
    assert_eq!(outcome("enforce", "capabilities"), none);
    assert_eq!(outcome("enforce", "filter"), if KernelFeatures::here().filters() { "ok 2" } else { "ok 0" });
    assert_eq!(outcome("off", "filter"), "ok 0");
}

/// The kernel denies these without the filter.
fn dropped_privileges_cannot_be_regained() {
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
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("the child writes a line");
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

fn processes_of_the_same_user_cannot_look_inside() {
    let look = |mode: &str, attempt: &str| {
        let (_folder, scene) = scene();
        give_to_nobody(&scene.vault());
        let waiting = Waiting::start(mode, &scene);
        fs::write(scene.0.join("pid"), waiting.0.id().to_string()).unwrap();
        printed(&attempt_in("outside", &scene, attempt), attempt)
    };
    for (attempt, refused) in
        [("trace-it", libc::EPERM), ("read-its-memory", libc::EACCES), ("read-its-environment", libc::EACCES)]
    {
        assert!(look("outside", attempt).starts_with("ok"), "{attempt} succeeds without the sandbox on this host");
        assert_eq!(look("enforce", attempt), format!("errno {refused}"), "{attempt}");
    }
}

fn give_to_nobody(directory: &Path) {
    if nix::unistd::geteuid().is_root() {
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
}
