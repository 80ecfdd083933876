//! The policies in force.

use std::collections::BTreeMap;

use super::{Action, Policy, Scheme};
use crate::normalize::Normalizer;
use masker_types::{
    kind::{EntityKind, Kid},
    quote::listed,
};

/// A problem with a set of valid policies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicySetError {
    /// The set is empty.
    #[error("there is no policy: write one, or start from one of masker's")]
    Empty,
    /// Two policies have the same name.
    #[error("{second} has the same name as {first}: `{name}`")]
    Duplicate {
        /// The name.
        name: String,
        /// The source of the first policy.
        first: String,
        /// The source of the second policy.
        second: String,
    },
    /// The default policy does not exist.
    #[error("the default policy `{name}` does not exist: there is {}", listed(.known))]
    DefaultUnknown {
        /// The configured name.
        name: String,
        /// The names of the existing policies.
        known: Vec<String>,
    },
}

/// The policies in force. Holding a set proves that names are distinct and that the default, if any, exists.
#[derive(Clone, Debug)]
pub struct PolicySet {
    by_name: BTreeMap<String, Policy>,
    default: Option<String>,
}

impl PolicySet {
    /// The default among several policies, if it exists and no other is configured.
    pub const DEFAULT_POLICY: &str = "healthcare-default";

