//! The exports and imports of a life.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use super::{
    life::Life,
    model::{Item, ModelRecord},
    rows::Since,
    world::{Gen, Loaded, kids},
};
use masker_core::crypto::TokenId;
use masker_types::{kind::Kid, mode::Mode};

/// An export, with the model as it was.
pub(super) struct Exported {
    bytes: Vec<u8>,
    records: BTreeMap<TokenId, ModelRecord>,
    /// The tokens of each value, in the order in which a search by its own kid finds them.
    lists: Vec<Vec<TokenId>>,
    tombstones: BTreeSet<TokenId>,
    /// The generations whose keys open the file.
    openers: Vec<Gen>,
}

impl Life {
    pub(super) async fn export(&mut self, at: usize) {
        self.note(at, "export".to_owned());
        let world = &self.vaults[at].world;
        let bytes = world.export().await;
        let mut lists: BTreeMap<(Kid, Mode, Item), Vec<TokenId>> = BTreeMap::new();
        // The lists of the generations of a kid, the active one first, then the loaded old one.
        for (kid, Loaded { active, old }) in &world.loaded {
            for number in std::iter::once(*active).chain(*old) {
                let of_generation = world.model.values.iter().filter(|((of, ..), _)| *of == Gen { kid: *kid, number });
                for ((_, mode, item), ids) in of_generation {
                    lists.entry((*kid, *mode, item.clone())).or_default().extend(ids);
                }
            }
        }
        self.exports.push(Exported {
            bytes,
            records: world.model.records.clone(),
            lists: lists.into_values().chain(world.model.values.values().cloned()).collect(),
            tombstones: world.model.tombstones.clone(),
            openers: kids().map(|kid| world.active(kid)).into(),
        });
    }

    pub(super) async fn import(&mut self, at: usize) {
        if self.exports.is_empty() {
            return;
        }
        let chosen = self.rng.random_range(0..self.exports.len());
        let restore_erased = self.rng.random();
        self.note(at, format!("import the export {chosen}, restore: {restore_erased}"));
        let fault = self.inject(at);
        let [one, other] = kids();
        let mut firsts = self.firsts(at, one, other);
        firsts.retain(|(kid, ..), first| self.vaults[at].world.model.records[first].sealed_by.kid == *kid);
        let exported = &self.exports[chosen];
        let world = &mut self.vaults[at].world;
        let mut imported = world.import(&exported.bytes, restore_erased).await;
        let has_keys = exported.records.values().all(|record| world.is_loaded(record.sealed_by))
            && exported.openers.iter().any(|of| world.is_loaded(*of));
        if imported.is_err() && has_keys {
            assert!(fault.is_some());
            imported = world.import(&exported.bytes, restore_erased).await;
        }
        assert_eq!(imported.is_ok(), has_keys, "{:?}", imported.err());
        if has_keys {
            let was_moved = |record: &ModelRecord| record.minted_kid != record.sealed_by.kid && !record.is_honeytoken;
            world.model.kids_are_related |= exported.records.values().any(was_moved);
            for (id, record) in &exported.records {
                let is_erased = world.model.tombstones.contains(id);
                if world.model.records.contains_key(id) || is_erased && !restore_erased {
                    continue;
                }
                world.model.tombstones.remove(id);
                let sealed_by = world.active(record.sealed_by.kid);
                world.model.records.insert(*id, ModelRecord { sealed_by, ..record.clone() });
            }
            let gone = exported.tombstones.iter().filter(|id| !world.model.records.contains_key(*id));
            world.model.tombstones.extend(gone.copied().collect::<Vec<_>>());
        }
        let lists = exported.lists.clone();
        self.settle(at, Since::Imports(&lists)).await;
        for ((kid, mode, item), first) in firsts {
            let now = self.vaults[at].world.first(kid, mode, &item);
            assert_eq!(now, Some(first), "an import has changed the token of {item:?}");
        }
    }
}
