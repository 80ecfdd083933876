//! Policies: whether they are valid, and whether each has its keys.

use std::collections::BTreeSet;

use super::{finding::Finding, finding_id::FindingId, keys::KeyFacts};
use masker_api::KeyList;
use masker_config::{Config, ConfigErrors, load_policies};
use masker_core::{keyring::Role, policy::PolicySet};
use masker_types::kind::Kid;

/// Loads the policies as the daemon would.
pub(super) fn gather(config: &Config) -> Result<PolicySet, ConfigErrors> {
    load_policies(&config.policy.path, config.policy.default.as_deref())
}

/// Returns the findings of every check of policies. `loaded` are the keys of a running daemon, if it has said so.
pub(super) fn judge(
    policies: &Result<PolicySet, ConfigErrors>,
    keys: &KeyFacts,
    loaded: Option<&KeyList>,
) -> Vec<Finding> {
    let policies = match policies {
        Ok(policies) => policies,
        Err(faults) => {
            let remedy = "correct it, and run `masker policy validate PATH`";
            return faults
                .iter()
                .map(|fault| Finding::error("policies.read", FindingId::PolicyInvalid, fault.to_string(), remedy))
                .collect();
        }
    };
    let mut findings = vec![Finding::ok("policies.read", format!("{} policies are valid", policies.len()))];
    findings.extend(policies.different_normalizers().into_iter().map(|found| {
        let remedy = "give the kind one normalizer in these policies, or its own kind or key id in one of them";
        Finding::warning("policies.normalizers", FindingId::PolicyNormalizers, found, remedy)
    }));
    findings.extend(match keys.has_place || keys.any() {
        false => vec![Finding::not_checked("policies.keys", "nothing says where the daemon's keys are", ENVIRONMENT)],
        true => kids(policies.kids(), &keys.kids(), &loaded_kids(loaded), keys.all_known()),
    });
    findings
}

/// Returns the key ids with an active key in the memory of a running daemon.
fn loaded_kids(loaded: Option<&KeyList>) -> BTreeSet<Kid> {
    let keys = loaded.into_iter().flat_map(|list| &list.keys);
    let active = keys.filter(|key| key.loaded && key.generation == Role::Active.as_str());
    active.filter_map(|key| Kid::parse(&key.kid)).collect()
}

/// How to provide the daemon's keys.
const ENVIRONMENT: &str = "run doctor as root, or with the variables that the daemon is started with (CREDENTIALS_DIRECTORY or MASKER_KEY_…_FILE)";

/// `policies.keys`: every key id that a policy names has a key, and a policy names every key. `loaded` are those of a running daemon,
/// and `all_known` says whether this user sees every key id that has a key.
fn kids<'p>(
    named: impl Iterator<Item = (&'p str, Kid)>,
    given: &BTreeSet<Kid>,
    loaded: &BTreeSet<Kid>,
    all_known: bool,
) -> Vec<Finding> {
    let named: BTreeSet<(&str, Kid)> = named.collect();
    let mut findings = Vec::new();
    for (policy, kid) in named.iter().filter(|(_, kid)| !given.contains(kid)) {
        if !all_known {
            let found = format!("the policy `{policy}` names the key {kid}, which this user does not see");
            findings.push(Finding::not_checked("policies.keys", found, ENVIRONMENT));
            continue;
        }
        let named = format!("the policy `{policy}` names the key {kid}");
        let (found, remedy) = match loaded.contains(kid) {
            true => (
                format!("{named}, which only the running daemon has, in its memory: the next start is refused"),
                format!(
                    "do not stop or restart the daemon, which loses this key; put the key {kid} back from its copy, where the other keys \
                     are, and nothing else in its place"
                ),
            ),
            false => (
                format!("{named}, which is not provided: the daemon will not start"),
                format!(
                    "put the key {kid} back from its copy, where the other keys are, and nothing else in its place. The page describes a \
                     new key id"
                ),
            ),
        };
        findings.push(Finding::error("policies.keys", FindingId::KeyMissing, found, remedy));
    }
    for kid in given.iter().filter(|kid| named.iter().all(|(_, named)| named != *kid)) {
        let found = format!("no policy names the key {kid}; it only opens tokens that were minted under it");
        let remedy = "keep it: its tokens may be in use. If a policy that names it is missing, put the policy back";
        findings.push(Finding::warning("policies.keys", FindingId::PolicyKeyUnused, found, remedy));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("policies.keys", "every key id that a policy names has a key"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn compares_key_ids_with_keys() {
        let kid = |name: &str| Kid::parse(name).unwrap();
        let all = |names: &[&str]| names.iter().map(|name| kid(name)).collect::<BTreeSet<_>>();
        let judged = |named: &[&str], given: &[&str], loaded: &[&str], all_known| {
            let named = named.iter().map(|name| ("p", kid(name)));
            kids(named, &all(given), &all(loaded), all_known)
        };
        let statuses = |named: &[&str], given: &[&str]| {
            judged(named, given, &[], true).iter().map(|finding| finding.status).collect::<Vec<_>>()
        };
        assert_eq!(statuses(&["K_A", "K_A"], &["K_A"]), [Severity::Ok]);
        assert_eq!(statuses(&["K_A", "K_B"], &["K_A"]), [Severity::Error]);
        assert_eq!(statuses(&["K_A"], &["K_A", "K_B"]), [Severity::Warning]);
        assert_eq!(statuses(&["K_A"], &[]), [Severity::Error]);
        let missing = judged(&["K_A", "K_B"], &[], &["K_A"], true);
        let of_memory: Vec<_> = missing.iter().map(|one| one.found.contains("only the running daemon has")).collect();
        assert_eq!(of_memory, [true, false], "a new policy has no key in memory: {missing:?}");
        assert!(missing.iter().all(|one| one.status == Severity::Error), "{missing:?}");
        assert_eq!(judged(&["K_A"], &[], &[], false)[0].status, Severity::NotChecked);
    }
}
