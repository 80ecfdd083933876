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
#[derive(Clone)]
pub(super) struct Exported {
    bytes: Vec<u8>,
    records: BTreeMap<TokenId, ModelRecord>,
    /// The tokens of each value that its own kid seals, in the order in which a search under that kid finds them.
    by_kid: BTreeMap<(Kid, Mode, Item), Vec<TokenId>>,
    /// The lists of each generation.
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
        let mut by_kid: BTreeMap<(Kid, Mode, Item), Vec<TokenId>> = BTreeMap::new();
        // The lists of the generations of a kid, the active one first, then the loaded old one.
        for (kid, Loaded { active, old }) in &world.loaded {
            for number in std::iter::once(*active).chain(*old) {
                let of_generation = world.model.values.iter().filter(|((of, ..), _)| *of == Gen { kid: *kid, number });
                for ((_, mode, item), ids) in of_generation {
                    by_kid.entry((*kid, *mode, item.clone())).or_default().extend(ids);
                }
            }
        }
        self.exports.push(Exported {
            bytes,
            records: world.model.records.clone(),
            lists: by_kid.values().chain(world.model.values.values()).cloned().collect(),
            by_kid,
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
        let exported = &self.exports[chosen];
        let world = &mut self.vaults[at].world;
        let has_keys = exported.records.values().all(|record| world.is_loaded(record.sealed_by))
            && exported.openers.iter().any(|of| world.is_loaded(*of));
        if has_keys {
            let was_moved = |record: &ModelRecord| record.minted_kid != record.sealed_by.kid && !record.is_honeytoken;
            world.model.kids_are_related |= exported.records.values().any(was_moved);
        }
        let firsts = self.firsts(at, one, other);
        let exported = &self.exports[chosen];
        let world = &mut self.vaults[at].world;
        let mut imported = world.import(&exported.bytes, restore_erased).await;
        let was_interrupted = imported.is_err();
        if was_interrupted && has_keys {
            assert!(fault.is_some());
            imported = world.import(&exported.bytes, restore_erased).await;
        }
        assert_eq!(imported.is_ok(), has_keys, "{:?}", imported.err());
        let mut added = BTreeSet::new();
        if has_keys {
            for (id, record) in &exported.records {
                let is_erased = world.model.tombstones.contains(id);
                if world.model.records.contains_key(id) || is_erased && !restore_erased {
                    continue;
                }
                world.model.tombstones.remove(id);
                let first = firsts.get(&(record.sealed_by.kid, record.mode, record.item.clone()));
                // It goes to the kid of the token that a search under its own finds.
                let mut kid = first
                    .filter(|_| !record.is_honeytoken)
                    .map_or(record.sealed_by.kid, |first| world.model.records[first].sealed_by.kid);
                if was_interrupted {
                    // What came before the interruption counts as the vault's own.
                    kid = world.sealing_kid(*id).await;
                }
                let sealed_by = world.active(kid);
                world.model.records.insert(*id, ModelRecord { sealed_by, ..record.clone() });
                added.insert(*id);
            }
            let gone = exported.tombstones.iter().filter(|id| !world.model.records.contains_key(*id));
            world.model.tombstones.extend(gone.copied().collect::<Vec<_>>());
        }
        let Exported { records: exported_records, by_kid, lists, .. } = exported.clone();
        self.settle(at, Since::Imports(&lists)).await;
        let world = &self.vaults[at].world;
        for ((kid, mode, item), first) in &firsts {
            let now = world.first(*kid, *mode, item);
            assert_eq!(now, Some(*first), "an import has changed the token of {item:?}");
        }
        for ((kid, mode, item), list) in by_kid {
            let of_kid = |record: &&ModelRecord| {
                (record.sealed_by.kid, record.mode, &record.item) == (kid, mode, &item) && !record.is_honeytoken
            };
            if exported_records.values().filter(of_kid).count() > list.len() {
                // Some were under a key that was not loaded, so no search found them.
                continue;
            }
            let is_known = kids().into_iter().any(|kid| firsts.contains_key(&(kid, mode, item.clone())));
            if let Some(first) = list.iter().find(|id| added.contains(id)).filter(|_| !is_known && !was_interrupted) {
                let now = world.first(kid, mode, &item);
                assert_eq!(now, Some(*first), "{item:?} has another token than in the exported vault");
            }
        }
    }
}
