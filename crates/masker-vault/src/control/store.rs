//! A store whose unsealed rows carry tags under the control key.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use super::{
    spaces::{self, Protection},
    state::{ControlKeyStatus, ControlState, SlotChange, Stored, slot, slot_name},
};
use crate::metrics::VaultMetrics;
use masker_core::crypto::RowSum;
use masker_store::{
    ApplyOutcome, CompactionSizes, Row, RowBatch, RowChange, RowKey, RowPage, Store, StoreCheck, StoreError,
    StoreFuture, record::split_tag,
};
use masker_types::vault_position::VaultPosition;

/// Rows that are named in the log, each once. Further ones are counted.
const NAMED_ROWS_MAX: usize = 100;

/// A store in front of another one. It adds tags to the rows that are written, and verifies and removes them where rows
/// are read. Only the vault's writer writes through it.
pub(crate) struct ControlledStore {
    pub(super) store: Arc<dyn Store>,
    pub(super) state: ArcSwap<ControlState>,
    /// Whether a new control key failed to be stored: then only an operator replaces it.
    keeps_key: AtomicBool,
    /// Keys of rows that did not verify.
    unverified: Mutex<BTreeSet<RowKey>>,
    metrics: Arc<VaultMetrics>,
}

impl ControlledStore {
    pub(super) fn new(store: Arc<dyn Store>, state: ControlState, metrics: Arc<VaultMetrics>) -> Self {
        ControlledStore {
            store,
            state: ArcSwap::from_pointee(state),
            keeps_key: AtomicBool::new(false),
            unverified: Mutex::default(),
            metrics,
        }
    }

    /// Returns what is wrong with the rows, for an operator; `None` if every row that was read is one that the vault wrote.
    pub(crate) fn problem(&self) -> Option<String> {
        if !self.state.load().is_sound {
            return Some(
                "control rows were changed, removed or put back to an earlier state: API keys and rotations are void; find \
                 out who can write the vault's files, then run `masker vault new-control-key`"
                    .to_owned(),
            );
        }
        match self.named().len() {
            0 => None,
            _ => Some(
                "rows of the vault do not verify under its control key, and the log names them; find out who can write \
                 the vault's files, then run `masker vault new-control-key`"
                    .to_owned(),
            ),
        }
    }

    /// Returns which control key is in force.
    pub(crate) fn status(&self) -> ControlKeyStatus {
        let state = self.state.load();
        ControlKeyStatus { epoch: state.key.epoch(), holders: state.slots.clone() }
    }

    /// Returns whether the rows that grant are those that the vault wrote.
    pub(crate) fn is_sound(&self) -> bool {
        self.state.load().is_sound
    }

    fn named(&self) -> MutexGuard<'_, BTreeSet<RowKey>> {
        // No lock guards a state that a panic could leave inconsistent.
        self.unverified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_unverified(&self, key: &RowKey) {
        self.metrics.damaged.inc();
        let mut named = self.named();
        if named.len() < NAMED_ROWS_MAX && named.insert(key.clone()) {
            error!(row = spaces::name(key.space()), "a row of the vault does not verify under its control key");
        }
    }

    /// Verifies rows that were read while this state was in force; `None` if one of them does not verify and the control key
    /// was replaced meanwhile, so that the rows must be read again.
    fn verified<T>(
        &self,
        state: &Arc<ControlState>,
        rows: Vec<(RowKey, T)>,
        open: impl Fn(&RowKey, T) -> Option<Stored>,
    ) -> Option<Vec<(RowKey, Option<Row>)>> {
        let mut verified = Vec::with_capacity(rows.len());
        let mut unverified = Vec::new();
        for (key, row) in rows {
            let row = match open(&key, row) {
                None => None,
                Some(Stored::Verified(row)) => Some(row),
                Some(Stored::Void) => {
                    unverified.push(key.clone());
                    None
                }
                Some(Stored::Unverified(row)) => {
                    unverified.push(key.clone());
                    Some(row)
                }
            };
            verified.push((key, row));
        }
        if !unverified.is_empty() && !state.trusts_as(&self.state.load()) {
            return None;
        }
        unverified.iter().for_each(|key| self.note_unverified(key));
        Some(verified)
    }

