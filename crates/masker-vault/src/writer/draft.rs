//! The draft of a group's batch: what its changes have decided so far, over what the store holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::reads::Snapshot;
use crate::{
    ItemFailure,
    index_list::{self, IndexEntry},
    keys::KeysInForce,
    ledger::{Ledger, LedgerDraft},
    metrics::VaultMetrics,
    records::{self, RecordIndexes},
};
use masker_core::{
    crypto::{Fingerprint, GenerationKeys, Index, MatchPart, TokenId},
    keyring::Keyring,
};
use masker_store::{
    Precondition, Row, RowChange, RowKey,
    record::{INDEX_ENTRIES_MAX, Record, RowName, TombstoneRow},
};
use masker_types::{kind::Kid, mode::Mode};

/// A batch being put together, with the ledger as it will be.
pub(crate) struct CommitDraft<'k> {
    pub(crate) keys: &'k KeysInForce,
    /// Kids whose values may get second tokens.
    pub(crate) second_tokens: &'k BTreeSet<Kid>,
    pub(crate) now_ms: u64,
    pub(crate) ledger_changes: LedgerDraft,
    /// What the group changes about the control key.
    pub(crate) control: ControlDraft,
    metrics: &'k VaultMetrics,
    snapshot: Snapshot,
    rows: BTreeMap<RowKey, RowChange>,
    preconditions: Vec<Precondition>,
    /// Records whose readers must wait until the group is durable.
    in_flight: Vec<TokenId>,
}

/// What a group changes about the control key. By default it is held by the generations in force.
#[derive(Default)]
pub(crate) struct ControlDraft {
    /// The keys that are in force after the group, if they change.
    pub(crate) keys: Option<Arc<KeysInForce>>,
    /// The kids that policies name after the group, if they change.
    pub(crate) policy_kids: Option<BTreeSet<Kid>>,
    /// Whether the key is replaced.
    pub(crate) new_key: bool,
}

/// A finished draft.
pub(super) struct DraftedBatch {
    pub(super) ledger: LedgerDraft,
    pub(super) rows: BTreeMap<RowKey, RowChange>,
    pub(super) preconditions: Vec<Precondition>,
    pub(super) in_flight: Vec<TokenId>,
    pub(super) control: ControlDraft,
}

/// How many rows [`CommitDraft::erase_record`] writes: a record, two index rows and a tombstone.
pub(crate) const ROWS_PER_ERASURE: usize = 4;

/// An index row would have more than [`INDEX_ENTRIES_MAX`] entries.
pub(crate) struct IndexFull;

impl<'k> CommitDraft<'k> {
    pub(super) fn new(
        keys: &'k KeysInForce,
        second_tokens: &'k BTreeSet<Kid>,
        metrics: &'k VaultMetrics,
        now_ms: u64,
        ledger: LedgerDraft,
        snapshot: Snapshot,
    ) -> Self {
        CommitDraft {
            keys,
            second_tokens,
            now_ms,
            ledger_changes: ledger,
            control: ControlDraft::default(),
            metrics,
            snapshot,
            rows: BTreeMap::new(),
            preconditions: Vec::new(),
            in_flight: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> DraftedBatch {
        let CommitDraft { ledger_changes: ledger, rows, preconditions, in_flight, control, .. } = self;
        DraftedBatch { ledger, rows, preconditions, in_flight, control }
    }

    /// Returns the ledger as this group leaves it so far.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger_changes.ledger
    }

    /// Returns the keys that the group is decided under.
    pub(crate) fn keyring(&self) -> &'k Keyring {
        &self.keys.ring
    }

    /// Counts a row that is not what was written.
    pub(crate) fn count_damage(&self) {
        self.metrics.damaged.inc();
    }

    /// Returns a row as earlier changes of this group leave it. The change must have planned to read it.
    pub(crate) fn row(&self, key: &RowKey) -> Option<&Row> {
        match self.rows.get(key) {
            Some(RowChange::Put(_, row)) => Some(row),
            Some(RowChange::Remove(_)) => None,
            None => self.snapshot.row(key),
        }
    }

    /// Returns a record as earlier changes of this group leave it; one that does not decode is counted as damage.
    pub(crate) fn record(&self, id: TokenId) -> Result<Option<Record>, ItemFailure> {
        self.row(&RowKey::record(id.as_bytes())).map(|row| records::decode(row, self.metrics)).transpose()
    }

    /// Lets readers of what this token has wait until the group is durable.
    pub(crate) fn note_in_flight(&mut self, id: TokenId) {
        self.in_flight.push(id);
    }

