//! One request under way: who makes it, what it was held against, and what is to be told of it afterwards.

use std::{collections::BTreeMap, sync::Arc};

use super::{problem::Problem, request_id::RequestId};
use crate::metrics::Metrics;
use masker_access::{BudgetWarning, Caller, KeyPrefix, Operation, Permit, RateLimitStatus, Timestamps};
use masker_core::policy::{Policy, PolicySet};
use masker_vault::{BatchResult, EnteredSession, HoneytokenId, ItemOutcomeKey, SessionId};

/// What every handler is given, and leaves its traces in.
pub(super) struct RequestContext {
    pub(super) id: RequestId,
    /// When it began, for limits.
    pub(super) timestamps: Timestamps,
    pub(super) caller: Caller,
    /// The policies that were in force when the request began.
    pub(super) policies: Arc<PolicySet>,
    pub(super) account: AuditDetails,
    /// What befell the request before it came to a handler.
    pub(super) incident: Option<Incident>,
    /// Whether it was taken from the caller's limits, and what was left of the tightest.
    pub(super) admitted: bool,
    pub(super) rate_limit: Option<RateLimitStatus>,
    /// Budgets of the caller that it has nearly used up by this request.
    pub(super) crossed: Vec<BudgetWarning>,
    /// The session that it works in.
    pub(super) session: Option<EnteredSession>,
    /// Honeytokens that it showed, with how often.
    pub(super) honeytokens: BTreeMap<HoneytokenId, u64>,
    /// Whether there is nothing in it that the audit log is to be told.
    pub(super) skip_audit: bool,
}

/// What can befall a request before it comes to a handler.
pub(super) enum Incident {
    /// Its credential was not accepted.
    Unidentified {
        /// The part of the credential that may be shown, where there is one.
        prefix: Option<KeyPrefix>,
    },
    /// Its credential was not accepted, after many others.
    Blocked {
        /// The same.
        prefix: Option<KeyPrefix>,
    },
    /// It had an API key in its URL.
    KeyInUrl,
}

/// What was done, for the audit log: names of the operator's making and numbers, nothing else.
#[derive(Default)]
pub(super) struct AuditDetails {
    /// The policy that the request was worked on by.
    pub(super) policy: Option<String>,
    /// The session that the request is about, or works in.
    pub(super) session: Option<SessionId>,
    /// How many items had which outcome.
    pub(super) counts: Vec<(ItemOutcomeKey, u64)>,
    /// Further facts, by name.
    pub(super) facts: Vec<(&'static str, AuditFact)>,
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
    /// A request of which nothing is known yet but the process that makes it.
    pub(super) fn new(id: RequestId, caller: Caller, policies: Arc<PolicySet>, timestamps: Timestamps) -> Self {
        RequestContext {
            id,
            timestamps,
            caller,
            policies,
            account: AuditDetails::default(),
            incident: None,
            admitted: false,
            rate_limit: None,
            crossed: Vec::new(),
            session: None,
            honeytokens: BTreeMap::new(),
            skip_audit: false,
        }
    }

    /// Notes that a budget is nearly used up.
    pub(super) fn crossed(&mut self, crossed: Option<BudgetWarning>, metrics: &Metrics) {
        if let Some(crossed) = crossed {
            metrics.access.budget_warnings.with_label_values(&[crossed.which.as_str()]).inc();
            self.crossed.push(crossed);
        }
    }

    /// A permit for the caller.
    ///
    /// # Errors
    /// `perm.denied`, with the scope that is lacking.
    pub(super) fn permit<O: Operation>(&self) -> Result<Permit<O>, Problem> {
        Ok(self.caller.permit(&self.policies)?)
    }

    /// Notes by which policy the request is worked on.
    pub(super) fn set_policy(&mut self, policy: &Policy) {
        self.account.policy = Some(policy.name.clone());
    }

    /// Notes what became of the items, and gives the results.
    pub(super) fn note<T>(&mut self, worked: BatchResult<T>) -> Vec<T> {
        self.account.counts = worked.counts;
        worked.results
    }

    /// Notes a number.
    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        self.put(name, AuditFact::Number(number));
    }

    /// Notes whether something is so.
    pub(super) fn flag(&mut self, name: &'static str, flag: bool) {
        self.put(name, AuditFact::Flag(flag));
    }

    /// Notes a name or an id that is not of the request's making.
    pub(super) fn fact(&mut self, name: &'static str, text: impl Into<String>) {
        self.put(name, AuditFact::Text(text.into()));
    }

    /// Of a name that is noted twice the last one counts: JSON that has it twice is in no canonical form.
    fn put(&mut self, name: &'static str, fact: AuditFact) {
        self.account.facts.retain(|(known, _)| *known != name);
        self.account.facts.push((name, fact));
    }
}
