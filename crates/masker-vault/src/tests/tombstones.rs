//! Tombstones: every erasure leaves one, a new record removes it, and the count is exact.

use super::*;
use masker_store::record::RowName;

async fn tombstones(bench: &Bench, vault: &Vault) -> u64 {
    let outcome = vault.check(&permit()).await.unwrap();
    assert!(outcome.ok(), "{:?}", outcome.problems);
    assert_eq!(bench.store.count(RowName::TOMBSTONES).await.unwrap(), outcome.tombstones);
    outcome.tombstones
}

#[tokio::test]
async fn an_erased_record_leaves_a_tombstone_and_its_value_gets_a_new_token() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.token(&vault, "v").await;
    assert_eq!(tombstones(&bench, &vault).await, 0);
    assert_eq!(forget(&vault, &token).await, Ok(true));
    assert_eq!(tombstones(&bench, &vault).await, 1);
    assert_eq!(forget(&vault, &token).await, Err(ItemFailure::NotFound), "once is enough");
    assert_eq!(tombstones(&bench, &vault).await, 1);
    drop(vault);

    let vault = bench.open(ring(1, None, 2)).await;
    let (again, created) = bench.mint(&vault, "NOTE", &["v", "w"]).await.remove(0).unwrap();
    assert!(created && again != token);
    assert_eq!(tombstones(&bench, &vault).await, 1);
    assert_eq!(value(&vault, &again).await.unwrap().0, "v");
    assert_eq!(value(&vault, &token).await, Err(ItemFailure::NotFound));
}

/// A value that is erased and minted again in one commit has one record, the new one.
#[tokio::test]
async fn erasures_and_mints_in_a_group_count_in_their_order() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let mut token = bench.token(&vault, "v").await;
    for rounds in 1..4 {
        // While the writer waits, changes gather in one group, in the order of their requests.
        let held = bench.store.hold_applies().await;
        let records = bench.store.count(RowName::RECORDS).await.unwrap();
        let mint = |text: String| {
            let (vault, policy) = (Arc::clone(&vault), bench.policy.clone());
            tokio::spawn(async move {
                let item = ValueInput { kind: "NOTE", value: &text, context: "" };
                let minted = vault
                    .tokenize::<masker_access::Tokenize>(&permit(), &policy, &[item])
                    .await
                    .unwrap()
                    .results
                    .pop()
                    .unwrap();
                minted.token().unwrap().to_owned()
            })
        };
        let holding = mint(format!("holds {rounds}"));
        while bench.store.count(RowName::RECORDS).await.unwrap() == records {
            tokio::task::yield_now().await;
        }
        let erasing = tokio::spawn({
            let (vault, token) = (Arc::clone(&vault), token.clone());
            async move { forget(&vault, &token).await }
        });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        // The request still finds the record, so it is read once more by a second one that waits for the writer.
        let minting = mint(format!("new {rounds}"));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        drop(held);
        assert_eq!(erasing.await.unwrap(), Ok(true));
        drop((holding.await.unwrap(), minting.await.unwrap()));
        assert_eq!(value(&vault, &token).await, Err(ItemFailure::NotFound));
        let again = bench.token(&vault, "v").await;
        assert_ne!(again, token);
        token = again;
        assert_eq!(tombstones(&bench, &vault).await, rounds);
    }
}

#[tokio::test]
async fn a_check_reports_index_rows_that_no_record_has_and_records_that_none_lists() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    bench.mint(&vault, "PHONE", &["4155552671"]).await;
    drop(vault);
    let rows = async |space| bench.store.scan_after(space, None, 9).await.unwrap().rows;
    let apply = async |change| {
        bench.store.apply(RowBatch { preconditions: vec![], changes: vec![change] }).await.unwrap();
    };
    // Also without the key.
    for number in [1, 2] {
        for space in [RowName::VALUE_INDEXES, RowName::FORM_INDEXES] {
            let vault = bench.open(ring(number, None, u64::from(number))).await;
            assert!(vault.check(&permit()).await.unwrap().ok());
            let (key, row) = rows(space).await.remove(0);
            let mut stray = key.as_bytes().to_vec();
            stray[5] ^= 1;
            let stray = RowKey::new(stray).unwrap();
            apply(RowChange::Put(stray.clone(), row.clone())).await;
            let outcome = vault.check(&permit()).await.unwrap();
            assert_eq!(outcome.damaged_index_rows, 1, "{:?}", outcome.problems);
            assert!(outcome.problems[0].contains("no record has it"), "{:?}", outcome.problems);
            apply(RowChange::Remove(stray)).await;

            apply(RowChange::Remove(key.clone())).await;
            let outcome = vault.check(&permit()).await.unwrap();
            assert_eq!((outcome.damaged_index_rows, outcome.counts_agree), (1, false), "{:?}", outcome.problems);
            assert!(outcome.problems[0].contains("an index row does not list it"), "{:?}", outcome.problems);
            apply(RowChange::Put(key, row)).await;
        }
    }
}
