//! What a start with given keys refuses, and what an operator can accept.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    KeyLoadError, KeyRules, VaultMetrics,
    control::{ControlKeyError, ControlKeyRules, ControlledStore, is_new},
    generations::KeyRollback,
    ledger::{Ledger, LedgerDraft},
};
use masker_core::{crypto::Fingerprint, keyring::Keyring};
use masker_store::Store;
use masker_types::kind::Kid;

/// What a start with given keys refuses, and what an operator can accept.
#[derive(Clone, Debug, Default)]
pub struct KeyRefusals {
    /// No loaded key opens the vault's control key.
    pub control_key: Option<LostControlKey>,
    /// Keys in the places of others: messages for an operator. Nobody can accept these.
    pub misplaced: Vec<String>,
    /// Active keys that had been replaced.
    pub rollbacks: Vec<KeyRollback>,
    /// Warnings of keys that records need and that are not loaded. A start goes on without them.
    pub missing_keys: Vec<String>,
}

/// A control key that no loaded key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostControlKey {
    /// The keys that open it; empty if the vault does not say.
    pub holders: Vec<(Kid, Fingerprint)>,
    /// What to correct: a message for an operator.
    pub text: String,
}

impl KeyRefusals {
    /// Finds what [`Vault::open`](crate::Vault::open) would refuse. Changes nothing in the store, and leaves it open.
    ///
    /// # Errors
    /// [`KeyLoadError`] if the store fails.
    pub async fn find(
        store: Arc<dyn Store>,
        keyring: &Keyring,
        rules: &KeyRules,
        metrics: Arc<VaultMetrics>,
    ) -> Result<Self, KeyLoadError> {
        // Opening a new vault would make its control key.
        if is_new(store.as_ref(), rules.recorded_control).await.map_err(ControlKeyError::from)? {
            return Ok(KeyRefusals::default());
        }
        let rules = ControlKeyRules { kids: &rules.policy_kids, accept_new: false, recorded: rules.recorded_control };
        let store = match ControlledStore::open(store, keyring, rules, metrics).await {
            Ok(store) => store,
            Err(lost) => {
                let holders = match &lost {
                    ControlKeyError::NoSlot(holders) => holders.clone(),
                    ControlKeyError::SlotsDisagree(first, second) => vec![*first, *second],
                    ControlKeyError::SlotsRemoved => Vec::new(),
                    _ => return Err(lost.into()),
                };
                let control_key = Some(LostControlKey { holders, text: lost.to_string() });
                return Ok(KeyRefusals { control_key, ..KeyRefusals::default() });
            }
        };
        let ledger = Ledger::load(&store).await.map_err(ControlKeyError::from)?;
        let draft = LedgerDraft::of(&ledger);
        let misplaced = draft.misplaced(keyring);
        if !misplaced.is_empty() {
            return Ok(KeyRefusals { misplaced, ..KeyRefusals::default() });
        }
        Ok(KeyRefusals {
            rollbacks: draft.key_rollbacks(keyring),
            missing_keys: ledger.missing_key_warnings(keyring, &BTreeSet::new()),
            ..KeyRefusals::default()
        })
    }
}
