//! Opening the control key when the vault is opened, and again after a failed commit.

use std::{collections::BTreeSet, sync::Arc};

use tracing::{error, warn};

use super::{
    error::ControlKeyError,
    spaces,
    state::{ControlState, SlotChange, SlotName, split_tag},
    store::ControlledStore,
};
use crate::{ledger::all_rows, metrics::VaultMetrics};
use masker_core::{
    crypto::{ControlKey, Fingerprint, WrappedKey},
    keyring::Keyring,
};
use masker_store::{
    ApplyOutcome, RowBatch, RowKey, Store, StoreError,
    record::{ControlManifestRow, ControlSlotRow, RowName, TombstoneSumRow},
};
use masker_types::{kind::Kid, mode::Mode};

/// How the control key is opened.
pub(crate) struct ControlKeyRules<'k> {
    /// The kids whose generations hold the key: those that policies name.
    pub(crate) kids: &'k BTreeSet<Kid>,
    /// Whether a new key is made if no loaded generation holds the present one.
    pub(crate) accept_new: bool,
    /// How many changes of control rows the audit log has at least, if it is known.
    pub(crate) recorded_changes: Option<u64>,
}

/// The slots and the manifest, as they are stored.
#[derive(Default)]
struct ControlRows {
    slots: Vec<(SlotName, ControlSlotRow)>,
    manifest: Option<ControlManifestRow>,
}

impl ControlRows {
    /// Reads the rows. One that does not decode is as if it were not there.
    async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let mut rows = ControlRows::default();
        for (key, row) in all_rows(store, RowName::CONTROL).await? {
            match RowName::parse(&key) {
                Ok(RowName::ControlSlot(kid, fingerprint)) => {
                    let slot = ControlSlotRow::decode(&row).ok();
                    rows.slots.extend(slot.map(|slot| ((kid, Fingerprint::from_bytes(fingerprint)), slot)));
                }
                Ok(RowName::ControlManifest) => rows.manifest = ControlManifestRow::decode(&row).ok(),
                _ => {}
            }
        }
        Ok(rows)
    }

    /// Opens the control key with the loaded generations. Returns `None` if none of them holds it.
    fn open(&self, keyring: &Keyring, vault_id: [u8; 16]) -> Result<Option<ControlKey>, ControlKeyError> {
        let mut opened: Option<(SlotName, ControlKey)> = None;
        for (name, slot) in &self.slots {
            let Some(generation) = keyring.by_fingerprint(name.0, name.1) else { continue };
            let wrapped = WrappedKey { nonce: slot.nonce, sealed: slot.sealed };
            match (generation.keys(Mode::Live).unwrap_control_key(&wrapped, vault_id, slot.epoch)?, &opened) {
                (None, _) => {
                    warn!(kid = %name.0, fingerprint = %name.1, "a slot of the control key does not open with its key");
                }
                (Some(key), None) => opened = Some((*name, key)),
                (Some(key), Some((_, first))) if key.ct_eq(first) => {}
                (Some(_), Some((first, _))) => return Err(ControlKeyError::SlotsDisagree(*first, *name)),
            }
        }
        Ok(opened.map(|(_, key)| key))
    }
}

