use rand::{SeedableRng, rngs::ChaCha20Rng};

use super::*;
use crate::ApiKeySecret;

const NOW: u64 = 1_800_000_000_000;

fn secret(seed: u64) -> PresentedKey {
    ApiKeySecret::generate(Mode::Live, &mut ChaCha20Rng::seed_from_u64(seed)).presented()
}

fn digest(seed: u64) -> KeyDigest {
    secret(seed).digest()
}

/// Returns whether a secret works, whichever it is.
fn accepted(key: &ApiKey, seed: u64, now_ms: u64) -> Option<Result<(), KeyRejection>> {
    key.accepts(&digest(seed), now_ms).map(|accepted| accepted.map(drop))
}

fn grace_ends(key: &ApiKey, now_ms: u64) -> Option<u64> {
    key.secrets_in_grace(now_ms).iter().map(|secret| secret.until_ms).max()
}

fn key() -> ApiKey {
    let spec = ApiKeySpec {
        name: "billing".to_owned(),
        workspace: "default".to_owned(),
        owner: "ada".to_owned(),
        grant: Grant::all(),
        limits: Limits::standard(),
        mode: Mode::Live,
        expires_at_ms: Some(NOW + 1_000 * DAY_MS),
        parent: None,
    };
    let id = ApiKeyId::new(NOW, &mut ChaCha20Rng::seed_from_u64(0));
    ApiKey::create(id, spec, &secret(1), "operator", NOW)
}

#[test]
fn a_key_works_until_it_expires() {
    let key = key();
    let expires = NOW + 1_000 * DAY_MS;
    assert_eq!(accepted(&key, 1, NOW), Some(Ok(())));
    assert_eq!(accepted(&key, 1, expires - 1), Some(Ok(())));
    assert_eq!(accepted(&key, 1, expires), Some(Err(KeyRejection::Expired)));
    assert_eq!(accepted(&key, 2, NOW), None);
    assert!(key.is_active(expires - 1) && !key.is_active(expires));
}

#[test]
fn a_replaced_secret_works_through_its_grace_period() {
    let once = key().rotated(&secret(2), 60, NOW).unwrap();
    let twice = once.rotated(&secret(3), 7_200, NOW + 1_000).unwrap();
    let shorter = once.rotated(&secret(3), 1, NOW + 1_000).unwrap();
    let at_once = once.rotated(&secret(3), 0, NOW + 1_000).unwrap();
    assert_eq!(grace_ends(&once, NOW), Some(NOW + 60_000));
    for (seed, at, expected) in [
        (1, NOW + 59_999, Ok(())),
        (1, NOW + 60_000, Err(KeyRejection::Expired)),
        (2, NOW + 7_200_999, Ok(())),
        (2, NOW + 7_201_000, Err(KeyRejection::Expired)),
        (3, NOW + 7_201_000, Ok(())),
    ] {
        assert_eq!(accepted(&twice, seed, at), Some(expected), "{seed} {at}");
    }
    // A shorter grace period does not shorten one that was promised.
    let found = [1, 2].map(|seed| accepted(&shorter, seed, NOW + 59_999));
    assert_eq!(found, [Some(Ok(())), Some(Err(KeyRejection::Expired))]);
    assert_eq!(accepted(&shorter, 1, NOW + 60_000), Some(Err(KeyRejection::Expired)));
    // Without grace, no former secret works.
    let found = [1, 2, 3].map(|seed| accepted(&at_once, seed, NOW));
    assert_eq!(found, [Some(Err(KeyRejection::Expired)), Some(Err(KeyRejection::Expired)), Some(Ok(()))]);
    assert_eq!(grace_ends(&at_once, NOW + 1_000), None);
    assert_eq!(twice.digests().count(), 3);
    let long = key().rotated(&secret(2), u64::MAX, NOW).unwrap();
    assert_eq!(grace_ends(&long, NOW), Some(NOW + API_KEY_GRACE_SECONDS_MAX * 1_000));
}

#[test]
fn forgets_secrets_that_were_replaced_long_ago() {
    let mut key = key();
    for seed in 2..20 {
        key = key.rotated(&secret(seed), 0, NOW).unwrap();
    }
    assert_eq!(key.digests().count(), 1 + REPLACED_MAX);
    assert_eq!((accepted(&key, 1, NOW), accepted(&key, 19, NOW)), (None, Some(Ok(()))));
}

#[test]
fn a_revoked_key_never_works_again() {
    let revoked = key().rotated(&secret(2), 60, NOW).unwrap().revoked(NOW + 5);
    for seed in [1, 2] {
        assert_eq!(accepted(&revoked, seed, NOW + 6), Some(Err(KeyRejection::Revoked)));
    }
    assert_eq!(revoked.revoked(NOW + 9).revoked_at_ms(), Some(NOW + 5));
    assert!(revoked.rotated(&secret(3), 0, NOW).is_err() && revoked.changed(ApiKeyUpdate::default()).is_err());
    assert!(!revoked.is_active(NOW + 6) && !revoked.is_inactive(NOW + 1_000 * DAY_MS));
}

