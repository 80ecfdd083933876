//! The vault: one front for the services that do its work. What callers ask for is here, and takes a permit.

mod daemon;

use std::fs::File;
use std::sync::Arc;

use crate::{
    BatchResult, CheckOutcome, Clock, CompactError, EnteredSession, Forgotten, ForgottenValue, FoundTokens,
    HoneytokenError, HoneytokenId, HoneytokenRequest, HoneytokenStatus, ImportOutcome, ImportRules, ItemFailure,
    KeepKeyError, LongReads, Masked, PlantedHoneytoken, PurgeError, PurgeFilter, PurgeOutcome, Rehydrated, Rewrapped,
    RotationError, RotationId, RotationRequest, RotationStatus, RunningExport, SessionError, SessionFilter, SessionId,
    SessionOwner, SessionPage, SessionStatus, TokenInput, Tokenized, ValueInput, VaultError, VaultExportError,
    VaultImportError,
    api_keys::ApiKeyRows,
    audit_head::AuditHeads,
    backup::{Exporter, Importer, Restorer},
    check::Maintenance,
    compact::Compactor,
    control::{ControlKeyStatus, ControlledStore},
    forget::Eraser,
    honeytokens::HoneytokenService,
    keyrings::KeyringService,
    lookup::LookupService,
    placeholders,
    purge::Purger,
    rehydrate::Rehydrator,
    rewrap::Rewrapper,
    rotation::RotationService,
    sessions::SessionService,
    tokenize::Tokenizer,
    writer::WriterHandle,
};
use masker_access::{
    ApiKey, ApiKeysAdmin, Forget, Lookup, Permit, RehydratesTokens, ReportsRead, Rewrap, ScopedOperation, TextMask,
    TokenizesValues, VaultAdmin, VaultRead,
};
use masker_core::{placeholder::Placeholder, policy::Policy};
use masker_store::CompactionSizes;

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
    restorer: Restorer,
    maintenance: Maintenance,
    compactor: Compactor,
    api_keys: ApiKeyRows,
    audit_heads: AuditHeads,
}

impl Vault {
    /// Puts a new control key in the place of the present one: every row is tagged again, and those that are void are
    /// removed. Only the loaded keys of the kids that policies name can open it.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails. Then the vault has the old key or the new one.
    pub async fn new_control_key(&self, _permit: &Permit<VaultAdmin>) -> Result<ControlKeyStatus, VaultError> {
        self.keyrings.new_control_key().await?;
        Ok(self.control.status())
    }

