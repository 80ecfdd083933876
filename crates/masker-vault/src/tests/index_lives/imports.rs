//! Imports into a vault that has moved records to another kid, or is moving them.

use super::{
    model::Item,
    regressions::{assert_sound, item, rotate, token, tokens, with_key},
    world::{World, kids, permit, policy},
};
use crate::{RotationRequest, StepBudget};
use masker_core::{normalize::Normalizer, policy::Policy, token::Token};
use masker_store::{Row, RowKey, Store};
use masker_types::{kind::Kid, mode::Mode};

/// Returns the token of a value under a policy of a kid.
async fn token_under(world: &mut World, kid: Kid, value: &Item) -> String {
    let before = std::mem::replace(&mut world.policy, policy_of(kid));
    let found = token(world, value).await;
    world.policy = before;
    found
}

fn policy_of(kid: Kid) -> Policy {
    policy("p", kid, [Normalizer::PhoneNanp, Normalizer::Casefold, Normalizer::Exact])
}

/// The export is from before the move, so its records are under the former kid, which a policy still names: the vault's own
/// token stays the first of each value.
#[tokio::test]
async fn an_import_from_before_a_move_of_a_kid_leaves_the_tokens_of_values_the_first() {
    // Whether the target has a replaced key, whose records move first.
    for replaced in [false, true] {
        let (mut world, from) = (World::new().await, World::new().await);
        let [source, target] = kids();
        let values = [item("NAME", "Ann Lee"), item("NAME", "ann lee"), item("NOTE", "x")];
        let mut mine = Vec::new();
        for value in &values {
            mine.push(token(&world, value).await);
            token(&from, value).await;
        }
        rotate(&world, source, target, async || {}).await;
        if replaced {
            with_key(&mut world, target, 2, Some(1)).await;
        }
        let merged = world.import(&from.export().await, false).await.unwrap().merged;
        assert_eq!((merged.imported, merged.index_conflicts, merged.rows_failed), (3, 3, 0));
        for (value, mine) in values.iter().zip(&mine) {
            for kid in [source, target] {
                assert_eq!(token_under(&mut world, kid, value).await, *mine, "{kid}");
            }
            assert_eq!(tokens(&world, value).await[0], *mine);
        }
        assert_sound(&world).await;
    }
}

/// The records of the export were moved to the kid that this vault has none under: what this vault has under the former kid
/// stays the first of each value.
#[tokio::test]
async fn an_import_from_after_a_move_of_a_kid_leaves_the_tokens_of_values_the_first() {
    let (mut world, from) = (World::new().await, World::new().await);
    let [source, target] = kids();
    let value = item("NAME", "Ann Lee");
    let mine = token(&world, &value).await;
    token(&from, &value).await;
    rotate(&from, source, target, async || {}).await;
    // A search under the target reads the source's rows, by an earlier import.
    let other = World::new().await;
    token(&other, &item("NOTE", "y")).await;
    rotate(&other, source, target, async || {}).await;
    world.import(&other.export().await, false).await.unwrap();
    assert_eq!(token_under(&mut world, target, &value).await, mine);
    world.import(&from.export().await, false).await.unwrap();
    for kid in [source, target] {
        assert_eq!(token_under(&mut world, kid, &value).await, mine, "{kid}");
    }
    assert_eq!(tokens(&world, &value).await.len(), 2);
    assert_sound(&world).await;
}

/// An export that was made while a kid was being moved: a new vault finds under each kid what the exported one found.
#[tokio::test]
async fn an_import_keeps_the_tokens_of_two_kids_that_are_related() {
    for _ in 0..8 {
        let mut from = World::new().await;
        let [source, target] = kids();
        let values: Vec<_> = (0..4).map(|number| item("NOTE", &format!("x{number}"))).collect();
        for value in &values {
            for kid in [source, target] {
                token_under(&mut from, kid, value).await;
            }
        }
        let request =
            RotationRequest { new_kid: target, old_kid: Some(source), dry_run: false, rows_per_second_max: 0 };
        from.vault.begin_rotation(&permit(Mode::Live), request).await.unwrap();
        from.vault.rotations.step_rotation(StepBudget { records: 4 }).await.unwrap();
        let mut to = World::new().await;
        to.import(&from.export().await, false).await.unwrap();
        for value in &values {
            for kid in [source, target] {
                let theirs = token_under(&mut from, kid, value).await;
                assert_eq!(token_under(&mut to, kid, value).await, theirs, "{kid}");
            }
        }
        assert_sound(&to).await;
    }
}

/// A record that stays erased adds nothing to its value, so nothing needs to move for it.
#[tokio::test]
async fn an_import_moves_nothing_for_records_that_stay_erased() {
    let (mut world, from) = (World::new().await, World::new().await);
    let value = item("NOTE", "x");
    let gone = token(&from, &value).await;
    let file = from.export().await;
    world.import(&file, false).await.unwrap();
    world.forget(Mode::Live, &[(gone, String::new())]).await.unwrap();
    let mine = token(&world, &value).await;
    with_key(&mut world, kids()[0], 2, Some(1)).await;
    let before = record_row(&world, &mine).await;
    let merged = world.import(&file, false).await.unwrap().merged;
    assert_eq!((merged.imported, merged.erased_skipped), (0, 1));
    assert!(record_row(&world, &mine).await == before, "the record of the value was moved");
    let merged = world.import(&file, true).await.unwrap().merged;
    assert_eq!(merged.restored, 1);
    assert!(record_row(&world, &mine).await != before, "the record of the value was not moved");
    assert_eq!(token(&world, &value).await, mine);
    assert_sound(&world).await;
}

async fn record_row(world: &World, token: &str) -> Option<Row> {
    let Ok(Token::Vault { id, .. }) = Token::parse(token) else { panic!("no vault token") };
    world.store.get_many(vec![RowKey::record(id.as_bytes())]).await.unwrap().pop().flatten()
}
