use std::sync::{Arc, atomic::Ordering};

use tokio::sync::watch;

use super::{HoneytokenError, HoneytokenRequest, HoneytokenStatus, PlantedHoneytoken};
use crate::{
    FoundTokens, ItemFailure, RotationRequest, TokenInput, ValueInput, Vault,
    tests::{Bench, NOW_S, forget, kid, permit, ring, value},
};
use masker_store::{
    Store,
    memory::InjectedFault,
    record::{Record, RowName},
};

const REQUEST: HoneytokenRequest<'_> =
    HoneytokenRequest { kind: "PHONE", value: None, context: "", label: "the CRM's backup", planted_by: "root" };

async fn plant(
    bench: &Bench,
    vault: &Vault,
    request: HoneytokenRequest<'_>,
) -> Result<PlantedHoneytoken, HoneytokenError> {
    vault.plant_honeytoken(&permit(), &bench.policy, &request).await
}

fn listed(vault: &Vault) -> Vec<HoneytokenStatus> {
    vault.honeytokens(&permit())
}

/// Returns whether rehydrating a token reports a honeytoken.
async fn reports_honeytoken(vault: &Vault, token: &str) -> Result<bool, ItemFailure> {
    let results =
        vault.rehydrate::<masker_access::Rehydrate>(&permit(), &[TokenInput { token, context: "" }]).await.unwrap();
    results.results.into_iter().next().unwrap().map(|found| found.honeytoken.is_some())
}

fn marked(vault: &Vault, token: &str) -> bool {
    vault.honeytoken(token).is_some()
}

#[tokio::test]
async fn marks_a_honeytoken_that_otherwise_is_an_ordinary_token() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let kinds = ["PHONE", "NOTE", "EMAIL"];
    let mut ordinary = Vec::new();
    for kind in kinds {
        ordinary.push(bench.mint(&vault, kind, &["4155552671"]).await.remove(0).unwrap().0);
    }
    assert_eq!(reports_honeytoken(&vault, &ordinary[0]).await, Ok(false));
    let mut planted = Vec::new();
    for kind in kinds {
        planted.push(plant(&bench, &vault, HoneytokenRequest { kind, ..REQUEST }).await.unwrap());
        bench.now_s.fetch_add(1, Ordering::SeqCst);
    }
    assert!(value(&vault, &planted[0].token).await.unwrap().0[5..].starts_with("55501"));
    assert!(value(&vault, &planted[2].token).await.unwrap().0.contains("@example."));
    drop(vault);
    let vault = bench.open(ring(1, None, 2)).await;
    for (one, other) in planted.iter().zip(&ordinary) {
        assert_eq!(
            (reports_honeytoken(&vault, &one.token).await, reports_honeytoken(&vault, other).await),
            (Ok(true), Ok(false))
        );
        assert!(marked(&vault, &one.token) && !marked(&vault, other));
    }
    assert!(!marked(&vault, "no token"));
    assert_eq!(listed(&vault), planted.iter().map(|one| one.status.clone()).collect::<Vec<_>>());
    let status = &listed(&vault)[0];
    assert_eq!((status.kind.as_str(), status.kid.as_str(), status.carries_value), ("PHONE", "K_A", false));
    assert_eq!((status.planted_by.as_str(), status.label.as_str()), ("root", "the CRM's backup"));
    assert_eq!(status.planted_at.unwrap().as_second(), NOW_S);
    assert!(listed(&vault)[2].carries_value);
    assert!(vault.check(&permit()).await.unwrap().ok());
}

#[tokio::test]
async fn no_search_by_value_finds_a_honeytoken() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let held = bench.token(&vault, "in use").await;
    let given = |kind, value| HoneytokenRequest { kind, value: Some(value), ..REQUEST };
    let mut planted = Vec::new();
    for (kind, value) in [("NOTE", "in use"), ("NOTE", "bait"), ("NOTE", "bait"), ("PHONE", "4155552671")] {
        let one = plant(&bench, &vault, given(kind, value)).await.unwrap();
        assert_eq!(self::value(&vault, &one.token).await.unwrap().0, value);
        planted.push(one.token);
    }
    let (one, other) =
        (plant(&bench, &vault, given("EMAIL", "a@b.c")).await, plant(&bench, &vault, given("EMAIL", "a@b.c")).await);
    assert_ne!(one.unwrap().token, other.unwrap().token, "a random suite, although the policy has a deterministic one");
    assert_eq!(bench.token(&vault, "in use").await, held);
    for (kind, value) in [("NOTE", "bait"), ("PHONE", "4155552671")] {
        let item = ValueInput { kind, value, context: "" };
        assert_eq!(
            vault.lookup(&permit(), &bench.policy, &[item]).await.unwrap().results,
            [Ok(FoundTokens::default())]
        );
        let (token, created) = bench.mint(&vault, kind, &[value]).await.remove(0).unwrap();
        assert!(created && !planted.contains(&token) && !marked(&vault, &token));
    }
    drop(vault);
    // They stay without index rows through a rotation and an import.
    let vault = bench.open(ring(2, Some(1), 2)).await;
    let request = RotationRequest { new_kid: kid(), old_kid: None, dry_run: false, rows_per_second_max: 0 };
    vault.begin_rotation(&permit(), request).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let driving = tokio::spawn({
        let vault = Arc::clone(&vault);
        async move { vault.drive_rotations(stopped).await }
    });
    while vault.rotation_running().is_some() {
        tokio::task::yield_now().await;
    }
    stop.send(true).unwrap();
    driving.await.unwrap();
    for token in &planted {
        assert!(reports_honeytoken(&vault, token).await.unwrap());
    }
    assert!(vault.check(&permit()).await.unwrap().ok());
    let rows = bench.store.scan_after(RowName::RECORDS, None, 100).await.unwrap().rows;
    let unlisted = rows.iter().filter(|(_, row)| Record::decode(row).unwrap().value_index.is_none()).count();
    assert_eq!(unlisted, planted.len());
}

