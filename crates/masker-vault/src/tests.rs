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

use super::{FoundTokens, ItemFailure, KeyLoadError, KeyRules, TokenInput, Tokenized, ValueInput, Vault};
use crate::{
    control::{ControlKeyRules, ControlledStore},
    metrics::VaultMetrics,
};
use masker_access as access;
use masker_access::{Caller, Permit, ScopedOperation};
use masker_core::{
    crypto::{MatchPart, SecretKey, TokenId},
    keyring::{GraceAction, GracePeriod, Keyring, LoadedKey, Role},
    policy::{Policy, PolicySet},
    token::Token,
};
use masker_store::{
    RowBatch, RowChange, RowKey, Store,
    memory::{InjectedFault, MemoryStore},
    record::RowName,
};
use masker_types::{
    grant::Grant,
    kind::{EntityKind, Kid},
};

mod backup;
mod forgetting;
mod in_flight;
mod in_flight_model;
mod index_lives;
mod tombstones;
mod spellings;
pub(crate) mod stored_rows;
mod purge;

const POLICY: &str = r#"
name = "test"
version = 1
kid = "K_A"
tokenization = "vault-deterministic"
[entities.PHONE]
normalize = "phone_nanp"
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
        // Some tests open a vault without the keys that it was made with.
        let rules = KeyRules { accept_new_control_key: true, ..KeyRules::new(grace) };
        self.open_by(ring, rules).await.unwrap()
    }

    pub(crate) async fn open_by(&self, ring: Keyring, rules: KeyRules) -> Result<Arc<Vault>, KeyLoadError> {
        let now_s = Arc::clone(&self.now_s);
        let clock = move || Timestamp::from_second(now_s.load(Ordering::SeqCst)).unwrap();
        let metrics = Arc::new(VaultMetrics::new().unwrap());
        Vault::open(Arc::new(self.store.clone()), ring, rules, metrics, Arc::new(clock)).await.map(Arc::new)
    }

    /// Returns the store as the vault with these keys reads and writes it.
    pub(crate) async fn controlled(&self, ring: &Keyring) -> ControlledStore {
        let (store, metrics) = (Arc::new(self.store.clone()), Arc::new(VaultMetrics::new().unwrap()));
        let rules = ControlKeyRules { kids: &BTreeSet::new(), accept_new: true, recorded: None };
        ControlledStore::open(store, ring, rules, metrics).await.unwrap()
    }

    pub(crate) async fn mint(
        &self,
        vault: &Vault,
        kind: &str,
        values: &[&str],
    ) -> Vec<Result<(String, bool), ItemFailure>> {
        let items: Vec<_> = values.iter().map(|value| ValueInput { kind, value, context: "" }).collect();
        let minted = vault.tokenize::<masker_access::Tokenize>(&permit(), &self.policy, &items).await.unwrap();
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
    let results =
        vault.rehydrate::<masker_access::Rehydrate>(&permit(), &[TokenInput { token, context: "" }]).await.unwrap();
    results.results.into_iter().next().unwrap().map(|found| (found.value.as_str().to_owned(), found.role))
}

pub(crate) async fn forget(vault: &Vault, token: &str) -> Result<bool, ItemFailure> {
    let results = vault.forget(&permit(), &[TokenInput { token, context: "" }]).await.unwrap();
    results.results.into_iter().next().unwrap().map(|forgotten| forgotten.0.is_some())
}

/// Returns the match part of a vault token.
fn match_part(token: &str) -> MatchPart {
    let Ok(Token::Vault { id, .. }) = Token::parse(token) else { panic!("no vault token") };
    id.match_part()
}