#[test]
fn an_unused_key_becomes_inactive() {
    let key = key();
    assert!(!key.is_inactive(NOW + 90 * DAY_MS - 1) && key.is_inactive(NOW + 90 * DAY_MS));
    let used = key.used(LastUse { at_ms: NOW + 10 * DAY_MS, uid: 7, unit: None, prefix: None });
    assert!(!used.is_inactive(NOW + 99 * DAY_MS) && used.is_inactive(NOW + 100 * DAY_MS));
    // The last use is the one that was noted last, also after a wrong clock.
    let corrected = used.used(LastUse { at_ms: NOW, uid: 8, unit: None, prefix: None });
    assert_eq!(corrected.last_use().map(|last| (last.at_ms, last.uid)), Some((NOW, 8)));
}

#[test]
fn an_update_keeps_the_fields_that_it_does_not_set() {
    let changed = key().changed(ApiKeyUpdate { name: Some("other".to_owned()), ..ApiKeyUpdate::default() }).unwrap();
    assert_eq!((changed.name(), changed.grant(), changed.limits()), ("other", &Grant::all(), &Limits::standard()));
    let change = ApiKeyUpdate { expires_at_ms: Some(None), limits: Some(Limits::none()), ..ApiKeyUpdate::default() };
    let changed = key().changed(change).unwrap();
    assert_eq!((changed.expires_at_ms(), changed.limits()), (None, &Limits::none()));
}

#[test]
fn the_document_round_trips_and_rejects_unknown_fields() {
    let last = LastUse { at_ms: 1, uid: 2, unit: None, prefix: Some(secret(1).prefix()) };
    let narrowed = ApiKeyUpdate { scopes: Some(ScopeSet::default()), ..ApiKeyUpdate::default() };
    let key = key().rotated(&secret(2), 60, NOW).unwrap().used(last).changed(narrowed).unwrap();
    let document = serde_json::to_string(&key).unwrap();
    let back: ApiKey = serde_json::from_str(&document).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), document);
    assert_eq!(accepted(&back, 1, NOW), Some(Ok(())));
    assert!(serde_json::from_str::<ApiKey>(&document.replacen('{', "{\"more\":1,", 1)).is_err());
}

#[test]
fn a_promised_grace_period_is_kept_or_the_rotation_refused() {
    let mut key = key().rotated(&secret(100), 60, NOW).unwrap();
    for seed in 101..101 + REPLACED_MAX as u64 - 1 {
        key = key.rotated(&secret(seed), 7_200, NOW).unwrap();
    }
    assert_eq!(key.secrets_in_grace(NOW).len(), REPLACED_MAX);
    assert_eq!(key.rotated(&secret(200), 7_200, NOW).err(), Some(SecretRotationError::TooManyInGrace));
    // The first one has ended, so its place is free.
    let later = key.rotated(&secret(200), 7_200, NOW + 60_000).unwrap();
    assert_eq!(later.secrets_in_grace(NOW + 60_000).len(), REPLACED_MAX);
    assert_eq!((accepted(&later, 1, NOW), accepted(&later, 100, NOW + 60_000)), (None, Some(Ok(()))));
    // Without grace there is nothing to promise.
    assert!(key.rotated(&secret(200), 0, NOW).unwrap().secrets_in_grace(NOW).is_empty());
}

#[test]
fn an_ended_secret_stays_ended_when_the_clock_is_set_back() {
    let key = key().rotated(&secret(2), 60, NOW).unwrap();
    assert!(key.with_noted_ends(NOW + 59_999).is_none());
    let ended = key.with_noted_ends(NOW + 60_000).unwrap();
    assert!(ended.with_noted_ends(NOW + 60_000).is_none(), "it ends once");
    let ended: ApiKey = serde_json::from_str(&serde_json::to_string(&ended).unwrap()).unwrap();
    assert_eq!(accepted(&ended, 1, NOW), Some(Err(KeyRejection::Expired)));
    assert_eq!((accepted(&ended, 2, NOW), grace_ends(&ended, NOW)), (Some(Ok(())), None));
    // Time ends no request that began before.
    assert_eq!(ended.still_accepts(&digest(1)), Some(Ok(SecretRole::Replaced)));
}

