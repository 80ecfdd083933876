//! What became of a batch, counted once a request instead of once an item.

use std::sync::atomic::Ordering;

use super::Shared;
use crate::{keyring::Role, kind::Kid};

/// The labels of one line of `masker_tokens_total`. A kid stands here only if it is loaded or written in a policy, so
/// that no label is of a request's making.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) scheme: &'static str,
    pub(super) kid: Option<Kid>,
    pub(super) role: Option<Role>,
    pub(super) outcome: &'static str,
}

impl Outcome {
    /// An item that never came to a key.
    pub(super) fn failed(outcome: &'static str) -> Self {
        Outcome { scheme: "", kid: None, role: None, outcome }
    }
}

/// Counts outcomes; a batch has few different ones.
pub(super) struct Tally {
    operation: &'static str,
    counts: Vec<(Outcome, u64)>,
}

impl Tally {
    pub(super) fn new(operation: &'static str) -> Self {
        Tally { operation, counts: Vec::with_capacity(4) }
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        match self.counts.iter_mut().find(|(seen, _)| *seen == outcome) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((outcome, 1)),
        }
    }

    /// Adds the counts to the daemon's: a request has been worked on.
    pub(super) fn record(self, shared: &Shared) {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let metrics = &shared.metrics;
        for (o, count) in self.counts {
            let kid = o.kid.as_ref().map_or("", Kid::as_str);
            let role = o.role.map_or("", Role::as_str);
            metrics.tokens.with_label_values(&[self.operation, o.scheme, kid, role, o.outcome]).inc_by(count);
        }
    }
}
