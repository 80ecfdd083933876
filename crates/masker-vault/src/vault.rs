//! The vault: one front for the services that do its work.

use std::{collections::BTreeSet, fs::File, sync::Arc};

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::warn;

use super::{
    BatchResult, CheckOutcome, Clock, CompactError, EnteredSession, Forgotten, ForgottenValue, FoundTokens,
    GenerationStatus, HoneytokenError, HoneytokenId, HoneytokenRequest, HoneytokenStatus, ImportOutcome, ImportRules,
    ItemFailure, KeepKeyError, KeyLoadError, PlantedHoneytoken, PurgeError, PurgeFilter, PurgeOutcome, Rehydrated,
    Rewrapped, RotationError, RotationId, RotationRequest, RotationStatus, RunningExport, SessionError, SessionFilter,
    SessionId, SessionOwner, SessionPage, SessionStatus, StatsOutcome, TokenInput, Tokenized, ValueInput, VaultError,
    VaultExportError, VaultImportError, VaultMetrics,
    api_keys::ApiKeyRows,
    audit_anchor::AuditAnchor,
    audit_head::AuditHeads,
    backup::{Exporter, Importer},
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
    sessions::{SessionRegistry, SessionService},
    tokenize::Tokenizer,
    writer::{WriterContext, WriterHandle},
};
use masker_access::{ApiKey, ApiKeysAdmin, Forget, Lookup, Permit, Rehydrate, Rewrap, Tokenize, VaultAdmin, VaultRead};
use masker_audit::{AuditLog, CurrentPosition};
use masker_core::{
    keyring::{Keyring, KeyringError, LoadedKey, Role},
    policy::{Policy, PolicySet},
};
use masker_store::{CompactionSizes, Store, record::AuditHeadRow};
use masker_types::kind::Kid;

