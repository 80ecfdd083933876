//! Minimal cases of what random lives, and reading, have found.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    model::Item,
    world::{Loaded, World, kids, permit, policy},
};
use crate::{FoundTokens, ItemFailure, RotationRequest, RotationStatus, StepBudget, TokenInput};
use masker_access::{Caller, Permit, ScopedOperation};
use masker_core::{normalize::Normalizer, policy::PolicySet, token::Token};
use masker_store::{
    Row, RowBatch, RowChange, RowKey, Store,
    record::{INDEX_ENTRIES_MAX, Record, RotationState},
};
use masker_types::{
    grant::Grant,
    kind::{EntityKind, Kid},
    mode::Mode,
};

pub(super) fn item(kind: &str, value: &str) -> Item {
    Item { kind: EntityKind::parse(kind).unwrap(), context: "", value: value.to_owned() }
}

pub(super) async fn token(world: &World, item: &Item) -> String {
    world.tokenize(Mode::Live, std::slice::from_ref(item)).await.unwrap().pop().unwrap().unwrap().0
}

pub(super) async fn tokens(world: &World, item: &Item) -> Vec<String> {
    world.lookup(Mode::Live, std::slice::from_ref(item)).await.pop().unwrap().unwrap().tokens
}

fn part(token: &str) -> [u8; 10] {
    let Ok(Token::Vault { id, .. }) = Token::parse(token) else { panic!("no vault token") };
    *id.match_part().as_bytes()
}

pub(super) async fn assert_sound(world: &World) {
    let checked = world.vault.check(&permit(Mode::Live)).await.unwrap();
    assert!(checked.ok(), "{:?}", checked.problems);
}

/// Runs a rotation to its end, and `meanwhile` after each step.
pub(super) async fn rotate(world: &World, source: Kid, target: Kid, mut meanwhile: impl AsyncFnMut()) {
    let request = RotationRequest { new_kid: target, old_kid: Some(source), dry_run: false, rows_per_second_max: 0 };
    let id = world.vault.begin_rotation(&permit(Mode::Live), request).await.unwrap().id;
    for _ in 0..500 {
        world.vault.rotations.step_rotation(StepBudget { records: 1 }).await.unwrap();
        meanwhile().await;
        let status = world.vault.rotation(&permit(Mode::Live), id).unwrap();
        if status.state != RotationState::Running {
            assert_eq!(status.state, RotationState::Done, "{:?}", status.detail);
            return;
        }
    }
    panic!("the rotation does not end");
}

pub(super) async fn with_key(world: &mut World, kid: Kid, active: u8, old: Option<u8>) {
    let mut loaded: BTreeMap<Kid, Loaded> = world.loaded.clone();
    loaded.insert(kid, Loaded { active, old });
    world.reload(loaded).await;
}

/// Two tokens of one form in one group, where the row of the form has one entry already: that one was taken for dead.
#[tokio::test]
async fn one_import_adds_several_match_parts_beside_the_one_that_is_listed() {
    let (from_one, from_two, to) = (World::new().await, World::new().await, World::new().await);
    let spellings = ["Ann Lee", "ann lee", "ANN LEE"].map(|value| item("NAME", value));
    let first = token(&from_one, &spellings[0]).await;
    // The second vault has two match parts for the form, by an import.
    let second = token(&from_two, &spellings[1]).await;
    from_two.import(&from_one.export().await, false).await.unwrap();
    assert_ne!(part(&first), part(&second));
    let third = token(&to, &spellings[2]).await;
    let imported = to.import(&from_two.export().await, false).await.unwrap();
    assert_eq!((imported.merged.imported, imported.merged.rows_failed), (2, 0));
    assert_sound(&to).await;
    let all = tokens(&to, &spellings[2]).await;
    assert!(all.len() == 3 && all[0] == third && all.contains(&first) && all.contains(&second), "{all:?}");
    let again = token(&to, &item("NAME", "ann LEE")).await;
    assert_eq!(part(&again), part(&third), "the match part that was there stays first");
}

/// A value has a token under each of two keys of a kid, and the kid is moved: the token that a search finds stays the same.
#[tokio::test]
async fn a_moved_kid_keeps_the_tokens_of_its_values() {
    for _ in 0..8 {
        let mut world = World::new().await;
        let [kid, other] = kids();
        let value = item("NOTE", "x");
        let old = token(&world, &value).await;
        world.second_tokens = [kid].into();
        world.restart(false).await;
        with_key(&mut world, kid, 2, None).await;
        let new = token(&world, &value).await;
        with_key(&mut world, kid, 2, Some(1)).await;
        let both = [new, old];
        assert_eq!(tokens(&world, &value).await, both);
        rotate(&world, kid, other, async || {
            assert_eq!(tokens(&world, &value).await, both);
            assert_eq!(token(&world, &value).await, both[0]);
        })
        .await;
        assert_sound(&world).await;
    }
}

