//! Restrictions of the whole process: core dumps, tracing, privileges.

use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
    },
};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::report::MechanismState;

/// Disables core dumps. The limit also applies to a core pattern that pipes to a program.
pub(super) fn refuse_core_dumps() -> MechanismState {
    state(setrlimit(Resource::RLIMIT_CORE, 0, 0), "refused", "failed to disable core dumps")
}

/// Denies tracing and `/proc/PID/mem` to other processes of the same user.
pub(super) fn refuse_tracing() -> MechanismState {
    state(prctl::set_dumpable(false), "refused", "failed to make the process undumpable")
}

/// Denies new privileges, as by a set-user-ID program. Landlock and seccomp require this too.
pub(super) fn refuse_new_privileges() -> MechanismState {
    state(prctl::set_no_new_privs(), "refused", "failed to refuse new privileges")
}

/// Drops all capabilities of the calling thread, and of those that it starts, permanently.
pub(super) fn drop_capabilities() -> MechanismState {
    // The bounding set first, because shrinking it requires a capability. Without that capability it need not shrink:
    // new privileges are refused.
    for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => break,
            Err(error) => return MechanismState::Degraded(format!("failed to bound capabilities: {error}")),
        }
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // Setting them may be forbidden, as by a unit's system call filter, so it is skipped if there are none. Ambient
    // capabilities are dropped with the permitted ones.
    let dropped = match rustix::thread::capabilities(None) {
        Ok(held) if held == none => Ok(()),
        _ => rustix::thread::set_capabilities(None, none),
    };
    state(dropped, "none", "failed to drop capabilities")
}

/// Raises the limits on open files and locked memory as far as the system allows. Returns a message for each failure.
pub(super) fn raise_limits() -> Vec<String> {
    let to_hard = |resource| getrlimit(resource).and_then(|(_, most)| setrlimit(resource, most, most));
    let mut failed = Vec::new();
    if let Err(error) = to_hard(Resource::RLIMIT_NOFILE) {
        failed.push(format!("failed to raise the limit on open files: {error}"));
    }
    // Root can lock any amount, but only while it has capabilities, and a reload must lock new keys after that.
    let locked = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if let Err(error) = locked.or_else(|_: Errno| to_hard(Resource::RLIMIT_MEMLOCK)) {
        failed.push(format!("failed to raise the limit on locked memory: {error}"));
    }
    failed
}

fn state<T, E: std::fmt::Display>(result: Result<T, E>, active: &str, failed: &str) -> MechanismState {
    match result {
        Ok(_) => MechanismState::Active(active.to_owned()),
        Err(error) => MechanismState::Degraded(format!("{failed}: {error}")),
    }
}
