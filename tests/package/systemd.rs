//! The systemd units, checked by systemd in a root directory with the binary.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The highest exposure that `systemd-analyze security` may report, in tenths: 0 is the best, 100 the worst.
const EXPOSURE_TENTHS_MAX: &str = "5";
/// The same for the gateway, which has a network.
const GATEWAY_EXPOSURE_TENTHS_MAX: &str = "13";

/// The units of the package.
const UNITS: [&str; 5] =
    ["masker.service", "masker.socket", "masker-backup.service", "masker-backup.timer", "masker-gateway.service"];

/// A root directory with the binary, the units, and the targets that they depend on.
struct Root(tempfile::TempDir);

impl Root {
    /// Creates it. Returns `None`, with the reason on standard error, if systemd is not installed; CI must have it.
    fn new() -> Option<Self> {
        let missing = Command::new("systemd-analyze").arg("--version").output().err();
        if let Some(missing) = missing {
            assert!(std::env::var_os("CI").is_none(), "systemd-analyze does not run: {missing}");
            eprintln!("skipped: systemd-analyze does not run here ({missing}); `make deps` installs it");
            return None;
        }
        // On the binary's file system, so that it can be linked instead of copied.
        let root = Root(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        for directory in ["usr/bin", "usr/lib/systemd/system", "etc/systemd/system"] {
            fs::create_dir_all(root.path(directory)).unwrap();
        }
        std::os::unix::fs::symlink("usr/bin", root.path("bin")).unwrap();
        // systemd only checks that the programs can be executed.
        for program in ["masker", "masker-gateway"] {
            fs::hard_link(env!("CARGO_BIN_EXE_masker"), root.path("usr/bin").join(program)).unwrap();
        }
        for program in ["kill", "systemctl"] {
            fs::copy(Path::new("/bin").join(program), root.path("usr/bin").join(program)).unwrap();
        }
        let targets = ["/usr/lib/systemd/system", "/lib/systemd/system"].map(Path::new);
        let targets =
            targets.iter().find(|path| path.join("sysinit.target").is_file()).expect("systemd has its targets");
        for entry in fs::read_dir(targets).unwrap() {
            let unit = entry.unwrap().path();
            if unit.extension().is_some_and(|extension| extension == "target" || extension == "slice") {
                fs::copy(&unit, root.path("usr/lib/systemd/system").join(unit.file_name().unwrap())).unwrap();
            }
        }
        for unit in UNITS {
            root.install(unit, &shipped(unit));
        }
        Some(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn install(&self, unit: &str, text: &str) {
        fs::write(self.path("etc/systemd/system").join(unit), text).unwrap();
    }

    fn analyze(&self, arguments: &[&str]) -> Output {
        let root = format!("--root={}", self.0.path().display());
        Command::new("systemd-analyze").args(arguments).arg(root).output().unwrap()
    }

    /// Returns the problems that systemd finds in the units, or an empty string. Unknown settings
    /// cause a warning and the exit status 0, so the output counts too.
    fn problems(&self) -> String {
        let output = self.analyze(&[&["verify", "--man=no"][..], &UNITS].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { text } else { format!("{text}({})", output.status) }
    }
}

fn shipped(unit: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit)).unwrap()
}

#[test]
fn systemd_verifies_the_units() {
    let Some(root) = Root::new() else { return };
    assert_eq!(root.problems(), "");

    // The check can fail: a misspelt setting, a malformed value, a missing binary.
    let service = shipped("masker.service");
    for (from, to, expected) in [
        ("UMask=0077", "UMaks=0077", "Unknown key"),
        ("PrivateTmp=yes", "PrivateTmp=perhaps", "Failed to parse boolean"),
        ("ExecStart=/usr/bin/masker", "ExecStart=/usr/bin/maskr", "is not executable"),
    ] {
        assert!(service.contains(from), "{from}");
        root.install("masker.service", &service.replace(from, to));
        let problems = root.problems();
        assert!(problems.contains(expected), "{to}: {problems}");
    }
}

#[test]
fn the_exposure_of_the_services_does_not_grow() {
    let Some(root) = Root::new() else { return };
    for (unit, max, strict) in [
        ("masker.service", EXPOSURE_TENTHS_MAX, "PrivateNetwork=yes"),
        ("masker-backup.service", EXPOSURE_TENTHS_MAX, "PrivateNetwork=yes"),
        ("masker-gateway.service", GATEWAY_EXPOSURE_TENTHS_MAX, "PrivateDevices=yes"),
    ] {
        let analyze = || {
            let threshold = format!("--threshold={max}");
            root.analyze(&["security", "--offline=true", "--no-pager", &threshold, unit])
        };
        let output = analyze();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

        let service = shipped(unit);
        let loose = service.replace(strict, "").replace("NoNewPrivileges=yes", "NoNewPrivileges=no");
        assert_ne!(loose, service);
        root.install(unit, &loose);
        assert!(!analyze().status.success(), "a looser sandbox was not noticed");
    }
}

#[test]
fn the_shipped_configuration_contains_only_defaults() {
    use masker_config::{CommandLineOptions, Config, Environment, HostEnvironment};

    let environment: Environment = [].into_iter().collect();
    let host = HostEnvironment {
        environment: &environment,
        uid: 0,
        current_dir: Path::new("/nowhere"),
        system_dir: Path::new("/etc/masker"),
        log_is_terminal: false,
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/masker.toml");
    let mut written = Config::load(CommandLineOptions { config: Some(&file), socket: None }, host).unwrap();
    assert_eq!(written.file.take(), Some(file.clone()));
    // The only setting that differs from its default.
    assert_eq!(written.server.socket_group.take().as_deref(), Some("masker"));
    let missing = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/nothing.toml");
    assert!(
        Config::load(CommandLineOptions { config: Some(&missing), socket: None }, host).is_err(),
        "a file that is named must exist"
    );
    let defaults = Config::load(CommandLineOptions { config: None, socket: None }, host).unwrap();
    assert_eq!(written, defaults);

    // Each setting is in the file, if only commented out.
    let text = fs::read_to_string(&file).unwrap();
    for setting in [
        "socket",
        "socket_mode",
        "socket_group",
        "head_timeout_seconds",
        "body_timeout_seconds",
        "write_timeout_seconds",
        "data_dir",
        "engine",
        "cache_mb",
        "path",
        "default",
        "grace_days",
        "grace_action",
        "landlock",
        "seccomp",
        "level",
        "format",
    ] {
        let written = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{setting} = ")));
        assert!(written, "{setting} is missing");
    }
}
