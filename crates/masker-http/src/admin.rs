//! Handlers about the daemon itself.

use std::{collections::BTreeMap, time::Duration};

use hyper::body::Bytes;
use tokio::time::timeout;

use super::{
    ReloadError, ReloadOutcome, ReloadTarget, Service, exchange::RequestContext, problem::Problem, values::json,
};
use masker_api::{
    CheckReport, Component, Components, EntityDescription, Health, HealthStatus, KidRecords, PolicyDescription,
    PolicyList, PolicySummary, ReloadReport, VaultStats, WhoAmI,
};
use masker_core::{
    keyring::Role,
    policy::{Action, EntityRule, Policy, PolicyCipher, Scheme},
};
use masker_types::{
    error_code::Code,
    grant::{ContextPattern, Scope},
};

/// Time in which the store must answer for the daemon to call itself healthy, in seconds.
const PING_SECONDS_MAX: u64 = 2;

impl Service {
    pub(super) async fn health(&self) -> Result<(HealthStatus, Bytes), Problem> {
        let components = Components {
            vault: self.vault_health().await,
            keys: self.keys_health(),
            audit_log: match &self.audit {
                None => Component {
                    status: HealthStatus::Off,
                    detail: Some("MASKER_AUDIT_HMAC_KEY is not set: there is no audit log".to_owned()),
                },
                Some(log) => log.health().map_or_else(degraded, |()| fine()),
            },
            policies: match self.refused.load().policies.clone() {
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

    pub(super) async fn vault_stats(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        on.permit::<masker_access::VaultRead>()?;
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

    pub(super) async fn vault_check(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultAdmin>()?;
        let outcome = self.vault.check(&permit).await?;
        on.number("records", outcome.records);
        on.number("damaged", outcome.damaged_records + outcome.damaged_aliases);
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

    pub(super) fn policies(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        on.permit::<masker_access::PoliciesRead>()?;
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

    pub(super) fn policy(&self, on: &mut RequestContext, name: &str) -> Result<Bytes, Problem> {
        on.permit::<masker_access::PoliciesRead>()?;
        let policies = self.policies.load();
        let unknown =
            || Problem::new(Code::PolicyUnknown, "no policy of this name is loaded; see GET /api/v1/policies");
        let policy = policies.get(Some(name)).ok_or_else(unknown)?;
        on.set_policy(policy);
        let entities = policy.entities.iter().map(|(kind, rule)| (kind.to_string(), description(rule)));
        json(&PolicyDescription {
            name: policy.name.clone(),
            version: policy.version,
            description: policy.description.clone(),
            default: policies.get(None).is_some_and(|default| default.name == policy.name),
            entities: entities.collect(),
        })
    }

    pub(super) async fn policies_reload(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        on.permit::<masker_access::PoliciesReload>()?;
        match self.reload(ReloadTarget::Policies).await {
            Ok(ReloadOutcome { policies, warnings }) => {
                on.number("policies", policies as u64);
                json(&ReloadReport { policies, warnings })
            }
            Err(ReloadError::Vault(failed)) => Err(failed.into()),
            Err(invalid) => Err(Problem::new(Code::PolicyInvalid, invalid.to_string())),
        }
    }

    pub(super) fn whoami(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        let (peer, principal) = (on.caller.peer(), on.caller.principal());
        let uid = nix::unistd::Uid::from_raw(peer.uid());
        let given = &principal.grant.scopes;
        let mut scopes: BTreeMap<String, bool> =
            Scope::ALL.iter().map(|scope| (scope.to_string(), given.allows(*scope))).collect();
        scopes.extend(given.kinds().map(|(scope, kind)| (format!("{scope}:{kind}"), true)));
        json(&WhoAmI {
            name: principal.name.clone(),
            // A user without a name, or a user database that cannot be read, is no reason to say nothing.
            user: nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name),
            uid: peer.uid(),
            workspace: principal.credential.as_ref().map(|credential| credential.workspace.clone()),
            key_prefix: principal.credential.as_ref().map(|credential| credential.prefix.as_str().to_owned()),
            limits: *principal.limiter.limits(),
            limits_left: principal
                .limiter
                .statuses(on.timestamps)
                .into_iter()
                .chain(principal.budget.statuses(on.timestamps))
                .map(|rate_limit| (rate_limit.which.to_string(), rate_limit.remaining))
                .collect(),
            gid: peer.gid(),
            pid: peer.pid(),
            unit: peer.unit().map(str::to_owned),
            attested_by: if principal.credential.is_some() { "api-key" } else { "peer-credentials" }.to_owned(),
            mode: principal.mode.as_str().to_owned(),
            policies: principal.grant.policies.as_ref().map(|names| names.iter().cloned().collect()),
            contexts: principal
                .grant
                .contexts
                .as_ref()
                .map(|patterns| patterns.iter().map(ContextPattern::to_text).collect()),
            scopes,
        })
    }
}

pub(super) fn fine() -> Component {
    Component { status: HealthStatus::Ok, detail: None }
}

pub(super) fn degraded(detail: String) -> Component {
    Component { status: HealthStatus::Degraded, detail: Some(detail) }
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
                    description.cipher = Some(PolicyCipher::of(suite).name().to_owned());
                    description.deterministic = Some(suite.is_deterministic());
                }
            }
        }
    }
    description
}