impl ControlledStore {
    /// Opens the control key of the vault in a store. A new vault gets one.
    ///
    /// # Errors
    /// [`ControlKeyError`]; nothing was changed.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        keyring: &Keyring,
        rules: ControlKeyRules<'_>,
        metrics: Arc<VaultMetrics>,
    ) -> Result<Self, ControlKeyError> {
        let vault_id = store.position().vault_id;
        let rows = ControlRows::read(store.as_ref()).await?;
        if let Some(key) = rows.open(keyring, vault_id)? {
            let state = read_state(store.as_ref(), Arc::new(key), &rows, rules.recorded_changes).await?;
            let controlled = ControlledStore::new(store, state, metrics);
            if let Some(problem) = controlled.problem() {
                error!("{problem}");
            }
            return Ok(controlled);
        }
        let is_new = is_empty(store.as_ref()).await?;
        if !is_new && !rules.accept_new {
            let holders: Vec<SlotName> = rows.slots.iter().map(|(name, _)| *name).collect();
            return Err(match holders.is_empty() {
                true => ControlKeyError::SlotsRemoved,
                false => ControlKeyError::NoSlot(holders),
            });
        }
        // Without the key, no row verifies: those that grant are void.
        let epoch = rows.manifest.as_ref().map_or(0, |manifest| manifest.epoch);
        let mut state = ControlState::empty(Arc::new(ControlKey::generate(vault_id, epoch, &mut rand::rng())?));
        state.is_sound = is_new;
        state.changes = rows.manifest.map_or(0, |manifest| manifest.changes).max(rules.recorded_changes.unwrap_or(0));
        state.slots = rows.slots.into_iter().map(|(name, _)| name).collect();
        let controlled = ControlledStore::new(store, state, metrics);
        let slots = SlotChange { keyring, kids: rules.kids, unneeded: &|_| false, new_key: true };
        match controlled.apply_with(RowBatch::default(), Some(&slots)).await? {
            ApplyOutcome::Durable => Ok(controlled),
            ApplyOutcome::Refused(_) => Err(StoreError::Misused("a batch without preconditions was refused").into()),
        }
    }

    /// Reads the state again after a failed commit, which may have been applied or not.
    pub(crate) async fn reload(&self) -> Result<(), StoreError> {
        let state = self.state.load_full();
        let rows = ControlRows::read(self.store.as_ref()).await?;
        let epoch = rows.manifest.as_ref().map_or(state.key.epoch(), |manifest| manifest.epoch);
        let key = match &state.next_key {
            Some(next) if next.epoch() == epoch => next,
            _ => &state.key,
        };
        let reloaded = read_state(self.store.as_ref(), Arc::clone(key), &rows, Some(state.changes)).await?;
        self.state.store(Arc::new(reloaded));
        Ok(())
    }
}

/// Reads every control row and compares them with the manifest.
async fn read_state(
    store: &dyn Store,
    key: Arc<ControlKey>,
    rows: &ControlRows,
    recorded_changes: Option<u64>,
) -> Result<ControlState, StoreError> {
    let slots = rows.slots.iter().map(|(name, _)| *name).collect();
    let mut state = ControlState { tombstones: None, slots, ..ControlState::empty(key) };
    let mut unverified = 0_usize;
    for space in spaces::control() {
        for (key, stored) in all_rows(store, space).await? {
            if !state.is_verified(&key, &stored) {
                unverified += 1;
                error!(row = spaces::name(space), "a control row does not verify under the vault's control key");
            }
            state.add(&key, split_tag(&stored).0);
        }
    }
    let is_complete = rows.manifest.as_ref().is_some_and(|manifest| state.adopt_manifest(manifest));
    let is_behind = recorded_changes.is_some_and(|recorded| state.changes < recorded);
    if is_behind {
        error!(
            changes = state.changes,
            recorded = recorded_changes,
            "the control rows are older than the audit log: they changed more often than the vault's files have it"
        );
        state.changes = state.changes.max(recorded_changes.unwrap_or(0));
    }
    state.is_sound = unverified == 0 && is_complete && !is_behind;

    let sum_key = RowKey::tombstone_sum();
    let stored = store.get_many(vec![sum_key.clone()]).await?.pop().flatten();
    let verified = stored.filter(|stored| state.is_verified(&sum_key, stored));
    match verified.and_then(|stored| TombstoneSumRow::decode(split_tag(&stored).0).ok()) {
        Some(row) => state.adopt_tombstone_sum(&row),
        None => error!("the sum of the tombstones does not verify under the vault's control key"),
    }
    Ok(state)
}

/// Returns whether a store has no row of a vault.
async fn is_empty(store: &dyn Store) -> Result<bool, StoreError> {
    for space in spaces::all() {
        if !store.scan_after(space, None, 1).await?.rows.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}
