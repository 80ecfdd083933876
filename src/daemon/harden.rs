//! What the process refuses before it holds a secret: core dumps, being traced.

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};

/// Turns off core dumps and tracing by others of the same user, and raises the number of open files to what the
/// system allows. Returns what could not be done.
pub(super) fn harden() -> Vec<String> {
    let mut failed = Vec::new();
    // Both: the limit also holds for a core pattern that pipes, the attribute also keeps tracers and /proc/PID/mem away.
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        failed.push(format!("core dumps could not be limited to nothing: {error}"));
    }
    if let Err(error) = prctl::set_dumpable(false) {
        failed.push(format!("the process could not be made undumpable: {error}"));
    }
    let files = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = files {
        failed.push(format!("the number of open files could not be raised: {error}"));
    }
    failed
}
