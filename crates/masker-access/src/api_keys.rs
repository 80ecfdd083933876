//! The API keys in force, found by the digest of their secret without reading the store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::{
    ApiKey, ApiKeyId, ApiKeyIdentity, KeyDigest, KeyRejection, LastUse, Peer, PresentedKey, Principal,
    key_record::SecretRole, principal::Creator,
};
use masker_types::grant::UNRESTRICTED_NAME;

/// How old the recorded last use of a key may be, in milliseconds. Recording every use would cost each request a lock.
const LAST_USE_AGE_MS: u64 = 1_000;

/// All API keys. Requests read an immutable snapshot; a change replaces it.
#[derive(Default)]
pub struct ApiKeys {
    snapshot: ArcSwap<KeySnapshot>,
    /// The clients of the configuration by name: keys that they have created have no more rights than they have now, and draw
    /// on their limits. Held while a snapshot is made from the one before.
    clients: Mutex<HashMap<String, Arc<Principal>>>,
}

#[derive(Default)]
struct KeySnapshot {
    by_id: BTreeMap<ApiKeyId, Arc<Entry>>,
    by_digest: HashMap<[u8; KeyDigest::BYTES], Arc<Entry>>,
}

/// A key in force, with its use since the daemon started.
struct Entry {
    key: ApiKey,
    /// The key as the vault stores it, while the one in force has less: a change that takes something away is being stored,
    /// or failed to be.
    stored: Option<Box<ApiKey>>,
    principal: Arc<Principal>,
    uses: Arc<UseTracker>,
}

#[derive(Default)]
struct UseTracker {
    used_ms: AtomicU64,
    /// The time of the last use that is stored.
    saved_ms: AtomicU64,
    /// Whether the key has expired, or a grace period has ended, and the vault has not stored that yet.
    ended_unsaved: AtomicBool,
    last: Mutex<Option<LastUse>>,
}

/// A change of a key that failed to be stored. What it takes away is in force until the daemon starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnstoredChange {
    /// It was revoked.
    Revocation,
    /// It got another secret, which nobody has received, and its former ones ended.
    Rotation,
    /// It got other scopes, limits or another expiry.
    Rights,
}

/// Why a presented key does not authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthRejection {
    /// There is no such key.
    Unknown,
    /// There is such a key, but it no longer works.
    Rejected(KeyRejection),
}

impl ApiKeys {
    /// Returns a registry of the keys that the vault stores. Until [`Access`](crate::Access) makes the clients known, keys that
    /// clients have created have no rights.
    pub fn load(keys: impl IntoIterator<Item = ApiKey>) -> Self {
        let registry = ApiKeys::default();
        let entries = keys.into_iter().map(|key| (key.id(), Arc::new(Entry::new(key, None))));
        registry.snapshot.store(Arc::new(KeySnapshot::of(entries.collect(), &HashMap::new(), |_| true)));
        registry
    }

    /// Adds a key, or replaces the key with the same id. The vault must have stored it before.
    pub fn put(&self, key: ApiKey) {
        self.put_all([key]);
    }

