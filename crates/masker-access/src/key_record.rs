//! An API key as the daemon keeps it: everything but its secret, and how it changes in its life.
//!
//! A key is *active* from its creation until it expires or is revoked; a rotation gives it another secret and lets the
//! former one work on for a grace period. Each change takes the time as an argument and gives the key as it is to be
//! written down; nothing is in force before that is durable.

use std::fmt;

use data_encoding::HEXLOWER;
use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{KeyDigest, KeyPrefix};
use masker_types::{
    grant::{Grant, Limits},
    limits::{API_KEY_GRACE_SECONDS_MAX, API_KEY_UNUSED_DAYS_MAX},
    mode::Mode,
};

/// Secrets that were replaced and are remembered, so that whoever still shows one is told so.
const REPLACED_MAX: usize = 8;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The id of an API key: the time of its creation, in milliseconds of Unix time and 6 bytes, then 10 random bytes. It is
/// written as 32 lower-case hex digits; ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyId([u8; 16]);

impl ApiKeyId {
    /// The id of a key that is made now.
    pub fn new(now_ms: u64, rng: &mut impl Rng) -> Self {
        let [_, _, time @ ..] = now_ms.to_be_bytes();
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        bytes[..6].copy_from_slice(&time);
        ApiKeyId(bytes)
    }

    /// Reads 32 lower-case hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(ApiKeyId)
    }

    /// The id of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        ApiKeyId(bytes)
    }

    /// The bytes.
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

/// What an operator decides of a new key, within bounds.
#[derive(Clone, Debug)]
pub struct ApiKeySpec {
    /// Its name.
    pub name: String,
    /// The workspace that it is counted in.
    pub workspace: String,
    /// Whose it is: a person, or the organization.
    pub owner: String,
    /// What it may do.
    pub grant: Grant,
    /// How much it may do.
    pub limits: Limits,
    /// Whether it works on live or test data.
    pub mode: Mode,
    /// When it expires, in milliseconds of Unix time; never where `None`.
    pub expires_at_ms: Option<u64>,
}

/// Who last used a key, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
    /// The user id of the process.
    pub uid: u32,
    /// Its unit of the system's service manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// One secret of a key, by what is kept of it.
#[derive(Clone, Serialize, Deserialize)]
struct StoredSecret {
    #[serde(with = "digest")]
    digest: KeyDigest,
    #[serde(with = "prefix")]
    prefix: KeyPrefix,
}

/// A secret that was replaced.
#[derive(Clone, Serialize, Deserialize)]
struct ReplacedSecret {
    #[serde(flatten)]
    secret: StoredSecret,
    /// Until when it works.
    until_ms: u64,
}

/// A key, as the vault keeps it: this type's JSON is the row's document.
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

/// Why a key does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this key was revoked, and that is for good: create another")]
pub struct KeyRevoked;

/// Why a secret that is of some key does not authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRejection {
    /// The key was revoked.
    Revoked,
    /// The key has expired, or this secret was replaced and its grace period is over.
    Expired,
}

