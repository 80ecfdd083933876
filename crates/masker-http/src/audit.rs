//! What the audit log is told of a request, before its answer leaves.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::StatusCode;

use super::{
    Service,
    exchange::{Exchange, Fact, Incident},
    problem::Problem,
    router::Route,
};
use masker_access::{Caller, KeyPrefix, Principal};
use masker_audit as audit;
use masker_audit::{AuditError, CallerText, Count, Detail, Event, Operation};
use masker_types::code::Code;
use masker_vault::Outcome;

/// What a request is in the log; `None` for those that touch neither values nor keys, policies, credentials or the vault.
pub(super) fn operation(route: Route) -> Option<Operation> {
    Some(match route {
        Route::Tokenize => Operation::Tokenize,
        Route::Rehydrate => Operation::Rehydrate,
        Route::Lookup => Operation::Lookup,
        Route::Rewrap => Operation::Rewrap,
        Route::Forget => Operation::Forget,
        Route::Keys => Operation::KeysRead,
        Route::KeysReload => Operation::KeysReload,
        Route::VaultStats => Operation::VaultStats,
        Route::VaultCheck => Operation::VaultCheck,
        Route::VaultExport => Operation::VaultExport,
        Route::VaultImport => Operation::VaultImport,
        Route::VaultPurge => Operation::VaultPurge,
        Route::VaultCompact => Operation::VaultCompact,
        Route::RotationBegin => Operation::RotationBegin,
        Route::Rotations | Route::Rotation => Operation::RotationRead,
        Route::RotationCancel => Operation::RotationCancel,
        Route::Policies | Route::Policy => Operation::PoliciesRead,
        Route::PoliciesReload => Operation::PoliciesReload,
        Route::ApiKeyCreate => Operation::ApiKeyCreate,
        Route::ApiKeys | Route::ApiKey => Operation::ApiKeyList,
        Route::ApiKeyChange => Operation::ApiKeyChange,
        Route::ApiKeyRotate => Operation::ApiKeyRotate,
        Route::ApiKeyRevoke => Operation::ApiKeyRevoke,
        Route::SessionOpen => Operation::SessionOpen,
        Route::Sessions | Route::Session => Operation::SessionRead,
        Route::SessionClose => Operation::SessionClose,
        Route::HoneytokenPlant => Operation::HoneytokenPlant,
        Route::Honeytokens => Operation::HoneytokenList,
        Route::HoneytokenRemove => Operation::HoneytokenRemove,
        Route::AuditEvents => Operation::AuditRead,
        // Where the log stands tells of no event: whoever watches it would otherwise move it.
        Route::AuditHead | Route::WhoAmI | Route::OpenApi | Route::Health | Route::Metrics => return None,
    })
}

/// How a request ended.
#[derive(Clone, Copy)]
pub(super) struct Ended {
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
    pub(super) async fn record(&self, known: &Known, on: &Exchange, ended: Ended) -> Result<(), Problem> {
        let Some(log) = &self.audit else { return Ok(()) };
        let operation = match (&on.incident, ended.route.and_then(operation)) {
            (Some(Incident::Unidentified { .. }), _) => Operation::AuthFailed,
            (Some(Incident::Blocked { .. }), _) => Operation::AuthBlocked,
            (Some(Incident::KeyInUrl), _) => Operation::Refused,
            (None, Some(_)) if on.untold && ended.code.is_none() => return Ok(()),
            (None, Some(operation)) => operation,
            (None, None) if ended.code == Some(Code::PermDenied) => Operation::Denied,
            (None, None) => return Ok(()),
        };
        let caller = known.text(&on.caller);
        let session = on.account.session.map(|id| id.to_string());
        let counts: Vec<Count> = on.account.counts.iter().map(count).collect();
        let mut detail: Vec<(&'static str, Detail<'_>)> = Vec::new();
        detail.extend(on.account.facts.iter().map(|(name, fact)| (*name, fact.detail())));
        detail.extend(on.incident.iter().flat_map(Incident::facts));
        let own = Event {
            caller: Some(&caller),
            request_id: Some(on.id.as_str()),
            policy: on.account.policy.as_deref(),
            session: session.as_deref(),
            ..Event::new(operation, ended.code.map_or("ok", Code::as_str))
        };
        for crossed in &on.crossed {
            let detail = [("limit", Detail::Number(crossed.limit)), ("which", Detail::Text(crossed.which.as_str()))];
            let event = Event { detail: &detail, op: Operation::BudgetCrossed, outcome: "warning", ..own };
            log.record(&event).await.map_err(unavailable)?;
        }
        for (id, times) in &on.honeytokens {
            let id = id.to_string();
            let detail = [("honeytoken_id", Detail::Text(&id)), ("times", Detail::Number(*times))];
            let event = Event { detail: &detail, op: Operation::HoneytokenRehydrated, outcome: "warning", ..own };
            log.record(&event).await.map_err(unavailable)?;
        }
        let event = Event {
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
pub(super) struct Known(Mutex<Option<(Arc<Principal>, Arc<CallerText>)>>);

impl Known {
    fn text(&self, caller: &Caller) -> Arc<CallerText> {
        let principal = caller.principal();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, text)) if Arc::ptr_eq(of, principal) => Arc::clone(text),
            _ => {
                let text = Arc::new(text(caller));
                *known = Some((Arc::clone(principal), Arc::clone(&text)));
                text
            }
        }
    }
}

fn text(caller: &Caller) -> CallerText {
    let (peer, principal) = (caller.peer(), caller.principal());
    let key_id = principal.credential.as_ref().map(|credential| credential.id.to_string());
    CallerText::new(&audit::Caller {
        gid: peer.gid(),
        key_id: key_id.as_deref(),
        key_prefix: principal.credential.as_ref().map(|credential| credential.prefix.as_str()),
        mode: principal.world.as_str(),
        name: &principal.name,
        pid: peer.pid(),
        uid: peer.uid(),
        unit: peer.unit(),
    })
}

fn count((outcome, items): &(Outcome, u64)) -> Count {
    Count {
        fingerprint: outcome.fingerprint,
        generation: outcome.role,
        items: *items,
        kid: outcome.kid,
        kind: outcome.kind,
        outcome: outcome.outcome,
    }
}

impl Fact {
    fn detail(&self) -> Detail<'_> {
        match self {
            Fact::Text(text) => Detail::Text(text),
            Fact::Number(number) => Detail::Number(*number),
            Fact::Flag(flag) => Detail::Flag(*flag),
        }
    }
}

impl Incident {
    fn facts(&self) -> Option<(&'static str, Detail<'_>)> {
        match self {
            Incident::Unidentified { prefix } | Incident::Blocked { prefix } => {
                prefix.as_ref().map(|prefix: &KeyPrefix| ("shown_prefix", Detail::Text(prefix.as_str())))
            }
            Incident::KeyInUrl => Some(("reason", Detail::Text("an API key in a URL"))),
        }
    }
}

fn unavailable(failed: AuditError) -> Problem {
    let detail = "the audit log cannot be written, and without it nothing is answered; tell the operator: `masker health` \
                  and the daemon's log say why";
    Problem { cause: Some(failed.to_string()), ..Problem::new(Code::AuditUnavailable, detail) }
}
