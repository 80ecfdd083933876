//! The service for keys: lists generations, and replaces keys and policies.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    GenerationStatus, KeyLoadError, VaultError,
    generation_use::{GenerationUseSnapshot, TokensOpened},
    handles::Handles,
    keys::{CurrentKeys, KeysInForce},
    known_generation::KnownGeneration,
    ledger::{CurrentLedger, LedgerDraft},
    time::{self, Clock, timestamp},
    writer::{Change, CommitDraft, Lane, WriterHandle},
};
use masker_core::{
    crypto::Fingerprint,
    keyring::{GracePeriod, Keyring, KeyringError, LoadedKey, Role},
    policy::PolicySet,
};
use masker_types::{kind::Kid, vault_position::ControlPosition};

/// An operator's rules for keys.
#[derive(Clone, Debug)]
pub struct KeyRules {
    /// How long old keys may stay loaded, and what happens then.
    pub grace: GracePeriod,
    /// Kids whose values may get second tokens: a value that the vault does not find is minted even while the vault has
    /// records of the kid under a key that is not loaded.
    pub second_tokens: BTreeSet<Kid>,
    /// Whether keys that had been replaced may be active when the vault is opened.
    pub accept_rollback: bool,
    /// The kids whose keys hold the vault's control key: those that policies name. If none of them is loaded, all loaded
    /// keys hold it.
    pub policy_kids: BTreeSet<Kid>,
    /// Whether the vault gets a new control key if no loaded key holds the present one. API keys are removed then.
    pub accept_new_control_key: bool,
    /// How far the control rows have come by the audit log, if there is one. The vault's files must not be behind.
    pub recorded_control: Option<ControlPosition>,
}

impl KeyRules {
    /// Returns rules by which nothing is accepted, for a vault whose control key all loaded keys hold.
    pub fn new(grace: GracePeriod) -> Self {
        KeyRules {
            grace,
            second_tokens: BTreeSet::new(),
            accept_rollback: false,
            policy_kids: BTreeSet::new(),
            accept_new_control_key: false,
            recorded_control: None,
        }
    }
}

/// Replaces keys and policies, and lists key generations.
pub(crate) struct KeyringService {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    writer: Arc<WriterHandle>,
    clock: Clock,
    grace: GracePeriod,
}

impl KeyringService {
    pub(crate) fn new(handles: &Handles, grace: GracePeriod) -> Self {
        KeyringService {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            writer: Arc::clone(&handles.writer),
            clock: Arc::clone(&handles.clock),
            grace,
        }
    }

    /// Puts the keys that the vault was opened with into force. Returns what an operator should know.
    pub(crate) async fn adopt(&self, accept_rollback: bool) -> Result<Vec<String>, KeyLoadError> {
        self.update(KeyringUpdate { keys: self.keys.load_full(), accept_rollback, policies: None }).await
    }

    /// Implements [`Vault::replace_keys_and_policies`](crate::Vault::replace_keys_and_policies).
    pub(crate) async fn replace(
        &self,
        keyring: Keyring,
        policies: Option<PolicySet>,
    ) -> Result<Vec<String>, KeyLoadError> {
        let uses = self.keys.load().uses.for_keyring(&keyring);
        let keys = Arc::new(KeysInForce { ring: keyring, uses });
        self.update(KeyringUpdate { keys, accept_rollback: false, policies }).await
    }

    async fn update(&self, update: KeyringUpdate) -> Result<Vec<String>, KeyLoadError> {
        let mut notes = self.writer.commit(update).await?.map_err(KeyLoadError::Refused)?;
        notes.extend(self.grace_warnings());
        Ok(notes)
    }

    /// Implements [`Vault::next_keyring`](crate::Vault::next_keyring).
    pub(crate) fn next_keyring(
        &self,
        keys: Vec<LoadedKey>,
        kept: &BTreeSet<(Kid, Role)>,
    ) -> Result<Keyring, Vec<KeyringError>> {
        self.keys.load().ring.successor(keys, kept)
    }

