//! The operations on values and tokens, over a store and a keyring.
//!
//! Requests read on their own and hand what they want written to one writer ([`writer`]), which repeats their search
//! under the keys in force and commits in groups. Every operation takes a [`masker_access::Permit`].

mod metrics;
mod api_keys;
mod audit_head;
mod backup;
mod record_count;
mod check;
mod compact;
mod error;
mod forget;
mod honeytokens;
mod in_flight;
mod kept_rows;
mod keys;
mod mint;
mod time;
mod ids;
mod ledger;
mod lookup;
mod paged_scan;
mod parallel_map;
mod purge;
mod records;
mod generations;
mod rehydrate;
mod rewrap;
mod rotation;
mod search;
mod sessions;
mod status;
mod tag;
mod outcomes;
mod tokenize;
mod generation_use;
mod key_assessment;
mod writer;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicU64},
};

use tracing::warn;

pub use api_keys::KeepKeyError;
pub use backup::{ImportOutcome, ImportRules, MergeCounts, RunningExport, VaultExportError, VaultImportError};
pub use check::CheckOutcome;
pub use compact::CompactError;
pub use error::{GenerationRef, ItemFailure, KeyLoadError, VaultError};
pub use forget::Forgotten;
pub use honeytokens::{HoneytokenError, HoneytokenRequest, HoneytokenStatus, PlantedHoneytoken};
pub use ids::{HoneytokenId, RotationId, SessionId};
pub use key_assessment::{KeyAssessment, advice};
pub use ledger::Ledger;
pub use metrics::VaultMetrics;
pub use outcomes::{BatchResult, ItemOutcomeKey};
pub use purge::{PurgeError, PurgeFilter, PurgeOutcome};
pub use rehydrate::{OpenedValue, Rehydrated, TokenInput};
pub use rewrap::Rewrapped;
pub use rotation::{RotationError, RotationPhase, RotationRequest, RotationStatus, StepBudget};
pub use sessions::{
    EnteredSession, SessionCounts, SessionError, SessionFilter, SessionNeeds, SessionOwner, SessionPage, SessionState,
    SessionStatus,
};
pub use status::{GenerationStatus, StatsOutcome};
pub use time::Clock;
pub use tokenize::{Tokenized, ValueInput};

use audit_head::AuditAnchor;
use generation_use::{GenerationUses, KeyUseChange};
use honeytokens::Honeytokens;
use in_flight::InFlightRecords;
use keys::{CurrentKeys, KeyringUpdate, KeysInForce, PolicyUpdate};
use ledger::{CurrentLedger, LedgerDraft};
use masker_core::{
    keyring::{GracePeriod, Keyring, KeyringError, LoadedKey, Role},
    policy::PolicySet,
};
use masker_store::Store;
use masker_types::kind::Kid;
use rotation::RotationTracker;
use sessions::SessionRegistry;
use writer::{WriterContext, WriterHandle};

#[cfg(test)]
mod tests;

/// What the requests share, in part with the writer.
struct VaultShared {
    store: Arc<dyn Store>,
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    in_flight: Arc<InFlightRecords>,
    audit_anchor: Arc<AuditAnchor>,
    rotations: RotationTracker,
    sessions: SessionRegistry,
    honeytokens: Honeytokens,
    /// Requests on values so far: what a rotation makes room for.
    requests: AtomicU64,
    metrics: Arc<VaultMetrics>,
    clock: Clock,
}

/// What an operator decides about keys.
#[derive(Clone, Debug)]
pub struct KeyRules {
    /// How long old keys may stay, and what happens then.
    pub grace: GracePeriod,
    /// Kids whose values may get second tokens: those that the vault does not find are minted, even while it holds
    /// records of the kid under a key that is not loaded.
    pub second_tokens: BTreeSet<Kid>,
    /// Whether the keys that the vault is opened with may be ones that had been replaced.
    pub accept_rollback: bool,
}

/// The vault: keys, records and the operations on them. Made once, shared by every request.
pub struct Vault {
    shared: Arc<VaultShared>,
    writer: WriterHandle,
    grace: GracePeriod,
}

