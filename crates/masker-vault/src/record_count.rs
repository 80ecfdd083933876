//! A count of records and index rows by key generation, with a check of each row.
//!
//! Rows change while they are read. When two rows do not fit together, both are read again until one of them is the same
//! before and after the read of the other.

use std::{collections::BTreeMap, ops::ControlFlow};

use super::{
    index_list::{self, IndexEntry},
    parallel_map,
    records::{self, RecordIndexes},
    spelling_scan::{SPELLINGS_AT_ONCE, Spellings, read_spellings},
};
use masker_core::{
    crypto::{Fingerprint, Index, IndexName, MatchPart, TokenId},
    keyring::Keyring,
};
use masker_store::{
    Row, RowKey, Store, StoreError,
    record::{Record, RowName},
};
use masker_types::kind::Kid;

/// Problems described one by one; further ones are counted.
const PROBLEMS_MAX: usize = 100;

type GenerationName = (Kid, Fingerprint);

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOutcome {
    /// Records read.
    pub records: u64,
    /// Records that opened.
    pub opened: u64,
    /// Records whose key is not loaded. Of these and their index rows, only that they belong together was checked.
    pub key_not_loaded: u64,
    /// Records that do not decode, or do not open under their own key.
    pub damaged_records: u64,
    /// Index rows read.
    pub index_rows: u64,
    /// Index rows that do not decode, do not verify, belong to no record, or do not list a record that names them.
    pub damaged_index_rows: u64,
    /// Tombstones read.
    pub tombstones: u64,
    /// Whether the rows agree with the store's own counts, with the ledger's counts of records, index rows and tombstones,
    /// and with the tags and sums of the control key. Counts and sums are not compared if the vault was written to meanwhile.
    pub counts_agree: bool,
    /// The first problems, by row id.
    pub problems: Vec<String>,
}

impl CheckOutcome {
    /// Returns whether the check found nothing wrong.
    pub fn ok(&self) -> bool {
        self.damaged_records == 0 && self.damaged_index_rows == 0 && self.counts_agree
    }
}

/// The condition of one row.
enum RowCondition {
    Whole(GenerationName),
    KeyNotLoaded(GenerationName),
    Damaged(&'static str),
}

/// The counts so far.
#[derive(Default)]
pub(super) struct CensusCount {
    /// Records and index rows of each key generation.
    pub(super) by_key: BTreeMap<GenerationName, (u64, u64)>,
    pub(super) outcome: CheckOutcome,
}

/// Counts records and index rows by key generation during the check.
pub(super) struct Census<'a> {
    store: &'a dyn Store,
    ring: &'a Keyring,
    pub(super) count: CensusCount,
}

impl<'a> Census<'a> {
    /// Returns a census that continues from earlier counts.
    pub(super) fn resume(store: &'a dyn Store, ring: &'a Keyring, count: CensusCount) -> Self {
        Census { store, ring, count }
    }

    pub(super) fn problem(&mut self, text: impl FnOnce() -> String) {
        if self.count.outcome.problems.len() < PROBLEMS_MAX {
            self.count.outcome.problems.push(text());
        }
    }

    pub(super) async fn records(&mut self, rows: &[(RowKey, Row)]) -> Result<(), StoreError> {
        let conditions = parallel_map::map(rows, |(key, row)| record_condition(self.ring, key, row));
        for ((key, _), condition) in rows.iter().zip(conditions) {
            self.count.outcome.records += 1;
            match condition {
                RowCondition::Whole(name) => {
                    self.count.outcome.opened += 1;
                    self.count.by_key.entry(name).or_default().0 += 1;
                }
                RowCondition::KeyNotLoaded(name) => {
                    self.count.outcome.key_not_loaded += 1;
                    self.count.by_key.entry(name).or_default().0 += 1;
                }
                RowCondition::Damaged(why) => {
                    self.count.outcome.damaged_records += 1;
                    self.problem(|| format!("record {}: {why}", hex(key)));
                }
            }
        }
        let named: Vec<(&RowKey, IndexKeys)> =
            rows.iter().filter_map(|(key, row)| Some((key, IndexKeys::of(row)?))).collect();
        let mut listing =
            self.store.get_many(named.iter().flat_map(|(_, keys)| keys.all()).collect()).await?.into_iter();
        for (key, keys) in named {
            let rows: Vec<Option<Row>> = listing.by_ref().take(keys.all().count()).collect();
            if !keys.are_listed(key, &rows) && self.lacks_index_row(key).await? {
                self.count.outcome.damaged_index_rows += 1;
                self.problem(|| format!("record {}: an index row does not list it", hex(key)));
            }
        }
        Ok(())
    }

