//! What a caller can be given: scopes, and the policies and contexts that they hold for.
//!
//! Pure: who the caller is, and whether a request may go on, is for [`masker_access`]. Configuration, API keys and
//! requests all write grants in the same words, which are read here and nowhere else.

mod context;
mod limits;
mod scope;
mod set;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use context::ContextPattern;
pub use limits::{Limit, Limits, LimitsError};
pub use scope::Scope;
pub use set::{ScopeError, ScopeSet};

/// The name of callers that no rule is about, and that are trusted with everything all the same.
pub const TRUSTED: &str = "trusted";
/// The name of other callers that no rule is about.
pub const UNLISTED: &str = "unlisted";

/// What a caller was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What it may do.
    pub scopes: ScopeSet,
    /// The policies that it may tokenize by, and whose tokens it may work with; all where `None`.
    pub policies: Option<BTreeSet<String>>,
    /// The contexts that it may work in; all where `None`.
    pub contexts: Option<Vec<ContextPattern>>,
}

impl Grant {
    /// Everything there is.
    pub fn all() -> Self {
        Grant { scopes: ScopeSet::all(), policies: None, contexts: None }
    }

    /// Nothing but what needs no scope.
    pub fn none() -> Self {
        Grant::default()
    }

    /// Whether it allows a context.
    pub fn allows_context(&self, context: &str) -> bool {
        self.contexts.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(context)))
    }

    /// Whether it allows a policy, by its name.
    pub fn allows_policy(&self, name: &str) -> bool {
        self.policies.as_ref().is_none_or(|names| names.contains(name))
    }

    /// What of `other` goes beyond this grant; `None` if nothing does. Nobody hands out more than they have.
    pub fn lacks(&self, other: &Grant) -> Option<ExcessGrant> {
        if let Some(scope) = self.scopes.lacks(&other.scopes) {
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

/// What one grant has that another lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExcessGrant {
    /// A scope, as it is written.
    Scope(String),
    /// A policy, or all of them.
    Policies,
    /// A context, or all of them.
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
    fn nobody_hands_out_more_than_they_have() {
        let own = grant(&["tokenize", "rehydrate:PHONE"], Some(&["a", "b"]), Some(&["clinic-7", "clinic-7/*"]));
        let within = [
            grant(&["tokenize:SSN"], Some(&["a"]), Some(&["clinic-7"])),
            grant(&[], Some(&[]), Some(&["clinic-7/x", "clinic-7/y/*"])),
        ];
        for other in &within {
            assert_eq!(own.lacks(other), None, "{other:?}");
            assert_eq!(Grant::all().lacks(other), None);
        }
        let beyond = [
            (grant(&["rehydrate"], Some(&["a"]), Some(&["clinic-7"])), ExcessGrant::Scope("rehydrate".to_owned())),
            (grant(&["rehydrate:SSN"], Some(&["a"]), Some(&[])), ExcessGrant::Scope("rehydrate:SSN".to_owned())),
            (grant(&["tokenize"], None, Some(&["clinic-7"])), ExcessGrant::Policies),
            (grant(&["tokenize"], Some(&["c"]), Some(&["clinic-7"])), ExcessGrant::Policies),
            (grant(&["tokenize"], Some(&["a"]), None), ExcessGrant::Contexts),
            (grant(&["tokenize"], Some(&["a"]), Some(&["clinic*"])), ExcessGrant::Contexts),
        ];
        for (other, lacking) in beyond {
            assert_eq!(own.lacks(&other), Some(lacking), "{other:?}");
        }
    }
}