/// An import into an empty vault keeps the order in which the exported vault finds the tokens of a value.
#[tokio::test]
async fn an_import_keeps_the_token_of_a_value_with_tokens_under_two_keys() {
    for _ in 0..8 {
        let mut from = World::new().await;
        let kid = kids()[0];
        let value = item("NOTE", "x");
        token(&from, &value).await;
        from.second_tokens = [kid].into();
        from.restart(false).await;
        with_key(&mut from, kid, 2, None).await;
        token(&from, &value).await;
        with_key(&mut from, kid, 2, Some(1)).await;
        let both = tokens(&from, &value).await;
        let mut to = World::new().await;
        with_key(&mut to, kid, 2, Some(1)).await;
        to.import(&from.export().await, false).await.unwrap();
        assert_eq!(tokens(&to, &value).await, both);
        assert_sound(&to).await;
    }
}

/// A second token comes while the step that moves the first is prepared: both move, in list order.
#[tokio::test]
async fn a_value_moves_whole_when_it_gets_a_token_while_a_step_is_prepared() {
    let (world, from) = (World::new().await, World::new().await);
    let [kid, other] = kids();
    let values: Vec<Item> = (0..4).map(|number| item("NOTE", &format!("x{number}"))).collect();
    let mut mine = Vec::new();
    for value in &values {
        mine.push(token(&world, value).await);
        token(&from, value).await;
    }
    let file = from.export().await;
    let mut all: Vec<Vec<String>> = Vec::new();
    rotate(&world, kid, other, async || {
        // One record was moved, and the next step has read its record already.
        if all.is_empty() {
            world.import(&file, false).await.unwrap();
            for value in &values {
                all.push(tokens(&world, value).await);
            }
        }
        for ((value, tokens_before), mine) in values.iter().zip(&all).zip(&mine) {
            assert_eq!(tokens_before[0], *mine);
            assert_eq!(tokens(&world, value).await, *tokens_before);
        }
    })
    .await;
    assert_sound(&world).await;
}

/// A list holds 128 tokens of a value: an import leaves out the record of another one, and a rotation moves all at once.
#[tokio::test]
async fn a_list_that_is_full_takes_no_more() {
    let mut world = World::new().await;
    let value = item("NAME", "x");
    let mut minted = Vec::new();
    let mut files = Vec::new();
    for _ in 0..=INDEX_ENTRIES_MAX {
        let token = token(&world, &value).await;
        files.push(world.export().await);
        assert_eq!(world.forget(Mode::Live, &[(token.clone(), String::new())]).await.unwrap(), [Ok(true)]);
        minted.push(token);
    }
    let last = minted.pop().unwrap();
    for (number, file) in files.iter().enumerate() {
        let merged = world.import(file, true).await.unwrap().merged;
        let fits = number < INDEX_ENTRIES_MAX;
        assert_eq!((merged.restored, merged.rows_failed), (u64::from(fits), u64::from(!fits)));
    }
    assert_eq!(tokens(&world, &value).await, minted);
    assert!(world.rehydrate(Mode::Live, &last, "").await.is_err());
    assert_sound(&world).await;
    with_key(&mut world, kids()[0], 2, Some(1)).await;
    rotate(&world, kids()[0], kids()[0], async || {}).await;
    assert_eq!(tokens(&world, &value).await, minted);
    assert_sound(&world).await;
}

/// An import adds a token to a value whose own token is under the replaced key: a search still finds that one first.
#[tokio::test]
async fn an_import_leaves_the_token_of_a_value_under_the_replaced_key_the_first() {
    let (mut world, from) = (World::new().await, World::new().await);
    let kid = kids()[0];
    let values = ["Ann Lee", "ann lee", "Bob"].map(|value| item("NAME", value));
    let mut mine = Vec::new();
    for value in &values {
        mine.push(token(&world, value).await);
        token(&from, value).await;
    }
    with_key(&mut world, kid, 2, Some(1)).await;
    let merged = world.import(&from.export().await, false).await.unwrap().merged;
    assert_eq!((merged.imported, merged.index_conflicts, merged.rows_failed), (3, 3, 0));
    for (value, mine) in values.iter().zip(&mine) {
        assert_eq!(token(&world, value).await, *mine);
        assert_eq!(tokens(&world, value).await[0], *mine);
    }
    assert_sound(&world).await;
}

/// A record that is imported for a value whose own record is damaged and under the replaced key is left out: a search would
/// find it first.
#[tokio::test]
async fn an_import_does_not_overtake_a_record_that_cannot_be_moved() {
    let (mut world, from) = (World::new().await, World::new().await);
    let kid = kids()[0];
    let value = item("NOTE", "x");
    let mine = token(&world, &value).await;
    token(&from, &value).await;
    damage(&world, &mine, |row| *row.last_mut().unwrap() ^= 1).await;
    with_key(&mut world, kid, 2, Some(1)).await;
    let merged = world.import(&from.export().await, false).await.unwrap().merged;
    assert_eq!((merged.imported, merged.rows_failed), (0, 1));
    assert_eq!(token(&world, &value).await, mine);
}

