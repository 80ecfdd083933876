//! The audit events of a request, recorded before its answer is sent.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use data_encoding::HEXLOWER;
use hyper::StatusCode;

use super::{
    Service,
    context::{AuditFact, Incident, RequestContext},
    honeytoken_uses::HoneytokenUses,
    problem::Problem,
    refusal_counts::{CountedRefusals, LastRefusal, RefusalKind},
    route::AuditRule,
};
use masker_access::{Caller, KeyPrefix, Principal};
use masker_audit as audit;
use masker_audit::{AuditError, AuditEvent, AuditLog, AuditOperation, DetailValue, EncodedCaller, OutcomeCount};
use masker_core::crypto::TokenId;
use masker_types::{certificate::PublicKeyDigest, error_code::Code};
use masker_vault::ItemOutcomeKey;

/// Marks of erased records in one event. A line of the log has room for three times as many.
const MARKS_PER_EVENT: usize = 10_000;

/// How a request ended.
#[derive(Clone, Copy)]
pub(super) struct RequestResult {
    pub(super) status: StatusCode,
    /// The code of the operation's failure.
    pub(super) code: Option<Code>,
    pub(super) took: Duration,
}

impl Service {
    /// Checks that the audit log can record an operation.
    ///
    /// # Errors
    /// `audit.unavailable`: the operation must not begin.
    pub(super) fn audit_ready(&self) -> Result<(), Problem> {
        self.audit.as_ref().map_or(Ok(()), |log| log.ready()).map_err(unavailable)
    }

