//! Handlers about the daemon itself.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{ReloadError, Service, problem::Problem, values::json};
use crate::{
    access::{self, Peer, Scope},
    api::{
        CheckReport, Component, Components, EntityDescription, Health, HealthStatus, KeyList, KeyStatus, KidRecords,
        PolicyDescription, PolicyList, PolicySummary, VaultStats, WhoAmI,
    },
    code::Code,
    keyring::Role,
    policy::{Action, Cipher, EntityRule, Policy, Scheme},
    vault::GenerationStatus,
};

/// Time in which the store must answer for the daemon to call itself healthy, in seconds.
const PING_SECONDS_MAX: u64 = 2;

impl Service {
    pub(super) async fn health(&self) -> Result<(HealthStatus, Bytes), Problem> {
        let components = Components {
            vault: self.vault_health().await,
            keys: self.keys_health(),
            audit_log: Component { status: HealthStatus::Off, detail: Some(self.audit.to_owned()) },
            policies: match self.policies_problem.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                None => fine(),
                Some(problem) => degraded(problem),
            },
        };
        let all = [&components.vault, &components.keys, &components.audit_log, &components.policies];
        let degraded = all.iter().any(|component| component.status == HealthStatus::Degraded);
        let status = if degraded { HealthStatus::Degraded } else { HealthStatus::Ok };
        let body = json(&Health {
            status,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            components,
        })?;
        Ok((status, body))
    }

    async fn vault_health(&self) -> Component {
        match timeout(Duration::from_secs(PING_SECONDS_MAX), self.vault.ping()).await {
            Ok(Ok(())) => fine(),
            Ok(Err(failed)) => degraded(failed.to_string()),
            Err(_) => degraded(format!("the store did not answer within {PING_SECONDS_MAX} s")),
        }
    }

    fn keys_health(&self) -> Component {
        let missed = self.vault.generations().into_iter().filter(GenerationStatus::missed).map(|generation| {
            format!(
                "{} records need the key {} with fingerprint {}, which is not loaded; load it as MASKER_KEY_{}_OLD",
                generation.records, generation.kid, generation.fingerprint, generation.kid
            )
        });
        let missed: Vec<String> = missed.collect();
        if missed.is_empty() { fine() } else { degraded(missed.join("; ")) }
    }

    pub(super) async fn metrics_text(&self, peer: &Peer) -> Result<Bytes, Problem> {
        self.access.permit::<access::MetricsRead>(peer)?;
        // A store that fails is no reason to hide the other counters.
        if let Ok(stats) = self.vault.stats().await {
            self.metrics.vault_records.set(stats.records.cast_signed());
            self.metrics.vault_size_bytes.set(stats.bytes_on_disk.cast_signed());
        }
        self.metrics.key_old_age_seconds.reset();
        for generation in self.vault.generations() {
            if let (Some(Role::Old), Some(since)) = (generation.loaded, generation.old_since) {
                let age = Timestamp::now().duration_since(since).as_secs();
                self.metrics.key_old_age_seconds.with_label_values(&[generation.kid.as_str()]).set(age);
            }
        }
        self.metrics.text().map(Bytes::from).map_err(|failed| Problem::internal(failed.to_string()))
    }

    pub(super) fn keys(&self, peer: &Peer) -> Result<Bytes, Problem> {
        self.access.permit::<access::KeysRead>(peer)?;
        json(&KeyList { keys: self.vault.generations().into_iter().map(key_status).collect() })
    }

    pub(super) async fn vault_stats(&self, peer: &Peer) -> Result<Bytes, Problem> {
        self.access.permit::<access::VaultRead>(peer)?;
        let stats = self.vault.stats().await?;
        let generations = self.vault.generations().into_iter();
        json(&VaultStats {
            records: stats.records,
            aliases: stats.aliases,
            bytes_on_disk: stats.bytes_on_disk,
            oldest: stats.span.map(|(oldest, _)| oldest.to_string()),
            newest: stats.span.map(|(_, newest)| newest.to_string()),
            by_kid: generations
                .map(|generation| KidRecords {
                    kid: generation.kid.to_string(),
                    fingerprint: generation.fingerprint.to_string(),
                    generation: generation.loaded.map_or("unloaded", Role::as_str).to_owned(),
                    records: generation.records,
                })
                .collect(),
        })
    }

    pub(super) async fn vault_check(&self, peer: &Peer) -> Result<Bytes, Problem> {
        let permit = self.access.permit::<access::VaultAdmin>(peer)?;
        let outcome = self.vault.check(&permit).await?;
        json(&CheckReport {
            ok: outcome.ok(),
            records: outcome.records,
            opened: outcome.opened,
            key_not_loaded: outcome.key_not_loaded,
            damaged_records: outcome.damaged_records,
            aliases: outcome.aliases,
            damaged_aliases: outcome.damaged_aliases,
            tombstones: outcome.tombstones,
            counts_agree: outcome.counts_agree,
            problems: outcome.problems,
        })
    }

    pub(super) fn policies(&self, peer: &Peer) -> Result<Bytes, Problem> {
        self.access.permit::<access::PoliciesRead>(peer)?;
        let policies = self.policies.load();
        let default = policies.get(None).map(|policy| &policy.name);
        let summary = |policy: &Policy| PolicySummary {
            name: policy.name.clone(),
            version: policy.version,
            description: policy.description.clone(),
            default: default == Some(&policy.name),
            entities: policy.entities.len(),
        };
        json(&PolicyList { policies: policies.iter().map(summary).collect() })
    }

    pub(super) fn policy(&self, peer: &Peer, name: &str) -> Result<Bytes, Problem> {
        self.access.permit::<access::PoliciesRead>(peer)?;
        let policies = self.policies.load();
        let unknown =
            || Problem::new(Code::PolicyUnknown, "no policy of this name is loaded; see GET /api/v1/policies");
        let policy = policies.get(Some(name)).ok_or_else(unknown)?;
        let entities = policy.entities.iter().map(|(kind, rule)| (kind.to_string(), description(rule)));
        json(&PolicyDescription {
            name: policy.name.clone(),
            version: policy.version,
            description: policy.description.clone(),
            default: policies.get(None).is_some_and(|default| default.name == policy.name),
            entities: entities.collect(),
        })
    }

    pub(super) async fn policies_reload(&self, peer: &Peer) -> Result<Bytes, Problem> {
        self.access.permit::<access::PoliciesReload>(peer)?;
        match self.reload_policies().await {
            Ok(report) => json(&report),
            Err(ReloadError::Vault(failed)) => Err(failed.into()),
            Err(invalid) => Err(Problem::new(Code::PolicyInvalid, invalid.to_string())),
        }
    }

    pub(super) fn whoami(&self, peer: &Peer) -> Result<Bytes, Problem> {
        let uid = nix::unistd::Uid::from_raw(peer.uid());
        let scopes: BTreeMap<String, bool> =
            Scope::ALL.iter().map(|scope| (scope.to_string(), self.access.allows(peer, *scope))).collect();
        json(&WhoAmI {
            // A user without a name, or a user database that cannot be read, is no reason to say nothing.
            user: nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name),
            uid: peer.uid(),
            gid: peer.gid(),
            pid: peer.pid(),
            attested_by: "peer-credentials".to_owned(),
            mode: "live".to_owned(),
            scopes,
        })
    }
}

