//! Tests of what an attacker who can write the vault's files achieves, and of the control key's life.

use std::collections::BTreeSet;

use super::ControlKeyError;
use crate::{
    HoneytokenRequest, KeyLoadError, KeyRules, PurgeFilter, RotationRequest, TokenInput, Vault,
    tests::{
        Bench, forget, kid, permit, ring,
        stored_rows::{key, names},
        value,
    },
};
use masker_core::{
    crypto::{Fingerprint, SecretKey},
    keyring::{GraceAction, GracePeriod, Keyring, LoadedKey, Role},
};
use masker_store::{
    Row, RowBatch, RowChange, RowKey, Store,
    memory::InjectedFault,
    record::{ApiKeyRow, ControlManifestRow, GenerationRow, RowName, TombstoneRow},
};
use masker_types::kind::Kid;
use zeroize::Zeroizing;

const HONEYTOKEN: HoneytokenRequest<'_> =
    HoneytokenRequest { kind: "NOTE", value: None, context: "", label: "backup", planted_by: "root" };

fn rules() -> KeyRules {
    KeyRules::new(GracePeriod { days: 30, action: GraceAction::Warn })
}

async fn open(bench: &Bench, ring: Keyring) -> std::sync::Arc<Vault> {
    bench.open_by(ring, rules()).await.unwrap()
}

/// Returns the rows of some spaces, as they are stored.
async fn stored(bench: &Bench, spaces: &[u8]) -> Vec<(RowKey, Row)> {
    let mut rows = Vec::new();
    for space in spaces {
        rows.extend(bench.store.scan_after(*space, None, 1_000).await.unwrap().rows);
    }
    rows
}

/// Writes the store's rows without the vault.
async fn write(bench: &Bench, changes: Vec<RowChange>) {
    bench.store.apply(RowBatch { preconditions: vec![], changes }).await.unwrap();
}

/// Puts the rows of some spaces back to what they were.
async fn put_back(bench: &Bench, spaces: &[u8], rows: Vec<(RowKey, Row)>) {
    let former: BTreeSet<RowKey> = rows.iter().map(|(key, _)| key.clone()).collect();
    let now = stored(bench, spaces).await.into_iter().map(|(key, _)| key);
    let gone = now.filter(|key| !former.contains(key)).map(RowChange::Remove).collect::<Vec<_>>();
    write(bench, rows.into_iter().map(|(key, row)| RowChange::Put(key, row)).chain(gone).collect()).await;
}

async fn manifest(bench: &Bench) -> ControlManifestRow {
    let row = bench.store.get_many(vec![RowKey::control_manifest()]).await.unwrap().remove(0).unwrap();
    ControlManifestRow::decode(&row).unwrap()
}

/// Returns how many generations hold the control key.
async fn slots(bench: &Bench) -> usize {
    stored(bench, &[RowName::CONTROL]).await.len() - 1
}

async fn is_sound(vault: &Vault) -> bool {
    vault.control_problem().is_none() && vault.check(&permit()).await.unwrap().ok()
}

const CONTROL: [u8; 5] =
    [RowName::API_KEYS, RowName::HONEYTOKENS, RowName::GENERATIONS, RowName::ROTATIONS, RowName::CONTROL];

#[tokio::test]
async fn a_program_with_a_key_of_its_own_grants_nothing() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    let token = bench.token(&vault, "v").await;
    vault.close().await.unwrap();
    bench.store.reopen();
    let refused = bench.open_by(ring(9, None, 1), rules()).await.err().unwrap();
    assert!(matches!(refused, KeyLoadError::ControlKey(ControlKeyError::NoSlot(_))), "{refused}");
    bench.store.reopen();

    // The row that it would have made, and one of a vault that it made elsewhere.
    let elsewhere = Bench::new();
    let own = open(&elsewhere, ring(9, None, 1)).await;
    own.keep_api_keys(&permit(), &[key(1, "own", 1)]).await.unwrap();
    let (own_key, tagged) = stored(&elsewhere, &[RowName::API_KEYS]).await.remove(0);
    let document = serde_json::to_vec(&key(1, "own", 1)).unwrap();
    for row in [tagged, ApiKeyRow { document }.encode().unwrap()] {
        write(&bench, vec![RowChange::Put(own_key.clone(), row)]).await;
        let vault = open(&bench, ring(1, None, 1)).await;
        assert!(names(&vault).await.is_empty() && !is_sound(&vault).await);
        assert!(value(&vault, &token).await.is_ok(), "records have keys of their own");
    }
}

