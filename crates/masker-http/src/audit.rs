//! What the audit log is told of a request, before its answer leaves.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::StatusCode;

use super::{
    Service,
    exchange::{AuditFact, Incident, RequestContext},
    problem::Problem,
    router::Route,
};
use masker_access::{Caller, KeyPrefix, Principal};
use masker_audit as audit;
use masker_audit::{AuditError, AuditEvent, AuditOperation, DetailValue, EncodedCaller, OutcomeCount};
use masker_types::error_code::Code;
use masker_vault::ItemOutcomeKey;

/// What a request is in the log; `None` for those that touch neither values nor keys, policies, credentials or the vault.
pub(super) fn operation(route: Route) -> Option<AuditOperation> {
    Some(match route {
        Route::Tokenize => AuditOperation::Tokenize,
        Route::Rehydrate => AuditOperation::Rehydrate,
        Route::Lookup => AuditOperation::Lookup,
        Route::Rewrap => AuditOperation::Rewrap,
        Route::Forget => AuditOperation::Forget,
        Route::Keys => AuditOperation::KeysRead,
        Route::KeysReload => AuditOperation::KeysReload,
        Route::VaultStats => AuditOperation::VaultStats,
        Route::VaultCheck => AuditOperation::VaultCheck,
        Route::VaultExport => AuditOperation::VaultExport,
        Route::VaultImport => AuditOperation::VaultImport,
        Route::VaultPurge => AuditOperation::VaultPurge,
        Route::VaultCompact => AuditOperation::VaultCompact,
        Route::RotationBegin => AuditOperation::RotationBegin,
        Route::Rotations | Route::Rotation => AuditOperation::RotationRead,
        Route::RotationCancel => AuditOperation::RotationCancel,
        Route::Policies | Route::Policy => AuditOperation::PoliciesRead,
        Route::PoliciesReload => AuditOperation::PoliciesReload,
        Route::ApiKeyCreate => AuditOperation::ApiKeyCreate,
        Route::ApiKeys | Route::ApiKey => AuditOperation::ApiKeyList,
        Route::ApiKeyChange => AuditOperation::ApiKeyChange,
        Route::ApiKeyRotate => AuditOperation::ApiKeyRotate,
        Route::ApiKeyRevoke => AuditOperation::ApiKeyRevoke,
        Route::SessionOpen => AuditOperation::SessionOpen,
        Route::Sessions | Route::Session => AuditOperation::SessionRead,
        Route::SessionClose => AuditOperation::SessionClose,
        Route::HoneytokenPlant => AuditOperation::HoneytokenPlant,
        Route::Honeytokens => AuditOperation::HoneytokenList,
        Route::HoneytokenRemove => AuditOperation::HoneytokenRemove,
        Route::AuditEvents => AuditOperation::AuditRead,
        // Where the log stands tells of no event: whoever watches it would otherwise move it.
        Route::AuditHead | Route::WhoAmI | Route::OpenApi | Route::Health | Route::Metrics => return None,
    })
}

/// How a request ended.
#[derive(Clone, Copy)]
pub(super) struct RequestResult {
    pub(super) route: Option<Route>,
    pub(super) status: StatusCode,
    /// The code of the failure.
    pub(super) code: Option<Code>,
    pub(super) took: Duration,
}

impl Service {
    /// Whether anything may be done that the log must tell of.
    ///
    /// # Errors
    /// `audit.unavailable`: nothing was done.
    pub(super) fn audit_ready(&self) -> Result<(), Problem> {
        self.audit.as_ref().map_or(Ok(()), |log| log.ready()).map_err(unavailable)
    }

