//! Key generations: their status, and reloading the keys.

use serde_json::{Value, json};

use super::{
    ReloadError, ReloadTarget, Service,
    context::RequestContext,
    health::{degraded, healthy},
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
    route::{Route, route},
};
use masker_access::{KeysAdmin, KeysRead, Permit};
use masker_api::{Component, KeyAction, KeyAdvice, KeyList, KeyStatus, KeysReloadReport};
use masker_core::keyring::Role;
use masker_types::error_code::Code;
use masker_vault::{Advice, GenerationStatus, ItemOutcomeKey, KeyAssessment, advice};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: keys / __path_keys,
            access: Scope(KeysRead),
            audit: Operation(KeysRead),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: keys_reload / __path_keys_reload,
            access: Scope(KeysAdmin),
            audit: Operation(KeysReload),
            cost: Request,
            body: Ignored,
        },
    ]
}

/// List the key generations that are loaded or remembered.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    responses((
        status = 200,
        description = "Every generation, by fingerprint",
        body = KeyList,
        example = json!({"keys": [example_key()], "advice": [example_advice()]})
    )),
)]
async fn keys(service: &Service, ctx: &mut RequestContext, _permit: Permit<KeysRead>, _input: &Input) -> Outcome {
    let generations = service.vault.generations_with_sessions(ctx.long_reads()).await;
    // A store that fails is no reason to hide the keys.
    let generations = generations.unwrap_or_else(|_| service.vault.generations());
    let advice = advice(&generations, service.vault.now(), &*service.apply_keys);
    let advice = advice.into_iter().map(|(kid, advice)| KeyAdvice {
        kid: kid.to_string(),
        action: action(&advice),
        text: advice.text().to_owned(),
        apply: (service.apply_keys)(kid),
    });
    Reply::json(&KeyList { advice: advice.collect(), keys: service.key_statuses(generations) })
}

fn action(advice: &Advice) -> KeyAction {
    match advice {
        Advice::Load(_) => KeyAction::Load,
        Advice::Rotate(_) => KeyAction::Rotate,
        Advice::Prove(_) => KeyAction::Prove,
        Advice::Remove(_) => KeyAction::Remove,
        Advice::Nothing => KeyAction::None,
    }
}

/// Reload the keys that come from files, all or nothing.
#[utoipa::path(
    post,
    path = "/api/v1/keys/reload",
    responses((
        status = 200,
        description = "They are in force",
        body = KeysReloadReport,
        example = json!({"keys": [example_key()], "warnings": []})
    )),
)]
async fn keys_reload(
    service: &Service,
    ctx: &mut RequestContext,
    _permit: Permit<KeysAdmin>,
    _input: &Input,
) -> Outcome {
    match service.reload(ReloadTarget::Keys).await {
        Ok(reloaded) => {
            let loaded = |key: GenerationStatus| {
                let role = key.loaded?;
                Some((ItemOutcomeKey::of_generation(key.kid, key.fingerprint, Some(role), "loaded"), key.records))
            };
            ctx.details.counts = service.vault.generations().into_iter().filter_map(loaded).collect();
            let keys = service.key_statuses(service.vault.generations());
            Reply::json(&KeysReloadReport { keys, warnings: reloaded.warnings })
        }
        Err(ReloadError::Vault(failed)) => Err(failed.into()),
        Err(refused) => Err(Problem::new(Code::KeysInvalid, refused.to_string())),
    }
}

/// Returns advice for the OpenAPI document.
fn example_advice() -> Value {
    json!({
        "kid": "K_HEALTHCARE",
        "action": "none",
        "text": "nothing to do",
        "apply": "run `systemctl restart masker.service`"
    })
}

/// Returns a key generation for the OpenAPI document.
fn example_key() -> Value {
    json!({
        "kid": "K_HEALTHCARE",
        "fingerprint": "00112233aabbccdd",
        "generation": "active",
        "loaded": true,
        "first_seen": "2026-01-31T12:00:00Z",
        "old_since": null,
        "grace_ends": null,
        "grace_days_left": null,
        "vault_records": 1_000,
        "vault_index_rows": 1_980,
        "last_used": "2026-02-01T08:30:00Z",
        "tokens_last_opened": null,
        "tokens_opened_30_days": 0,
        "proven_at": null,
        "open_sessions": null,
        "removable": false,
        "reason": "it is the active key"
    })
}

impl Service {
    pub(super) fn keys_health(&self) -> Component {
        let mut problems = self.vault.missing_key_warnings();
        problems.extend(self.reload_failures.load().keys.clone());
        if problems.is_empty() { healthy() } else { degraded(problems.join("; ")) }
    }

    pub(super) fn key_statuses(&self, generations: Vec<GenerationStatus>) -> Vec<KeyStatus> {
        let now = self.vault.now();
        let status = |generation: GenerationStatus| {
            let KeyAssessment { removable, reason, .. } = KeyAssessment::on(&generation, now);
            KeyStatus {
                kid: generation.kid.to_string(),
                fingerprint: generation.fingerprint.to_string(),
                generation: generation.loaded.unwrap_or(Role::Old).as_str().to_owned(),
                loaded: generation.loaded.is_some(),
                first_seen: generation.first_seen.map(|at| at.to_string()),
                old_since: generation.old_since.map(|at| at.to_string()),
                grace_ends: generation.grace_ends.map(|at| at.to_string()),
                grace_days_left: generation.grace_days_left(now),
                vault_records: generation.records,
                vault_index_rows: generation.index_rows,
                last_used: generation.last_used.map(|at| at.to_string()),
                tokens_last_opened: generation.tokens_last_opened.map(|at| at.to_string()),
                tokens_opened_30_days: generation.tokens_opened_30_days,
                proven_at: generation.proven_at.map(|at| at.to_string()),
                open_sessions: generation.open_sessions,
                removable,
                reason,
            }
        };
        generations.into_iter().map(status).collect()
    }
}
