//! Which keys there are: for every key id an active generation, and maybe the one that it replaced.
//!
//! A keyring is built whole and never changes; a reload builds another one with the next epoch. Prepared states alone
//! stay: the key bytes are wiped as soon as a generation is derived. So a key that cannot be read a second time is
//! carried over from one keyring to the next as the prepared states that it has become.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use crate::crypto::{
    Fingerprint, GenerationKeys, SecretKey, TokenId,
    aead::{PREFIX_BYTES, TAG_BYTES},
    secret::LockedMemoryError,
};
use masker_types::{kind::Kid, mode::Mode};

/// What a generation is to its key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// New tokens and records are made under it.
    Active,
    /// It is being replaced: it opens and finds what was made under it, and makes nothing new.
    Old,
}

impl Role {
    /// `active` or `old`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Active => "active",
            Role::Old => "old",
        }
    }
}

/// A key as it was loaded.
pub struct LoadedKey {
    /// What it is a key of.
    pub kid: Kid,
    /// What it is to its key id.
    pub role: Role,
    /// Its bytes.
    pub key: SecretKey,
}

/// One key generation of a key id, in both worlds.
pub struct Generation {
    role: Role,
    keys: Arc<ModeKeys>,
}

/// What a key has become: shared by the keyrings that it is carried through.
struct ModeKeys {
    live: GenerationKeys,
    test: GenerationKeys,
}

impl Generation {
    fn derive(kid: Kid, role: Role, key: &SecretKey) -> Result<Self, LockedMemoryError> {
        let keys = |mode| GenerationKeys::derive(kid, key, mode);
        Ok(Generation { role, keys: Arc::new(ModeKeys { live: keys(Mode::Live)?, test: keys(Mode::Test)? }) })
    }

    /// The same generation, for another keyring.
    fn carried(&self) -> Self {
        Generation { role: self.role, keys: Arc::clone(&self.keys) }
    }

    /// What it is to its key id.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The key id.
    pub fn kid(&self) -> Kid {
        self.keys.live.kid()
    }

    /// Its public name, the same in both worlds.
    pub fn fingerprint(&self) -> Fingerprint {
        self.keys.live.fingerprint()
    }

    /// Whether this key vouches, in either mode, for an alias that leads from `index` to `target`.
    pub fn verifies_alias(&self, index: TokenId, target: TokenId, tag: &[u8; TAG_BYTES]) -> bool {
        Mode::ALL.into_iter().any(|mode| self.keys(mode).alias_verifies(index, target, tag))
    }

    /// What works with it in one mode.
    pub fn keys(&self, mode: Mode) -> &GenerationKeys {
        match mode {
            Mode::Live => &self.keys.live,
            Mode::Test => &self.keys.test,
        }
    }
}

/// The generations of one key id. Having one tells you that they differ.
pub struct KeyPair {
    active: Generation,
    old: Option<Generation>,
}

impl KeyPair {
    /// The generation that makes new tokens and records.
    pub fn active(&self) -> &Generation {
        &self.active
    }

    /// The generation that it replaces, while that is loaded.
    pub fn old(&self) -> Option<&Generation> {
        self.old.as_ref()
    }

    /// Both, the active one first.
    pub fn generations(&self) -> impl Iterator<Item = &Generation> {
        [Some(&self.active), self.old.as_ref()].into_iter().flatten()
    }
}

/// What is wrong with a set of keys. The operator can mend it. Nothing in it tells of a key's bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Two keys for one place.
    #[error("{kid} has more than one {} key: keep one of them", role.as_str())]
    Duplicate {
        /// The key id.
        kid: Kid,
        /// The place that both claim.
        role: Role,
    },
    /// An old key that nothing replaces.
    #[error("{kid} has an old key and no active one: load the key that replaces it, or make it the active one")]
    OldWithoutActive {
        /// The key id.
        kid: Kid,
    },
    /// An old key that is the active one.
    #[error("the active and the old key of {kid} are the same: load the new key as active, or remove the old one")]
    ActiveIsOld {
        /// The key id.
        kid: Kid,
    },
    /// There is no locked memory to keep a generation in.
    #[error("the {} key of {kid} cannot be kept: {source}", role.as_str())]
    Memory {
        /// The key id.
        kid: Kid,
        /// Which of its keys.
        role: Role,
        /// Why not.
        source: LockedMemoryError,
    },
}

/// Every key at hand. Having one tells you that each key id in it has an active generation.
pub struct Keyring {
    pairs: BTreeMap<Kid, KeyPair>,
    epoch: u64,
}