#[tokio::test]
async fn a_revoked_key_cannot_be_put_back() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    vault.keep_api_keys(&permit(), &[key(1, "former", 1)]).await.unwrap();
    let former = stored(&bench, &[RowName::API_KEYS]).await;
    vault.keep_api_keys(&permit(), &[key(1, "revoked", 1), key(2, "other", 1)]).await.unwrap();
    drop(vault);
    let vault = open(&bench, ring(1, None, 1)).await;
    assert_eq!(names(&vault).await, ["revoked", "other"]);
    drop(vault);
    write(&bench, former.into_iter().map(|(key, row)| RowChange::Put(key, row)).collect()).await;
    let vault = open(&bench, ring(1, None, 1)).await;
    assert!(names(&vault).await.is_empty(), "nobody knows which keys the vault had");
    assert!(vault.control_problem().is_some_and(|problem| problem.contains("new-control-key")));
    assert!(vault.keep_api_keys(&permit(), &[key(3, "new", 1)]).await.is_err());
}

#[tokio::test]
async fn a_removed_control_row_is_found() {
    for space in [RowName::API_KEYS, RowName::HONEYTOKENS, RowName::GENERATIONS] {
        let bench = Bench::new();
        let vault = open(&bench, ring(1, None, 1)).await;
        vault.keep_api_keys(&permit(), &[key(1, "a", 1), key(2, "b", 1)]).await.unwrap();
        for _ in 0..2 {
            vault.plant_honeytoken(&permit(), &bench.policy, &HONEYTOKEN).await.unwrap();
        }
        assert!(is_sound(&vault).await);
        drop(vault);
        let (key, _) = stored(&bench, &[space]).await.remove(0);
        write(&bench, vec![RowChange::Remove(key)]).await;
        let vault = open(&bench, ring(1, None, 1)).await;
        assert!(!is_sound(&vault).await && names(&vault).await.is_empty());
        // What withholds still counts.
        let honeytokens = if space == RowName::HONEYTOKENS { 1 } else { 2 };
        assert_eq!(vault.honeytokens(&permit()).len(), honeytokens);
    }
}

#[tokio::test]
async fn an_earlier_state_of_all_control_rows_is_found_by_the_audit_log() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    vault.keep_api_keys(&permit(), &[key(1, "former", 1)]).await.unwrap();
    let former = stored(&bench, &CONTROL).await;
    vault.keep_api_keys(&permit(), &[key(1, "revoked", 1)]).await.unwrap();
    let recorded = vault.position()().control;
    drop(vault);
    let rules = || KeyRules { recorded_control: Some(recorded), ..rules() };
    let vault = bench.open_by(ring(1, None, 1), rules()).await.unwrap();
    assert_eq!(names(&vault).await, ["revoked"]);
    drop(vault);
    put_back(&bench, &CONTROL, former).await;
    let vault = open(&bench, ring(1, None, 1)).await;
    assert_eq!(names(&vault).await, ["former"], "without a log, nothing shows it");
    drop(vault);
    let vault = bench.open_by(ring(1, None, 1), rules()).await.unwrap();
    assert!(names(&vault).await.is_empty());
    // A change does not make the state a sound one.
    vault.plant_honeytoken(&permit(), &bench.policy, &HONEYTOKEN).await.unwrap();
    assert!(vault.position()().control.changes > recorded.changes);
    drop(vault);
    let vault = bench.open_by(ring(1, None, 1), rules()).await.unwrap();
    assert!(names(&vault).await.is_empty() && vault.control_problem().is_some());
}

