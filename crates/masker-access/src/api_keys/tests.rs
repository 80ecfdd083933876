use std::{sync::Barrier, thread, time::Duration};

use rand::{SeedableRng, rngs::ChaCha20Rng};

use super::*;
use crate::{ApiKeySecret, ApiKeySpec, ApiKeyUpdate, Mode, Timestamps};
use masker_types::grant::{Grant, Limit, Limits, ScopeSet};

const NOW: u64 = 1_800_000_000_000;

fn presented(seed: u64) -> PresentedKey {
    ApiKeySecret::generate(Mode::Live, &mut ChaCha20Rng::seed_from_u64(seed)).presented()
}

fn key(seed: u64) -> ApiKey {
    let spec = ApiKeySpec {
        name: format!("key-{seed}"),
        workspace: "default".to_owned(),
        owner: "ada".to_owned(),
        grant: Grant::all(),
        limits: Limits::none(),
        mode: Mode::Live,
        expires_at_ms: None,
        parent: None,
    };
    let secret = presented(seed);
    let id = ApiKeyId::new(NOW + seed, &mut ChaCha20Rng::seed_from_u64(seed));
    ApiKey::create(id, spec, &secret, "operator", NOW)
}

fn name(keys: &ApiKeys, seed: u64, now_ms: u64) -> Result<String, AuthRejection> {
    keys.authenticate(&presented(seed), &Peer::for_tests(7, 7, &[]), now_ms).map(|(found, _)| found.name.clone())
}

#[test]
fn finds_a_key_by_each_of_its_secrets_and_by_no_other() {
    let keys = ApiKeys::load([key(1), key(2)]);
    assert_eq!(name(&keys, 1, NOW), Ok("key-1".to_owned()));
    assert_eq!(name(&keys, 3, NOW), Err(AuthRejection::Unknown));
    let secret = presented(3);
    keys.put(key(1).rotated(&secret, 60, NOW).unwrap());
    assert_eq!((name(&keys, 1, NOW), name(&keys, 3, NOW)), (Ok("key-1".to_owned()), Ok("key-1".to_owned())));
    assert_eq!(name(&keys, 1, NOW + 60_000), Err(AuthRejection::Rejected(KeyRejection::Expired)));
    assert_eq!(keys.list().len(), 2);
}

#[test]
fn a_revocation_and_a_rotation_without_grace_reach_requests_in_flight() {
    let keys = ApiKeys::load([key(1)]);
    let checked = |seed: u64| keys.check(&presented(seed).digest()).map(drop);
    assert_eq!(checked(1), Ok(()));
    let renamed = ApiKeyUpdate { name: Some("renamed".to_owned()), ..ApiKeyUpdate::default() };
    keys.put(key(1).changed(renamed).unwrap());
    assert_eq!(checked(1), Ok(()));
    let expiring = ApiKeyUpdate { expires_at_ms: Some(Some(NOW + 1)), ..ApiKeyUpdate::default() };
    keys.put(key(1).changed(expiring).unwrap());
    assert_eq!(checked(1), Ok(()), "it expires while the request runs");
    keys.put(key(1).rotated(&presented(2), 1, NOW + 5).unwrap());
    assert_eq!((checked(1), checked(2)), (Ok(()), Ok(())));
    keys.put(key(1).rotated(&presented(2), 0, NOW + 5).unwrap());
    assert_eq!((checked(1), checked(2)), (Err(AuthRejection::Rejected(KeyRejection::Expired)), Ok(())));
    keys.put(key(1).revoked(NOW + 5));
    assert_eq!(checked(1), Err(AuthRejection::Rejected(KeyRejection::Revoked)));
    assert_eq!(name(&keys, 1, NOW), Err(AuthRejection::Rejected(KeyRejection::Revoked)));
    assert_eq!(keys.active_in("default", NOW), 0);
}

#[test]
fn loses_no_key_of_threads_that_add_some_at_once() {
    const THREADS: u64 = 4;
    const KEYS: u64 = 50;
    let (keys, begin) = (ApiKeys::default(), Barrier::new(THREADS as usize));
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (keys, begin) = (&keys, &begin);
            scope.spawn(move || {
                let made: Vec<ApiKey> = (0..KEYS).map(|seed| key(number * KEYS + seed)).collect();
                begin.wait();
                made.into_iter().for_each(|key| keys.put(key));
            });
        }
    });
    assert_eq!(keys.list().len() as u64, THREADS * KEYS);
}

#[test]
fn keeps_the_last_use_through_changes_until_it_is_saved() {
    let keys = ApiKeys::load([key(1)]);
    assert!(keys.unsaved_uses().is_empty());
    name(&keys, 1, NOW + 5_000).unwrap();
    let [used] = keys.unsaved_uses().try_into().ok().unwrap();
    assert_eq!(used.last_use().map(|last| (last.at_ms, last.uid)), Some((NOW + 5_000, 7)));
    keys.mark_uses_saved(&[used]);
    assert!(keys.unsaved_uses().is_empty());
    name(&keys, 1, NOW + 5_500).unwrap();
    assert!(keys.unsaved_uses().is_empty(), "a use within the same second is not recorded again");
    name(&keys, 1, NOW + 7_000).unwrap();
    keys.put(key(1));
    assert_eq!(keys.get(key(1).id()).unwrap().last_use().map(|last| last.at_ms), Some(NOW + 7_000));
}

