//! Proof that a caller was allowed an operation.

use std::{marker::PhantomData, sync::Arc};

use super::principal::{Caller, Principal};
use masker_core::policy::{Action, PolicySet};
use masker_types::{
    grant::Scope,
    kind::{EntityKind, Kid},
    mode::Mode,
};

/// An operation that needs permission. Sealed: the set of operations is the set of scopes.
pub trait Operation: sealed::Sealed {
    /// The scope that allows it.
    const SCOPE: Scope;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! operations {
    ($($name:ident),*) => {$(
        #[doc = concat!("The operation that [`Scope::", stringify!($name), "`] allows.")]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Operation for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}
operations!(
    Tokenize,
    Rehydrate,
    Lookup,
    Rewrap,
    Forget,
    KeysRead,
    KeysAdmin,
    VaultRead,
    VaultAdmin,
    PoliciesRead,
    PoliciesReload,
    AuditRead,
    SessionsRead,
    ApiKeysAdmin,
    MetricsRead
);

/// A caller that may not do what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// It lacks a scope.
    #[error(
        "this caller lacks the scope `{scope}`; `masker whoami` shows what it has, `[[clients]]` in masker.toml or an API \
         key gives more"
    )]
    Scope {
        /// What was lacking.
        scope: Scope,
    },
    /// It lacks a scope for this kind.
    #[error("this caller lacks the scope `{scope}:{kind}`")]
    Kind {
        /// What was lacking.
        scope: Scope,
        /// What for: a kind that some policy knows.
        kind: EntityKind,
    },
    /// Its grant lists policies, and not this one.
    #[error("this caller's grant of `{scope}` does not list this policy")]
    Policy {
        /// What for.
        scope: Scope,
    },
    /// Its grant lists policies, and none of them makes such tokens.
    #[error("this caller's grant of `{scope}` lists no policy that makes tokens of this kind and key")]
    Token {
        /// What for.
        scope: Scope,
    },
    /// Its grant lists contexts, and not this one.
    #[error("this caller's grant of `{scope}` does not list this context")]
    Context {
        /// What for.
        scope: Scope,
    },
}

impl Denied {
    /// What was lacking, or too narrow.
    pub fn scope(&self) -> Scope {
        match self {
            Denied::Scope { scope }
            | Denied::Kind { scope, .. }
            | Denied::Policy { scope }
            | Denied::Token { scope }
            | Denied::Context { scope } => *scope,
        }
    }
}

/// Having one tells you that a caller was checked and may do `O`, if only for some kinds, policies or contexts: which
/// ones, it says. Only [`Caller::permit`] makes one.
pub struct Permit<O: Operation> {
    principal: Arc<Principal>,
    policies: Arc<PolicySet>,
    operation: PhantomData<fn() -> O>,
}

impl Caller {
    /// Whether the caller has a scope, if only for some kind.
    ///
    /// # Errors
    /// [`Denied`] names it where it is lacking.
    pub fn needs(&self, scope: Scope) -> Result<(), Denied> {
        if self.principal.grant.scopes.allows_some(scope) { Ok(()) } else { Err(Denied::Scope { scope }) }
    }

    /// Whether the caller has one of several scopes, if only for some kind.
    ///
    /// # Errors
    /// [`Denied`] names the first of them where all are lacking.
    pub fn require_any(&self, scopes: &[Scope]) -> Result<(), Denied> {
        let has = |scope: &Scope| self.needs(*scope).is_ok();
        match scopes.first() {
            Some(first) if !scopes.iter().any(has) => Err(Denied::Scope { scope: *first }),
            _ => Ok(()),
        }
    }

    /// A permit for `O`, if the caller has its scope for some kind at least. `policies` are those in force: what tokens a
    /// caller may work with can depend on them.
    ///
    /// # Errors
    /// [`Denied`] names the scope that is lacking.
    pub fn permit<O: Operation>(&self, policies: &Arc<PolicySet>) -> Result<Permit<O>, Denied> {
        self.needs(O::SCOPE)?;
        Ok(Permit { principal: Arc::clone(&self.principal), policies: Arc::clone(policies), operation: PhantomData })
    }
}

impl<O: Operation> Permit<O> {
    /// The mode of tokens that the caller works in.
    pub fn mode(&self) -> Mode {
        self.principal.mode
    }

    /// Whether it holds for a kind that a policy names.
    ///
    /// # Errors
    /// [`Denied`] if it does not.
    pub fn for_kind(&self, kind: EntityKind) -> Result<(), Denied> {
        if self.principal.grant.scopes.allows_kind(O::SCOPE, kind) {
            return Ok(());
        }
        // A kind that no policy knows is of the request's making: it is not repeated.
        Err(if self.knows(kind) { Denied::Kind { scope: O::SCOPE, kind } } else { Denied::Scope { scope: O::SCOPE } })
    }

    /// Whether a policy in force names this kind: others are of a request's making.
    pub fn knows(&self, kind: EntityKind) -> bool {
        self.policies.iter().any(|policy| policy.entities.contains_key(&kind))
    }