#[tokio::test]
async fn a_forged_proof_is_void() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    bench.token(&vault, "v").await;
    drop(vault);
    let vault = open(&bench, ring(2, Some(1), 2)).await;
    drop(vault);
    let generations = stored(&bench, &[RowName::GENERATIONS]).await;
    let forged = generations.into_iter().map(|(key, row)| {
        let (row, tag) = row.split_last_chunk::<16>().unwrap();
        let row = GenerationRow { proven_at_ms: Some(1), ..GenerationRow::decode(row).unwrap() };
        RowChange::Put(key, [&row.encode()[..], tag].concat())
    });
    write(&bench, forged.collect()).await;
    let vault = open(&bench, ring(2, Some(1), 3)).await;
    assert!(vault.generations().iter().all(|generation| generation.proven_at.is_none()));
    assert!(vault.control_problem().is_some());
}

#[tokio::test]
async fn a_check_finds_tombstones_that_were_removed_or_added() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    for value in ["a", "b"] {
        let token = bench.token(&vault, value).await;
        forget(&vault, &token).await.unwrap();
    }
    assert!(is_sound(&vault).await);
    let (key, row) = stored(&bench, &[RowName::TOMBSTONES]).await.remove(0);
    write(&bench, vec![RowChange::Remove(key.clone())]).await;
    let check = vault.check(&permit()).await.unwrap();
    assert!(check.problems.iter().any(|problem| problem.contains("tombstones were added or removed")), "{check:?}");
    write(&bench, vec![RowChange::Put(key, row)]).await;
    assert!(is_sound(&vault).await);
    let forged = TombstoneRow { erased_at_ms: 1 }.encode();
    write(&bench, vec![RowChange::Put(RowKey::tombstone(&[7; 20]), forged)]).await;
    assert!(!vault.check(&permit()).await.unwrap().ok());
}

#[tokio::test]
async fn a_new_control_key_removes_what_is_void_and_keeps_the_rest() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    let token = bench.token(&vault, "v").await;
    let erased = bench.token(&vault, "w").await;
    forget(&vault, &erased).await.unwrap();
    vault.keep_api_keys(&permit(), &[key(1, "a", 1)]).await.unwrap();
    vault.plant_honeytoken(&permit(), &bench.policy, &HONEYTOKEN).await.unwrap();
    let before = manifest(&bench).await;
    vault.new_control_key(&permit()).await.unwrap();
    assert!(is_sound(&vault).await);
    assert_eq!(names(&vault).await, ["a"], "nothing was void");
    let after = manifest(&bench).await;
    assert_eq!((after.epoch, after.changes, after.rows), (before.epoch + 1, before.changes + 1, before.rows));
    // A row with a tag of the former epoch is void.
    let (api_key, row) = stored(&bench, &[RowName::API_KEYS]).await.remove(0);
    vault.new_control_key(&permit()).await.unwrap();
    drop(vault);
    write(&bench, vec![RowChange::Put(api_key, row)]).await;
    let vault = open(&bench, ring(1, None, 1)).await;
    assert!(names(&vault).await.is_empty() && !is_sound(&vault).await);

    vault.new_control_key(&permit()).await.unwrap();
    assert!(is_sound(&vault).await);
    vault.keep_api_keys(&permit(), &[key(2, "b", 1)]).await.unwrap();
    drop(vault);
    let vault = open(&bench, ring(1, None, 1)).await;
    assert!(is_sound(&vault).await);
    assert_eq!((names(&vault).await, vault.honeytokens(&permit()).len()), (vec!["b".to_owned()], 1));
    assert!(value(&vault, &token).await.is_ok() && value(&vault, &erased).await.is_err());
}

#[tokio::test]
async fn minting_changes_no_control_row() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    bench.token(&vault, "first").await;
    let before = manifest(&bench).await;
    let token = bench.token(&vault, "second").await;
    forget(&vault, &token).await.unwrap();
    vault.note_key_use().await.unwrap();
    vault.note_api_key_use(&[]).await.unwrap();
    assert!(manifest(&bench).await == before);
}

#[tokio::test]
async fn a_key_that_is_proven_unneeded_and_gone_no_longer_opens_the_control_key() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    bench.token(&vault, "v").await;
    drop(vault);
    let vault = open(&bench, ring(2, Some(1), 2)).await;
    assert_eq!(slots(&bench).await, 2);
    vault.replace_keys(ring(2, None, 3)).await.unwrap();
    assert_eq!(slots(&bench).await, 2, "the vault still needs the old key");
    vault.purge(&permit(), PurgeFilter::Key(old_fingerprint()), false).await.unwrap();
    assert_eq!(slots(&bench).await, 1);
    assert_eq!(manifest(&bench).await.epoch, 2);
    drop(vault);
    assert!(bench.open_by(ring(1, None, 4), rules()).await.is_err());
    bench.store.reopen();
    let vault = open(&bench, ring(2, None, 5)).await;
    assert!(is_sound(&vault).await);
}