    /// Counts and checks the rows of one of the two indexes.
    pub(super) async fn index_rows<E: IndexEntry>(&mut self, rows: &[(RowKey, Row)]) -> Result<(), StoreError> {
        let lists: Vec<Vec<E>> = rows.iter().map(|(_, row)| entries_of(row)).collect();
        let mut sealers = self.sealers::<E>(rows, &lists).await?.into_iter();
        for (key, row) in rows {
            self.count.outcome.index_rows += 1;
            let mut condition = index_condition::<E>(self.ring, key, row, sealers.next().flatten());
            if matches!(condition, RowCondition::Damaged(_)) {
                let Some((row, sealer)) = self.row_and_sealer::<E>(key).await? else { continue };
                condition = index_condition::<E>(self.ring, key, &row, sealer);
            }
            match condition {
                RowCondition::Whole(name) | RowCondition::KeyNotLoaded(name) => {
                    self.count.by_key.entry(name).or_default().1 += 1;
                }
                RowCondition::Damaged(why) => {
                    self.count.outcome.damaged_index_rows += 1;
                    self.problem(|| format!("index row {}: {why}", hex(key)));
                }
            }
        }
        Ok(())
    }

    /// Returns, for each index row, the generation that seals the first of its records.
    async fn sealers<E: IndexEntry>(
        &self,
        rows: &[(RowKey, Row)],
        lists: &[Vec<E>],
    ) -> Result<Vec<Option<GenerationName>>, StoreError> {
        let entries = || lists.iter().flatten().map(|entry| entry.as_slice());
        let mut first = Vec::with_capacity(rows.len());
        match E::NAME {
            IndexName::Value => {
                let keys = entries().filter_map(TokenId::from_slice).map(|id| RowKey::record(id.as_bytes()));
                let mut records = self.store.get_many(keys.collect()).await?.into_iter();
                for ((key, _), list) in rows.iter().zip(lists) {
                    let records: Vec<Option<Row>> = records.by_ref().take(list.len()).collect();
                    first.push(records.iter().flatten().find_map(|row| sealer::<E>(key, row)));
                }
            }
            IndexName::Form => {
                let parts: Vec<MatchPart> = entries().filter_map(MatchPart::from_slice).collect();
                let mut found = read_spellings(self.store, &parts, SPELLINGS_AT_ONCE).await?.into_iter();
                for ((key, _), list) in rows.iter().zip(lists) {
                    let found: Vec<Spellings> = found.by_ref().take(list.len()).collect();
                    first.push(self.form_sealer::<E>(key, &found).await?);
                }
            }
        }
        Ok(first)
    }

