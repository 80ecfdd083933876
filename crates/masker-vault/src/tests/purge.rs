//! Purges by age and by key.

use super::*;
use crate::{PurgeError, PurgeFilter, PurgeOutcome};

async fn purge(vault: &Vault, purge: PurgeFilter, dry_run: bool) -> Result<u64, PurgeError> {
    let outcome = vault.purge(&permit(), purge, dry_run).await?;
    assert_eq!(outcome.damaged, 0);
    Ok(outcome.records.values().sum())
}

async fn assert_sound(vault: &Vault) {
    let outcome = vault.check(&permit()).await.unwrap();
    assert!(outcome.ok(), "{:?}", outcome.problems);
}

fn key(number: u8) -> PurgeFilter {
    let fingerprint = ring(number, None, 1).get(kid()).unwrap().active().fingerprint();
    PurgeFilter::of_key(&fingerprint.to_string()).unwrap()
}

#[tokio::test]
async fn purges_records_minted_before_a_time() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let old = bench.mint(&vault, "NOTE", &["a", "b", "c"]).await;
    bench.now_s.store(NOW_S + 10, Ordering::SeqCst);
    let new = bench.token(&vault, "new").await;
    let at = |second| PurgeFilter::Before(Timestamp::from_second(second).unwrap());
    for (time, count) in [(NOW_S, 0), (NOW_S + 1, 3), (NOW_S + 10, 3), (NOW_S + 11, 4)] {
        assert_eq!(purge(&vault, at(time), true).await.unwrap(), count);
    }
    assert_eq!(vault.records(), 4, "counting erases nothing");
    assert_eq!(purge(&vault, at(NOW_S + 10), false).await.unwrap(), 3);
    assert_eq!(purge(&vault, at(NOW_S + 10), false).await.unwrap(), 0);
    for (token, _) in old.into_iter().map(Result::unwrap) {
        assert_eq!(value(&vault, &token).await, Err(ItemFailure::NotFound));
    }
    assert_eq!(value(&vault, &new).await.unwrap().0, "new");
    assert_eq!(vault.check(&permit()).await.unwrap().tombstones, 3);
    assert_sound(&vault).await;
}

#[tokio::test]
async fn purges_records_of_a_lost_key_with_their_index_rows() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let lost = bench.token(&vault, "lost").await;
    // Sealed under the active key, as after an import across a rotation.
    let mut exporting = vault.export(&permit(), [0; 16]).await.unwrap();
    let mut file = Vec::new();
    while let Some(piece) = exporting.next().await.unwrap() {
        file.extend_from_slice(&piece);
    }
    let bench = Bench::new();
    let vault = bench.open(ring(2, Some(1), 1)).await;
    let mut spool = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut spool, &file).unwrap();
    vault.import(&permit(), spool, crate::ImportRules::default()).await.unwrap();
    assert!(matches!(purge(&vault, key(2), true).await, Err(PurgeError::ActiveKey(..))));
    assert_eq!(purge(&vault, key(1), true).await.unwrap(), 0, "a key that is old, and loaded");
    drop(vault);

    let vault = bench.open(ring(3, None, 2)).await;
    let kept = bench.mint(&vault, "NOTE", &["new"]).await.remove(0);
    assert!(matches!(kept, Err(ItemFailure::KeyUnavailable(_))));
    assert!(matches!(purge(&vault, key(4), true).await, Err(PurgeError::UnknownKey(_))));
    assert!(matches!(purge(&vault, key(3), false).await, Err(PurgeError::ActiveKey(..))));
    let outcome = vault.purge(&permit(), key(2), false).await.unwrap();
    let PurgeFilter::Key(fingerprint) = key(2) else { panic!("as it was made") };
    assert_eq!(outcome, PurgeOutcome { records: [((kid(), fingerprint), 1)].into(), damaged: 0 });
    assert_eq!((bench.store.count(b'r').await.unwrap(), bench.store.count(b'v').await.unwrap()), (0, 0));
    assert_eq!(value(&vault, &lost).await, Err(ItemFailure::NotFound));
    assert!(bench.mint(&vault, "NOTE", &["new"]).await[0].as_ref().unwrap().1, "nothing is blind any more");
    assert_sound(&vault).await;
}
