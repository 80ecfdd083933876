//! Tests of the vault over the in-memory store, across failures, reloads, rotations and restarts.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{self, Poll, Waker},
};

use jiff::Timestamp;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use zeroize::Zeroizing;

use super::{ItemFailure, KeyRules, TokenInput, Tokenized, ValueInput, Vault};
use crate::metrics::VaultMetrics;
use masker_access as access;
use masker_access::{Caller, Permit, ScopedOperation};
use masker_core::{
    crypto::{SecretKey, TokenId},
    keyring::{GraceAction, GracePeriod, Keyring, LoadedKey, Role},
    policy::{Policy, PolicySet},
    token::Token,
};
use masker_store::{
    Precondition, RowBatch, RowChange, RowKey, Store,
    memory::{InjectedFault, MemoryStore},
    record::{Alias, Record},
};
use masker_types::{
    grant::Grant,
    kind::{Context, EntityKind, Kid},
    mode::Mode,
};

mod backup;
mod in_flight;
mod in_flight_model;
mod tombstones;
mod stored_rows;
mod purge;

const POLICY: &str = r#"
name = "test"
version = 1
kid = "K_A"
tokenization = "vault-deterministic"
[entities.PHONE]
normalize = "phone"
[entities.NOTE]
normalize = "exact"
[entities.EMAIL]
tokenization = "reversible-aead"
"#;

pub(crate) const NOW_S: i64 = 1_800_000_000;

pub(crate) fn kid() -> Kid {
    Kid::parse("K_A").unwrap()
}

/// A keyring of one kid; keys are named by a number.
pub(crate) fn ring(active: u8, old: Option<u8>, epoch: u64) -> Keyring {
    let key = |number: u8, role| {
        let mut bytes = Zeroizing::new([number; 32]);
        bytes[0] = !number;
        LoadedKey { kid: kid(), role, key: SecretKey::from_bytes(bytes).unwrap() }
    };
    let keys = [Some(key(active, Role::Active)), old.map(|old| key(old, Role::Old))];
    Keyring::build(keys.into_iter().flatten().collect(), epoch).ok().unwrap()
}

pub(crate) struct Bench {
    pub(crate) store: MemoryStore,
    pub(crate) now_s: Arc<AtomicI64>,
    pub(crate) policy: Policy,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let now_s = Arc::new(AtomicI64::new(NOW_S));
        Bench { store: MemoryStore::new(), now_s, policy: Policy::parse(POLICY).unwrap() }
    }

    pub(crate) async fn open(&self, ring: Keyring) -> Arc<Vault> {
        self.open_with_grace(ring, GracePeriod { days: 30, action: GraceAction::Warn }).await
    }

    pub(crate) async fn open_with_grace(&self, ring: Keyring, grace: GracePeriod) -> Arc<Vault> {
        let now_s = Arc::clone(&self.now_s);
        let clock = move || Timestamp::from_second(now_s.load(Ordering::SeqCst)).unwrap();
        let metrics = Arc::new(VaultMetrics::new().unwrap());
        let rules = KeyRules { grace, second_tokens: BTreeSet::new(), accept_rollback: false };
        Arc::new(Vault::open(Arc::new(self.store.clone()), ring, rules, metrics, Arc::new(clock)).await.unwrap())
    }

    pub(crate) async fn mint(
        &self,
        vault: &Vault,
        kind: &str,
        values: &[&str],
    ) -> Vec<Result<(String, bool), ItemFailure>> {
        let items: Vec<_> = values.iter().map(|value| ValueInput { kind, value, context: "" }).collect();
        let minted = vault.tokenize(&permit(), &self.policy, &items).await.unwrap();
        let one = |minted| match minted {
            Tokenized::Token { text, created } => Ok((text, created.unwrap_or(false))),
            Tokenized::Failed(failure) => Err(failure),
            _ => panic!("the policy tokenizes {kind}"),
        };
        minted.results.into_iter().map(one).collect()
    }

    pub(crate) async fn token(&self, vault: &Vault, value: &str) -> String {
        self.mint(vault, "NOTE", &[value]).await.pop().unwrap().unwrap().0
    }
}

pub(crate) fn permit<O: ScopedOperation>() -> Permit<O> {
    let policies = PolicySet::build(vec![(String::new(), Policy::parse(POLICY).unwrap())], None).unwrap();
    Caller::for_tests(Grant::all()).permit(&Arc::new(policies)).unwrap()
}

pub(crate) async fn value(vault: &Vault, token: &str) -> Result<(String, Role), ItemFailure> {
    let results = vault.rehydrate(&permit(), &[TokenInput { token, context: "" }]).await.unwrap();
    results.results.into_iter().next().unwrap().map(|found| (found.value.as_str().to_owned(), found.role))
}

