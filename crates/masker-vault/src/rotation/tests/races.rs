//! Changes between a step's read and its commit.

use std::sync::Arc;

use super::*;
use masker_store::memory::ApplyGuard;

/// Keeps the writer busy with a mint until the returned value is dropped. All tasks share one thread, so later changes wait
/// in their order.
async fn writer_held(bench: &Bench, vault: &Arc<Vault>) -> (ApplyGuard, tokio::task::JoinHandle<()>) {
    let before = bench.store.count(b'r').await.unwrap();
    let held = bench.store.hold_applies().await;
    let minting = tokio::spawn({
        let (vault, policy) = (Arc::clone(vault), bench.policy.clone());
        async move {
            let item = ValueInput { kind: "NOTE", value: "minted meanwhile", context: "" };
            vault.tokenize::<masker_access::Tokenize>(&permit(), &policy, &[item]).await.map(drop).unwrap();
        }
    });
    while bench.store.count(b'r').await.unwrap() == before {
        tokio::task::yield_now().await;
    }
    (held, minting)
}

/// Runs every task until it waits.
async fn run_until_idle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn does_not_overwrite_records_changed_since_the_read() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let (erased, kept) = (bench.token(&vault, "erased").await, bench.token(&vault, "kept").await);
    drop(vault);
    let vault = bench.open(ring(2, Some(1), 2)).await;
    begin(&vault, request()).await;
    let (held, minting) = writer_held(&bench, &vault).await;
    // The erasure is queued before the step, which still reads the record.
    let forgetting = tokio::spawn({
        let (vault, erased) = (Arc::clone(&vault), erased.clone());
        async move { forget(&vault, &erased).await }
    });
    run_until_idle().await;
    let stepping = tokio::spawn({
        let vault = Arc::clone(&vault);
        async move { vault.rotations.step_rotation(ALL).await }
    });
    run_until_idle().await;
    assert_eq!(bench.store.count(b'r').await.unwrap(), 3, "the record is there when the step reads it");
    drop(held);
    minting.await.unwrap();
    stepping.await.unwrap().unwrap();
    let status = finish(&vault, ALL).await;
    assert_eq!(forgetting.await.unwrap(), Ok(true));
    assert_eq!((status.state, status.rows_resealed, status.rows_total), (RotationState::Done, 1, 1));
    assert_eq!(value(&vault, &erased).await, Err(ItemFailure::NotFound));
    assert_eq!(value(&vault, &kept).await.unwrap().1, Role::Active);
    assert_sound(&vault).await;
}

/// A step prepared before the keys changed is not written under a key that is old by then.
#[tokio::test]
async fn writes_no_step_prepared_before_a_reload() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.token(&vault, "v").await;
    drop(vault);
    let vault = bench.open(ring(2, Some(1), 2)).await;
    let begun = begin(&vault, request()).await;
    let (held, minting) = writer_held(&bench, &vault).await;
    let reloading = tokio::spawn({
        let vault = Arc::clone(&vault);
        async move { vault.replace_keys(ring(3, Some(2), 3)).await }
    });
    run_until_idle().await;
    let stepping = tokio::spawn({
        let vault = Arc::clone(&vault);
        async move { vault.rotations.step_rotation(ALL).await }
    });
    run_until_idle().await;
    drop(held);
    minting.await.unwrap();
    reloading.await.unwrap().unwrap();
    assert_eq!(stepping.await.unwrap().unwrap(), StepProgress::Read(0));
    assert_eq!(vault.rotations.find_rotation(begun.id).unwrap().rows_resealed, 0);
    vault.replace_keys(ring(3, Some(1), 4)).await.unwrap();
    assert_eq!(value(&vault, &token).await.unwrap().1, Role::Old, "it is where it was");
    assert_eq!(finish(&vault, ALL).await.state, RotationState::Failed, "its target is not the active key any more");
}

/// A record under an old key that appears behind the cursor, by an import for example, is moved before the rotation ends.
#[tokio::test]
async fn another_pass_finds_records_behind_the_cursor() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(id_of(&bench.token(&vault, &format!("value {number}")).await));
    }
    ids.sort_unstable();
    drop(vault);
    let first = RowKey::record(ids[0].as_bytes());
    let row = bench.store.get_many(vec![first.clone()]).await.unwrap().remove(0).unwrap();
    let vault = bench.open(ring(2, Some(1), 2)).await;
    begin(&vault, request()).await;
    let hide = RowChange::Remove(first.clone());
    bench.store.apply(RowBatch { preconditions: vec![], changes: vec![hide] }).await.unwrap();
    vault.rotations.step_rotation(StepBudget { records: 2 }).await.unwrap();
    bench.store.apply(RowBatch { preconditions: vec![], changes: vec![RowChange::Put(first, row)] }).await.unwrap();
    let status = finish(&vault, StepBudget { records: 2 }).await;
    assert_eq!((status.state, status.rows_resealed), (RotationState::Done, 4));
    assert_sound(&vault).await;
}
