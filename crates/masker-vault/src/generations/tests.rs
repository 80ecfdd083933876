//! The rules for key generations, over a ledger alone, with explicit times.

use zeroize::Zeroizing;

use super::*;
use rand::{SeedableRng, rngs::ChaCha8Rng};

use crate::{
    generation_use::GenerationUseSnapshot,
    records::{self, MintedToken, RecordIndexes},
};
use masker_core::{
    crypto::{SecretKey, TokenId},
    keyring::LoadedKey,
    normalize::Normalizer,
};
use masker_store::record::Record;
use masker_types::{
    kind::{Context, EntityKind, Value},
    mode::Mode,
};

fn kid() -> Kid {
    Kid::parse("K_A").unwrap()
}

/// Returns a keyring of one kid; keys are named by a number.
fn ring(active: u8, old: Option<u8>) -> Keyring {
    let key = |number: u8, role| {
        let bytes = std::array::from_fn(|i| number.wrapping_mul(31).wrapping_add(i as u8));
        LoadedKey { kid: kid(), role, key: SecretKey::from_bytes(Zeroizing::new(bytes)).unwrap() }
    };
    let keys = [Some(key(active, Role::Active)), old.map(|old| key(old, Role::Old))];
    Keyring::build(keys.into_iter().flatten().collect(), 1).ok().unwrap()
}

fn name(number: u8) -> (Kid, Fingerprint) {
    (kid(), ring(number, None).get(kid()).unwrap().active().fingerprint())
}

/// A ledger through several starts with keys.
struct Register(Ledger);

impl Register {
    fn new() -> Self {
        Register(Ledger::default())
    }

    /// Starts or reloads with these keys.
    fn load(&mut self, keys: (u8, Option<u8>), now_ms: u64) -> Result<Vec<String>, Vec<String>> {
        self.load_as_told(keys, now_ms, false)
    }

    fn load_as_told(
        &mut self,
        (active, old): (u8, Option<u8>),
        now_ms: u64,
        accept: bool,
    ) -> Result<Vec<String>, Vec<String>> {
        let mut draft = LedgerDraft::of(&self.0);
        let notes = draft.keys_loaded(&ring(active, old), now_ms, accept);
        assert!(notes.is_ok() || draft.changes().is_empty(), "what is refused is not noted");
        self.0 = draft.ledger;
        notes
    }

    fn row(&self, number: u8) -> Option<KnownGeneration> {
        self.0.generations.get(&name(number)).copied()
    }

    fn old_since(&self, number: u8) -> Option<u64> {
        self.row(number).expect("it was seen").old_since_ms
    }

    fn change(&mut self, change: impl FnOnce(&mut LedgerDraft)) {
        let mut draft = LedgerDraft::of(&self.0);
        change(&mut draft);
        self.0 = draft.ledger;
    }
}

/// Returns a record sealed under a key.
fn record(number: u8) -> Record {
    let keyring = ring(number, None);
    let keys = keyring.get(kid()).unwrap().active().keys(Mode::Live);
    let kind = EntityKind::parse("NAME").unwrap();
    let payload = records::payload(Context::EMPTY, Value::new("v").unwrap(), Normalizer::Exact, "v");
    let token = MintedToken { kind, kid: kid(), id: TokenId::from_bytes([1; 20]), minted_at_ms: 1 };
    let indexes = RecordIndexes::compute(keys, kind, &payload);
    records::seal(keys, &token, indexes, &payload, 1, &mut ChaCha8Rng::seed_from_u64(1))
}

#[test]
fn notes_a_key_once_until_another_replaces_it() {
    let mut register = Register::new();
    assert_eq!(register.load((1, None), 10), Ok(vec![]));
    assert_eq!(register.row(1), Some(KnownGeneration::first_seen(10)));
    assert_eq!(register.load((1, None), 20), Ok(vec![]));
    assert_eq!(register.row(1), Some(KnownGeneration::first_seen(10)), "a start is no news");

    register.load((2, Some(1)), 30).unwrap();
    assert_eq!((register.old_since(1), register.old_since(2)), (Some(30), None));
    register.load((2, Some(1)), 40).unwrap();
    assert_eq!(register.old_since(1), Some(30), "grace runs from the day it became old");
    // It need not be loaded to become old.
    register.load((3, None), 50).unwrap();
    assert_eq!((register.old_since(1), register.old_since(2), register.old_since(3)), (Some(30), Some(50), None));
    register.load((3, Some(2)), 60).unwrap();
    assert_eq!(register.old_since(2), Some(50));
}

#[test]
fn an_unseen_old_key_is_old_from_now_and_gives_a_note() {
    let mut register = Register::new();
    assert_eq!(register.load((2, Some(1)), 10), Ok(vec![]), "the first start of a vault may bring both");
    assert_eq!((register.old_since(1), register.old_since(2)), (Some(10), None));
    // The new key was meant to be active, and was loaded as the old one.
    let notes = register.load((2, Some(3)), 20).unwrap();
    assert!(matches!(&notes[..], [one] if one.contains(&name(3).1.to_string()) && one.contains("swap")), "{notes:?}");
    assert_eq!(register.old_since(3), Some(20));
    assert_eq!(register.load((5, Some(4)), 30), Ok(vec![]), "both are new: nothing says which was meant to be which");
}