    /// Records a request, if its route or its refusal calls for it.
    ///
    /// # Errors
    /// `audit.unavailable`: the answer must not be sent.
    pub(super) async fn record(&self, ctx: &RequestContext, ended: RequestResult) -> Result<(), Problem> {
        let audited = match ctx.route.map(|route| route.audit) {
            Some(AuditRule::Operation(operation)) => Some(ctx.audit_as.unwrap_or(operation)),
            Some(AuditRule::Unaudited(_)) | None => None,
        };
        let operation = match (&ctx.incident, audited) {
            (Some(Incident::Unidentified { .. }), _) => AuditOperation::AuthFailed,
            (Some(Incident::Blocked { .. }), _) => AuditOperation::AuthBlocked,
            (Some(Incident::KeyInUrl | Incident::Refused(_)), _) => AuditOperation::Refused,
            (Some(Incident::NoRole { .. }), _) => AuditOperation::Denied,
            (None, Some(_)) if ctx.skip_audit && ended.status.is_success() => return Ok(()),
            (None, Some(operation)) => operation,
            (None, None) if ended.code == Some(Code::PermDenied) => AuditOperation::Denied,
            (None, None) => return Ok(()),
        };
        let log = self.audit.as_ref();
        let caller = ctx.connection.caller_cache.text(&ctx.caller);
        if let Some(code) = refusal_code(ended, ctx) {
            let principal = ctx.caller.principal();
            let kind = RefusalKind {
                uid: ctx.caller.peer().uid(),
                name: principal.name.clone(),
                key_prefix: shown_prefix(ctx).map(|prefix| prefix.as_str().to_owned()),
                certificate: shown_certificate(ctx),
                address: ctx.caller.network_address(),
                route: ctx.route.map(|route| route.index),
                op: operation,
                outcome: code.as_str(),
                shows_honeytokens: !ctx.honeytokens.is_empty(),
            };
            let (caller, status) = (Arc::clone(&caller), ended.status.as_u16());
            let fact = ctx.incident.as_ref().and_then(Incident::fact);
            let honeytokens = HoneytokenUses::default().merged_with(&ctx.honeytokens);
            if !self.refusals.note(kind, LastRefusal { caller, request_id: ctx.id, status, fact, honeytokens }) {
                return self.audit_ready();
            }
        }
        // First: the alarm is raised also if the log cannot be written.
        let principal = ctx.caller.principal();
        ctx.honeytokens.log(ctx.id, ctx.caller.peer().uid(), &principal.name);
        if refusal_code(ended, ctx).is_some() {
            self.audit_ready()?;
        }
        let Some(log) = log else { return Ok(()) };
        let session = ctx.details.session.map(|id| id.to_string());
        let counts: Vec<OutcomeCount> = ctx.details.counts.iter().map(outcome_count).collect();
        let mut detail: Vec<(&'static str, DetailValue<'_>)> = Vec::new();
        detail.extend(ctx.details.facts.iter().map(|(name, fact)| (*name, fact.detail())));
        let fact = ctx.incident.as_ref().and_then(Incident::fact);
        detail.extend(fact.iter().map(|(name, text)| (*name, DetailValue::Text(text))));
        let own = AuditEvent {
            caller: Some(&caller),
            request_id: Some(ctx.id.as_str()),
            policy: ctx.details.policy.as_deref(),
            session: session.as_deref(),
            ..AuditEvent::new(operation, ended.code.map_or("ok", Code::as_str))
        };
        for warning in &ctx.budget_warnings {
            let detail =
                [("limit", DetailValue::Number(warning.limit)), ("which", DetailValue::Text(warning.which.as_str()))];
            let event = AuditEvent { detail: &detail, op: AuditOperation::BudgetCrossed, outcome: "warning", ..own };
            log.record(&event).await.map_err(unavailable)?;
        }
        ctx.honeytokens.record(log, &own).await.map_err(unavailable)?;
        // All but the last events of a request have marks alone.
        let (mut erased, mut text) = (ctx.details.erased.chunks(MARKS_PER_EVENT).peekable(), String::new());
        while let Some(ids) = erased.next() {
            text = marks(log, ids);
            if erased.peek().is_some() {
                let detail = [("erased", DetailValue::Text(&text))];
                log.record(&AuditEvent { detail: &detail, ..own }).await.map_err(unavailable)?;
            }
        }
        if !text.is_empty() {
            detail.push(("erased", DetailValue::Text(&text)));
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

/// Returns the marks of erased records, in hex with spaces between them.
fn marks(log: &AuditLog, ids: &[TokenId]) -> String {
    let marks: Vec<String> = ids.iter().map(|id| HEXLOWER.encode(&log.erasure_mark(id))).collect();
    marks.join(" ")
}

impl Service {
    /// Records the refusals that were counted since their first. Call this once a second.
    pub async fn record_counted_refusals(&self) {
        self.record_counted(self.refusals.take_ended()).await;
    }

    /// Records all refusals that were counted, also of the current second. Call this once all requests have ended.
    pub async fn record_all_counted_refusals(&self) {
        self.record_counted(self.refusals.take_all()).await;
    }

    async fn record_counted(&self, counts: Vec<CountedRefusals>) {
        let mut unrecorded = Vec::new();
        for mut counted in counts {
            if !counted.is_logged {
                counted.last.honeytokens.log(counted.last.request_id, counted.uid, &counted.name);
                counted.is_logged = true;
            }
            let Some(log) = &self.audit else { continue };
            let CountedRefusals { last, op, outcome, .. } = &mut counted;
            let own = AuditEvent {
                caller: Some(&last.caller),
                request_id: Some(last.request_id.as_str()),
                ..AuditEvent::new(*op, outcome)
            };
            if last.honeytokens.record(log, &own).await.is_err() {
                unrecorded.push(counted);
                continue;
            }
            // If the next event fails, another attempt does not record them again.
            last.honeytokens = HoneytokenUses::default();
            let last = &counted.last;
            let mut detail = vec![("repeated", DetailValue::Number(counted.repeated))];
            detail.extend(last.fact.iter().map(|(name, text)| (*name, DetailValue::Text(text))));
            let event = AuditEvent {
                caller: Some(&last.caller),
                request_id: Some(last.request_id.as_str()),
                status: Some(last.status),
                detail: &detail,
                ..AuditEvent::new(counted.op, counted.outcome)
            };
            // While the log cannot be written, health says so, and these are tried again.
            if log.record(&event).await.is_err() {
                unrecorded.push(counted);
            }
        }
        self.refusals.put_back(unrecorded);
    }
}

/// Returns the code of a request that was refused and has done nothing, so that its event says no more than the one before.
/// What fails by the state of the vault (409 and 422) has an event each, and so has a streamed answer that began: its status
/// is that of a success.
fn refusal_code(ended: RequestResult, ctx: &RequestContext) -> Option<Code> {
    let is_refusal = |code: &Code| match code {
        Code::Overloaded | Code::PolicyUnknown => true,
        code => (400..500).contains(&code.status()) && !matches!(code.status(), 409 | 422),
    };
    let has_done_nothing =
        ctx.details.counts.is_empty() && ctx.details.facts.is_empty() && ctx.budget_warnings.is_empty();
    ended.code.filter(is_refusal).filter(|_| has_done_nothing && !ended.status.is_success())
}

/// The caller of a connection as audit events hold it. Nearly always it is the same for all requests.
#[derive(Default)]
pub(super) struct CallerCache(Mutex<Option<CachedCaller>>);

struct CachedCaller {
    principal: Arc<Principal>,
    origin: CallerOrigin,
    text: Arc<EncodedCaller>,
}

/// What tells callers apart that act as one principal.
#[derive(PartialEq)]
struct CallerOrigin {
    /// The secret that it presented.
    prefix: Option<KeyPrefix>,
    /// The public key of its certificate.
    certificate: Option<PublicKeyDigest>,
    gateway: Option<String>,
    address: Option<IpAddr>,
}

impl CallerOrigin {
    fn of(caller: &Caller) -> Self {
        CallerOrigin {
            prefix: caller.key_prefix(),
            certificate: caller.certificate(),
            gateway: caller.gateway().map(str::to_owned),
            address: caller.address(),
        }
    }
}

impl CallerCache {
    fn text(&self, caller: &Caller) -> Arc<EncodedCaller> {
        let principal = caller.principal();
        let origin = CallerOrigin::of(caller);
        let mut caller_cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*caller_cache {
            Some(cached) if Arc::ptr_eq(&cached.principal, principal) && cached.origin == origin => {
                Arc::clone(&cached.text)
            }
            _ => {
                let text = Arc::new(encode_caller(caller));
                let principal = Arc::clone(principal);
                *caller_cache = Some(CachedCaller { principal, origin, text: Arc::clone(&text) });
                text
            }
        }
    }
}

fn encode_caller(caller: &Caller) -> EncodedCaller {
    let (peer, principal) = (caller.peer(), caller.principal());
    let key_prefix = caller.key_prefix();
    let key_id = principal.credential.as_ref().map(|credential| credential.id.to_string());
    let certificate = caller.certificate().map(|key| key.to_string());
    let address = caller.address().map(|address| address.to_string());
    EncodedCaller::new(&audit::CallerIdentity {
        address: address.as_deref(),
        certificate: certificate.as_deref(),
        gateway: caller.gateway(),
        gid: peer.gid(),
        key_id: key_id.as_deref(),
        key_prefix: key_prefix.as_ref().map(KeyPrefix::as_str),
        mode: principal.mode.as_str(),
        name: &principal.name,
        pid: peer.pid(),
        uid: peer.uid(),
        unit: peer.unit(),
    })
}

fn outcome_count((outcome, items): &(ItemOutcomeKey, u64)) -> OutcomeCount {
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
    fn fact(&self) -> Option<(&'static str, String)> {
        match self {
            Incident::Unidentified { prefix } | Incident::Blocked { prefix } => {
                prefix.as_ref().map(|prefix: &KeyPrefix| ("shown_prefix", prefix.as_str().to_owned()))
            }
            Incident::KeyInUrl => Some(("reason", "an API key in a URL".to_owned())),
            Incident::Refused(reason) => Some(("reason", (*reason).to_owned())),
            Incident::NoRole { certificate } => Some(("certificate", certificate.to_string())),
        }
    }
}

/// Returns the prefix of the API key that a request has shown, also of one that was not accepted. While attempts are blocked,
/// keys are not distinguished: a caller who guesses must not fill the log.
fn shown_prefix(ctx: &RequestContext) -> Option<KeyPrefix> {
    let refused = match &ctx.incident {
        Some(Incident::Unidentified { prefix }) => *prefix,
        _ => None,
    };
    refused.or_else(|| ctx.caller.key_prefix())
}

/// Returns the public key of the certificate that a request has shown, also of one without a role.
fn shown_certificate(ctx: &RequestContext) -> Option<PublicKeyDigest> {
    match &ctx.incident {
        Some(Incident::NoRole { certificate }) => Some(*certificate),
        _ => ctx.caller.certificate(),
    }
}

fn unavailable(failed: AuditError) -> Problem {
    let detail = "the audit log cannot be written, and without it nothing is answered; ask the operator to look at \
                  `masker health` and the daemon's log";
    Problem { cause: Some(failed.to_string()), ..Problem::new(Code::AuditUnavailable, detail) }
}
