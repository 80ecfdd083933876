//! The accessible paths, enforced by Landlock (landlock(7)): the daemon's own, and those of the host that it reads.
//!
//! A Landlock rule applies to the file that existed when the rule was made. Editors, `useradd` and deployments replace
//! files by renaming, so a rule names the directory of a file where that does not allow too much.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::unistd::geteuid;

use super::report::MechanismState;
use masker_config::replaceable;

/// The Landlock version that this is written for. Older kernels enforce the part that they support.
const ABI_KNOWN: ABI = ABI::V6;

/// Files about users and groups that a daemon of root reads; none contains a secret. A daemon of another user may read
/// what the modes of `/etc` allow, and so sees users that are added later.
const USERS_OF_ROOT: [&str; 5] =
    ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/localtime"];

/// Other sources of users and groups (nss(5)), and the libraries that read them, which are loaded at the first lookup.
const USERS: [&str; 8] = [
    "/run/systemd/userdb",
    "/run/host/userdb",
    "/var/lib/extrausers",
    "/var/lib/sss/mc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];

/// Files of the system: the units of callers (`/proc/PID/cgroup`), the daemon's own statistics, processors and their
/// quotas, random numbers. Landlock hides the files of other processes that require the
/// right to trace them.
const SYSTEM: [&str; 6] =
    ["/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/dev/urandom", "/dev/random", "/dev/null"];

/// The paths that the daemon needs after its start.
#[derive(Clone, Debug, Default)]
pub struct SandboxPaths {
    /// The daemon's own directories, which it writes to: the vault and the audit log.
    pub own: Vec<PathBuf>,
    /// Files, and directories with their content, that a reload reads.
    pub read: Vec<PathBuf>,
    /// The file of the socket, which the daemon removes when it stops.
    pub socket: Option<PathBuf>,
}

/// Denies all other paths to the calling thread and to those that it starts.
pub(super) fn confine(paths: &SandboxPaths) -> MechanismState {
    match restrict(paths) {
        Ok(status) => state(&status),
        Err(problem) => MechanismState::Degraded(problem),
    }
}

/// Returns the kernel's version of Landlock; `None` if it has none.
fn abi(status: &RestrictionStatus) -> Option<i32> {
    match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => Some(kernel_abi.unwrap_or(effective_abi as i32)),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    }
}

fn state(status: &RestrictionStatus) -> MechanismState {
    match (&status.ruleset, abi(status)) {
        (RulesetStatus::FullyEnforced, Some(abi)) => MechanismState::Active(format!("version {abi}")),
        (RulesetStatus::PartiallyEnforced, Some(abi)) => MechanismState::Degraded(format!(
            "this kernel has version {abi} of Landlock, but only version {} enforces everything (Linux 6.12)",
            ABI_KNOWN as i32
        )),
        _ => MechanismState::Degraded(
            "this kernel has no Landlock (it requires Linux 5.13), or `lsm=` on its command line omits it".into(),
        ),
    }
}

fn restrict(paths: &SandboxPaths) -> Result<RestrictionStatus, String> {
    let refused = |error: RulesetError| format!("failed to set up Landlock: {error}");
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI_KNOWN))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI_KNOWN)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI_KNOWN)))
        .and_then(Ruleset::create)
        .map_err(refused)?;
    for directory in &paths.own {
        // Without its directories the daemon does not start anyway, with a better message than this one.
        let failed = |error: &dyn std::fmt::Display| format!("failed to allow {}: {error}", directory.display());
        masker_files::create_durably(directory).map_err(|error| failed(&error))?;
        let opened = PathFd::new(directory).map_err(|error| failed(&error))?;
        rules = rules.add_rule(PathBeneath::new(opened, own())).map_err(refused)?;
    }
    for path in paths.read.iter().flat_map(|path| replaceable(path)) {
        rules = allow(rules, &path, AccessFs::ReadFile | AccessFs::ReadDir).map_err(refused)?;
    }
    if let Some(directory) = paths.socket.as_deref().and_then(Path::parent) {
        rules = allow(rules, directory, AccessFs::RemoveFile.into()).map_err(refused)?;
    }
    let users: &[&str] = if geteuid().is_root() { &USERS_OF_ROOT } else { &["/etc"] };
    for path in [users, &USERS, &SYSTEM].concat() {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::ReadDir).map_err(refused)?;
    }
    rules.restrict_self().map_err(refused)
}

/// Returns the access to the daemon's own directories: everything but executing files and creating special ones.
fn own() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

/// Allows access to a path if it exists.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI_KNOWN) };
    rules.add_rule(PathBeneath::new(opened, access))
}
