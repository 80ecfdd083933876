//! Outcomes of the items of a request, counted once for each request instead of once for each item.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::metrics::VaultMetrics;
use masker_core::{
    crypto::{Fingerprint, TokenId},
    keyring::Role,
};
use masker_types::kind::{EntityKind, Kid};

/// What items of one request are counted by. A kind or a kid is given only if it is loaded or in a policy, so that a
/// request cannot create new labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemOutcomeKey {
    /// The scheme of the token; empty if the item has none.
    pub scheme: &'static str,
    /// The kind of the value.
    pub kind: Option<EntityKind>,
    /// The key id that minted or opened it.
    pub kid: Option<Kid>,
    /// The generation of that key.
    pub fingerprint: Option<Fingerprint>,
    /// The role of the generation.
    pub role: Option<Role>,
    /// The code of a failure, or a word for a success.
    pub outcome: &'static str,
}

impl ItemOutcomeKey {
    /// Returns the outcome of an item under one generation of a key.
    pub fn of_generation(kid: Kid, fingerprint: Fingerprint, role: Option<Role>, outcome: &'static str) -> Self {
        ItemOutcomeKey {
            kid: Some(kid),
            fingerprint: Some(fingerprint),
            role,
            ..ItemOutcomeKey::keyless(None, outcome)
        }
    }

    /// Returns the outcome of an item without a key.
    pub fn keyless(kind: Option<EntityKind>, outcome: &'static str) -> Self {
        ItemOutcomeKey { scheme: "", kind, kid: None, fingerprint: None, role: None, outcome }
    }
}

/// The results of the items of a request, in their order, and how many had which outcome.
pub struct BatchResult<T> {
    /// The results.
    pub results: Vec<T>,
    /// The counts.
    pub counts: Vec<(ItemOutcomeKey, u64)>,
    /// The records that are erased now, by this request or before: what a restore must not bring back.
    pub erased: Vec<TokenId>,
}

/// The counters of the daemon that requests on values add to.
pub(super) struct RequestCounters {
    /// Requests so far. A rotation makes room for them.
    requests: AtomicU64,
    metrics: Arc<VaultMetrics>,
}

impl RequestCounters {
    pub(super) fn new(metrics: Arc<VaultMetrics>) -> Self {
        RequestCounters { requests: AtomicU64::new(0), metrics }
    }

    /// Returns how many requests have been worked on.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn metrics(&self) -> &VaultMetrics {
        &self.metrics
    }
}

/// Counts outcomes. A linear search is enough, for a batch has few different ones.
pub(super) struct OutcomeCounter {
    operation: &'static str,
    counts: Vec<(ItemOutcomeKey, u64)>,
}

impl OutcomeCounter {
    pub(super) fn new(operation: &'static str) -> Self {
        OutcomeCounter { operation, counts: Vec::with_capacity(4) }
    }

    pub(super) fn count(&mut self, outcome: ItemOutcomeKey) {
        self.add(outcome, 1);
    }

    pub(super) fn add(&mut self, outcome: ItemOutcomeKey, items: u64) {
        match self.counts.iter_mut().find(|(seen, _)| *seen == outcome) {
            Some((_, count)) => *count += items,
            None => self.counts.push((outcome, items)),
        }
    }

    /// Adds the counts and the request to the daemon's counters.
    pub(super) fn record<T>(self, counters: &RequestCounters, results: Vec<T>) -> BatchResult<T> {
        counters.requests.fetch_add(1, Ordering::Relaxed);
        let metrics = &counters.metrics;
        for (o, count) in &self.counts {
            let kid = o.kid.as_ref().map_or("", Kid::as_str);
            let role = o.role.map_or("", Role::as_str);
            metrics.tokens.with_label_values(&[self.operation, o.scheme, kid, role, o.outcome]).inc_by(*count);
        }
        BatchResult { results, counts: self.counts, erased: Vec::new() }
    }
}
