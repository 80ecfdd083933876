//! Checks of a path: whether it can be examined, and whether a directory belongs to the daemon alone.

use std::path::Path;

use super::{
    files::{self, PathStatus},
    finding::{Finding, look_as},
    finding_id::FindingId,
    units::ServiceUser,
};
use crate::key_files::quoted;

/// Returns the finding of a path that this user cannot examine.
pub(super) fn hidden(id: &'static str, path: &Path, why: &str) -> Finding {
    Finding::not_checked(id, format!("failed to examine {}: {why}", path.display()), look_as())
}

/// Checks that a directory belongs to the daemon alone: its owner and its mode. `unit_mode` is the mode that systemd gives it with each
/// start, if the unit says so.
pub(super) fn own_directory(
    id: &'static str,
    path: &Path,
    status: &PathStatus,
    runs_as: &ServiceUser,
    unit_mode: Option<u32>,
) -> Finding {
    let shown = path.display();
    let facts = match status {
        PathStatus::Missing => {
            return Finding::ok(id, format!("{shown} does not exist yet: the first start creates it"));
        }
        PathStatus::Hidden(why) => return hidden(id, path, why),
        PathStatus::Present(facts) => facts,
    };
    if !facts.is_directory() {
        let remedy = format!(
            "look at what it is, then `mv --no-clobber {0} {0}.found`, or configure another path",
            quoted(path)
        );
        return Finding::error(id, FindingId::NotADirectory, format!("{shown} is not a directory"), remedy);
    }
    if let Err((found, remedy)) = runs_as.owns(path, facts) {
        return match runs_as.is_default_user {
            false => Finding::error(id, FindingId::DirectoryOwner, found, remedy),
            // Root can start the daemon as any user, and another user is perhaps not the one who starts it.
            true if runs_as.uid == 0 => Finding::warning(id, FindingId::DirectoryOwner, found, remedy),
            true => Finding::not_checked(id, found, remedy),
        };
    }
    let mode = facts.mode;
    // A start after systemd has given it a mode that others can write to is refused.
    match unit_mode.filter(|unit_mode| unit_mode & 0o022 == 0) {
        Some(unit_mode) if mode == unit_mode => {
            return Finding::ok(id, format!("{shown} has mode {mode:04o}, as its unit sets it"));
        }
        Some(unit_mode) if mode & 0o077 != 0 => {
            let found = format!(
                "{shown} has mode {mode:04o}: other users can enter it, until systemd sets its mode to {unit_mode:04o} with the next start"
            );
            let remedy = format!("chmod {unit_mode:04o} {}", quoted(path));
            return Finding::warning(id, FindingId::DirectoryOpen, found, remedy);
        }
        _ => {}
    }
    if mode & 0o022 != 0 {
        let found = format!("{shown} has mode {mode:04o}: other users can write to it, and the daemon will not start");
        return Finding::error(id, FindingId::DirectoryOpen, found, format!("chmod 0700 {}", quoted(path)));
    }
    if mode & 0o055 != 0 {
        let found = format!("{shown} has mode {mode:04o}: other users can list its files");
        return Finding::warning(id, FindingId::DirectoryOpen, found, format!("chmod 0700 {}", quoted(path)));
    }
    Finding::ok(id, format!("only {} can access {shown}", files::user_name(facts.uid)))
}