#[tokio::test]
async fn spellings_of_one_form_share_a_match_part_and_come_back_as_they_were() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let spellings = ["(415) 555-2671", "+14155552671", "415.555.2671", "+14155552671"];
    let minted: Vec<_> = bench.mint(&vault, "PHONE", &spellings).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(minted.iter().map(|(_, created)| *created).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(minted[1].0, minted[3].0);
    let later = bench.mint(&vault, "PHONE", &["1 415 555 2671"]).await.remove(0).unwrap();
    assert!(later.1);
    for ((token, _), spelling) in minted.iter().zip(spellings).chain([(&later, "1 415 555 2671")]) {
        assert_eq!(match_part(token), match_part(&minted[0].0), "{spelling}");
        assert_eq!(value(&vault, token).await.unwrap().0, spelling);
    }
    assert_eq!(vault.records(), 4);

    // Other forms, and the normalizer `exact`, share nothing.
    let other = bench.mint(&vault, "PHONE", &["4155552672"]).await.remove(0).unwrap().0;
    let notes = bench.mint(&vault, "NOTE", &["a", "a "]).await;
    let notes: Vec<_> = notes.into_iter().map(|note| match_part(&note.unwrap().0)).collect();
    assert!(match_part(&other) != match_part(&minted[0].0) && notes[0] != notes[1]);
    let outcome = vault.check(&permit()).await.unwrap();
    // Four spellings and another number, two forms, two notes.
    assert_eq!((outcome.ok(), outcome.records, outcome.index_rows), (true, 7, 5 + 2 + 2), "{:?}", outcome.problems);
}

#[tokio::test]
async fn values_that_only_look_alike_keep_their_own_tokens() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let values = ["1-800-CONTACTS", "1-800-FLOWERS", "1234.0", "12340", "=cmd|' /C calc'!A0", " ", "\u{a0}"];
    let minted = bench.mint(&vault, "PHONE", &values).await;
    for (minted, expected) in minted.into_iter().zip(values) {
        assert_eq!(value(&vault, &minted.unwrap().0).await.unwrap().0, expected);
    }
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
            let mut minted = vault.tokenize::<masker_access::Tokenize>(&permit(), &policy, &[item]).await.unwrap();
            let Some(Tokenized::Token { text, .. }) = minted.results.pop() else { panic!("not minted") };
            text
        }
    });
    let stored = loop {
        let rows = bench.store.scan_after(RowName::RECORDS, None, 2).await.unwrap().rows;
        match rows.first().map(|(key, _)| RowName::parse(key).unwrap()) {
            Some(RowName::Record(id)) => break TokenId::from_bytes(id),
            _ => tokio::task::yield_now().await,
        }
    };
    let token = Token::Vault { kind: EntityKind::parse("NOTE").unwrap(), kid: kid(), id: stored }.to_text();

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
        assert!(vault.tokenize::<masker_access::Tokenize>(&permit(), &bench.policy, &[item]).await.is_err());
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
            vault.tokenize::<masker_access::Tokenize>(&permit(), &policy, &[item]).await.unwrap().results.pop().unwrap()
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
async fn an_index_row_that_does_not_verify_is_damage_and_nothing_is_minted() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.mint(&vault, "PHONE", &["4155552671"]).await.remove(0).unwrap().0;
    let item = ValueInput { kind: "PHONE", value: "4155552671", context: "" };
    for (space, spelling) in [(RowName::VALUE_INDEXES, "4155552671"), (RowName::FORM_INDEXES, "(415) 555-2671")] {
        let (key, sound) = bench.store.scan_after(space, None, 2).await.unwrap().rows.remove(0);
        for byte in [1, 17] {
            let mut broken = sound.clone();
            broken[byte] ^= 1;
            let write = |row: &Vec<u8>| RowBatch {
                preconditions: vec![],
                changes: vec![RowChange::Put(key.clone(), row.clone())],
            };
            bench.store.apply(write(&broken)).await.unwrap();
            assert_eq!(bench.mint(&vault, "PHONE", &[spelling]).await, [Err(ItemFailure::Damaged)]);
            assert_eq!(
                vault.lookup(&permit(), &bench.policy, &[item]).await.unwrap().results,
                [Err(ItemFailure::Damaged)]
            );
            let outcome = vault.check(&permit()).await.unwrap();
            assert!(outcome.damaged_index_rows > 0 && !outcome.ok(), "{space} {byte}");
            assert_eq!(value(&vault, &token).await.unwrap().0, "4155552671", "its token needs no index");
            bench.store.apply(write(&sound)).await.unwrap();
        }
    }
    assert_eq!(vault.records(), 1);
    assert!(vault.check(&permit()).await.unwrap().ok());
}

