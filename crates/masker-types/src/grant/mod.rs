//! The permissions of a caller: scopes, and the policies and contexts that they apply to.
//!
//! Configuration, API keys and requests share this text form. Identifying a caller and checking a request is the task
//! of `masker-access`.

mod assertion;
mod context;
mod limits;
mod scope;
mod set;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use assertion::GatewayAssertion;
pub use context::ContextPattern;
pub use limits::{Limit, Limits, LimitsError};
pub use scope::Scope;
pub use set::{ScopeError, ScopeSet};

/// The name of callers without a rule that may do everything.
pub const UNRESTRICTED_NAME: &str = "trusted";
/// The name of other callers without a rule.
pub const UNLISTED_NAME: &str = "unlisted";

/// The beginning of the names of callers that act as a role. No name of a client has a colon.
pub const ROLE_NAME_PREFIX: &str = "role:";

/// The permissions of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The operations that the caller may use.
    pub scopes: ScopeSet,
    /// The policies that the caller may use, and whose tokens it may use; `None` for all.
    pub policies: Option<BTreeSet<String>>,
    /// The contexts that the caller may use; `None` for all.
    pub contexts: Option<Vec<ContextPattern>>,
}

impl Grant {
    /// Returns a grant that allows everything.
    pub fn all() -> Self {
        Grant { scopes: ScopeSet::all(), policies: None, contexts: None }
    }

    /// Returns a grant that allows only what needs no scope.
    pub fn none() -> Self {
        Grant::default()
    }

    /// Returns whether the grant allows a context.
    pub fn allows_context(&self, context: &str) -> bool {
        self.contexts.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(context)))
    }

    /// Returns whether the grant allows the policy with this name.
    pub fn allows_policy(&self, name: &str) -> bool {
        self.policies.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Returns a grant that covers this one and `other`.
    #[must_use]
    pub fn union(&self, other: &Grant) -> Grant {
        let policies = self.policies.as_ref().zip(other.policies.as_ref());
        let contexts = self.contexts.as_ref().zip(other.contexts.as_ref());
        Grant {
            scopes: self.scopes.union(&other.scopes),
            policies: policies.map(|(own, others)| own | others),
            contexts: contexts.map(|(own, others)| {
                let more = others.iter().filter(|pattern| !own.contains(pattern));
                own.iter().chain(more).cloned().collect()
            }),
        }
    }

    /// Returns a grant that allows what this one and `other` allow.
    #[must_use]
    pub fn intersection(&self, other: &Grant) -> Grant {
        let policies = match (&self.policies, &other.policies) {
            (Some(own), Some(others)) => Some(own & others),
            (own, others) => own.as_ref().or(others.as_ref()).cloned(),
        };
        let contexts = match (&self.contexts, &other.contexts) {
            (Some(own), Some(others)) => {
                let both = own.iter().flat_map(|own| others.iter().filter_map(|other| own.intersection(other)));
                let mut patterns: Vec<ContextPattern> = Vec::new();
                for pattern in both {
                    if !patterns.contains(&pattern) {
                        patterns.push(pattern);
                    }
                }
                Some(patterns)
            }
            (own, others) => own.as_ref().or(others.as_ref()).cloned(),
        };
        Grant { scopes: self.scopes.intersection(&other.scopes), policies, contexts }
    }

    /// Returns a part of `other` that exceeds this grant, or `None` if there is none. A caller cannot give more than it
    /// has.
    pub fn excess_of(&self, other: &Grant) -> Option<ExcessGrant> {
        if let Some(scope) = self.scopes.excess_of(&other.scopes) {
            return Some(ExcessGrant::Scope(scope));
        }
        let policies = match (&self.policies, &other.policies) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => others.is_subset(own),
        };
        if !policies {
            return Some(ExcessGrant::Policies);
        }
        let contexts = match (&self.contexts, &other.contexts) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => others.iter().all(|other| own.iter().any(|pattern| pattern.covers(other))),
        };
        (!contexts).then_some(ExcessGrant::Contexts)
    }
}

