//! Policies: showing those in force, and reloading them.

use super::{
    ReloadError, ReloadOutcome, ReloadTarget, Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
    route::{Route, route},
};
use masker_access::{Permit, PoliciesRead, PoliciesReload};
use masker_api::{EntityDescription, PolicyDescription, PolicyList, PolicySummary, ReloadReport};
use masker_core::policy::{Action, EntityRule, Policy, PolicyCipher, Scheme};
use masker_types::error_code::Code;

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: policies / __path_policies,
            access: Scope(PoliciesRead),
            audit: Operation(PoliciesRead),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: policy / __path_policy,
            access: Scope(PoliciesRead),
            audit: Operation(PoliciesRead),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: policies_reload / __path_policies_reload,
            access: Scope(PoliciesReload),
            audit: Operation(PoliciesReload),
            cost: Request,
            body: Ignored,
        },
    ]
}

/// Returns the policy of a request, unless there is none.
pub(super) fn required_policy(policy: Option<&Policy>) -> Result<&Policy, Problem> {
    policy.ok_or_else(|| {
        let detail =
            "no policy of this name is loaded, or none was named and there is no default; `masker policy show` or GET \
             /api/v1/policies lists the policies";
        Problem::new(Code::PolicyUnknown, detail)
    })
}

/// List the policies in force.
#[utoipa::path(
    get,
    path = "/api/v1/policies",
    responses((status = 200, description = "By name", body = PolicyList, example = json!({"policies": [
        {"name": "healthcare-default", "version": 1, "description": "Patient records", "default": true, "entities": 12}
    ]}))),
)]
async fn policies(
    service: &Service,
    _ctx: &mut RequestContext,
    _permit: Permit<PoliciesRead>,
    _input: &Input,
) -> Outcome {
    let policies = service.policies.load();
    let default = policies.get(None).map(|policy| &policy.name);
    let summary = |policy: &Policy| PolicySummary {
        name: policy.name.clone(),
        version: policy.version,
        description: policy.description.clone(),
        default: default == Some(&policy.name),
        entities: policy.entities.len(),
    };
    Reply::json(&PolicyList { policies: policies.iter().map(summary).collect() })
}

/// Show a policy with every default filled in.
#[utoipa::path(
    get,
    path = "/api/v1/policies/{name}",
    params(("name" = String, Path, description = "The policy's name", example = "healthcare-default")),
    responses((status = 200, description = "The policy", body = PolicyDescription, example = json!({
        "name": "healthcare-default",
        "version": 1,
        "description": "Patient records",
        "default": true,
        "entities": {
            "PHONE": {
                "action": "tokenize", "kid": "K_HEALTHCARE", "tokenization": "vault-deterministic",
                "deterministic": true, "normalize": "phone_nanp", "context": "optional"
            },
            "PASSWORD": {"action": "redact", "context": "optional"}
        },
        "text": {
            "text.allow": "0 values", "text.keep": "age_under_90", "text.languages": "en", "text.min_confidence": "0.5",
            "text.regions": "US", "recognizer.ticket.confidence": "0.6", "recognizer.ticket.kind": "TICKET",
            "recognizer.ticket.regex": "TCK-[0-9]{6}"
        }
    }))),
)]
async fn policy(service: &Service, ctx: &mut RequestContext, _permit: Permit<PoliciesRead>, input: &Input) -> Outcome {
    let policies = service.policies.load();
    let unknown = || {
        Problem::new(
            Code::PolicyUnknown,
            "no policy of this name is loaded; `masker policy show` or GET /api/v1/policies lists the policies",
        )
    };
    let policy = policies.get(Some(&input.parameter)).ok_or_else(unknown)?;
    ctx.set_policy(policy);
    let entities = policy.entities.iter().map(|(kind, rule)| (kind.to_string(), description(rule)));
    Reply::json(&PolicyDescription {
        name: policy.name.clone(),
        version: policy.version,
        description: policy.description.clone(),
        default: policies.get(None).is_some_and(|default| default.name == policy.name),
        entities: entities.collect(),
        text: policy.text.settings(),
    })
}

/// Reload the policies, all or nothing.
#[utoipa::path(
    post,
    path = "/api/v1/policies/reload",
    responses((
        status = 200,
        description = "They are in force",
        body = ReloadReport,
        example = json!({"policies": 1, "warnings": []})
    )),
)]
async fn policies_reload(
    service: &Service,
    ctx: &mut RequestContext,
    _permit: Permit<PoliciesReload>,
    _input: &Input,
) -> Outcome {
    match service.reload(ReloadTarget::Policies).await {
        Ok(ReloadOutcome { policies, warnings }) => {
            ctx.number("policies", policies as u64);
            Reply::json(&ReloadReport { policies, warnings })
        }
        Err(ReloadError::Vault(failed)) => Err(failed.into()),
        Err(invalid) => Err(Problem::new(Code::PolicyInvalid, invalid.to_string())),
    }
}

/// Describes what a policy does with a kind, every default filled in.
fn description(rule: &EntityRule) -> EntityDescription {
    let mut description = EntityDescription {
        action: "tokenize".to_owned(),
        kid: None,
        tokenization: None,
        cipher: None,
        deterministic: None,
        normalize: None,
        validate: None,
        context: if rule.context_required { "required" } else { "optional" }.to_owned(),
    };
    match &rule.action {
        Action::Redact => description.action = "redact".to_owned(),
        Action::Passthrough => description.action = "passthrough".to_owned(),
        Action::Tokenize(rule) => {
            description.kid = Some(rule.kid.to_string());
            description.tokenization = Some(rule.scheme.name().to_owned());
            description.validate = rule.validation.map(|validation| validation.name().to_owned());
            match rule.scheme {
                Scheme::VaultDeterministic => {
                    description.normalize = Some(rule.normalizer.name().to_owned());
                    description.deterministic = Some(true);
                }
                Scheme::ReversibleAead(suite) => {
                    description.cipher = Some(PolicyCipher::of(suite).name().to_owned());
                    description.deterministic = Some(suite.is_deterministic());
                }
            }
        }
    }
    description
}
