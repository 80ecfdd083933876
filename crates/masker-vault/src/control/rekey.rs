//! A new control key: every row is tagged again, and those that are void are removed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use tracing::error;

use super::{
    spaces,
    state::{ControlState, SlotChange, Stored, slot, slot_name},
    store::ControlledStore,
};
use crate::paged_scan::PagedScan;
use masker_core::crypto::ControlKey;
use masker_store::{
    RowBatch, RowChange, RowKey, StoreError,
    record::{RowName, split_tag},
};

impl ControlledStore {
    /// Returns a batch with the tags of a new control key, which also tags all other rows again. Its slots are those of the
    /// loaded generations, so nobody else can open the key.
    pub(super) async fn rekeyed(
        &self,
        before: &ControlState,
        batch: RowBatch,
        slots: &SlotChange<'_>,
    ) -> Result<(ControlState, RowBatch), StoreError> {
        let key = ControlKey::generate(before.key.vault_id(), before.key.epoch().saturating_add(1), &mut rand::rng());
        let key = key.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let changes = before.changes.saturating_add(1);
        let mut after = ControlState { changes, ..ControlState::empty(Arc::new(key)) };
        let mut rows: BTreeMap<RowKey, RowChange> =
            batch.changes.into_iter().map(|change| (change.key().clone(), change)).collect();
        for space in spaces::TAGGED {
            self.tag_again(before, space, &mut rows).await?;
        }
        rows.remove(&RowKey::tombstone_sum());
        let mut changes = Vec::with_capacity(rows.len() + before.slots.len() + 2);
        for change in rows.into_values() {
            if let RowChange::Put(key, row) = &change {
                after.add(key, row);
            }
            changes.push(after.tagged(change));
        }
        changes.push(after.manifest());
        changes.extend(after.tombstone_sum().map(|sum| after.tagged(sum)));
        for holder in slots.holders() {
            if after.slots.insert(slot_name(holder)) {
                changes.push(slot(&after.key, holder));
            }
        }
        let ended = before.slots.difference(&after.slots);
        changes.extend(ended.map(|(kid, name)| RowChange::Remove(RowKey::control_slot(*kid, name.as_bytes()))));
        Ok((after, RowBatch { preconditions: before.tagged_preconditions(batch.preconditions), changes }))
    }

    /// Returns the state with which the stored rows are to be read: unsound if the control rows are not those that are known,
    /// and without a sum of tombstones if that differs.
    pub(super) async fn compared(&self, before: &ControlState) -> Result<ControlState, StoreError> {
        let mut found = ControlState::empty(Arc::clone(&before.key));
        for space in spaces::control().chain([RowName::TOMBSTONES]) {
            let mut scan = PagedScan::new(space);
            while let Some(page) = scan.next(self.store.as_ref()).await? {
                page.iter().for_each(|(key, stored)| found.add(key, split_tag(stored).0));
            }
        }
        let tombstones = before.tombstones.filter(|known| found.tombstones == Some(*known));
        if tombstones != before.tombstones {
            error!("tombstones were added or removed without the vault's control key");
            self.note_unverified(&RowKey::tombstone_sum());
        }
        let is_known = (found.rows, found.sum) == (before.rows, before.sum);
        if before.is_sound && !is_known {
            error!("control rows were changed without the vault's control key: those that grant are void");
        }
        Ok(ControlState { is_sound: before.is_sound && is_known, tombstones, ..before.clone() })
    }

    /// Adds the rows of a space that the batch does not change.
    async fn tag_again(
        &self,
        before: &ControlState,
        space: u8,
        rows: &mut BTreeMap<RowKey, RowChange>,
    ) -> Result<(), StoreError> {
        let mut scan = PagedScan::new(space);
        while let Some(page) = scan.next(self.store.as_ref()).await? {
            for (key, stored) in page {
                let Entry::Vacant(unchanged) = rows.entry(key) else { continue };
                let key = unchanged.key().clone();
                unchanged.insert(match before.open(&key, stored) {
                    Stored::Verified(row) | Stored::Unverified(row) => RowChange::Put(key, row),
                    Stored::Void => RowChange::Remove(key),
                });
            }
        }
        Ok(())
    }
}
