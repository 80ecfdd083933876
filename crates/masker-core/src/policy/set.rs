//! The policies in force.

use std::collections::BTreeMap;

use super::Policy;
use masker_types::{kind::Kid, quote::listed};

/// Why policies that are each sound cannot be in force together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicySetError {
    /// There is none.
    #[error("there is no policy: write one, or begin with one that comes with masker")]
    Empty,
    /// Two have one name.
    #[error("the name `{name}` of {second} is taken by {first}: a request could not tell them apart")]
    Duplicate {
        /// The name.
        name: String,
        /// Where the policy is that has the name.
        first: String,
        /// Where the one is that wants it too.
        second: String,
    },
    /// The policy for requests that name none is not there.
    #[error("the default policy `{name}` is not there: there is {}", listed(.known))]
    DefaultUnknown {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
}

/// The policies in force. Having one tells you that names are distinct and that the default, if there is one, is
/// among them.
#[derive(Clone, Debug)]
pub struct PolicySet {
    by_name: BTreeMap<String, Policy>,
    default: Option<String>,
}

impl PolicySet {
    /// The default where none is configured and there are several policies, if it is there.
    pub const USUAL_DEFAULT: &str = "healthcare-default";

    /// Puts policies in force, each with the name of where it came from.
    ///
    /// `default` is what requests use that name no policy. Where it is `None`, it is the only policy if there is but
    /// one, else [`PolicySet::USUAL_DEFAULT`] if that is there, else requests must name one.
    ///
    /// # Errors
    /// Every reason why this cannot be.
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
        let usual = by_name.contains_key(Self::USUAL_DEFAULT).then_some(Self::USUAL_DEFAULT);
        let default = default.or(only.map(String::as_str)).or(usual).map(str::to_owned);
        Ok(PolicySet { by_name: by_name.into_iter().map(|(name, (_, policy))| (name, policy)).collect(), default })
    }

    /// The policy of this name, or the default; `None` if there is none.
    pub fn get(&self, name: Option<&str>) -> Option<&Policy> {
        self.by_name.get(name.or(self.default.as_deref())?)
    }

    /// The name of the policy that requests use which name none.
    pub fn default_name(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// The policies, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Policy> {
        self.by_name.values()
    }

    /// How many policies there are: at least one.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Every key id that a policy needs, with the policy's name.
    pub fn kids(&self) -> impl Iterator<Item = (&str, Kid)> {
        self.iter().flat_map(|policy| policy.kids().map(|kid| (policy.name.as_str(), kid)))
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
    fn of_several_policies_the_configured_one_counts_then_the_usual_one() {
        let several = || vec![policy("b"), policy("healthcare-default"), policy("a")];
        assert_eq!(PolicySet::build(several(), Some("b")).unwrap().default_name(), Some("b"));
        assert_eq!(PolicySet::build(several(), None).unwrap().default_name(), Some("healthcare-default"));
        let set = PolicySet::build(vec![policy("b"), policy("a")], None).unwrap();
        assert!(set.default_name().is_none() && set.get(None).is_none());
        assert_eq!(set.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn every_reason_against_a_set_is_told() {
        let errors = PolicySet::build(vec![policy("a"), policy("b"), policy("a")], Some("c")).unwrap_err();
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "the name `a` of a.toml is taken by a.toml: a request could not tell them apart",
                "the default policy `c` is not there: there is `a` and `b`"
            ]
        );
        assert_eq!(PolicySet::build(vec![], None).unwrap_err(), [PolicySetError::Empty]);
        assert!(PolicySet::build(vec![policy("a")], Some("c")).is_err());
    }

    #[test]
    fn kids_come_with_the_policy_that_needs_them() {
        let set = PolicySet::build(vec![policy("b"), policy("a")], None).unwrap();
        let kids: Vec<(&str, String)> = set.kids().map(|(policy, kid)| (policy, kid.to_string())).collect();
        assert_eq!(kids, [("a", "K_A".to_owned()), ("b", "K_B".to_owned())]);
    }
}