    /// Applies a batch as [`Store::apply`], with what else it changes: tags, the manifest, the sum of tombstones, and the
    /// slots of the control key. After an error, [`ControlledStore::reload`] must be called before the next batch.
    pub(crate) async fn apply_with(
        &self,
        batch: RowBatch,
        slots: Option<&SlotChange<'_>>,
    ) -> Result<ApplyOutcome, StoreError> {
        let before = self.state.load_full();
        let (after, batch) = match slots {
            Some(slots) if self.replaces_key(slots, &before) => {
                // A new key must not make sound what was changed while the vault was open.
                let compared = self.compared(&before).await?;
                if slots.new_key || compared.is_intact() {
                    self.rekeyed(&compared, batch, slots).await?
                } else {
                    self.tagged(&compared, batch, Some(slots)).await?
                }
            }
            _ => self.tagged(&before, batch, slots).await?,
        };
        let replaces_key = !Arc::ptr_eq(&before.key, &after.key);
        // Readers may see the batch, with its tags, before it is durable.
        self.state.store(Arc::new(ControlState {
            next_key: replaces_key.then(|| Arc::clone(&after.key)),
            tombstones_in_flight: after.tombstone_nonce != before.tombstone_nonce,
            ..ControlState::clone(&before)
        }));
        match self.store.apply(batch).await {
            Ok(ApplyOutcome::Durable) => {
                if replaces_key {
                    self.keeps_key.store(false, Ordering::Relaxed);
                    self.named().clear();
                    info!(epoch = after.key.epoch(), "the vault has a new control key");
                }
                self.state.store(Arc::new(after));
                Ok(ApplyOutcome::Durable)
            }
            Ok(refused) => {
                self.state.store(before);
                Ok(refused)
            }
            Err(failed) => {
                // A large batch may fail again and again, and the others with it.
                if replaces_key {
                    self.keeps_key.store(true, Ordering::Relaxed);
                    warn!(
                        error = %failed,
                        "the vault keeps its control key, which a key that was removed may open: run `masker vault new-control-key`"
                    );
                }
                Err(failed)
            }
        }
    }

    /// Returns whether a commit replaces the control key.
    fn replaces_key(&self, slots: &SlotChange<'_>, state: &ControlState) -> bool {
        slots.new_key || slots.ends_a_slot(state) && !self.keeps_key.load(Ordering::Relaxed)
    }

    /// Returns whether a commit would change slots.
    pub(crate) fn changes_slots(&self, slots: &SlotChange<'_>) -> bool {
        let state = self.state.load();
        self.replaces_key(slots, &state) || slots.adds_a_slot(&state)
    }

    /// Returns whether the vault may have tombstones, as far as is authenticated.
    pub(crate) fn may_have_tombstones(&self) -> bool {
        self.state.load().tombstones != Some(RowSum::default())
    }