impl ApiKey {
    /// A key with this secret. `created_by` is the name of whoever asked for it.
    pub fn create(
        id: ApiKeyId,
        spec: ApiKeySpec,
        secret: (KeyDigest, KeyPrefix),
        created_by: &str,
        now_ms: u64,
    ) -> Self {
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
            secret: StoredSecret { digest: secret.0, prefix: secret.1 },
            replaced: Vec::new(),
            last_use: None,
        }
    }

    /// The key with another secret; the one before works for `grace_seconds` more, at most
    /// [`API_KEY_GRACE_SECONDS_MAX`], and none that was replaced before it works any longer: which of them has leaked is
    /// not always known, and a rotation without grace ends them all.
    ///
    /// # Errors
    /// [`KeyRevoked`].
    pub fn rotated(&self, secret: (KeyDigest, KeyPrefix), grace_seconds: u64, now_ms: u64) -> Result<Self, KeyRevoked> {
        self.not_revoked()?;
        let until_ms = now_ms.saturating_add(grace_seconds.min(API_KEY_GRACE_SECONDS_MAX) * 1_000);
        let mut key = self.clone();
        key.replaced.push(ReplacedSecret { secret: self.secret.clone(), until_ms });
        key.replaced.iter_mut().for_each(|replaced| replaced.until_ms = replaced.until_ms.min(until_ms));
        let forgotten = key.replaced.len().saturating_sub(REPLACED_MAX);
        key.replaced.drain(..forgotten);
        key.secret = StoredSecret { digest: secret.0, prefix: secret.1 };
        key.rotated_at_ms = Some(now_ms);
        Ok(key)
    }

    /// The key without any right, for good. One that was revoked stays as it is.
    pub fn revoked(&self, now_ms: u64) -> Self {
        ApiKey { revoked_at_ms: Some(self.revoked_at_ms.unwrap_or(now_ms)), ..self.clone() }
    }

    /// The key with what an operator may change of it.
    ///
    /// # Errors
    /// [`KeyRevoked`].
    pub fn changed(&self, change: ApiKeyUpdate) -> Result<Self, KeyRevoked> {
        self.not_revoked()?;
        let mut key = self.clone();
        key.name = change.name.unwrap_or(key.name);
        key.grant.scopes = change.scopes.unwrap_or(key.grant.scopes);
        key.limits = change.limits.unwrap_or(key.limits);
        key.expires_at_ms = change.expires_at_ms.unwrap_or(key.expires_at_ms);
        Ok(key)
    }

    /// The key, last used as told, where that is later than what is known.
    pub fn used(&self, by: LastUse) -> Self {
        let later = self.last_use.as_ref().is_none_or(|last| last.at_ms < by.at_ms);
        let last_use = if later { Some(by) } else { self.last_use.clone() };
        ApiKey { last_use, ..self.clone() }
    }

    fn not_revoked(&self) -> Result<(), KeyRevoked> {
        if self.revoked_at_ms.is_some() { Err(KeyRevoked) } else { Ok(()) }
    }

    /// Whether a secret of this key works now.
    ///
    /// # Errors
    /// Why it does not. `None` for a digest that is of none of its secrets.
    pub(super) fn accepts(&self, digest: &KeyDigest, now_ms: u64) -> Option<Result<(), KeyRejection>> {
        // Every secret is compared, whichever it is.
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

    /// Everything that is kept of its secrets.
    pub(super) fn digests(&self) -> impl Iterator<Item = &KeyDigest> {
        std::iter::once(&self.secret).chain(self.replaced.iter().map(|replaced| &replaced.secret)).map(|s| &s.digest)
    }

    /// Whether it counts against its workspace: neither revoked nor expired.
    pub fn is_active(&self, now_ms: u64) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|at| at > now_ms)
    }

    /// Whether it is active and nobody has used it for [`API_KEY_UNUSED_DAYS_MAX`] days.
    pub fn is_inactive(&self, now_ms: u64) -> bool {
        let since = self.last_use.as_ref().map_or(self.created_at_ms, |last| last.at_ms).max(self.created_at_ms);
        self.is_active(now_ms) && now_ms.saturating_sub(since) >= API_KEY_UNUSED_DAYS_MAX * DAY_MS
    }

    /// Whether it works on test data.
    pub fn is_test_key(&self) -> bool {
        self.mode == Mode::Test
    }

    /// Until when a secret that was replaced still works, if one does.
    pub fn grace_ends_ms(&self, now_ms: u64) -> Option<u64> {
        self.replaced.iter().map(|replaced| replaced.until_ms).filter(|until| *until > now_ms).max()
    }
}

/// What an operator changes of a key; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyUpdate {
    /// Its name.
    pub name: Option<String>,
    /// Its scopes.
    pub scopes: Option<masker_types::grant::ScopeSet>,
    /// Its limits.
    pub limits: Option<Limits>,
    /// When it expires; `Some(None)` for never.
    pub expires_at_ms: Option<Option<u64>>,
}

