//! The source of the policies, and the keys that they need.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use tracing::warn;

use masker_config::{is_open_to_all, load_policies, policy_files};
use masker_core::policy::PolicySet;
use masker_types::kind::Kid;

/// The path of the policies, and the name of the default one.
pub(super) struct PolicySource {
    pub(super) path: PathBuf,
    pub(super) default: Option<String>,
}

impl PolicySource {
    /// Reads and validates the policies.
    ///
    /// # Errors
    /// A message for each problem of each file.
    pub(super) fn load(&self) -> Result<PolicySet, Vec<String>> {
        let files = policy_files(&self.path).unwrap_or_default();
        warn_if_open_to_all(files.iter().map(PathBuf::as_path).chain([self.path.as_path()]));
        load_policies(&self.path, self.default.as_deref()).map_err(|errors| {
            let hint = match self.path.exists() {
                true => "",
                false => "; `[policy] path` or MASKER_POLICY_PATH sets the directory of the policies",
            };
            errors.iter().map(|error| format!("{error}{hint}")).collect()
        })
    }
}

/// Logs which of these files and directories every user of the host can change.
pub(super) fn warn_if_open_to_all<'p>(paths: impl IntoIterator<Item = &'p Path>) {
    let paths: BTreeSet<&Path> = paths.into_iter().collect();
    for path in paths.into_iter().filter(|path| is_open_to_all(path)) {
        warn!("every user of this host can change {0}: run `chmod o-w {0}`", path.display());
    }
}

/// Returns a message for each kid that a policy names and that is not among `kids`, those of the loaded keys.
pub(super) fn policies_without_key(policies: &PolicySet, kids: &BTreeSet<Kid>) -> Vec<String> {
    let missing: BTreeSet<(&str, Kid)> = policies.kids().filter(|(_, kid)| !kids.contains(kid)).collect();
    let problem = |(policy, kid): (&str, Kid)| {
        format!(
            "the policy `{policy}` names the key {kid}, which is not loaded: put the key back from its copy where the \
             others are, or set MASKER_KEY_{kid}_FILE; `masker doctor` says more"
        )
    };
    missing.into_iter().map(problem).collect()
}

/// Returns the kids of `kids` that no policy names. A rotation may need their keys.
pub(super) fn unused_kids(policies: &PolicySet, kids: &BTreeSet<Kid>) -> Vec<Kid> {
    let named: BTreeSet<Kid> = policies.kids().map(|(_, kid)| kid).collect();
    kids.difference(&named).copied().collect()
}
