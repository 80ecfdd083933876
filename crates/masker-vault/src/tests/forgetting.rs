//! Forgetting records while their key is missing.

use super::*;
use masker_types::{grant::ContextPattern, mode::Mode};

async fn forget_as(vault: &Vault, (mode, contexts): (Mode, &[&str]), token: &str) -> Result<bool, ItemFailure> {
    let contexts = contexts.iter().map(|text| ContextPattern::parse(text).unwrap()).collect::<Vec<_>>();
    let grant = Grant { contexts: (!contexts.is_empty()).then_some(contexts), ..Grant::all() };
    let policies = PolicySet::build(vec![(String::new(), Policy::parse(POLICY).unwrap())], None).unwrap();
    let permit = Caller::for_tests_in(mode, grant).permit(&Arc::new(policies)).unwrap();
    let results = vault.forget(&permit, &[TokenInput { token, context: "" }]).await.unwrap();
    results.results.into_iter().next().unwrap().map(|forgotten| forgotten.0.is_some())
}

#[tokio::test]
async fn a_record_that_cannot_be_opened_is_erased_only_for_a_live_caller_of_all_contexts() {
    const LIMITED: [(Mode, &[&str]); 4] =
        [(Mode::Test, &[]), (Mode::Test, &[""]), (Mode::Live, &["", "*"]), (Mode::Live, &[""])];
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.token(&vault, "v").await;
    assert_eq!(forget_as(&vault, (Mode::Test, &[]), &token).await, Err(ItemFailure::NotFound));
    drop(vault);

    let vault = bench.open(ring(2, None, 2)).await;
    for caller in LIMITED {
        let failure = forget_as(&vault, caller, &token).await.unwrap_err();
        assert!(matches!(failure, ItemFailure::KeyUnavailable(_)), "{caller:?}: {failure}");
    }
    assert_eq!(vault.records(), 1);
    drop(vault);

    // The record is as it was.
    let vault = bench.open(ring(2, Some(1), 3)).await;
    assert_eq!(value(&vault, &token).await, Ok(("v".to_owned(), Role::Old)));
    drop(vault);

    let vault = bench.open(ring(2, None, 4)).await;
    assert_eq!(forget_as(&vault, (Mode::Live, &[]), &token).await, Ok(true));
    assert_eq!(vault.records(), 0);
}