#[tokio::test]
async fn looks_up_every_spelling_with_the_value_itself_first() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let spellings = ["(415) 555-2671", "+14155552671", "415.555.2671"];
    let minted = bench.mint(&vault, "PHONE", &spellings).await;
    let minted: Vec<String> = minted.into_iter().map(|minted| minted.unwrap().0).collect();
    bench.mint(&vault, "PHONE", &["4155552672"]).await;
    let lookup = async |value| {
        let item = ValueInput { kind: "PHONE", value, context: "" };
        vault.lookup(&permit(), &bench.policy, &[item]).await.unwrap().results.remove(0).unwrap()
    };
    for (spelling, token) in spellings.iter().zip(&minted) {
        let found = lookup(*spelling).await;
        assert_eq!((found.exact, found.more, &found.tokens[0]), (true, false, token));
        assert_eq!(BTreeSet::from_iter(&found.tokens), BTreeSet::from_iter(&minted));
    }
    let found = lookup("1-415-555-2671").await;
    assert_eq!((found.exact, found.tokens.len()), (false, 3));
    assert_eq!(lookup("4155550000").await, FoundTokens::default());

    let erased = vault
        .forget_values(
            &permit(),
            &permit(),
            &bench.policy,
            &[
                ValueInput { kind: "PHONE", value: "1 415 555 2671", context: "" },
                ValueInput { kind: "PHONE", value: "4155550000", context: "" },
                ValueInput { kind: "EMAIL", value: "a@example.org", context: "" },
            ],
        )
        .await
        .unwrap()
        .results;
    let counts: Vec<_> = erased.into_iter().map(|erased| (erased.count, erased.failure)).collect();
    let refused = ItemFailure::NotErasable(EntityKind::parse("EMAIL").unwrap());
    assert_eq!(counts, [(3, None), (0, None), (0, Some(refused))]);
    for token in &minted {
        assert_eq!(value(&vault, token).await, Err(ItemFailure::NotFound));
    }
    let again = bench.mint(&vault, "PHONE", &["(415) 555-2671"]).await.remove(0).unwrap();
    assert!(again.1 && !minted.contains(&again.0), "a forgotten value gets a new token");
    assert_eq!(vault.records(), 2);
    assert!(vault.check(&permit()).await.unwrap().ok());
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
async fn warns_of_a_policy_change_that_known_values_do_not_match() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let policies = |text: &str| PolicySet::build(vec![("p".to_owned(), Policy::parse(text).unwrap())], None).unwrap();
    assert!(vault.adopt_policies(&policies(POLICY)).await.unwrap().is_empty());
    bench.mint(&vault, "PHONE", &["4155552671", "4155552672"]).await;

    for normalizer in ["digits", "phone_nanp"] {
        let changed = policies(&POLICY.replace("\"phone_nanp\"", &format!("\"{normalizer}\"")));
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
                let _ = vault.tokenize::<masker_access::Tokenize>(&permit(), &bench.policy, &[item]).await;
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

#[tokio::test]
async fn a_reload_does_not_take_away_an_active_key_that_the_vault_needs() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    vault.replace_keys(ring(2, None, 2)).await.unwrap();
    let token = bench.token(&vault, "v").await;
    let wrong = ring(3, None, 3);
    assert_eq!(vault.validate_keyring(&wrong).len(), 1);
    let refused = vault.replace_keys(wrong).await.unwrap_err().to_string();
    assert!(refused.contains("1 record needs") && refused.contains("MASKER_KEY_K_A_OLD"), "{refused}");
    assert_eq!(value(&vault, &token).await.unwrap(), ("v".to_owned(), Role::Active));
    vault.replace_keys(ring(3, Some(2), 3)).await.unwrap();
    assert_eq!(value(&vault, &token).await.unwrap(), ("v".to_owned(), Role::Old));
}