    /// Swaps values for tokens. Results keep the order of the items; each can fail on its own. A returned token is durable.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed or the writer is overloaded: then no token was acknowledged.
    pub async fn tokenize<O: TokenizesValues>(
        &self,
        permit: &Permit<O>,
        policy: &Policy,
        items: &[ValueInput<'_>],
    ) -> Result<BatchResult<Tokenized>, VaultError> {
        let BatchResult { results, counts, erased } = self.tokenizer.tokenize(permit, policy, items, None).await?;
        Ok(BatchResult { results: results.into_iter().map(|masked| masked.result).collect(), counts, erased })
    }

    /// Swaps values that were found in texts for tokens, as [`Vault::tokenize`], and gives each token its placeholder: that of
    /// the session, or else of the caller. A returned placeholder is durable.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed or the writer is overloaded: then no token was acknowledged.
    pub async fn mask(
        &self,
        permit: &Permit<TextMask>,
        policy: &Policy,
        items: &[ValueInput<'_>],
        session: Option<SessionId>,
    ) -> Result<BatchResult<Masked>, VaultError> {
        let owner = placeholders::owner(session, &permit.caller_id());
        self.tokenizer.tokenize(permit, policy, items, Some(owner)).await
    }

    /// Returns the tokens of placeholders of a session, or else of the caller; `None` for those that it does not have.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed.
    pub async fn placeholder_tokens<O: ScopedOperation>(
        &self,
        permit: &Permit<O>,
        session: Option<SessionId>,
        placeholders: &[Placeholder],
    ) -> Result<Vec<Option<String>>, VaultError> {
        let owner = placeholders::owner(session, &permit.caller_id());
        self.tokenizer.placeholders.tokens(owner, placeholders).await
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
    pub async fn rehydrate<O: RehydratesTokens>(
        &self,
        permit: &Permit<O>,
        tokens: &[TokenInput<'_>],
    ) -> Result<BatchResult<Result<Rehydrated, ItemFailure>>, VaultError> {
        self.rehydrator.rehydrate(permit, tokens).await
    }

    /// Mints `MSK1` tokens again under the active key of their kid, in their own suite; `MSKV1` tokens come back as they
    /// are. An old key is used even when its grace period is over, for rewrapping is how its tokens are replaced. Results
    /// keep the order of the tokens. Does not read the store.
    ///
    /// An item fails with [`ItemFailure`] if the caller may not use the token, or if it does not open.
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

    /// Counts the honeytokens.
    pub fn count_honeytokens(&self, _permit: &Permit<ReportsRead>) -> u64 {
        self.honeytokens.honeytokens().len() as u64
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

    /// Closes a session: durable when it returns. A closed session stays as it is. `reads` are those of the caller.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], or a failure of the vault: then the session stays open.
    pub async fn close_session(&self, id: SessionId, reads: &LongReads) -> Result<SessionStatus, SessionError> {
        self.sessions.close_session(id, reads).await
    }

    /// Returns who opened a session; `None` if there is none of this id.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails, or the session's row does not decode.
    pub async fn session_owner(&self, id: SessionId) -> Result<Option<SessionOwner>, VaultError> {
        self.sessions.session_owner(id).await
    }

    /// Returns the status of a session; `None` if there is none of this id. Reads the records of all tokens that an open
    /// session tracks. `reads` are those of the caller.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails, or the session's row does not decode.
    pub async fn session(&self, id: SessionId, reads: &LongReads) -> Result<Option<SessionStatus>, VaultError> {
        self.sessions.session(id, reads).await
    }

    /// Lists sessions in the order in which they were opened. Counts a row that does not decode as damage. `reads` are those
    /// of the caller.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails.
    pub async fn sessions(&self, filter: &SessionFilter<'_>, reads: &LongReads) -> Result<SessionPage, VaultError> {
        self.sessions.sessions(filter, reads).await
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

    /// Lists the remembered rotations, the latest first.
    pub fn rotations(&self, _permit: &Permit<VaultRead>) -> Vec<RotationStatus> {
        self.rotations.rotations()
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
        self.exporter.export(vault_id, false).await
    }

    /// Begins an export that also has the API keys, honeytokens, key generations and sessions. Needs both permits, because a
    /// restore gives these keys what they could do. Without the control rows that the vault wrote, API keys are left out.
    ///
    /// # Errors
    /// [`VaultExportError`].
    pub async fn export_for_backup(
        &self,
        _permit: &Permit<VaultAdmin>,
        _keys: &Permit<ApiKeysAdmin>,
        vault_id: [u8; 16],
    ) -> Result<RunningExport, VaultExportError> {
        self.exporter.export(vault_id, true).await
    }

    /// Merges an export into the vault: the whole file is verified first, nothing in the vault is overwritten, and every
    /// record is written under an active key. Control rows of a backup are left out. An import that was dropped or that failed
    /// can be repeated.
    ///
    /// # Errors
    /// [`VaultImportError`]. With [`VaultImportError::Interrupted`], a part of the file was merged; with
    /// [`VaultImportError::Vault`], moves of key ids may be written.
    pub async fn import(
        &self,
        _permit: &Permit<VaultAdmin>,
        file: File,
        rules: ImportRules,
    ) -> Result<ImportOutcome, VaultImportError> {
        self.importer.import(file, rules).await
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

    /// Stores API keys as they are now, all or none: durable when it returns.
    ///
    /// # Errors
    /// [`KeepKeyError`]; after a failure of the store the keys may be stored or not.
    pub async fn keep_api_keys(&self, _permit: &Permit<ApiKeysAdmin>, keys: &[ApiKey]) -> Result<(), KeepKeyError> {
        self.api_keys.keep_api_keys(keys).await
    }
}