    /// Whether it holds for a context.
    ///
    /// # Errors
    /// [`Denied`] if it does not.
    pub fn for_context(&self, context: &str) -> Result<(), Denied> {
        let allowed = self.principal.grant.allows_context(context);
        if allowed { Ok(()) } else { Err(Denied::Context { scope: O::SCOPE }) }
    }

    /// Whether it holds for a policy.
    ///
    /// # Errors
    /// [`Denied`] if it does not.
    pub fn for_policy(&self, name: &str) -> Result<(), Denied> {
        let allowed = self.principal.grant.allows_policy(name);
        if allowed { Ok(()) } else { Err(Denied::Policy { scope: O::SCOPE }) }
    }

    /// Whether it holds for tokens of this kind and this key id: one of the policies that the grant lists makes such
    /// tokens.
    ///
    /// # Errors
    /// [`Denied`] if it does not.
    pub fn for_token(&self, kind: EntityKind, kid: Kid) -> Result<(), Denied> {
        let Some(names) = &self.principal.grant.policies else { return Ok(()) };
        let makes = |name: &String| {
            let rule = self.policies.get(Some(name)).and_then(|policy| policy.entities.get(&kind));
            matches!(rule.map(|rule| rule.action), Some(Action::Tokenize(rule)) if rule.kid == kid)
        };
        if names.iter().any(makes) { Ok(()) } else { Err(Denied::Token { scope: O::SCOPE }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_core::policy::Policy;
    use masker_types::grant::{ContextPattern, Grant, ScopeSet};

    fn policies() -> Arc<PolicySet> {
        let policy = |name: &str, kid: &str| {
            let text = format!(
                "name = \"{name}\"\nversion = 1\nkid = \"{kid}\"\ntokenization = \"vault-deterministic\"\n\
                 [entities.PHONE]\n[entities.SSN]\naction = \"redact\"\n"
            );
            (name.to_owned(), Policy::parse(&text).unwrap())
        };
        Arc::new(PolicySet::build(vec![policy("a", "K_A"), policy("b", "K_B")], Some("a")).unwrap())
    }

    fn permit(grant: Grant) -> Result<Permit<Rehydrate>, Denied> {
        Caller::for_tests(grant).permit(&policies())
    }

    fn kind(text: &str) -> EntityKind {
        EntityKind::parse(text).unwrap()
    }

    #[test]
    fn a_scope_for_one_kind_is_a_permit_for_that_kind_alone() {
        let scopes = ScopeSet::parse(&["rehydrate:PHONE"]).unwrap();
        let permit = permit(Grant { scopes, ..Grant::none() }).unwrap();
        assert_eq!(permit.for_kind(kind("PHONE")), Ok(()));
        let ssn = permit.for_kind(kind("SSN")).unwrap_err();
        assert_eq!(ssn.to_string(), "this caller lacks the scope `rehydrate:SSN`");
        let unknown = permit.for_kind(kind("MADE_UP")).unwrap_err();
        assert!(!unknown.to_string().contains("MADE_UP"), "{unknown}");
    }

    #[test]
    fn one_of_several_scopes_is_enough() {
        let scopes = ScopeSet::parse(&["rehydrate:PHONE"]).unwrap();
        let caller = Caller::for_tests(Grant { scopes, ..Grant::none() });
        assert_eq!(caller.require_any(&[Scope::Tokenize, Scope::Rehydrate]), Ok(()));
        let denied = caller.require_any(&[Scope::SessionsRead, Scope::Tokenize]);
        assert_eq!(denied, Err(Denied::Scope { scope: Scope::SessionsRead }));
    }

    #[test]
    fn without_the_scope_there_is_no_permit() {
        let scopes = ScopeSet::parse(&["tokenize"]).unwrap();
        let denied = permit(Grant { scopes, ..Grant::none() }).err().unwrap();
        assert_eq!(denied, Denied::Scope { scope: Scope::Rehydrate });
    }

    #[test]
    fn policies_decide_over_the_tokens_that_they_make() {
        let all = permit(Grant::all()).unwrap();
        assert_eq!(all.for_token(kind("PHONE"), Kid::parse("K_ELSE").unwrap()), Ok(()));
        let limited = permit(Grant { policies: Some(["a".to_owned()].into()), ..Grant::all() }).unwrap();
        assert!(limited.for_policy("a").is_ok() && limited.for_policy("b").is_err());
        assert!(limited.for_token(kind("PHONE"), Kid::parse("K_A").unwrap()).is_ok());
        for (kind_text, kid) in [("PHONE", "K_B"), ("SSN", "K_A"), ("EMAIL", "K_A")] {
            assert!(limited.for_token(kind(kind_text), Kid::parse(kid).unwrap()).is_err(), "{kind_text} {kid}");
        }
    }

    #[test]
    fn contexts_are_those_that_are_listed() {
        let contexts = Some(vec![ContextPattern::parse("clinic-7/*").unwrap()]);
        let permit = permit(Grant { contexts, ..Grant::all() }).unwrap();
        assert!(permit.for_context("clinic-7/ward").is_ok());
        assert!(permit.for_context("").is_err() && permit.for_context("clinic-8").is_err());
    }
}