#[test]
fn a_use_at_a_time_in_the_future_is_corrected_by_the_next() {
    const AHEAD: u64 = NOW + 86_400_000_000;
    let keys = ApiKeys::load([key(1)]);
    name(&keys, 1, AHEAD).unwrap();
    let saved = keys.unsaved_uses();
    keys.mark_uses_saved(&saved);
    // Also after a restart.
    for keys in [keys, ApiKeys::load(saved)] {
        name(&keys, 1, NOW).unwrap();
        let [used] = keys.unsaved_uses().try_into().ok().unwrap();
        assert_eq!(used.last_use().map(|last| (last.at_ms, last.prefix)), Some((NOW, Some(presented(1).prefix()))));
        keys.mark_uses_saved(&[used]);
        assert!(keys.unsaved_uses().is_empty());
    }
}

#[test]
fn a_secret_that_was_noted_as_ended_stays_ended() {
    let expired = Err(AuthRejection::Rejected(KeyRejection::Expired));
    let keys = ApiKeys::load([key(1).rotated(&presented(2), 60, NOW).unwrap()]);
    assert!(name(&keys, 1, NOW + 59_999).is_ok() && !keys.has_unsaved_ends());
    assert_eq!(name(&keys, 1, NOW + 60_000), expired);
    assert!(name(&keys, 1, NOW).is_ok(), "a refusal alone notes nothing: the clock may be wrong");
    keys.note_ends(NOW + 60_000);
    assert_eq!((name(&keys, 1, NOW), name(&keys, 2, NOW)), (expired.clone(), Ok("key-1".to_owned())));
    // It is stored with the next uses, and so stays ended after a restart.
    assert!(keys.has_unsaved_ends());
    let saved = keys.unsaved_uses();
    keys.mark_uses_saved(&saved);
    assert!(!keys.has_unsaved_ends());
    assert_eq!(name(&ApiKeys::load(saved), 1, NOW), expired);
    // A secret that nobody presents ends as well.
    let keys = ApiKeys::load([key(1).rotated(&presented(2), 60, NOW).unwrap()]);
    keys.note_ends(NOW + 60_000);
    assert_eq!(name(&keys, 1, NOW), expired);
}

#[test]
fn a_key_that_was_noted_as_expired_stays_expired() {
    let expired = Err(AuthRejection::Rejected(KeyRejection::Expired));
    let expiring = || {
        let change = ApiKeyUpdate { expires_at_ms: Some(Some(NOW + 60_000)), ..ApiKeyUpdate::default() };
        ApiKeys::load([key(1).changed(change).unwrap()])
    };
    let keys = expiring();
    assert!(name(&keys, 1, NOW + 59_999).is_ok() && !keys.has_unsaved_ends());
    assert_eq!(name(&keys, 1, NOW + 60_000), expired);
    assert!(name(&keys, 1, NOW).is_ok(), "a refusal alone notes nothing: the clock may be wrong");
    keys.note_ends(NOW + 60_000);
    assert_eq!(name(&keys, 1, NOW), expired);
    assert_eq!(keys.active_in("default", NOW), 0);
    // It is stored with the next uses, and so stays expired after a restart.
    assert!(keys.has_unsaved_ends());
    let saved = keys.unsaved_uses();
    keys.mark_uses_saved(&saved);
    assert!(!keys.has_unsaved_ends());
    assert_eq!(name(&ApiKeys::load(saved), 1, NOW), expired);
    // A key that nobody presents expires as well.
    let keys = expiring();
    keys.note_ends(NOW + 60_000);
    assert_eq!(name(&keys, 1, NOW), expired);
}

#[test]
fn a_restriction_holds_until_its_key_is_stored() {
    let keys = ApiKeys::load([key(1), key(2)]);
    let checked = |seed: u64| {
        let digest = presented(seed).digest();
        (keys.check(&digest).is_ok(), keys.check_stored(&digest).is_ok())
    };
    name(&keys, 1, NOW).unwrap();
    name(&keys, 2, NOW).unwrap();
    assert!(!keys.restrict(&[key(1), key(3)]), "nothing is taken, and a new key is not there yet");
    assert!(keys.restrict(&[key(1).revoked(NOW)]) && !keys.is_stored(key(1).id()));
    assert_eq!(name(&keys, 1, NOW), Err(AuthRejection::Rejected(KeyRejection::Revoked)));
    assert_eq!((checked(1), checked(2)), ((false, true), (true, true)));
    // Another restriction, other keys and notes of use change nothing of that.
    assert!(keys.restrict(&[keys.get(key(1).id()).unwrap()]), "what it has taken before is still not stored");
    assert_eq!(keys.unstored_change(key(1).id()), Some(UnstoredChange::Revocation));
    keys.put(key(2));
    keys.note_ends(NOW + 1);
    assert_eq!((checked(1), keys.unsaved_uses().len()), ((false, true), 1));
    keys.put(keys.get(key(1).id()).unwrap());
    assert_eq!((checked(1), keys.is_stored(key(1).id())), ((false, false), true));
}

