//! Rows other than records: API keys and the audit log's head.

use super::*;
use masker_access::{ApiKey, ApiKeyId, ApiKeySecret, ApiKeySpec, ApiKeyUpdate, LastUse};
use masker_audit::{AuditEvent, AuditLog, AuditOperation, AuditOptions};
use masker_store::row_cache::RowCache;
use masker_types::{
    audit::{OnFailure, SyncPolicy},
    grant::{ContextPattern, Limits, ScopeSet},
    mode::Mode,
};

/// Returns a key with a name and so many contexts.
pub(crate) fn key(id: u64, name: &str, contexts: usize) -> ApiKey {
    let shown = ApiKeySecret::generate(Mode::Live, &mut ChaCha8Rng::seed_from_u64(id)).presented();
    let spec = ApiKeySpec {
        name: name.to_owned(),
        workspace: "default".to_owned(),
        owner: "ada".to_owned(),
        grant: Grant { contexts: Some(vec![ContextPattern::Exact("x".repeat(200)); contexts]), ..Grant::all() },
        limits: Limits::none(),
        mode: Mode::Live,
        expires_at_ms: None,
        parent: None,
    };
    let id = ApiKeyId::new(id, &mut ChaCha8Rng::seed_from_u64(id));
    ApiKey::create(id, spec, &shown, "tests", 1)
}

pub(crate) async fn names(vault: &Vault) -> Vec<String> {
    vault.api_keys().await.unwrap().iter().map(|key| key.name().to_owned()).collect()
}

#[tokio::test]
async fn stored_keys_survive_a_restart() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    assert!(names(&vault).await.is_empty());
    for (id, name) in [(2, "b"), (1, "a"), (2, "c")] {
        vault.keep_api_keys(&permit(), &[key(id, name, 1)]).await.unwrap();
    }
    let minted = bench.token(&vault, "beside them").await;
    drop(vault);
    let vault = bench.open(ring(1, None, 2)).await;
    assert_eq!(names(&vault).await, ["a", "c"]);
    assert_eq!((vault.records(), value(&vault, &minted).await.is_ok()), (1, true));
}

#[tokio::test]
async fn reports_a_store_that_does_not_answer() {
    let (bench, metrics) = (Bench::new(), Arc::new(VaultMetrics::new().unwrap()));
    let cached = Arc::new(RowCache::new(bench.store.clone(), 1 << 20));
    let grace = GracePeriod { days: 30, action: GraceAction::Warn };
    let rules = KeyRules::new(grace);
    let vault = Vault::open(cached, ring(1, None, 1), rules, metrics, Arc::new(Timestamp::now)).await.unwrap();
    bench.token(&vault, "so that there are rows").await;
    for _ in 0..3 {
        vault.ping().await.unwrap();
    }
    bench.store.set_unavailable(true);
    assert!(vault.ping().await.is_err());
    bench.store.set_unavailable(false);
    vault.ping().await.unwrap();
}

#[tokio::test]
async fn every_commit_notes_the_audit_head() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    assert_eq!(vault.audit_head().await.unwrap(), None);
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        directory: directory.path().join("audit"),
        key: SecretKey::from_bytes(Zeroizing::new(*b"the key of the tests' audit log.")).unwrap(),
        sync: SyncPolicy::Always,
        on_failure: OnFailure::Refuse,
        retention_days: 1,
        segment_bytes_max: 1 << 20,
        accept_break: false,
        accept_clock: false,
        metrics: Arc::new(masker_audit::AuditMetrics::new().unwrap()),
    };
    let log = Arc::new(AuditLog::open(options, None, None, Arc::new(Timestamp::now)).unwrap().log);
    vault.anchor(Arc::clone(&log));
    bench.token(&vault, "a").await;
    let first = vault.audit_head().await.unwrap().unwrap();
    log.record(&AuditEvent::new(AuditOperation::Start, "ok")).await.unwrap();
    bench.token(&vault, "b").await;
    let second = vault.audit_head().await.unwrap().unwrap();
    assert_eq!((second.sequence, second.hash), (log.durable_head().sequence, log.durable_head().hash));
    assert_eq!(second.sequence, first.sequence + 1);
    // A failed commit notes nothing, and a call without other changes writes the head alone.
    log.record(&AuditEvent::new(AuditOperation::Stop, "ok")).await.unwrap();
    bench.store.fail_next_apply(InjectedFault::NotApplied);
    assert!(vault.write_audit_head().await.is_err());
    assert_eq!(vault.audit_head().await.unwrap(), Some(second));
    vault.write_audit_head().await.unwrap();
    assert_eq!(vault.audit_head().await.unwrap().unwrap().sequence, second.sequence + 1);
}

