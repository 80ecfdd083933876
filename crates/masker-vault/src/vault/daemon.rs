//! What the daemon itself does with the vault, and what it reads of it: no caller asks for it, so it takes no permit.

use std::{collections::BTreeSet, fs::File, sync::Arc};

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::warn;

use super::Vault;
use crate::{
    Clock, GenerationStatus, HoneytokenId, KeyLoadError, RotationStatus, StatsOutcome, VaultError, VaultMetrics,
    api_keys::ApiKeyRows,
    audit_anchor::AuditAnchor,
    audit_head::AuditHeads,
    backup::{Exporter, ImportRules, Importer, LaterChanges, RestoreOutcome, Restorer, VaultRestoreError},
    check::Maintenance,
    compact::Compactor,
    control::{ControlKeyRules, ControlledStore},
    forget::Eraser,
    generation_use::GenerationUses,
    handles::Handles,
    honeytokens::{HoneytokenService, Honeytokens},
    in_flight::InFlightRecords,
    keyrings::{KeyRules, KeyringService},
    keys::{CurrentKeys, KeysInForce},
    ledger::{CurrentLedger, Ledger},
    lookup::{LookupService, TokenFinder},
    outcomes::RequestCounters,
    purge::Purger,
    reader::Reader,
    rehydrate::Rehydrator,
    rewrap::Rewrapper,
    rotation::RotationService,
    sessions::{LongReads, SessionRegistry, SessionService},
    tokenize::Tokenizer,
    writer::{WriterContext, WriterHandle},
};
use masker_access::ApiKey;
use masker_audit::{AuditLog, CurrentPosition};
use masker_core::keyring::{Keyring, KeyringError, LoadedKey, Role};
use masker_core::policy::PolicySet;
use masker_store::Store;
use masker_store::record::AuditHeadRow;
use masker_types::kind::Kid;

impl Vault {
    /// Opens the vault in a store under these keys: reads what the store remembers of key generations, notes new ones
    /// and those that became old, and starts the writer. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`KeyLoadError`] if the keys do not fit what the vault remembers, or the store fails; the store is closed then.
    pub async fn open(
        store: Arc<dyn Store>,
        keyring: Keyring,
        rules: KeyRules,
        metrics: Arc<VaultMetrics>,
        clock: Clock,
    ) -> Result<Self, KeyLoadError> {
        let store = Self::open_control_key(store, &keyring, &rules, &metrics).await?;
        let ledger = Ledger::load(store.as_ref()).await.map_err(VaultError::from)?;
        let honeytokens = Arc::new(Honeytokens::load(store.as_ref()).await.map_err(VaultError::from)?);
        let sessions = Arc::new(SessionRegistry::load(store.as_ref()).await.map_err(VaultError::from)?);
        let keys = Arc::new(KeysInForce { uses: GenerationUses::new(&keyring), ring: keyring });
        let keys = Arc::new(CurrentKeys::new(keys, rules.second_tokens, rules.policy_kids));
        let ledger = Arc::new(CurrentLedger::new(ledger));
        let in_flight = Arc::new(InFlightRecords::default());
        let audit_anchor = Arc::new(AuditAnchor::default());
        let writer = Arc::new(WriterHandle::start(WriterContext {
            store: Arc::clone(&store),
            keys: Arc::clone(&keys),
            ledger: Arc::clone(&ledger),
            in_flight: Arc::clone(&in_flight),
            audit_anchor: Arc::clone(&audit_anchor),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
        }));
        let reader = Arc::new(Reader::new(Arc::clone(&store) as Arc<dyn Store>, in_flight, Arc::clone(&metrics)));
        let handles =
            Handles { keys, ledger, reader, writer, counters: Arc::new(RequestCounters::new(metrics)), clock };
        let finder = Arc::new(TokenFinder::new(&handles));
        let vault = Vault {
            keyrings: KeyringService::new(&handles, rules.grace),
            rehydrator: Rehydrator::new(&handles, Arc::clone(&honeytokens), rules.grace),
            lookups: LookupService::new(&handles, Arc::clone(&finder)),
            rewrapper: Rewrapper::new(&handles),
            eraser: Eraser::new(&handles, finder),
            purger: Purger::new(&handles),
            honeytokens: HoneytokenService::new(&handles, honeytokens),
            tokenizer: Tokenizer::new(&handles),
            sessions: SessionService::new(&handles, sessions),
            rotations: RotationService::new(&handles, Arc::clone(&audit_anchor)),
            exporter: Exporter::new(&handles, Arc::clone(&store)),
            importer: Importer::new(&handles),
            restorer: Restorer::new(&handles),
            compactor: Compactor::new(&handles),
            maintenance: Maintenance::new(&handles, Arc::clone(&store)),
            api_keys: ApiKeyRows::new(&handles, Arc::clone(&store)),
            audit_heads: AuditHeads::new(&handles, audit_anchor),
            control: store,
            writer: handles.writer,
            clock: handles.clock,
        };
        match vault.keyrings.adopt(rules.accept_rollback).await {
            Ok(notes) => {
                for note in notes {
                    warn!("{note}");
                }
                Ok(vault)
            }
            Err(refused) => {
                // A failure to close matters less than what is wrong with the keys.
                drop(vault.close().await);
                Err(refused)
            }
        }
    }

