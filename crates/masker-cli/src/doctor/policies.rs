//! Policies: whether they are valid, and whether each has its keys.

use std::collections::BTreeSet;

use super::{finding::Finding, keys::KeyFacts};
use masker_config::{Config, ConfigErrors, load_policies};
use masker_core::policy::PolicySet;
use masker_types::kind::Kid;

/// Loads the policies as the daemon would.
pub(super) fn gather(config: &Config) -> Result<PolicySet, ConfigErrors> {
    load_policies(&config.policy.path, config.policy.default.as_deref())
}

/// Returns the findings of every check of policies. A running daemon has its keys, so they need not be in this environment.
pub(super) fn judge(policies: &Result<PolicySet, ConfigErrors>, keys: &KeyFacts, serving: bool) -> Vec<Finding> {
    let policies = match policies {
        Ok(policies) => policies,
        Err(faults) => {
            let remedy = "correct it, and run `masker policy validate PATH`";
            return faults.iter().map(|fault| Finding::error("policies.read", fault.to_string(), remedy)).collect();
        }
    };
    let mut findings = vec![Finding::ok("policies.read", format!("{} policies are valid", policies.len()))];
    findings.extend(policies.different_normalizers().into_iter().map(|found| {
        let remedy = "give the kind one normalizer in these policies, or its own kind or key id in one of them";
        Finding::warning("policies.normalizers", found, remedy)
    }));
    match keys.any() || !serving {
        true => findings.extend(kids(policies.kids(), &keys.kids(), serving)),
        false => {
            findings.push(Finding::ok("policies.keys", "this environment has no keys; the running daemon has its own"))
        }
    }
    findings
}

/// `policies.keys`: every key id that a policy names has a key, and a policy names every key.
fn kids<'p>(named: impl Iterator<Item = (&'p str, Kid)>, given: &BTreeSet<Kid>, serving: bool) -> Vec<Finding> {
    let named: BTreeSet<(&str, Kid)> = named.collect();
    let mut findings = Vec::new();
    for (policy, kid) in named.iter().filter(|(_, kid)| !given.contains(kid)) {
        if serving {
            let found = format!(
                "the policy `{policy}` names the key {kid}, which this environment does not have; the running daemon has its own"
            );
            findings.push(Finding::warning("policies.keys", found, "run doctor with the environment of the daemon"));
            continue;
        }
        let found =
            format!("the policy `{policy}` names the key {kid}, which is not provided: the daemon will not start");
        let remedy = format!(
            "set MASKER_KEY_{kid}_FILE, or provide a credential; `masker keys generate --kid {kid}` generates a key"
        );
        findings.push(Finding::error("policies.keys", found, remedy));
    }
    for kid in given.iter().filter(|kid| named.iter().all(|(_, named)| named != *kid)) {
        let found = format!("no policy names the key {kid}; it only opens tokens that were minted under it");
        let remedy =
            "keep it while `masker vault stats` shows records under it, or its tokens are in use; otherwise remove it";
        findings.push(Finding::warning("policies.keys", found, remedy));
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
        let judged = |named: &[&str], given: &[&str], serving| {
            let named = named.iter().map(|name| ("p", kid(name)));
            let findings = kids(named, &given.iter().map(|name| kid(name)).collect(), serving);
            findings.iter().map(|finding| finding.status).collect::<Vec<_>>()
        };
        let statuses = |named: &[&str], given: &[&str]| judged(named, given, false);
        assert_eq!(statuses(&["K_A", "K_A"], &["K_A"]), [Severity::Ok]);
        assert_eq!(statuses(&["K_A", "K_B"], &["K_A"]), [Severity::Error]);
        assert_eq!(statuses(&["K_A"], &["K_A", "K_B"]), [Severity::Warning]);
        assert_eq!(statuses(&["K_A"], &[]), [Severity::Error]);
        assert_eq!(judged(&["K_A", "K_B"], &["K_A"], true), [Severity::Warning], "the running daemon may have it");
    }
}