pub(crate) async fn forget(vault: &Vault, token: &str) -> Result<bool, ItemFailure> {
    let results = vault.forget(&permit(), &[TokenInput { token, context: "" }]).await.unwrap();
    results.results.into_iter().next().unwrap().map(|forgotten| forgotten.0.is_some())
}

#[tokio::test]
async fn spellings_of_one_value_share_a_token_that_returns_the_first() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let minted = bench.mint(&vault, "PHONE", &["(415) 555-2671", "+14155552671", "415.555.2671"]).await;
    let minted: Vec<_> = minted.into_iter().map(Result::unwrap).collect();
    assert!(minted.iter().all(|(token, _)| *token == minted[0].0));
    assert_eq!(minted.iter().map(|(_, created)| *created).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(value(&vault, &minted[0].0).await.unwrap().0, "(415) 555-2671");
    assert_eq!(vault.records(), 1);
}

#[tokio::test]
async fn returns_no_token_before_it_is_durable() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let held = bench.store.hold_applies().await;
    let minting = tokio::spawn({
        let (vault, policy) = (Arc::clone(&vault), bench.policy.clone());
        async move {
            let item = ValueInput { kind: "NOTE", value: "early", context: "" };
            let mut minted = vault.tokenize(&permit(), &policy, &[item]).await.unwrap();
            let Some(Tokenized::Token { text, .. }) = minted.results.pop() else { panic!("not minted") };
            text
        }
    });
    // The token that it will get, computed from the same key.
    let keys = ring(1, None, 1);
    let generation = keys.get(kid()).unwrap().active().keys(Mode::Live);
    let kind = EntityKind::parse("NOTE").unwrap();
    let id = generation.token_id(kind, Context::EMPTY, "early");
    let token = Token::Vault { kind, kid: kid(), id }.to_text();
    while bench.store.get_many(vec![RowKey::record(id.as_bytes())]).await.unwrap()[0].is_none() {
        tokio::task::yield_now().await;
    }

    // The store shows the row, but neither reader answers from it.
    let mut reading = Box::pin(value(&vault, &token));
    let mut again = Box::pin(bench.mint(&vault, "NOTE", &["early"]));
    let mut cx = task::Context::from_waker(Waker::noop());
    for _ in 0..100 {
        assert!(matches!(reading.as_mut().poll(&mut cx), Poll::Pending));
        assert!(matches!(again.as_mut().poll(&mut cx), Poll::Pending));
        tokio::task::yield_now().await;
    }
    drop(held);
    assert_eq!(reading.await.unwrap().0, "early");
    assert_eq!(again.await, [Ok((token.clone(), false))]);
    assert_eq!(minting.await.unwrap(), token);
}

#[tokio::test]
async fn a_failed_commit_acknowledges_nothing_and_counts_stay_exact() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let item = ValueInput { kind: "NOTE", value: "v", context: "" };
    for (fault, there_already) in [(InjectedFault::NotApplied, false), (InjectedFault::AppliedUnanswered, true)] {
        bench.store.fail_next_apply(fault);
        assert!(vault.tokenize(&permit(), &bench.policy, &[item]).await.is_err());
        let minted = bench.mint(&vault, "NOTE", &["v"]).await.pop().unwrap().unwrap();
        assert_eq!(minted.1, !there_already);
        assert_eq!(vault.records(), 1);
        assert!(vault.check(&permit()).await.unwrap().ok());
        assert_eq!(forget(&vault, &minted.0).await, Ok(true));
        assert_eq!(vault.records(), 0);
    }
}

#[tokio::test]
async fn writes_nothing_under_a_key_that_was_retired_meanwhile() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let known = bench.token(&vault, "known").await;

    // The first mint keeps the writer busy, so the reload and then the second mint, prepared under key 1, wait in the queue.
    let held = bench.store.hold_applies().await;
    let spawn = |text: &'static str| {
        let (vault, policy) = (Arc::clone(&vault), bench.policy.clone());
        tokio::spawn(async move {
            let item = ValueInput { kind: "NOTE", value: text, context: "" };
            vault.tokenize(&permit(), &policy, &[item]).await.unwrap().results.pop().unwrap()
        })
    };
    let first = spawn("first");
    while bench.store.count(b'r').await.unwrap() < 2 {
        tokio::task::yield_now().await;
    }
    let reload = tokio::spawn({
        let vault = Arc::clone(&vault);
        async move { vault.replace_keys(ring(2, Some(1), 2)).await }
    });
    let second = spawn("second");
    // All tasks share one thread: when only this one is ready, the second mint waits in the queue.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(held);
    let text = |minted| match minted {
        Tokenized::Token { text, .. } => text,
        _ => panic!("not minted"),
    };
    let (first, second) = (text(first.await.unwrap()), text(second.await.unwrap()));
    reload.await.unwrap().unwrap();

    assert_eq!(value(&vault, &first).await, Ok(("first".to_owned(), Role::Old)));
    assert_eq!(value(&vault, &second).await, Ok(("second".to_owned(), Role::Active)));
    assert_eq!(
        bench.mint(&vault, "NOTE", &["known", "first", "second"]).await,
        [Ok((known, false)), Ok((first, false)), Ok((second, false)),]
    );
    assert!(vault.check(&permit()).await.unwrap().ok());
}