    /// Opens the control key of the vault in a store. If that fails, the store is closed.
    async fn open_control_key(
        store: Arc<dyn Store>,
        keyring: &Keyring,
        rules: &KeyRules,
        metrics: &Arc<VaultMetrics>,
    ) -> Result<Arc<ControlledStore>, KeyLoadError> {
        let control_rules = ControlKeyRules {
            kids: &rules.policy_kids,
            accept_new: rules.accept_new_control_key,
            recorded: rules.recorded_control,
        };
        match ControlledStore::open(Arc::clone(&store), keyring, control_rules, Arc::clone(metrics)).await {
            Ok(opened) => Ok(Arc::new(opened)),
            Err(refused) => {
                // A failure to close matters less than what is wrong with the keys.
                drop(store.close().await);
                Err(refused.into())
            }
        }
    }

    /// Returns what is wrong with the rows that the control key authenticates, for an operator; `None` if nothing is known
    /// to be. Does not read the store.
    pub fn control_problem(&self) -> Option<String> {
        self.control.problem()
    }

    /// Puts other keys into force. Requests in flight finish on the keys that they began with, and nothing that was
    /// prepared under a key which is no longer active is written under it. `keyring` must have a higher epoch than the
    /// one in force. Returns what an operator should know.
    ///
    /// # Errors
    /// [`KeyLoadError`]; the keys in force stay.
    pub async fn replace_keys(&self, keyring: Keyring) -> Result<Vec<String>, KeyLoadError> {
        self.keyrings.replace(keyring, None).await
    }

    /// Does [`Vault::replace_keys`] and [`Vault::adopt_policies`] in one commit: the vault remembers both or neither.
    ///
    /// # Errors
    /// [`KeyLoadError`]; the keys in force stay, and the policies are not remembered.
    pub async fn replace_keys_and_policies(
        &self,
        keyring: Keyring,
        policies: &PolicySet,
    ) -> Result<Vec<String>, KeyLoadError> {
        self.keyrings.replace(keyring, Some(policies.clone())).await
    }

    /// Returns the keyring that would follow the one in force: these keys, and those of `kept` as they are.
    ///
    /// # Errors
    /// Every problem that the keys have.
    pub fn next_keyring(
        &self,
        keys: Vec<LoadedKey>,
        kept: &BTreeSet<(Kid, Role)>,
    ) -> Result<Keyring, Vec<KeyringError>> {
        self.keyrings.next_keyring(keys, kept)
    }

    /// Returns the problems that would make [`Vault::replace_keys`] refuse a keyring now.
    pub fn validate_keyring(&self, keyring: &Keyring) -> Vec<String> {
        self.keyrings.validate_keyring(keyring)
    }

    /// Compares policies with those that were in force before, and remembers them. Returns a warning for each kind whose
    /// known values would get new tokens, with how many records that concerns.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the policies are not remembered then.
    pub async fn adopt_policies(&self, policies: &PolicySet) -> Result<Vec<String>, VaultError> {
        self.keyrings.adopt_policies(policies).await
    }

    /// Writes down when keys were last used, if that changed by a minute or more.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the times are kept and written later.
    pub async fn note_key_use(&self) -> Result<(), VaultError> {
        self.keyrings.note_key_use().await
    }

    /// Fills a new vault from the export of a backup, with its control rows, and with what has happened since. No interface leads
    /// here, because control rows give rights. Close the vault afterwards: it has read its control rows before.
    ///
    /// # Errors
    /// [`VaultRestoreError`]; the vault is of no use then.
    pub async fn restore(
        &self,
        file: File,
        rules: ImportRules,
        later: LaterChanges,
    ) -> Result<RestoreOutcome, VaultRestoreError> {
        self.restorer.restore(file, rules, later).await
    }

    /// Writes down what sessions have counted, lets the writer finish its queue, and closes the store. Later operations
    /// fail as unavailable.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed to close; what was acknowledged is durable all the same.
    pub async fn close(&self) -> Result<(), VaultError> {
        let flushed = self.flush_sessions().await;
        self.writer.stop(self.audit_heads.last_change()).await.and(flushed)
    }