fn old_fingerprint() -> Fingerprint {
    ring(1, None, 1).get(kid()).unwrap().active().fingerprint()
}

#[tokio::test]
async fn keys_of_kids_that_no_policy_names_do_not_hold_the_control_key() {
    let bench = Bench::new();
    let two = |epoch| {
        let key = |kid: &str, byte: u8| {
            let key = SecretKey::from_bytes(Zeroizing::new(std::array::from_fn(|at| byte ^ at as u8))).unwrap();
            LoadedKey { kid: Kid::parse(kid).unwrap(), role: Role::Active, key }
        };
        Keyring::build(vec![key("K_A", 1), key("K_UNNAMED", 2)], epoch).ok().unwrap()
    };
    let policy_kids: BTreeSet<Kid> = [kid()].into();
    let vault = bench.open_by(two(1), KeyRules { policy_kids, ..rules() }).await.unwrap();
    assert_eq!(slots(&bench).await, 1);
    drop(vault);
    // Without a policy that names one of them, all hold it.
    let vault = bench.open_by(two(2), rules()).await.unwrap();
    assert_eq!(slots(&bench).await, 2);
    drop(vault);
}

#[tokio::test]
async fn a_vault_without_its_keys_starts_only_with_a_new_control_key() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    vault.keep_api_keys(&permit(), &[key(1, "a", 1)]).await.unwrap();
    vault.plant_honeytoken(&permit(), &bench.policy, &HONEYTOKEN).await.unwrap();
    let recorded = vault.position()().control;
    drop(vault);
    let refused = bench.open_by(ring(2, None, 2), rules()).await.err().unwrap();
    assert!(refused.to_string().contains(&old_fingerprint().to_string()), "{refused}");
    bench.store.reopen();
    let accepting = KeyRules { accept_new_control_key: true, recorded_control: Some(recorded), ..rules() };
    let vault = bench.open_by(ring(2, None, 2), accepting).await.unwrap();
    assert!(names(&vault).await.is_empty() && vault.control_problem().is_none());
    assert_eq!(vault.honeytokens(&permit()).len(), 1);
    let now = vault.position()().control;
    assert!(now.epoch > recorded.epoch && now.changes > recorded.changes);
    drop(vault);
    let vault = open(&bench, ring(2, None, 3)).await;
    assert!(is_sound(&vault).await);

    // Rows without a slot are not a new vault.
    let slot = stored(&bench, &[RowName::CONTROL]).await.into_iter().map(|(key, _)| RowChange::Remove(key));
    write(&bench, slot.collect()).await;
    let refused = bench.open_by(ring(2, None, 4), rules()).await.err().unwrap();
    assert!(matches!(refused, KeyLoadError::ControlKey(ControlKeyError::SlotsRemoved)), "{refused}");
}

#[tokio::test]
async fn slots_of_two_control_keys_are_refused() {
    let bench = Bench::new();
    drop(open(&bench, ring(1, None, 1)).await);
    let vault = open(&bench, ring(2, Some(1), 2)).await;
    let former = stored(&bench, &[RowName::CONTROL]).await;
    vault.new_control_key(&permit()).await.unwrap();
    drop(vault);
    let slot = former.into_iter().find(|(key, _)| *key != RowKey::control_manifest()).unwrap();
    write(&bench, vec![RowChange::Put(slot.0, slot.1)]).await;
    let refused = bench.open_by(ring(2, Some(1), 3), rules()).await.err().unwrap();
    assert!(matches!(refused, KeyLoadError::ControlKey(ControlKeyError::SlotsDisagree(..))), "{refused}");
}

