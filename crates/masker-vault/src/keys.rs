//! The keys in force and the change that replaces them.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::{ArcSwap, Guard};

use crate::{
    generation_use::GenerationUses,
    writer::{Change, CommitDraft, Reads},
};
use masker_core::{keyring::Keyring, policy::PolicySet};
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
}

impl CurrentKeys {
    pub(crate) fn new(keys: Arc<KeysInForce>, second_tokens: BTreeSet<Kid>) -> Self {
        CurrentKeys { keys: ArcSwap::new(keys), second_tokens }
    }

    /// Returns the keys for a short look.
    pub(crate) fn load(&self) -> Guard<Arc<KeysInForce>> {
        self.keys.load()
    }

    /// Returns the keys to hold for the length of a request.
    pub(crate) fn load_full(&self) -> Arc<KeysInForce> {
        self.keys.load_full()
    }

    /// Returns the kids whose values may get second tokens.
    pub(crate) fn second_tokens(&self) -> &BTreeSet<Kid> {
        &self.second_tokens
    }
}

/// Puts keys into force. Changes after it are decided under them.
pub(crate) struct KeyringUpdate {
    pub(crate) keys: Arc<KeysInForce>,
    /// Whether a key that had been replaced may be active again.
    pub(crate) accept_rollback: bool,
    /// Policies to remember in the same commit.
    pub(crate) policies: Option<PolicySet>,
}

impl Change for KeyringUpdate {
    /// What an operator should know, or what to correct for each refused kid.
    type Outcome = Result<Vec<String>, Vec<String>>;

    /// Earlier changes are committed under the keys before.
    fn runs_alone(&self) -> bool {
        true
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>, _reads: &mut Reads<'_, '_>) -> Self::Outcome {
        let ring = &self.keys.ring;
        let mut notes = draft.ledger_changes.keys_loaded(ring, draft.now_ms, self.accept_rollback)?;
        notes.extend(draft.ledger().missing_key_warnings(ring, draft.second_tokens));
        notes.extend(self.policies.iter().flat_map(|policies| draft.ledger_changes.policies_loaded(policies)));
        Ok(notes)
    }

    fn committed(&self, outcome: &Self::Outcome, keys: &CurrentKeys) {
        if outcome.is_ok() {
            keys.keys.store(Arc::clone(&self.keys));
        }
    }
}

/// Remembers policies. The outcome is a warning for each kind whose known values would get new tokens.
pub(crate) struct PolicyUpdate(pub(crate) PolicySet);

impl Change for PolicyUpdate {
    type Outcome = Vec<String>;

    fn decide(&mut self, draft: &mut CommitDraft<'_>, _reads: &mut Reads<'_, '_>) -> Self::Outcome {
        draft.ledger_changes.policies_loaded(&self.0)
    }
}
