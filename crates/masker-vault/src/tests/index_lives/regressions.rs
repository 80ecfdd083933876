//! Minimal cases of what random lives, and reading, have found.

use std::collections::BTreeMap;

use super::{
    model::Item,
    world::{Loaded, World, kids, permit},
};
use crate::{RotationRequest, StepBudget};
use masker_core::token::Token;
use masker_store::record::{INDEX_ENTRIES_MAX, RotationState};
use masker_types::{
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
            assert_eq!(all.iter().zip(&mine).filter(|(tokens, mine)| tokens[0] == **mine).count(), 3);
        }
        for ((value, tokens_before), mine) in values.iter().zip(&all).zip(&mine) {
            if tokens_before[0] == *mine {
                assert_eq!(tokens(&world, value).await, *tokens_before);
            }
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
