//! Principals with the same rights and limits, each with a usage of its own.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use crate::Principal;

type PrincipalsByKey<K> = Arc<Mutex<HashMap<K, Arc<Principal>>>>;

/// The principals of callers that one rule matches, by what tells them apart. Memory is bounded: callers beyond that share
/// one usage.
#[derive(Clone, Debug)]
pub(super) struct OwnUsage<K> {
    shared: Arc<Principal>,
    /// `None` without limits: then nobody's usage counts.
    each: Option<PrincipalsByKey<K>>,
    most: usize,
}

impl<K: Copy + Debug + Eq + Hash> OwnUsage<K> {
    /// Returns these principals for at most `most` callers.
    pub(super) fn new(shared: Arc<Principal>, most: usize) -> Self {
        let is_limited = !shared.limiter.limits().is_unlimited();
        OwnUsage { shared, each: is_limited.then(Arc::default), most }
    }

    /// Returns the principal with the name, the rights and the limits of all.
    pub(super) fn shared(&self) -> &Arc<Principal> {
        &self.shared
    }

    /// Returns the principal of a caller.
    pub(super) fn of(&self, key: K) -> Arc<Principal> {
        let Some(each) = &self.each else { return Arc::clone(&self.shared) };
        let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
        if each.len() >= self.most && !each.contains_key(&key) {
            return Arc::clone(&self.shared);
        }
        Arc::clone(each.entry(key).or_insert_with(|| Arc::new(self.shared.with_own_usage())))
    }

    /// Returns these principals with the usage of `before`, which they replace.
    pub(super) fn inheriting(self, before: &Self) -> Self {
        let shared = Arc::new(self.shared.inheriting_usage(&before.shared));
        if let (Some(each), Some(known)) = (&self.each, &before.each) {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let inherited = known.iter().map(|(key, principal)| (*key, Arc::new(shared.inheriting_usage(principal))));
            let inherited = inherited.collect();
            *each.lock().unwrap_or_else(PoisonError::into_inner) = inherited;
        }
        OwnUsage { shared, ..self }
    }
}
