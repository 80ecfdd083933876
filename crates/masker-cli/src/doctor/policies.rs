//! Policies: whether they can be read, and whether each has its keys.

use std::collections::BTreeSet;

use super::{Finding, keys::KeyFacts};
use masker_config::{Config, ConfigErrors, load_policies};
use masker_core::policy::PolicySet;
use masker_types::kind::Kid;

/// Reads the policies as a start would.
pub(super) fn gather(config: &Config) -> Result<PolicySet, ConfigErrors> {
    load_policies(&config.policy.path, config.policy.default.as_deref())
}

/// Every check of policies. A daemon that serves has its keys, wherever they came from.
pub(super) fn judge(policies: &Result<PolicySet, ConfigErrors>, secrets: &KeyFacts, serving: bool) -> Vec<Finding> {
    let policies = match policies {
        Ok(policies) => policies,
        Err(faults) => {
            let remedy = "mend it: `masker policy validate PATH` says whether that went well";
            return faults.iter().map(|fault| Finding::error("policies.read", fault.to_string(), remedy)).collect();
        }
    };
    let mut findings = vec![Finding::ok("policies.read", format!("sound policies: {}", policies.len()))];
    match secrets.any() || !serving {
        true => findings.extend(kids(policies.kids(), &secrets.kids())),
        false => {
            findings.push(Finding::ok("policies.keys", "no key is given here; the daemon that serves has its own"))
        }
    }
    findings
}

/// `policies.keys`: every kid that a policy names has a key, and each key is one that a policy names.
fn kids<'p>(named: impl Iterator<Item = (&'p str, Kid)>, given: &BTreeSet<Kid>) -> Vec<Finding> {
    let named: BTreeSet<(&str, Kid)> = named.collect();
    let mut findings = Vec::new();
    for (policy, kid) in named.iter().filter(|(_, kid)| !given.contains(kid)) {
        let found =
            format!("the policy `{policy}` names the key {kid}, which was not given: the daemon will not start");
        let remedy =
            format!("set MASKER_KEY_{kid}_FILE, or lay a credential; `masker keys generate --kid {kid}` makes a key");
        findings.push(Finding::error("policies.keys", found, remedy));
    }
    for kid in given.iter().filter(|kid| named.iter().all(|(_, named)| named != *kid)) {
        let found = format!("no policy names the key {kid}; it opens what was minted under it");
        let remedy =
            "leave it while `masker vault stats` has records of it, or its tokens are about; else take it away";
        findings.push(Finding::warning("policies.keys", found, remedy));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("policies.keys", "each kid that a policy names has its key"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn kids_and_keys_are_held_against_each_other() {
        let kid = |name: &str| Kid::parse(name).unwrap();
        let statuses = |named: &[&str], given: &[&str]| {
            let named = named.iter().map(|name| ("p", kid(name)));
            let findings = kids(named, &given.iter().map(|name| kid(name)).collect());
            findings.iter().map(|finding| finding.status).collect::<Vec<_>>()
        };
        assert_eq!(statuses(&["K_A", "K_A"], &["K_A"]), [Severity::Ok]);
        assert_eq!(statuses(&["K_A", "K_B"], &["K_A"]), [Severity::Error]);
        assert_eq!(statuses(&["K_A"], &["K_A", "K_B"]), [Severity::Warning]);
        assert_eq!(statuses(&["K_A"], &[]), [Severity::Error]);
    }
}