    /// Adds keys, or replaces those with the same ids, all at once. The vault must have stored them before.
    pub fn put_all(&self, keys: impl IntoIterator<Item = ApiKey>) {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&clients, keys.into_iter().map(|key| (key, None)));
    }

    /// Takes from the keys in force what their next versions take from them, before the vault stores these. That holds
    /// also if the vault fails to store them. Requests that were admitted before are still answered, until [`put_all`](Self::put_all) says that the
    /// versions are stored. Returns whether anything is taken from these keys that the vault still stores, now or by a change
    /// that failed before.
    ///
    /// No key may change between making the versions and this call.
    pub fn restrict(&self, next: &[ApiKey]) -> bool {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot.load();
        let restricted: Vec<(ApiKey, Option<Box<ApiKey>>)> = next
            .iter()
            .filter_map(|next| {
                let entry = snapshot.by_id.get(&next.id())?;
                let key = entry.key.restricted_to(next)?;
                let stored = entry.stored.clone().unwrap_or_else(|| Box::new(entry.key.clone()));
                Some((key, Some(stored)))
            })
            .collect();
        if !restricted.is_empty() {
            self.replace(&clients, restricted);
        }
        let snapshot = self.snapshot.load();
        next.iter().filter_map(|next| snapshot.by_id.get(&next.id())).any(|entry| entry.stored.is_some())
    }

    /// Returns which change of a key is in force as far as it takes something away, but failed to be stored.
    pub fn unstored_change(&self, id: ApiKeyId) -> Option<UnstoredChange> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.by_id.get(&id)?;
        let stored = entry.stored.as_ref()?;
        Some(if entry.key.revoked_at_ms() != stored.revoked_at_ms() {
            UnstoredChange::Revocation
        } else if entry.key.has_secret_of(stored) {
            UnstoredChange::Rights
        } else {
            UnstoredChange::Rotation
        })
    }

    /// Returns the keys that this one has created, and so on, whose revocation together with it failed to be stored. Each is as
    /// it was before.
    pub fn unstored_revocations_with(&self, key: &ApiKey) -> Vec<ApiKey> {
        let snapshot = self.snapshot.load();
        let created = self.descendants(key.id());
        let entries = created.iter().filter_map(|created| snapshot.by_id.get(&created.id()));
        // Keys that one request revokes have the same time.
        let revoked_with =
            |entry: &&Arc<Entry>| key.revoked_at_ms().is_some() && entry.key.revoked_at_ms() == key.revoked_at_ms();
        let before = entries.filter(revoked_with).filter_map(|entry| entry.stored.as_deref());
        before.filter(|before| before.revoked_at_ms().is_none()).cloned().collect()
    }

    /// Lets the keys that clients of the configuration have created have what these have of their rights, and draw on their
    /// limits.
    pub(super) fn follow_clients(&self, principals: HashMap<String, Arc<Principal>>) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        *clients = principals;
        let entries = self.snapshot.load().by_id.clone();
        self.snapshot.store(Arc::new(KeySnapshot::of(entries, &clients, |_| true)));
    }

    /// Replaces keys. The second part of each is what the vault stores, if that has more.
    fn replace(
        &self,
        clients: &HashMap<String, Arc<Principal>>,
        keys: impl IntoIterator<Item = (ApiKey, Option<Box<ApiKey>>)>,
    ) {
        let mut entries = self.snapshot.load().by_id.clone();
        let mut replaced = BTreeSet::new();
        for (key, stored) in keys {
            let id = key.id();
            let entry = Entry { stored, ..Entry::new(key, entries.get(&id).map(Arc::as_ref)) };
            entries.insert(id, Arc::new(entry));
            replaced.insert(id);
        }
        self.snapshot
            .store(Arc::new(KeySnapshot::of(entries, clients, |line| line.iter().any(|id| replaced.contains(id)))));
    }

    /// Notes which keys have expired and which grace periods are over: they stay ended, also if the clock is set back. The
    /// caller must trust the clock.
    pub fn note_ends(&self, now_ms: u64) {
        if !self.snapshot.load().by_id.values().any(|entry| entry.key.has_end_to_note(now_ms)) {
            return;
        }
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot.load();
        let ended = snapshot.by_id.values().filter_map(|entry| {
            let key = entry.key.with_noted_ends(now_ms)?;
            entry.uses.ended_unsaved.store(true, Ordering::Relaxed);
            Some((key, entry.stored.clone()))
        });
        self.replace(&clients, ended);
    }

    /// Returns whether there are such notes that are not stored.
    pub fn has_unsaved_ends(&self) -> bool {
        let is_unsaved =
            |entry: &Arc<Entry>| entry.stored.is_none() && entry.uses.ended_unsaved.load(Ordering::Relaxed);
        self.snapshot.load().by_id.values().any(is_unsaved)
    }

    /// Returns whether the vault stores a key as it is in force: no change that takes something away failed to be stored.
    pub fn is_stored(&self, id: ApiKeyId) -> bool {
        self.snapshot.load().by_id.get(&id).is_some_and(|entry| entry.stored.is_none())
    }

    /// Returns the keys that a key has created, and those that these have created, and so on.
    pub fn descendants(&self, id: ApiKeyId) -> Vec<ApiKey> {
        let snapshot = self.snapshot.load();
        let created = snapshot
            .by_id
            .values()
            .filter(|entry| line(&snapshot.by_id, entry.key.id()).skip(1).any(|above| above == id));
        created.map(|entry| entry.current()).collect()
    }

    /// Returns the keys that this one was created by: its parent, the parent of that, and so on.
    pub fn ancestors(&self, id: ApiKeyId) -> Vec<ApiKeyId> {
        line(&self.snapshot.load().by_id, id).skip(1).collect()
    }

    /// Returns the active keys that a client of the configuration has created, with those that these have created.
    pub fn active_of_client(&self, name: &str, now_ms: u64) -> usize {
        let snapshot = self.snapshot.load();
        let of_client = |entry: &&Arc<Entry>| {
            let root = line(&snapshot.by_id, entry.key.id()).last().and_then(|root| snapshot.by_id.get(&root));
            root.is_some_and(|root| root.key.parent().is_none() && root.key.created_by() == name)
        };
        snapshot.by_id.values().filter(|entry| entry.key.is_active(now_ms)).filter(of_client).count()
    }

    /// Returns the names of clients that have created active keys, and that the configuration no longer has: these keys, and
    /// those that come from them, have no rights.
    pub fn removed_creators(&self, now_ms: u64) -> BTreeSet<String> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot.load();
        let first = snapshot.by_id.values().map(|entry| &entry.key).filter(|key| key.parent().is_none());
        let names = first.filter(|key| key.is_active(now_ms)).map(ApiKey::created_by);
        names.filter(|name| *name != UNRESTRICTED_NAME && !clients.contains_key(*name)).map(str::to_owned).collect()
    }

    /// Returns all keys in the order of their creation, with their last use.
    pub fn list(&self) -> Vec<ApiKey> {
        self.snapshot.load().by_id.values().map(|entry| entry.current()).collect()
    }

    /// Returns one key with its last use.
    pub fn get(&self, id: ApiKeyId) -> Option<ApiKey> {
        self.snapshot.load().by_id.get(&id).map(|entry| entry.current())
    }

    /// Returns how many active keys a workspace has.
    pub fn active_in(&self, workspace: &str, now_ms: u64) -> usize {
        let snapshot = self.snapshot.load();
        snapshot.by_id.values().filter(|e| e.key.workspace() == workspace && e.key.is_active(now_ms)).count()
    }

    /// Returns the principal of a presented key, and which of its secrets it was, and records the use.
    ///
    /// # Errors
    /// [`AuthRejection`] if the key does not authenticate.
    pub(super) fn authenticate(
        &self,
        presented: &PresentedKey,
        peer: &Peer,
        now_ms: u64,
    ) -> Result<(Arc<Principal>, SecretRole), AuthRejection> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.find(&presented.digest())?;
        let role = accepts(&entry.key, &presented.digest(), now_ms)?;
        entry.uses.record(peer, presented, now_ms);
        Ok((Arc::clone(&entry.principal), role))
    }

    /// Returns the principal that a secret which was accepted has now, and which secret of its key it is. It is no further
    /// use of the key.
    ///
    /// # Errors
    /// [`AuthRejection`] if the secret no longer authenticates.
    pub(super) fn current(
        &self,
        digest: &KeyDigest,
        now_ms: u64,
    ) -> Result<(Arc<Principal>, SecretRole), AuthRejection> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.find(digest)?;
        let role = accepts(&entry.key, digest, now_ms)?;
        Ok((Arc::clone(&entry.principal), role))
    }

    /// Checks that a secret that was accepted was not ended since, by a revocation or by a rotation without a grace period.
    /// Returns which secret of its key it is now.
    ///
    /// # Errors
    /// [`AuthRejection`] if it was ended.
    pub(super) fn check(&self, digest: &KeyDigest) -> Result<SecretRole, AuthRejection> {
        let snapshot = self.snapshot.load();
        still_accepts(&snapshot.find(digest)?.key, digest)
    }

    /// Checks the same of what the vault stores, for a request that was admitted before.
    ///
    /// # Errors
    /// [`AuthRejection`] if the secret was ended and that is stored.
    pub(super) fn check_stored(&self, digest: &KeyDigest) -> Result<SecretRole, AuthRejection> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.find(digest)?;
        still_accepts(entry.stored.as_deref().unwrap_or(&entry.key), digest)
    }

    /// Returns the keys whose last use or whose ended secrets are not stored. Each is the whole key, so the caller must not
    /// change it between this call and the write. A change that failed to be stored is left to the request that repeats it,
    /// which records it.
    pub fn unsaved_uses(&self) -> Vec<ApiKey> {
        let snapshot = self.snapshot.load();
        snapshot.by_id.values().filter(|entry| entry.is_unsaved()).map(|entry| entry.current()).collect()
    }

    /// Records that the last uses of these keys are stored.
    pub fn mark_uses_saved(&self, keys: &[ApiKey]) {
        let snapshot = self.snapshot.load();
        for key in keys {
            let Some(entry) = snapshot.by_id.get(&key.id()) else { continue };
            if let Some(last) = key.last_use() {
                entry.uses.saved_ms.store(last.at_ms, Ordering::Relaxed);
            }
            // What has ended meanwhile is noted in the registry's key and not in the stored one.
            if !entry.key.differs_in_ends(key) {
                entry.uses.ended_unsaved.store(false, Ordering::Relaxed);
            }
        }
    }
}

