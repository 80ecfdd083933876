//! The configuration and the policies: whether every user of the host can change them.

use std::{collections::BTreeSet, path::PathBuf};

use super::{finding::Finding, finding_id::FindingId};
use crate::key_files::quoted;
use masker_config::{Config, is_open_to_all, policy_files};

const CHECK: &str = "files.modes";

/// Returns the files and directories of the configuration and of the policies that every user can change.
pub(super) fn gather(config: &Config) -> Vec<PathBuf> {
    let policies = policy_files(&config.policy.path).unwrap_or_default();
    let files = config.file.iter().chain([&config.policy.path]).chain(&policies);
    let paths: BTreeSet<PathBuf> =
        files.flat_map(|file| [Some(&**file), file.parent()]).flatten().map(Into::into).collect();
    // In a sticky directory, users cannot replace the files of others.
    let is_sticky = |path: &PathBuf| {
        let facts = super::files::PathStatus::at(path);
        facts.facts().is_some_and(|facts| facts.is_directory() && facts.mode & 0o1000 != 0)
    };
    paths.into_iter().filter(|path| is_open_to_all(path) && !is_sticky(path)).collect()
}

/// `files.modes`: not every user can change the configuration and the policies.
pub(super) fn judge(open: &[PathBuf]) -> Vec<Finding> {
    if open.is_empty() {
        return vec![Finding::ok(CHECK, "not every user can change the configuration and the policies")];
    }
    let finding = |path: &PathBuf| {
        let found = format!("every user of this host can change {}, and so who may do what", path.display());
        let remedy = format!("`chmod o-w {}`, as root or its owner; then compare it with what you wrote", quoted(path));
        Finding::error(CHECK, FindingId::FilesOpen, found, remedy)
    };
    open.iter().map(finding).collect()
}