#[tokio::test]
async fn a_refused_request_leaves_no_mark() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let long = "l".repeat(129);
    let refused = [
        HoneytokenRequest { kind: "UNKNOWN", ..REQUEST },
        HoneytokenRequest { value: Some(""), ..REQUEST },
        HoneytokenRequest { label: &long, ..REQUEST },
        HoneytokenRequest { label: "a\nb", ..REQUEST },
        HoneytokenRequest { planted_by: "", ..REQUEST },
    ];
    for request in refused {
        assert!(plant(&bench, &vault, request).await.is_err());
    }
    let redacting = "name = \"r\"\nversion = 1\nkid = \"K_A\"\n[entities.PHONE]\naction = \"redact\"\n";
    let policy = masker_core::policy::Policy::parse(redacting).unwrap();
    let refused = vault.plant_honeytoken(&permit(), &policy, &REQUEST).await;
    assert!(refused.is_err_and(|why| matches!(why, HoneytokenError::NotTokenized(_))));
    assert_eq!((listed(&vault).len(), vault.records()), (0, 0));
    assert_eq!(bench.store.count(RowName::HONEYTOKENS).await.unwrap(), 0);
}

#[tokio::test]
async fn returns_no_token_whose_mark_is_not_written() {
    let request = HoneytokenRequest { kind: "NOTE", value: Some("bait"), ..REQUEST };
    for fault in [InjectedFault::NotApplied, InjectedFault::AppliedUnanswered] {
        let bench = Bench::new();
        let vault = bench.open(ring(1, None, 1)).await;
        bench.store.fail_next_apply(fault);
        assert!(matches!(plant(&bench, &vault, request).await, Err(HoneytokenError::Vault(_))));
        assert!(listed(&vault).is_empty(), "{fault:?}");
        // Mark and record are in one batch: both are there or none is.
        let stored = u64::from(fault == InjectedFault::AppliedUnanswered);
        let planted = plant(&bench, &vault, request).await.unwrap();
        assert_eq!(vault.records(), stored + 1);
        assert_eq!(bench.store.count(RowName::HONEYTOKENS).await.unwrap(), stored + 1);
        drop(vault);
        let vault = bench.open(ring(1, None, 2)).await;
        assert_eq!(reports_honeytoken(&vault, &planted.token).await, Ok(true), "{fault:?}");
    }
}

#[tokio::test]
async fn planting_searches_nothing_so_a_missing_key_does_not_matter() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    bench.token(&vault, "under a key that is lost").await;
    drop(vault);
    let vault = bench.open(ring(2, None, 2)).await;
    let planted = plant(&bench, &vault, HoneytokenRequest { kind: "NOTE", ..REQUEST }).await.unwrap();
    assert_eq!(reports_honeytoken(&vault, &planted.token).await, Ok(true));
}

#[tokio::test]
async fn the_mark_outlives_the_record_until_it_is_removed() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let planted = plant(&bench, &vault, REQUEST).await.unwrap();
    let other = plant(&bench, &vault, HoneytokenRequest { kind: "EMAIL", ..REQUEST }).await.unwrap();
    assert_eq!(forget(&vault, &planted.token).await, Ok(true));
    assert_eq!(reports_honeytoken(&vault, &planted.token).await, Err(ItemFailure::NotFound));
    assert!(marked(&vault, &planted.token));

    bench.now_s.store(NOW_S + 1, Ordering::SeqCst);
    bench.store.fail_next_apply(InjectedFault::NotApplied);
    assert!(vault.remove_honeytoken(&permit(), planted.status.id).await.is_err());
    assert!(marked(&vault, &planted.token));
    assert_eq!(vault.remove_honeytoken(&permit(), planted.status.id).await.unwrap(), planted.status);
    assert!(!marked(&vault, &planted.token) && marked(&vault, &other.token));
    let gone = vault.remove_honeytoken(&permit(), planted.status.id).await;
    assert!(matches!(gone, Err(HoneytokenError::NotFound)));
    vault.remove_honeytoken(&permit(), other.status.id).await.unwrap();
    assert_eq!(reports_honeytoken(&vault, &other.token).await, Ok(false), "the token stays");
    drop(vault);
    let vault = bench.open(ring(1, None, 2)).await;
    assert!(listed(&vault).is_empty() && !marked(&vault, &other.token));
}
