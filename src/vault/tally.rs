//! What became of a batch, counted once a request instead of once an item.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Shared;
use crate::{
    crypto::Fingerprint,
    keyring::{Keyring, Role},
    kind::Kid,
};

/// When each loaded generation last opened something, in milliseconds of Unix time; 0 for never.
pub(super) struct LastUsed(BTreeMap<(Kid, Fingerprint), Arc<AtomicU64>>);

impl LastUsed {
    pub(super) fn new(keyring: &Keyring) -> Self {
        LastUsed(BTreeMap::new()).succeed(keyring)
    }

    /// The times of another keyring. Generations in both have one time: requests that began before go on noting it.
    pub(super) fn succeed(&self, keyring: &Keyring) -> Self {
        let generations = keyring.iter().flat_map(|(_, pair)| pair.generations());
        let times = generations.map(|generation| {
            let name = (generation.kid(), generation.fingerprint());
            (name, self.0.get(&name).cloned().unwrap_or_default())
        });
        LastUsed(times.collect())
    }

    pub(super) fn note(&self, name: (Kid, Fingerprint), at_ms: u64) {
        if let Some(last) = self.0.get(&name) {
            last.fetch_max(at_ms, Ordering::Relaxed);
        }
    }

    /// The generations that were used at all.
    pub(super) fn iter(&self) -> impl Iterator<Item = ((Kid, Fingerprint), u64)> + '_ {
        self.0.iter().map(|(name, last)| (*name, last.load(Ordering::Relaxed))).filter(|(_, last)| *last > 0)
    }

    pub(super) fn get(&self, name: (Kid, Fingerprint)) -> Option<u64> {
        self.0.get(&name).map(|last| last.load(Ordering::Relaxed)).filter(|last| *last > 0)
    }
}

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
