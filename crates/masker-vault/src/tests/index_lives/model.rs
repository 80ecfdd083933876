//! The model: which records the vault has, and in which order values and forms list them.

use std::collections::{BTreeMap, BTreeSet};

use super::world::Gen;
use crate::ValueInput;
use masker_core::{
    crypto::{MatchPart, TokenId},
    normalize::Normalizer,
};
use masker_types::{
    kind::{EntityKind, Kid, Value},
    mode::Mode,
};

/// A value with its kind and its context.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) kind: EntityKind,
    pub(super) context: &'static str,
    pub(super) value: String,
}

impl Item {
    pub(super) fn input(&self) -> ValueInput<'_> {
        ValueInput { kind: self.kind.as_str(), value: &self.value, context: self.context }
    }

    pub(super) fn form(&self, normalizer: Normalizer) -> String {
        normalizer.form(Value::new(&self.value).unwrap()).into_owned()
    }
}

/// A record.
#[derive(Clone, Debug)]
pub(super) struct ModelRecord {
    pub(super) token: String,
    pub(super) mode: Mode,
    pub(super) item: Item,
    pub(super) normalizer: Normalizer,
    pub(super) minted_kid: Kid,
    pub(super) minted_at_s: i64,
    pub(super) sealed_by: Gen,
    /// Whether no search by value finds it.
    pub(super) is_honeytoken: bool,
}

impl ModelRecord {
    /// Returns the list of its value; `None` for a honeytoken.
    pub(super) fn value_place(&self) -> Option<ValuePlace> {
        (!self.is_honeytoken).then(|| (self.sealed_by, self.mode, self.item.clone()))
    }

    /// Returns the list of its form; `None` if it has none.
    pub(super) fn form_place(&self) -> Option<FormPlace> {
        let has_form = !self.is_honeytoken && self.normalizer != Normalizer::Exact;
        has_form.then(|| form_place(self.sealed_by, self.mode, &self.item, self.normalizer))
    }
}

/// What a list of a value belongs to.
pub(super) type ValuePlace = (Gen, Mode, Item);

/// What a list of a form belongs to: like that of a value, with the form in its place.
pub(super) type FormPlace = (Gen, Mode, Item, Normalizer);

pub(super) fn form_place(of: Gen, mode: Mode, item: &Item, normalizer: Normalizer) -> FormPlace {
    (of, mode, Item { value: item.form(normalizer), ..item.clone() }, normalizer)
}

#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) records: BTreeMap<TokenId, ModelRecord>,
    pub(super) values: BTreeMap<ValuePlace, Vec<TokenId>>,
    pub(super) forms: BTreeMap<FormPlace, Vec<MatchPart>>,
    pub(super) tombstones: BTreeSet<TokenId>,
    /// Generations of which records were erased while their key was not loaded: their lists may have dead entries.
    pub(super) erased_blindly: BTreeSet<Gen>,
    /// Whether records were moved from one kid to the other.
    pub(super) kids_are_related: bool,
}

impl Model {
    /// Returns the tokens of a value under a generation, in list order.
    pub(super) fn list(&self, of: Gen, mode: Mode, item: &Item) -> Vec<TokenId> {
        self.values.get(&(of, mode, item.clone())).cloned().unwrap_or_default()
    }

    /// Adds a record at the ends of its lists.
    pub(super) fn add(&mut self, id: TokenId, record: ModelRecord) {
        if let Some(place) = record.value_place() {
            self.values.entry(place).or_default().push(id);
        }
        if let Some(place) = record.form_place() {
            let parts = self.forms.entry(place).or_default();
            if !parts.contains(&id.match_part()) {
                parts.push(id.match_part());
            }
        }
        self.tombstones.remove(&id);
        assert!(self.records.insert(id, record).is_none());
    }

    /// Takes a record out of its lists.
    pub(super) fn remove(&mut self, id: TokenId) -> ModelRecord {
        let record = self.records.remove(&id).unwrap();
        if let Some(place) = record.value_place() {
            self.values.get_mut(&place).unwrap().retain(|other| *other != id);
        }
        if let Some(place) = record.form_place() {
            let part = id.match_part();
            let stays = |(other, record): (&TokenId, &ModelRecord)| {
                other.match_part() == part && record.form_place().as_ref() == Some(&place)
            };
            if !self.records.iter().any(stays) {
                self.forms.get_mut(&place).unwrap().retain(|other| *other != part);
            }
        }
        self.values.retain(|_, list| !list.is_empty());
        self.forms.retain(|_, list| !list.is_empty());
        record
    }

    /// Erases a record.
    pub(super) fn erase(&mut self, id: TokenId, key_is_loaded: bool) {
        let record = self.remove(id);
        self.tombstones.insert(id);
        if !key_is_loaded {
            self.erased_blindly.insert(record.sealed_by);
        }
    }

    /// Returns the records of other spellings of a value: they have its form by their own normalizer.
    pub(super) fn other_spellings(&self, searched: &[Gen], mode: Mode, item: &Item) -> BTreeSet<TokenId> {
        let matches = |record: &ModelRecord| {
            record.form_place().is_some()
                && searched.contains(&record.sealed_by)
                && (record.mode, record.item.kind, record.item.context) == (mode, item.kind, item.context)
                && record.item.form(record.normalizer) == item.form(record.normalizer)
        };
        self.records.iter().filter(|(_, record)| matches(record)).map(|(id, _)| *id).collect()
    }
}