/// Records of one kid move to another whose replaced key has tokens of the same values: those stay first.
#[tokio::test]
async fn a_moved_kid_comes_after_the_tokens_under_the_replaced_key_of_its_target() {
    let mut world = World::new().await;
    let [source, target] = kids();
    let value = item("NAME", "Ann Lee");
    let moved = token(&world, &value).await;
    world.policy = policy("p", target, [Normalizer::PhoneNanp, Normalizer::Casefold, Normalizer::Exact]);
    let own = token(&world, &value).await;
    with_key(&mut world, target, 2, Some(1)).await;
    rotate(&world, source, target, async || assert_eq!(token(&world, &value).await, own)).await;
    assert_eq!(tokens(&world, &value).await, [own, moved]);
    assert_sound(&world).await;
}

/// A dry run decides each move as the rotation does: it counts a conflict with what moves along.
#[tokio::test]
async fn a_dry_run_counts_the_conflicts_of_the_rotation() {
    let mut world = World::new().await;
    let [source, target] = kids();
    let values = ["along", "alone"].map(|value| item("NOTE", value));
    for value in &values {
        token(&world, value).await;
    }
    world.policy = policy("p", target, [Normalizer::PhoneNanp, Normalizer::Casefold, Normalizer::Exact]);
    // Its record is under the target's replaced key, and moves along.
    token(&world, &values[0]).await;
    with_key(&mut world, target, 2, Some(1)).await;
    let request = |dry_run| RotationRequest { new_kid: target, old_kid: Some(source), dry_run, rows_per_second_max: 0 };
    let rehearsal = world.vault.begin_rotation(&permit(Mode::Live), request(true)).await.unwrap().id;
    for _ in 0..10 {
        world.vault.rotations.step_dry_run(rehearsal, StepBudget { records: 1 }).await.unwrap();
    }
    let rehearsed = world.vault.rotation(&permit(Mode::Live), rehearsal).unwrap();
    let id = world.vault.begin_rotation(&permit(Mode::Live), request(false)).await.unwrap().id;
    for _ in 0..50 {
        world.vault.rotations.step_rotation(StepBudget { records: 1 }).await.unwrap();
    }
    let done = world.vault.rotation(&permit(Mode::Live), id).unwrap();
    assert_eq!((rehearsed.state, done.state), (RotationState::Done, RotationState::Done));
    let counts = |status: &RotationStatus| (status.rows_resealed, status.rows_failed, status.conflicts);
    assert_eq!(counts(&rehearsed), counts(&done));
    assert_eq!(counts(&done), (3, 0, 1));
}

/// The first record of a value names another key than the one that seals it: the others must not wait for it.
#[tokio::test]
async fn a_rotation_moves_a_record_behind_a_damaged_one_of_its_value() {
    let (mut world, from) = (World::new().await, World::new().await);
    let kid = kids()[0];
    let value = item("NOTE", "x");
    let first = token(&world, &value).await;
    token(&from, &value).await;
    world.import(&from.export().await, false).await.unwrap();
    let second = tokens(&world, &value).await.pop().unwrap();
    damage(&world, &first, |row| {
        let mut record = Record::decode(row).unwrap();
        record.sealing_kid = kids()[1];
        *row = record.encode();
    })
    .await;
    with_key(&mut world, kid, 2, Some(1)).await;
    let request = RotationRequest { new_kid: kid, old_kid: None, dry_run: false, rows_per_second_max: 0 };
    world.vault.begin_rotation(&permit(Mode::Live), request).await.unwrap();
    for _ in 0..10 {
        world.vault.rotations.step_rotation(StepBudget { records: 1 }).await.unwrap();
    }
    with_key(&mut world, kid, 2, None).await;
    assert_eq!(world.rehydrate(Mode::Live, &second, "").await, Ok("x".to_owned()));
}

/// A kid without records is moved while values still get tokens under it: the rotation moves these, and does not take them for
/// records that its counts have made up.
#[tokio::test]
async fn a_rotation_that_begins_with_nothing_moves_what_comes_meanwhile() {
    // Whether a record comes behind the pass depends on its random id.
    for _ in 0..8 {
        let mut world = World::new().await;
        let [source, target] = kids();
        let normalizers = [Normalizer::PhoneNanp, Normalizer::Casefold, Normalizer::Exact];
        let of_source = std::mem::replace(&mut world.policy, policy("p", target, normalizers));
        for number in 0..3 {
            token(&world, &item("NOTE", &format!("x{number}"))).await;
        }
        world.policy = of_source;
        let mut number = 0;
        rotate(&world, source, target, async || {
            number += 1;
            if number == 2 {
                token(&world, &item("NOTE", "y")).await;
            }
        })
        .await;
        assert_sound(&world).await;
    }
}