fn accepts(key: &ApiKey, digest: &KeyDigest, now_ms: u64) -> Result<SecretRole, AuthRejection> {
    key.accepts(digest, now_ms).unwrap_or(Err(KeyRejection::Expired)).map_err(AuthRejection::Rejected)
}

fn still_accepts(key: &ApiKey, digest: &KeyDigest) -> Result<SecretRole, AuthRejection> {
    key.still_accepts(digest).unwrap_or(Err(KeyRejection::Expired)).map_err(AuthRejection::Rejected)
}

/// Returns a key's id, then its parent's, and so on to the first.
fn line(by_id: &BTreeMap<ApiKeyId, Arc<Entry>>, id: ApiKeyId) -> impl Iterator<Item = ApiKeyId> {
    let parent = move |id: &ApiKeyId| by_id.get(id)?.key.parent();
    // Damaged rows could lead in a circle.
    std::iter::successors(Some(id), parent).take(by_id.len().max(1))
}

impl KeySnapshot {
    /// Returns a snapshot of these keys. The principal of a key is made again if `is_changed` says so of the line of its
    /// creators, which begins with itself.
    fn of(
        mut by_id: BTreeMap<ApiKeyId, Arc<Entry>>,
        clients: &HashMap<String, Arc<Principal>>,
        is_changed: impl Fn(&[ApiKeyId]) -> bool,
    ) -> Self {
        let mut lines: Vec<Vec<ApiKeyId>> = by_id.keys().map(|id| line(&by_id, *id).collect()).collect();
        // A creator comes before what it has created.
        lines.sort_by_key(Vec::len);
        for ids in lines.into_iter().filter(|ids| is_changed(ids)) {
            let Some(entry) = ids.first().and_then(|id| by_id.get(id)) else { continue };
            let creator = match entry.key.parent() {
                // While it is suspended, it has no rights to pass on.
                Some(parent) => {
                    by_id.get(&parent).filter(|parent| !parent.key.is_suspended()).map(|parent| &parent.principal)
                }
                None => clients.get(entry.key.created_by()),
            };
            let creator = match creator {
                Some(creator) => Creator::Known(creator),
                None if entry.key.parent().is_none() && entry.key.created_by() == UNRESTRICTED_NAME => {
                    Creator::Unrestricted
                }
                None => Creator::Gone,
            };
            let entry = entry.created_by(creator);
            by_id.insert(entry.key.id(), Arc::new(entry));
        }
        let digests =
            by_id.values().flat_map(|entry| entry.key.digests().map(|digest| (*digest.as_bytes(), Arc::clone(entry))));
        let by_digest = digests.collect();
        KeySnapshot { by_id, by_digest }
    }