    /// Tells the log of a request, if it is one that the log is told of.
    ///
    /// # Errors
    /// `audit.unavailable`: the answer must not leave.
    pub(super) async fn record(
        &self,
        caller_cache: &CallerCache,
        on: &RequestContext,
        ended: RequestResult,
    ) -> Result<(), Problem> {
        let Some(log) = &self.audit else { return Ok(()) };
        let operation = match (&on.incident, ended.route.and_then(operation)) {
            (Some(Incident::Unidentified { .. }), _) => AuditOperation::AuthFailed,
            (Some(Incident::Blocked { .. }), _) => AuditOperation::AuthBlocked,
            (Some(Incident::KeyInUrl), _) => AuditOperation::Refused,
            (None, Some(_)) if on.skip_audit && ended.code.is_none() => return Ok(()),
            (None, Some(operation)) => operation,
            (None, None) if ended.code == Some(Code::PermDenied) => AuditOperation::Denied,
            (None, None) => return Ok(()),
        };
        let caller = caller_cache.text(&on.caller);
        let session = on.account.session.map(|id| id.to_string());
        let counts: Vec<OutcomeCount> = on.account.counts.iter().map(count).collect();
        let mut detail: Vec<(&'static str, DetailValue<'_>)> = Vec::new();
        detail.extend(on.account.facts.iter().map(|(name, fact)| (*name, fact.detail())));
        detail.extend(on.incident.iter().flat_map(Incident::facts));
        let own = AuditEvent {
            caller: Some(&caller),
            request_id: Some(on.id.as_str()),
            policy: on.account.policy.as_deref(),
            session: session.as_deref(),
            ..AuditEvent::new(operation, ended.code.map_or("ok", Code::as_str))
        };
        for crossed in &on.crossed {
            let detail =
                [("limit", DetailValue::Number(crossed.limit)), ("which", DetailValue::Text(crossed.which.as_str()))];
            let event = AuditEvent { detail: &detail, op: AuditOperation::BudgetCrossed, outcome: "warning", ..own };
            log.record(&event).await.map_err(unavailable)?;
        }
        for (id, times) in &on.honeytokens {
            let id = id.to_string();
            let detail = [("honeytoken_id", DetailValue::Text(&id)), ("times", DetailValue::Number(*times))];
            let event =
                AuditEvent { detail: &detail, op: AuditOperation::HoneytokenRehydrated, outcome: "warning", ..own };
            log.record(&event).await.map_err(unavailable)?;
        }
        let event = AuditEvent {
            status: Some(ended.status.as_u16()),
            counts: &counts,
            duration_us: u64::try_from(ended.took.as_micros()).ok(),
            detail: &detail,
            ..own
        };
        log.record(&event).await.map_err(unavailable)
    }
}

/// The caller of a connection as it stands in the log. Nearly always it is the same for all requests.
#[derive(Default)]
pub(super) struct CallerCache(Mutex<Option<(Arc<Principal>, Arc<EncodedCaller>)>>);

impl CallerCache {
    fn text(&self, caller: &Caller) -> Arc<EncodedCaller> {
        let principal = caller.principal();
        let mut caller_cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*caller_cache {
            Some((of, text)) if Arc::ptr_eq(of, principal) => Arc::clone(text),
            _ => {
                let text = Arc::new(text(caller));
                *caller_cache = Some((Arc::clone(principal), Arc::clone(&text)));
                text
            }
        }
    }
}

fn text(caller: &Caller) -> EncodedCaller {
    let (peer, principal) = (caller.peer(), caller.principal());
    let key_id = principal.credential.as_ref().map(|credential| credential.id.to_string());
    EncodedCaller::new(&audit::CallerIdentity {
        gid: peer.gid(),
        key_id: key_id.as_deref(),
        key_prefix: principal.credential.as_ref().map(|credential| credential.prefix.as_str()),
        mode: principal.mode.as_str(),
        name: &principal.name,
        pid: peer.pid(),
        uid: peer.uid(),
        unit: peer.unit(),
    })
}

fn count((outcome, items): &(ItemOutcomeKey, u64)) -> OutcomeCount {
    OutcomeCount {
        fingerprint: outcome.fingerprint,
        generation: outcome.role,
        items: *items,
        kid: outcome.kid,
        kind: outcome.kind,
        outcome: outcome.outcome,
    }
}

impl AuditFact {
    fn detail(&self) -> DetailValue<'_> {
        match self {
            AuditFact::Text(text) => DetailValue::Text(text),
            AuditFact::Number(number) => DetailValue::Number(*number),
            AuditFact::Flag(flag) => DetailValue::Flag(*flag),
        }
    }
}

impl Incident {
    fn facts(&self) -> Option<(&'static str, DetailValue<'_>)> {
        match self {
            Incident::Unidentified { prefix } | Incident::Blocked { prefix } => {
                prefix.as_ref().map(|prefix: &KeyPrefix| ("shown_prefix", DetailValue::Text(prefix.as_str())))
            }
            Incident::KeyInUrl => Some(("reason", DetailValue::Text("an API key in a URL"))),
        }
    }
}

fn unavailable(failed: AuditError) -> Problem {
    let detail = "the audit log cannot be written, and without it nothing is answered; tell the operator: `masker health` \
                  and the daemon's log say why";
    Problem { cause: Some(failed.to_string()), ..Problem::new(Code::AuditUnavailable, detail) }
}