    /// Returns the honeytoken that a text is, in every context, and also after it was forgotten.
    pub fn honeytoken(&self, token: &str) -> Option<HoneytokenId> {
        self.honeytokens.honeytoken(token)
    }

    /// Returns whether there are honeytokens.
    pub fn has_honeytokens(&self) -> bool {
        self.honeytokens.has_honeytokens()
    }

    /// Writes down what sessions have counted since the last flush.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the counts are kept and written later.
    pub async fn flush_sessions(&self) -> Result<(), VaultError> {
        self.sessions.flush_sessions().await
    }

    /// Removes sessions that were closed `retention_days` ago or earlier, and open ones that were unused for as long.
    /// Returns how many were removed or have ended.
    ///
    /// # Errors
    /// The second part is [`VaultError`] if the store fails. Then others are left for the next time, and a later
    /// [`Vault::flush_sessions`] removes the rows of those that have ended.
    pub async fn purge_sessions(&self, retention_days: u32) -> (u64, Result<(), VaultError>) {
        self.sessions.purge_sessions(retention_days).await
    }

    /// Returns the rotation that is running, if any. Dry runs do not count. Does not read the store.
    pub fn rotation_running(&self) -> Option<RotationStatus> {
        self.rotations.rotation_running()
    }

    /// Drives rotations until `stop` is true: those that were begun before the process started, too.
    pub async fn drive_rotations(&self, stop: watch::Receiver<bool>) {
        self.rotations.drive_rotations(stop).await
    }

    /// Lists every key generation that is loaded or remembered, by kid, the active one of each first, from memory.
    pub fn generations(&self) -> Vec<GenerationStatus> {
        self.keyrings.generations()
    }

    /// Lists the same as [`Vault::generations`], with the number of open sessions that need each. Can read the records of all
    /// tokens that open sessions track. `reads` are those of the caller.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails.
    pub async fn generations_with_sessions(&self, reads: &LongReads) -> Result<Vec<GenerationStatus>, VaultError> {
        let sessions = self.sessions.sessions_on_old_keys(reads).await?;
        let mut statuses = self.generations();
        for status in &mut statuses {
            status.open_sessions = sessions.get(&(status.kid, status.fingerprint)).copied();
        }
        Ok(statuses)
    }

    /// Returns a warning for each key that the vault needs and that is not loaded.
    pub fn missing_key_warnings(&self) -> Vec<String> {
        self.keyrings.missing_key_warnings()
    }

    /// Returns the kids whose keys are loaded.
    pub fn kids(&self) -> BTreeSet<Kid> {
        self.keyrings.kids()
    }

    /// Returns how many key generations are loaded.
    pub fn keys_loaded(&self) -> usize {
        self.keyrings.keys_loaded()
    }

    /// Returns the current time by the vault's clock.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Returns the vault's counts, which every commit keeps up to date.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails to return its size, or to read the ledger again after a failed commit.
    pub async fn stats(&self) -> Result<StatsOutcome, VaultError> {
        self.maintenance.stats().await
    }

    /// Checks that the store answers a read.
    ///
    /// # Errors
    /// [`VaultError`] if it does not.
    pub async fn ping(&self) -> Result<(), VaultError> {
        self.maintenance.ping().await
    }

    /// Returns the number of records in the vault.
    pub fn records(&self) -> u64 {
        self.maintenance.records()
    }

    /// Returns every stored API key.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails, or a row does not decode.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, VaultError> {
        self.api_keys.api_keys().await
    }

    /// Stores when API keys were last used.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the call can be repeated.
    pub async fn note_api_key_use(&self, keys: &[ApiKey]) -> Result<(), VaultError> {
        self.api_keys.note_api_key_use(keys).await
    }

    /// Returns the audit log's head as the vault last noted it.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails or the row does not decode.
    pub async fn audit_head(&self) -> Result<Option<AuditHeadRow>, VaultError> {
        self.audit_heads.audit_head().await
    }

    /// Notes the head of this audit log with every commit from now on. A second call has no effect.
    pub fn anchor(&self, log: Arc<AuditLog>) {
        self.audit_heads.anchor(log)
    }

    /// Returns a function that returns the position of the last durable commit.
    pub fn position(&self) -> CurrentPosition {
        self.audit_heads.position()
    }

    /// Notes the audit log's head now, unless all that is not noted are positions of the vault.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails. Then the vault has the old head or the new one.
    pub async fn write_audit_head(&self) -> Result<(), VaultError> {
        self.audit_heads.write_audit_head().await
    }
}
