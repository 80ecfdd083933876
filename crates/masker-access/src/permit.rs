//! Permits: proofs that a caller may perform an operation.

use std::{marker::PhantomData, sync::Arc};

use crate::{Caller, CallerId, Mode, Principal, key_record::SecretRole};
use masker_core::policy::{Action, PolicySet};
use masker_types::{
    certificate::PublicKeyDigest,
    grant::{Grant, Scope},
    kind::{EntityKind, Kid},
};

/// An operation that requires a scope. Sealed: there is at most one operation for each scope.
pub trait ScopedOperation: sealed::Sealed {
    /// The scope that allows it.
    const SCOPE: Scope;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! operations {
    ($($name:ident),*) => {$(
        #[doc = concat!("The operation of [`Scope::", stringify!($name), "`].")]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl ScopedOperation for $name {
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
    TextMask,
    TextRestore,
    TextDetect,
    KeysRead,
    KeysAdmin,
    VaultRead,
    VaultAdmin,
    PoliciesRead,
    PoliciesReload,
    AuditRead,
    ReportsRead,
    SessionsRead,
    ApiKeysAdmin,
    MetricsRead
);

/// An operation that swaps values for tokens.
pub trait TokenizesValues: ScopedOperation {
    /// The name of the operation in metrics.
    const NAME: &'static str;
    /// Whether a value is redacted if the policy does not name its kind, or refuses the value. Otherwise it fails.
    const REDACTS_REFUSED: bool;
}

impl TokenizesValues for Tokenize {
    const NAME: &'static str = "tokenize";
    const REDACTS_REFUSED: bool = false;
}

impl TokenizesValues for TextMask {
    const NAME: &'static str = "mask";
    const REDACTS_REFUSED: bool = true;
}

/// An operation that swaps tokens back for values.
pub trait RehydratesTokens: ScopedOperation {
    /// The name of the operation in metrics.
    const NAME: &'static str;
}

impl RehydratesTokens for Rehydrate {
    const NAME: &'static str = "rehydrate";
}

impl RehydratesTokens for TextRestore {
    const NAME: &'static str = "restore";
}

/// Why a caller may not do what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// It lacks a scope.
    #[error(
        "this caller lacks the scope `{scope}`; `masker whoami` shows the scopes that it has, `[[clients]]` in masker.toml \
         or an API key grants others"
    )]
    Scope {
        /// The missing scope.
        scope: Scope,
    },
    /// It has a scope that the ceiling of its gateway lacks.
    #[error(
        "this caller has the scope `{scope}`, but may not use it through the gateway: do this on the daemon's host, or add the \
         scope to the `ceiling` of the gateway in masker.toml"
    )]
    Ceiling {
        /// The scope that the ceiling lacks.
        scope: Scope,
    },
    /// It lacks a scope for this kind.
    #[error("this caller lacks the scope `{scope}:{kind}`")]
    Kind {
        /// The missing scope.
        scope: Scope,
        /// The kind, which a policy names.
        kind: EntityKind,
    },
    /// The secret of its API key was replaced.
    #[error(
        "this caller presents a secret in its grace period, which lacks the scope `{scope}`; use the secret that replaced it"
    )]
    ReplacedSecret {
        /// The scope of the operation.
        scope: Scope,
    },
    /// Its grant lists policies, but not this one.
    #[error(
        "this caller may use `{scope}` only with certain policies, and this is not one of them; `masker whoami` lists them"
    )]
    Policy {
        /// The scope of the operation.
        scope: Scope,
    },
    /// Its grant lists policies, but none that mints such tokens.
    #[error(
        "this caller may use `{scope}` only with certain policies, and none of them mints tokens of this kind and key; \
         `masker whoami` lists them"
    )]
    Token {
        /// The scope of the operation.
        scope: Scope,
    },
    /// Its grant lists contexts, but not this one.
    #[error(
        "this caller may use `{scope}` only in certain contexts, and this is not one of them; `masker whoami` lists them: \
         give one as `context`"
    )]
    Context {
        /// The scope of the operation.
        scope: Scope,
    },
}

impl Denied {
    /// Returns the scope that is missing or too narrow.
    pub fn scope(&self) -> Scope {
        match self {
            Denied::Scope { scope }
            | Denied::Ceiling { scope }
            | Denied::ReplacedSecret { scope }
            | Denied::Kind { scope, .. }
            | Denied::Policy { scope }
            | Denied::Token { scope }
            | Denied::Context { scope } => *scope,
        }
    }
}

