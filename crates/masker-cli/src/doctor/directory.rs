//! Checks of a path: whether it can be examined, and whether a directory belongs to the daemon alone.

use std::path::Path;

use super::{
    files::{self, PathStatus},
    finding::Finding,
    units::ServiceUser,
};

/// Returns the warning for a path that this user cannot examine.
pub(super) fn hidden(id: &'static str, path: &Path, why: &str) -> Finding {
    Finding::warning(
        id,
        format!("failed to examine {}: {why}", path.display()),
        "run doctor as root, or as the daemon's user",
    )
}

/// Checks that a directory belongs to the daemon alone: its owner and its mode.
pub(super) fn own_directory(id: &'static str, path: &Path, status: &PathStatus, runs_as: &ServiceUser) -> Finding {
    let shown = path.display();
    let facts = match status {
        PathStatus::Missing => {
            return Finding::ok(id, format!("{shown} does not exist yet: the first start creates it"));
        }
        PathStatus::Hidden(why) => return hidden(id, path, why),
        PathStatus::Present(facts) => facts,
    };
    if !facts.is_directory() {
        return Finding::error(id, format!("{shown} is not a directory"), "move it away, or configure another path");
    }
    if let Err((found, remedy)) = runs_as.owns(path, facts) {
        // Without a unit, root can start the daemon as any user.
        return if runs_as.is_default_user {
            Finding::warning(id, found, remedy)
        } else {
            Finding::error(id, found, remedy)
        };
    }
    let mode = facts.mode;
    if mode & 0o022 != 0 {
        let found = format!("{shown} has mode {mode:04o}: other users can write to it, and the daemon will not start");
        return Finding::error(id, found, format!("chmod 0700 {shown}"));
    }
    if mode & 0o055 != 0 {
        let found = format!("{shown} has mode {mode:04o}: other users can list its files");
        return Finding::warning(id, found, format!("chmod 0700 {shown}"));
    }
    Finding::ok(id, format!("only {} can access {shown}", files::user_name(facts.uid)))
}