    /// Builds a set from policies, each with the name of its source.
    ///
    /// `default` names the policy for requests that name none. Without it, the default is the only policy, or
    /// [`PolicySet::DEFAULT_POLICY`] if it is one of several. Otherwise requests must name a policy.
    ///
    /// # Errors
    /// Returns all problems.
    pub fn build(policies: Vec<(String, Policy)>, default: Option<&str>) -> Result<Self, Vec<PolicySetError>> {
        let mut errors = Vec::new();
        let mut by_name: BTreeMap<String, (String, Policy)> = BTreeMap::new();
        for (source, policy) in policies {
            if let Some((first, _)) = by_name.get(&policy.name) {
                let first = first.clone();
                errors.push(PolicySetError::Duplicate { name: policy.name, first, second: source });
            } else {
                by_name.insert(policy.name.clone(), (source, policy));
            }
        }
        if by_name.is_empty() {
            errors.push(PolicySetError::Empty);
        } else if let Some(name) = default.filter(|name| !by_name.contains_key(*name)) {
            let known = by_name.keys().cloned().collect();
            errors.push(PolicySetError::DefaultUnknown { name: name.to_owned(), known });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let only = by_name.keys().next().filter(|_| by_name.len() == 1);
        let usual = by_name.contains_key(Self::DEFAULT_POLICY).then_some(Self::DEFAULT_POLICY);
        let default = default.or(only.map(String::as_str)).or(usual).map(str::to_owned);
        Ok(PolicySet { by_name: by_name.into_iter().map(|(name, (_, policy))| (name, policy)).collect(), default })
    }

    /// Returns the policy with this name; without a name, the default.
    pub fn get(&self, name: Option<&str>) -> Option<&Policy> {
        self.by_name.get(name.or(self.default.as_deref())?)
    }

    /// Returns the name of the default policy.
    pub fn default_name(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// Returns the policies, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Policy> {
        self.by_name.values()
    }

    /// Returns the number of policies: at least one.
    #[allow(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Returns the key ids that each policy needs, with the name of the policy.
    pub fn kids(&self) -> impl Iterator<Item = (&str, Kid)> {
        self.iter().flat_map(|policy| policy.kids().map(|kid| (policy.name.as_str(), kid)))
    }

    /// Returns the warnings of all policies, and those about their differences.
    pub fn warnings(&self) -> Vec<String> {
        self.iter().flat_map(Policy::warnings).chain(self.different_normalizers()).collect()
    }

    /// Returns a warning for each kind and key id whose vault tokens several policies match by different normalizers.
    ///
    /// These are not errors: equal values have one token under both, and only other spellings do not match.
    pub fn different_normalizers(&self) -> Vec<String> {
        let mut by_name: BTreeMap<(EntityKind, Kid), BTreeMap<Normalizer, Vec<&str>>> = BTreeMap::new();
        for policy in self.iter() {
            for (kind, rule) in &policy.entities {
                if let Action::Tokenize(rule) = rule.action
                    && rule.scheme == Scheme::VaultDeterministic
                {
                    let policies = by_name.entry((*kind, rule.kid)).or_default().entry(rule.normalizer).or_default();
                    policies.push(&policy.name);
                }
            }
        }
        let different = by_name.into_iter().filter(|(_, normalizers)| normalizers.len() > 1);
        let warning = |((kind, kid), normalizers): ((EntityKind, Kid), BTreeMap<Normalizer, Vec<&str>>)| {
            let used = |(normalizer, policies): (Normalizer, Vec<&str>)| {
                format!("`{}` in {}", normalizer.name(), listed(&policies))
            };
            let used: Vec<String> = normalizers.into_iter().map(used).collect();
            format!(
                "{kind} under {kid} has different normalizers: {}; spellings that were tokenized by different ones do not \
                 match",
                used.join(", ")
            )
        };
        different.map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str) -> (String, Policy) {
        let text = format!(
            "name = \"{name}\"\nversion = 1\nkid = \"k_{}\"\ntokenization = \"vault-deterministic\"\n[entities.A]\n",
            name.replace('-', "_")
        );
        (format!("{name}.toml"), Policy::parse(&text).unwrap())
    }

    #[test]
    fn the_only_policy_is_the_default() {
        let set = PolicySet::build(vec![policy("a")], None).unwrap();
        assert_eq!(set.default_name(), Some("a"));
        assert!(set.get(None).is_some() && set.get(Some("a")).is_some() && set.get(Some("b")).is_none());
    }

    #[test]
    fn the_configured_default_precedes_the_usual_one() {
        let several = || vec![policy("b"), policy("healthcare-default"), policy("a")];
        assert_eq!(PolicySet::build(several(), Some("b")).unwrap().default_name(), Some("b"));
        assert_eq!(PolicySet::build(several(), None).unwrap().default_name(), Some("healthcare-default"));
        let set = PolicySet::build(vec![policy("b"), policy("a")], None).unwrap();
        assert!(set.default_name().is_none() && set.get(None).is_none());
        assert_eq!(set.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn reports_every_problem_of_a_set() {
        let errors = PolicySet::build(vec![policy("a"), policy("b"), policy("a")], Some("c")).unwrap_err();
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            ["a.toml has the same name as a.toml: `a`", "the default policy `c` does not exist: there is `a` and `b`"]
        );
        assert_eq!(PolicySet::build(vec![], None).unwrap_err(), [PolicySetError::Empty]);
        assert!(PolicySet::build(vec![policy("a")], Some("c")).is_err());
    }

    #[test]
    fn warns_of_different_normalizers_for_one_kind_and_kid() {
        let policy = |name: &str, kind: &str| {
            let top = "version = 1\nkid = \"K\"\ntokenization = \"vault-deterministic\"";
            (String::new(), Policy::parse(&format!("name = \"{name}\"\n{top}\n[entities.{kind}\n")).unwrap())
        };
        let set = |policies: Vec<(String, Policy)>| PolicySet::build(policies, None).unwrap().warnings();
        let trim = || policy("a", "A]\nnormalize = \"trim\"");
        assert_eq!(
            set(vec![trim(), policy("b", "A]\nnormalize = \"digits\""), policy("c", "A]\nnormalize = \"trim\"")]),
            ["A under K has different normalizers: `trim` in `a` and `c`, `digits` in `b`; spellings that were \
                 tokenized by different ones do not match"]
        );
        for other in [
            "A]\nnormalize = \"trim\"",
            "B]",
            "A]\nkid = \"K2\"",
            "A]\ntokenization = \"reversible-aead\"",
            "A]\naction = \"redact\"",
        ] {
            assert_eq!(set(vec![trim(), policy("b", other)]), Vec::<String>::new(), "{other}");
        }
    }

    #[test]
    fn lists_kids_with_their_policies() {
        let set = PolicySet::build(vec![policy("b"), policy("a")], None).unwrap();
        let kids: Vec<(&str, String)> = set.kids().map(|(policy, kid)| (policy, kid.to_string())).collect();
        assert_eq!(kids, [("a", "K_A".to_owned()), ("b", "K_B".to_owned())]);
    }
}