/// Proof that a caller may perform `O` for at least some kinds, policies and contexts. Its methods check which. Only
/// [`Caller::permit`] makes one.
pub struct Permit<O: ScopedOperation> {
    principal: Arc<Principal>,
    /// What the caller may do, if that is less than what its principal may.
    bounded: Option<Arc<Grant>>,
    certificate: Option<PublicKeyDigest>,
    uid: u32,
    policies: Arc<PolicySet>,
    operation: PhantomData<fn() -> O>,
}

impl Caller {
    /// Returns what the caller may do: what its principal may, within the ceiling of the gateway that it comes through.
    pub fn grant(&self) -> &Grant {
        self.bounded.as_deref().unwrap_or(&self.principal.grant)
    }

    /// Bounds what the caller may do by the ceiling of its gateway. Permits are made from the result, and nothing else gives
    /// rights. To be called when the principal or the gateway changes.
    pub(super) fn apply_ceiling(&mut self) {
        let within = |ceiling| Arc::new(self.principal.grant.intersection(ceiling));
        self.bounded = self.path.as_ref().map(|path| within(&path.gateway.ceiling));
    }

    /// Checks that the caller has a scope, for at least one kind.
    ///
    /// # Errors
    /// [`Denied::Scope`] or [`Denied::Ceiling`] if it is missing.
    pub fn require(&self, scope: Scope) -> Result<(), Denied> {
        if scope == Scope::ApiKeysAdmin && self.accepted().is_some_and(|accepted| accepted.role == SecretRole::Replaced)
        {
            return Err(Denied::ReplacedSecret { scope });
        }
        match (self.grant().scopes.allows_some(scope), self.principal.grant.scopes.allows_some(scope)) {
            (true, _) => Ok(()),
            (false, true) => Err(Denied::Ceiling { scope }),
            (false, false) => Err(Denied::Scope { scope }),
        }
    }

    /// Checks that the caller has at least one of several scopes, for at least one kind.
    ///
    /// # Errors
    /// That of the first of them if all are missing.
    pub fn require_any(&self, scopes: &[Scope]) -> Result<(), Denied> {
        let has = |scope: &Scope| self.require(*scope).is_ok();
        match scopes.first() {
            Some(first) if !scopes.iter().any(has) => self.require(*first),
            _ => Ok(()),
        }
    }

    /// Returns a permit for `O` if the caller has its scope for at least one kind. `policies` are those in force: which
    /// tokens a caller may use can depend on them.
    ///
    /// # Errors
    /// [`Denied::Scope`] if the scope is missing.
    pub fn permit<O: ScopedOperation>(&self, policies: &Arc<PolicySet>) -> Result<Permit<O>, Denied> {
        self.require(O::SCOPE)?;
        Ok(Permit {
            principal: Arc::clone(&self.principal),
            bounded: self.bounded.clone(),
            certificate: self.certificate(),
            uid: self.peer.uid(),
            policies: Arc::clone(policies),
            operation: PhantomData,
        })
    }
}

impl<O: ScopedOperation> Permit<O> {
    fn grant(&self) -> &Grant {
        self.bounded.as_deref().unwrap_or(&self.principal.grant)
    }

    /// Returns the mode of the tokens that the caller works with.
    pub fn mode(&self) -> Mode {
        self.principal.mode
    }

    /// Returns who calls.
    pub fn caller_id(&self) -> CallerId {
        let name = || self.principal.name.as_str().into();
        match (&self.principal.credential, self.certificate) {
            (Some(key), _) => CallerId::ApiKey(key.id),
            (None, Some(certificate)) => CallerId::Certificate(name(), certificate),
            (None, None) => CallerId::Client(name(), self.uid),
        }
    }

    /// Checks that the permit covers a kind.
    ///
    /// # Errors
    /// [`Denied`] if it does not.
    pub fn check_kind(&self, kind: EntityKind) -> Result<(), Denied> {
        if self.grant().scopes.allows_kind(O::SCOPE, kind) {
            return Ok(());
        }
        // A kind that no policy names is text of the request, which an answer must not repeat.
        let known = self.is_known_kind(kind);
        Err(if known { Denied::Kind { scope: O::SCOPE, kind } } else { Denied::Scope { scope: O::SCOPE } })
    }

    /// Returns whether a policy in force names this kind.
    pub fn is_known_kind(&self, kind: EntityKind) -> bool {
        self.policies.iter().any(|policy| policy.entities.contains_key(&kind))
    }

