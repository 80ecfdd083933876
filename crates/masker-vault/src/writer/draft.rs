//! The draft of a group's batch: what its changes have decided so far, over what the store holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::tombstones::Tombstones;
use crate::{
    ItemFailure,
    keys::KeysInForce,
    ledger::{Ledger, LedgerDraft},
    metrics::VaultMetrics,
    records,
};
use masker_core::{
    crypto::{Fingerprint, TokenId},
    keyring::Keyring,
};
use masker_store::{
    Precondition, Row, RowChange, RowKey,
    record::{Record, TombstoneRow},
};
use masker_types::kind::Kid;

/// A batch being put together, with the ledger as it will be.
pub(crate) struct CommitDraft<'k> {
    pub(crate) keys: &'k KeysInForce,
    /// Kids whose values may get second tokens.
    pub(crate) second_tokens: &'k BTreeSet<Kid>,
    pub(crate) now_ms: u64,
    pub(crate) ledger_changes: LedgerDraft,
    metrics: &'k VaultMetrics,
    /// Records that the group writes; `None` for one that it erases.
    records: HashMap<TokenId, Option<Record>>,
    tombstones: Tombstones,
    rows: BTreeMap<RowKey, RowChange>,
    preconditions: Vec<Precondition>,
    /// Records whose readers must wait until the group is durable.
    in_flight: Vec<TokenId>,
}

/// A finished draft.
pub(super) struct DraftedBatch {
    pub(super) ledger: LedgerDraft,
    pub(super) rows: BTreeMap<RowKey, RowChange>,
    pub(super) preconditions: Vec<Precondition>,
    pub(super) in_flight: Vec<TokenId>,
}

impl<'k> CommitDraft<'k> {
    pub(super) fn new(
        keys: &'k KeysInForce,
        second_tokens: &'k BTreeSet<Kid>,
        metrics: &'k VaultMetrics,
        now_ms: u64,
        ledger: LedgerDraft,
        tombstones: Tombstones,
    ) -> Self {
        CommitDraft {
            keys,
            second_tokens,
            now_ms,
            ledger_changes: ledger,
            metrics,
            records: HashMap::new(),
            tombstones,
            rows: BTreeMap::new(),
            preconditions: Vec::new(),
            in_flight: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> DraftedBatch {
        let CommitDraft { ledger_changes: ledger, rows, preconditions, in_flight, .. } = self;
        DraftedBatch { ledger, rows, preconditions, in_flight }
    }

    /// Returns the ledger as this group leaves it so far.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger_changes.ledger
    }

    /// Returns the keys that the group is decided under.
    pub(crate) fn keyring(&self) -> &'k Keyring {
        &self.keys.ring
    }

    /// Decodes a record's row; one that does not decode is counted as damage.
    pub(crate) fn decode(&self, row: &Row) -> Result<Record, ItemFailure> {
        records::decode(row, self.metrics)
    }

    /// Returns the record that an earlier change of this group has written, `Some(None)` if it erased it, or `None` if
    /// the record is as the store has it.
    pub(crate) fn drafted_record(&self, id: TokenId) -> Option<&Option<Record>> {
        self.records.get(&id)
    }

    /// Returns a record as earlier changes of this group leave it; `stored` is the store's.
    pub(crate) fn record_or(&self, id: TokenId, stored: Option<Record>) -> Option<Record> {
        match self.records.get(&id) {
            Some(drafted) => drafted.clone(),
            None => stored,
        }
    }

    /// Returns the change of a row by an earlier change of this group.
    pub(crate) fn drafted_row(&self, key: &RowKey) -> Option<&RowChange> {
        self.rows.get(key)
    }

    /// Adds the change of a row. It replaces an earlier one of the same row.
    pub(crate) fn write(&mut self, change: RowChange) {
        self.rows.insert(change.key().clone(), change);
    }

    /// Commits the batch only if the store has no record of this id.
    pub(crate) fn require_absent_record(&mut self, id: TokenId) {
        self.require(Precondition::Absent(RowKey::record(id.as_bytes())));
    }

    /// Commits the batch only under this condition.
    pub(crate) fn require(&mut self, precondition: Precondition) {
        self.preconditions.push(precondition);
    }

    /// Writes a new record in the place of its tombstone. The ledger must have counted it.
    pub(crate) fn put_record(&mut self, id: TokenId, record: Record) {
        self.write(RowChange::Put(RowKey::record(id.as_bytes()), record.encode()));
        self.remove_tombstone(id);
        self.records.insert(id, Some(record));
        self.in_flight.push(id);
    }

    /// Writes a record that holds the same value under another key. Readers need not wait for it. The ledger must have
    /// counted it.
    pub(crate) fn replace_record(&mut self, id: TokenId, record: Record) {
        self.write(RowChange::Put(RowKey::record(id.as_bytes()), record.encode()));
        self.records.insert(id, Some(record));
    }

    /// Removes a record with its alias, and leaves a tombstone. Returns the generation that sealed it.
    pub(crate) fn erase_record(&mut self, id: TokenId, record: &Record) -> (Kid, Fingerprint) {
        self.write(RowChange::Remove(RowKey::record(id.as_bytes())));
        if let Some(alias) = record.alias {
            self.write(RowChange::Remove(RowKey::alias(&alias)));
        }
        self.ledger_changes.erased(record);
        self.records.insert(id, None);
        self.in_flight.push(id);
        self.put_tombstone(id, TombstoneRow { erased_at_ms: self.now_ms });
        (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint))
    }

    /// Returns whether an id has a tombstone.
    pub(crate) fn has_tombstone(&self, id: TokenId) -> bool {
        self.tombstones.has(id)
    }

    /// Writes a tombstone under an id that has no record.
    pub(crate) fn put_tombstone(&mut self, id: TokenId, tombstone: TombstoneRow) {
        if !self.tombstones.set(id, true) {
            self.ledger_changes.tombstone_added();
        }
        self.write(RowChange::Put(RowKey::tombstone(id.as_bytes()), tombstone.encode()));
    }

    /// Removes the tombstone of an id that gets a record, if it has one.
    fn remove_tombstone(&mut self, id: TokenId) {
        if self.tombstones.set(id, false) {
            self.ledger_changes.tombstone_removed();
            self.write(RowChange::Remove(RowKey::tombstone(id.as_bytes())));
        }
    }
}