/// The vault: keys, records and the operations on them. Opened once, shared by every request.
pub struct Vault {
    writer: Arc<WriterHandle>,
    control: Arc<ControlledStore>,
    clock: Clock,
    keyrings: KeyringService,
    tokenizer: Tokenizer,
    lookups: LookupService,
    rehydrator: Rehydrator,
    rewrapper: Rewrapper,
    eraser: Eraser,
    purger: Purger,
    honeytokens: HoneytokenService,
    pub(crate) sessions: SessionService,
    pub(crate) rotations: RotationService,
    exporter: Exporter,
    importer: Importer,
    maintenance: Maintenance,
    compactor: Compactor,
    api_keys: ApiKeyRows,
    audit_heads: AuditHeads,
}

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
            exporter: Exporter::new(&handles),
            importer: Importer::new(&handles),
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
            recorded_changes: rules.recorded_control_changes,
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

    /// Puts a new control key in the place of the present one: every row is tagged again, and those that are void are
    /// removed. Only the loaded keys of the kids that policies name can open it.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails. Then the vault has the old key or the new one.
    pub async fn new_control_key(&self, _permit: &Permit<VaultAdmin>) -> Result<(), VaultError> {
        self.keyrings.new_control_key().await
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

    /// Writes down what sessions have counted, lets the writer finish its queue, and closes the store. Later operations
    /// fail as unavailable.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed to close; what was acknowledged is durable all the same.
    pub async fn close(&self) -> Result<(), VaultError> {
        let flushed = self.flush_sessions().await;
        self.writer.stop(self.audit_heads.last_change()).await.and(flushed)
    }

    /// Swaps values for tokens. Results keep the order of the items; each can fail on its own. A returned token is durable.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed or the writer is overloaded: then no token was acknowledged.
    pub async fn tokenize(
        &self,
        permit: &Permit<Tokenize>,
        policy: &Policy,
        items: &[ValueInput<'_>],
    ) -> Result<BatchResult<Tokenized>, VaultError> {
        self.tokenizer.tokenize(permit, policy, items).await
    }

    /// Returns every token by which a value may be stored in any spelling: for vault tokens those that the vault holds, first
    /// the one that tokenizing would return; for deterministic AEAD tokens one for each loaded key generation, active first.
    /// Results keep the order of the items.
    ///
    /// While the vault has records under a key that is not loaded, a value that is not found may be stored all the same.
    /// So the lookup fails then, even where second tokens are accepted, for that says nothing of the first token.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed.
    pub async fn lookup(
        &self,
        permit: &Permit<Lookup>,
        policy: &Policy,
        items: &[ValueInput<'_>],
    ) -> Result<BatchResult<Result<FoundTokens, ItemFailure>>, VaultError> {
        self.lookups.lookup(permit, policy, items).await
    }

    /// Swaps tokens back for values. Results keep the order of the tokens, and each can fail on its own.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed.
    pub async fn rehydrate(
        &self,
        permit: &Permit<Rehydrate>,
        tokens: &[TokenInput<'_>],
    ) -> Result<BatchResult<Result<Rehydrated, ItemFailure>>, VaultError> {
        self.rehydrator.rehydrate(permit, tokens).await
    }

    /// Mints `MSK1` tokens again under the active key of their kid, in their own suite; `MSKV1` tokens come back as they
    /// are. An old key is used even when its grace period is over, for rewrapping is how its tokens are replaced. Results
    /// keep the order of the tokens. Does not read the store.
    pub fn rewrap(
        &self,
        permit: &Permit<Rewrap>,
        tokens: &[TokenInput<'_>],
    ) -> BatchResult<Result<Rewrapped, ItemFailure>> {
        self.rewrapper.rewrap(permit, tokens)
    }

    /// Erases the records of `MSKV1` tokens with their index rows. `MSK1` tokens contain their value: there is nothing to
    /// erase. Results keep the order of the tokens. A returned erasure is durable.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed or the writer is overloaded: then nothing was acknowledged.
    pub async fn forget(
        &self,
        permit: &Permit<Forget>,
        tokens: &[TokenInput<'_>],
    ) -> Result<BatchResult<Result<Forgotten, ItemFailure>>, VaultError> {
        self.eraser.forget(permit, tokens).await
    }

    /// Erases every token of these values, in any spelling. Needs both permits, because the result says whether a value is in
    /// the vault. Results keep the order of the items. A returned erasure is durable.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed or the writer is overloaded before anything was erased. After that, the results say
    /// how much was.
    pub async fn forget_values(
        &self,
        permit: &Permit<Forget>,
        lookup: &Permit<Lookup>,
        policy: &Policy,
        items: &[ValueInput<'_>],
    ) -> Result<BatchResult<ForgottenValue>, VaultError> {
        self.eraser.forget_values((permit, lookup), policy, items).await
    }

    /// Erases the records that a filter selects, with their index rows, in steps, while the vault serves; with `dry_run`,
    /// counts them. Needs no key. A record that is minted or re-encrypted meanwhile is erased if the filter selects it when
    /// the scan reaches it.
    ///
    /// # Errors
    /// [`PurgeError`]. What a purge has erased before the store failed stays erased.
    pub async fn purge(
        &self,
        _permit: &Permit<VaultAdmin>,
        filter: PurgeFilter,
        dry_run: bool,
    ) -> Result<PurgeOutcome, PurgeError> {
        self.purger.purge(filter, dry_run).await
    }

    /// Returns the honeytoken that a text is, in every context, and also after it was forgotten.
    pub fn honeytoken(&self, token: &str) -> Option<HoneytokenId> {
        self.honeytokens.honeytoken(token)
    }

    /// Returns whether there are honeytokens.
    pub fn has_honeytokens(&self) -> bool {
        self.honeytokens.has_honeytokens()
    }

    /// Lists the honeytokens in the order in which they were planted.
    pub fn honeytokens(&self, _permit: &Permit<VaultRead>) -> Vec<HoneytokenStatus> {
        self.honeytokens.honeytokens()
    }

    /// Removes the mark of a honeytoken: durable when it returns. The token is an ordinary one then, and its record stays.
    ///
    /// # Errors
    /// [`HoneytokenError::NotFound`], or a failure of the vault: then the token stays marked.
    pub async fn remove_honeytoken(
        &self,
        _permit: &Permit<VaultAdmin>,
        id: HoneytokenId,
    ) -> Result<HoneytokenStatus, HoneytokenError> {
        self.honeytokens.remove_honeytoken(id).await
    }

    /// Plants a honeytoken: a marked token that no search by value finds. It is durable when this returns.
    ///
    /// # Errors
    /// [`HoneytokenError`]; no token is returned then.
    pub async fn plant_honeytoken(
        &self,
        permit: &Permit<VaultAdmin>,
        policy: &Policy,
        request: &HoneytokenRequest<'_>,
    ) -> Result<PlantedHoneytoken, HoneytokenError> {
        self.honeytokens.plant_honeytoken(permit, policy, request).await
    }

    /// Opens a session: durable when it returns.
    ///
    /// # Errors
    /// [`SessionError`]; there is no such session then.
    pub async fn open_session(&self, label: &str, opened_by: SessionOwner) -> Result<SessionStatus, SessionError> {
        self.sessions.open_session(label, opened_by).await
    }

    /// Returns the session that a request names; `None` unless it is open.
    pub fn enter_session(&self, id: SessionId) -> Option<EnteredSession> {
        self.sessions.enter_session(id)
    }

    /// Closes a session: durable when it returns. A closed session stays as it is.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], or a failure of the vault: then the session stays open.
    pub async fn close_session(&self, id: SessionId) -> Result<SessionStatus, SessionError> {
        self.sessions.close_session(id).await
    }

    /// Returns the status of a session; `None` if there is none of this id.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails, or the session's row does not decode.
    pub async fn session(&self, id: SessionId) -> Result<Option<SessionStatus>, VaultError> {
        self.sessions.session(id).await
    }

    /// Writes down what sessions have counted since the last flush.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the counts are kept and written later.
    pub async fn flush_sessions(&self) -> Result<(), VaultError> {
        self.sessions.flush_sessions().await
    }

    /// Lists sessions in the order in which they were opened. Counts a row that does not decode as damage.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails.
    pub async fn sessions(&self, filter: &SessionFilter<'_>) -> Result<SessionPage, VaultError> {
        self.sessions.sessions(filter).await
    }

    /// Removes sessions that were closed `retention_days` ago or earlier, and open ones that were unused for as long.
    /// Returns how many were removed or have ended, and [`VaultError`] if the store fails. Then others are left for the next
    /// time, and the rows of those that have ended are removed by a later [`Vault::flush_sessions`].
    pub async fn purge_sessions(&self, retention_days: u32) -> (u64, Result<(), VaultError>) {
        self.sessions.purge_sessions(retention_days).await
    }

    /// Begins a rotation, which [`Vault::drive_rotations`] drives.
    ///
    /// # Errors
    /// [`RotationError`]; nothing was begun then.
    pub async fn begin_rotation(
        &self,
        _permit: &Permit<VaultAdmin>,
        request: RotationRequest,
    ) -> Result<RotationStatus, RotationError> {
        self.rotations.begin_rotation(request).await
    }

    /// Cancels a rotation. Records that it has moved stay moved.
    ///
    /// # Errors
    /// [`RotationError`] if there is none of this id, or it has ended.
    pub async fn cancel_rotation(
        &self,
        _permit: &Permit<VaultAdmin>,
        id: RotationId,
    ) -> Result<RotationStatus, RotationError> {
        self.rotations.cancel_rotation(id).await
    }

    /// Returns the status of a rotation.
    ///
    /// # Errors
    /// [`RotationError::NotFound`].
    pub fn rotation(&self, _permit: &Permit<VaultRead>, id: RotationId) -> Result<RotationStatus, RotationError> {
        self.rotations.rotation(id)
    }

    /// Returns the rotation that is running, if any. Dry runs do not count. Does not read the store.
    pub fn rotation_running(&self) -> Option<RotationStatus> {
        self.rotations.rotation_running()
    }

    /// Lists the remembered rotations, the latest first.
    pub fn rotations(&self, _permit: &Permit<VaultRead>) -> Vec<RotationStatus> {
        self.rotations.rotations()
    }

    /// Drives rotations until `stop` is true: those that were begun before the process started, too.
    pub async fn drive_rotations(&self, stop: watch::Receiver<bool>) {
        self.rotations.drive_rotations(stop).await
    }

    /// Begins an export. It contains every record acknowledged by now. A record written meanwhile may be in it or not; one
    /// erased meanwhile is left out or has a tombstone.
    ///
    /// # Errors
    /// [`VaultExportError`].
    pub async fn export(
        &self,
        _permit: &Permit<VaultAdmin>,
        vault_id: [u8; 16],
    ) -> Result<RunningExport, VaultExportError> {
        self.exporter.export(vault_id).await
    }

    /// Merges an export into the vault: the whole file is verified first, nothing in the vault is overwritten, and every
    /// record is written under an active key. An import that was dropped or that failed can be repeated.
    ///
    /// # Errors
    /// [`VaultImportError`]. Only [`VaultImportError::Vault`], [`VaultImportError::Spool`] and
    /// [`VaultImportError::KeysChanged`] can occur after something was written.
    pub async fn import(
        &self,
        _permit: &Permit<VaultAdmin>,
        file: File,
        rules: ImportRules,
    ) -> Result<ImportOutcome, VaultImportError> {
        self.importer.import(file, rules).await
    }

    /// Lists every key generation that is loaded or remembered, by kid, the active one of each first, from memory.
    pub fn generations(&self) -> Vec<GenerationStatus> {
        self.keyrings.generations()
    }

    /// Lists the same as [`Vault::generations`], with the number of open sessions that need each. Reads the store.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails.
    pub async fn generations_with_sessions(&self) -> Result<Vec<GenerationStatus>, VaultError> {
        let sessions = self.sessions.sessions_on_old_keys().await?;
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

    /// Checks the whole vault while it serves. Writes nothing, except that an old key is proven unneeded where the check
    /// found no damage and nothing under it.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed. Damage is not an error but part of the outcome.
    pub async fn check(&self, _permit: &Permit<VaultAdmin>) -> Result<CheckOutcome, VaultError> {
        self.maintenance.check().await
    }

    /// Rewrites the store's files while the vault serves: afterwards they contain nothing that was erased or replaced
    /// before. Needs disk space for a second copy.
    ///
    /// # Errors
    /// [`CompactError`]; nothing was lost.
    pub async fn compact(&self, _permit: &Permit<VaultAdmin>) -> Result<CompactionSizes, CompactError> {
        self.compactor.compact().await
    }

    /// Returns every stored API key.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails, or a row does not decode.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, VaultError> {
        self.api_keys.api_keys().await
    }

    /// Stores API keys as they are now, all or none: durable when it returns.
    ///
    /// # Errors
    /// [`KeepKeyError`]; after a failure of the store the keys may be stored or not.
    pub async fn keep_api_keys(&self, _permit: &Permit<ApiKeysAdmin>, keys: &[ApiKey]) -> Result<(), KeepKeyError> {
        self.api_keys.keep_api_keys(keys).await
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