impl Keyring {
    /// Derives and prepares all keys; their bytes are wiped on the way. No keys at all are a keyring, too.
    ///
    /// `epoch` tells this keyring from those before and after it; each reload takes a higher one.
    ///
    /// # Errors
    /// Every problem there is, so that all can be mended at once.
    pub fn build(keys: Vec<LoadedKey>, epoch: u64) -> Result<Self, Vec<KeyringError>> {
        Self::assemble(Vec::new(), keys, epoch)
    }

    /// The keyring after this one: these keys, and beside them those of `kept` that are here, in the roles that they
    /// have. Its epoch is the next.
    ///
    /// # Errors
    /// As [`Keyring::build`].
    pub fn successor(&self, keys: Vec<LoadedKey>, kept: &BTreeSet<(Kid, Role)>) -> Result<Self, Vec<KeyringError>> {
        let generations = self.pairs.values().flat_map(KeyPair::generations);
        let kept = generations.filter(|generation| kept.contains(&(generation.kid(), generation.role)));
        Self::assemble(kept.map(Generation::carried).collect(), keys, self.epoch + 1)
    }

    fn assemble(carried: Vec<Generation>, keys: Vec<LoadedKey>, epoch: u64) -> Result<Self, Vec<KeyringError>> {
        let mut problems = Vec::new();
        let mut slots: BTreeMap<(Kid, Role), Generation> =
            carried.into_iter().map(|generation| ((generation.kid(), generation.role), generation)).collect();
        for LoadedKey { kid, role, key } in keys {
            match slots.entry((kid, role)) {
                Entry::Vacant(slot) => match Generation::derive(kid, role, &key) {
                    Ok(generation) => drop(slot.insert(generation)),
                    Err(source) => problems.push(KeyringError::Memory { kid, role, source }),
                },
                Entry::Occupied(_) => problems.push(KeyringError::Duplicate { kid, role }),
            }
        }
        let mut pairs: BTreeMap<Kid, KeyPair> = BTreeMap::new();
        // In the order of the map: a key id's active key before its old one.
        for ((kid, role), generation) in slots {
            match (role, pairs.get_mut(&kid)) {
                (Role::Active, _) => drop(pairs.insert(kid, KeyPair { active: generation, old: None })),
                (Role::Old, None) => {
                    let not_carried_over =
                        |problem: &KeyringError| matches!(problem, KeyringError::Memory { kid: of, .. } if *of == kid);
                    if !problems.iter().any(not_carried_over) {
                        problems.push(KeyringError::OldWithoutActive { kid });
                    }
                }
                // Two keys that cannot be told apart by name are one key to the vault, whatever their bytes.
                (Role::Old, Some(pair)) if pair.active.fingerprint() == generation.fingerprint() => {
                    problems.push(KeyringError::ActiveIsOld { kid });
                }
                (Role::Old, Some(pair)) => pair.old = Some(generation),
            }
        }
        if problems.is_empty() { Ok(Keyring { pairs, epoch }) } else { Err(problems) }
    }

    /// Which keyring this is: see [`Keyring::build`].
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The generations of a key id; `None` where no key of it is loaded.
    pub fn get(&self, kid: Kid) -> Option<&KeyPair> {
        self.pairs.get(&kid)
    }

    /// Every key id with its generations, in the order of the key ids.
    pub fn iter(&self) -> impl Iterator<Item = (Kid, &KeyPair)> {
        self.pairs.iter().map(|(kid, pair)| (*kid, pair))
    }

    /// The generation of a key id that has this name; `None` where it is not loaded.
    pub fn by_fingerprint(&self, kid: Kid, fingerprint: Fingerprint) -> Option<&Generation> {
        self.get(kid)?.generations().find(|generation| generation.fingerprint() == fingerprint)
    }

    /// The generations of a key id that a reversible token with this prefix may be sealed by, the active one first:
    /// none, one, or by an accident of 2^-32 two.
    pub fn matching(&self, kid: Kid, prefix: [u8; PREFIX_BYTES]) -> impl Iterator<Item = &Generation> {
        let generations = self.get(kid).into_iter().flat_map(KeyPair::generations);
        generations.filter(move |generation| generation.fingerprint().prefix() == prefix)
    }
}

/// What happens to tokens of an old key when its grace period is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraceAction {
    /// They are rehydrated as before, and the operator is warned.
    Warn,
    /// They are not rehydrated any more. Searching by the old key and re-encrypting always may go on.
    Refuse,
}

/// How long old keys may stay, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracePeriod {
    /// Length of the grace period, in days of 24 hours. With 0 it is over at once.
    pub days: u32,
    /// What happens when it is over.
    pub action: GraceAction,
}

