//! Where policies come from, and what they need.

use std::{collections::BTreeSet, path::PathBuf};

use masker_config::load_policies;
use masker_core::policy::PolicySet;
use masker_types::kind::Kid;

/// Where the policies come from.
pub(super) struct PolicySource {
    pub(super) path: PathBuf,
    pub(super) default: Option<String>,
}

impl PolicySource {
    /// Reads and validates them.
    ///
    /// # Errors
    /// Every problem of every file.
    pub(super) fn load(&self) -> Result<PolicySet, Vec<String>> {
        load_policies(&self.path, self.default.as_deref())
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }
}

/// What is wrong with policies where these are the kids whose keys are loaded: every kid that a policy names and that has
/// no key.
pub(super) fn policies_without_key(policies: &PolicySet, kids: &BTreeSet<Kid>) -> Vec<String> {
    let missing: BTreeSet<(&str, Kid)> = policies.kids().filter(|(_, kid)| !kids.contains(kid)).collect();
    let problem = |(policy, kid): (&str, Kid)| {
        format!(
            "the policy `{policy}` names the key {kid}, which is not loaded: set MASKER_KEY_{kid} \
             (`masker keys generate --kid {kid}` makes one), or take the kid out of the policy"
        )
    };
    missing.into_iter().map(problem).collect()
}

/// The kids whose keys are loaded and that no policy names: a rotation may need them.
pub(super) fn unnamed(policies: &PolicySet, kids: &BTreeSet<Kid>) -> Vec<Kid> {
    let named: BTreeSet<Kid> = policies.kids().map(|(_, kid)| kid).collect();
    kids.difference(&named).copied().collect()
}
