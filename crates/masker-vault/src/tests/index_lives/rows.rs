//! Compares the rows of a store with the model: the invariant of the index rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use super::{
    model::{FormPlace, Item, ModelRecord, ValuePlace},
    world::{Gen, World, keys_of},
};
use crate::{
    Ledger,
    index_list::{self, IndexEntry},
    ledger::all_rows,
    records,
};
use masker_core::crypto::{Index, TokenId};
use masker_store::{
    Row, RowKey,
    record::{INDEX_ENTRIES_MAX, NormalizersRow, Record, RowName},
};
use masker_types::kind::{Context, Kid};

/// What the operation before may have done beside what the model knows.
#[derive(Clone, Copy)]
pub(super) enum Since<'a> {
    /// Nothing.
    Nothing,
    /// It moved records of a kid to another generation, with those of their values under the target's replaced keys.
    Moves { source: Kid, target: Gen },
    /// It moved records to the active generation of their kid, and appended others, in an order in which each of these lists
    /// keeps its own.
    Imports(&'a [Vec<TokenId>]),
}

/// A record's row as it was compared last, so that each is opened once.
#[derive(Default)]
pub(super) struct ComparedRows(BTreeMap<TokenId, (Row, Gen)>);

impl World {
    /// Compares every row with the model, which learns what was moved and where lists got their new entries.
    pub(super) async fn settle(&mut self, compared: &mut ComparedRows, since: Since<'_>) {
        let stored: BTreeMap<TokenId, (Row, Record)> = all_rows(&self.store, RowName::RECORDS)
            .await
            .unwrap()
            .into_iter()
            .map(|(key, row)| {
                let Ok(RowName::Record(id)) = RowName::parse(&key) else { panic!("no record's key") };
                let record = Record::decode(&row).unwrap();
                (TokenId::from_bytes(id), (row, record))
            })
            .collect();
        assert_eq!(stored.len(), self.model.records.len(), "records");
        self.learn_moves(&stored, since);
        for (id, (row, record)) in &stored {
            let expected = self.model.records.get(id).expect("a record that the model does not know");
            let before = compared.0.insert(*id, (row.clone(), expected.sealed_by));
            if before.as_ref() != Some(&(row.clone(), expected.sealed_by)) {
                compare_record(*id, record, expected);
            }
        }

        let (mut rows_of, mut value_places, mut form_places) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (id, (_, record)) in &stored {
            let expected = &self.model.records[id];
            rows_of.entry(expected.sealed_by).or_insert((0, 0)).0 += 1;
            if let (Some(place), Some(index)) = (expected.value_place(), record.value_index) {
                value_places.entry(index).or_insert_with(|| (place, BTreeSet::new())).1.insert(*id);
            }
            if let (Some(place), Some(index)) = (expected.form_place(), record.form_index) {
                form_places.entry(index).or_insert_with(|| (place, BTreeSet::new())).1.insert(id.match_part());
            }
        }
        let values = self.compare_lists(&value_places, since, &self.model.values).await;
        let forms = self.compare_lists(&form_places, since, &self.model.forms).await;
        for (of, ..) in values.keys() {
            rows_of.entry(*of).or_insert((0, 0)).1 += 1;
        }
        for (of, ..) in forms.keys() {
            rows_of.entry(*of).or_insert((0, 0)).1 += 1;
        }
        (self.model.values, self.model.forms) = (values, forms);
        self.compare_ledger(&rows_of).await;
    }

    /// Moves records in the model that a rotation or an import has moved.
    fn learn_moves(&mut self, stored: &BTreeMap<TokenId, (Row, Record)>, since: Since<'_>) {
        let target_of = |sealed_by: Gen| match since {
            Since::Nothing => None,
            Since::Moves { source, target } => [source, target.kid].contains(&sealed_by.kid).then_some(target),
            Since::Imports(_) => Some(self.active(sealed_by.kid)),
        };
        let moved_to = |(id, expected): (&TokenId, &ModelRecord)| {
            let target = target_of(expected.sealed_by).filter(|target| *target != expected.sealed_by)?;
            let record = &stored[id].1;
            let keys = keys_of(target, expected.mode);
            let is_moved = (record.sealing_kid, record.fingerprint) == (keys.kid(), *keys.fingerprint().as_bytes());
            is_moved.then_some((*id, target))
        };
        let moved: BTreeMap<TokenId, Gen> = self.model.records.iter().filter_map(moved_to).collect();
        for list in self.model.values.values() {
            let count = list.iter().filter(|id| moved.contains_key(*id)).count();
            assert!(count == 0 || count == list.len(), "a value of which only some records were moved");
        }
        for (id, target) in moved {
            self.model.records.get_mut(&id).unwrap().sealed_by = target;
        }
    }