    /// Checks that the permit covers a context.
    ///
    /// # Errors
    /// [`Denied`] if it does not.
    pub fn check_context(&self, context: &str) -> Result<(), Denied> {
        let allowed = self.grant().allows_context(context);
        if allowed { Ok(()) } else { Err(Denied::Context { scope: O::SCOPE }) }
    }

    /// Returns whether the caller may use something that cannot be opened, so that neither its mode nor its context is
    /// known: only a caller in live mode whose grant lists no contexts.
    pub fn covers_unopened(&self) -> bool {
        self.principal.mode == Mode::Live && self.grant().contexts.is_none()
    }

    /// Checks that the permit covers a policy.
    ///
    /// # Errors
    /// [`Denied`] if it does not.
    pub fn check_policy(&self, name: &str) -> Result<(), Denied> {
        let allowed = self.grant().allows_policy(name);
        if allowed { Ok(()) } else { Err(Denied::Policy { scope: O::SCOPE }) }
    }

    /// Checks that the permit covers tokens of this kind and key id: if the grant lists policies, one of them must mint
    /// such tokens.
    ///
    /// # Errors
    /// [`Denied`] if it does not.
    pub fn check_token(&self, kind: EntityKind, kid: Kid) -> Result<(), Denied> {
        let Some(names) = &self.grant().policies else { return Ok(()) };
        let mints = |name: &String| {
            let rule = self.policies.get(Some(name)).and_then(|policy| policy.entities.get(&kind));
            matches!(rule.map(|rule| rule.action), Some(Action::Tokenize(rule)) if rule.kid == kid)
        };
        if names.iter().any(mints) { Ok(()) } else { Err(Denied::Token { scope: O::SCOPE }) }
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
    fn a_scope_for_one_kind_covers_only_that_kind() {
        let scopes = ScopeSet::parse(&["rehydrate:PHONE"]).unwrap();
        let permit = permit(Grant { scopes, ..Grant::none() }).unwrap();
        assert_eq!(permit.check_kind(kind("PHONE")), Ok(()));
        let ssn = permit.check_kind(kind("SSN")).unwrap_err();
        assert_eq!(ssn.to_string(), "this caller lacks the scope `rehydrate:SSN`");
        let unknown = permit.check_kind(kind("MADE_UP")).unwrap_err();
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
    fn denies_a_permit_without_the_scope() {
        let scopes = ScopeSet::parse(&["tokenize"]).unwrap();
        let denied = permit(Grant { scopes, ..Grant::none() }).err().unwrap();
        assert_eq!(denied, Denied::Scope { scope: Scope::Rehydrate });
    }

    #[test]
    fn a_grant_of_policies_covers_the_tokens_that_they_mint() {
        let all = permit(Grant::all()).unwrap();
        assert_eq!(all.check_token(kind("PHONE"), Kid::parse("K_ELSE").unwrap()), Ok(()));
        let limited = permit(Grant { policies: Some(["a".to_owned()].into()), ..Grant::all() }).unwrap();
        assert!(limited.check_policy("a").is_ok() && limited.check_policy("b").is_err());
        assert!(limited.check_token(kind("PHONE"), Kid::parse("K_A").unwrap()).is_ok());
        for (kind_text, kid) in [("PHONE", "K_B"), ("SSN", "K_A"), ("EMAIL", "K_A")] {
            assert!(limited.check_token(kind(kind_text), Kid::parse(kid).unwrap()).is_err(), "{kind_text} {kid}");
        }
    }

    #[test]
    fn only_a_live_grant_of_all_contexts_covers_what_cannot_be_opened() {
        let covers = |mode, contexts| {
            let caller = Caller::for_tests_in(mode, Grant { contexts, ..Grant::all() });
            caller.permit::<Forget>(&policies()).unwrap().covers_unopened()
        };
        let listed = || Some(vec![ContextPattern::parse("*").unwrap()]);
        assert!(covers(Mode::Live, None));
        assert!(!covers(Mode::Test, None) && !covers(Mode::Live, listed()) && !covers(Mode::Test, listed()));
    }

    #[test]
    fn a_grant_of_contexts_covers_only_those() {
        let contexts = Some(vec![ContextPattern::parse("clinic-7/*").unwrap()]);
        let permit = permit(Grant { contexts, ..Grant::all() }).unwrap();
        assert!(permit.check_context("clinic-7/ward").is_ok());
        assert!(permit.check_context("").is_err() && permit.check_context("clinic-8").is_err());
    }
}
