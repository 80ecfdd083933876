//! The caller, as the daemon sees it.

use std::collections::BTreeMap;

use nix::unistd::{Uid, User};
use tokio::task::spawn_blocking;

use super::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
    route::{Route, route},
};
use masker_api::WhoAmI;
use masker_types::grant::{ContextPattern, Scope};

pub(super) fn routes() -> Vec<Route> {
    vec![route! {
        handler: whoami / __path_whoami,
        access: Public,
        audit: Unaudited("it shows the caller to itself and touches no value"),
        cost: Free,
        body: Ignored,
    }]
}

/// Show who the caller is, as the kernel, its API key or its gateway attests it, and what it may do.
#[utoipa::path(
    get,
    path = "/api/v1/auth/whoami",
    responses((status = 200, description = "The caller", body = WhoAmI, example = json!({
        "name": "billing", "user": "billing", "uid": 1001, "gid": 1001, "pid": 4242,
        "attested_by": "peer-credentials", "unit": "billing.service",
        "certificate": null, "gateway": null, "address": null, "mode": "live", "workspace": null,
        "key_prefix": null, "limits": "standard",
        "limits_left": {"requests_per_second": 59, "requests_per_hour": 999},
        "scopes": {"tokenize": true, "rehydrate": false, "rehydrate:PHONE": true}, "policies": null, "contexts": null
    }))),
)]
async fn whoami(_service: &Service, ctx: &mut RequestContext, _input: &Input) -> Outcome {
    let (peer, principal) = (ctx.caller.peer(), ctx.caller.principal());
    let uid = Uid::from_raw(peer.uid());
    // Blocks: the user database may be on the network.
    let user = spawn_blocking(move || User::from_uid(uid)).await;
    let grant = ctx.caller.grant();
    let given = &grant.scopes;
    let mut scopes: BTreeMap<String, bool> =
        Scope::ALL.iter().map(|scope| (scope.to_string(), given.allows(*scope))).collect();
    // A replaced secret lacks a scope of its key.
    scopes.insert(Scope::ApiKeysAdmin.to_string(), ctx.caller.require(Scope::ApiKeysAdmin).is_ok());
    scopes.extend(given.kinds().map(|(scope, kind)| (format!("{scope}:{kind}"), true)));
    Reply::json(&WhoAmI {
        name: principal.name.clone(),
        // A user without a name, or a user database that cannot be read, is no reason to fail.
        user: user.ok().and_then(Result::ok).flatten().map(|user| user.name),
        uid: peer.uid(),
        workspace: principal.credential.as_ref().map(|credential| credential.workspace.clone()),
        key_prefix: ctx.caller.key_prefix().map(|prefix| prefix.as_str().to_owned()),
        limits: *principal.limiter.limits(),
        limits_left: principal
            .limiter
            .statuses(ctx.timestamps)
            .into_iter()
            .chain(principal.budget.statuses(ctx.timestamps))
            .map(|rate_limit| (rate_limit.which.to_string(), rate_limit.remaining))
            .collect(),
        gid: peer.gid(),
        pid: peer.pid(),
        unit: peer.unit().map(str::to_owned),
        attested_by: match (&principal.credential, ctx.caller.certificate()) {
            (Some(_), _) => "api-key",
            (None, Some(_)) => "client-certificate",
            (None, None) => "peer-credentials",
        }
        .to_owned(),
        certificate: ctx.caller.certificate().map(|key| key.to_string()),
        gateway: ctx.caller.gateway().map(str::to_owned),
        address: ctx.caller.address().map(|address| address.to_string()),
        mode: principal.mode.as_str().to_owned(),
        policies: grant.policies.as_ref().map(|names| names.iter().cloned().collect()),
        contexts: grant.contexts.as_ref().map(|patterns| patterns.iter().map(ContextPattern::to_text).collect()),
        scopes,
    })
}
