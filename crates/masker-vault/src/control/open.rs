//! Opening the control key when the vault is opened, and again after a failed commit.

use std::{collections::BTreeSet, sync::Arc};

use tracing::{error, warn};

use super::{
    error::ControlKeyError,
    spaces,
    state::{ControlState, SlotChange, SlotName},
    store::ControlledStore,
};
use crate::{generations::describe_misplaced, ledger::all_rows, metrics::VaultMetrics};
use masker_core::{
    crypto::{ControlKey, Fingerprint, WrappedKey},
    keyring::{Keyring, NameElsewhere},
};
use masker_store::{
    ApplyOutcome, RowBatch, RowKey, Store, StoreError,
    record::{ControlManifestRow, ControlSlotRow, RowName, TombstoneSumRow, split_tag},
};
use masker_types::{kind::Kid, mode::Mode, vault_position::ControlPosition};

/// Highest epoch that is believed without a key. Nobody makes a million control keys.
const EPOCH_HINT_MAX: u64 = 1_000_000;

/// How the control key is opened.
pub(crate) struct ControlKeyRules<'k> {
    /// The kids whose generations hold the key: those that policies name.
    pub(crate) kids: &'k BTreeSet<Kid>,
    /// Whether a new key is made if no loaded generation holds the present one.
    pub(crate) accept_new: bool,
    /// How far the control rows have come at least, if it is known.
    pub(crate) recorded: Option<ControlPosition>,
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

    /// Opens the control key with the loaded generations. Returns `None` if none of them holds it. Removes slots that do not
    /// open with their own key, and those of epochs before `epoch_min`, so that the next commit writes them again.
    fn open(
        &mut self,
        keyring: &Keyring,
        vault_id: [u8; 16],
        epoch_min: u64,
    ) -> Result<Option<ControlKey>, ControlKeyError> {
        let mut opened: Option<(SlotName, ControlKey)> = None;
        let mut invalid = BTreeSet::new();
        for (name, slot) in &self.slots {
            if slot.epoch < epoch_min {
                warn!(kid = %name.0, fingerprint = %name.1, "a slot holds an earlier control key of the vault");
                invalid.insert(*name);
                continue;
            }
            let Some(generation) = keyring.by_fingerprint(name.0, name.1) else { continue };
            let wrapped = WrappedKey { nonce: slot.nonce, sealed: slot.sealed };
            match (generation.keys(Mode::Live).unwrap_control_key(&wrapped, vault_id, slot.epoch)?, &opened) {
                (None, _) => {
                    warn!(kid = %name.0, fingerprint = %name.1, "a slot of the control key does not open with its key");
                    invalid.insert(*name);
                }
                (Some(key), None) => opened = Some((*name, key)),
                (Some(key), Some((_, first))) if key.ct_eq(first) => {}
                (Some(_), Some((first, _))) => return Err(ControlKeyError::SlotsDisagree(*first, *name)),
            }
        }
        self.slots.retain(|(name, _)| !invalid.contains(name));
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
        let mut rows = ControlRows::read(store.as_ref()).await?;
        let holders: Vec<SlotName> = rows.slots.iter().map(|(name, _)| *name).collect();
        let opened = match rows.open(keyring, vault_id, rules.recorded.map_or(0, |recorded| recorded.epoch)) {
            Err(ControlKeyError::SlotsDisagree(..)) if rules.accept_new => None,
            opened => opened?,
        };
        if let Some(key) = opened {
            let state = read_state(store.as_ref(), Arc::new(key), &rows, rules.recorded).await?;
            let controlled = ControlledStore::new(store, state, metrics);
            if controlled.state.load().tombstones.is_none() {
                controlled.note_unverified(&RowKey::tombstone_sum());
            }
            if let Some(problem) = controlled.problem() {
                error!("{problem}");
            }
            return Ok(controlled);
        }
        let holds = |name: &&NameElsewhere| holders.contains(&(name.other, name.fingerprint));
        let misplaced: Vec<String> = keyring.names_elsewhere().iter().filter(holds).map(describe_misplaced).collect();
        if !misplaced.is_empty() {
            return Err(ControlKeyError::Misplaced(misplaced.join("\n")));
        }
        let is_new = is_new(store.as_ref(), rules.recorded).await?;
        if !is_new && !rules.accept_new {
            return Err(match holders.is_empty() {
                true => ControlKeyError::SlotsRemoved,
                false => ControlKeyError::NoSlot(holders),
            });
        }
        // Without the key, no row verifies: those that grant are void. Nor does the manifest, so its numbers are only a hint.
        let hint = rows.manifest.map_or(0, |manifest| manifest.epoch).min(EPOCH_HINT_MAX);
        let recorded = rules.recorded.unwrap_or_default();
        let key = ControlKey::generate(vault_id, hint.max(recorded.epoch), &mut rand::rng())?;
        let mut state = ControlState::empty(Arc::new(key));
        state.is_sound = is_new;
        state.tombstones = state.tombstones.filter(|_| is_new);
        state.changes = recorded.changes;
        state.slots = holders.into_iter().collect();
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
        let reloaded = read_state(self.store.as_ref(), Arc::clone(key), &rows, Some(state.position())).await?;
        self.state.store(Arc::new(reloaded));
        Ok(())
    }
}

/// Reads every control row and compares them with the manifest.
async fn read_state(
    store: &dyn Store,
    key: Arc<ControlKey>,
    rows: &ControlRows,
    recorded: Option<ControlPosition>,
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
    let recorded = recorded.unwrap_or_default();
    let is_behind = !state.position().reaches(&recorded);
    if is_behind {
        error!(
            changes = state.changes,
            recorded = recorded.changes,
            "the control rows are not those that the audit log has: they were changed, or put back to an earlier state"
        );
        state.changes = state.changes.max(recorded.changes);
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

/// Returns whether a store has no row of a vault yet. A vault whose control rows are recorded is not new, even if nothing is left
/// of it.
pub(crate) async fn is_new(store: &dyn Store, recorded: Option<ControlPosition>) -> Result<bool, StoreError> {
    Ok(recorded.is_none_or(|recorded| recorded.changes == 0) && is_empty(store).await?)
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
