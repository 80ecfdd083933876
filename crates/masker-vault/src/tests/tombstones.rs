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
async fn an_erased_record_leaves_a_tombstone_until_its_value_is_minted_again() {
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
    assert_eq!(bench.mint(&vault, "NOTE", &["v", "w"]).await[0], Ok((token.clone(), true)), "the same token again");
    assert_eq!(tombstones(&bench, &vault).await, 0);
    assert_eq!(value(&vault, &token).await.unwrap().0, "v");
}

#[tokio::test]
async fn the_last_of_erasures_and_mints_in_a_group_counts() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.token(&vault, "v").await;
    // While the writer waits, changes gather in one group, in the order of their requests.
    let mut expected = 0;
    for rounds in 1..4 {
        let held = bench.store.hold_applies().await;
        let records = bench.store.count(RowName::RECORDS).await.unwrap();
        let mut tasks = vec![tokio::spawn({
            let (vault, policy, text) = (Arc::clone(&vault), bench.policy.clone(), format!("holds {rounds}"));
            async move {
                let item = ValueInput { kind: "NOTE", value: &text, context: "" };
                drop(vault.tokenize(&permit(), &policy, &[item]).await.unwrap());
            }
        })];
        while bench.store.count(RowName::RECORDS).await.unwrap() == records {
            tokio::task::yield_now().await;
        }
        for step in 0..rounds {
            let (vault, policy, token) = (Arc::clone(&vault), bench.policy.clone(), token.clone());
            let erases = (step % 2 == 0) == (expected == 0);
            tasks.push(tokio::spawn(async move {
                if erases {
                    assert_eq!(forget(&vault, &token).await, Ok(true));
                } else {
                    let item = ValueInput { kind: "NOTE", value: "v", context: "" };
                    drop(vault.tokenize(&permit(), &policy, &[item]).await.unwrap());
                }
            }));
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        expected = (expected + rounds) % 2;
        assert_eq!(tombstones(&bench, &vault).await, expected, "after {rounds} steps in a group");
        assert_eq!(value(&vault, &token).await.is_ok(), expected == 0);
    }
}

#[tokio::test]
async fn a_check_reports_foreign_and_missing_aliases() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.token(&vault, "v").await;
    let Ok(Token::Vault { id, .. }) = Token::parse(&token) else { panic!("no vault token") };
    drop(vault);
    let key = RowKey::record(id.as_bytes());
    let mut record =
        Record::decode(&bench.store.get_many(vec![key.clone()]).await.unwrap().remove(0).unwrap()).unwrap();
    let change = |change| RowBatch { preconditions: vec![], changes: vec![change] };

    // Even without the key, an alias that its record does not name is reported.
    let (mine, foreign) = ([7; 16], [8; 16]);
    record.alias = Some(mine);
    bench.store.apply(change(RowChange::Put(key, record.encode()))).await.unwrap();
    for (index, problems) in [(foreign, 2), (mine, 1)] {
        let alias = Alias { target: *id.as_bytes(), tag: [0; 16] };
        bench.store.apply(change(RowChange::Put(RowKey::alias(&index), alias.encode()))).await.unwrap();
        let vault = bench.open(ring(2, None, 2)).await;
        let outcome = vault.check(&permit()).await.unwrap();
        assert_eq!(outcome.damaged_aliases, problems, "{:?}", outcome.problems);
        assert!(outcome.problems.iter().any(|problem| problem.contains("does not name it")), "{:?}", outcome.problems);
        let missing = outcome.problems.iter().any(|problem| problem.contains("its alias is missing"));
        assert_eq!(missing, index == foreign, "{:?}", outcome.problems);
        let count_differs =
            outcome.problems.iter().any(|problem| problem.contains("the ledger counts 1 records and 0 aliases"));
        assert_eq!(
            count_differs,
            index == mine,
            "counted exactly, though the key is not loaded: {:?}",
            outcome.problems
        );
    }
}
