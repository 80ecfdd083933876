//! The loaded keys: for each key id an active generation, and optionally the old one that it replaces.
//!
//! A keyring never changes; a reload builds another with the next epoch. The bytes of a key are wiped as soon as its
//! generation is derived, so only prepared keys remain. Two keyrings share the prepared keys of a key that cannot be
//! read again.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use crate::crypto::{
    Fingerprint, GenerationKeys, Index, IndexName, SecretKey,
    aead::{PREFIX_BYTES, TAG_BYTES},
    secret::LockedMemoryError,
};
use masker_types::{kind::Kid, mode::Mode};

/// The role of a generation for its key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// New tokens and records are created under it.
    Active,
    /// It is being replaced: it opens and finds existing tokens and records, but creates no new ones.
    Old,
}

impl Role {
    /// Returns `active` or `old`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Active => "active",
            Role::Old => "old",
        }
    }
}

/// A loaded key.
pub struct LoadedKey {
    /// The key id.
    pub kid: Kid,
    /// The role of the key.
    pub role: Role,
    /// The key.
    pub key: SecretKey,
}

/// A key generation of a key id, in both modes.
pub struct Generation {
    role: Role,
    keys: Arc<ModeKeys>,
}

/// The prepared keys of a generation. Successive keyrings share them.
struct ModeKeys {
    live: GenerationKeys,
    test: GenerationKeys,
}

impl Generation {
    fn derive(kid: Kid, role: Role, key: &SecretKey) -> Result<Self, LockedMemoryError> {
        let keys = |mode| GenerationKeys::derive(kid, key, mode);
        Ok(Generation { role, keys: Arc::new(ModeKeys { live: keys(Mode::Live)?, test: keys(Mode::Test)? }) })
    }

    /// Returns the same generation for another keyring.
    fn shared(&self) -> Self {
        Generation { role: self.role, keys: Arc::clone(&self.keys) }
    }

    /// Returns the role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the key id.
    pub fn kid(&self) -> Kid {
        self.keys.live.kid()
    }

    /// Returns the public name, which is the same in both modes.
    pub fn fingerprint(&self) -> Fingerprint {
        self.keys.live.fingerprint()
    }

    /// Returns whether `tag` authenticates an index row under this key, in either mode.
    pub fn verifies_index(&self, name: IndexName, index: Index, list: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
        Mode::ALL.into_iter().any(|mode| self.keys(mode).index_tag_verifies(name, index, list, tag))
    }

    /// Returns the prepared keys of a mode.
    pub fn keys(&self, mode: Mode) -> &GenerationKeys {
        match mode {
            Mode::Live => &self.keys.live,
            Mode::Test => &self.keys.test,
        }
    }
}

/// The generations of one key id. Holding one proves that they differ.
pub struct KeyPair {
    active: Generation,
    old: Option<Generation>,
}

impl KeyPair {
    /// Returns the generation for new tokens and records.
    pub fn active(&self) -> &Generation {
        &self.active
    }

    /// Returns the generation that is being replaced, if it is loaded.
    pub fn old(&self) -> Option<&Generation> {
        self.old.as_ref()
    }

    /// Returns the generations, the active one first.
    pub fn generations(&self) -> impl Iterator<Item = &Generation> {
        [Some(&self.active), self.old.as_ref()].into_iter().flatten()
    }
}

/// A problem with a set of keys, which the operator can fix. It contains no part of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Two keys have the same key id and role.
    #[error("{kid} has more than one {} key: keep one of them", role.as_str())]
    Duplicate {
        /// The key id.
        kid: Kid,
        /// The role.
        role: Role,
    },
    /// An old key has no active key that replaces it.
    #[error("{kid} has an old key but no active one: load the key that replaces it, or make it the active one")]
    OldWithoutActive {
        /// The key id.
        kid: Kid,
    },
    /// The old key equals the active one, or the beginnings of their fingerprints, which tokens carry, are the same.
    #[error(
        "the active and the old key of {kid} are the same, or their fingerprints begin alike: load a new key as active, or \
         remove the old one"
    )]
    ActiveIsOld {
        /// The key id.
        kid: Kid,
    },
    /// No locked memory is available for a generation.
    #[error("the {} key of {kid} cannot be kept: {source}", role.as_str())]
    Memory {
        /// The key id.
        kid: Kid,
        /// The role of the key.
        role: Role,
        /// The cause.
        source: LockedMemoryError,
    },
}