    /// Returns the generation that seals the first record of a form's row, of the spellings that it lists.
    async fn form_sealer<E: IndexEntry>(
        &self,
        key: &RowKey,
        listed: &[Spellings],
    ) -> Result<Option<GenerationName>, StoreError> {
        let mut read = listed.iter().flat_map(|spellings| &spellings.records);
        if let Some(found) = read.find_map(|(_, row)| sealer::<E>(key, row)) {
            return Ok(Some(found));
        }
        for spellings in listed {
            let visit = |_, row: Row| sealer::<E>(key, &row).map_or(ControlFlow::Continue(()), ControlFlow::Break);
            if let Some(found) = spellings.visit_rest(self.store, None, visit).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Reads an index row and the generation of its first record as of one moment; `None` if the row is gone.
    async fn row_and_sealer<E: IndexEntry>(
        &self,
        key: &RowKey,
    ) -> Result<Option<(Row, Option<GenerationName>)>, StoreError> {
        loop {
            let Some(before) = self.one(key).await? else { return Ok(None) };
            let rows = [(key.clone(), before)];
            let sealer = self.sealers::<E>(&rows, &[entries_of(&rows[0].1)]).await?.pop().flatten();
            let [(_, before)] = rows;
            if self.one(key).await?.as_ref() == Some(&before) {
                return Ok(Some((before, sealer)));
            }
        }
    }

    /// Returns whether, at one moment, an index row that a record names does not list it.
    async fn lacks_index_row(&self, key: &RowKey) -> Result<bool, StoreError> {
        loop {
            let before = self.one(key).await?;
            let Some(keys) = before.as_ref().and_then(IndexKeys::of) else { return Ok(false) };
            let rows = self.store.get_many(keys.all().collect()).await?;
            if self.one(key).await? == before {
                return Ok(!keys.are_listed(key, &rows));
            }
        }
    }

    async fn one(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        Ok(self.store.get_many(vec![key.clone()]).await?.pop().flatten())
    }
}

/// The keys of the index rows that a record names.
struct IndexKeys {
    value: Option<RowKey>,
    form: Option<RowKey>,
}

impl IndexKeys {
    /// Returns `None` for a record that does not decode.
    fn of(row: &Row) -> Option<Self> {
        let record = Record::decode(row).ok()?;
        Some(IndexKeys {
            value: record.value_index.map(|index| RowKey::value_index(&index)),
            form: record.form_index.map(|index| RowKey::form_index(&index)),
        })
    }

    fn all(&self) -> impl Iterator<Item = RowKey> {
        [&self.value, &self.form].into_iter().flatten().cloned()
    }

    /// Returns whether the rows, in the order of the keys, list the record.
    fn are_listed(&self, record: &RowKey, rows: &[Option<Row>]) -> bool {
        let Ok(RowName::Record(id)) = RowName::parse(record) else { return false };
        let id = TokenId::from_bytes(id);
        let mut rows = rows.iter();
        let mut next = |key: &Option<RowKey>| key.as_ref().and_then(|_| rows.next()).and_then(Option::as_ref);
        let by_value = next(&self.value).map(|row| entries_of::<TokenId>(row).contains(&id));
        let by_form = next(&self.form).map(|row| entries_of::<MatchPart>(row).contains(&id.match_part()));
        (self.value.is_none() || by_value == Some(true)) && (self.form.is_none() || by_form == Some(true))
    }
}

fn entries_of<E: IndexEntry>(row: &[u8]) -> Vec<E> {
    index_list::decode::<E>(row).map(|row| index_list::entries(&row)).unwrap_or_default()
}

/// Returns the generation that seals a record, if the record has the index of this row.
fn sealer<E: IndexEntry>(key: &RowKey, row: &[u8]) -> Option<GenerationName> {
    let record = Record::decode(row).ok()?;
    let index = match E::NAME {
        IndexName::Value => record.value_index,
        IndexName::Form => record.form_index,
    };
    let is_own = index.is_some_and(|index| E::row_key(Index::from_bytes(index)) == *key);
    is_own.then(|| (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint)))
}

fn record_condition(ring: &Keyring, key: &RowKey, row: &Row) -> RowCondition {
    let (Ok(RowName::Record(id)), Ok(record)) = (RowName::parse(key), Record::decode(row)) else {
        return RowCondition::Damaged("it does not decode");
    };
    let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
    let Some(generation) = ring.by_fingerprint(name.0, name.1) else { return RowCondition::KeyNotLoaded(name) };
    let Some(Ok((mode, opened))) = records::open_in_either_mode(ring, TokenId::from_bytes(id), &record) else {
        return RowCondition::Damaged("it does not open under its own key");
    };
    let indexes = RecordIndexes::of(&record);
    let own = RecordIndexes::compute(generation.keys(mode), record.kind, &opened.payload());
    if indexes.value.is_some() && indexes != own {
        return RowCondition::Damaged("its indexes are not those of its value");
    }
    RowCondition::Whole(name)
}

/// Checks that an index row belongs to a record, and that the generation which seals the record tagged it.
fn index_condition<E: IndexEntry>(
    ring: &Keyring,
    key: &RowKey,
    row: &Row,
    sealer: Option<GenerationName>,
) -> RowCondition {
    let index = match RowName::parse(key) {
        Ok(RowName::ValueIndex(index) | RowName::FormIndex(index)) => Index::from_bytes(index),
        _ => return RowCondition::Damaged("it does not decode"),
    };
    let Some(row) = index_list::decode::<E>(row) else { return RowCondition::Damaged("it does not decode") };
    let Some(name) = sealer else { return RowCondition::Damaged("no record has it") };
    match ring.by_fingerprint(name.0, name.1) {
        None => RowCondition::KeyNotLoaded(name),
        Some(generation) if generation.verifies_index(E::NAME, index, &row.list, &row.tag) => RowCondition::Whole(name),
        Some(_) => RowCondition::Damaged("it does not verify under its records' key"),
    }
}

/// Formats a row's id so that an operator can quote it. An id alone opens nothing.
fn hex(key: &RowKey) -> String {
    data_encoding::HEXLOWER.encode(&key.as_bytes()[1..])
}