#[tokio::test]
async fn a_commit_that_failed_leaves_the_control_rows_sound() {
    for fault in [InjectedFault::NotApplied, InjectedFault::AppliedUnanswered] {
        let bench = Bench::new();
        let vault = open(&bench, ring(1, None, 1)).await;
        bench.store.fail_next_apply(fault);
        assert!(vault.keep_api_keys(&permit(), &[key(1, "a", 1)]).await.is_err());
        vault.keep_api_keys(&permit(), &[key(2, "b", 1)]).await.unwrap();
        bench.store.fail_next_apply(fault);
        assert!(vault.new_control_key(&permit()).await.is_err());
        let token = bench.token(&vault, "v").await;
        bench.store.fail_next_apply(fault);
        let token = TokenInput { token: &token, context: "" };
        assert!(vault.forget(&permit(), &[token]).await.is_err());
        vault.keep_api_keys(&permit(), &[key(3, "c", 1)]).await.unwrap();
        assert!(is_sound(&vault).await, "{fault:?}");
        drop(vault);
        let vault = open(&bench, ring(1, None, 1)).await;
        assert!(is_sound(&vault).await, "{fault:?}");
        assert!(names(&vault).await.ends_with(&["b".to_owned(), "c".to_owned()]));
    }
}

#[tokio::test]
async fn a_slot_of_an_earlier_epoch_does_not_bring_its_rows_back() {
    let bench = Bench::new();
    drop(open(&bench, ring(1, None, 1)).await);
    let vault = open(&bench, ring(2, Some(1), 2)).await;
    vault.keep_api_keys(&permit(), &[key(1, "forged", 1)]).await.unwrap();
    let spaces = super::spaces::TAGGED.into_iter().chain([RowName::CONTROL]).collect::<Vec<_>>();
    let former = stored(&bench, &spaces).await;
    vault.keep_api_keys(&permit(), &[key(1, "own", 1)]).await.unwrap();
    vault.new_control_key(&permit()).await.unwrap();
    let recorded_control = Some(vault.position()().control);
    drop(vault);
    // A former holder of the key of the earlier epoch can write all of its rows again.
    put_back(&bench, &spaces, former).await;
    let refused = bench.open_by(ring(2, None, 3), KeyRules { recorded_control, ..rules() }).await.err().unwrap();
    assert!(matches!(refused, KeyLoadError::ControlKey(ControlKeyError::NoSlot(_))), "{refused}");
}

#[tokio::test]
async fn a_new_control_key_does_not_make_sound_what_was_changed_before_it() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    vault.keep_api_keys(&permit(), &[key(1, "former", 1)]).await.unwrap();
    let former = stored(&bench, &[RowName::API_KEYS]).await;
    vault.keep_api_keys(&permit(), &[key(1, "revoked", 1)]).await.unwrap();
    write(&bench, former.into_iter().map(|(key, row)| RowChange::Put(key, row)).collect()).await;
    vault.new_control_key(&permit()).await.unwrap();
    assert!(names(&vault).await.is_empty());
    drop(vault);
    let vault = open(&bench, ring(1, None, 1)).await;
    assert!(names(&vault).await.is_empty());
}

#[tokio::test]
async fn a_slot_that_ends_does_not_make_sound_what_was_changed_before() {
    for space in [RowName::HONEYTOKENS, RowName::TOMBSTONES] {
        let bench = Bench::new();
        let vault = open(&bench, ring(1, None, 1)).await;
        let token = bench.token(&vault, "v").await;
        bench.token(&vault, "w").await;
        forget(&vault, &token).await.unwrap();
        vault.plant_honeytoken(&permit(), &bench.policy, &HONEYTOKEN).await.unwrap();
        drop(vault);
        drop(open(&bench, ring(2, Some(1), 2)).await);
        let vault = open(&bench, ring(2, None, 3)).await;
        let (gone, _) = stored(&bench, &[space]).await.remove(0);
        write(&bench, vec![RowChange::Remove(gone)]).await;
        vault.purge(&permit(), PurgeFilter::Key(old_fingerprint()), false).await.unwrap();
        assert_eq!((manifest(&bench).await.epoch, slots(&bench).await), (1, 2), "{}", char::from(space));
        assert!(vault.control_problem().is_some());
    }
}

