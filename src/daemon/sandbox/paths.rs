//! The paths that are within reach, held by Landlock (landlock(7)): the daemon's own, and what it reads of the host.
//!
//! Landlock knows a path by what was there when the rule was made. Files are replaced by renaming, by editors, by
//! `useradd`, by whoever lays new keys; so a rule is about the directory that a file is in, where that says no more than
//! it should.

use std::{
    env, fs,
    os::unix::ffi::OsStrExt,
    path::{self, Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::unistd::geteuid;

use super::report::MechanismState;

/// The Landlock that all of this is written for; older kernels hold what they know of it.
const ABI_KNOWN: ABI = ABI::V6;

/// What is known of users and groups, where root reads it: files that nobody else has a secret in. Everybody else reads
/// what the modes of `/etc` let him, and so sees users who are added later.
const USERS_OF_ROOT: [&str; 5] =
    ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/localtime"];

/// Where else users and groups are looked up (nss(5)), and the libraries that do so, which are loaded when first needed.
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

/// What is read of the system: who calls (`/proc/PID/cgroup`) and what the daemon itself takes, processors and their
/// quotas, random numbers. Of the processes of others Landlock hides what a tracer alone may see.
const SYSTEM: [&str; 6] =
    ["/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/dev/urandom", "/dev/random", "/dev/null"];

/// The paths that a daemon needs once it has started.
#[derive(Clone, Debug, Default)]
pub struct SandboxPaths {
    /// Directories that are the daemon's own: the vault and the audit log.
    pub own: Vec<PathBuf>,
    /// What is read again on a reload: files, and directories with all that is in them.
    pub read: Vec<PathBuf>,
    /// A socket's file, which is removed at the end.
    pub socket: Option<PathBuf>,
}

/// Puts everything else out of the reach of the calling thread and of those that it starts.
pub(super) fn confine(places: &SandboxPaths) -> MechanismState {
    match restrict(places) {
        Ok(status) => outcome(&status),
        Err(problem) => MechanismState::Degraded(problem),
    }
}

/// The kernel's version of Landlock; `None` where it has none.
fn abi(status: &RestrictionStatus) -> Option<i32> {
    match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => Some(kernel_abi.unwrap_or(effective_abi as i32)),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    }
}

fn outcome(status: &RestrictionStatus) -> MechanismState {
    match (&status.ruleset, abi(status)) {
        (RulesetStatus::FullyEnforced, Some(abi)) => MechanismState::Active(format!("version {abi}")),
        (RulesetStatus::PartiallyEnforced, Some(abi)) => MechanismState::Degraded(format!(
            "this kernel has version {abi} of Landlock, and version {} holds all of it (Linux 6.12)",
            ABI_KNOWN as i32
        )),
        _ => MechanismState::Degraded(
            "this kernel has no Landlock, or `lsm=` on its command line leaves it out (Linux 5.13 and later)".into(),
        ),
    }
}

fn restrict(places: &SandboxPaths) -> Result<RestrictionStatus, String> {
    let refused = |error: RulesetError| format!("Landlock refused: {error}");
    // An abstract socket would be out of reach, and the service manager's may be one.
    let scope = match env::var_os("NOTIFY_SOCKET") {
        Some(path) if path.as_bytes().starts_with(b"@") => Scope::Signal.into(),
        _ => Scope::from_all(ABI_KNOWN),
    };
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI_KNOWN))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI_KNOWN)))
        .and_then(|rules| rules.scope(scope))
        .and_then(Ruleset::create)
        .map_err(refused)?;
    for directory in &places.own {
        // Without its directories a daemon does not start; it says so better than a rule that could not be made.
        let failed = |error: &dyn std::fmt::Display| format!("{} cannot be allowed: {error}", directory.display());
        masker_files::create_durably(directory).map_err(|error| failed(&error))?;
        let opened = PathFd::new(directory).map_err(|error| failed(&error))?;
        rules = rules.add_rule(PathBeneath::new(opened, own())).map_err(refused)?;
    }
    for path in places.read.iter().flat_map(|path| replaced_files_in(path)) {
        rules = allow(rules, &path, AccessFs::ReadFile | AccessFs::ReadDir).map_err(refused)?;
    }
    if let Some(directory) = places.socket.as_deref().and_then(Path::parent) {
        rules = allow(rules, directory, AccessFs::RemoveFile.into()).map_err(refused)?;
    }
    let users: &[&str] = if geteuid().is_root() { &USERS_OF_ROOT } else { &["/etc"] };
    for path in [users, &USERS, &SYSTEM].concat() {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::ReadDir).map_err(refused)?;
    }
    rules.restrict_self().map_err(refused)
}

/// Everything that one does with files and directories of one's own; nothing is run there, and nothing special is made.
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

/// Allows what is there; what is not needs no rule.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI_KNOWN) };
    rules.add_rule(PathBeneath::new(opened, access))
}

/// Where a path is found that is read again after somebody has renewed it: a directory itself, and the directory that a
/// file is in, also the one that a link leads to. Where that would be the root of everything, it is the file alone.
fn replaced_files_in(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        return vec![path.to_owned()];
    }
    let directory = |path: PathBuf| match path.parent() {
        Some(above) if above.parent().is_some() => above.to_owned(),
        _ => path,
    };
    let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = fs::canonicalize(path).unwrap_or_else(|_| absolute.clone());
    vec![directory(absolute), directory(real)]
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_renewed_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        fs::write(root.join("elsewhere/key"), "").unwrap();
        symlink(root.join("elsewhere/key"), root.join("key")).unwrap();
        assert_eq!(replaced_files_in(&root), std::slice::from_ref(&root));
        assert_eq!(replaced_files_in(&root.join("key")), [root.clone(), root.join("elsewhere")]);
        // One that is not there yet.
        assert_eq!(replaced_files_in(&root.join("old")), [root.clone(), root.clone()]);
        // The root is no directory to allow for one file.
        let top = Path::new("/masker-no-such-file.toml");
        assert_eq!(replaced_files_in(top), [top, top]);
    }
}
