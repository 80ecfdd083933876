//! Searches that a rotation overtakes: stopped after each row that they read, while the rotation runs from begin to end.

use std::sync::Arc;

use super::{
    pausing::PausingStore,
    regressions::{assert_sound, item, rotate, token, tokens, with_key},
    world::{World, kids},
};
use masker_types::{kind::Kid, mode::Mode};

/// More rows than a search reads.
const ROWS_MAX: usize = 60;

/// Returns a vault with three spellings of a value under an old key, over a store that can be stopped.
async fn world() -> (World, Arc<PausingStore>, Vec<String>) {
    let mut world = World::new().await;
    let mut minted = Vec::new();
    for spelling in ["Ann Lee", "ann lee", "ANN LEE"] {
        minted.push(token(&world, &item("NAME", spelling)).await);
    }
    minted.push(token(&world, &item("NOTE", "x")).await);
    with_key(&mut world, kids()[0], 2, Some(1)).await;
    let store = Arc::new(PausingStore::new(world.store.clone()));
    world.restart_on(Arc::clone(&store) as _).await;
    (world, store, minted)
}

/// Runs a search, stopped after each number of rows while a rotation runs. Returns whether it read more rows than that.
async fn overtake<T>(
    world: &World,
    store: &PausingStore,
    rows: usize,
    target: Kid,
    search: impl Future<Output = T>,
) -> (bool, T) {
    let (reached, go_on) = store.stop_after(rows);
    let overtaking = async {
        if reached.await.is_err() {
            return false;
        }
        rotate(world, kids()[0], target, async || {}).await;
        drop(go_on);
        true
    };
    let search = async {
        let found = search.await;
        // If it was not stopped, nothing waits any more.
        drop(store.stop_after(usize::MAX));
        found
    };
    tokio::join!(overtaking, search)
}

#[tokio::test]
async fn a_lookup_that_a_rotation_overtakes_misses_nothing() {
    for target in kids() {
        for rows in 0..ROWS_MAX {
            let (world, store, minted) = world().await;
            let search = async {
                let mut names = tokens(&world, &item("NAME", "ann lee")).await;
                names.sort();
                (names, tokens(&world, &item("NOTE", "x")).await)
            };
            let (was_stopped, (names, notes)) = overtake(&world, &store, rows, target, search).await;
            let mut expected = minted[..3].to_vec();
            expected.sort();
            assert_eq!(names, expected, "stopped after {rows} rows");
            assert_eq!(notes, minted[3..], "stopped after {rows} rows");
            if !was_stopped {
                break;
            }
            assert!(rows + 1 < ROWS_MAX);
        }
    }
}

#[tokio::test]
async fn a_value_is_forgotten_in_every_spelling_while_a_rotation_overtakes() {
    for target in kids() {
        for rows in 0..ROWS_MAX {
            let (world, store, _) = world().await;
            let items = [item("NAME", "ann lee"), item("NOTE", "x")];
            let (was_stopped, forgotten) =
                overtake(&world, &store, rows, target, world.forget_values(Mode::Live, &items)).await;
            let forgotten: u64 = forgotten.unwrap().into_iter().map(Result::unwrap).sum();
            assert_eq!((forgotten, world.vault.records()), (4, 0), "stopped after {rows} rows");
            assert_sound(&world).await;
            if !was_stopped {
                break;
            }
            assert!(rows + 1 < ROWS_MAX);
        }
    }
}

#[tokio::test]
async fn a_value_keeps_its_token_while_a_rotation_overtakes() {
    for target in kids() {
        for rows in 0..ROWS_MAX {
            let (world, store, minted) = world().await;
            let search =
                async { (token(&world, &item("NOTE", "x")).await, token(&world, &item("NAME", "Ann Lee")).await) };
            let (was_stopped, found) = overtake(&world, &store, rows, target, search).await;
            assert_eq!(found, (minted[3].clone(), minted[0].clone()), "stopped after {rows} rows");
            if !was_stopped {
                break;
            }
            assert!(rows + 1 < ROWS_MAX);
        }
    }
}