#[test]
fn rejects_a_replaced_key_unless_rollback_is_accepted() {
    let mut register = Register::new();
    register.load((1, None), 1_000).unwrap();
    register.load((2, Some(1)), 2_000).unwrap();
    let (first, second) = (name(1).1.to_string(), name(2).1.to_string());
    for (old, words) in [(Some(2), "are swapped"), (None, "load it"), (Some(3), "holds")] {
        let before = register.0.generations.clone();
        let problems = register.load((1, old), 3_000).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(&first) && problems[0].contains(&second), "{problems:?}");
        assert!(problems[0].contains("masker recover") && problems[0].contains("1970-01-01T00:00:02Z"));
        assert!(problems[0].contains(words) || old != Some(2), "{problems:?}");
        assert_eq!(register.0.generations, before);
    }

    let notes = register.load_as_told((1, Some(2)), 4_000, true).unwrap();
    assert!(matches!(&notes[..], [one] if one.starts_with("accepted as it is: ")), "{notes:?}");
    assert_eq!((register.old_since(1), register.old_since(2)), (None, Some(4_000)));
    // From then on the other key is the replaced one, and the flag is no longer needed.
    assert_eq!(register.load((1, Some(2)), 5_000), Ok(vec![]));
    assert!(register.load((2, Some(1)), 6_000).unwrap_err()[0].contains("are swapped"));
}

#[test]
fn names_the_last_active_of_several_later_keys() {
    let mut register = Register::new();
    for (time, keys) in [(1, (1, None)), (2, (2, Some(1))), (3, (3, Some(2)))] {
        register.load(keys, time).unwrap();
    }
    let problems = register.load((1, None), 4).unwrap_err();
    assert!(problems[0].contains(&name(3).1.to_string()) && !problems[0].contains(&name(2).1.to_string()));
    // An old key without a successor is old all the same.
    let problems = register.load((2, Some(3)), 4).unwrap_err();
    assert!(problems[0].contains("are swapped"), "{problems:?}");
}

#[test]
fn a_proof_ends_when_the_key_is_needed_or_active_again() {
    let mut register = Register::new();
    register.load((1, None), 1).unwrap();
    register.change(|draft| draft.proven(name(1), 2));
    assert_eq!(register.row(1).unwrap().proven_at_ms, None, "an active key is needed for what comes");
    register.change(|draft| draft.minted(&record(1)));
    register.load((2, Some(1)), 3).unwrap();
    register.change(|draft| draft.proven(name(1), 4));
    assert_eq!(register.row(1).unwrap().proven_at_ms, None, "the books know better");

    register.change(|draft| draft.erased(&record(1)));
    register.change(|draft| draft.proven(name(1), 5));
    assert_eq!(register.row(1).unwrap().proven_at_ms, Some(5));
    register.load((2, Some(1)), 6).unwrap();
    register.load((2, None), 7).unwrap();
    assert_eq!(register.row(1).unwrap().proven_at_ms, Some(5), "a start changes nothing about it");
    register.change(|draft| draft.minted(&record(1)));
    assert_eq!(register.row(1).unwrap().proven_at_ms, None);
    register.change(|draft| draft.erased(&record(1)));
    register.change(|draft| draft.proven(name(1), 8));
    register.load_as_told((1, Some(2)), 9, true).unwrap();
    assert_eq!(register.row(1).unwrap().proven_at_ms, None, "in use again");
}

#[test]
fn a_missing_key_may_hide_a_value() {
    let mut register = Register::new();
    register.load((1, None), 1).unwrap();
    register.load((2, None), 2).unwrap();
    let (both, new) = (ring(2, Some(1)), ring(2, None));
    assert_eq!(register.0.check_not_found(kid(), &new), Ok(()), "nothing needs the key that is gone");

    register.change(|draft| draft.minted(&record(1)));
    let fingerprint = name(1).1.to_string();
    let missing = ItemFailure::KeyUnavailable(GenerationRef { kid: kid(), fingerprint: fingerprint.clone() });
    assert_eq!(register.0.check_not_found(kid(), &new), Err(missing));
    assert_eq!(register.0.check_not_found(kid(), &both), Ok(()));
    assert_eq!(
        register.0.check_not_found(Kid::parse("K_B").unwrap(), &new),
        Ok(()),
        "another kid's values are not there"
    );

    assert!(register.0.missing_key_warnings(&both, &BTreeSet::new()).is_empty());
    let said = |second_tokens: BTreeSet<Kid>| register.0.missing_key_warnings(&new, &second_tokens).remove(0);
    let refused = said(BTreeSet::new());
    assert!(refused.starts_with(&format!("1 record needs the key K_A with fingerprint {fingerprint}")), "{refused}");
    assert!(refused.contains("does not find are refused") && refused.contains("MASKER_KEY_K_A_OLD"), "{refused}");
    assert!(said(BTreeSet::from([kid()])).contains("does not find get second tokens"));
}

#[test]
fn the_last_use_of_a_key_never_goes_back() {
    let mut register = Register::new();
    register.load((1, None), 1).unwrap();
    let used = |number: u8, last_ms: u64| GenerationUseSnapshot { name: name(number), last_ms, token_ms: 0, tokens: 0 };
    for (at_ms, last) in [(20, 20), (10, 20), (30, 30)] {
        register.change(|draft| draft.key_used(&used(1, at_ms), 40));
        assert_eq!(register.row(1).unwrap().last_used_ms, last);
    }
    register.change(|draft| draft.key_used(&used(2, 40), 40));
    assert_eq!(register.row(2), None, "what was never loaded opened nothing");
}
