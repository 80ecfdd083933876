//! A random life: operations on two vaults, each predicted by the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use rand::{RngExt, rngs::ChaCha8Rng};

use super::{
    life_backups::Exported,
    life_rotations::RunningRotation,
    model::{Item, ModelRecord, form_place},
    rows::{ComparedRows, Since},
    world::{GENERATIONS, Gen, Loaded, World, keys_of, kids, permit, policy},
};
use crate::{HoneytokenRequest, ItemFailure, PurgeError, PurgeFilter};
use jiff::Timestamp;
use masker_core::{crypto::TokenId, normalize::Normalizer, token::Token};
use masker_store::memory::InjectedFault;
use masker_types::{kind::EntityKind, mode::Mode};

const PHONES: [&str; 7] =
    ["(415) 555-2671", "+14155552671", "415.555.2671", " 4155552671", "4155552671", "212 555 0100", "+12125550100"];
const NAMES: [&str; 6] = ["Ann Lee", "ann lee", " ANN  LEE", "Ann Lee ", "Bob", "bob"];
const NOTES: [&str; 5] = ["x", " x", "x ", "y", "y "];

/// A vault in a life.
pub(super) struct Inhabitant {
    pub(super) world: World,
    compared: ComparedRows,
    pub(super) rotation: Option<RunningRotation>,
}

pub(super) struct Life {
    pub(super) rng: ChaCha8Rng,
    pub(super) vaults: Vec<Inhabitant>,
    pub(super) exports: Vec<Exported>,
    /// What was done, to be printed on a failure.
    log: Vec<String>,
}

/// Prints what was done if the test panics.
impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log.join("\n"));
        }
    }
}

impl Life {
    pub(super) async fn new(rng: ChaCha8Rng) -> Self {
        let mut vaults = Vec::new();
        for _ in 0..2 {
            vaults.push(Inhabitant { world: World::new().await, compared: ComparedRows::default(), rotation: None });
        }
        Life { rng, vaults, exports: Vec::new(), log: Vec::new() }
    }

    pub(super) async fn run(mut self, steps: usize) {
        for _ in 0..steps {
            // Most happens in the first vault, so that its records have a history.
            let at = usize::from(self.chance(20));
            self.vaults[at].world.now_s.fetch_add(1, Ordering::SeqCst);
            self.step(at).await;
            if self.chance(10) {
                self.check(at).await;
            }
        }
        for at in 0..self.vaults.len() {
            self.finish_rotation(at).await;
            self.check(at).await;
            self.rehydrate_all(at).await;
        }
    }

