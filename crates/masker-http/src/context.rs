//! The context of a request: its caller, the rest of its limits, and the content of its audit event.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    address_requests::AddressSlot,
    audit::CallerCache,
    honeytoken_uses::HoneytokenUses,
    problem::Problem,
    request_id::RequestId,
    route::Route,
    seat::{OperationSlot, Seat},
    shares::Charge,
};
use crate::metrics::Metrics;
use masker_access::{BudgetWarning, Caller, KeyPrefix, Peer, Permit, RateLimitStatus, ScopedOperation, Timestamps};
use masker_audit::AuditOperation;
use masker_core::{
    crypto::TokenId,
    policy::{Policy, PolicySet},
};
use masker_types::certificate::PublicKeyDigest;
use masker_vault::{BatchResult, EnteredSession, ItemOutcomeKey, LongReads, SessionId};

/// What all requests of a connection share. Operations that outlive the connection keep it, and so its place.
pub(super) struct ConnectionInfo {
    /// The process at the other end, as the kernel attests it.
    pub(super) peer: Arc<Peer>,
    pub(super) caller_cache: CallerCache,
    pub(super) seat: Arc<Seat>,
    /// The connection's part of all connections.
    pub(super) _charge: Charge,
}

/// What a request has with it on its way through the service.
pub(super) struct RequestContext {
    pub(super) id: RequestId,
    pub(super) connection: Arc<ConnectionInfo>,
    pub(super) route: Option<&'static Route>,
    /// When its head was read.
    pub(super) started: Instant,
    /// The same, for limits.
    pub(super) timestamps: Timestamps,
    pub(super) caller: Caller,
    /// The policies that were in force when the request began.
    pub(super) policies: Arc<PolicySet>,
    pub(super) details: AuditDetails,
    /// Whether its URL may have an API key in its fragment.
    pub(super) key_in_fragment: bool,
    /// Why its caller is not known.
    pub(super) incident: Option<Incident>,
    /// How long its refusal is held back.
    pub(super) refusal_delay: Duration,
    /// Whether the caller's limits were asked.
    pub(super) admitted: bool,
    /// Values that were found in its texts so far, and taken from the limits.
    pub(super) values_found: u64,
    /// What the tightest of them has left.
    pub(super) rate_limit: Option<RateLimitStatus>,
    /// Budgets of the caller that this request has nearly used up.
    pub(super) budget_warnings: Vec<BudgetWarning>,
    /// The session that it works in.
    pub(super) session: Option<EnteredSession>,
    /// The memory that its operation and its answer are charged with; `None` if they are small.
    pub(super) charge: Option<Charge>,
    /// Counts it among the requests of its address.
    pub(super) address_slot: Option<AddressSlot>,
    /// Counts its operation as long as it is at work.
    pub(super) operation: Option<OperationSlot>,
    /// Honeytokens that it showed, with how often.
    pub(super) honeytokens: HoneytokenUses,
    /// Whether it leaves no event where it succeeds.
    pub(super) skip_audit: bool,
    /// The operation of its audit event, if it is not that of its route.
    pub(super) audit_as: Option<AuditOperation>,
    /// Whether it ended the API key that it was made with. Its own answer is sent nevertheless.
    pub(super) ended_own_key: bool,
}

/// Why a request was refused before its caller was known.
pub(super) enum Incident {
    /// Its credential was not accepted.
    Unidentified {
        /// The part of the credential that may be shown, where there is one.
        prefix: Option<KeyPrefix>,
    },
    /// Its credential was not accepted, after many others.
    Blocked {
        /// The part of the credential that may be shown, where there is one.
        prefix: Option<KeyPrefix>,
    },
    /// It had an API key in its URL.
    KeyInUrl,
    /// What its gateway asserts was not accepted, or it had two credentials.
    Refused(&'static str),
    /// Its certificate has no role, or several.
    NoRole {
        /// The SHA-256 of its public key.
        certificate: PublicKeyDigest,
    },
}

/// The details of an audit event: names that the operator gave, and numbers.
#[derive(Default)]
pub(super) struct AuditDetails {
    /// The policy that was applied.
    pub(super) policy: Option<String>,
    /// The session that the request is about, or works in.
    pub(super) session: Option<SessionId>,
    /// How many items had which outcome.
    pub(super) counts: Vec<(ItemOutcomeKey, u64)>,
    /// Further facts, by name.
    pub(super) facts: Vec<(&'static str, AuditFact)>,
    /// The records that are erased now.
    pub(super) erased: Vec<TokenId>,
}

/// A fact for the audit log.
pub(super) enum AuditFact {
    /// A name or an id that the daemon or its operator has given.
    Text(String),
    /// A number.
    Number(u64),
    /// Whether something is so.
    Flag(bool),
}

impl RequestContext {
    /// Returns the context of a request of which only the process that makes it is known.
    pub(super) fn new(
        connection: Arc<ConnectionInfo>,
        id: RequestId,
        caller: Caller,
        policies: Arc<PolicySet>,
        (started, timestamps): (Instant, Timestamps),
    ) -> Self {
        RequestContext {
            id,
            connection,
            route: None,
            started,
            timestamps,
            caller,
            policies,
            details: AuditDetails::default(),
            key_in_fragment: false,
            incident: None,
            refusal_delay: Duration::ZERO,
            admitted: false,
            values_found: 0,
            rate_limit: None,
            budget_warnings: Vec::new(),
            session: None,
            charge: None,
            address_slot: None,
            operation: None,
            honeytokens: HoneytokenUses::default(),
            skip_audit: false,
            audit_as: None,
            ended_own_key: false,
        }
    }