    /// Returns the entry of a secret, which need not work.
    fn find(&self, digest: &KeyDigest) -> Result<&Entry, AuthRejection> {
        // The time of this lookup depends on digests alone, which reveal nothing of keys: SHA-256 is preimage resistant.
        self.by_digest.get(digest.as_bytes()).map(Arc::as_ref).ok_or(AuthRejection::Unknown)
    }
}

impl Entry {
    fn new(key: ApiKey, before: Option<&Entry>) -> Self {
        let credential = ApiKeyIdentity {
            id: key.id(),
            prefix: key.prefix(),
            workspace: key.workspace().to_owned(),
            expires_at_ms: key.expires_at_ms(),
        };
        let principal = Principal::for_api_key(&key, credential, before.map(|before| before.principal.as_ref()));
        let uses = before.map(|before| Arc::clone(&before.uses)).unwrap_or_default();
        Entry { key, stored: None, principal: Arc::new(principal), uses }
    }

    /// Returns this key, with what its creator has of its rights, and drawing on the limits of its creator as well.
    fn created_by(&self, creator: Creator<'_>) -> Self {
        let principal = Arc::new(self.principal.created_by(self.key.grant(), creator));
        Entry { key: self.key.clone(), stored: self.stored.clone(), principal, uses: Arc::clone(&self.uses) }
    }

    fn is_unsaved(&self) -> bool {
        if self.stored.is_some() {
            return false;
        }
        let last = self.uses.last.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = self.uses.saved_ms.load(Ordering::Relaxed);
        self.uses.ended_unsaved.load(Ordering::Relaxed) || last.as_ref().is_some_and(|last| last.at_ms != saved)
    }

    fn current(&self) -> ApiKey {
        let last = self.uses.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map_or_else(|| self.key.clone(), |last| self.key.used(last))
    }
}

impl UseTracker {
    fn record(&self, peer: &Peer, presented: &PresentedKey, now_ms: u64) {
        let recorded = self.used_ms.load(Ordering::Relaxed);
        // After a clock that was ahead, the recorded time is in the future.
        if (recorded..recorded.saturating_add(LAST_USE_AGE_MS)).contains(&now_ms) {
            return;
        }
        self.used_ms.store(now_ms, Ordering::Relaxed);
        let (unit, prefix) = (peer.unit().map(str::to_owned), Some(presented.prefix()));
        let last = LastUse { at_ms: now_ms, uid: peer.uid(), unit, prefix };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

#[cfg(test)]
mod tests;