/// Values get tokens under the moved kid, and lose them again, while the proving pass reads: that is no difference from the
/// counts.
#[tokio::test]
async fn records_that_come_and_go_do_not_fail_a_rotation() {
    let world = World::new().await;
    let [source, target] = kids();
    token(&world, &item("NOTE", "x")).await;
    let mut minted = None;
    let mut changes = 0;
    rotate(&world, source, target, async || {
        changes += 1;
        match minted.take() {
            Some(token) => drop(world.forget(Mode::Live, &[(token, String::new())]).await.unwrap()),
            None if changes < 8 => minted = Some(token(&world, &item("NOTE", "y")).await),
            None => {}
        }
    })
    .await;
    assert_sound(&world).await;
}

/// Records that were moved to another kid come into a new vault: a search under the kid of their tokens finds them there too.
#[tokio::test]
async fn an_import_remembers_that_records_were_moved_to_another_kid() {
    let (from, to) = (World::new().await, World::new().await);
    let [source, target] = kids();
    let value = item("NAME", "Ann Lee");
    let minted = token(&from, &value).await;
    rotate(&from, source, target, async || {}).await;
    to.import(&from.export().await, false).await.unwrap();
    assert_eq!(token(&to, &value).await, minted);
    assert_eq!(part(&token(&to, &item("NAME", "ANN LEE")).await), part(&minted));
    assert_eq!(tokens(&to, &value).await.len(), 2);
    assert_sound(&to).await;
}

/// A caller whose policies mint under one kid searches that of another, to which records were moved: it neither sees nor
/// erases tokens that its policies do not mint.
#[tokio::test]
async fn a_search_does_not_reach_tokens_of_other_policies() {
    let mut world = World::new().await;
    let [source, target] = kids();
    let value = item("NAME", "Ann Lee");
    let of_source = world.policy.clone();
    world.policy = policy("p", target, [Normalizer::PhoneNanp, Normalizer::Casefold, Normalizer::Exact]);
    let token = token(&world, &value).await;
    rotate(&world, source, target, async || {}).await;
    let inputs = [value.input()];
    let found = world.vault.lookup(&permit_for(source, Mode::Live), &of_source, &inputs).await.unwrap().results;
    assert_eq!(found, [Ok(FoundTokens::default())]);
    let permits = (&permit_for(source, Mode::Live), &permit_for(source, Mode::Live));
    let forgotten = world.vault.forget_values(permits.0, permits.1, &of_source, &inputs).await.unwrap().results;
    assert_eq!(forgotten[0].count, 0);
    assert!(matches!(forgotten[0].failure, Some(ItemFailure::Denied(_))));
    let tokens = [TokenInput { token: &token, context: "" }];
    for mode in Mode::ALL {
        let opened = world
            .vault
            .rehydrate::<masker_access::Rehydrate>(&permit_for(source, mode), &tokens)
            .await
            .unwrap()
            .results;
        let erased = world.vault.forget(&permit_for(source, mode), &tokens).await.unwrap().results;
        for failure in [opened[0].as_ref().err(), erased[0].as_ref().err()] {
            // Whether a token of the other mode exists is not said.
            match mode {
                Mode::Live => assert!(matches!(failure, Some(ItemFailure::Denied(_)))),
                Mode::Test => assert_eq!(failure, Some(&ItemFailure::NotFound)),
            }
        }
    }
}

/// Returns a permit for tokens of one kid.
fn permit_for<O: ScopedOperation>(kid: Kid, mode: Mode) -> Permit<O> {
    let name = |kid: Kid| kid.as_str().to_lowercase().replace('_', "-");
    let of_kid = |kid: Kid| (name(kid), policy(&name(kid), kid, [Normalizer::Exact; 3]));
    let policies = Arc::new(PolicySet::build(kids().map(of_kid).into(), None).unwrap());
    let grant = Grant { policies: Some([name(kid)].into()), ..Grant::all() };
    Caller::for_tests_in(mode, grant).permit(&policies).unwrap()
}

/// Changes the row of a token's record.
async fn damage(world: &World, token: &str, change: impl FnOnce(&mut Row)) {
    let Ok(Token::Vault { id, .. }) = Token::parse(token) else { panic!("no vault token") };
    let key = RowKey::record(id.as_bytes());
    let mut row = world.store.get_many(vec![key.clone()]).await.unwrap().remove(0).unwrap();
    change(&mut row);
    world.store.apply(RowBatch { preconditions: vec![], changes: vec![RowChange::Put(key, row)] }).await.unwrap();
}