    /// Returns the context of the same request, as it was before its body was read.
    pub(super) fn copy_of_head(&self) -> Self {
        let (connection, policies) = (Arc::clone(&self.connection), Arc::clone(&self.policies));
        let times = (self.started, self.timestamps);
        let head = RequestContext::new(connection, self.id, self.caller.clone(), policies, times);
        RequestContext { route: self.route, admitted: self.admitted, ..head }
    }

    /// Returns whether it has done something that an event has to tell.
    pub(super) fn has_to_record(&self) -> bool {
        !self.details.counts.is_empty() || !self.honeytokens.is_empty() || !self.budget_warnings.is_empty()
    }

    /// Begins a further event of the same request: what was recorded is not recorded again.
    pub(super) fn begin_event(&mut self) {
        self.details.counts.clear();
        self.details.facts.clear();
        self.details.erased.clear();
        self.honeytokens = HoneytokenUses::default();
        self.budget_warnings.clear();
    }

    /// Returns whether the caller is known.
    pub(super) fn is_identified(&self) -> bool {
        self.incident.is_none()
    }

    /// Notes that budgets are nearly used up.
    pub(super) fn add_budget_warnings(&mut self, warnings: Vec<BudgetWarning>, metrics: &Metrics) {
        for warning in warnings {
            metrics.access.budget_warnings.with_label_values(&[warning.which.as_str()]).inc();
            self.budget_warnings.push(warning);
        }
    }

    /// Returns a permit for the caller.
    ///
    /// # Errors
    /// `perm.denied`, with the scope that is lacking.
    pub(super) fn permit<O: ScopedOperation>(&self) -> Result<Permit<O>, Problem> {
        Ok(self.caller.permit(&self.policies)?)
    }

    /// Returns the reads of whole sessions of the user who calls.
    pub(super) fn long_reads(&self) -> &LongReads {
        &self.connection.seat.account.long_reads
    }

    /// Notes the policy that is applied.
    pub(super) fn set_policy(&mut self, policy: &Policy) {
        self.details.policy = Some(policy.name.clone());
    }

    /// Notes the items' outcomes, and returns the results.
    pub(super) fn record_outcomes<T>(&mut self, batch: BatchResult<T>) -> Vec<T> {
        self.details.erased = batch.erased;
        for (outcome, items) in batch.counts {
            self.add_count(outcome, items);
        }
        batch.results
    }

    /// Notes the outcome of one more item.
    pub(super) fn count(&mut self, outcome: ItemOutcomeKey) {
        self.add_count(outcome, 1);
    }

    fn add_count(&mut self, outcome: ItemOutcomeKey, items: u64) {
        match self.details.counts.iter_mut().find(|(seen, _)| *seen == outcome) {
            Some((_, count)) => *count += items,
            None => self.details.counts.push((outcome, items)),
        }
    }

    /// Notes a number.
    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        self.put(name, AuditFact::Number(number));
    }

    /// Notes whether something is so.
    pub(super) fn flag(&mut self, name: &'static str, flag: bool) {
        self.put(name, AuditFact::Flag(flag));
    }

    /// Notes a name or an id. It must not come from the request.
    pub(super) fn fact(&mut self, name: &'static str, text: impl Into<String>) {
        self.put(name, AuditFact::Text(text.into()));
    }

    /// The last fact of a name replaces those before: JSON with a name twice has no canonical form.
    fn put(&mut self, name: &'static str, fact: AuditFact) {
        self.details.facts.retain(|(known, _)| *known != name);
        self.details.facts.push((name, fact));
    }
}
