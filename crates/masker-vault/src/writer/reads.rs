//! The rows that a group reads before it decides, in few batches for all of its changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
};

use crate::{
    index_list::{self, IndexEntry},
    ledger::Ledger,
    spelling_scan::{SPELLINGS_AT_ONCE, Spellings, read_spellings},
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
    may_have_tombstones: bool,
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
    /// For each match part that was scanned: of each index that lists it at least one record that the group neither erases nor
    /// moves, if there is one, and then those that it may erase or move.
    scanned: BTreeMap<MatchPart, Vec<TokenId>>,
}

impl<'k> ReadPlan<'k> {
    pub(super) fn new(keyring: &'k Keyring, ledger: &'k Ledger, may_have_tombstones: bool) -> Self {
        ReadPlan {
            keyring,
            ledger,
            may_have_tombstones,
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
        if self.may_have_tombstones {
            self.rows.insert(RowKey::tombstone(id.as_bytes()));
        }
    }

    /// Returns the records with a match part that the group may erase or move, in the order of their ids.
    fn records_with(&self, part: MatchPart) -> impl DoubleEndedIterator<Item = TokenId> {
        self.records.iter().copied().filter(move |id| id.match_part() == part)
    }

    /// Reads everything.
    pub(super) async fn read(mut self, store: &dyn Store) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::default();
        self.rows.extend(self.records.iter().map(|id| RowKey::record(id.as_bytes())));
        snapshot.read(store, std::mem::take(&mut self.rows)).await?;

        for id in &self.records {
            let Some(record) = snapshot.record(*id) else { continue };
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
        snapshot.scan(store, &self).await?;
        Ok(snapshot)
    }
}

impl Snapshot {
    /// Returns a row; `None` if the store has none, or if no change has planned to read it.
    pub(super) fn row(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key)
    }

    /// Returns records with a match part that was scanned: enough to decide for each index whether it stays listed there.
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

    async fn scan(&mut self, store: &dyn Store, plan: &ReadPlan<'_>) -> Result<(), StoreError> {
        let parts: Vec<MatchPart> = plan.match_parts.iter().copied().collect();
        for (part, found) in parts.iter().zip(read_spellings(store, &parts, SPELLINGS_AT_ONCE).await?) {
            let (mut own, mut found) = match found.is_cut {
                true => (plan.records_with(*part).collect(), self.find_witnesses(store, plan, *part, found).await?),
                false => (Vec::new(), found.records),
            };
            let mut ids: Vec<TokenId> = found.iter().map(|(id, _)| *id).collect();
            ids.append(&mut own);
            self.rows.extend(found.drain(..).map(|(id, row)| (RowKey::record(id.as_bytes()), row)));
            self.scanned.insert(*part, ids);
        }
        Ok(())
    }

