//! What the process refuses as a whole: core dumps, being traced, privileges.

use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
    },
};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::report::MechanismState;

/// No core dumps. The limit also holds for a core pattern that pipes.
pub(super) fn refuse_core_dumps() -> MechanismState {
    outcome(setrlimit(Resource::RLIMIT_CORE, 0, 0), "refused", "core dumps could not be limited to nothing")
}

/// No tracers, and no `/proc/PID/mem`, for other processes of the same user.
pub(super) fn refuse_tracing() -> MechanismState {
    outcome(prctl::set_dumpable(false), "refused", "the process could not be made undumpable")
}

/// No privileges by a program with a set-user-ID bit; Landlock and seccomp ask for that, too.
pub(super) fn refuse_new_privileges() -> MechanismState {
    outcome(prctl::set_no_new_privs(), "refused", "new privileges could not be refused")
}

/// Takes every capability from the calling thread, and those that it starts, for good.
pub(super) fn drop_capabilities() -> MechanismState {
    // The bounding set first: shrinking it takes a capability. Whoever has none has nothing to gain by it either, for new
    // privileges are refused.
    for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => break,
            Err(error) => return MechanismState::Degraded(format!("capabilities could not be bounded: {error}")),
        }
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // Whoever has none may be forbidden to ask, as by a unit's filter of calls. Ambient ones go with the permitted ones.
    let dropped = match rustix::thread::capabilities(None) {
        Ok(held) if held == none => Ok(()),
        _ => rustix::thread::set_capabilities(None, none),
    };
    outcome(dropped, "none", "capabilities could not be dropped")
}

/// Raises the number of open files, and of bytes that may be locked, to what the system allows. Returns what failed.
pub(super) fn raise_limits() -> Vec<String> {
    let to_hard = |resource| getrlimit(resource).and_then(|(_, most)| setrlimit(resource, most, most));
    let mut failed = Vec::new();
    if let Err(error) = to_hard(Resource::RLIMIT_NOFILE) {
        failed.push(format!("the number of open files could not be raised: {error}"));
    }
    // Root locks as much as it likes, until it has no capabilities: keys of a reload must find room then.
    let locked = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if let Err(error) = locked.or_else(|_: Errno| to_hard(Resource::RLIMIT_MEMLOCK)) {
        failed.push(format!("the number of locked bytes could not be raised: {error}"));
    }
    failed
}

fn outcome<T, E: std::fmt::Display>(done: Result<T, E>, active: &str, failed: &str) -> MechanismState {
    match done {
        Ok(_) => MechanismState::Active(active.to_owned()),
        Err(error) => MechanismState::Degraded(format!("{failed}: {error}")),
    }
}
