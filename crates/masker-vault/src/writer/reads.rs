//! The rows that a group reads before it decides, in few batches for all of its changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    index_list::{self, IndexEntry},
    ledger::Ledger,
    records,
};
use masker_core::{
    crypto::{Index, MatchPart, TokenId},
    keyring::Keyring,
};
use masker_store::{Row, RowKey, Store, StoreError, record::Record};

/// Collects what the changes of a group read.
pub(crate) struct ReadPlan<'k> {
    keyring: &'k Keyring,
    ledger: &'k Ledger,
    rows: BTreeSet<RowKey>,
    records: BTreeSet<TokenId>,
    value_indexes: BTreeSet<Index>,
    form_indexes: BTreeSet<Index>,
    match_parts: BTreeSet<MatchPart>,
}

/// The rows that a group has read.
#[derive(Default)]
pub(crate) struct Snapshot {
    rows: HashMap<RowKey, Row>,
    /// The records with each match part that was scanned.
    scanned: BTreeMap<MatchPart, Vec<TokenId>>,
}

impl<'k> ReadPlan<'k> {
    pub(super) fn new(keyring: &'k Keyring, ledger: &'k Ledger) -> Self {
        ReadPlan {
            keyring,
            ledger,
            rows: BTreeSet::new(),
            records: BTreeSet::new(),
            value_indexes: BTreeSet::new(),
            form_indexes: BTreeSet::new(),
            match_parts: BTreeSet::new(),
        }
    }

    /// Returns the keys that the group is decided under.
    pub(crate) fn keyring(&self) -> &'k Keyring {
        self.keyring
    }

    /// Returns the ledger before the group.
    pub(crate) fn ledger(&self) -> &'k Ledger {
        self.ledger
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, key: RowKey) {
        self.rows.insert(key);
    }

    /// Adds a record that the change may erase or move, with its index rows and all that decides whether entries of these
    /// rows stay.
    pub(crate) fn record_with_indexes(&mut self, id: TokenId) {
        self.records.insert(id);
    }

    /// Adds the row of a value, with the records that it lists.
    pub(crate) fn value_index(&mut self, index: Index) {
        self.value_indexes.insert(index);
    }

    /// Adds the row of a form. If it has several entries, it is read which of them still have records.
    pub(crate) fn form_index(&mut self, index: Index) {
        self.form_indexes.insert(index);
    }

    /// Adds the tombstone of an id, unless the vault has none at all.
    pub(crate) fn tombstone(&mut self, id: TokenId) {
        if self.ledger.tombstones() > 0 {
            self.rows.insert(RowKey::tombstone(id.as_bytes()));
        }
    }

    /// Reads everything.
    pub(super) async fn read(mut self, store: &dyn Store) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::default();
        let erasable: Vec<TokenId> = self.records.iter().copied().collect();
        self.rows.extend(erasable.iter().map(|id| RowKey::record(id.as_bytes())));
        snapshot.read(store, std::mem::take(&mut self.rows)).await?;

        for id in erasable {
            let Some(record) = snapshot.record(id) else { continue };
            if let Some(index) = record.value_index {
                self.value_indexes.insert(Index::from_bytes(index));
            }
            if let Some(index) = record.form_index {
                self.form_indexes.insert(Index::from_bytes(index));
                self.match_parts.insert(id.match_part());
            }
        }
        let values = self.value_indexes.iter().copied().map(TokenId::row_key);
        let forms = self.form_indexes.iter().copied().map(MatchPart::row_key);
        snapshot.read(store, values.chain(forms).collect()).await?;

        let mut listed = BTreeSet::new();
        for index in &self.value_indexes {
            listed.extend(snapshot.entries::<TokenId>(*index));
        }
        snapshot.read(store, listed.iter().map(|id| RowKey::record(id.as_bytes())).collect()).await?;
        for index in &self.form_indexes {
            let entries = snapshot.entries::<MatchPart>(*index);
            // A row without a live entry does not exist, so a single entry is live.
            if entries.len() > 1 {
                self.match_parts.extend(entries);
            }
        }
        snapshot.scan(store, self.match_parts).await?;
        Ok(snapshot)
    }
}

impl Snapshot {
    /// Returns a row; `None` if the store has none, or if no change has planned to read it.
    pub(super) fn row(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key)
    }

    /// Returns the records with a match part that was scanned.
    pub(super) fn records_with(&self, match_part: MatchPart) -> &[TokenId] {
        self.scanned.get(&match_part).map_or(&[], Vec::as_slice)
    }

    /// Returns whether a match part was not scanned because it is the only entry of a form's row. It is live: a row without a
    /// live entry does not exist, and the match parts of records that the group may erase or move are scanned.
    pub(super) fn is_single_entry(&self, index: Index, match_part: MatchPart) -> bool {
        !self.scanned.contains_key(&match_part) && self.entries::<MatchPart>(index) == [match_part]
    }

    async fn read(&mut self, store: &dyn Store, mut keys: BTreeSet<RowKey>) -> Result<(), StoreError> {
        keys.retain(|key| !self.rows.contains_key(key));
        if keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<RowKey> = keys.into_iter().collect();
        let rows = store.get_many(keys.clone()).await?;
        self.rows.extend(keys.into_iter().zip(rows).filter_map(|(key, row)| Some((key, row?))));
        Ok(())
    }

    async fn scan(&mut self, store: &dyn Store, match_parts: BTreeSet<MatchPart>) -> Result<(), StoreError> {
        if match_parts.is_empty() {
            return Ok(());
        }
        let prefixes = match_parts.iter().map(|part| RowKey::records_with(part.as_bytes())).collect();
        for (part, rows) in match_parts.into_iter().zip(store.scan_prefixes(prefixes, usize::MAX).await?) {
            let mut ids = Vec::with_capacity(rows.len());
            for (id, row) in records::with_ids(rows) {
                ids.push(id);
                self.rows.insert(RowKey::record(id.as_bytes()), row);
            }
            self.scanned.insert(part, ids);
        }
        Ok(())
    }

    fn record(&self, id: TokenId) -> Option<Record> {
        Record::decode(self.row(&RowKey::record(id.as_bytes()))?).ok()
    }

    fn entries<E: IndexEntry>(&self, index: Index) -> Vec<E> {
        let row = self.row(&E::row_key(index)).and_then(|row| index_list::decode::<E>(row));
        row.map(|row| index_list::entries(&row)).unwrap_or_default()
    }
}
