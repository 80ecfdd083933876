//! The stored record of an API key: everything but its secret, and the changes in its life.
//!
//! A key is *active* from its creation until it expires or is revoked. A rotation gives it a new secret, and the former
//! one keeps working for a grace period. Each change takes the time as an argument and returns the key to be stored. The
//! caller puts it into force only once it is durable.

use std::fmt;

use data_encoding::HEXLOWER;
use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{KeyDigest, KeyPrefix, Mode, PresentedKey};
use masker_types::{
    grant::{Grant, Limits, ScopeSet},
    limits::{API_KEY_GRACE_SECONDS_MAX, API_KEY_INACTIVE_DAYS_MIN},
};

/// Replaced secrets that are remembered, so that a caller which still presents one learns that it has expired.
const REPLACED_MAX: usize = 8;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The id of an API key: 6 bytes with the time of its creation, in milliseconds of Unix time, then 10 random bytes. The
/// text is 32 lower-case hex digits. Ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyId([u8; 16]);

impl ApiKeyId {
    /// Returns the id of a key that is created now.
    pub fn new(now_ms: u64, rng: &mut impl Rng) -> Self {
        let [_, _, time @ ..] = now_ms.to_be_bytes();
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        bytes[..6].copy_from_slice(&time);
        ApiKeyId(bytes)
    }

    /// Parses 32 lower-case hex digits; returns `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(ApiKeyId)
    }

    /// Returns the id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        ApiKeyId(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The properties of a new key. The caller has checked their bounds.
#[derive(Clone, Debug)]
pub struct ApiKeySpec {
    /// The key's name.
    pub name: String,
    /// The workspace that it counts towards.
    pub workspace: String,
    /// Its owner: a person, or the organization.
    pub owner: String,
    /// What it may do.
    pub grant: Grant,
    /// How much it may do.
    pub limits: Limits,
    /// Whether it works with live or test tokens.
    pub mode: Mode,
    /// When it expires, in milliseconds of Unix time; `None` for never.
    pub expires_at_ms: Option<u64>,
}

/// Who last used a key, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
    /// The uid of the process.
    pub uid: u32,
    /// The process's unit of the system's service manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What is stored of one secret.
#[derive(Clone, Serialize, Deserialize)]
struct StoredSecret {
    #[serde(with = "digest")]
    digest: KeyDigest,
    #[serde(with = "prefix")]
    prefix: KeyPrefix,
}

impl StoredSecret {
    fn of(secret: &PresentedKey) -> Self {
        StoredSecret { digest: secret.digest(), prefix: secret.prefix() }
    }
}

/// A replaced secret.
#[derive(Clone, Serialize, Deserialize)]
struct ReplacedSecret {
    #[serde(flatten)]
    secret: StoredSecret,
    /// The end of its grace period, in milliseconds of Unix time; 0 without one, so that it ends requests in flight too.
    until_ms: u64,
}

/// An API key as the vault stores it. This type's JSON is the document of its row.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    id: ApiKeyId,
    name: String,
    workspace: String,
    owner: String,
    grant: Grant,
    limits: Limits,
    #[serde(rename = "world", with = "mode")]
    mode: Mode,
    created_by: String,
    created_at_ms: u64,
    expires_at_ms: Option<u64>,
    revoked_at_ms: Option<u64>,
    rotated_at_ms: Option<u64>,
    secret: StoredSecret,
    replaced: Vec<ReplacedSecret>,
    last_use: Option<LastUse>,
}

/// A revoked key cannot change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this key was revoked, which is permanent: create another")]
pub struct KeyRevoked;

/// Why a known secret does not authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRejection {
    /// The key was revoked.
    Revoked,
    /// The key has expired, or this secret was replaced and its grace period is over.
    Expired,
}

impl ApiKey {
    /// Creates a key with this secret. `created_by` is the name of the principal that requested it.
    pub fn create(id: ApiKeyId, spec: ApiKeySpec, secret: &PresentedKey, created_by: &str, now_ms: u64) -> Self {
        ApiKey {
            id,
            name: spec.name,
            workspace: spec.workspace,
            owner: spec.owner,
            grant: spec.grant,
            limits: spec.limits,
            mode: spec.mode,
            created_by: created_by.to_owned(),
            created_at_ms: now_ms,
            expires_at_ms: spec.expires_at_ms,
            revoked_at_ms: None,
            rotated_at_ms: None,
            secret: StoredSecret::of(secret),
            replaced: Vec::new(),
            last_use: None,
        }
    }

