//! A count of records and aliases by key generation, with a check of each row.
//!
//! Rows change while they are read. When two rows do not fit together, both are read again until one of them is the same
//! before and after the read of the other.

use std::collections::BTreeMap;

use super::{parallel_map, records};
use masker_core::{
    crypto::{Fingerprint, TokenId},
    keyring::Keyring,
};
use masker_store::{
    Row, RowKey, Store, StoreError,
    record::{Alias, Record, RowName},
};
use masker_types::{kind::Kid, mode::Mode};

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
    /// Records and aliases whose key is not loaded. Only that they belong together was checked.
    pub key_not_loaded: u64,
    /// Records that do not decode, or do not open under their own key.
    pub damaged_records: u64,
    /// Aliases read.
    pub aliases: u64,
    /// Aliases that do not decode, do not verify, are not their record's, or are missing.
    pub damaged_aliases: u64,
    /// Tombstones read.
    pub tombstones: u64,
    /// Whether the rows agree with the store's own counts, and with the ledger's counts of records, aliases and
    /// tombstones. The latter are not compared if the vault was written to meanwhile.
    pub counts_agree: bool,
    /// The first problems, by row id.
    pub problems: Vec<String>,
}

impl CheckOutcome {
    /// Returns whether the check found nothing wrong.
    pub fn ok(&self) -> bool {
        self.damaged_records == 0 && self.damaged_aliases == 0 && self.counts_agree
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
    /// Records and aliases of each key generation.
    pub(super) by_key: BTreeMap<GenerationName, (u64, u64)>,
    pub(super) outcome: CheckOutcome,
}

/// Counts records and aliases by key generation during the check.
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
        let indices: Vec<(&RowKey, RowKey)> =
            rows.iter().filter_map(|(key, row)| Some((key, index_of(row)?))).collect();
        let found = self.store.get_many(indices.iter().map(|(_, index)| index.clone()).collect()).await?;
        for ((key, _), alias) in indices.into_iter().zip(found) {
            if !leads_to(alias.as_ref(), key) && self.lacks_alias(key).await? {
                self.count.outcome.damaged_aliases += 1;
                self.problem(|| format!("record {}: its alias is missing", hex(key)));
            }
        }
        Ok(())
    }

    pub(super) async fn aliases(&mut self, rows: &[(RowKey, Row)]) -> Result<(), StoreError> {
        let targets: Vec<RowKey> =
            rows.iter().map(|(key, row)| target_of(row).unwrap_or_else(|| key.clone())).collect();
        let targets = self.store.get_many(targets).await?;
        for ((key, row), target) in rows.iter().zip(targets) {
            self.count.outcome.aliases += 1;
            let mut condition = alias_condition(self.ring, key, row, target.as_ref());
            if matches!(condition, RowCondition::Damaged(_)) {
                let Some((row, target)) = self.alias_and_target(key).await? else { continue };
                condition = alias_condition(self.ring, key, &row, target.as_ref());
            }
            match condition {
                RowCondition::Whole(name) => self.count.by_key.entry(name).or_default().1 += 1,
                RowCondition::KeyNotLoaded(name) => {
                    self.count.outcome.key_not_loaded += 1;
                    self.count.by_key.entry(name).or_default().1 += 1;
                }
                RowCondition::Damaged(why) => {
                    self.count.outcome.damaged_aliases += 1;
                    self.problem(|| format!("alias {}: {why}", hex(key)));
                }
            }
        }
        Ok(())
    }

    /// Reads an alias and its record as of one moment; `None` if the alias is gone.
    async fn alias_and_target(&self, key: &RowKey) -> Result<Option<(Row, Option<Row>)>, StoreError> {
        loop {
            let Some(before) = self.one(key).await? else { return Ok(None) };
            let target = match target_of(&before) {
                Some(target) => self.one(&target).await?,
                None => None,
            };
            if self.one(key).await?.as_ref() == Some(&before) {
                return Ok(Some((before, target)));
            }
        }
    }

    /// Returns whether a record names an alias that, at one moment, is missing.
    async fn lacks_alias(&self, key: &RowKey) -> Result<bool, StoreError> {
        loop {
            let before = self.one(key).await?;
            let Some(index) = before.as_ref().and_then(index_of) else { return Ok(false) };
            let alias = self.one(&index).await?;
            if self.one(key).await? == before {
                return Ok(!leads_to(alias.as_ref(), key));
            }
        }
    }

    async fn one(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        Ok(self.store.get_many(vec![key.clone()]).await?.pop().flatten())
    }
}

/// Returns the key of the alias that a record names.
fn index_of(row: &Row) -> Option<RowKey> {
    Some(RowKey::alias(&Record::decode(row).ok()?.alias?))
}

/// Returns the key of the record that an alias leads to.
fn target_of(row: &Row) -> Option<RowKey> {
    Some(RowKey::record(&Alias::decode(row).ok()?.target))
}

fn leads_to(alias: Option<&Row>, record: &RowKey) -> bool {
    alias.and_then(target_of).as_ref() == Some(record)
}

fn record_condition(ring: &Keyring, key: &RowKey, row: &Row) -> RowCondition {
    let (Ok(RowName::Record(id)), Ok(record)) = (RowName::parse(key), Record::decode(row)) else {
        return RowCondition::Damaged("it does not decode");
    };
    let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
    let Some(generation) = ring.by_fingerprint(name.0, name.1) else { return RowCondition::KeyNotLoaded(name) };
    let id = TokenId::from_bytes(id);
    // The row does not say in which mode it was sealed.
    let mut keys = Mode::ALL.into_iter().map(|mode| generation.keys(mode));
    if keys.any(|keys| records::open(keys, record.kind, record.minted_kid, id, &record).is_ok()) {
        RowCondition::Whole(name)
    } else {
        RowCondition::Damaged("it does not open under its own key")
    }
}

/// Checks that the record names the alias, and that the generation which seals the record made it.
fn alias_condition(ring: &Keyring, key: &RowKey, row: &Row, target: Option<&Row>) -> RowCondition {
    let (Ok(RowName::Alias(index)), Ok(alias)) = (RowName::parse(key), Alias::decode(row)) else {
        return RowCondition::Damaged("it does not decode");
    };
    let Some(record) = target.map(|row| Record::decode(row)) else {
        return RowCondition::Damaged("its record is missing");
    };
    let Ok(record) = record else { return RowCondition::Damaged("its record does not decode") };
    if record.alias != Some(index) {
        return RowCondition::Damaged("its record does not name it");
    }
    let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
    let Some(generation) = ring.by_fingerprint(name.0, name.1) else { return RowCondition::KeyNotLoaded(name) };
    let (index, target) = (TokenId::from_bytes(index), TokenId::from_bytes(alias.target));
    if generation.verifies_alias(index, target, &alias.tag) {
        RowCondition::Whole(name)
    } else {
        RowCondition::Damaged("it does not verify under its record's key")
    }
}

/// Formats a row's id so that an operator can quote it. An id alone opens nothing.
fn hex(key: &RowKey) -> String {
    data_encoding::HEXLOWER.encode(&key.as_bytes()[1..])
}