macro_rules! fields {
    ($($(#[$meta:meta])* $name:ident: $type:ty;)*) => {
        impl ApiKey {$(
            $(#[$meta])*
            pub fn $name(&self) -> &$type {
                &self.$name
            }
        )*}
    };
}
fields! {
    /// Its id.
    id: ApiKeyId;
    /// Its name.
    name: str;
    /// The workspace that it is counted in.
    workspace: str;
    /// Whose it is.
    owner: str;
    /// What it may do.
    grant: Grant;
    /// How much it may do.
    limits: Limits;
    /// Whether it works on live or test data.
    mode: Mode;
    /// Who created it.
    created_by: str;
    /// When it was created, in milliseconds of Unix time.
    created_at_ms: u64;
    /// When it expires, in milliseconds of Unix time.
    expires_at_ms: Option<u64>;
    /// When it was revoked, in milliseconds of Unix time.
    revoked_at_ms: Option<u64>;
    /// When it was last given another secret, in milliseconds of Unix time.
    rotated_at_ms: Option<u64>;
    /// Who last used it, as far as that was written down.
    last_use: Option<LastUse>;
}

impl ApiKey {
    /// The part of its secret that may be shown.
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
        ApiKeyId::parse(&text).ok_or_else(|| de::Error::custom("not the id of a key"))
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
        KeyPrefix::parse(&text).ok_or_else(|| de::Error::custom("not the prefix of a key"))
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

    fn secret(seed: u64) -> (KeyDigest, KeyPrefix) {
        let presented = ApiKeySecret::generate(Mode::Live, &mut ChaCha20Rng::seed_from_u64(seed)).presented();
        (presented.digest(), presented.prefix())
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
        ApiKey::create(id, spec, secret(1), "operator", NOW)
    }

    #[test]
    fn a_key_works_until_it_expires() {
        let key = key();
        let expires = NOW + 1_000 * DAY_MS;
        assert_eq!(key.accepts(&secret(1).0, NOW), Some(Ok(())));
        assert_eq!(key.accepts(&secret(1).0, expires - 1), Some(Ok(())));
        assert_eq!(key.accepts(&secret(1).0, expires), Some(Err(KeyRejection::Expired)));
        assert_eq!(key.accepts(&secret(2).0, NOW), None);
        assert!(key.is_active(expires - 1) && !key.is_active(expires));
    }

    #[test]
    fn a_replaced_secret_works_through_its_grace_period() {
        let once = key().rotated(secret(2), 60, NOW).unwrap();
        let twice = once.rotated(secret(3), 7_200, NOW + 1_000).unwrap();
        let at_once = once.rotated(secret(3), 0, NOW + 1_000).unwrap();
        assert_eq!(once.grace_ends_ms(NOW), Some(NOW + 60_000));
        for (seed, at, accepted) in [
            (1, NOW + 59_999, Ok(())),
            (1, NOW + 60_000, Err(KeyRejection::Expired)),
            (2, NOW + 7_200_999, Ok(())),
            (2, NOW + 7_201_000, Err(KeyRejection::Expired)),
            (3, NOW + 7_201_000, Ok(())),
        ] {
            assert_eq!(twice.accepts(&secret(seed).0, at), Some(accepted), "{seed} {at}");
        }
        // Without grace none of them works any longer.
        let accepted = [1, 2, 3].map(|seed| at_once.accepts(&secret(seed).0, NOW + 1_000));
        assert_eq!(accepted, [Some(Err(KeyRejection::Expired)), Some(Err(KeyRejection::Expired)), Some(Ok(()))]);
        assert_eq!(at_once.grace_ends_ms(NOW + 1_000), None);
        assert_eq!(twice.digests().count(), 3);
        let long = key().rotated(secret(2), u64::MAX, NOW).unwrap();
        assert_eq!(long.grace_ends_ms(NOW), Some(NOW + API_KEY_GRACE_SECONDS_MAX * 1_000));
    }

    #[test]
    fn secrets_that_were_replaced_long_ago_are_forgotten() {
        let mut key = key();
        for seed in 2..20 {
            key = key.rotated(secret(seed), 0, NOW).unwrap();
        }
        assert_eq!(key.digests().count(), 1 + REPLACED_MAX);
        assert_eq!((key.accepts(&secret(1).0, NOW), key.accepts(&secret(19).0, NOW)), (None, Some(Ok(()))));
    }

    #[test]
    fn a_revoked_key_never_works_again() {
        let revoked = key().rotated(secret(2), 60, NOW).unwrap().revoked(NOW + 5);
        for seed in [1, 2] {
            assert_eq!(revoked.accepts(&secret(seed).0, NOW + 6), Some(Err(KeyRejection::Revoked)));
        }
        assert_eq!(revoked.revoked(NOW + 9).revoked_at_ms(), &Some(NOW + 5));
        assert!(revoked.rotated(secret(3), 0, NOW).is_err() && revoked.changed(ApiKeyUpdate::default()).is_err());
        assert!(!revoked.is_active(NOW + 6) && !revoked.is_inactive(NOW + 1_000 * DAY_MS));
    }

    #[test]
    fn a_key_that_nobody_uses_is_inactive() {
        let key = key();
        assert!(!key.is_inactive(NOW + 90 * DAY_MS - 1) && key.is_inactive(NOW + 90 * DAY_MS));
        let used = key.used(LastUse { at_ms: NOW + 10 * DAY_MS, uid: 7, unit: None });
        assert!(!used.is_inactive(NOW + 99 * DAY_MS) && used.is_inactive(NOW + 100 * DAY_MS));
        let before = LastUse { at_ms: NOW, uid: 8, unit: None };
        assert_eq!(used.used(before).last_use().as_ref().map(|last| last.uid), Some(7));
    }

    #[test]
    fn changes_keep_what_they_do_not_name() {
        let changed =
            key().changed(ApiKeyUpdate { name: Some("other".to_owned()), ..ApiKeyUpdate::default() }).unwrap();
        assert_eq!((changed.name(), changed.grant(), changed.limits()), ("other", &Grant::all(), &Limits::standard()));
        let change =
            ApiKeyUpdate { expires_at_ms: Some(None), limits: Some(Limits::none()), ..ApiKeyUpdate::default() };
        let changed = key().changed(change).unwrap();
        assert_eq!((changed.expires_at_ms(), changed.limits()), (&None, &Limits::none()));
    }

    #[test]
    fn the_document_gives_the_key_back() {
        let key = key().rotated(secret(2), 60, NOW).unwrap().used(LastUse { at_ms: 1, uid: 2, unit: None });
        let document = serde_json::to_string(&key).unwrap();
        let back: ApiKey = serde_json::from_str(&document).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), document);
        assert_eq!(back.accepts(&secret(1).0, NOW), Some(Ok(())));
        assert!(serde_json::from_str::<ApiKey>(&document.replacen('{', "{\"more\":1,", 1)).is_err());
    }
}
