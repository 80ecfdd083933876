use std::{collections::BTreeMap, sync::atomic::Ordering};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use zeroize::Zeroizing;

use super::{RotationError, RotationRequest, RotationState, RotationStatus, StepBudget, step::StepProgress};
use crate::{
    ItemFailure, ValueInput, Vault, index_list,
    records::{self, MintedToken, RecordIndexes},
    tests::{Bench, forget, kid, permit, ring, value},
};
use masker_core::{
    crypto::{SecretKey, TokenId},
    keyring::{Keyring, LoadedKey, Role},
    normalize::Normalizer,
    policy::Policy,
    token::Token,
};
use masker_store::{
    RowBatch, RowChange, RowKey, Store,
    memory::InjectedFault,
    record::{GenerationCountsRow, IndexRow, Record},
};
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    mode::Mode,
};

mod races;

const ALL: StepBudget = StepBudget { records: 1_000 };
const ONE: StepBudget = StepBudget { records: 1 };

fn request() -> RotationRequest {
    RotationRequest { new_kid: kid(), old_kid: None, dry_run: false, rows_per_second_max: 0 }
}

async fn begin(vault: &Vault, request: RotationRequest) -> RotationStatus {
    vault.begin_rotation(&permit(), request).await.unwrap()
}

/// Steps a rotation to its end and returns its status.
async fn finish(vault: &Vault, budget: StepBudget) -> RotationStatus {
    let (id, _) = vault.rotations.running().expect("one runs");
    while vault.rotations.step_rotation(budget).await.unwrap() != StepProgress::Idle {}
    vault.rotations.find_rotation(id).unwrap()
}

async fn rotate(vault: &Vault) -> RotationStatus {
    begin(vault, request()).await;
    finish(vault, ALL).await
}

async fn assert_sound(vault: &Vault) {
    let outcome = vault.check(&permit()).await.unwrap();
    assert!(outcome.ok(), "{:?}", outcome.problems);
    assert_eq!(outcome.key_not_loaded, 0);
}

fn removable(vault: &Vault) -> Vec<String> {
    let generations = vault.generations().into_iter();
    generations.filter(|one| one.proven_at.is_some()).map(|one| one.fingerprint.to_string()).collect()
}

fn id_of(token: &str) -> TokenId {
    match Token::parse(token) {
        Ok(Token::Vault { id, .. }) => id,
        _ => panic!("no vault token"),
    }
}

/// Values minted before, during and after each of three rotations keep their tokens, although every old key is unloaded as
/// soon as its rotation is done.
#[tokio::test]
async fn a_value_keeps_its_token_over_three_rotations() {
    let bench = Bench::new();
    let mut tokens: BTreeMap<String, String> = BTreeMap::new();
    let mut vault = bench.open(ring(1, None, 1)).await;
    for generation in 1..=4_u8 {
        let stages = ["with the old key loaded", "half-way", "done", "alone"];
        for (number, stage) in stages.into_iter().enumerate() {
            match (generation, number) {
                (1, _) if number > 0 => break,
                (1, _) => {}
                (_, 0) => vault = bench.open(ring(generation, Some(generation - 1), 10 * u64::from(generation))).await,
                (_, 1) => {
                    begin(&vault, request()).await;
                    for _ in 0..tokens.len() / 2 {
                        vault.rotations.step_rotation(ONE).await.unwrap();
                    }
                }
                (_, 2) => {
                    let status = finish(&vault, ONE).await;
                    assert_eq!((status.state, status.rows_failed, status.conflicts), (RotationState::Done, 0, 0));
                    assert_eq!(status.rows_done, status.rows_total);
                }
                _ => vault = bench.open(ring(generation, None, 10 * u64::from(generation) + 1)).await,
            }
            let new = format!("first seen under {generation}, {stage}");
            tokens.insert(new.clone(), bench.token(&vault, &new).await);
            for (text, token) in &tokens {
                let place = format!("{text}, under {generation}, {stage}");
                assert_eq!(value(&vault, token).await.unwrap().0, *text, "{place}");
                assert_eq!(bench.mint(&vault, "NOTE", &[text]).await, [Ok((token.clone(), false))], "{place}");
                let item = ValueInput { kind: "NOTE", value: text, context: "" };
                let found = vault.lookup(&permit(), &bench.policy, &[item]).await.unwrap().results.remove(0).unwrap();
                assert_eq!((found.tokens, found.exact), (vec![token.clone()], true), "{place}");
            }
            assert_sound(&vault).await;
            bench.now_s.fetch_add(24 * 60 * 60, Ordering::SeqCst);
        }
    }
    assert_eq!(tokens.len(), 13);
    assert_eq!(bench.store.count(b'v').await.unwrap(), 13, "one index row each, under the last key");
}