impl Vault {
    /// Takes a store into service under these keys: reads what the store remembers of key generations, notes new ones
    /// and those that became old, and starts the writer. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`KeyLoadError`] if the keys are not what the vault remembers, or the store fails; the store is closed then.
    pub async fn open(
        store: Arc<dyn Store>,
        keyring: Keyring,
        rules: KeyRules,
        metrics: Arc<VaultMetrics>,
        clock: Clock,
    ) -> Result<Self, KeyLoadError> {
        let ledger = Ledger::load(store.as_ref()).await.map_err(VaultError::from)?;
        let honeytokens = Honeytokens::load(store.as_ref()).await.map_err(VaultError::from)?;
        let sessions = SessionRegistry::load(store.as_ref()).await.map_err(VaultError::from)?;
        let keys = Arc::new(KeysInForce { uses: GenerationUses::new(&keyring), ring: keyring });
        let shared = Arc::new(VaultShared {
            store,
            keys: Arc::new(CurrentKeys::new(Arc::clone(&keys), rules.second_tokens)),
            ledger: Arc::new(CurrentLedger::new(ledger)),
            in_flight: Arc::default(),
            audit_anchor: Arc::default(),
            rotations: RotationTracker::default(),
            sessions,
            honeytokens,
            requests: AtomicU64::new(0),
            metrics,
            clock,
        });
        let writer = WriterHandle::start(WriterContext {
            store: Arc::clone(&shared.store),
            keys: Arc::clone(&shared.keys),
            ledger: Arc::clone(&shared.ledger),
            in_flight: Arc::clone(&shared.in_flight),
            audit_anchor: Arc::clone(&shared.audit_anchor),
            metrics: Arc::clone(&shared.metrics),
            clock: Arc::clone(&shared.clock),
        });
        let change = KeyringUpdate { keys, accept_rollback: rules.accept_rollback, policies: None };
        let vault = Vault { writer, shared, grace: rules.grace };
        match vault.put_keys(change).await {
            Ok(notes) => {
                for note in notes {
                    warn!("{note}");
                }
                Ok(vault)
            }
            Err(refused) => {
                // What is wrong with the keys is what the operator must know.
                drop(vault.close().await);
                Err(refused)
            }
        }
    }

    /// Puts other keys into force: requests in flight finish on those that they began with, and nothing that was
    /// prepared under a key which is not active any more is written under it. `keyring` must have a higher epoch than
    /// the one in force. Returns what an operator should know.
    ///
    /// # Errors
    /// [`KeyLoadError`]; those in force stay.
    pub async fn replace_keys(&self, keyring: Keyring) -> Result<Vec<String>, KeyLoadError> {
        self.replace(keyring, None).await
    }

    /// [`Vault::replace_keys`] and [`Vault::adopt_policies`] in one: either both are remembered, or neither is.
    ///
    /// # Errors
    /// [`KeyLoadError`]; the keys in force stay, and the policies are not remembered.
    pub async fn replace_keys_and_policies(
        &self,
        keyring: Keyring,
        policies: &PolicySet,
    ) -> Result<Vec<String>, KeyLoadError> {
        self.replace(keyring, Some(policies.clone())).await
    }

    async fn replace(&self, keyring: Keyring, policies: Option<PolicySet>) -> Result<Vec<String>, KeyLoadError> {
        let uses = self.shared.keys.load().uses.succeed(&keyring);
        let keys = Arc::new(KeysInForce { ring: keyring, uses });
        self.put_keys(KeyringUpdate { keys, accept_rollback: false, policies }).await
    }

    async fn put_keys(&self, change: KeyringUpdate) -> Result<Vec<String>, KeyLoadError> {
        let mut notes = self.writer.commit(change).await?.map_err(KeyLoadError::Refused)?;
        notes.extend(self.grace_warnings());
        Ok(notes)
    }

    /// The keyring that would follow the one in force: these keys, and those of `kept` as they are.
    ///
    /// # Errors
    /// Every problem there is.
    pub fn next_keyring(
        &self,
        keys: Vec<LoadedKey>,
        kept: &BTreeSet<(Kid, Role)>,
    ) -> Result<Keyring, Vec<KeyringError>> {
        self.shared.keys.load().ring.successor(keys, kept)
    }

    /// What [`Vault::replace_keys`] would refuse a keyring for, as far as can be said before.
    pub fn validate_keyring(&self, keyring: &Keyring) -> Vec<String> {
        LedgerDraft::of(&self.shared.ledger.load()).rollbacks(keyring)
    }

    /// Holds policies against those that were in force before, and remembers them. Returns a warning for each kind
    /// whose known values would get new tokens, with how many records that concerns.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the policies are not remembered then.
    pub async fn adopt_policies(&self, policies: &PolicySet) -> Result<Vec<String>, VaultError> {
        self.writer.commit(PolicyUpdate(policies.clone())).await
    }

    /// Writes down when keys were last used, if that changed by a minute or more.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the times are kept and written later.
    pub async fn note_key_use(&self) -> Result<(), VaultError> {
        self.writer.commit(KeyUseChange).await.map(drop)
    }

    /// Writes down what sessions have counted, ends the writer after what it has taken on, and closes the store. Later operations fail as unavailable.
    ///
    /// # Errors
    /// [`VaultError`] if the store could not be closed in order; what was acknowledged is durable all the same.
    pub async fn close(&self) -> Result<(), VaultError> {
        let flushed = self.flush_sessions().await;
        self.writer.stop(KeyUseChange).await.and(flushed)
    }
}