#[tokio::test]
async fn only_an_operator_gives_an_unsound_vault_a_control_key() {
    for tombstones in [false, true] {
        let bench = Bench::new();
        let vault = open(&bench, ring(1, None, 1)).await;
        bench.token(&vault, "v").await;
        vault.plant_honeytoken(&permit(), &bench.policy, &HONEYTOKEN).await.unwrap();
        drop(vault);
        drop(open(&bench, ring(2, Some(1), 2)).await);
        let gone = if tombstones {
            RowKey::tombstone_sum()
        } else {
            stored(&bench, &[RowName::HONEYTOKENS]).await.remove(0).0
        };
        write(&bench, vec![RowChange::Remove(gone)]).await;
        let vault = open(&bench, ring(2, None, 3)).await;
        assert!(vault.control_problem().is_some());
        vault.purge(&permit(), PurgeFilter::Key(old_fingerprint()), false).await.unwrap();
        assert_eq!((manifest(&bench).await.epoch, slots(&bench).await), (1, 2));
        vault.new_control_key(&permit()).await.unwrap();
        assert!(is_sound(&vault).await);
        assert_eq!((manifest(&bench).await.epoch, slots(&bench).await), (2, 1));
    }
}

#[tokio::test]
async fn a_forged_rotation_does_not_run() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    bench.token(&vault, "v").await;
    drop(vault);
    let vault = open(&bench, ring(2, Some(1), 2)).await;
    let request = RotationRequest { new_kid: kid(), old_kid: None, dry_run: false, rows_per_second_max: 0 };
    vault.begin_rotation(&permit(), request).await.unwrap();
    assert!(vault.rotation_running().is_some());
    let running = stored(&bench, &[RowName::ROTATIONS]).await;
    let id = vault.rotation_running().unwrap().id;
    vault.cancel_rotation(&permit(), id).await.unwrap();
    drop(vault);
    write(&bench, running.into_iter().map(|(key, row)| RowChange::Put(key, row)).collect()).await;
    let vault = open(&bench, ring(2, Some(1), 3)).await;
    assert!(vault.rotation_running().is_none() && vault.control_problem().is_some());
}

#[tokio::test]
async fn an_emptied_vault_is_not_a_new_one() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    let recorded_control = Some(vault.position()().control);
    drop(vault);
    let all = stored(&bench, &super::spaces::all().collect::<Vec<_>>()).await;
    write(&bench, all.into_iter().map(|(key, _)| RowChange::Remove(key)).collect()).await;
    let refused = bench.open_by(ring(1, None, 2), KeyRules { recorded_control, ..rules() }).await.err().unwrap();
    assert!(matches!(refused, KeyLoadError::ControlKey(ControlKeyError::SlotsRemoved)), "{refused}");
}

#[tokio::test]
async fn numbers_of_a_forged_manifest_are_not_believed() {
    let bench = Bench::new();
    let vault = open(&bench, ring(1, None, 1)).await;
    let changes = vault.position()().control.changes;
    drop(vault);
    let forged = ControlManifestRow { changes: u64::MAX, ..manifest(&bench).await };
    write(&bench, vec![RowChange::Put(RowKey::control_manifest(), forged.encode())]).await;
    let vault = open(&bench, ring(1, None, 2)).await;
    assert!(vault.control_problem().is_some() && vault.position()().control.changes <= changes);
    vault.new_control_key(&permit()).await.unwrap();
    drop(vault);
    let vault = open(&bench, ring(1, None, 3)).await;
    assert!(is_sound(&vault).await);
}

#[tokio::test]
async fn a_damaged_slot_is_written_again() {
    let bench = Bench::new();
    drop(open(&bench, ring(1, None, 1)).await);
    drop(open(&bench, ring(2, Some(1), 2)).await);
    let slot = RowKey::control_slot(kid(), old_fingerprint().as_bytes());
    let mut row = bench.store.get_many(vec![slot.clone()]).await.unwrap().remove(0).unwrap();
    *row.last_mut().unwrap() ^= 1;
    write(&bench, vec![RowChange::Put(slot, row)]).await;
    drop(open(&bench, ring(2, Some(1), 3)).await);
    let accepting = KeyRules { accept_rollback: true, ..rules() };
    let vault = bench.open_by(ring(1, None, 4), accepting).await.unwrap();
    assert!(is_sound(&vault).await);
}