    /// Returns the key with another secret. The former one works for another `grace_seconds`, at most
    /// [`API_KEY_GRACE_SECONDS_MAX`], and all secrets before it work no longer than that: since it is not always known
    /// which one has leaked, a rotation without grace ends them all.
    ///
    /// # Errors
    /// [`KeyRevoked`] if it was revoked.
    pub fn rotated(&self, secret: &PresentedKey, grace_seconds: u64, now_ms: u64) -> Result<Self, KeyRevoked> {
        self.not_revoked()?;
        let grace_ms = grace_seconds.min(API_KEY_GRACE_SECONDS_MAX) * 1_000;
        let until_ms = if grace_ms == 0 { 0 } else { now_ms.saturating_add(grace_ms) };
        let mut key = self.clone();
        key.replaced.push(ReplacedSecret { secret: self.secret.clone(), until_ms });
        key.replaced.iter_mut().for_each(|replaced| replaced.until_ms = replaced.until_ms.min(until_ms));
        let forgotten = key.replaced.len().saturating_sub(REPLACED_MAX);
        key.replaced.drain(..forgotten);
        key.secret = StoredSecret::of(secret);
        key.rotated_at_ms = Some(now_ms);
        Ok(key)
    }

    /// Returns the key revoked, permanently. A key that was revoked before keeps the time of that.
    pub fn revoked(&self, now_ms: u64) -> Self {
        ApiKey { revoked_at_ms: Some(self.revoked_at_ms.unwrap_or(now_ms)), ..self.clone() }
    }

    /// Returns the key with these changes.
    ///
    /// # Errors
    /// [`KeyRevoked`] if it was revoked.
    pub fn changed(&self, change: ApiKeyUpdate) -> Result<Self, KeyRevoked> {
        self.not_revoked()?;
        let mut key = self.clone();
        key.name = change.name.unwrap_or(key.name);
        key.grant.scopes = change.scopes.unwrap_or(key.grant.scopes);
        key.limits = change.limits.unwrap_or(key.limits);
        key.expires_at_ms = change.expires_at_ms.unwrap_or(key.expires_at_ms);
        Ok(key)
    }

    /// Returns the key with this last use, unless it has a later one.
    pub fn used(&self, last: LastUse) -> Self {
        let later = self.last_use.as_ref().is_none_or(|known| known.at_ms < last.at_ms);
        let last_use = if later { Some(last) } else { self.last_use.clone() };
        ApiKey { last_use, ..self.clone() }
    }

    fn not_revoked(&self) -> Result<(), KeyRevoked> {
        if self.revoked_at_ms.is_some() { Err(KeyRevoked) } else { Ok(()) }
    }

    /// Checks whether a secret of this key works now, by its digest; `None` if it is not a secret of this key.
    ///
    /// # Errors
    /// [`KeyRejection`] if it no longer works.
    pub(super) fn accepts(&self, digest: &KeyDigest, now_ms: u64) -> Option<Result<(), KeyRejection>> {
        // Compares with every secret, so that the time does not depend on which one matches.
        let mut until = self.secret.digest.ct_eq(digest).then_some(u64::MAX);
        for replaced in &self.replaced {
            if replaced.secret.digest.ct_eq(digest) {
                until = Some(until.map_or(replaced.until_ms, |until| until.max(replaced.until_ms)));
            }
        }
        let until = until?.min(self.expires_at_ms.unwrap_or(u64::MAX));
        Some(match self.revoked_at_ms {
            Some(_) => Err(KeyRejection::Revoked),
            None if until <= now_ms => Err(KeyRejection::Expired),
            None => Ok(()),
        })
    }

    /// Returns the digests of all its secrets.
    pub(super) fn digests(&self) -> impl Iterator<Item = &KeyDigest> {
        std::iter::once(&self.secret).chain(self.replaced.iter().map(|replaced| &replaced.secret)).map(|s| &s.digest)
    }