/// A rotation that is stopped between any two steps and continued by another process ends the same way.
#[tokio::test]
async fn a_rotation_continues_after_a_stop_between_any_two_steps() {
    for stop_after in 0..12 {
        let bench = Bench::new();
        let vault = bench.open(ring(1, None, 1)).await;
        let mut tokens = Vec::new();
        for number in 0..8 {
            tokens.push(bench.token(&vault, &format!("value {number}")).await);
        }
        drop(vault);
        let vault = bench.open(ring(2, Some(1), 2)).await;
        begin(&vault, request()).await;
        for _ in 0..stop_after {
            vault.rotations.step_rotation(ONE).await.unwrap();
        }
        drop(vault);
        let vault = bench.open(ring(2, Some(1), 3)).await;
        let status = if vault.rotations.running().is_some() {
            finish(&vault, StepBudget { records: 3 }).await
        } else {
            vault.rotations.all_rotations().remove(0)
        };
        assert_eq!((status.state, status.rows_resealed, status.rows_total), (RotationState::Done, 8, 8));
        assert_sound(&vault).await;
        assert_eq!(removable(&vault).len(), 1);
        for (number, token) in tokens.iter().enumerate() {
            assert_eq!(value(&vault, token).await.unwrap(), (format!("value {number}"), Role::Active));
        }
    }
}

#[tokio::test]
async fn retries_a_step_whose_commit_fails() {
    for fault in [InjectedFault::NotApplied, InjectedFault::AppliedUnanswered] {
        let bench = Bench::new();
        let vault = bench.open(ring(1, None, 1)).await;
        let token = bench.token(&vault, "v").await;
        let vault = {
            drop(vault);
            bench.open(ring(2, Some(1), 2)).await
        };
        begin(&vault, request()).await;
        bench.store.fail_next_apply(fault);
        assert!(vault.rotations.step_rotation(ALL).await.is_err());
        let status = finish(&vault, ALL).await;
        assert_eq!((status.state, status.rows_resealed, status.rows_total), (RotationState::Done, 1, 1), "{fault:?}");
        assert_eq!(value(&vault, &token).await.unwrap().1, Role::Active);
        assert_sound(&vault).await;
    }
}