/// A loaded key under the key id of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameElsewhere {
    /// The key id that it is loaded for.
    pub kid: Kid,
    /// The role that it is loaded in.
    pub role: Role,
    /// The other key id.
    pub other: Kid,
    /// The fingerprint that it has under the other key id.
    pub fingerprint: Fingerprint,
}

/// All loaded keys. Holding one proves that each key id has an active generation.
pub struct Keyring {
    pairs: BTreeMap<Kid, KeyPair>,
    elsewhere: Vec<NameElsewhere>,
    epoch: u64,
}

impl Keyring {
    /// Derives and prepares all keys, and wipes their bytes. A keyring may be empty.
    ///
    /// `epoch` distinguishes this keyring from earlier and later ones. It increases with each reload.
    ///
    /// # Errors
    /// Returns all problems, so that all can be fixed at once.
    pub fn build(keys: Vec<LoadedKey>, epoch: u64) -> Result<Self, Vec<KeyringError>> {
        Self::assemble(Vec::new(), keys, epoch)
    }

    /// Builds the next keyring from `keys` and from those generations of this keyring that `kept` lists. Its epoch is
    /// the next.
    ///
    /// # Errors
    /// Returns the same errors as [`Keyring::build`].
    pub fn successor(&self, keys: Vec<LoadedKey>, kept: &BTreeSet<(Kid, Role)>) -> Result<Self, Vec<KeyringError>> {
        let generations = self.pairs.values().flat_map(KeyPair::generations);
        let kept = generations.filter(|generation| kept.contains(&(generation.kid(), generation.role)));
        Self::assemble(kept.map(Generation::shared).collect(), keys, self.epoch + 1)
    }

    fn assemble(shared: Vec<Generation>, keys: Vec<LoadedKey>, epoch: u64) -> Result<Self, Vec<KeyringError>> {
        let mut problems = Vec::new();
        let mut slots: BTreeMap<(Kid, Role), Generation> =
            shared.into_iter().map(|generation| ((generation.kid(), generation.role), generation)).collect();
        let kids: BTreeSet<Kid> = slots.keys().map(|(kid, _)| *kid).chain(keys.iter().map(|key| key.kid)).collect();
        let mut elsewhere = Vec::new();
        for LoadedKey { kid, role, key } in keys {
            elsewhere.extend(kids.iter().filter(|other| **other != kid).map(|other| NameElsewhere {
                kid,
                role,
                other: *other,
                fingerprint: GenerationKeys::fingerprint_of(*other, &key),
            }));
            match slots.entry((kid, role)) {
                Entry::Vacant(slot) => match Generation::derive(kid, role, &key) {
                    Ok(generation) => drop(slot.insert(generation)),
                    Err(source) => problems.push(KeyringError::Memory { kid, role, source }),
                },
                Entry::Occupied(_) => problems.push(KeyringError::Duplicate { kid, role }),
            }
        }
        let mut pairs: BTreeMap<Kid, KeyPair> = BTreeMap::new();
        // The map's order puts the active key of a key id before its old one.
        for ((kid, role), generation) in slots {
            match (role, pairs.get_mut(&kid)) {
                (Role::Active, _) => drop(pairs.insert(kid, KeyPair { active: generation, old: None })),
                (Role::Old, None) => {
                    let is_memory_problem =
                        |problem: &KeyringError| matches!(problem, KeyringError::Memory { kid: of, .. } if *of == kid);
                    if !problems.iter().any(is_memory_problem) {
                        problems.push(KeyringError::OldWithoutActive { kid });
                    }
                }
                // Tokens name their key by the beginning of its fingerprint, so such keys count as equal.
                (Role::Old, Some(pair)) if pair.active.fingerprint().prefix() == generation.fingerprint().prefix() => {
                    problems.push(KeyringError::ActiveIsOld { kid });
                }
                (Role::Old, Some(pair)) => pair.old = Some(generation),
            }
        }
        if problems.is_empty() { Ok(Keyring { pairs, elsewhere, epoch }) } else { Err(problems) }
    }