#[tokio::test]
async fn finds_a_record_by_a_verified_alias_only() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.token(&vault, "moved").await;
    let Ok(Token::Vault { id: target, kind, .. }) = Token::parse(&token) else { panic!("no vault token") };
    drop(vault);

    // The rows after a rotation from key 1 to key 2: sealed under key 2, found by an alias, the token unchanged.
    let keys = ring(2, None, 2);
    let new = keys.get(kid()).unwrap().active().keys(Mode::Live);
    let index = new.token_id(kind, Context::EMPTY, "moved");
    let row = bench.store.get_many(vec![RowKey::record(target.as_bytes())]).await.unwrap().remove(0).unwrap();
    let mut record = Record::decode(&row).unwrap();
    let value_kind = masker_types::kind::Value::new("moved").unwrap();
    let payload = super::records::payload(Context::EMPTY, value_kind, "moved");
    let sealed = new.seal_record(kind, kid(), target, &payload, &mut rand::rng());
    record.fingerprint = *new.fingerprint().as_bytes();
    (record.nonce, record.ciphertext) = (sealed.nonce, sealed.ciphertext);
    record.alias = Some(*index.as_bytes());
    let write = |alias: Alias| RowBatch {
        preconditions: vec![Precondition::Equals(RowKey::record(target.as_bytes()), row.clone())],
        changes: vec![
            RowChange::Put(RowKey::record(target.as_bytes()), record.encode()),
            RowChange::Put(RowKey::alias(index.as_bytes()), alias.encode()),
        ],
    };
    let alias = Alias { target: *target.as_bytes(), tag: new.alias_tag(index, target) };
    bench.store.apply(write(alias.clone())).await.unwrap();

    let vault = bench.open(ring(2, None, 2)).await;
    // The alias is enough: missing keys matter only for values that are not found.
    assert_eq!(bench.mint(&vault, "NOTE", &["moved"]).await, [Ok((token.clone(), false))]);
    drop(vault);
    let vault = bench.open(ring(2, Some(1), 2)).await;
    let item = ValueInput { kind: "NOTE", value: "moved", context: "" };
    let found = vault.lookup(&permit(), &bench.policy, &[item]).await.unwrap().results.remove(0).unwrap();
    assert_eq!(found, std::slice::from_ref(&token), "one record, found by its alias and by its id under the old key");
    assert_eq!(bench.mint(&vault, "NOTE", &["moved"]).await, [Ok((token.clone(), false))]);
    assert_eq!(value(&vault, &token).await.unwrap(), ("moved".to_owned(), Role::Active));

    // With a broken tag on the alias, only the id under the old key finds the record.
    let mut broken = alias;
    broken.tag[15] ^= 1;
    let change = RowChange::Put(RowKey::alias(index.as_bytes()), broken.encode());
    bench.store.apply(RowBatch { preconditions: vec![], changes: vec![change] }).await.unwrap();
    assert_eq!(bench.mint(&vault, "NOTE", &["moved"]).await, [Ok((token.clone(), false))]);
    let outcome = vault.check(&permit()).await.unwrap();
    assert_eq!((outcome.aliases, outcome.damaged_aliases), (1, 1));
    assert_eq!(forget(&vault, &token).await, Ok(true));
    assert_eq!(bench.store.count(b'a').await.unwrap(), 0, "a record takes its alias with it");
}