    /// Compares the rows of one index with the lists that the records of the store need. Returns the lists as they are.
    async fn compare_lists<E: IndexEntry + Ord + Debug, P: Place>(
        &self,
        needed: &BTreeMap<[u8; 20], (P, BTreeSet<E>)>,
        since: Since<'_>,
        before: &BTreeMap<P, Vec<E>>,
    ) -> BTreeMap<P, Vec<E>> {
        let mut lists = BTreeMap::new();
        let space = E::row_key(Index::from_bytes([0; 20])).space();
        let rows: BTreeMap<RowKey, Row> = all_rows(&self.store, space).await.unwrap().into_iter().collect();
        for (index, (place, live)) in needed {
            let (of, mode) = place.generation();
            let key = E::row_key(Index::from_bytes(*index));
            let row = rows.get(&key).unwrap_or_else(|| panic!("{:?}: no row for {place:?}", E::NAME));
            let listed = index_list::verified::<E>(keys_of(of, mode), Index::from_bytes(*index), row);
            let listed = listed.unwrap_or_else(|| panic!("{:?}: the row of {place:?} does not verify", E::NAME));
            assert!((1..=INDEX_ENTRIES_MAX).contains(&listed.len()), "{} entries", listed.len());
            assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "an entry is there twice");
            let found: Vec<E> = listed.iter().filter(|entry| live.contains(entry)).copied().collect();
            assert_eq!(found.len(), live.len(), "{:?}: an entry is missing for {place:?}", E::NAME);
            let has_dead = found.len() < listed.len();
            assert!(!has_dead || self.model.erased_blindly.contains(&of), "{:?}: a dead entry for {place:?}", E::NAME);
            let empty = Vec::new();
            let known = before.get(place).unwrap_or(&empty);
            compare_order::<E>(known, &found, since, before.values());
            lists.insert(place.clone(), found);
        }
        assert_eq!(rows.len(), needed.len(), "{:?}: a row without a record", E::NAME);
        lists
    }

    /// Compares the ledger and the tombstones.
    async fn compare_ledger(&self, rows_of: &BTreeMap<Gen, (u64, u64)>) {
        let store = self.controlled().await;
        assert_eq!((self.vault.control_problem(), store.verify().await.unwrap().problems), (None, vec![]));
        let ledger = Ledger::load(&store).await.unwrap();
        let counted: BTreeMap<_, _> = ledger
            .generations
            .iter()
            .filter(|(_, row)| row.is_needed())
            .map(|(name, row)| (*name, (row.records, row.index_rows)))
            .collect();
        let name = |of: &Gen| (of.kid, keys_of(*of, masker_types::mode::Mode::Live).fingerprint());
        assert_eq!(counted, rows_of.iter().map(|(of, rows)| (name(of), *rows)).collect(), "counts of the ledger");
        let tombstones: BTreeSet<TokenId> = all_rows(&self.store, RowName::TOMBSTONES)
            .await
            .unwrap()
            .into_iter()
            .map(|(key, _)| match RowName::parse(&key) {
                Ok(RowName::Tombstone(id)) => TokenId::from_bytes(id),
                _ => panic!("no tombstone's key"),
            })
            .collect();
        assert_eq!(tombstones, self.model.tombstones);
        assert_eq!(ledger.tombstones(), tombstones.len() as u64);
        let remembered: BTreeMap<RowKey, Vec<String>> = all_rows(&store, RowName::NORMALIZERS)
            .await
            .unwrap()
            .into_iter()
            .map(|(key, row)| (key, NormalizersRow::decode(&row).unwrap().names))
            .collect();
        for (of, _, item, normalizer) in self.model.forms.keys() {
            let names = remembered.get(&RowKey::normalizers(item.kind, of.kid));
            assert!(names.is_some_and(|names| names.iter().any(|name| name == normalizer.name())), "normalizers");
        }
    }
}