#[test]
fn an_expired_key_stays_expired_when_the_clock_is_set_back() {
    let expires = NOW + 1_000 * DAY_MS;
    assert!(key().with_noted_ends(expires - 1).is_none());
    let expired = key().with_noted_ends(expires).unwrap();
    assert!(expired.with_noted_ends(expires).is_none() && expired.differs_in_ends(&key()));
    let expired: ApiKey = serde_json::from_str(&serde_json::to_string(&expired).unwrap()).unwrap();
    assert_eq!(accepted(&expired, 1, NOW), Some(Err(KeyRejection::Expired)));
    assert!(!expired.is_active(NOW));
    // Nothing but another expiry makes it work.
    let renamed = ApiKeyUpdate { name: Some("other".to_owned()), ..ApiKeyUpdate::default() };
    let rotated = expired.changed(renamed).unwrap().rotated(&secret(2), 60, NOW).unwrap();
    assert_eq!(accepted(&rotated, 2, NOW), Some(Err(KeyRejection::Expired)));
    for expiry in [None, Some(expires)] {
        let change = ApiKeyUpdate { expires_at_ms: Some(expiry), ..ApiKeyUpdate::default() };
        assert_eq!(accepted(&rotated.changed(change).unwrap(), 2, NOW), Some(Ok(())));
    }
    // Time ends no request that began before, and a revoked key has nothing left to end.
    assert_eq!(expired.still_accepts(&digest(1)), Some(Ok(SecretRole::Current)));
    assert!(key().revoked(NOW).with_noted_ends(expires).is_none());
}

#[test]
fn what_a_change_takes_away_is_separated_from_what_it_gives() {
    let scopes = |texts: &[&str]| ScopeSet::parse(texts).unwrap();
    let change = |texts: &[&str], ends| ApiKeyUpdate {
        scopes: Some(scopes(texts)),
        expires_at_ms: Some(ends),
        ..ApiKeyUpdate::default()
    };
    let before = key().changed(change(&["tokenize", "rehydrate"], Some(NOW + 9))).unwrap();
    let ended_by = |next: ApiKeyUpdate| before.restricted_to(&before.changed(next).unwrap());
    assert!(ended_by(ApiKeyUpdate::default()).is_none());
    assert!(ended_by(change(&["*"], None)).is_none(), "it only gives");
    let less = ended_by(change(&["tokenize", "lookup"], None)).unwrap();
    assert_eq!((&less.grant().scopes, less.expires_at_ms()), (&scopes(&["tokenize"]), Some(NOW + 9)));
    assert_eq!(less.held_rights(), before.held_rights());
    let sooner = ended_by(change(&["*"], Some(NOW + 5))).unwrap();
    assert_eq!((&sooner.grant().scopes, sooner.expires_at_ms()), (&before.grant().scopes, Some(NOW + 5)));
    let fewer = ended_by(ApiKeyUpdate { limits: Some(Limits::standard()), ..change(&["tokenize", "rehydrate"], None) });
    assert!(fewer.is_none(), "it has these limits");

    assert!(before.restricted_to(&before.rotated(&secret(2), 60, NOW).unwrap()).is_none());
    let rotated = before.restricted_to(&before.rotated(&secret(2), 0, NOW).unwrap()).unwrap();
    assert_eq!(accepted(&rotated, 1, NOW), Some(Err(KeyRejection::Expired)));
    let revoked = before.restricted_to(&before.revoked(NOW)).unwrap();
    assert_eq!(accepted(&revoked, 1, NOW), Some(Err(KeyRejection::Revoked)));

    let suspend = |suspended| ApiKeyUpdate { suspended: Some(suspended), ..ApiKeyUpdate::default() };
    let suspended = before.restricted_to(&before.changed(suspend(true)).unwrap()).unwrap();
    assert_eq!(accepted(&suspended, 1, NOW), Some(Err(KeyRejection::Suspended)));
    assert_eq!(suspended.still_accepts(&digest(1)), Some(Err(KeyRejection::Suspended)));
    let again: ApiKey = serde_json::from_str(&serde_json::to_string(&suspended).unwrap()).unwrap();
    assert!(again.is_suspended() && again.is_active(NOW), "it counts towards its workspace");
    let resumed = again.changed(suspend(false)).unwrap();
    assert!(again.restricted_to(&resumed).is_none(), "what a resumption gives is in force once it is stored");
    assert_eq!(accepted(&resumed, 1, NOW), Some(Ok(())));
    assert_eq!(accepted(&again.revoked(NOW), 1, NOW), Some(Err(KeyRejection::Revoked)));
}

#[test]
fn a_key_remembers_all_rights_that_it_ever_had() {
    let scopes = |texts: &[&str]| ScopeSet::parse(texts).unwrap();
    let change = |scopes, limits, ends| ApiKeyUpdate {
        name: None,
        scopes: Some(scopes),
        limits: Some(limits),
        expires_at_ms: Some(ends),
        suspended: None,
    };
    let key = key();
    assert_eq!(key.held_rights(), key.rights());
    let narrowed = key.changed(change(scopes(&["tokenize"]), Limits::standard(), Some(NOW + 1))).unwrap();
    assert_eq!(narrowed.held_rights(), key.rights());
    let other = narrowed.changed(change(scopes(&["lookup"]), Limits::none(), None)).unwrap();
    let held = KeyRights { grant: Grant::all(), limits: Limits::none(), expires_at_ms: None };
    let again: ApiKey = serde_json::from_str(&serde_json::to_string(&other).unwrap()).unwrap();
    assert_eq!(again.held_rights(), held);
    assert_eq!(again.rotated(&secret(2), 60, NOW).unwrap().revoked(NOW).held_rights(), held);
}
