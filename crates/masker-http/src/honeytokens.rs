//! Handlers of honeytokens, and what is told when somebody shows one.

use std::sync::Arc;

use hyper::body::Bytes;
use tracing::{info, warn};

use super::{
    Service,
    body::parse,
    exchange::RequestContext,
    problem::Problem,
    values::{json, named},
};
use masker_api::{Honeytoken, HoneytokenList, HoneytokenPlant, HoneytokenPlanted};
use masker_types::error_code::Code;
use masker_vault::{HoneytokenError, HoneytokenId, HoneytokenRequest, HoneytokenStatus};

impl Service {
    pub(super) async fn honeytoken_plant(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultAdmin>()?;
        let request: HoneytokenPlant<'_> = parse(body)?;
        let policies = Arc::clone(&on.policies);
        let policy = named(policies.get(request.policy.as_deref()))?;
        on.set_policy(policy);
        let caller = on.caller.principal();
        let request = HoneytokenRequest {
            kind: &request.kind,
            value: request.value.as_deref(),
            context: request.context.as_deref().unwrap_or_default(),
            label: request.label.as_deref().unwrap_or_default(),
            planted_by: caller.label(),
        };
        let planted = self.vault.plant_honeytoken(&permit, policy, &request).await?;
        let id = planted.status.id.to_string();
        info!(request_id = on.id.as_str(), uid = on.caller.peer().uid(), honeytoken = id, "a honeytoken was planted");
        on.fact("honeytoken_id", id);
        json(&HoneytokenPlanted { token: planted.token.into(), honeytoken: honeytoken(planted.status) })
    }

    pub(super) fn honeytokens(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultRead>()?;
        json(&HoneytokenList { honeytokens: self.vault.honeytokens(&permit).into_iter().map(honeytoken).collect() })
    }

    pub(super) async fn honeytoken_remove(&self, on: &mut RequestContext, id: &str) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultAdmin>()?;
        let id = HoneytokenId::parse(id).ok_or(HoneytokenError::NotFound)?;
        let removed = self.vault.remove_honeytoken(&permit, id).await?;
        on.fact("honeytoken_id", removed.id.to_string());
        json(&honeytoken(removed))
    }

    /// Notes which of the tokens that a request showed are honeytokens, whatever became of them: who has one has it from
    /// where it was planted.
    pub(super) fn record_honeytokens(&self, on: &mut RequestContext, shown: impl Iterator<Item = HoneytokenId>) {
        for id in shown {
            *on.honeytokens.entry(id).or_default() += 1;
        }
        for (id, times) in &on.honeytokens {
            self.metrics.vault.honeytokens_rehydrated.inc_by(*times);
            let (uid, honeytoken) = (on.caller.peer().uid(), id.to_string());
            let caller = &on.caller.principal().name;
            warn!(request_id = on.id.as_str(), uid, caller, honeytoken, times, "a honeytoken was shown");
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
            HoneytokenError::NotTokenized(_) | HoneytokenError::InUse | HoneytokenError::TooMany => {
                Code::HoneytokenRefused
            }
        };
        Problem::new(code, error.to_string())
    }
}

fn honeytoken(status: HoneytokenStatus) -> Honeytoken {
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