    /// Returns whether it is neither revoked nor expired. Active keys count towards their workspace.
    pub fn is_active(&self, now_ms: u64) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|at| at > now_ms)
    }

    /// Returns whether it is active but has not been used for [`API_KEY_INACTIVE_DAYS_MIN`] days.
    pub fn is_inactive(&self, now_ms: u64) -> bool {
        let since = self.last_use.as_ref().map_or(self.created_at_ms, |last| last.at_ms).max(self.created_at_ms);
        self.is_active(now_ms) && now_ms.saturating_sub(since) >= API_KEY_INACTIVE_DAYS_MIN * DAY_MS
    }

    /// Returns whether it works with test tokens.
    pub fn is_test_key(&self) -> bool {
        self.mode == Mode::Test
    }

    /// Returns when the last replaced secret stops working, if one still works.
    pub fn grace_ends_ms(&self, now_ms: u64) -> Option<u64> {
        self.replaced.iter().map(|replaced| replaced.until_ms).filter(|until| *until > now_ms).max()
    }
}

/// Changes to a key. Fields that are `None` stay as they are.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyUpdate {
    /// The new name.
    pub name: Option<String>,
    /// The new scopes.
    pub scopes: Option<ScopeSet>,
    /// The new limits.
    pub limits: Option<Limits>,
    /// The new expiry, in milliseconds of Unix time; `Some(None)` for never.
    pub expires_at_ms: Option<Option<u64>>,
}

impl ApiKey {
    /// Returns its id.
    pub fn id(&self) -> ApiKeyId {
        self.id
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the workspace that it counts towards.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// Returns its owner: a person, or the organization.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns what it may do.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Returns how much it may do.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns whether it works with live or test tokens.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the name of the principal that created it.
    pub fn created_by(&self) -> &str {
        &self.created_by
    }

    /// Returns when it was created, in milliseconds of Unix time.
    pub fn created_at_ms(&self) -> u64 {
        self.created_at_ms
    }

    /// Returns when it expires, in milliseconds of Unix time; `None` for never.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }

    /// Returns when it was revoked, in milliseconds of Unix time.
    pub fn revoked_at_ms(&self) -> Option<u64> {
        self.revoked_at_ms
    }

    /// Returns when it was last rotated, in milliseconds of Unix time.
    pub fn rotated_at_ms(&self) -> Option<u64> {
        self.rotated_at_ms
    }

    /// Returns its last use as of this record.
    pub fn last_use(&self) -> Option<&LastUse> {
        self.last_use.as_ref()
    }

    /// Returns the first characters of its secret, which are public.
    pub fn prefix(&self) -> KeyPrefix {
        self.secret.prefix
    }
}

impl Serialize for ApiKeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ApiKeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        ApiKeyId::parse(&text).ok_or_else(|| de::Error::custom("not an API key id"))
    }
}

mod digest {
    use super::*;

    pub(super) fn serialize<S: Serializer>(digest: &KeyDigest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(digest.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyDigest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(KeyDigest::from_bytes).ok_or_else(|| de::Error::custom("not a digest"))
    }
}

mod prefix {
    use super::*;