/// The part of a grant that exceeds another grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExcessGrant {
    /// A scope, as written.
    Scope(String),
    /// A policy, or all policies.
    Policies,
    /// A context, or all contexts.
    Contexts,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(scopes: &[&str], policies: Option<&[&str]>, contexts: Option<&[&str]>) -> Grant {
        Grant {
            scopes: ScopeSet::parse(scopes).unwrap(),
            policies: policies.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            contexts: contexts.map(|texts| texts.iter().map(|text| ContextPattern::parse(text).unwrap()).collect()),
        }
    }

    #[test]
    fn a_union_covers_both_grants_and_no_scope_more() {
        let one = grant(&["tokenize", "rehydrate:PHONE"], Some(&["a"]), Some(&["x", "y/*"]));
        let other = grant(&["rehydrate", "lookup:SSN", "tokenize:SSN"], Some(&["b"]), Some(&["x", "z"]));
        let union = one.union(&other);
        assert_eq!((union.excess_of(&one), union.excess_of(&other)), (None, None));
        assert_eq!(union, grant(&["tokenize", "rehydrate", "lookup:SSN"], Some(&["a", "b"]), Some(&["x", "y/*", "z"])));
        assert_eq!(one.union(&one), one);
        let unrestricted = one.union(&Grant { scopes: ScopeSet::default(), ..Grant::all() });
        assert_eq!((unrestricted.policies, unrestricted.contexts), (None, None));
    }

    #[test]
    fn an_intersection_allows_what_both_grants_allow() {
        let one = grant(&["tokenize", "rehydrate:PHONE"], Some(&["a", "b"]), Some(&["x", "y/*"]));
        let other = grant(&["rehydrate", "tokenize:SSN"], Some(&["b", "c"]), Some(&["x*", "y/z", "w"]));
        let both = grant(&["tokenize:SSN", "rehydrate:PHONE"], Some(&["b"]), Some(&["x", "y/z"]));
        assert_eq!((one.intersection(&other), other.intersection(&one)), (both.clone(), both));
        assert_eq!((one.intersection(&one), one.intersection(&Grant::all())), (one.clone(), one.clone()));
        assert_eq!(Grant::all().intersection(&one), one);
        let elsewhere = one.intersection(&grant(&["*"], Some(&["c"]), Some(&["v"])));
        assert_eq!((elsewhere.policies, elsewhere.contexts), (Some(BTreeSet::new()), Some(Vec::new())));
    }

    #[test]
    fn finds_the_excess_of_a_grant() {
        let own = grant(&["tokenize", "rehydrate:PHONE"], Some(&["a", "b"]), Some(&["clinic-7", "clinic-7/*"]));
        let within = [
            grant(&["tokenize:SSN"], Some(&["a"]), Some(&["clinic-7"])),
            grant(&[], Some(&[]), Some(&["clinic-7/x", "clinic-7/y/*"])),
        ];
        for other in &within {
            assert_eq!(own.excess_of(other), None, "{other:?}");
            assert_eq!(Grant::all().excess_of(other), None);
        }
        let beyond = [
            (grant(&["rehydrate"], Some(&["a"]), Some(&["clinic-7"])), ExcessGrant::Scope("rehydrate".to_owned())),
            (grant(&["rehydrate:SSN"], Some(&["a"]), Some(&[])), ExcessGrant::Scope("rehydrate:SSN".to_owned())),
            (grant(&["tokenize"], None, Some(&["clinic-7"])), ExcessGrant::Policies),
            (grant(&["tokenize"], Some(&["c"]), Some(&["clinic-7"])), ExcessGrant::Policies),
            (grant(&["tokenize"], Some(&["a"]), None), ExcessGrant::Contexts),
            (grant(&["tokenize"], Some(&["a"]), Some(&["clinic*"])), ExcessGrant::Contexts),
        ];
        for (other, excess) in beyond {
            assert_eq!(own.excess_of(&other), Some(excess), "{other:?}");
        }
    }
}
