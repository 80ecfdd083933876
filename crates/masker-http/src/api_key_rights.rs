//! What a caller may do to API keys: which of them it changes and rotates, and which rights it hands out.

use super::{Service, api_keys::invalid, context::RequestContext, problem::Problem};
use masker_access::{ApiKey, KeyRights};
use masker_types::{
    error_code::Code,
    grant::{ExcessGrant, Grant, Scope},
};

impl Service {
    /// Checks that a caller which is an API key is this one, or that this one comes from it. It shares the limits of its
    /// creators and ends with them. With a secret of another key, a caller would have the budgets of that key, and keep them
    /// after its own revocation.
    ///
    /// # Errors
    /// `perm.denied`.
    pub(super) fn check_comes_from(&self, ctx: &RequestContext, key: &ApiKey) -> Result<(), Problem> {
        let Some(own) = ctx.caller.principal().credential.as_ref().map(|credential| credential.id) else {
            return Ok(());
        };
        if key.id() == own || self.access.keys().ancestors(key.id()).contains(&own) {
            return Ok(());
        }
        let detail = "an API key changes and rotates only itself and the keys that come from it: ask a client of the \
                      configuration, or the key that has created this one";
        Err(Problem::new(Code::PermDenied, detail))
    }
}

/// Refuses administrative scopes to a test key: it works with made-up data, and they reach real data.
pub(super) fn check_mode(grant: &Grant, is_test: bool) -> Result<(), Problem> {
    let administrative = Scope::ALL.iter().find(|s| s.is_administrative() && grant.scopes.allows(**s));
    match administrative.filter(|_| is_test) {
        Some(scope) => Err(invalid(format!("a test key cannot have `{scope}`, nor `*`: it would reach real data"))),
        None => Ok(()),
    }
}

/// Refuses a key that may do more than its creator, or for longer.
pub(super) fn check_not_exceeding_own(ctx: &RequestContext, rights: &KeyRights) -> Result<(), Problem> {
    match excess(ctx, rights) {
        Some(what) => {
            let detail = format!("this caller lacks {what}, and a caller cannot grant more than it has");
            Err(Problem::new(Code::PermDenied, detail))
        }
        None => Ok(()),
    }
}

/// Refuses a caller that lacks a right which a key has or ever had. Its holder has the right once more when another caller
/// restores it.
pub(super) fn check_holds_all(ctx: &RequestContext, key: &ApiKey) -> Result<(), Problem> {
    match excess(ctx, &key.held_rights()) {
        Some(what) => {
            let detail =
                format!("this caller lacks {what}, which this key has or had: it cannot change or rotate the key");
            Err(Problem::new(Code::PermDenied, detail))
        }
        None => Ok(()),
    }
}

/// Returns what a caller lacks of these rights.
fn excess(ctx: &RequestContext, rights: &KeyRights) -> Option<String> {
    let own = ctx.caller.principal();
    match ctx.caller.grant().excess_of(&rights.grant) {
        Some(ExcessGrant::Scope(scope)) => Some(format!("the scope `{scope}`")),
        Some(ExcessGrant::Policies) => Some("these policies".to_owned()),
        Some(ExcessGrant::Contexts) => Some("these contexts".to_owned()),
        None if !own.limiter.limits().covers(&rights.limits) => Some("such limits".to_owned()),
        None => {
            let own_end = own.credential.as_ref().and_then(|credential| credential.expires_at_ms);
            let outlives = own_end.is_some_and(|end| rights.expires_at_ms.is_none_or(|at| at > end));
            outlives.then(|| "so much time".to_owned())
        }
    }
}
