//! What the process forbids itself.

use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
    },
    unistd::geteuid,
};
use tracing::warn;

/// Disables core dumps, tracing by other processes of the user, and new privileges. What fails is only logged: systemd's unit does
/// the same.
pub(crate) fn harden() {
    if geteuid().is_root() {
        warn!("runs as root, which it never needs: give it a user of its own, as its systemd unit does");
    }
    let steps = [
        ("disable core dumps", setrlimit(Resource::RLIMIT_CORE, 0, 0)),
        ("refuse to be traced", prctl::set_dumpable(false)),
        ("refuse new privileges", prctl::set_no_new_privs()),
        (
            "raise the limit on open files",
            getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most)),
        ),
    ];
    for (step, outcome) in steps {
        if let Err(error) = outcome {
            warn!(%error, step, "failed to restrict the process");
        }
    }
}