    /// Adds tags to a batch, with the manifest and the sum of tombstones as they are after it, and missing slots.
    async fn tagged(
        &self,
        before: &ControlState,
        batch: RowBatch,
        slots: Option<&SlotChange<'_>>,
    ) -> Result<(ControlState, RowBatch), StoreError> {
        let RowBatch { preconditions, changes } = batch;
        let mut after = before.clone();
        let mut rows = Vec::with_capacity(changes.len() + 2);
        let summed =
            |key: &RowKey| matches!(spaces::protection(key.space()), Protection::Control | Protection::Tombstone);
        let replaced: Vec<RowKey> = changes.iter().map(RowChange::key).filter(|key| summed(key)).cloned().collect();
        let has = |protection| replaced.iter().any(|key| spaces::protection(key.space()) == protection);
        let (control, tombstones) = (has(Protection::Control), has(Protection::Tombstone));
        if !replaced.is_empty() {
            let stored = self.store.get_many(replaced.clone()).await?;
            for (key, row) in replaced.iter().zip(stored) {
                row.iter().for_each(|row| after.subtract(key, split_tag(row).0));
            }
        }
        for change in changes {
            if let RowChange::Put(key, row) = &change {
                after.add(key, row);
            }
            rows.push(after.tagged(change));
        }
        if control {
            after.changes = after.changes.saturating_add(1);
            rows.push(after.manifest());
        }
        if tombstones {
            after.tombstone_nonce = rand::random();
            rows.extend(after.tombstone_sum().map(|sum| after.tagged(sum)));
        }
        for holder in slots.into_iter().flat_map(SlotChange::holders) {
            if after.slots.insert(slot_name(holder)) {
                rows.push(slot(&after.key, holder));
            }
        }
        Ok((after, RowBatch { preconditions: before.tagged_preconditions(preconditions), changes: rows }))
    }
}

impl Store for ControlledStore {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        if keys.iter().all(|key| spaces::protection(key.space()) == Protection::Sealed) {
            return self.store.get_many(keys);
        }
        Box::pin(async move {
            loop {
                let state = self.state.load_full();
                let rows = self.store.get_many(keys.clone()).await?;
                let rows = keys.iter().cloned().zip(rows).collect();
                let open = |key: &RowKey, row: Option<Row>| row.map(|row| state.open(key, row));
                if let Some(rows) = self.verified(&state, rows, open) {
                    return Ok(rows.into_iter().map(|(_, row)| row).collect());
                }
            }
        })
    }

    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        Box::pin(self.apply_with(batch, None))
    }

    fn scan_after(&self, space: u8, after: Option<RowKey>, limit: usize) -> StoreFuture<'_, RowPage> {
        if spaces::protection(space) == Protection::Sealed {
            return self.store.scan_after(space, after, limit);
        }
        Box::pin(async move {
            let mut after = after;
            loop {
                let state = self.state.load_full();
                let page = self.store.scan_after(space, after.clone(), limit).await?;
                let (is_last, last) = (page.is_last, page.rows.last().map(|(key, _)| key.clone()));
                let open = |key: &RowKey, row: Row| Some(state.open(key, row));
                let Some(rows) = self.verified(&state, page.rows, open) else { continue };
                let rows: Vec<_> = rows.into_iter().filter_map(|(key, row)| Some((key, row?))).collect();
                // The next page follows the last row of this one, so a page whose rows are all void is skipped.
                if !rows.is_empty() || is_last {
                    return Ok(RowPage { rows, is_last });
                }
                after = last;
            }
        })
    }

    /// Only sealed rows are searched by prefixes.
    fn scan_prefixes(&self, prefixes: Vec<RowKey>, limit: usize) -> StoreFuture<'_, Vec<Vec<(RowKey, Row)>>> {
        debug_assert!(prefixes.iter().all(|prefix| spaces::protection(prefix.space()) == Protection::Sealed));
        self.store.scan_prefixes(prefixes, limit)
    }

    fn count(&self, space: u8) -> StoreFuture<'_, u64> {
        self.store.count(space)
    }

    fn check(&self) -> StoreFuture<'_, StoreCheck> {
        self.store.check()
    }

    fn bytes_on_disk(&self) -> StoreFuture<'_, u64> {
        self.store.bytes_on_disk()
    }

    fn compact(&self) -> StoreFuture<'_, CompactionSizes> {
        self.store.compact()
    }

    fn position(&self) -> VaultPosition {
        // In this order, so that the position is never before the changes.
        let control = self.state.load().position();
        VaultPosition { control, ..self.store.position() }
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        self.store.close()
    }
}