/// What a list belongs to.
trait Place: Clone + Ord + Debug {
    fn generation(&self) -> (Gen, masker_types::mode::Mode);
}

impl Place for ValuePlace {
    fn generation(&self) -> (Gen, masker_types::mode::Mode) {
        (self.0, self.1)
    }
}

impl Place for FormPlace {
    fn generation(&self) -> (Gen, masker_types::mode::Mode) {
        (self.0, self.1)
    }
}

/// Opens a record under its own key, and compares it with the model.
fn compare_record(id: TokenId, record: &Record, expected: &ModelRecord) {
    let Item { kind, context, .. } = expected.item;
    let keys = keys_of(expected.sealed_by, expected.mode);
    let named = (record.sealing_kid, record.fingerprint, record.kind, record.minted_kid, record.minted_at_ms);
    let minted_at_ms = u64::try_from(expected.minted_at_s).unwrap() * 1_000;
    assert!(
        named == (keys.kid(), *keys.fingerprint().as_bytes(), kind, expected.minted_kid, minted_at_ms),
        "the record says {} {:?} {} {} {}, the model {expected:?}",
        named.0,
        named.1,
        named.2,
        named.3,
        named.4
    );
    let opened = records::open(keys, id, record).expect("a record does not open");
    let form = expected.item.form(expected.normalizer);
    assert_eq!((opened.value(), opened.context()), (&*expected.item.value, context));
    assert_eq!((opened.normalizer(), opened.form()), (expected.normalizer, &*form));
    let context = Context::new(context).unwrap();
    let value = opened.payload().value;
    let value_index = expected.value_place().map(|_| *keys.value_index(kind, context, value).as_bytes());
    let form_index =
        expected.form_place().map(|_| *keys.form_index(expected.normalizer, kind, context, &form).as_bytes());
    assert!((record.value_index, record.form_index) == (value_index, form_index), "indexes of {expected:?}");
}

/// Checks that a list has what it had before, in the same order, and then what was added, in an order that is allowed.
fn compare_order<'a, E: IndexEntry + Ord + Debug + 'a>(
    known: &[E],
    found: &[E],
    since: Since<'_>,
    all_before: impl Iterator<Item = &'a Vec<E>> + Clone,
) {
    let (old, new): (Vec<E>, Vec<E>) = found.iter().partition(|entry| known.contains(entry));
    assert!(found.starts_with(&old), "something was put before the entries that were there");
    assert!(old.iter().eq(known.iter().filter(|entry| old.contains(entry))), "the order of a list has changed");
    let keeps_order = |new: &[E], list: &[E]| {
        new.iter().filter(|entry| list.contains(entry)).eq(list.iter().filter(|entry| new.contains(entry)))
    };
    match since {
        Since::Nothing => assert!(new.is_empty() && old.len() == known.len(), "a list differs from the model"),
        Since::Moves { .. } if E::BYTES == TokenId::BYTES => {
            for list in all_before {
                assert!(keeps_order(&new, list), "a rotation has changed the order of a list");
            }
        }
        Since::Imports(lists) if E::BYTES == TokenId::BYTES => {
            let (moved, imported): (Vec<E>, Vec<E>) =
                new.iter().partition(|entry| all_before.clone().any(|list| list.contains(entry)));
            assert!(new.starts_with(&moved), "an import was put before what the vault had");
            for list in all_before {
                assert!(keeps_order(&moved, list), "an import has changed the order of a list that it moved");
            }
            for list in lists {
                let list: Vec<E> = list.iter().filter_map(|id| E::from_slice(id.as_bytes())).collect();
                assert!(keeps_order(&imported, &list), "an import has changed the order of a list");
            }
        }
        // Match parts are listed in the order in which records come.
        Since::Moves { .. } | Since::Imports(_) => {}
    }
}
