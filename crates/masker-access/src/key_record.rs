//! The stored record of an API key: everything but its secret, and the changes in its life.
//!
//! A key is *active* from its creation until it expires or is revoked. Suspended, it does not work until it is resumed. A
//! rotation gives it a new secret, and the former one keeps working for a grace period. Each change takes the time as an argument and returns the key to be stored. What a
//! change takes away is in force at once ([`ApiKey::restricted_to`]), and what it gives only once it is durable.

mod forms;
mod id;

use serde::{Deserialize, Serialize};

pub use self::id::ApiKeyId;
use crate::{KeyDigest, KeyPrefix, Mode, PresentedKey};
use masker_types::{
    grant::{Grant, Limits, ScopeSet},
    limits::{API_KEY_GRACE_SECONDS_MAX, API_KEY_INACTIVE_DAYS_MIN},
};

/// Replaced secrets that are remembered: those that still work, and others so that a caller which still presents one learns
/// that it has expired.
const REPLACED_MAX: usize = 8;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

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
    /// The API key that creates it, if it is one.
    pub parent: Option<ApiKeyId>,
}

/// What a key may do, how much of it, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRights {
    /// What it may do.
    pub grant: Grant,
    /// How much it may do.
    pub limits: Limits,
    /// When it expires, in milliseconds of Unix time; `None` for never.
    pub expires_at_ms: Option<u64>,
}

impl KeyRights {
    /// Returns the rights common to both; policies and contexts are those of `self`.
    fn intersection(&self, other: &KeyRights) -> Self {
        let ends = self.expires_at_ms.into_iter().chain(other.expires_at_ms);
        let scopes = self.grant.scopes.intersection(&other.grant.scopes);
        KeyRights {
            grant: Grant { scopes, ..self.grant.clone() },
            limits: self.limits.intersection(&other.limits),
            expires_at_ms: ends.min(),
        }
    }

    /// Returns rights that cover these and `other`.
    fn union(&self, other: &KeyRights) -> Self {
        let ends = self.expires_at_ms.zip(other.expires_at_ms);
        KeyRights {
            grant: self.grant.union(&other.grant),
            limits: self.limits.union(&other.limits),
            expires_at_ms: ends.map(|(own, others)| own.max(others)),
        }
    }
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
    /// The first characters of the secret that it presented.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "forms::optional_prefix")]
    pub prefix: Option<KeyPrefix>,
}

/// What is stored of one secret.
#[derive(Clone, Serialize, Deserialize)]
struct StoredSecret {
    #[serde(with = "forms::digest")]
    digest: KeyDigest,
    #[serde(with = "forms::prefix")]
    prefix: KeyPrefix,
}

impl StoredSecret {
    fn of(secret: &PresentedKey) -> Self {
        StoredSecret { digest: secret.digest(), prefix: secret.prefix() }
    }

    fn is_same(&self, other: &StoredSecret) -> bool {
        self.digest.ct_eq(&other.digest)
    }
}

/// A replaced secret.
#[derive(Clone, Serialize, Deserialize)]
struct ReplacedSecret {
    #[serde(flatten)]
    secret: StoredSecret,
    /// The end of its grace period, in milliseconds of Unix time; 0 without one, so that it ends requests in flight too.
    until_ms: u64,
    /// Whether the grace period was seen to be over: then the secret never works again, at any time that the clock shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ended: bool,
}

impl ReplacedSecret {
    fn works(&self, now_ms: u64) -> bool {
        !self.ended && self.until_ms > now_ms
    }

    fn is_over(&self, now_ms: u64) -> bool {
        !self.ended && self.until_ms <= now_ms
    }
}

/// Which secret of a key was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretRole {
    /// The one that was issued last.
    Current,
    /// A former one.
    Replaced,
}

/// A replaced secret that still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraceSecret {
    /// Its first characters, which are public.
    pub prefix: KeyPrefix,
    /// When its grace period ends, in milliseconds of Unix time.
    pub until_ms: u64,
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
    #[serde(rename = "world", with = "forms::mode")]
    mode: Mode,
    created_by: String,
    /// The API key that created it, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<ApiKeyId>,
    created_at_ms: u64,
    expires_at_ms: Option<u64>,
    /// Whether it was seen to have expired: then it works again only with another expiry, at any time that the clock shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    expired: bool,
    /// Rights that cover all that it ever had; `None` if those that it has do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Box<KeyRights>>,
    revoked_at_ms: Option<u64>,
    /// Whether it does not work until somebody resumes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    suspended: bool,
    rotated_at_ms: Option<u64>,
    secret: StoredSecret,
    replaced: Vec<ReplacedSecret>,
    /// Stored in a row of its own, because it changes often and grants nothing.
    #[serde(skip)]
    last_use: Option<LastUse>,
}

/// A revoked key cannot change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this key was revoked, which is permanent: create another")]
pub struct KeyRevoked;

/// Why a key gets no other secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretRotationError {
    /// It was revoked.
    #[error(transparent)]
    Revoked(#[from] KeyRevoked),
    /// Another rotation would end a grace period that was promised.
    #[error(
        "{REPLACED_MAX} replaced secrets of this key still work, which is the limit: wait until the grace period of one is \
         over, or rotate without a grace period, which ends them all"
    )]
    TooManyInGrace,
}

