//! Honeytokens: tokens that nobody should ever use, planted where a thief would look.
//!
//! All of them are in memory, so that a rehydration asks one set, and nothing where there are none. A honeytoken is marked
//! before it is minted and handed out. The mark outlives the record: whoever shows a honeytoken whose record was
//! forgotten or purged shows one all the same. It goes when an operator removes it. Marks are not part of an export.

mod plant;
#[cfg(test)]
mod tests;
mod value;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;

pub use plant::{HoneytokenError, HoneytokenRequest, PlantedHoneytoken};

use super::{
    Vault, VaultError, ids::HoneytokenId, kept_rows::KeepRows, paged_scan::PagedScan, tag::TokenTag, time::timestamp,
};
use masker_access::{Permit, VaultAdmin, VaultRead};
use masker_core::token::Token;
use masker_store::{
    RowChange, RowKey, Store, StoreError,
    record::{HoneytokenRow, RecordError, RowName},
};
use masker_types::{
    kind::{EntityKind, Kid},
    limits::HONEYTOKENS_MAX,
};

/// A honeytoken, without what would let anybody use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoneytokenStatus {
    /// The id of its mark.
    pub id: HoneytokenId,
    /// The kind in the token.
    pub kind: EntityKind,
    /// The key id in the token.
    pub kid: Kid,
    /// Whether the token carries its value.
    pub carries_value: bool,
    /// When it was planted.
    pub planted_at: Option<Timestamp>,
    /// Who planted it.
    pub planted_by: String,
    /// What it is for.
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

/// Every honeytoken that is planted.
#[derive(Default)]
pub(super) struct Honeytokens {
    any: AtomicBool,
    marks: RwLock<HoneytokenIndex>,
}

/// A mark that is being written; it is taken back unless that goes well.
struct PendingHoneytoken<'h> {
    honeytokens: &'h Honeytokens,
    id: Option<HoneytokenId>,
}

impl Honeytokens {
    /// Reads them from the store.
    pub(super) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let honeytokens = Honeytokens::default();
        let mut pages = PagedScan::new(RowName::HONEYTOKENS);
        let damaged = |damage: RecordError| StoreError::Damaged(damage.to_string());
        while let Some(rows) = pages.next(store).await? {
            for (key, row) in rows {
                if let RowName::Honeytoken(id) = RowName::parse(&key).map_err(damaged)? {
                    let row = HoneytokenRow::decode(&row).map_err(damaged)?;
                    honeytokens.insert(HoneytokenId::from_bytes(id), row);
                }
            }
        }
        Ok(honeytokens)
    }

    /// Which one this token is. Where there are none it is not even asked for.
    pub(super) fn find(&self, tag: impl FnOnce() -> Option<TokenTag>) -> Option<HoneytokenId> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let tag = tag()?;
        self.marks().ids.get(&tag).copied()
    }

    fn marks(&self) -> RwLockReadGuard<'_, HoneytokenIndex> {
        // Nothing panics between the changes of the two maps.
        self.marks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn marks_mut(&self) -> RwLockWriteGuard<'_, HoneytokenIndex> {
        self.marks.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, id: HoneytokenId, row: HoneytokenRow) {
        let mut marks = self.marks_mut();
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

    /// Begins to mark a token.
    fn begin(&self, id: HoneytokenId, row: HoneytokenRow) -> Result<PendingHoneytoken<'_>, HoneytokenError> {
        {
            let marks = self.marks();
            if marks.rows.len() >= HONEYTOKENS_MAX {
                return Err(HoneytokenError::TooMany);
            }
            if marks.ids.contains_key(&TokenTag::from_bytes(row.tag)) {
                return Err(HoneytokenError::InUse);
            }
        }
        self.insert(id, row);
        Ok(PendingHoneytoken { honeytokens: self, id: Some(id) })
    }
}

impl PendingHoneytoken<'_> {
    /// It is durable.
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

impl Vault {
    /// Which honeytoken a text is, whatever else is said of it: of another context, forgotten, or relabelled. A
    /// rehydration that goes well tells by itself.
    pub fn honeytoken(&self, token: &str) -> Option<HoneytokenId> {
        self.shared.honeytokens.find(|| Token::parse(token).ok().map(|token| TokenTag::of(&token)))
    }

    /// Every honeytoken, the first planted first.
    pub fn honeytokens(&self, _permit: &Permit<VaultRead>) -> Vec<HoneytokenStatus> {
        let marks = self.shared.honeytokens.marks();
        marks.rows.iter().map(|(id, row)| HoneytokenStatus::new(*id, row)).collect()
    }

    /// Removes a mark: durable when it returns. The token is one like any other then, and its record stays.
    ///
    /// # Errors
    /// [`HoneytokenError::NotFound`], or a failure of the vault: then it is marked as before.
    pub async fn remove_honeytoken(
        &self,
        _permit: &Permit<VaultAdmin>,
        id: HoneytokenId,
    ) -> Result<HoneytokenStatus, HoneytokenError> {
        let status = self.shared.honeytokens.marks().rows.get(&id).map(|row| HoneytokenStatus::new(id, row));
        let status = status.ok_or(HoneytokenError::NotFound)?;
        self.unmark(id).await?;
        Ok(status)
    }

    /// Has a mark written down; the token counts as marked from the beginning.
    async fn mark(&self, id: HoneytokenId, row: HoneytokenRow) -> Result<(), HoneytokenError> {
        let encoded = row.encode().map_err(|_| HoneytokenError::Label)?;
        let mark = self.shared.honeytokens.begin(id, row)?;
        self.writer.commit(KeepRows(vec![RowChange::Put(RowKey::honeytoken(id.as_bytes()), encoded)])).await?;
        mark.written();
        Ok(())
    }

    async fn unmark(&self, id: HoneytokenId) -> Result<(), VaultError> {
        self.writer.commit(KeepRows(vec![RowChange::Remove(RowKey::honeytoken(id.as_bytes()))])).await?;
        self.shared.honeytokens.remove(id);
        Ok(())
    }
}
