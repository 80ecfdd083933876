//! Honeytokens: planting them, and reporting their use.

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::info;

use super::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
    policies::required_policy,
    problem::Problem,
    route::{Route, route},
};
use masker_access::{Permit, VaultAdmin, VaultRead};
use masker_api::{Honeytoken, HoneytokenList, HoneytokenPlant, HoneytokenPlanted};
use masker_types::error_code::Code;
use masker_vault::{HoneytokenError, HoneytokenId, HoneytokenRequest, HoneytokenStatus};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: honeytoken_plant / __path_honeytoken_plant,
            access: Scope(VaultAdmin),
            audit: Operation(HoneytokenPlant),
            cost: Request,
            body: Buffered,
        },
        route! {
            handler: honeytokens / __path_honeytokens,
            access: Scope(VaultRead),
            audit: Operation(HoneytokenList),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: honeytoken_remove / __path_honeytoken_remove,
            access: Scope(VaultAdmin),
            audit: Operation(HoneytokenRemove),
            cost: Request,
            body: Ignored,
        },
    ]
}

/// Mint a token that nobody should ever use. Rehydrating it leaves a warning in the audit log.
#[utoipa::path(
    post,
    path = "/api/v1/vault/honeytokens",
    request_body(content = HoneytokenPlant<'_>, example = json!({"kind": "PHONE", "label": "in a database dump"})),
    responses((
        status = 201,
        description = "The token",
        body = HoneytokenPlanted<'_>,
        example = json!({"token": "MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ", "honeytoken": example_honeytoken()})
    )),
)]
async fn honeytoken_plant(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<VaultAdmin>,
    input: &Input,
) -> Outcome {
    let request: HoneytokenPlant<'_> = input.json()?;
    let policies = Arc::clone(&ctx.policies);
    let policy = required_policy(policies.get(request.policy.as_deref()))?;
    ctx.set_policy(policy);
    let caller = ctx.caller.label();
    let request = HoneytokenRequest {
        kind: &request.kind,
        value: request.value.as_deref(),
        context: request.context.as_deref().unwrap_or_default(),
        label: request.label.as_deref().unwrap_or_default(),
        planted_by: &caller,
    };
    let planted = service.vault.plant_honeytoken(&permit, policy, &request).await?;
    let id = planted.status.id.to_string();
    info!(request_id = ctx.id.as_str(), uid = ctx.caller.peer().uid(), honeytoken = id, "honeytoken planted");
    ctx.fact("honeytoken_id", id);
    Reply::json(&HoneytokenPlanted { token: planted.token.into(), honeytoken: honeytoken_status(planted.status) })
}

/// List the honeytokens, without their tokens.
#[utoipa::path(
    get,
    path = "/api/v1/vault/honeytokens",
    responses((
        status = 200,
        description = "The honeytokens",
        body = HoneytokenList,
        example = json!({"honeytokens": [example_honeytoken()]})
    )),
)]
async fn honeytokens(
    service: &Service,
    _ctx: &mut RequestContext,
    permit: Permit<VaultRead>,
    _input: &Input,
) -> Outcome {
    Reply::json(&HoneytokenList {
        honeytokens: service.vault.honeytokens(&permit).into_iter().map(honeytoken_status).collect(),
    })
}

/// Turn a honeytoken into an ordinary token. Its record stays.
#[utoipa::path(
    delete,
    path = "/api/v1/vault/honeytokens/{id}",
    params(("id" = String, Path, description = "The honeytoken's id", example = "0198b2c4d5e6f708192a3b4c5d6e7f80")),
    responses((status = 200, description = "The former honeytoken", body = Honeytoken, example = json!(example_honeytoken()))),
)]
async fn honeytoken_remove(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<VaultAdmin>,
    input: &Input,
) -> Outcome {
    let id = HoneytokenId::parse(&input.parameter).ok_or(HoneytokenError::NotFound)?;
    let removed = service.vault.remove_honeytoken(&permit, id).await?;
    ctx.fact("honeytoken_id", removed.id.to_string());
    Reply::json(&honeytoken_status(removed))
}

/// Returns a honeytoken for the OpenAPI document.
fn example_honeytoken() -> Value {
    json!({
        "id": "0198b2c4d5e6f708192a3b4c5d6e7f80",
        "kind": "PHONE",
        "kid": "K_HEALTHCARE",
        "carries_value": false,
        "planted_at": "2026-01-31T12:00:00Z",
        "planted_by": "security",
        "label": "in a database dump"
    })
}

impl Service {
    /// Notes which of a request's tokens are honeytokens, even where they failed: a caller can have one only from where it
    /// was planted.
    pub(super) fn record_honeytokens(&self, ctx: &mut RequestContext, shown: impl Iterator<Item = HoneytokenId>) {
        for id in shown {
            self.metrics.vault.honeytokens_rehydrated.inc();
            ctx.honeytokens.note(id);
        }
    }
}

impl From<HoneytokenError> for Problem {
    fn from(error: HoneytokenError) -> Self {
        let code = match &error {
            HoneytokenError::Vault(failed) => return failed.clone().into(),
            HoneytokenError::Item(failure) => failure.code(),
            HoneytokenError::Label => Code::RequestInvalid,
            HoneytokenError::NotFound => Code::HoneytokenNotFound,
            HoneytokenError::NotTokenized(_) | HoneytokenError::TooMany => Code::HoneytokenRefused,
        };
        Problem::new(code, error.to_string())
    }
}

fn honeytoken_status(status: HoneytokenStatus) -> Honeytoken {
    Honeytoken {
        id: status.id.to_string(),
        kind: status.kind.to_string(),
        kid: status.kid.to_string(),
        carries_value: status.carries_value,
        planted_at: status.planted_at.map(|at| at.to_string()),
        planted_by: status.planted_by,
        label: status.label,
    }
}