    /// Adds the change of a row. It replaces an earlier one of the same row.
    pub(crate) fn write(&mut self, change: RowChange) {
        self.rows.insert(change.key().clone(), change);
    }

    /// Adds the change of a row that was read, under the condition that the store still has it so.
    fn write_as_read(&mut self, change: RowChange) {
        let key = change.key();
        if !self.rows.contains_key(key) {
            let condition = match self.snapshot.row(key) {
                Some(row) => Precondition::Equals(key.clone(), row.clone()),
                None => Precondition::Absent(key.clone()),
            };
            self.preconditions.push(condition);
        }
        self.write(change);
    }

    /// Returns the entries of an index row, verified under the key that the row belongs to.
    ///
    /// # Errors
    /// [`ItemFailure::Damaged`] for a row that does not verify.
    pub(crate) fn entries<E: IndexEntry>(&self, keys: &GenerationKeys, index: Index) -> Result<Vec<E>, ItemFailure> {
        let Some(row) = self.row(&E::row_key(index)) else { return Ok(Vec::new()) };
        index_list::verified(keys, index, row).ok_or_else(|| {
            self.count_damage();
            ItemFailure::Damaged
        })
    }

    /// Returns whether a record of this id has this value index.
    pub(crate) fn is_live_id(&self, index: Index, id: TokenId) -> bool {
        let record = self.row(&RowKey::record(id.as_bytes())).and_then(|row| Record::decode(row).ok());
        record.is_some_and(|record| record.value_index == Some(*index.as_bytes()))
    }

    /// Returns whether a record with this match part has this form index. The form's row must have been planned to be read.
    pub(crate) fn is_live_match_part(&self, index: Index, match_part: MatchPart) -> bool {
        let prefix = RowKey::records_with(match_part.as_bytes());
        let drafted = self.rows.range(prefix.clone()..).map_while(|(key, _)| match RowName::parse(key) {
            Ok(RowName::Record(id)) if key.begins_with(&prefix) => Some(TokenId::from_bytes(id)),
            _ => None,
        });
        let stored = self.snapshot.records_with(match_part).iter().copied();
        let has_index = |id: TokenId| {
            let record = self.row(&RowKey::record(id.as_bytes())).and_then(|row| Record::decode(row).ok());
            record.is_some_and(|record| record.form_index == Some(*index.as_bytes()))
        };
        stored.chain(drafted).any(has_index) || self.snapshot.is_single_entry(index, match_part)
    }

    /// Writes a new record in the place of its tombstone, and names it in its index rows. `keys` seals it.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing is written then. [`ItemFailure::Damaged`] is in the outer result.
    pub(crate) fn add_record(
        &mut self,
        keys: &GenerationKeys,
        id: TokenId,
        record: &Record,
        normalizer: &str,
    ) -> Result<Result<(), IndexFull>, ItemFailure> {
        if let Err(full) = self.list_record(keys, id, record, normalizer)? {
            return Ok(Err(full));
        }
        self.ledger_changes.minted(record);
        self.write_as_read(RowChange::Put(RowKey::record(id.as_bytes()), record.encode()));
        self.remove_tombstone(id);
        self.in_flight.push(id);
        Ok(Ok(()))
    }

    /// Writes a record that is sealed under another key than before, and moves its entries from the index rows of the old key
    /// to those of `keys`.
    ///
    /// # Errors
    /// As [`CommitDraft::add_record`].
    pub(crate) fn move_record(
        &mut self,
        keys: &GenerationKeys,
        id: TokenId,
        before: &Record,
        after: &Record,
        normalizer: &str,
    ) -> Result<Result<(), IndexFull>, ItemFailure> {
        if let Err(full) = self.list_record(keys, id, after, normalizer)? {
            return Ok(Err(full));
        }
        self.ledger_changes.resealed(before, after);
        self.write_as_read(RowChange::Put(RowKey::record(id.as_bytes()), after.encode()));
        self.unlist_record(id, before);
        Ok(Ok(()))
    }

    /// Removes a record with its entries, and leaves a tombstone. Returns the generation that sealed it. Needs no key: an
    /// index row that cannot be tagged again stays as it is, and readers skip the entry.
    pub(crate) fn erase_record(&mut self, id: TokenId, record: &Record) -> (Kid, Fingerprint) {
        self.write(RowChange::Remove(RowKey::record(id.as_bytes())));
        self.unlist_record(id, record);
        self.ledger_changes.erased(record);
        self.in_flight.push(id);
        self.put_tombstone(id, TombstoneRow { erased_at_ms: self.now_ms });
        sealed_under(record)
    }