    /// Implements [`Vault::validate_keyring`](crate::Vault::validate_keyring).
    pub(crate) fn validate_keyring(&self, keyring: &Keyring) -> Vec<String> {
        let ledger = self.ledger.load();
        let draft = LedgerDraft::of(&ledger);
        let mut problems = draft.misplaced(keyring);
        problems.extend(draft.rollbacks(keyring));
        problems.extend(ledger.lost_active_keys(&self.keys.load().ring, keyring));
        problems
    }

    /// Implements [`Vault::adopt_policies`](crate::Vault::adopt_policies).
    pub(crate) async fn adopt_policies(&self, policies: &PolicySet) -> Result<Vec<String>, VaultError> {
        self.writer.commit(PolicyUpdate(policies.clone())).await
    }

    /// Implements [`Vault::new_control_key`](crate::Vault::new_control_key).
    pub(crate) async fn new_control_key(&self) -> Result<(), VaultError> {
        self.writer.commit(NewControlKey).await
    }

    /// Implements [`Vault::note_key_use`](crate::Vault::note_key_use).
    pub(crate) async fn note_key_use(&self) -> Result<(), VaultError> {
        self.writer.commit(KeyUseChange).await.map(drop)
    }

    /// Implements [`Vault::generations`](crate::Vault::generations).
    pub(crate) fn generations(&self) -> Vec<GenerationStatus> {
        let keys = self.keys.load();
        let ledger = self.ledger.load();
        let mut statuses: Vec<_> = ledger
            .generations
            .iter()
            .map(|(name, row)| {
                let loaded = keys.ring.by_fingerprint(name.0, name.1).map(|generation| generation.role());
                self.status(*name, row, loaded)
            })
            .collect();
        statuses.sort_by_key(|s| (s.kid, s.loaded != Some(Role::Active), s.old_since.map(std::cmp::Reverse)));
        statuses
    }

    fn status(
        &self,
        (kid, fingerprint): (Kid, Fingerprint),
        row: &KnownGeneration,
        loaded: Option<Role>,
    ) -> GenerationStatus {
        let used = self.keys.load().uses.get((kid, fingerprint));
        let written = self.ledger.load().uses.get(&(kid, fingerprint)).cloned();
        let opened = TokensOpened::of(written.as_ref(), used, time::unix_ms(&self.clock));
        let nonzero_timestamp = |ms: u64| timestamp(ms).filter(|_| ms > 0);
        let old_since = row.old_since_ms.and_then(timestamp);
        GenerationStatus {
            kid,
            fingerprint,
            loaded,
            first_seen: timestamp(row.first_seen_ms),
            old_since,
            grace_ends: old_since.map(|since| self.grace.ends(since)),
            last_used: nonzero_timestamp(used.map_or(0, |used| used.last_ms).max(row.last_used_ms)),
            records: row.records,
            index_rows: row.index_rows,
            tokens_last_opened: nonzero_timestamp(opened.last_ms),
            tokens_opened_30_days: opened.in_30_days,
            proven_at: row.proven_at_ms.and_then(timestamp),
            open_sessions: None,
        }
    }

    /// Implements [`Vault::missing_key_warnings`](crate::Vault::missing_key_warnings).
    pub(crate) fn missing_key_warnings(&self) -> Vec<String> {
        self.ledger.load().missing_key_warnings(&self.keys.load().ring, self.keys.second_tokens())
    }

    /// Implements [`Vault::kids`](crate::Vault::kids).
    pub(crate) fn kids(&self) -> BTreeSet<Kid> {
        self.keys.load().ring.iter().map(|(kid, _)| kid).collect()
    }

    /// Implements [`Vault::keys_loaded`](crate::Vault::keys_loaded).
    pub(crate) fn keys_loaded(&self) -> usize {
        self.keys.load().ring.iter().map(|(_, pair)| pair.generations().count()).sum()
    }