impl GracePeriod {
    /// When the grace period ends of a key that is old since `old_since`. An end that no calendar can tell is the last
    /// instant that there is.
    pub fn ends(&self, old_since: Timestamp) -> Timestamp {
        let period = SignedDuration::from_secs(i64::from(self.days) * 24 * 60 * 60);
        old_since.checked_add(period).unwrap_or(Timestamp::MAX)
    }

    /// Whether the grace period of a key that is old since `old_since` is over at `now`: at its end, it is.
    pub fn is_over(&self, old_since: Timestamp, now: Timestamp) -> bool {
        self.ends(old_since) <= now
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use masker_types::kind::{Context, EntityKind};

    fn kid(text: &str) -> Kid {
        Kid::parse(text).unwrap()
    }

    fn loaded(kid_text: &str, role: Role, number: u8) -> LoadedKey {
        let bytes = std::array::from_fn(|i| number.wrapping_mul(37).wrapping_add(i as u8));
        LoadedKey { kid: kid(kid_text), role, key: SecretKey::from_bytes(Zeroizing::new(bytes)).unwrap() }
    }

    #[test]
    fn a_keyring_finds_generations_by_every_name() {
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
    fn a_keyring_carries_over_what_cannot_be_read_again() {
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
            keys.token_id(EntityKind::parse("NAME").unwrap(), Context::EMPTY, "v")
        };
        drop(before);
        let id_before = id(&same);

        // One kept, one read anew, one gone, one that is new.
        let keys = vec![loaded("K_A", Role::Old, 4), loaded("K_C", Role::Active, 5)];
        let after = same.successor(keys, &kept(&[("K_A", Role::Active)])).ok().unwrap();
        assert_eq!(id(&after), id_before);
        let roles: Vec<_> = names(&after).into_iter().map(|(kid, role, _)| (kid.to_string(), role)).collect();
        let expected = [("K_A", Role::Active), ("K_A", Role::Old), ("K_C", Role::Active)];
        assert_eq!(roles, expected.map(|(kid, role)| (kid.to_owned(), role)));
        assert_ne!(names(&after)[1], names(&same)[1]);

        // A key that is read may be one that was kept.
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
    fn worlds_have_keys_of_their_own() {
        let keyring = Keyring::build(vec![loaded("K_A", Role::Active, 1)], 0).ok().unwrap();
        let active = keyring.get(kid("K_A")).unwrap().active();
        let id = |mode| {
            let keys = active.keys(mode);
            assert_eq!((keys.kid(), keys.fingerprint()), (active.kid(), active.fingerprint()));
            keys.token_id(EntityKind::parse("NAME").unwrap(), Context::EMPTY, "v")
        };
        assert_ne!(id(Mode::Live), id(Mode::Test));
    }

    /// It is shared by every thread that serves requests.
    #[test]
    fn a_keyring_can_be_shared() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Keyring>();
    }

    #[test]
    fn no_keys_are_a_keyring() {
        assert_eq!(Keyring::build(vec![], 1).ok().unwrap().iter().count(), 0);
    }

    #[test]
    fn every_problem_is_told_at_once() {
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
    fn one_key_may_serve_two_key_ids() {
        let keys = vec![loaded("K_A", Role::Active, 1), loaded("K_B", Role::Active, 1)];
        let keyring = Keyring::build(keys, 1).ok().unwrap();
        let fingerprints: Vec<_> = keyring.iter().map(|(_, pair)| pair.active().fingerprint()).collect();
        assert_ne!(fingerprints[0], fingerprints[1]);
    }

    #[test]
    fn grace_ends_to_the_second() {
        let grace = GracePeriod { days: 30, action: GraceAction::Warn };
        let since: Timestamp = "2024-02-01T12:00:00Z".parse().unwrap();
        assert_eq!(grace.ends(since), "2024-03-02T12:00:00Z".parse().unwrap());
        assert!(!grace.is_over(since, "2024-03-02T11:59:59Z".parse().unwrap()));
        assert!(grace.is_over(since, "2024-03-02T12:00:00Z".parse().unwrap()));
        assert!(!grace.is_over(since, since));
    }

    #[test]
    fn grace_has_no_day_too_few_or_too_many() {
        let since: Timestamp = "2024-02-01T12:00:00Z".parse().unwrap();
        assert!(GracePeriod { days: 0, action: GraceAction::Refuse }.is_over(since, since));
        let longest = GracePeriod { days: u32::MAX, action: GraceAction::Refuse };
        assert_eq!(longest.ends(since), Timestamp::MAX);
        assert!(!longest.is_over(since, "9000-01-01T00:00:00Z".parse().unwrap()));
    }
}