    /// Finds, for each index that lists a match part with many records, one record that the group neither erases nor moves.
    ///
    /// A rotation moves records in the order of their ids. So the first page shows those that were moved, and those after the
    /// group's own are not moved yet: both searches end soon. Only for the last records under an index, every record of the
    /// form is read, page by page.
    async fn find_witnesses(
        &self,
        store: &dyn Store,
        plan: &ReadPlan<'_>,
        part: MatchPart,
        first: Spellings,
    ) -> Result<Vec<(TokenId, Row)>, StoreError> {
        let lists = |index: &&Index| self.entries::<MatchPart>(**index).contains(&part);
        let mut wanted: BTreeSet<Index> = plan.form_indexes.iter().filter(lists).copied().collect();
        let mut witnesses = Vec::new();
        let mut visit = |id: TokenId, row: Row| {
            let index = Record::decode(&row).ok().and_then(|record| record.form_index).map(Index::from_bytes);
            if !plan.records.contains(&id) && index.is_some_and(|index| wanted.remove(&index)) {
                witnesses.push((id, row));
            }
            if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let own_end = plan.records_with(part).next_back();
        let mut done = first.records.iter().any(|(id, row)| visit(*id, row.clone()).is_break());
        if !done {
            done = first.visit_rest(store, own_end, &mut visit).await?.is_some();
        }
        if !done && own_end > first.end() {
            let between = |id, row| if Some(id) > own_end { ControlFlow::Break(()) } else { visit(id, row) };
            first.visit_rest(store, None, between).await?;
        }
        Ok(witnesses)
    }

    fn record(&self, id: TokenId) -> Option<Record> {
        Record::decode(self.row(&RowKey::record(id.as_bytes()))?).ok()
    }

    fn entries<E: IndexEntry>(&self, index: Index) -> Vec<E> {
        let row = self.row(&E::row_key(index)).and_then(|row| index_list::decode::<E>(row));
        row.map(|row| index_list::entries(&row)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        records::{self, RecordIndexes},
        tests::ring,
    };
    use masker_core::normalize::Normalizer;
    use masker_store::{RowBatch, RowChange, memory::MemoryStore};
    use masker_types::{
        kind::{Context, EntityKind, Value},
        mode::Mode,
    };

    /// A form with thousands of spellings, of which a rotation has moved the first half.
    #[tokio::test]
    async fn reads_few_of_many_spellings() {
        const SPELLINGS: usize = 4_000;
        let store = MemoryStore::new();
        let ring = ring(2, Some(1), 1);
        let pair = ring.get(crate::tests::kid()).unwrap();
        let kind = EntityKind::parse("PHONE").unwrap();
        let part = MatchPart::from_bytes([7; 10]);
        let mut ids: Vec<TokenId> = (0..SPELLINGS).map(|_| TokenId::random(part, &mut rand::rng())).collect();
        ids.sort_unstable();
        let generations: Vec<_> = pair.generations().map(|one| one.keys(Mode::Live)).collect();
        let mut changes = Vec::new();
        let mut form_indexes = BTreeMap::new();
        for (number, id) in ids.iter().enumerate() {
            let keys = generations[usize::from(number >= SPELLINGS / 2)];
            let value = format!("415 555 2671{}", " ".repeat(number % 4_000));
            let payload = records::payload(
                Context::new("").unwrap(),
                Value::new(&value).unwrap(),
                Normalizer::PhoneNanp,
                "+14155552671",
            );
            let indexes = RecordIndexes::compute(keys, kind, &payload);
            let token = records::MintedToken { kind, kid: keys.kid(), id: *id, minted_at_ms: 1 };
            let record = records::seal(keys, &token, indexes, &payload, 1, &mut rand::rng());
            changes.push(RowChange::Put(RowKey::record(id.as_bytes()), record.encode()));
            form_indexes.insert(indexes.form.unwrap(), keys);
        }
        for (index, keys) in &form_indexes {
            changes.push(RowChange::Put(MatchPart::row_key(*index), index_list::encode(keys, *index, &[part])));
        }
        store.apply(RowBatch { preconditions: vec![], changes }).await.unwrap();

        let ledger = Ledger::default();
        for moved in [SPELLINGS / 2 - 50..SPELLINGS / 2 + 50, 0..SPELLINGS] {
            let mut plan = ReadPlan::new(&ring, &ledger, true);
            ids[moved.clone()].iter().for_each(|id| plan.record_with_indexes(*id));
            form_indexes.keys().for_each(|index| plan.form_index(*index));
            let before = store.rows_scanned();
            let snapshot = plan.read(&store).await.unwrap();
            let scanned = store.rows_scanned() - before;
            assert!(
                moved.len() == SPELLINGS || scanned <= 3 * SPELLINGS_AT_ONCE,
                "{scanned} rows scanned for {moved:?}"
            );
            assert!(snapshot.rows.len() <= moved.len() + 10, "{} rows for {moved:?}", snapshot.rows.len());
            let others: BTreeSet<Index> = snapshot
                .records_with(part)
                .iter()
                .filter(|id| !ids[moved.clone()].contains(id))
                .filter_map(|id| Some(Index::from_bytes(snapshot.record(*id)?.form_index?)))
                .collect();
            let expected = if moved.len() < SPELLINGS { form_indexes.len() } else { 0 };
            assert_eq!(others.len(), expected, "{moved:?}");
        }
    }
}
