//! The API keys in force, found by the digest of their secret without reading the store.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::{ApiKey, ApiKeyId, ApiKeyIdentity, KeyDigest, KeyRejection, LastUse, Peer, PresentedKey, Principal};

/// How old the recorded last use of a key may be, in milliseconds. Recording every use would cost each request a lock.
const LAST_USE_AGE_MS: u64 = 1_000;

/// All API keys. Requests read an immutable snapshot; a change replaces it.
#[derive(Default)]
pub struct ApiKeys {
    snapshot: ArcSwap<Snapshot>,
    /// Held while a snapshot is made from the one before.
    changing: Mutex<()>,
}

#[derive(Default)]
struct Snapshot {
    by_id: BTreeMap<ApiKeyId, Arc<Entry>>,
    by_digest: HashMap<[u8; KeyDigest::BYTES], Arc<Entry>>,
}

/// A key in force, with its use since the daemon started.
struct Entry {
    key: ApiKey,
    principal: Arc<Principal>,
    uses: Arc<UseTracker>,
}

#[derive(Default)]
struct UseTracker {
    used_ms: AtomicU64,
    saved_ms: AtomicU64,
    last: Mutex<Option<LastUse>>,
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
    /// Returns a registry of the keys that the vault stores.
    pub fn load(keys: impl IntoIterator<Item = ApiKey>) -> Self {
        let registry = ApiKeys::default();
        let entries: Vec<_> = keys.into_iter().map(|key| Arc::new(Entry::new(key, None))).collect();
        registry.snapshot.store(Arc::new(Snapshot::of(entries)));
        registry
    }

    /// Adds a key, or replaces the key with the same id. The vault must have stored it before.
    pub fn put(&self, key: ApiKey) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot.load();
        let before = current.by_id.get(&key.id());
        let entry = Arc::new(Entry::new(key, before.map(Arc::as_ref)));
        let others = current.by_id.values().filter(|other| other.key.id() != entry.key.id());
        self.snapshot.store(Arc::new(Snapshot::of(others.chain([&entry]).cloned().collect())));
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

    /// Returns the principal of a presented key, and records the use.
    ///
    /// # Errors
    /// [`AuthRejection`] if the key does not authenticate.
    pub(super) fn authenticate(
        &self,
        presented: &PresentedKey,
        peer: &Peer,
        now_ms: u64,
    ) -> Result<Arc<Principal>, AuthRejection> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.find(&presented.digest(), now_ms)?;
        entry.uses.record(peer, now_ms);
        Ok(Arc::clone(&entry.principal))
    }

    /// Checks that a secret works, as of `at_ms`. A rotation without a grace period counts from the beginning of time.
    ///
    /// # Errors
    /// [`AuthRejection`] if it does not.
    pub(super) fn check(&self, digest: &KeyDigest, at_ms: u64) -> Result<(), AuthRejection> {
        self.snapshot.load().find(digest, at_ms).map(drop)
    }

    /// Returns the keys whose last use is later than the stored one. Each is the whole key, so the caller must not change
    /// it between this call and the write.
    pub fn unsaved_uses(&self) -> Vec<ApiKey> {
        let snapshot = self.snapshot.load();
        snapshot.by_id.values().filter(|entry| entry.is_unsaved()).map(|entry| entry.current()).collect()
    }

    /// Records that the last uses of these keys are stored.
    pub fn mark_uses_saved(&self, keys: &[ApiKey]) {
        let snapshot = self.snapshot.load();
        for key in keys {
            if let (Some(entry), Some(last)) = (snapshot.by_id.get(&key.id()), key.last_use()) {
                entry.uses.saved_ms.fetch_max(last.at_ms, Ordering::Relaxed);
            }
        }
    }
}

impl Snapshot {
    fn of(entries: Vec<Arc<Entry>>) -> Self {
        let mut snapshot = Snapshot::default();
        for entry in entries {
            for digest in entry.key.digests() {
                snapshot.by_digest.insert(*digest.as_bytes(), Arc::clone(&entry));
            }
            snapshot.by_id.insert(entry.key.id(), entry);
        }
        snapshot
    }

    /// Returns the entry of a secret that works at `now_ms`.
    fn find(&self, digest: &KeyDigest, now_ms: u64) -> Result<&Entry, AuthRejection> {
        // The time of this lookup depends on digests alone, which reveal nothing of keys: SHA-256 is preimage resistant.
        let entry = self.by_digest.get(digest.as_bytes()).ok_or(AuthRejection::Unknown)?;
        match entry.key.accepts(digest, now_ms) {
            None => Err(AuthRejection::Unknown),
            Some(accepted) => accepted.map(|()| &**entry).map_err(AuthRejection::Rejected),
        }
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
        Entry { key, principal: Arc::new(principal), uses }
    }

    fn is_unsaved(&self) -> bool {
        let last = self.uses.last.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.key.last_use().map_or(0, |last| last.at_ms);
        let saved = self.uses.saved_ms.load(Ordering::Relaxed).max(stored);
        last.as_ref().is_some_and(|last| last.at_ms > saved)
    }

    fn current(&self) -> ApiKey {
        let last = self.uses.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map_or_else(|| self.key.clone(), |last| self.key.used(last))
    }
}

impl UseTracker {
    fn record(&self, peer: &Peer, now_ms: u64) {
        let recorded = self.used_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(recorded) < LAST_USE_AGE_MS {
            return;
        }
        self.used_ms.store(now_ms, Ordering::Relaxed);
        let last = LastUse { at_ms: now_ms, uid: peer.uid(), unit: peer.unit().map(str::to_owned) };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use rand::{SeedableRng, rngs::ChaCha20Rng};

    use super::*;
    use crate::{ApiKeySecret, ApiKeySpec, ApiKeyUpdate, Mode};
    use masker_types::grant::{Grant, Limits};

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
        };
        let secret = presented(seed);
        let id = ApiKeyId::new(NOW + seed, &mut ChaCha20Rng::seed_from_u64(seed));
        ApiKey::create(id, spec, &secret, "operator", NOW)
    }

    fn name(keys: &ApiKeys, seed: u64, now_ms: u64) -> Result<String, AuthRejection> {
        keys.authenticate(&presented(seed), &Peer::for_tests(7, 7, &[]), now_ms).map(|found| found.name.clone())
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
        // The time at which the requests' heads were read; everything else happens later.
        let checked = |seed: u64| keys.check(&presented(seed).digest(), NOW);
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
}