fn fine() -> Component {
    Component { status: HealthStatus::Ok, detail: None }
}

fn degraded(detail: String) -> Component {
    Component { status: HealthStatus::Degraded, detail: Some(detail) }
}

fn key_status(generation: GenerationStatus) -> KeyStatus {
    let role = match (generation.loaded, generation.old_since) {
        (Some(role), _) => role,
        (None, _) => Role::Old,
    };
    let needed = generation.records + generation.aliases;
    let reason = match role {
        Role::Active => "new tokens are minted under it".to_owned(),
        Role::Old if needed > 0 => format!("{needed} records and aliases of the vault need it"),
        Role::Old => "the vault needs it no more as far as its books say, which no full pass has proven; tokens that \
                      carry their own value cannot be counted"
            .to_owned(),
    };
    KeyStatus {
        kid: generation.kid.to_string(),
        fingerprint: generation.fingerprint.to_string(),
        generation: role.as_str().to_owned(),
        loaded: generation.loaded.is_some(),
        first_seen: generation.first_seen.map(|at| at.to_string()),
        old_since: generation.old_since.map(|at| at.to_string()),
        grace_ends: generation.grace_ends.map(|at| at.to_string()),
        vault_records: generation.records,
        last_used: generation.last_used.map(|at| at.to_string()),
        removable: false,
        reason,
    }
}

/// What a policy does with a kind, every default filled in.
fn description(rule: &EntityRule) -> EntityDescription {
    let mut description = EntityDescription {
        action: "tokenize".to_owned(),
        kid: None,
        tokenization: None,
        cipher: None,
        deterministic: None,
        normalize: None,
        context: if rule.context_required { "required" } else { "optional" }.to_owned(),
    };
    match &rule.action {
        Action::Redact => description.action = "redact".to_owned(),
        Action::Passthrough => description.action = "passthrough".to_owned(),
        Action::Tokenize(rule) => {
            description.kid = Some(rule.kid.to_string());
            description.tokenization = Some(rule.scheme.name().to_owned());
            match rule.scheme {
                Scheme::VaultDeterministic => {
                    description.normalize = Some(rule.normalizer.name().to_owned());
                    description.deterministic = Some(true);
                }
                Scheme::ReversibleAead(suite) => {
                    description.cipher = Some(Cipher::of(suite).name().to_owned());
                    description.deterministic = Some(suite.is_deterministic());
                }
            }
        }
    }
    description
}