/// Why a known secret does not authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRejection {
    /// The key was revoked.
    Revoked,
    /// The key is suspended.
    Suspended,
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
            parent: spec.parent,
            created_at_ms: now_ms,
            expires_at_ms: spec.expires_at_ms,
            expired: false,
            held: None,
            revoked_at_ms: None,
            suspended: false,
            rotated_at_ms: None,
            secret: StoredSecret::of(secret),
            replaced: Vec::new(),
            last_use: None,
        }
    }

    /// Returns the key with another secret. The former one works for another `grace_seconds`, at most
    /// [`API_KEY_GRACE_SECONDS_MAX`]. Those before it keep the grace period that they have. Without grace all of them end at
    /// once, since it is not always known which one has leaked.
    ///
    /// # Errors
    /// [`SecretRotationError`] if it was revoked, or if too many of its secrets are in their grace period.
    pub fn rotated(&self, secret: &PresentedKey, grace_seconds: u64, now_ms: u64) -> Result<Self, SecretRotationError> {
        self.not_revoked()?;
        let grace_ms = grace_seconds.min(API_KEY_GRACE_SECONDS_MAX) * 1_000;
        let until_ms = if grace_ms == 0 { 0 } else { now_ms.saturating_add(grace_ms) };
        let mut key = self.clone();
        key.replaced.push(ReplacedSecret { secret: self.secret.clone(), until_ms, ended: grace_ms == 0 });
        if grace_ms == 0 {
            key.replaced.iter_mut().for_each(|replaced| replaced.until_ms = 0);
        }
        while key.replaced.len() > REPLACED_MAX {
            let ended = key.replaced.iter().position(|replaced| !replaced.works(now_ms));
            key.replaced.remove(ended.ok_or(SecretRotationError::TooManyInGrace)?);
        }
        key.secret = StoredSecret::of(secret);
        key.rotated_at_ms = Some(now_ms);
        Ok(key)
    }

    /// Returns the key with the notes that it has expired and which grace periods are over, if that is so by now. `None` if
    /// nothing has ended that was not noted before.
    pub fn with_noted_ends(&self, now_ms: u64) -> Option<Self> {
        if !self.has_end_to_note(now_ms) {
            return None;
        }
        let mut key = self.clone();
        key.expired |= key.is_past_expiry(now_ms);
        key.replaced.iter_mut().filter(|replaced| replaced.is_over(now_ms)).for_each(|replaced| replaced.ended = true);
        Some(key)
    }

    /// Returns the key revoked, permanently. A key that was revoked before keeps the time of that.
    pub fn revoked(&self, now_ms: u64) -> Self {
        ApiKey { revoked_at_ms: Some(self.revoked_at_ms.unwrap_or(now_ms)), ..self.clone() }
    }

    /// Returns the key suspended: it does not work until somebody resumes it. A revoked key stays as it is.
    pub fn suspended(&self) -> Self {
        ApiKey { suspended: true, ..self.clone() }
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
        key.suspended = change.suspended.unwrap_or(key.suspended);
        if let Some(expires_at_ms) = change.expires_at_ms {
            (key.expires_at_ms, key.expired) = (expires_at_ms, false);
        }
        let held = self.held_rights();
        key.held = Some(Box::new(held.union(&key.rights()))).filter(|held| **held != key.rights());
        Ok(key)
    }

    /// Returns this key without what `next`, its next version, takes away: it may be in force before `next` is durable. It
    /// has nothing that `next` adds, except a new secret, which nobody knows before the answer. `None` if `next` takes
    /// nothing away.
    pub fn restricted_to(&self, next: &ApiKey) -> Option<Self> {
        let ends_secret =
            |own: &StoredSecret| next.replaced.iter().any(|of| of.until_ms == 0 && of.secret.is_same(own));
        if next.revoked_at_ms.is_some() || ends_secret(&self.secret) {
            return Some(next.clone());
        }
        let rights = self.rights().intersection(&next.rights());
        let suspended = self.suspended || next.suspended;
        if rights == self.rights() && suspended == self.suspended {
            return None;
        }
        let held = Some(Box::new(self.held_rights())).filter(|held| **held != rights);
        let KeyRights { grant, limits, expires_at_ms } = rights;
        Some(ApiKey { grant, limits, expires_at_ms, held, suspended, ..self.clone() })
    }

    /// Returns the key with this last use. It replaces the one before, also if a wrong clock has given that a later time.
    pub fn used(&self, last: LastUse) -> Self {
        ApiKey { last_use: Some(last), ..self.clone() }
    }

    /// Returns the rights that it has.
    pub fn rights(&self) -> KeyRights {
        KeyRights { grant: self.grant.clone(), limits: self.limits, expires_at_ms: self.expires_at_ms }
    }

    /// Returns rights that cover all that it ever had. A caller who gives it a secret could use any of them, once they are
    /// restored.
    pub fn held_rights(&self) -> KeyRights {
        self.held.as_ref().map_or_else(|| self.rights(), |held| (**held).clone())
    }

    /// Returns this key as long as rotations, and changes that take rights away, can make it. It is for measuring alone.
    pub fn at_full_length(&self) -> Self {
        let mut key = self.clone();
        let replaced = ReplacedSecret { secret: self.secret.clone(), until_ms: u64::MAX, ended: true };
        key.replaced.resize(REPLACED_MAX, replaced);
        key.held = Some(Box::new(self.held_rights()));
        key.rotated_at_ms = Some(u64::MAX);
        key.suspended = true;
        key
    }

    fn not_revoked(&self) -> Result<(), KeyRevoked> {
        if self.revoked_at_ms.is_some() { Err(KeyRevoked) } else { Ok(()) }
    }

    /// Checks whether a secret of this key works now, by its digest; `None` if it is not a secret of this key.
    ///
    /// # Errors
    /// [`KeyRejection`] if it no longer works.
    pub(super) fn accepts(&self, digest: &KeyDigest, now_ms: u64) -> Option<Result<SecretRole, KeyRejection>> {
        let (role, replaced) = self.find_secret(digest)?;
        let in_time = !self.has_expired(now_ms);
        Some(match self.revoked_at_ms {
            Some(_) => Err(KeyRejection::Revoked),
            None if self.suspended => Err(KeyRejection::Suspended),
            None if in_time && replaced.is_none_or(|replaced| replaced.works(now_ms)) => Ok(role),
            None => Err(KeyRejection::Expired),
        })
    }

    /// Checks that a secret of this key, which was accepted, was not ended since: by a revocation, or by a rotation without a
    /// grace period. Time ends no request that began before. `None` if it is not a secret of this key.
    ///
    /// # Errors
    /// [`KeyRejection`] if it was ended.
    pub(super) fn still_accepts(&self, digest: &KeyDigest) -> Option<Result<SecretRole, KeyRejection>> {
        let (role, replaced) = self.find_secret(digest)?;
        Some(match self.revoked_at_ms {
            Some(_) => Err(KeyRejection::Revoked),
            None if self.suspended => Err(KeyRejection::Suspended),
            None if replaced.is_some_and(|replaced| replaced.until_ms == 0) => Err(KeyRejection::Expired),
            None => Ok(role),
        })
    }

    fn find_secret(&self, digest: &KeyDigest) -> Option<(SecretRole, Option<&ReplacedSecret>)> {
        // Compares with every secret, so that the time does not depend on which one matches.
        let is_current = self.secret.digest.ct_eq(digest);
        let mut found = None;
        for replaced in &self.replaced {
            if replaced.secret.digest.ct_eq(digest) {
                found = Some(replaced);
            }
        }
        if is_current {
            Some((SecretRole::Current, None))
        } else {
            found.map(|found| (SecretRole::Replaced, Some(found)))
        }
    }

    /// Returns whether its current secret is that of another version of this key.
    pub(super) fn has_secret_of(&self, other: &ApiKey) -> bool {
        self.secret.is_same(&other.secret)
    }

    /// Returns whether it has expired or a grace period is over, and that is not noted.
    pub(super) fn has_end_to_note(&self, now_ms: u64) -> bool {
        let has_expired = self.revoked_at_ms.is_none() && !self.expired && self.is_past_expiry(now_ms);
        has_expired || self.replaced.iter().any(|replaced| replaced.is_over(now_ms))
    }

    /// Returns whether another version of this key has other notes of what has ended.
    pub(super) fn differs_in_ends(&self, other: &ApiKey) -> bool {
        let ended = |key: &ApiKey| (key.expired, key.replaced.iter().filter(|replaced| replaced.ended).count());
        ended(self) != ended(other)
    }

    fn has_expired(&self, now_ms: u64) -> bool {
        self.expired || self.is_past_expiry(now_ms)
    }

    fn is_past_expiry(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now_ms)
    }

    /// Returns the replaced secrets that still work, the oldest first.
    pub fn secrets_in_grace(&self, now_ms: u64) -> Vec<GraceSecret> {
        let working = self.replaced.iter().filter(|replaced| replaced.works(now_ms));
        working.map(|replaced| GraceSecret { prefix: replaced.secret.prefix, until_ms: replaced.until_ms }).collect()
    }

    /// Returns the digests of all its secrets.
    pub(super) fn digests(&self) -> impl Iterator<Item = &KeyDigest> {
        std::iter::once(&self.secret).chain(self.replaced.iter().map(|replaced| &replaced.secret)).map(|s| &s.digest)
    }

    /// Returns whether it is neither revoked nor expired. Active keys count towards their workspace.
    pub fn is_active(&self, now_ms: u64) -> bool {
        self.revoked_at_ms.is_none() && !self.has_expired(now_ms)
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
    /// Whether it is suspended.
    pub suspended: Option<bool>,
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

    /// Returns the API key that created it, if it was one.
    pub fn parent(&self) -> Option<ApiKeyId> {
        self.parent
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

    /// Returns whether it is suspended: it does not work until somebody resumes it. A suspended key counts towards its workspace.
    pub fn is_suspended(&self) -> bool {
        self.suspended
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

#[cfg(test)]
mod tests;