    /// Returns the epoch: see [`Keyring::build`].
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the generations of a key id, or `None` if none is loaded.
    pub fn get(&self, kid: Kid) -> Option<&KeyPair> {
        self.pairs.get(&kid)
    }

    /// Returns all key ids with their generations, in the order of the key ids.
    pub fn iter(&self) -> impl Iterator<Item = (Kid, &KeyPair)> {
        self.pairs.iter().map(|(kid, pair)| (*kid, pair))
    }

    /// Returns what each key that was loaded for this keyring would be called under the key id of another one. So a key that
    /// was put in the place of another one is recognized.
    pub fn names_elsewhere(&self) -> &[NameElsewhere] {
        &self.elsewhere
    }

    /// Returns the generation with this fingerprint, or `None` if it is not loaded.
    pub fn by_fingerprint(&self, kid: Kid, fingerprint: Fingerprint) -> Option<&Generation> {
        self.get(kid)?.generations().find(|generation| generation.fingerprint() == fingerprint)
    }

    /// Returns the generations of a key id that may have sealed a stateless token with this fingerprint prefix, the
    /// active one first: none, one, or (with a probability of 2^-32) two.
    pub fn matching(&self, kid: Kid, prefix: [u8; PREFIX_BYTES]) -> impl Iterator<Item = &Generation> {
        let generations = self.get(kid).into_iter().flat_map(KeyPair::generations);
        generations.filter(move |generation| generation.fingerprint().prefix() == prefix)
    }
}

/// The treatment of tokens of an old key after its grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraceAction {
    /// They are rehydrated, and the operator is warned.
    Warn,
    /// They are not rehydrated. Lookups and re-encryption under the old key are still possible.
    Refuse,
}

/// The grace period of old keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracePeriod {
    /// Length of the grace period, in days of 24 hours. 0 means that it ends at once.
    pub days: u32,
    /// The treatment of tokens after the end.
    pub action: GraceAction,
}

impl GracePeriod {
    /// Returns the end of the grace period of a key that became old at `old_since`. An end beyond the range of the
    /// calendar is [`Timestamp::MAX`].
    pub fn ends(&self, old_since: Timestamp) -> Timestamp {
        let period = SignedDuration::from_secs(i64::from(self.days) * 24 * 60 * 60);
        old_since.checked_add(period).unwrap_or(Timestamp::MAX)
    }

