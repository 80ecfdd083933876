//! Honeytokens: tokens that no application uses, planted where an intruder would find them.
//!
//! All marks are in memory, so a rehydration looks up one map, and none if there are no honeytokens. A honeytoken is marked
//! before it is returned, in one batch with its record, and no search by value finds it. The mark outlives the record: a honeytoken whose record was forgotten or purged is
//! still recognized, until an operator removes the mark. Marks are not part of an export.

mod plant;
#[cfg(test)]
mod tests;
mod value;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;

pub use plant::{HoneytokenError, HoneytokenRequest, PlantedHoneytoken};

use super::{
    VaultError,
    handles::Handles,
    ids::HoneytokenId,
    kept_rows::KeepRows,
    keys::CurrentKeys,
    paged_scan::PagedScan,
    tag::TokenTag,
    time::{Clock, timestamp},
    writer::WriterHandle,
};
use masker_core::token::Token;
use masker_store::{
    RowChange, RowKey, Store, StoreError,
    record::{HoneytokenRow, RecordError, RowName},
};
use masker_types::{
    kind::{EntityKind, Kid},
    limits::HONEYTOKENS_MAX,
};

/// A honeytoken's description, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoneytokenStatus {
    /// The id of its mark.
    pub id: HoneytokenId,
    /// The kind in the token.
    pub kind: EntityKind,
    /// The key id in the token.
    pub kid: Kid,
    /// Whether the token contains its value.
    pub carries_value: bool,
    /// When it was planted.
    pub planted_at: Option<Timestamp>,
    /// Who planted it.
    pub planted_by: String,
    /// Its purpose.
    pub label: String,
}

impl HoneytokenStatus {
    fn new(id: HoneytokenId, row: &HoneytokenRow) -> Self {
        HoneytokenStatus {
            id,
            kind: row.kind,
            kid: row.kid,
            carries_value: row.carries_value,
            planted_at: timestamp(row.planted_at_ms),
            planted_by: row.planted_by.clone(),
            label: row.label.clone(),
        }
    }
}

#[derive(Default)]
struct HoneytokenIndex {
    rows: BTreeMap<HoneytokenId, HoneytokenRow>,
    ids: HashMap<TokenTag, HoneytokenId>,
}

/// The planted honeytokens.
#[derive(Default)]
pub(super) struct Honeytokens {
    any: AtomicBool,
    marks: RwLock<HoneytokenIndex>,
}

/// A mark that is being written. It is removed if this is dropped.
struct PendingHoneytoken<'h> {
    honeytokens: &'h Honeytokens,
    id: Option<HoneytokenId>,
}

impl Honeytokens {
    /// Reads the honeytokens from the store.
    pub(super) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let honeytokens = Honeytokens::default();
        let mut pages = PagedScan::new(RowName::HONEYTOKENS);
        let damaged = |damage: RecordError| StoreError::Damaged(damage.to_string());
        while let Some(rows) = pages.next(store).await? {
            for (key, row) in rows {
                if let RowName::Honeytoken(id) = RowName::parse(&key).map_err(damaged)? {
                    let row = HoneytokenRow::decode(&row).map_err(damaged)?;
                    honeytokens.insert(&mut honeytokens.marks_mut(), HoneytokenId::from_bytes(id), row);
                }
            }
        }
        Ok(honeytokens)
    }

    /// Returns the honeytoken with this tag. The tag is not computed if there are no honeytokens.
    pub(super) fn find(&self, tag: impl FnOnce() -> Option<TokenTag>) -> Option<HoneytokenId> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let tag = tag()?;
        self.marks().ids.get(&tag).copied()
    }

    fn marks(&self) -> RwLockReadGuard<'_, HoneytokenIndex> {
        // No code panics between the changes of the two maps.
        self.marks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn marks_mut(&self) -> RwLockWriteGuard<'_, HoneytokenIndex> {
        self.marks.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a mark in `marks`, the locked index of these honeytokens.
    fn insert(&self, marks: &mut HoneytokenIndex, id: HoneytokenId, row: HoneytokenRow) {
        marks.ids.insert(TokenTag::from_bytes(row.tag), id);
        marks.rows.insert(id, row);
        self.any.store(true, Ordering::Relaxed);
    }

    fn remove(&self, id: HoneytokenId) {
        let mut marks = self.marks_mut();
        if let Some(row) = marks.rows.remove(&id) {
            marks.ids.remove(&TokenTag::from_bytes(row.tag));
        }
        self.any.store(!marks.rows.is_empty(), Ordering::Relaxed);
    }

    /// Marks a token, for as long as its mark is being written.
    fn begin(&self, id: HoneytokenId, row: HoneytokenRow) -> Result<PendingHoneytoken<'_>, HoneytokenError> {
        let mut marks = self.marks_mut();
        if marks.rows.len() >= HONEYTOKENS_MAX {
            return Err(HoneytokenError::TooMany);
        }
        self.insert(&mut marks, id, row);
        drop(marks);
        Ok(PendingHoneytoken { honeytokens: self, id: Some(id) })
    }
}

impl PendingHoneytoken<'_> {
    /// Keeps the mark, which is durable.
    fn written(mut self) {
        self.id = None;
    }
}

impl Drop for PendingHoneytoken<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.honeytokens.remove(id);
        }
    }
}

/// Plants, lists and removes honeytokens.
pub(crate) struct HoneytokenService {
    keys: Arc<CurrentKeys>,
    writer: Arc<WriterHandle>,
    clock: Clock,
    index: Arc<Honeytokens>,
}

impl HoneytokenService {
    pub(crate) fn new(handles: &Handles, index: Arc<Honeytokens>) -> Self {
        HoneytokenService {
            keys: Arc::clone(&handles.keys),
            writer: Arc::clone(&handles.writer),
            clock: Arc::clone(&handles.clock),
            index,
        }
    }

    /// Implements [`Vault::honeytoken`](crate::Vault::honeytoken).
    pub(crate) fn honeytoken(&self, token: &str) -> Option<HoneytokenId> {
        self.index.find(|| Token::parse(token).ok().map(|token| TokenTag::of(&token)))
    }

    /// Implements [`Vault::has_honeytokens`](crate::Vault::has_honeytokens).
    pub(crate) fn has_honeytokens(&self) -> bool {
        self.index.any.load(Ordering::Relaxed)
    }

    /// Implements [`Vault::honeytokens`](crate::Vault::honeytokens).
    pub(crate) fn honeytokens(&self) -> Vec<HoneytokenStatus> {
        let marks = self.index.marks();
        marks.rows.iter().map(|(id, row)| HoneytokenStatus::new(*id, row)).collect()
    }

    /// Implements [`Vault::remove_honeytoken`](crate::Vault::remove_honeytoken).
    pub(crate) async fn remove_honeytoken(&self, id: HoneytokenId) -> Result<HoneytokenStatus, HoneytokenError> {
        let status = self.index.marks().rows.get(&id).map(|row| HoneytokenStatus::new(id, row));
        let status = status.ok_or(HoneytokenError::NotFound)?;
        self.unmark(id).await?;
        Ok(status)
    }

    async fn unmark(&self, id: HoneytokenId) -> Result<(), VaultError> {
        self.writer.commit(KeepRows(vec![RowChange::Remove(RowKey::honeytoken(id.as_bytes()))])).await?;
        self.index.remove(id);
        Ok(())
    }
}