/// Returns a key that another one has created, with a limit of requests in an hour.
fn created(seed: u64, parent: Option<u64>, requests: u64) -> ApiKey {
    let limits = Limits::new([(Limit::RequestsPerHour, requests)]).unwrap();
    let spec = ApiKeySpec {
        name: format!("key-{seed}"),
        workspace: format!("workspace-{seed}"),
        owner: "ada".to_owned(),
        grant: Grant::all(),
        limits,
        mode: Mode::Live,
        expires_at_ms: None,
        parent: parent.map(|parent| key(parent).id()),
    };
    ApiKey::create(key(seed).id(), spec, &presented(seed), parent.map_or("operator", |_| "a key"), NOW)
}

fn admitted(keys: &ApiKeys, seed: u64) -> usize {
    let now = Timestamps { monotonic: Duration::from_secs(1), unix: NOW / 1_000 };
    let (principal, _) = keys.authenticate(&presented(seed), &Peer::for_tests(7, 7, &[]), NOW).unwrap();
    (0..100).take_while(|_| principal.limiter.admit(now, 0).is_ok()).count()
}

#[test]
fn only_revocations_of_one_request_belong_together() {
    let (first, second, third) = (created(1, None, 9), created(2, Some(1), 9), created(3, Some(1), 9));
    let keys = ApiKeys::load([first.clone(), second.clone(), third.clone()]);
    let with_first = || {
        let first = keys.get(first.id()).unwrap();
        keys.unstored_revocations_with(&first).iter().map(ApiKey::id).collect::<Vec<_>>()
    };
    let narrowed = third.changed(ApiKeyUpdate { scopes: Some(ScopeSet::default()), ..ApiKeyUpdate::default() });
    assert!(keys.restrict(&[narrowed.unwrap()]));
    assert_eq!(keys.unstored_change(third.id()), Some(UnstoredChange::Rights));
    assert!(with_first().is_empty(), "nothing is revoked");
    keys.restrict(&[keys.get(third.id()).unwrap().revoked(NOW)]);
    keys.restrict(&[first.revoked(NOW + 1), second.revoked(NOW + 1)]);
    assert_eq!(with_first(), [second.id()]);
}

#[test]
fn keys_draw_on_the_limits_of_the_keys_that_created_them() {
    // Ids of creators can be greater: the clock may have been set back.
    let keys =
        ApiKeys::load([created(9, None, 10), created(5, Some(9), 10), created(1, Some(5), 4), created(7, None, 10)]);
    assert_eq!((admitted(&keys, 1), admitted(&keys, 5), admitted(&keys, 9), admitted(&keys, 7)), (4, 6, 0, 10));
    let ids = |keys: Vec<ApiKey>| keys.iter().map(ApiKey::id).collect::<Vec<_>>();
    assert_eq!(ids(keys.descendants(key(9).id())), [key(1).id(), key(5).id()]);
    assert_eq!(keys.ancestors(key(1).id()), [key(5).id(), key(9).id()]);

    // A change of a creator reaches what it has created, and what was used stays used.
    let raised = |number| ApiKeyUpdate {
        limits: Some(Limits::new([(Limit::RequestsPerHour, number)]).unwrap()),
        ..ApiKeyUpdate::default()
    };
    keys.put(created(9, None, 10).changed(raised(12)).unwrap());
    keys.put(created(1, Some(5), 4).changed(raised(9)).unwrap());
    assert_eq!((admitted(&keys, 1), admitted(&keys, 5), admitted(&keys, 9)), (0, 0, 2));
    // A creator that was revoked has not given its limits away.
    keys.put(created(9, None, 10).revoked(NOW));
    assert_eq!(admitted(&keys, 5), 0);
}

#[test]
fn keys_draw_on_the_limits_of_the_client_that_created_them() {
    let keys = ApiKeys::load([created(1, None, 10), created(2, None, 10), created(3, Some(2), 10)]);
    let client = |requests| {
        let limits = Limits::new([(Limit::RequestsPerHour, requests)]).unwrap();
        HashMap::from([("operator".to_owned(), Principal::local("operator", Grant::all(), limits))])
    };
    keys.follow_clients(client(7));
    assert_eq!((admitted(&keys, 1), admitted(&keys, 3)), (7, 0));
    assert_eq!(keys.active_of_client("operator", NOW), 3);
    keys.follow_clients(HashMap::new());
    assert_eq!((admitted(&keys, 1), admitted(&keys, 3)), (3, 10));
}

#[test]
fn damaged_rows_that_name_each_other_as_creators_do_no_harm() {
    let keys = ApiKeys::load([created(1, Some(2), 3), created(2, Some(1), 3), created(3, Some(8), 3)]);
    assert_eq!(admitted(&keys, 3), 3);
    assert!(admitted(&keys, 1) <= 3);
}