    /// Names a record in its index rows, after what they list.
    fn list_record(
        &mut self,
        keys: &GenerationKeys,
        id: TokenId,
        record: &Record,
        normalizer: &str,
    ) -> Result<Result<(), IndexFull>, ItemFailure> {
        let indexes = RecordIndexes::of(record);
        let mut ids = None;
        let mut match_parts = None;
        if let Some(index) = indexes.value {
            let mut live = self.entries::<TokenId>(keys, index)?;
            live.retain(|entry| *entry != id && self.is_live_id(index, *entry));
            live.push(id);
            ids = Some((index, live));
        }
        if let Some(index) = indexes.form {
            let listed = self.entries::<MatchPart>(keys, index)?;
            let part = id.match_part();
            if !listed.contains(&part) {
                let mut live = listed;
                live.retain(|entry| self.is_live_match_part(index, *entry));
                live.push(part);
                match_parts = Some((index, live));
            }
        }
        let is_full = |length: Option<usize>| length.is_some_and(|length| length > INDEX_ENTRIES_MAX);
        if is_full(ids.as_ref().map(|(_, ids)| ids.len())) || is_full(match_parts.as_ref().map(|(_, l)| l.len())) {
            return Ok(Err(IndexFull));
        }
        if let Some((index, ids)) = ids {
            self.write_entries(sealed_under(record), keys, index, &ids);
        }
        if let Some((index, match_parts)) = match_parts {
            self.write_entries(sealed_under(record), keys, index, &match_parts);
            self.ledger_changes.note_normalizer(record.kind, record.sealing_kid, normalizer);
        }
        Ok(Ok(()))
    }

    /// Takes a record that is gone or was moved out of the index rows that named it.
    fn unlist_record(&mut self, id: TokenId, before: &Record) {
        let indexes = RecordIndexes::of(before);
        if let Some(index) = indexes.value {
            self.unlist(sealed_under(before), index, id, Self::is_live_id);
        }
        if let Some(index) = indexes.form
            && !self.is_live_match_part(index, id.match_part())
        {
            self.unlist(sealed_under(before), index, id.match_part(), Self::is_live_match_part);
        }
    }

    fn unlist<E: IndexEntry>(
        &mut self,
        name: (Kid, Fingerprint),
        index: Index,
        gone: E,
        is_live: impl Fn(&Self, Index, E) -> bool,
    ) {
        let key = E::row_key(index);
        let Some(row) = self.row(&key) else { return };
        let Some(row) = index_list::decode::<E>(row) else {
            // Left for the check to report.
            self.count_damage();
            return;
        };
        let live: Vec<E> = index_list::entries(&row)
            .into_iter()
            .filter(|entry| *entry != gone && is_live(self, index, *entry))
            .collect();
        if live.is_empty() {
            self.write_as_read(RowChange::Remove(key));
            self.ledger_changes.index_row_removed(name, self.now_ms);
            return;
        }
        let generation = self.keyring().by_fingerprint(name.0, name.1);
        let mut keys = generation.into_iter().flat_map(|generation| Mode::ALL.map(|mode| generation.keys(mode)));
        if let Some(keys) = keys.find(|keys| keys.index_tag_verifies(E::NAME, index, &row.list, &row.tag)) {
            self.write_as_read(RowChange::Put(key, index_list::encode(keys, index, &live)));
        }
    }

    fn write_entries<E: IndexEntry>(
        &mut self,
        name: (Kid, Fingerprint),
        keys: &GenerationKeys,
        index: Index,
        entries: &[E],
    ) {
        let key = E::row_key(index);
        if self.row(&key).is_none() {
            self.ledger_changes.index_row_added(name, self.now_ms);
        }
        self.write_as_read(RowChange::Put(key, index_list::encode(keys, index, entries)));
    }

    /// Returns whether an id has a tombstone.
    pub(crate) fn has_tombstone(&self, id: TokenId) -> bool {
        self.row(&RowKey::tombstone(id.as_bytes())).is_some()
    }

    /// Writes a tombstone under an id that has no record.
    pub(crate) fn put_tombstone(&mut self, id: TokenId, tombstone: TombstoneRow) {
        if !self.has_tombstone(id) {
            self.ledger_changes.tombstone_added();
        }
        self.write(RowChange::Put(RowKey::tombstone(id.as_bytes()), tombstone.encode()));
    }

    /// Removes the tombstone of an id that gets a record, if it has one.
    fn remove_tombstone(&mut self, id: TokenId) {
        if self.has_tombstone(id) {
            self.ledger_changes.tombstone_removed();
            self.write(RowChange::Remove(RowKey::tombstone(id.as_bytes())));
        }
    }
}

/// Returns the generation that seals a record.
fn sealed_under(record: &Record) -> (Kid, Fingerprint) {
    (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint))
}
