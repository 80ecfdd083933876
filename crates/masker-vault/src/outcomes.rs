//! What became of a batch, counted once a request instead of once an item.

use std::sync::atomic::Ordering;

use super::VaultShared;
use masker_core::{crypto::Fingerprint, keyring::Role};
use masker_types::kind::{EntityKind, Kid};

/// What several items of one request have in common: what they were and what became of them. A kind or a kid stands
/// here only if it is loaded or written in a policy, so that nothing of it is of a request's making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemOutcomeKey {
    /// The scheme of the token; empty for an item that never came to one.
    pub scheme: &'static str,
    /// The kind of the value.
    pub kind: Option<EntityKind>,
    /// The key id that minted or opened it.
    pub kid: Option<Kid>,
    /// The generation of that key.
    pub fingerprint: Option<Fingerprint>,
    /// What the generation was to its key id.
    pub role: Option<Role>,
    /// What became of it: the code of a failure, or a word for how it went well.
    pub outcome: &'static str,
}

impl ItemOutcomeKey {
    /// Something of one generation of a key.
    pub fn of_generation(kid: Kid, fingerprint: Fingerprint, role: Option<Role>, outcome: &'static str) -> Self {
        ItemOutcomeKey {
            kid: Some(kid),
            fingerprint: Some(fingerprint),
            role,
            ..ItemOutcomeKey::keyless(None, outcome)
        }
    }

    /// An item that never came to a key.
    pub(super) fn keyless(kind: Option<EntityKind>, outcome: &'static str) -> Self {
        ItemOutcomeKey { scheme: "", kind, kid: None, fingerprint: None, role: None, outcome }
    }
}

/// What came of the items of a request: a result for each, in their order, and how many had which outcome.
pub struct BatchResult<T> {
    /// The results.
    pub results: Vec<T>,
    /// The counts.
    pub counts: Vec<(ItemOutcomeKey, u64)>,
}

/// Counts outcomes; a batch has few different ones.
pub(super) struct OutcomeCounter {
    operation: &'static str,
    counts: Vec<(ItemOutcomeKey, u64)>,
}

impl OutcomeCounter {
    pub(super) fn new(operation: &'static str) -> Self {
        OutcomeCounter { operation, counts: Vec::with_capacity(4) }
    }

    pub(super) fn count(&mut self, outcome: ItemOutcomeKey) {
        match self.counts.iter_mut().find(|(seen, _)| *seen == outcome) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((outcome, 1)),
        }
    }

    /// Adds the counts to the daemon's: a request has been worked on, and these are its results.
    pub(super) fn record<T>(self, shared: &VaultShared, results: Vec<T>) -> BatchResult<T> {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let metrics = &shared.metrics;
        for (o, count) in &self.counts {
            let kid = o.kid.as_ref().map_or("", Kid::as_str);
            let role = o.role.map_or("", Role::as_str);
            metrics.tokens.with_label_values(&[self.operation, o.scheme, kid, role, o.outcome]).inc_by(*count);
        }
        BatchResult { results, counts: self.counts }
    }
}
