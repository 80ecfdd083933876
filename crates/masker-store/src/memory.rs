//! The model of a store: rows in memory. Engines are compared with it, and the layers above are tested on it, with
//! injected faults.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use masker_types::vault_position::{ControlPosition, VaultPosition};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::{
    ApplyOutcome, CompactionSizes, Row, RowBatch, RowChange, RowKey, RowPage, Store, StoreCheck, StoreError,
    StoreFuture,
};

/// How a call of [`Store::apply`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// The batch was not applied.
    NotApplied,
    /// The batch was applied, although the call returns an error.
    AppliedUnanswered,
}

/// Rows in memory, in the order of their keys. Clones share their rows.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<MemoryState>>,
    gate: Arc<RwLock<()>>,
}

#[derive(Default)]
struct MemoryState {
    rows: BTreeMap<RowKey, Row>,
    commits: u64,
    faults: VecDeque<InjectedFault>,
    unavailable: bool,
    closed: bool,
    rows_scanned: usize,
}

/// Makes calls of [`Store::apply`] wait before they return, until it is dropped. Readers see what they applied, as with a
/// slow disk.
pub struct ApplyGuard {
    _gate: OwnedRwLockWriteGuard<()>,
}

impl MemoryStore {
    /// Creates a store without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next [`Store::apply`] whose preconditions hold fail. Faults queue up.
    pub fn fail_next_apply(&self, fault: InjectedFault) {
        self.state().faults.push_back(fault);
    }

    /// Removes the faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Makes every call fail with [`StoreError::Unavailable`], or ends that.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.state().unavailable = unavailable;
    }

    /// Returns how many rows scans have returned so far.
    pub fn rows_scanned(&self) -> usize {
        self.state().rows_scanned
    }

    /// Reopens the store after it was closed, with its rows.
    pub fn reopen(&self) {
        self.state().closed = false;
    }

    /// Makes calls of [`Store::apply`] wait until the guard is dropped. Waits for running calls.
    pub async fn hold_applies(&self) -> ApplyGuard {
        ApplyGuard { _gate: Arc::clone(&self.gate).write_owned().await }
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serving(&self) -> Result<MutexGuard<'_, MemoryState>, StoreError> {
        let state = self.state();
        if state.closed {
            return Err(StoreError::Unavailable("it was closed".into()));
        }
        if state.unavailable {
            return Err(StoreError::Unavailable("a fault was injected".into()));
        }
        Ok(state)
    }

    fn apply_now(&self, batch: RowBatch) -> Result<ApplyOutcome, StoreError> {
        batch.validate()?;
        let mut state = self.serving()?;
        for (index, precondition) in batch.preconditions.iter().enumerate() {
            if !precondition.holds(state.rows.get(precondition.key()).map(Vec::as_slice)) {
                return Ok(ApplyOutcome::Refused(index));
            }
        }
        let fault = state.faults.pop_front();
        if fault != Some(InjectedFault::NotApplied) {
            state.commits += 1;
            for change in batch.changes {
                match change {
                    RowChange::Put(key, row) => drop(state.rows.insert(key, row)),
                    RowChange::Remove(key) => drop(state.rows.remove(&key)),
                }
            }
        }
        match fault {
            None => Ok(ApplyOutcome::Durable),
            Some(_) => Err(StoreError::Unavailable("a fault was injected".into())),
        }
    }

    fn page(&self, space: u8, after: Option<RowKey>, limit: usize) -> Result<RowPage, StoreError> {
        let mut state = self.serving()?;
        let first = RowKey::of_parts(space, &[]);
        let from = match after {
            Some(key) if key >= first => Bound::Excluded(key),
            _ => Bound::Included(first),
        };
        let mut rest =
            state.rows.range((from, Bound::Unbounded)).take_while(|(key, _)| key.space() == space).peekable();
        let rows: Vec<_> = rest.by_ref().take(limit).map(|(key, row)| (key.clone(), row.clone())).collect();
        let is_last = rest.peek().is_none();
        state.rows_scanned += rows.len();
        Ok(RowPage { rows, is_last })
    }
}

impl Store for MemoryStore {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        Box::pin(async move {
            let state = self.serving()?;
            Ok(keys.iter().map(|key| state.rows.get(key).cloned()).collect())
        })
    }

    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        Box::pin(async move {
            // As with an engine on a disk: readers see the batch before it is durable.
            let applied = self.apply_now(batch);
            let _open = self.gate.read().await;
            applied
        })
    }

    fn scan_after(&self, space: u8, after: Option<RowKey>, limit: usize) -> StoreFuture<'_, RowPage> {
        Box::pin(async move { self.page(space, after, limit) })
    }

    fn count(&self, space: u8) -> StoreFuture<'_, u64> {
        Box::pin(async move { Ok(self.serving()?.rows.keys().filter(|key| key.space() == space).count() as u64) })
    }

    fn check(&self) -> StoreFuture<'_, StoreCheck> {
        Box::pin(async move {
            let rows = self.serving()?.rows.len() as u64;
            Ok(StoreCheck { rows, rows_expected: rows, sound: true })
        })
    }

    fn bytes_on_disk(&self) -> StoreFuture<'_, u64> {
        Box::pin(async move { self.serving().map(|_| 0) })
    }

    fn compact(&self) -> StoreFuture<'_, CompactionSizes> {
        Box::pin(async move { self.serving().map(|_| CompactionSizes { bytes_before: 0, bytes_after: 0 }) })
    }

    fn position(&self) -> VaultPosition {
        VaultPosition {
            vault_id: [0; 16],
            epoch: 1,
            sequence: self.state().commits,
            control: ControlPosition::default(),
        }
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.state().closed = true;
            Ok(())
        })
    }
}