    /// Returns whether the grace period of a key that became old at `old_since` is over at `now`. At its end, it is
    /// over.
    pub fn is_over(&self, old_since: Timestamp, now: Timestamp) -> bool {
        self.ends(old_since) <= now
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use masker_types::kind::{Context, EntityKind, Value};

    fn kid(text: &str) -> Kid {
        Kid::parse(text).unwrap()
    }

    fn loaded(kid_text: &str, role: Role, number: u8) -> LoadedKey {
        let bytes = std::array::from_fn(|i| number.wrapping_mul(37).wrapping_add(i as u8));
        LoadedKey { kid: kid(kid_text), role, key: SecretKey::from_bytes(Zeroizing::new(bytes)).unwrap() }
    }

    #[test]
    fn finds_generations_by_key_id_fingerprint_and_prefix() {
        let keys = vec![loaded("K_A", Role::Old, 1), loaded("K_B", Role::Active, 3), loaded("K_A", Role::Active, 2)];
        let keyring = Keyring::build(keys, 7).ok().unwrap();
        assert_eq!(keyring.epoch(), 7);
        assert_eq!(keyring.iter().map(|(kid, _)| kid.to_string()).collect::<Vec<_>>(), ["K_A", "K_B"]);

        let pair = keyring.get(kid("K_A")).unwrap();
        let roles: Vec<_> = pair.generations().map(|generation| generation.role().as_str()).collect();
        assert_eq!(roles, ["active", "old"]);
        let old = pair.old().unwrap();
        assert_ne!(old.fingerprint(), pair.active().fingerprint());
        assert!(keyring.get(kid("K_B")).unwrap().old().is_none());
        assert!(keyring.get(kid("K_C")).is_none());

        let found = keyring.by_fingerprint(kid("K_A"), old.fingerprint()).unwrap();
        assert_eq!((found.role(), found.kid()), (Role::Old, kid("K_A")));
        assert!(keyring.by_fingerprint(kid("K_B"), old.fingerprint()).is_none());

        let matching = |kid_text: &str, prefix| keyring.matching(kid(kid_text), prefix).map(Generation::role).collect();
        let roles: Vec<Role> = matching("K_A", old.fingerprint().prefix());
        assert_eq!(roles, [Role::Old]);
        let roles: Vec<Role> = matching("K_A", pair.active().fingerprint().prefix());
        assert_eq!(roles, [Role::Active]);
        let roles: Vec<Role> = matching("K_A", [0; 4]);
        assert!(roles.is_empty());
        let roles: Vec<Role> = matching("K_C", old.fingerprint().prefix());
        assert!(roles.is_empty());
    }

    #[test]
    fn a_successor_shares_kept_generations() {
        let keys = vec![loaded("K_A", Role::Active, 2), loaded("K_A", Role::Old, 1), loaded("K_B", Role::Active, 3)];
        let before = Keyring::build(keys, 7).ok().unwrap();
        let kept = |slots: &[(&str, Role)]| slots.iter().map(|(text, role)| (kid(text), *role)).collect();
        let names = |keyring: &Keyring| -> Vec<(Kid, Role, Fingerprint)> {
            let generations = keyring.iter().flat_map(|(_, pair)| pair.generations());
            generations.map(|generation| (generation.kid(), generation.role(), generation.fingerprint())).collect()
        };

        let all = kept(&[("K_A", Role::Active), ("K_A", Role::Old), ("K_B", Role::Active), ("K_C", Role::Active)]);
        let same = before.successor(vec![], &all).ok().unwrap();
        assert_eq!((names(&same), same.epoch()), (names(&before), 8));
        let id = |keyring: &Keyring| {
            let keys = keyring.get(kid("K_A")).unwrap().active().keys(Mode::Test);
            keys.value_index(EntityKind::parse("NAME").unwrap(), Context::EMPTY, Value::new("v").unwrap())
        };
        drop(before);
        let id_before = id(&same);

        // One key is kept, one replaced, one removed, one added.
        let keys = vec![loaded("K_A", Role::Old, 4), loaded("K_C", Role::Active, 5)];
        let after = same.successor(keys, &kept(&[("K_A", Role::Active)])).ok().unwrap();
        assert_eq!(id(&after), id_before);
        let roles: Vec<_> = names(&after).into_iter().map(|(kid, role, _)| (kid.to_string(), role)).collect();
        let expected = [("K_A", Role::Active), ("K_A", Role::Old), ("K_C", Role::Active)];
        assert_eq!(roles, expected.map(|(kid, role)| (kid.to_owned(), role)));
        assert_ne!(names(&after)[1], names(&same)[1]);

        // A key that is read may also be kept.
        let keys = vec![loaded("K_A", Role::Old, 2), loaded("K_A", Role::Active, 6)];
        let problems = same.successor(keys, &kept(&[("K_A", Role::Active), ("K_B", Role::Active)])).err().unwrap();
        assert!(
            matches!(
                problems[..],
                [KeyringError::Duplicate { role: Role::Active, .. }, KeyringError::ActiveIsOld { .. }]
            ),
            "{problems:?}"
        );
        let problems = same.successor(vec![], &kept(&[("K_A", Role::Old)])).err().unwrap();
        assert!(matches!(problems[..], [KeyringError::OldWithoutActive { .. }]), "{problems:?}");
    }

    #[test]
    fn modes_have_different_keys() {
        let keyring = Keyring::build(vec![loaded("K_A", Role::Active, 1)], 0).ok().unwrap();
        let active = keyring.get(kid("K_A")).unwrap().active();
        let id = |mode| {
            let keys = active.keys(mode);
            assert_eq!((keys.kid(), keys.fingerprint()), (active.kid(), active.fingerprint()));
            keys.value_index(EntityKind::parse("NAME").unwrap(), Context::EMPTY, Value::new("v").unwrap())
        };
        assert_ne!(id(Mode::Live), id(Mode::Test));
    }

    /// All threads that serve requests share a keyring.
    #[test]
    fn keyrings_are_send_and_sync() {
        fn assert_shareable<T: Send + Sync + 'static>() {}
        assert_shareable::<Keyring>();
    }

    #[test]
    fn a_keyring_may_be_empty() {
        assert_eq!(Keyring::build(vec![], 1).ok().unwrap().iter().count(), 0);
    }

    #[test]
    fn reports_all_problems_at_once() {
        let problems = Keyring::build(
            vec![
                loaded("K_TWICE", Role::Active, 1),
                loaded("K_TWICE", Role::Active, 2),
                loaded("K_ORPHAN", Role::Old, 3),
                loaded("K_SAME", Role::Active, 4),
                loaded("K_SAME", Role::Old, 4),
                loaded("K_FINE", Role::Active, 5),
                loaded("K_FINE", Role::Old, 6),
            ],
            1,
        )
        .err()
        .unwrap();
        assert!(
            matches!(
                problems[..],
                [
                    KeyringError::Duplicate { kid: twice, role: Role::Active },
                    KeyringError::OldWithoutActive { kid: orphan },
                    KeyringError::ActiveIsOld { kid: same },
                ] if twice == kid("K_TWICE") && orphan == kid("K_ORPHAN") && same == kid("K_SAME")
            ),
            "{problems:?}"
        );
        assert_eq!(problems[0].to_string(), "K_TWICE has more than one active key: keep one of them");
    }

    #[test]
    fn two_key_ids_may_have_the_same_key() {
        let keys = vec![loaded("K_A", Role::Active, 1), loaded("K_B", Role::Active, 1)];
        let keyring = Keyring::build(keys, 1).ok().unwrap();
        let fingerprints: Vec<_> = keyring.iter().map(|(_, pair)| pair.active().fingerprint()).collect();
        assert_ne!(fingerprints[0], fingerprints[1]);
    }

    #[test]
    fn the_grace_period_ends_to_the_second() {
        let grace = GracePeriod { days: 30, action: GraceAction::Warn };
        let since: Timestamp = "2024-02-01T12:00:00Z".parse().unwrap();
        assert_eq!(grace.ends(since), "2024-03-02T12:00:00Z".parse().unwrap());
        assert!(!grace.is_over(since, "2024-03-02T11:59:59Z".parse().unwrap()));
        assert!(grace.is_over(since, "2024-03-02T12:00:00Z".parse().unwrap()));
        assert!(!grace.is_over(since, since));
    }

    #[test]
    fn accepts_the_shortest_and_longest_grace_period() {
        let since: Timestamp = "2024-02-01T12:00:00Z".parse().unwrap();
        assert!(GracePeriod { days: 0, action: GraceAction::Refuse }.is_over(since, since));
        let longest = GracePeriod { days: u32::MAX, action: GraceAction::Refuse };
        assert_eq!(longest.ends(since), Timestamp::MAX);
        assert!(!longest.is_over(since, "9000-01-01T00:00:00Z".parse().unwrap()));
    }
}
