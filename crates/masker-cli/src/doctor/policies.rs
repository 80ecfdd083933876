//! Policies: whether they are valid, and whether each has its keys.

use std::collections::BTreeSet;

use super::{finding::Finding, finding_id::FindingId, keys::KeyFacts};
use masker_config::{Config, ConfigErrors, load_policies};
use masker_core::policy::PolicySet;
use masker_types::kind::Kid;

/// Loads the policies as the daemon would.
pub(super) fn gather(config: &Config) -> Result<PolicySet, ConfigErrors> {
    load_policies(&config.policy.path, config.policy.default.as_deref())
}

/// Returns the findings of every check of policies. `has_place` says whether it is known where the keys are. A running daemon has its keys, so they need not be
/// known here.
pub(super) fn judge(
    policies: &Result<PolicySet, ConfigErrors>,
    keys: &KeyFacts,
    serving: bool,
    has_place: bool,
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
    let no_key = !keys.any() && keys.missing.is_empty();
    findings.extend(match no_key {
        true if serving || !has_place => {
            vec![Finding::not_checked("policies.keys", "nothing says where the daemon's keys are", ENVIRONMENT)]
        }
        _ => kids(policies.kids(), &keys.kids(), serving, keys.all_known()),
    });
    findings
}

/// How to provide the daemon's keys.
const ENVIRONMENT: &str = "run doctor as root, or with the variables that the daemon is started with (CREDENTIALS_DIRECTORY or MASKER_KEY_…_FILE)";

/// `policies.keys`: every key id that a policy names has a key, and a policy names every key. `all_known` says whether this user
/// sees every key id that has one.
fn kids<'p>(
    named: impl Iterator<Item = (&'p str, Kid)>,
    given: &BTreeSet<Kid>,
    serving: bool,
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
        if serving {
            let found = format!(
                "the policy `{policy}` names the key {kid}, which is not provided here; the running daemon has its own, but may not start again"
            );
            let remedy = format!(
                "if its file is missing, put it back from its copy before the next restart. If it is elsewhere, {ENVIRONMENT}"
            );
            findings.push(Finding::warning("policies.keys", FindingId::KeyMissing, found, remedy));
            continue;
        }
        let found =
            format!("the policy `{policy}` names the key {kid}, which is not provided: the daemon will not start");
        let remedy = format!(
            "put the key {kid} back from its copy, where the other keys are, and nothing else in its place. The page describes a new \
             key id"
        );
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
        let judged = |named: &[&str], given: &[&str], serving, all_known| {
            let named = named.iter().map(|name| ("p", kid(name)));
            let findings = kids(named, &given.iter().map(|name| kid(name)).collect(), serving, all_known);
            findings.iter().map(|finding| finding.status).collect::<Vec<_>>()
        };
        let statuses = |named: &[&str], given: &[&str]| judged(named, given, false, true);
        assert_eq!(statuses(&["K_A", "K_A"], &["K_A"]), [Severity::Ok]);
        assert_eq!(statuses(&["K_A", "K_B"], &["K_A"]), [Severity::Error]);
        assert_eq!(statuses(&["K_A"], &["K_A", "K_B"]), [Severity::Warning]);
        assert_eq!(statuses(&["K_A"], &[]), [Severity::Error]);
        assert_eq!(
            judged(&["K_A", "K_B"], &["K_A"], true, true),
            [Severity::Warning],
            "the running daemon may have it"
        );
        assert_eq!(judged(&["K_A"], &[], false, false), [Severity::NotChecked]);
    }
}