#[tokio::test]
async fn skips_and_names_a_record_that_does_not_open() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let (bad, good) = (bench.token(&vault, "bad").await, bench.token(&vault, "good").await);
    drop(vault);
    let key = RowKey::record(id_of(&bad).as_bytes());
    let mut row = bench.store.get_many(vec![key.clone()]).await.unwrap().remove(0).unwrap();
    *row.last_mut().unwrap() ^= 1;
    let spoil = RowChange::Put(key.clone(), row.clone());
    bench.store.apply(RowBatch { preconditions: vec![], changes: vec![spoil] }).await.unwrap();

    let vault = bench.open(ring(2, Some(1), 2)).await;
    let rehearsed = begin(&vault, RotationRequest { dry_run: true, ..request() }).await;
    while vault.rotations.step_dry_run(rehearsed.id, ONE).await.unwrap() != StepProgress::Idle {}
    let rehearsed = vault.rotations.find_rotation(rehearsed.id).unwrap();
    let status = rotate(&vault).await;
    let hex = data_encoding::HEXLOWER.encode(id_of(&bad).as_bytes());
    for status in [&rehearsed, &status] {
        assert_eq!((status.state, status.rows_resealed, status.rows_failed), (RotationState::Failed, 1, 1));
        assert_eq!(status.rows_total, 2);
        assert_eq!(status.failures, [(hex.clone(), "it does not open under its own key")]);
        assert!(status.detail.as_ref().is_some_and(|detail| detail.contains("1 records could not be opened")));
    }
    assert!(removable(&vault).is_empty(), "the old key may be all that is left of the record");
    assert_eq!(bench.store.get_many(vec![key]).await.unwrap(), [Some(row)]);
    assert_eq!(value(&vault, &good).await.unwrap().1, Role::Active);

    // Without it, the rotation succeeds.
    assert_eq!(forget(&vault, &bad).await, Err(ItemFailure::NotFound), "it does not open, so its context is not known");
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    for number in 0..5 {
        bench.token(&vault, &format!("value {number}")).await;
    }
    drop(vault);
    let vault = bench.open(ring(2, Some(1), 2)).await;
    let rows = |space| {
        let store = bench.store.clone();
        async move { store.scan_after(space, None, 100).await.unwrap().rows }
    };
    let (records, rotations, indexes) = (rows(b'r').await, rows(b'o').await, rows(b'v').await);
    let begun = begin(&vault, RotationRequest { dry_run: true, ..request() }).await;
    assert!(begun.dry_run && begun.rows_total == 5);
    let refused = vault.begin_rotation(&permit(), request()).await;
    assert!(matches!(refused, Err(RotationError::Running(id)) if id == begun.id));
    while vault.rotations.step_dry_run(begun.id, StepBudget { records: 2 }).await.unwrap() != StepProgress::Idle {}
    let ended = vault.rotations.find_rotation(begun.id).unwrap();
    assert_eq!((ended.state, ended.rows_resealed, ended.rows_total), (RotationState::Done, 5, 5));
    assert!(rows(b'r').await == records && rows(b'o').await == rotations && rows(b'v').await == indexes);
    assert!(removable(&vault).is_empty());
}

#[tokio::test]
async fn one_rotation_runs_at_a_time_and_can_be_cancelled() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    for number in 0..3 {
        bench.token(&vault, &format!("value {number}")).await;
    }
    drop(vault);
    let vault = bench.open(ring(2, Some(1), 2)).await;
    let first = begin(&vault, request()).await;
    let refused = vault.begin_rotation(&permit(), request()).await;
    assert!(matches!(refused, Err(RotationError::Running(id)) if id == first.id));
    let rehearsal = vault.begin_rotation(&permit(), RotationRequest { dry_run: true, ..request() }).await;
    assert!(matches!(rehearsal, Err(RotationError::Running(_))));
    vault.rotations.step_rotation(ONE).await.unwrap();
    let cancelled = vault.cancel_rotation(&permit(), first.id).await.unwrap();
    assert_eq!((cancelled.state, cancelled.rows_resealed), (RotationState::Cancelled, 1));
    assert_eq!(vault.rotations.step_rotation(ONE).await.unwrap(), StepProgress::Idle);
    assert!(matches!(vault.cancel_rotation(&permit(), first.id).await, Err(RotationError::Ended(_))));

    bench.now_s.fetch_add(1, Ordering::SeqCst);
    let status = rotate(&vault).await;
    assert_eq!((status.state, status.rows_resealed, status.rows_total), (RotationState::Done, 2, 2));
    let unknown = super::RotationId::from_bytes([0; 16]);
    assert!(matches!(vault.cancel_rotation(&permit(), unknown).await, Err(RotationError::NotFound)));
    assert!(matches!(vault.rotation(&permit(), unknown), Err(RotationError::NotFound)));
    let all: Vec<_> = vault.rotations(&permit()).into_iter().map(|one| one.state).collect();
    assert_eq!(all, [RotationState::Done, RotationState::Cancelled]);
    for _ in 0..30 {
        rotate(&vault).await;
    }
    assert_eq!(vault.rotations(&permit()).len(), 20, "those of long ago are forgotten");
}

#[tokio::test]
async fn of_a_rotation_and_a_dry_run_begun_together_one_runs() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    bench.token(&vault, "value").await;
    drop(vault);
    let vault = bench.open(ring(2, Some(1), 2)).await;
    let permit = permit();
    let (rotation, rehearsal) = tokio::join!(
        vault.begin_rotation(&permit, request()),
        vault.begin_rotation(&permit, RotationRequest { dry_run: true, ..request() }),
    );
    let begun = rotation.unwrap();
    assert!(matches!(rehearsal, Err(RotationError::Running(id)) if id == begun.id));
}