    /// Returns a warning for each loaded old key whose grace period is over.
    pub(super) fn grace_warnings(&self) -> Vec<String> {
        let now = (self.clock)();
        let over = self.generations().into_iter().filter_map(|generation| {
            let ended = generation.grace_ends.filter(|ends| generation.loaded == Some(Role::Old) && *ends <= now)?;
            let (kid, fingerprint) = (generation.kid, generation.fingerprint);
            Some(format!(
                "the grace period of the old key {kid} with fingerprint {fingerprint} ended on {ended}; see what still \
                 needs it by `masker keys status`, and move the vault's records by `masker vault rotate-key --new-kid {kid}`"
            ))
        });
        over.collect()
    }
}

/// Puts keys into force. Changes after it are decided under them.
struct KeyringUpdate {
    keys: Arc<KeysInForce>,
    /// Whether a key that had been replaced may be active again.
    accept_rollback: bool,
    /// Policies to remember in the same commit.
    policies: Option<PolicySet>,
}

impl Change for KeyringUpdate {
    /// What an operator should know, or what to correct for each refused kid.
    type Outcome = Result<Vec<String>, Vec<String>>;

    fn lane(&self) -> Lane {
        Lane::Control
    }

    /// Earlier changes are committed under the keys before.
    fn runs_alone(&self) -> bool {
        true
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        let ring = &self.keys.ring;
        let lost = draft.ledger().lost_active_keys(draft.keyring(), ring);
        if !lost.is_empty() {
            return Err(lost);
        }
        let mut notes = draft.ledger_changes.keys_loaded(ring, draft.now_ms, self.accept_rollback)?;
        notes.extend(draft.ledger().missing_key_warnings(ring, draft.second_tokens));
        draft.control.keys = Some(Arc::clone(&self.keys));
        if let Some(policies) = &self.policies {
            notes.extend(draft.ledger_changes.policies_loaded(policies));
            draft.control.policy_kids = Some(policy_kids(policies));
        }
        Ok(notes)
    }

    fn committed(&self, outcome: &Self::Outcome, keys: &CurrentKeys) {
        if outcome.is_ok() {
            keys.replace(Arc::clone(&self.keys));
            if let Some(policies) = &self.policies {
                keys.set_policy_kids(policy_kids(policies));
            }
        }
    }
}

/// Returns the kids that policies name.
fn policy_kids(policies: &PolicySet) -> BTreeSet<Kid> {
    policies.kids().map(|(_, kid)| kid).collect()
}

/// Remembers policies. The outcome is a warning for each kind whose known values would get new tokens.
struct PolicyUpdate(PolicySet);

impl Change for PolicyUpdate {
    type Outcome = Vec<String>;

    fn lane(&self) -> Lane {
        Lane::Control
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        draft.control.policy_kids = Some(policy_kids(&self.0));
        draft.ledger_changes.policies_loaded(&self.0)
    }

    fn committed(&self, _outcome: &Self::Outcome, keys: &CurrentKeys) {
        keys.set_policy_kids(policy_kids(&self.0));
    }
}

/// Puts a new control key in the place of the present one.
struct NewControlKey;

impl Change for NewControlKey {
    type Outcome = ();

    fn lane(&self) -> Lane {
        Lane::Control
    }

    fn runs_alone(&self) -> bool {
        true
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) {
        draft.control.new_key = true;
    }
}

/// Writes down the use of the keys in force.
pub(crate) struct KeyUseChange;

impl Change for KeyUseChange {
    /// What was written down.
    type Outcome = Vec<GenerationUseSnapshot>;

    fn lane(&self) -> Lane {
        Lane::Control
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        let noted: Vec<GenerationUseSnapshot> = draft.keys.uses.noted().collect();
        noted.iter().for_each(|used| draft.ledger_changes.key_used(used, draft.now_ms));
        noted
    }

    fn committed(&self, noted: &Self::Outcome, keys: &CurrentKeys) {
        keys.load().uses.written(noted);
    }
}