#[tokio::test]
async fn refuses_to_mint_while_a_needed_key_is_missing() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.token(&vault, "old").await;
    drop(vault);

    // Key 1 was removed too early.
    let vault = bench.open(ring(2, None, 2)).await;
    let lost = ring(1, None, 1).get(kid()).unwrap().active().fingerprint();
    let unavailable = ItemFailure::KeyUnavailable(super::GenerationRef { kid: kid(), fingerprint: lost.to_string() });
    assert_eq!(value(&vault, &token).await, Err(unavailable.clone()));
    assert_eq!(bench.mint(&vault, "NOTE", &["old", "new"]).await, [Err(unavailable.clone()), Err(unavailable)]);
    assert!(bench.mint(&vault, "EMAIL", &["a@example.org"]).await[0].is_ok(), "no vault is searched for these");
    let missed: Vec<_> = vault.generations().into_iter().filter(super::GenerationStatus::missed).collect();
    assert_eq!((missed.len(), missed[0].fingerprint, missed[0].records), (1, lost, 1));
    drop(vault);

    // The key is loaded again.
    let vault = bench.open(ring(2, Some(1), 3)).await;
    assert_eq!(value(&vault, &token).await, Ok(("old".to_owned(), Role::Old)));
    assert_eq!(bench.mint(&vault, "NOTE", &["old"]).await, [Ok((token, false))]);
    assert!(bench.mint(&vault, "NOTE", &["new"]).await[0].as_ref().unwrap().1);
}

#[tokio::test]
async fn grace_begins_when_a_key_becomes_old() {
    let bench = Bench::new();
    let grace = GracePeriod { days: 30, action: GraceAction::Refuse };
    let vault = bench.open_with_grace(ring(1, None, 1), grace).await;
    let token = bench.token(&vault, "v").await;
    let sealed = bench.mint(&vault, "EMAIL", &["a@example.org"]).await.pop().unwrap().unwrap().0;
    drop(vault);

    let day = 24 * 60 * 60;
    bench.now_s.store(NOW_S + 10 * day, Ordering::SeqCst);
    let vault = bench.open_with_grace(ring(2, Some(1), 2), grace).await;
    bench.now_s.store(NOW_S + 40 * day - 1, Ordering::SeqCst);
    drop(vault);
    let vault = bench.open_with_grace(ring(2, Some(1), 2), grace).await;
    assert!(value(&vault, &token).await.is_ok() && value(&vault, &sealed).await.is_ok());
    bench.now_s.store(NOW_S + 40 * day, Ordering::SeqCst);
    for token in [&token, &sealed] {
        assert!(matches!(value(&vault, token).await, Err(ItemFailure::GraceExpired(_))));
    }
    // Searches and rewraps may use the old key even so.
    assert_eq!(bench.mint(&vault, "NOTE", &["v"]).await, [Ok((token.clone(), false))]);
    let rewrapped = vault.rewrap(&permit(), &[TokenInput { token: &sealed, context: "" }]).results.remove(0).unwrap();
    assert!(rewrapped.changed && value(&vault, &rewrapped.token).await.is_ok());
    let patient = bench.open_with_grace(ring(2, Some(1), 2), GracePeriod { days: 30, action: GraceAction::Warn }).await;
    assert!(value(&patient, &token).await.is_ok());
}

#[tokio::test]
async fn counts_tokens_that_contain_their_value_by_the_key_that_opens_them() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.mint(&vault, "EMAIL", &["a@example.org"]).await.pop().unwrap().unwrap().0;
    let record = bench.token(&vault, "v").await;
    drop(vault);
    let known = |vault: &Vault| {
        let old = vault.generations().into_iter().find(|one| one.loaded == Some(Role::Old)).unwrap();
        (old.tokens_last_opened.map(|at| at.as_second()), old.tokens_opened_30_days)
    };
    let day = 24 * 60 * 60;
    let mut vault = bench.open(ring(2, Some(1), 2)).await;
    assert!(value(&vault, &record).await.is_ok());
    assert_eq!(known(&vault), (None, 0), "a record is no such token");
    for number in 0..40 {
        let now_s = NOW_S + number * day;
        bench.now_s.store(now_s, Ordering::SeqCst);
        assert!(value(&vault, &token).await.is_ok());
        let rewrapped = vault.rewrap(&permit(), &[TokenInput { token: &token, context: "" }]);
        assert!(rewrapped.results[0].as_ref().is_ok_and(|one| one.changed));
        let counted = 2 * u64::try_from((number + 1).min(30)).unwrap();
        // Before it is written down, after, and by another process.
        assert_eq!(known(&vault), (Some(now_s), counted));
        bench.store.fail_next_apply(InjectedFault::NotApplied);
        assert!(vault.note_key_use().await.is_err());
        assert_eq!(known(&vault), (Some(now_s), counted));
        vault.note_key_use().await.unwrap();
        assert_eq!(known(&vault), (Some(now_s), counted));
        vault.note_key_use().await.unwrap();
        vault = bench.open(ring(2, Some(1), 2)).await;
        assert_eq!(known(&vault), (Some(now_s), counted));
    }
    bench.now_s.fetch_add(31 * day, Ordering::SeqCst);
    assert_eq!(known(&vault).1, 0);
}