#[tokio::test]
async fn rejects_unknown_kids() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let other = Kid::parse("K_OTHER").unwrap();
    let refused = vault.begin_rotation(&permit(), RotationRequest { new_kid: other, ..request() }).await;
    assert!(matches!(refused, Err(RotationError::TargetNotLoaded(kid)) if kid == other));
    let refused = vault.begin_rotation(&permit(), RotationRequest { old_kid: Some(other), ..request() }).await;
    assert!(matches!(refused, Err(RotationError::SourceUnknown(kid)) if kid == other));
}

#[tokio::test]
async fn a_rotation_ends_when_its_key_is_replaced() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    for number in 0..4 {
        bench.token(&vault, &format!("value {number}")).await;
    }
    drop(vault);
    let vault = bench.open(ring(2, Some(1), 2)).await;
    begin(&vault, request()).await;
    vault.rotations.step_rotation(ONE).await.unwrap();
    vault.replace_keys(ring(3, Some(2), 3)).await.unwrap();
    let status = finish(&vault, ONE).await;
    assert_eq!((status.state, status.rows_resealed), (RotationState::Failed, 1));
    assert!(status.detail.is_some_and(|detail| detail.contains("no longer the active key of K_A")));

    // Key 1 was unloaded too early: its records are named, those of key 2 are moved.
    let status = rotate(&vault).await;
    assert_eq!((status.state, status.rows_resealed, status.rows_failed), (RotationState::Failed, 1, 3));
    assert_eq!(status.failures[0].1, "its key is not loaded");
    vault.replace_keys(ring(3, Some(1), 4)).await.unwrap();
    let status = rotate(&vault).await;
    assert_eq!((status.state, status.rows_resealed), (RotationState::Done, 3));
    assert_sound(&vault).await;
    assert_eq!(removable(&vault).len(), 2);
}

/// Returns a keyring of two kids.
fn two_kids(old_name: u8, new_name: u8) -> Keyring {
    let key = |kid: &str, number: u8| {
        let mut bytes = Zeroizing::new([number; 32]);
        bytes[0] = !number;
        LoadedKey { kid: Kid::parse(kid).unwrap(), role: Role::Active, key: SecretKey::from_bytes(bytes).unwrap() }
    };
    Keyring::build(vec![key("K_A", old_name), key("K_NEWNAME", new_name)], 1).ok().unwrap()
}

#[tokio::test]
async fn records_of_another_kid_keep_their_tokens() {
    let bench = Bench::new();
    let vault = bench.open(two_kids(1, 2)).await;
    let token = bench.token(&vault, "v").await;
    let new_kid = Kid::parse("K_NEWNAME").unwrap();
    begin(&vault, RotationRequest { new_kid, old_kid: Some(kid()), ..request() }).await;
    let status = finish(&vault, ALL).await;
    assert_eq!((status.state, status.rows_resealed), (RotationState::Done, 1));
    assert_eq!(value(&vault, &token).await.unwrap(), ("v".to_owned(), Role::Active));
    let renamed = Policy::parse(
        "name = \"t\"\nversion = 1\nkid = \"K_NEWNAME\"\ntokenization = \"vault-deterministic\"\n[entities.NOTE]\nnormalize = \"exact\"\n",
    )
    .unwrap();
    let item = ValueInput { kind: "NOTE", value: "v", context: "" };
    let found = vault.lookup(&permit(), &renamed, &[item]).await.unwrap().results.remove(0).unwrap();
    assert_eq!(found.tokens, std::slice::from_ref(&token), "found under the new kid's key, with the text that it has");
    // A search under the former kid reads the rows of the new one too.
    let found = vault.lookup(&permit(), &bench.policy, &[item]).await.unwrap().results.remove(0).unwrap();
    assert_eq!(found.tokens, std::slice::from_ref(&token));
    assert_eq!(bench.mint(&vault, "NOTE", &["v"]).await, [Ok((token.clone(), false))]);
    assert_sound(&vault).await;
}

