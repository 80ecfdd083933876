//! Handlers about keys.

use hyper::body::Bytes;

use super::{
    ReloadError, ReloadTarget, Service,
    admin::{degraded, fine},
    exchange::RequestContext,
    problem::Problem,
    values::json,
};
use masker_api::{Component, KeyAdvice, KeyList, KeyStatus, KeysReloadReport};
use masker_core::keyring::Role;
use masker_types::error_code::Code;
use masker_vault::{GenerationStatus, ItemOutcomeKey, KeyAssessment, advice};

impl Service {
    pub(super) async fn keys(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        on.permit::<masker_access::KeysRead>()?;
        // A store that fails is no reason to hide the keys.
        let generations = self.vault.generations_with_sessions().await.unwrap_or_else(|_| self.vault.generations());
        let advice = advice(&generations, self.vault.now());
        let advice = advice.into_iter().map(|(kid, text)| KeyAdvice { kid: kid.to_string(), text });
        json(&KeyList { advice: advice.collect(), keys: self.key_statuses(generations) })
    }

    pub(super) async fn keys_reload(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        on.permit::<masker_access::KeysAdmin>()?;
        match self.reload(ReloadTarget::Keys).await {
            Ok(reloaded) => {
                let loaded = |key: GenerationStatus| {
                    let role = key.loaded?;
                    Some((ItemOutcomeKey::of_generation(key.kid, key.fingerprint, Some(role), "loaded"), key.records))
                };
                on.account.counts = self.vault.generations().into_iter().filter_map(loaded).collect();
                let keys = self.key_statuses(self.vault.generations());
                json(&KeysReloadReport { keys, warnings: reloaded.warnings })
            }
            Err(ReloadError::Vault(failed)) => Err(failed.into()),
            Err(refused) => Err(Problem::new(Code::KeysInvalid, refused.to_string())),
        }
    }

    pub(super) fn keys_health(&self) -> Component {
        let mut problems = self.vault.missing_key_warnings();
        problems.extend(self.refused.load().keys.clone());
        if problems.is_empty() { fine() } else { degraded(problems.join("; ")) }
    }

    fn key_statuses(&self, generations: Vec<GenerationStatus>) -> Vec<KeyStatus> {
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
                vault_aliases: generation.aliases,
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