#[tokio::test]
async fn warns_of_a_policy_change_that_gives_known_values_new_tokens() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let policies = |text: &str| PolicySet::build(vec![("p".to_owned(), Policy::parse(text).unwrap())], None).unwrap();
    assert!(vault.adopt_policies(&policies(POLICY)).await.unwrap().is_empty());
    bench.mint(&vault, "PHONE", &["4155552671", "4155552672"]).await;

    for (from, to) in [("\"phone\"", "\"digits\""), ("\"digits\"", "\"phone\"")] {
        let changed = policies(&POLICY.replace("\"phone\"", to).replace(from, to));
        let warnings = vault.adopt_policies(&changed).await.unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("PHONE") && warnings[0].contains("up to 2 records"), "{warnings:?}");
        assert!(vault.adopt_policies(&changed).await.unwrap().is_empty(), "warned once");
    }
    // A kind without records, and a change that gives no new tokens.
    let harmless = POLICY.replace("\"exact\"", "\"trim\"").replace("version = 1", "version = 2");
    assert!(vault.adopt_policies(&policies(&harmless)).await.unwrap().is_empty());
}

/// Random mints, rehydrations, forgets, failing commits, key changes and restarts, compared with a map of the answers.
#[tokio::test]
async fn random_operations_agree_with_the_model() {
    let seed: u64 = std::env::var("MASKER_TEST_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("MASKER_TEST_SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..20 {
        life(&mut rng).await;
    }
}

async fn life(rng: &mut ChaCha8Rng) {
    let bench = Bench::new();
    // Key generations so far; the last is active. Both are loaded while the vault needs them.
    let mut active = 1;
    let mut old = None;
    let mut vault = bench.open(ring(active, old, 1)).await;
    let mut tokens: HashMap<String, String> = HashMap::new();
    for step in 0..200_u64 {
        let text = format!("value {}", rng.random_range(0..40));
        match rng.random_range(0..20) {
            0 => vault = bench.open(ring(active, old, 2 * step + 2)).await,
            1 if old.is_none() => {
                (old, active) = (Some(active), active + 1);
                vault = bench.open(ring(active, old, 2 * step + 2)).await;
            }
            2 => {
                let fault = if rng.random() { InjectedFault::NotApplied } else { InjectedFault::AppliedUnanswered };
                bench.store.fail_next_apply(fault);
                let item = ValueInput { kind: "NOTE", value: &text, context: "" };
                // Fails unless nothing had to be written. An unanswered mint may be stored or not.
                let _ = vault.tokenize(&permit(), &bench.policy, &[item]).await;
                bench.store.clear_faults();
            }
            3..6 => {
                if let Some(token) = tokens.remove(&text) {
                    assert_eq!(forget(&vault, &token).await, Ok(true));
                    assert_eq!(value(&vault, &token).await, Err(ItemFailure::NotFound));
                }
            }
            6..10 => {
                if let Some(token) = tokens.get(&text) {
                    assert_eq!(value(&vault, token).await.unwrap().0, text);
                }
            }
            _ => {
                let (token, created) = bench.mint(&vault, "NOTE", &[&text]).await.pop().unwrap().unwrap();
                if let Some(known) = tokens.get(&text) {
                    assert_eq!((&token, created), (known, false), "a second token for one value");
                }
                tokens.insert(text, token);
            }
        }
    }
    for (text, token) in &tokens {
        assert_eq!(value(&vault, token).await.unwrap().0, *text);
    }
    let outcome = vault.check(&permit()).await.unwrap();
    assert!(outcome.ok(), "{:?}", outcome.problems);
    assert_eq!(outcome.records, vault.records());
    assert!(outcome.records >= tokens.len() as u64);
}

/// A canary: the comparison with the model must fail if a record is lost.
#[tokio::test]
async fn the_model_notices_a_lost_record() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.token(&vault, "v").await;
    let Ok(Token::Vault { id, .. }) = Token::parse(&token) else { panic!("no vault token") };
    let lose = RowChange::Remove(RowKey::record(id.as_bytes()));
    bench.store.apply(RowBatch { preconditions: vec![], changes: vec![lose] }).await.unwrap();
    assert_eq!(value(&vault, &token).await, Err(ItemFailure::NotFound));
    let outcome = vault.check(&permit::<access::VaultAdmin>()).await.unwrap();
    assert!(!outcome.ok() && !outcome.counts_agree, "{:?}", outcome.problems);
    assert_eq!(TokenId::from_bytes(*id.as_bytes()), id);
}