#[tokio::test]
async fn moves_records_of_the_test_mode() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    drop(vault);
    // Minted in the test mode, as the vault does it.
    let keys = ring(1, None, 1);
    let test = keys.get(kid()).unwrap().active().keys(Mode::Test);
    let kind = EntityKind::parse("NOTE").unwrap();
    let id = TokenId::from_bytes([5; 20]);
    let payload = records::payload(Context::EMPTY, Value::new("v").unwrap(), Normalizer::Exact, "v");
    let indexes = RecordIndexes::compute(test, kind, &payload);
    let token = MintedToken { kind, kid: kid(), id, minted_at_ms: 1 };
    let record = records::seal(test, &token, indexes, &payload, 1, &mut ChaCha8Rng::seed_from_u64(1));
    let put = RowChange::Put(RowKey::record(id.as_bytes()), record.encode());
    let index = indexes.value.unwrap();
    let list = RowChange::Put(RowKey::value_index(index.as_bytes()), index_list::encode(test, index, &[id]));
    let fingerprint = *test.fingerprint().as_bytes();
    let counts = GenerationCountsRow { last_used_ms: 0, records: 1, index_rows: 1 };
    let counts = RowChange::Put(RowKey::generation_counts(kid(), &fingerprint), counts.encode());
    let changes = vec![put, list, counts];
    bench.controlled(&keys).await.apply(RowBatch { preconditions: vec![], changes }).await.unwrap();

    let vault = bench.open(ring(2, Some(1), 2)).await;
    let status = rotate(&vault).await;
    assert_eq!((status.state, status.rows_resealed), (RotationState::Done, 1));
    let row = bench.store.get_many(vec![RowKey::record(id.as_bytes())]).await.unwrap().remove(0).unwrap();
    let record = Record::decode(&row).unwrap();
    let keys = ring(2, None, 2);
    let test = keys.get(kid()).unwrap().active().keys(Mode::Test);
    let opened = records::open(test, id, &record).unwrap();
    assert_eq!(opened.value(), "v");
    let index = test.value_index(kind, Context::EMPTY, Value::new("v").unwrap());
    let row = bench.store.get_many(vec![RowKey::value_index(index.as_bytes())]).await.unwrap().remove(0).unwrap();
    assert_eq!(index_list::verified::<TokenId>(test, index, &row), Some(vec![id]));
    assert_sound(&vault).await;
}

/// A value has two tokens: both records are moved, and one of them gets the index.
#[tokio::test]
async fn an_index_that_belongs_to_another_record_stays_with_it() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let first = bench.token(&vault, "v").await;
    drop(vault);
    // The first record is taken out, and put back once the value has a second token.
    let key = RowKey::record(id_of(&first).as_bytes());
    let row = bench.store.get_many(vec![key.clone()]).await.unwrap().remove(0).unwrap();
    let vault = bench.open(ring(1, None, 1)).await;
    assert_eq!(forget(&vault, &first).await, Ok(true));
    drop(vault);
    let vault = bench.open(ring(2, None, 2)).await;
    let second = bench.token(&vault, "v").await;
    drop(vault);
    let keys = ring(1, None, 1);
    let fingerprint = *keys.get(kid()).unwrap().active().fingerprint().as_bytes();
    let counts = GenerationCountsRow { last_used_ms: 0, records: 1, index_rows: 0 };
    let counts = RowChange::Put(RowKey::generation_counts(kid(), &fingerprint), counts.encode());
    let changes = vec![RowChange::Put(key, row), counts];
    bench.controlled(&ring(2, None, 2)).await.apply(RowBatch { preconditions: vec![], changes }).await.unwrap();

    let vault = bench.open(ring(2, Some(1), 3)).await;
    let rehearsal = begin(&vault, RotationRequest { dry_run: true, ..request() }).await;
    while vault.rotations.step_dry_run(rehearsal.id, ALL).await.unwrap() != StepProgress::Idle {}
    assert_eq!(vault.rotations.find_rotation(rehearsal.id).unwrap().conflicts, 1);
    let status = rotate(&vault).await;
    assert_eq!((status.state, status.rows_resealed, status.conflicts), (RotationState::Done, 1, 1));
    assert_eq!(bench.mint(&vault, "NOTE", &["v"]).await, [Ok((second.clone(), false))]);
    for token in [&first, &second] {
        assert_eq!(value(&vault, token).await.unwrap(), ("v".to_owned(), Role::Active));
    }
    assert_sound(&vault).await;
}

