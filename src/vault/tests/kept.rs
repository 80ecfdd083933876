//! Rows that the vault keeps for others.

use super::*;
use crate::store::record::{API_KEY_BYTES_MAX, ApiKeyRow, AuditHeadRow};

fn key(fill: u8) -> ApiKeyRow {
    ApiKeyRow { document: vec![fill; 3] }
}

async fn documents(vault: &Vault) -> Vec<(u8, Vec<u8>)> {
    let keys = vault.api_keys().await.unwrap();
    keys.into_iter().map(|([id, ..], row)| (id, row.document)).collect()
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    assert_eq!((vault.audit_head().await.unwrap(), documents(&vault).await), (None, vec![]));
    for (id, fill) in [(2, 20), (1, 10), (2, 21)] {
        vault.keep_api_key([id; 16], &key(fill)).await.unwrap();
    }
    for sequence in [7, 8] {
        vault.keep_audit_head(&AuditHeadRow { sequence, hash: [9; 32] }).await.unwrap();
    }
    let minted = bench.token(&vault, "beside them").await;
    drop(vault);
    let vault = bench.open(ring(1, None, 2)).await;
    assert_eq!(vault.audit_head().await.unwrap(), Some(AuditHeadRow { sequence: 8, hash: [9; 32] }));
    assert_eq!(documents(&vault).await, [(1, vec![10; 3]), (2, vec![21; 3])]);
    assert_eq!((vault.records(), value(&vault, &minted).await.is_ok()), (1, true));
}

#[tokio::test]
async fn changes_of_one_row_that_share_a_commit_count_in_their_order() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    // All are in the queue before the writer takes its first: it runs on this thread.
    let keep = |fill| {
        let vault = Arc::clone(&vault);
        async move { vault.keep_api_key([1; 16], &key(fill)).await.is_ok() }
    };
    let (first, second, third) = tokio::join!(keep(1), keep(2), keep(3));
    assert!(first && second && third);
    assert_eq!(documents(&vault).await, [(1, vec![3; 3])]);
}

#[tokio::test]
async fn nothing_is_kept_that_the_store_refuses_or_that_is_too_long() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let long = ApiKeyRow { document: vec![0; API_KEY_BYTES_MAX + 1] };
    assert!(vault.keep_api_key([1; 16], &long).await.is_err());
    bench.store.fail_next_apply(Fault::NotApplied);
    assert!(vault.keep_api_key([1; 16], &key(1)).await.is_err());
    assert_eq!(documents(&vault).await, []);
    vault.keep_api_key([1; 16], &key(2)).await.unwrap();
    assert_eq!(documents(&vault).await, [(1, vec![2; 3])]);
}
