//! The keys in force.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::{ArcSwap, Guard};

use crate::generation_use::GenerationUses;
use masker_core::keyring::Keyring;
use masker_types::kind::Kid;

/// A keyring with the use of each of its keys.
pub(crate) struct KeysInForce {
    pub(crate) ring: Keyring,
    pub(crate) uses: GenerationUses,
}

/// The keys in force. A request loads them once and works under them to its end; only the writer replaces them.
pub(crate) struct CurrentKeys {
    keys: ArcSwap<KeysInForce>,
    second_tokens: BTreeSet<Kid>,
    policy_kids: ArcSwap<BTreeSet<Kid>>,
}

impl CurrentKeys {
    pub(crate) fn new(keys: Arc<KeysInForce>, second_tokens: BTreeSet<Kid>, policy_kids: BTreeSet<Kid>) -> Self {
        CurrentKeys { keys: ArcSwap::new(keys), second_tokens, policy_kids: ArcSwap::from_pointee(policy_kids) }
    }

    /// Returns the keys for a short look.
    pub(crate) fn load(&self) -> Guard<Arc<KeysInForce>> {
        self.keys.load()
    }

    /// Returns the keys to hold for the length of a request.
    pub(crate) fn load_full(&self) -> Arc<KeysInForce> {
        self.keys.load_full()
    }

    /// Puts other keys into force. Only for a commit that is durable.
    pub(crate) fn replace(&self, keys: Arc<KeysInForce>) {
        self.keys.store(keys);
    }

    /// Returns the kids that policies name.
    pub(crate) fn policy_kids(&self) -> Guard<Arc<BTreeSet<Kid>>> {
        self.policy_kids.load()
    }

    /// Puts in the kids that policies name. Only for a commit that is durable.
    pub(crate) fn set_policy_kids(&self, kids: BTreeSet<Kid>) {
        self.policy_kids.store(Arc::new(kids));
    }

    /// Returns the kids whose values may get second tokens.
    pub(crate) fn second_tokens(&self) -> &BTreeSet<Kid> {
        &self.second_tokens
    }
}