#[tokio::test]
async fn damage_keeps_a_key_from_being_proven_unneeded() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let token = bench.token(&vault, "v").await;
    drop(vault);
    // A stray index row may be all that is left of a record that needs the old key.
    let stray = RowKey::value_index(&[7; 20]);
    let row = IndexRow { list: id_of(&token).as_bytes().to_vec(), tag: [7; 16] };
    let put = RowChange::Put(stray.clone(), row.encode());
    bench.store.apply(RowBatch { preconditions: vec![], changes: vec![put] }).await.unwrap();

    let vault = bench.open(ring(2, Some(1), 2)).await;
    let status = rotate(&vault).await;
    assert_eq!((status.state, status.rows_resealed, status.rows_failed), (RotationState::Failed, 1, 0));
    assert!(status.detail.is_some_and(|detail| detail.contains("differs from its counts")));
    assert!(removable(&vault).is_empty());
    assert!(!vault.check(&permit()).await.unwrap().ok() && removable(&vault).is_empty());

    bench.store.apply(RowBatch { preconditions: vec![], changes: vec![RowChange::Remove(stray)] }).await.unwrap();
    // A check without findings proves it as well.
    assert_sound(&vault).await;
    assert_eq!(removable(&vault).len(), 1);
    bench.now_s.fetch_add(1, Ordering::SeqCst);
    assert_eq!(rotate(&vault).await.state, RotationState::Done);
}

/// Random mints, rehydrations, forgets, rotation steps, reloads, failing commits and restarts, compared with a map of the
/// answers.
#[tokio::test]
async fn random_rotations_agree_with_the_model() {
    let seed: u64 = std::env::var("MASKER_TEST_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("MASKER_TEST_SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rotations = 0;
    for _ in 0..30 {
        rotations += life(&mut rng).await;
    }
    assert!(rotations > 30, "the lives were not lived: {rotations} rotations");
}

async fn life(rng: &mut ChaCha8Rng) -> u32 {
    let bench = Bench::new();
    let (mut active, mut old, mut epoch) = (1, None, 1);
    let mut vault = bench.open(ring(active, old, epoch)).await;
    let mut tokens: BTreeMap<String, String> = BTreeMap::new();
    let mut done = 0;
    for _ in 0..400 {
        bench.now_s.fetch_add(60, Ordering::SeqCst);
        let text = format!("value {}", rng.random_range(0..40));
        match rng.random_range(0..30) {
            0 => {
                epoch += 1;
                vault = bench.open(ring(active, old, epoch)).await;
            }
            1 | 2 if old.is_none() => {
                (old, active, epoch) = (Some(active), active + 1, epoch + 1);
                vault.replace_keys(ring(active, old, epoch)).await.unwrap();
            }
            3 if old.is_some() && vault.rotations.running().is_none() => {
                begin(&vault, request()).await;
            }
            4..10 => {
                let stepped =
                    vault.rotations.step_rotation(StepBudget { records: rng.random_range(1..10) }).await.unwrap();
                let finished = stepped != StepProgress::Idle && vault.rotations.running().is_none();
                if finished {
                    done += 1;
                    assert_eq!(vault.rotations.all_rotations()[0].state, RotationState::Done);
                    // Proven, so it can be unloaded.
                    (old, epoch) = (None, epoch + 1);
                    vault.replace_keys(ring(active, old, epoch)).await.unwrap();
                }
            }
            10 => {
                let fault = if rng.random() { InjectedFault::NotApplied } else { InjectedFault::AppliedUnanswered };
                bench.store.fail_next_apply(fault);
                // Without a rotation nothing is written.
                let _ = vault.rotations.step_rotation(StepBudget { records: 5 }).await;
                bench.store.clear_faults();
            }
            11..14 => {
                if let Some(token) = tokens.remove(&text) {
                    assert_eq!(forget(&vault, &token).await, Ok(true));
                }
            }
            14..18 => {
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
        assert_eq!(bench.mint(&vault, "NOTE", &[text]).await, [Ok((token.clone(), false))]);
    }
    assert_sound(&vault).await;
    assert_eq!(vault.records(), tokens.len() as u64);
    done
}