    async fn step(&mut self, at: usize) {
        match self.rng.random_range(0..100) {
            0..28 => self.tokenize(at).await,
            28..34 => self.tokenize_concurrently(at).await,
            34..44 => self.lookup(at).await,
            44..50 => self.forget_tokens(at).await,
            50..54 => self.forget_values(at).await,
            54..56 => self.purge(at).await,
            56..66 => self.reload(at).await,
            66..69 => self.restart(at).await,
            69..73 => self.change_policy(at),
            73..77 => self.begin_rotation(at).await,
            77..87 => self.step_rotation(at).await,
            87..88 => self.cancel_rotation(at).await,
            88..91 => self.finish_rotation(at).await,
            91..94 => self.export(at).await,
            94..97 => self.import(at).await,
            97..98 => self.plant(at).await,
            _ => self.rehydrate_all(at).await,
        }
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub(super) fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.rng.random_range(0..all.len())].clone()
    }

    fn mode(&mut self) -> Mode {
        if self.chance(80) { Mode::Live } else { Mode::Test }
    }

    fn item(&mut self) -> Item {
        let (kind, value) = match self.rng.random_range(0..3) {
            0 => ("PHONE", self.pick(&PHONES)),
            1 => ("NAME", self.pick(&NAMES)),
            _ => ("NOTE", self.pick(&NOTES)),
        };
        let context = if self.chance(80) { "" } else { "t1" };
        Item { kind: EntityKind::parse(kind).unwrap(), context, value: value.to_owned() }
    }

    fn items(&mut self) -> Vec<Item> {
        let count = self.rng.random_range(1..6);
        (0..count).map(|_| self.item()).collect()
    }

    pub(super) fn note(&mut self, at: usize, what: String) {
        self.log.push(format!("{at}: {what}"));
    }

    /// Makes the next commit fail sometimes.
    pub(super) fn inject(&mut self, at: usize) -> Option<InjectedFault> {
        if !self.chance(8) {
            return None;
        }
        let fault = if self.rng.random() { InjectedFault::NotApplied } else { InjectedFault::AppliedUnanswered };
        self.vaults[at].world.store.fail_next_apply(fault);
        self.note(at, format!("{fault:?}"));
        Some(fault)
    }

    pub(super) async fn settle(&mut self, at: usize, since: Since<'_>) {
        let Inhabitant { world, compared, .. } = &mut self.vaults[at];
        world.store.clear_faults();
        world.settle(compared, since).await;
    }

    async fn check(&mut self, at: usize) {
        let checked = self.vaults[at].world.vault.check(&permit(Mode::Live)).await.unwrap();
        assert!(checked.ok(), "{:?}", checked.problems);
        assert_eq!(checked.records, self.vaults[at].world.model.records.len() as u64);
    }

    async fn tokenize(&mut self, at: usize) {
        let (mode, items) = (self.mode(), self.items());
        self.note(at, format!("tokenize {mode:?} {items:?}"));
        let fault = self.inject(at);
        let world = &self.vaults[at].world;
        let mut was_written = false;
        let minted = match world.tokenize(mode, &items).await {
            Ok(minted) => minted,
            Err(_) => {
                was_written = fault == Some(InjectedFault::AppliedUnanswered);
                assert!(fault.is_some());
                world.tokenize(mode, &items).await.unwrap()
            }
        };
        self.compare_minted(at, mode, &items, minted, was_written);
        self.settle(at, Since::Nothing).await;
    }

    /// Tokenizes several batches at once, which the writer may commit as a group.
    async fn tokenize_concurrently(&mut self, at: usize) {
        let (mode, first, second, third) = (self.mode(), self.items(), self.items(), self.items());
        self.note(at, format!("tokenize at once {mode:?} {first:?} {second:?} {third:?}"));
        let world = &self.vaults[at].world;
        let held = world.store.hold_applies().await;
        let release = async {
            tokio::task::yield_now().await;
            drop(held);
        };
        let (one, two, three, ()) = tokio::join!(
            world.tokenize(mode, &first),
            world.tokenize(mode, &second),
            world.tokenize(mode, &third),
            release
        );
        let minted = [one, two, three].into_iter().flat_map(Result::unwrap).collect();
        self.compare_minted(at, mode, &[first, second, third].concat(), minted, false);
        self.settle(at, Since::Nothing).await;
    }

    /// Compares tokens with the model, and adds those that are new.
    fn compare_minted(
        &mut self,
        at: usize,
        mode: Mode,
        items: &[Item],
        minted: Vec<Result<(String, bool), ItemFailure>>,
        was_written: bool,
    ) {
        let world = &mut self.vaults[at].world;
        let kid = world.policy.kids().next().unwrap();
        // New tokens, with how often they were said to be created.
        let mut new: BTreeMap<TokenId, u32> = BTreeMap::new();
        for (item, minted) in items.iter().zip(minted) {
            let first = world.first(kid, mode, item);
            if first.is_none() && world.is_blind(kid) && !world.second_tokens.contains(&kid) {
                assert!(matches!(minted, Err(ItemFailure::KeyUnavailable(_))), "{item:?}: {minted:?}");
                continue;
            }
            let (token, created) = minted.unwrap_or_else(|failure| panic!("{item:?}: {failure}"));
            if let Some(first) = first {
                assert_eq!(token, world.model.records[&first].token, "{item:?} has another token");
                match new.get_mut(&first) {
                    Some(times) => *times += u32::from(created),
                    None => assert!(!created, "{item:?} was there"),
                }
                continue;
            }
            let Ok(Token::Vault { kind, kid: minted_kid, id }) = Token::parse(&token) else { panic!("no vault token") };
            assert_eq!((kind, minted_kid), (item.kind, kid));
            assert!(!world.model.records.contains_key(&id) && !world.model.tombstones.contains(&id));
            let normalizer = normalizer(world, item);
            let searched = world.searched(kid);
            let listed = searched
                .iter()
                .find_map(|of| world.model.forms.get(&form_place(*of, mode, item, normalizer))?.first().copied());
            let others = world.model.records.keys().any(|other| other.match_part() == id.match_part());
            match listed.filter(|_| normalizer != Normalizer::Exact) {
                Some(part) => assert_eq!(id.match_part(), part, "{item:?}: the match part of other spellings"),
                None => assert!(!others, "{item:?}: a match part of something else"),
            }
            let record = ModelRecord {
                token,
                mode,
                item: item.clone(),
                normalizer,
                minted_kid,
                minted_at_s: world.now_s(),
                sealed_by: world.active(kid),
                is_honeytoken: false,
            };
            world.model.add(id, record);
            new.insert(id, u32::from(created));
        }
        assert!(new.values().all(|created| *created == u32::from(!was_written)), "created");
    }

    async fn lookup(&mut self, at: usize) {
        let (mode, items) = (self.mode(), self.items());
        self.note(at, format!("lookup {mode:?} {items:?}"));
        let world = &self.vaults[at].world;
        let kid = world.policy.kids().next().unwrap();
        for (item, found) in items.iter().zip(world.lookup(mode, &items).await) {
            let exact = world.exact(kid, mode, item);
            if exact.is_empty() && world.is_blind(kid) {
                assert!(matches!(found, Err(ItemFailure::KeyUnavailable(_))), "{item:?}: {found:?}");
                continue;
            }
            let found = found.unwrap_or_else(|failure| panic!("{item:?}: {failure}"));
            let token = |id: &TokenId| world.model.records[id].token.clone();
            let expected: Vec<String> = exact.iter().map(token).collect();
            assert_eq!(found.tokens[..expected.len().min(found.tokens.len())], expected, "{item:?}");
            assert_eq!(found.exact, !exact.is_empty());
            let mut others = world.model.other_spellings(&world.searched(kid), mode, item);
            others.retain(|id| !exact.contains(id));
            let rest = &found.tokens[expected.len()..];
            let distinct: BTreeSet<String> = rest.iter().cloned().collect();
            assert_eq!(distinct, others.iter().map(token).collect(), "other spellings of {item:?}");
            assert!(distinct.len() == rest.len() && !found.more);
        }
    }

    async fn forget_tokens(&mut self, at: usize) {
        let mode = self.mode();
        let count = self.rng.random_range(1..4);
        let all: Vec<TokenId> = self.vaults[at].world.model.records.keys().copied().collect();
        if all.is_empty() {
            return;
        }
        let chosen: Vec<TokenId> = (0..count).map(|_| self.pick(&all)).collect();
        let world = &self.vaults[at].world;
        let records: Vec<ModelRecord> = chosen.iter().map(|id| world.model.records[id].clone()).collect();
        self.note(at, format!("forget {mode:?} {records:?}"));
        let fault = self.inject(at);
        let tokens: Vec<_> =
            records.iter().map(|record| (record.token.clone(), record.item.context.to_owned())).collect();
        let world = &mut self.vaults[at].world;
        let forgotten = match world.forget(mode, &tokens).await {
            Ok(forgotten) => Some(forgotten),
            Err(_) if fault == Some(InjectedFault::NotApplied) => return self.settle(at, Since::Nothing).await,
            Err(_) => {
                assert!(fault.is_some());
                None
            }
        };
        for (position, (id, record)) in chosen.iter().zip(&records).enumerate() {
            let is_loaded = world.is_loaded(record.sealed_by);
            let is_held = world.model.records.contains_key(id);
            // Without the key, nobody can say of which mode the record is, so only a live caller may.
            let is_refused = is_held && !is_loaded && mode != Mode::Live;
            let is_there = is_held && !is_refused && (record.mode == mode || !is_loaded);
            if let Some(forgotten) = &forgotten
                && is_refused
            {
                assert!(matches!(forgotten[position], Err(ItemFailure::KeyUnavailable(_))), "{record:?}");
            } else if let Some(forgotten) = &forgotten {
                let expected = if is_there { Ok(true) } else { Err(ItemFailure::NotFound) };
                assert_eq!(forgotten[position], expected, "{record:?}");
            }
            if is_there {
                world.model.erase(*id, is_loaded);
            }
        }
        self.settle(at, Since::Nothing).await;
    }

    async fn forget_values(&mut self, at: usize) {
        let (mode, mut items) = (self.mode(), self.items());
        items.truncate(2);
        self.note(at, format!("forget values {mode:?} {items:?}"));
        let fault = self.inject(at);
        let world = &mut self.vaults[at].world;
        let kid = world.policy.kids().next().unwrap();
        let forgotten = match world.forget_values(mode, &items).await {
            Ok(forgotten) => Some(forgotten),
            Err(_) if fault == Some(InjectedFault::NotApplied) => return self.settle(at, Since::Nothing).await,
            Err(_) => {
                assert!(fault.is_some());
                None
            }
        };
        let is_blind = world.is_blind(kid);
        for (position, item) in items.iter().enumerate() {
            if is_blind {
                let refused = |forgotten: &Vec<_>| matches!(forgotten[position], Err(ItemFailure::KeyUnavailable(_)));
                assert!(forgotten.as_ref().is_none_or(refused));
                continue;
            }
            // Under every kid, for the policy may have had another one before.
            let found: BTreeSet<TokenId> = kids()
                .into_iter()
                .flat_map(|kid| {
                    let mut found = world.model.other_spellings(&world.searched(kid), mode, item);
                    found.extend(world.exact(kid, mode, item));
                    found
                })
                .collect();
            for id in &found {
                world.model.erase(*id, true);
            }
            if let Some(forgotten) = &forgotten {
                assert_eq!(forgotten[position], Ok(found.len() as u64), "{item:?}");
            }
        }
        self.settle(at, Since::Nothing).await;
    }

    async fn purge(&mut self, at: usize) {
        let by_key = self.chance(50);
        let kid = self.pick(&kids());
        let world = &self.vaults[at].world;
        let active = world.active(kid);
        let old = Gen { kid, number: self.rng.random_range(1..=active.number) };
        let before_s = world.now_s() - self.rng.random_range(5..60);
        let filter = match by_key {
            true => PurgeFilter::Key(keys_of(old, Mode::Live).fingerprint()),
            false => PurgeFilter::Before(Timestamp::from_second(before_s).unwrap()),
        };
        let dry_run = self.chance(30);
        self.note(at, format!("purge {filter:?}, dry: {dry_run}"));
        let fault = self.inject(at);
        let world = &mut self.vaults[at].world;
        let purged = world.vault.purge(&permit(Mode::Live), filter, dry_run).await;
        if by_key && old == active {
            assert!(matches!(purged, Err(PurgeError::ActiveKey(..))));
        } else if purged.is_err() && fault == Some(InjectedFault::NotApplied) {
            // Nothing was erased.
        } else {
            let is_selected = |record: &ModelRecord| match by_key {
                true => record.sealed_by == old,
                false => record.minted_at_s < before_s,
            };
            let records = &world.model.records;
            let selected: Vec<TokenId> =
                records.iter().filter(|(_, record)| is_selected(record)).map(|(id, _)| *id).collect();
            match purged {
                Ok(outcome) => assert_eq!(outcome.records.values().sum::<u64>(), selected.len() as u64),
                Err(_) => assert!(fault.is_some()),
            }
            for id in selected.into_iter().filter(|_| !dry_run) {
                let is_loaded = world.is_loaded(world.model.records[&id].sealed_by);
                world.model.erase(id, is_loaded);
            }
        }
        self.settle(at, Since::Nothing).await;
    }

    async fn reload(&mut self, at: usize) {
        let mut loaded = self.vaults[at].world.loaded.clone();
        let kid = self.pick(&kids());
        let pair = loaded.get_mut(&kid).unwrap();
        let earlier = |rng: &mut ChaCha8Rng, active: u8| (active > 1).then(|| rng.random_range(1..active));
        match self.rng.random_range(0..10) {
            0..4 if pair.active < GENERATIONS => *pair = Loaded { active: pair.active + 1, old: Some(pair.active) },
            4 if pair.active < GENERATIONS => *pair = Loaded { active: pair.active + 1, old: None },
            5..7 => pair.old = None,
            _ => pair.old = earlier(&mut self.rng, pair.active),
        }
        self.note(at, format!("reload {loaded:?}"));
        let Inhabitant { world, rotation, .. } = &mut self.vaults[at];
        world.reload(loaded).await;
        if let Some(rotation) = rotation {
            rotation.may_fail = true;
        }
        self.settle(at, Since::Nothing).await;
    }

    async fn restart(&mut self, at: usize) {
        let closing = self.rng.random();
        let second_tokens = kids().into_iter().filter(|_| self.rng.random()).collect();
        self.note(at, format!("restart, closing: {closing}, second tokens: {second_tokens:?}"));
        let world = &mut self.vaults[at].world;
        world.second_tokens = second_tokens;
        world.restart(closing).await;
        self.settle(at, Since::Nothing).await;
    }

    fn change_policy(&mut self, at: usize) {
        let kid = self.pick(&kids());
        let normalizers = [
            self.pick(&[Normalizer::PhoneNanp, Normalizer::Phone, Normalizer::Digits]),
            self.pick(&[Normalizer::Casefold, Normalizer::Trim, Normalizer::Exact]),
            self.pick(&[Normalizer::Exact, Normalizer::Trim]),
        ];
        self.note(at, format!("policy {kid} {normalizers:?}"));
        self.vaults[at].world.policy = policy("p", kid, normalizers);
    }

    async fn plant(&mut self, at: usize) {
        let (mode, item) = (self.mode(), self.item());
        self.note(at, format!("plant {mode:?} {item:?}"));
        let world = &mut self.vaults[at].world;
        let request = HoneytokenRequest {
            kind: item.kind.as_str(),
            value: Some(&item.value),
            context: item.context,
            label: "bait",
            planted_by: "tests",
        };
        let planted = world.vault.plant_honeytoken(&permit(mode), &world.policy, &request).await.unwrap();
        let Ok(Token::Vault { kid, id, .. }) = Token::parse(&planted.token) else { panic!("no vault token") };
        let record = ModelRecord {
            token: planted.token,
            mode,
            normalizer: normalizer(world, &item),
            item,
            minted_kid: kid,
            minted_at_s: world.now_s(),
            sealed_by: world.active(kid),
            is_honeytoken: true,
        };
        world.model.add(id, record);
        self.settle(at, Since::Nothing).await;
    }

    /// Swaps every token back.
    async fn rehydrate_all(&mut self, at: usize) {
        let world = &self.vaults[at].world;
        for record in world.model.records.values() {
            let found = world.rehydrate(record.mode, &record.token, record.item.context).await;
            match world.is_loaded(record.sealed_by) {
                true => assert_eq!(found.as_ref(), Ok(&record.item.value), "{record:?}"),
                false => assert!(matches!(found, Err(ItemFailure::KeyUnavailable(_))), "{record:?}"),
            }
        }
    }
}

fn normalizer(world: &World, item: &Item) -> Normalizer {
    let (_, rule) = world.policy.rule(item.kind.as_str()).unwrap();
    match &rule.action {
        masker_core::policy::Action::Tokenize(rule) => rule.normalizer,
        _ => panic!("the policy tokenizes every kind"),
    }
}
