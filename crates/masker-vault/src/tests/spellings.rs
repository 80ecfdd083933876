//! Values with very many spellings, and spellings whose records are damaged.

use super::*;
use masker_store::record::RowName;
use masker_types::limits::{LOOKUP_REQUEST_TOKENS_MAX, LOOKUP_TOKENS_MAX};

/// More spellings of one form than a lookup returns.
const SPELLINGS: usize = LOOKUP_TOKENS_MAX + 100;

/// Returns a spelling of one phone number.
fn spelling(number: usize) -> String {
    format!("415 555 2671{}", " ".repeat(number))
}

async fn mint_spellings(bench: &Bench, vault: &Vault, count: usize) -> Vec<String> {
    let spellings: Vec<String> = (0..count).map(spelling).collect();
    let values: Vec<&str> = spellings.iter().map(String::as_str).collect();
    bench.mint(vault, "PHONE", &values).await.into_iter().map(|minted| minted.unwrap().0).collect()
}

fn phone(value: &str) -> ValueInput<'_> {
    ValueInput { kind: "PHONE", value, context: "" }
}

async fn forget_value(bench: &Bench, vault: &Vault, value: &str) -> (u64, Option<ItemFailure>) {
    let forgotten = vault.forget_values(&permit(), &permit(), &bench.policy, &[phone(value)]).await.unwrap();
    let forgotten = forgotten.results.into_iter().next().unwrap();
    assert_eq!(forgotten.count, forgotten.sealed_under.values().sum::<u64>());
    (forgotten.count, forgotten.failure)
}

/// Changes a byte of the sealed part of a record.
async fn damage(bench: &Bench, token: &str) {
    let Ok(Token::Vault { id, .. }) = Token::parse(token) else { panic!("no vault token") };
    let key = RowKey::record(id.as_bytes());
    let mut row = bench.store.get_many(vec![key.clone()]).await.unwrap().remove(0).unwrap();
    *row.last_mut().unwrap() ^= 1;
    bench.store.apply(RowBatch { preconditions: vec![], changes: vec![RowChange::Put(key, row)] }).await.unwrap();
}

#[tokio::test]
async fn a_lookup_has_limits_and_says_so() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let minted = mint_spellings(&bench, &vault, SPELLINGS).await;
    let value = spelling(7);
    let full = LOOKUP_REQUEST_TOKENS_MAX / LOOKUP_TOKENS_MAX;
    let items = vec![phone(&value); full + 2];
    let found = vault.lookup(&permit(), &bench.policy, &items).await.unwrap().results;
    for (position, found) in found.into_iter().enumerate() {
        let found = found.unwrap();
        assert!(found.exact && found.more);
        assert_eq!(found.tokens[0], minted[7]);
        assert_eq!(found.tokens.len(), if position < full { LOOKUP_TOKENS_MAX } else { 1 });
    }
}

#[tokio::test]
async fn forgetting_a_value_erases_more_spellings_than_a_lookup_returns() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    mint_spellings(&bench, &vault, SPELLINGS).await;
    assert_eq!(forget_value(&bench, &vault, "(415) 555-2671").await, (SPELLINGS as u64, None));
    assert_eq!(vault.records(), 0);
    assert!(vault.check(&permit()).await.unwrap().ok());
}

/// A rotation, and an erasure, of a form with more spellings than are read at a time.
#[tokio::test]
async fn many_spellings_keep_their_match_part_through_a_rotation_and_erasures() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let minted = mint_spellings(&bench, &vault, 300).await;
    vault.replace_keys(ring(2, Some(1), 2)).await.unwrap();
    let request = crate::RotationRequest { new_kid: kid(), old_kid: None, dry_run: false, rows_per_second_max: 0 };
    let rotation = vault.begin_rotation(&permit(), request).await.unwrap().id;
    let mut extra = 0;
    while vault.rotation(&permit(), rotation).unwrap().state == masker_store::record::RotationState::Running {
        vault.rotations.step_rotation(crate::StepBudget { records: 70 }).await.unwrap();
        assert!(vault.check(&permit()).await.unwrap().ok());
        extra += 1;
        let new = bench.mint(&vault, "PHONE", &[&spelling(300 + extra)]).await.remove(0).unwrap().0;
        assert_eq!(new[..new.len() - 16], minted[0][..minted[0].len() - 16]);
    }
    for token in minted {
        assert_eq!(forget(&vault, &token).await, Ok(true));
    }
    assert!(vault.check(&permit()).await.unwrap().ok());
    assert_eq!(vault.records(), extra as u64);
}

#[tokio::test]
async fn a_damaged_spelling_fails_a_lookup_and_is_said_when_the_others_are_forgotten() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let minted = mint_spellings(&bench, &vault, 3).await;
    damage(&bench, &minted[1]).await;
    let found = vault.lookup(&permit(), &bench.policy, &[phone(&spelling(0))]).await.unwrap().results.remove(0);
    assert_eq!(found, Err(ItemFailure::Damaged));
    assert_eq!(forget_value(&bench, &vault, &spelling(0)).await, (2, Some(ItemFailure::Damaged)));
    // Its index row is tagged, so the value itself is known without its record.
    assert_eq!(forget_value(&bench, &vault, &spelling(1)).await, (1, None));
    assert_eq!(vault.records(), 0);
}

#[tokio::test]
async fn an_erasure_that_is_interrupted_says_how_much_was_erased() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    mint_spellings(&bench, &vault, SPELLINGS).await;
    let held = bench.store.hold_applies().await;
    let fail_the_second_commit = async {
        while bench.store.count(RowName::RECORDS).await.unwrap() == SPELLINGS as u64 {
            tokio::task::yield_now().await;
        }
        bench.store.fail_next_apply(InjectedFault::NotApplied);
        drop(held);
    };
    let value = spelling(0);
    let (forgotten, ()) = tokio::join!(forget_value(&bench, &vault, &value), fail_the_second_commit);
    let left = bench.store.count(RowName::RECORDS).await.unwrap();
    assert_eq!(forgotten, (SPELLINGS as u64 - left, Some(ItemFailure::Interrupted)));
    assert!(left > 0);
    assert_eq!(forget_value(&bench, &vault, &value).await, (left, None));
}