#[tokio::test]
async fn the_last_change_of_a_row_in_a_commit_counts() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    // All changes are queued before the writer, which runs on this thread, takes the first.
    let keep = |name| {
        let vault = Arc::clone(&vault);
        async move { vault.keep_api_keys(&permit(), &[key(1, name, 0)]).await.is_ok() }
    };
    let (first, second, third) = tokio::join!(keep("a"), keep("b"), keep("c"));
    assert!(first && second && third);
    assert_eq!(names(&vault).await, ["c"]);
}

#[tokio::test]
async fn a_key_that_is_not_too_long_can_be_used_and_end() {
    let vault = Bench::new().open(ring(1, None, 1)).await;
    let longest = |name: &usize| key(1, &"n".repeat(*name), 30);
    let fits = |name: &usize| crate::check_api_key_lengths(&[longest(name)], |_| Some(longest(name))).is_ok();
    let name = (1..8_192).rev().find(fits).expect("a length");
    let last = LastUse { at_ms: u64::MAX, uid: u32::MAX, unit: Some("u".repeat(255)), prefix: None };
    let used = longest(&name).used(last);
    vault.note_api_key_use(std::slice::from_ref(&used)).await.unwrap();
    assert!(vault.api_keys().await.unwrap()[0].last_use().is_some());
    vault.keep_api_keys(&permit(), &[used.revoked(u64::MAX)]).await.unwrap();
    assert!(vault.api_keys().await.unwrap()[0].revoked_at_ms().is_some());
}

#[tokio::test]
async fn the_longest_key_that_may_be_created_can_be_narrowed_rotated_and_revoked() {
    let vault = Bench::new().open(ring(1, None, 1)).await;
    let check = |key: &ApiKey, before: Option<&ApiKey>| {
        crate::check_api_key_lengths(std::slice::from_ref(key), |_| before.cloned()).is_ok()
    };
    let created = |name: &usize| key(1, &"n".repeat(*name), 12);
    let name = (1..8_192).rev().find(|name| check(&created(name), None)).expect("a length");
    let mut key = created(&name);
    let narrowed = ScopeSet::parse(&["rehydrate:PHONE"]).expect("a scope");
    for step in 0..10 {
        let next = if step == 1 {
            key.changed(ApiKeyUpdate { scopes: Some(narrowed.clone()), ..ApiKeyUpdate::default() }).unwrap()
        } else {
            let shown = ApiKeySecret::generate(Mode::Live, &mut ChaCha8Rng::seed_from_u64(100 + step)).presented();
            key.rotated(&shown, 3_600, 1_700_000_000_000 + 10_000_000 * step).unwrap()
        };
        assert!(check(&next, Some(&key)), "step {step}");
        key = next;
        vault.keep_api_keys(&permit(), std::slice::from_ref(&key)).await.unwrap();
    }
    vault.keep_api_keys(&permit(), &[key.revoked(u64::MAX)]).await.unwrap();
}

#[tokio::test]
async fn stores_no_key_that_is_refused_or_too_long() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    assert!(vault.keep_api_keys(&permit(), &[key(1, "long", 60)]).await.is_err());
    bench.store.fail_next_apply(InjectedFault::NotApplied);
    assert!(vault.keep_api_keys(&permit(), &[key(1, "a", 1)]).await.is_err());
    assert!(names(&vault).await.is_empty());
    vault.keep_api_keys(&permit(), &[key(1, "b", 1)]).await.unwrap();
    assert_eq!(names(&vault).await, ["b"]);
}