    pub(super) fn serialize<S: Serializer>(prefix: &KeyPrefix, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(prefix.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyPrefix, D::Error> {
        let text = String::deserialize(deserializer)?;
        KeyPrefix::parse(&text).ok_or_else(|| de::Error::custom("not an API key prefix"))
    }
}

mod mode {
    use super::*;

    pub(super) fn serialize<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(mode.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mode = Mode::ALL.into_iter().find(|mode| mode.as_str() == text);
        mode.ok_or_else(|| de::Error::custom("neither live nor test"))
    }
}

#[cfg(test)]
mod tests {
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

    fn key() -> ApiKey {
        let spec = ApiKeySpec {
            name: "billing".to_owned(),
            workspace: "default".to_owned(),
            owner: "ada".to_owned(),
            grant: Grant::all(),
            limits: Limits::standard(),
            mode: Mode::Live,
            expires_at_ms: Some(NOW + 1_000 * DAY_MS),
        };
        let id = ApiKeyId::new(NOW, &mut ChaCha20Rng::seed_from_u64(0));
        ApiKey::create(id, spec, &secret(1), "operator", NOW)
    }

    #[test]
    fn a_key_works_until_it_expires() {
        let key = key();
        let expires = NOW + 1_000 * DAY_MS;
        assert_eq!(key.accepts(&digest(1), NOW), Some(Ok(())));
        assert_eq!(key.accepts(&digest(1), expires - 1), Some(Ok(())));
        assert_eq!(key.accepts(&digest(1), expires), Some(Err(KeyRejection::Expired)));
        assert_eq!(key.accepts(&digest(2), NOW), None);
        assert!(key.is_active(expires - 1) && !key.is_active(expires));
    }

    #[test]
    fn a_replaced_secret_works_through_its_grace_period() {
        let once = key().rotated(&secret(2), 60, NOW).unwrap();
        let twice = once.rotated(&secret(3), 7_200, NOW + 1_000).unwrap();
        let at_once = once.rotated(&secret(3), 0, NOW + 1_000).unwrap();
        assert_eq!(once.grace_ends_ms(NOW), Some(NOW + 60_000));
        for (seed, at, accepted) in [
            (1, NOW + 59_999, Ok(())),
            (1, NOW + 60_000, Err(KeyRejection::Expired)),
            (2, NOW + 7_200_999, Ok(())),
            (2, NOW + 7_201_000, Err(KeyRejection::Expired)),
            (3, NOW + 7_201_000, Ok(())),
        ] {
            assert_eq!(twice.accepts(&digest(seed), at), Some(accepted), "{seed} {at}");
        }
        // Without grace, no former secret works.
        let accepted = [1, 2, 3].map(|seed| at_once.accepts(&digest(seed), NOW));
        assert_eq!(accepted, [Some(Err(KeyRejection::Expired)), Some(Err(KeyRejection::Expired)), Some(Ok(()))]);
        assert_eq!(at_once.grace_ends_ms(NOW + 1_000), None);
        assert_eq!(twice.digests().count(), 3);
        let long = key().rotated(&secret(2), u64::MAX, NOW).unwrap();
        assert_eq!(long.grace_ends_ms(NOW), Some(NOW + API_KEY_GRACE_SECONDS_MAX * 1_000));
    }

    #[test]
    fn forgets_secrets_that_were_replaced_long_ago() {
        let mut key = key();
        for seed in 2..20 {
            key = key.rotated(&secret(seed), 0, NOW).unwrap();
        }
        assert_eq!(key.digests().count(), 1 + REPLACED_MAX);
        assert_eq!((key.accepts(&digest(1), NOW), key.accepts(&digest(19), NOW)), (None, Some(Ok(()))));
    }

    #[test]
    fn a_revoked_key_never_works_again() {
        let revoked = key().rotated(&secret(2), 60, NOW).unwrap().revoked(NOW + 5);
        for seed in [1, 2] {
            assert_eq!(revoked.accepts(&digest(seed), NOW + 6), Some(Err(KeyRejection::Revoked)));
        }
        assert_eq!(revoked.revoked(NOW + 9).revoked_at_ms(), Some(NOW + 5));
        assert!(revoked.rotated(&secret(3), 0, NOW).is_err() && revoked.changed(ApiKeyUpdate::default()).is_err());
        assert!(!revoked.is_active(NOW + 6) && !revoked.is_inactive(NOW + 1_000 * DAY_MS));
    }

    #[test]
    fn an_unused_key_becomes_inactive() {
        let key = key();
        assert!(!key.is_inactive(NOW + 90 * DAY_MS - 1) && key.is_inactive(NOW + 90 * DAY_MS));
        let used = key.used(LastUse { at_ms: NOW + 10 * DAY_MS, uid: 7, unit: None });
        assert!(!used.is_inactive(NOW + 99 * DAY_MS) && used.is_inactive(NOW + 100 * DAY_MS));
        let before = LastUse { at_ms: NOW, uid: 8, unit: None };
        assert_eq!(used.used(before).last_use().map(|last| last.uid), Some(7));
    }

    #[test]
    fn an_update_keeps_the_fields_that_it_does_not_set() {
        let changed =
            key().changed(ApiKeyUpdate { name: Some("other".to_owned()), ..ApiKeyUpdate::default() }).unwrap();
        assert_eq!((changed.name(), changed.grant(), changed.limits()), ("other", &Grant::all(), &Limits::standard()));
        let change =
            ApiKeyUpdate { expires_at_ms: Some(None), limits: Some(Limits::none()), ..ApiKeyUpdate::default() };
        let changed = key().changed(change).unwrap();
        assert_eq!((changed.expires_at_ms(), changed.limits()), (None, &Limits::none()));
    }

    #[test]
    fn the_document_round_trips_and_rejects_unknown_fields() {
        let key = key().rotated(&secret(2), 60, NOW).unwrap().used(LastUse { at_ms: 1, uid: 2, unit: None });
        let document = serde_json::to_string(&key).unwrap();
        let back: ApiKey = serde_json::from_str(&document).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), document);
        assert_eq!(back.accepts(&digest(1), NOW), Some(Ok(())));
        assert!(serde_json::from_str::<ApiKey>(&document.replacen('{', "{\"more\":1,", 1)).is_err());
    }
}
