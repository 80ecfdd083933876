//! Key generations in the ledger: which the vault has seen, since when each is old, and what needs it.
//!
//! The ledger knows keys by fingerprint alone. New keys are compared with it before they come into force, so that a
//! replaced key does not become active again by mistake.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    GenerationRef, ItemFailure,
    key_assessment::needs,
    known_generation::KnownGeneration,
    ledger::{Ledger, LedgerDraft},
    time::timestamp,
};
use masker_core::{
    crypto::Fingerprint,
    keyring::{KeyPair, Keyring, NameElsewhere, Role},
};
use masker_types::kind::Kid;

impl Ledger {
    /// Checks that a value of `kid` which was not found under these keys is not in the vault.
    ///
    /// # Errors
    /// [`ItemFailure::KeyUnavailable`] with a key that has records or index rows and is not among these: the value may be
    /// under that.
    pub(super) fn check_not_found(&self, kid: Kid, keyring: &Keyring) -> Result<(), ItemFailure> {
        let unknown_keys = |(name, row): &(&(Kid, Fingerprint), &KnownGeneration)| {
            row.is_needed() && keyring.by_fingerprint(name.0, name.1).is_none()
        };
        let searched = std::iter::once(kid).chain(self.related_kids(kid));
        match searched.flat_map(|kid| self.generations_of(kid)).find(unknown_keys) {
            Some(((kid, fingerprint), _)) => {
                Err(ItemFailure::KeyUnavailable(GenerationRef { kid: *kid, fingerprint: fingerprint.to_string() }))
            }
            None => Ok(()),
        }
    }

    /// Returns what to correct, for each active key in force that the vault needs and that is not among the next keys.
    pub(super) fn lost_active_keys(&self, in_force: &Keyring, next: &Keyring) -> Vec<String> {
        let lost = |(kid, pair): (Kid, &KeyPair)| {
            let fingerprint = pair.active().fingerprint();
            let row = self.generations.get(&(kid, fingerprint)).filter(|row| row.is_needed())?;
            if next.by_fingerprint(kid, fingerprint).is_some() {
                return None;
            }
            Some(format!(
                "{} the key {kid} with fingerprint {fingerprint}, which would no longer be loaded: put it back from its copy, \
                 as MASKER_KEY_{kid}_OLD if another key replaces it, or else as MASKER_KEY_{kid}, and do not restart the \
                 daemon before; `masker doctor` shows which keys are where",
                needs(row.records, row.index_rows)
            ))
        };
        in_force.iter().filter_map(lost).collect()
    }

    /// Returns every generation of a kid that the vault has seen.
    pub(super) fn generations_of(&self, kid: Kid) -> impl Iterator<Item = (&(Kid, Fingerprint), &KnownGeneration)> {
        let (first, last) = (Fingerprint::from_bytes([0; 8]), Fingerprint::from_bytes([0xff; 8]));
        self.generations.range((kid, first)..=(kid, last))
    }
}

/// Says that a key is in the place of another one.
pub(crate) fn describe_misplaced(name: &NameElsewhere) -> String {
    let suffix = if name.role == Role::Old { "_OLD" } else { "" };
    format!(
        "MASKER_KEY_{}{suffix} holds the key {} of {}: put each key back in its own place; `masker doctor` shows which keys are \
         where",
        name.kid, name.fingerprint, name.other
    )
}

impl LedgerDraft {
    /// Compares keys with those remembered, before they come into force. Notes new generations; one that is no longer the
    /// active one of its kid becomes old now, loaded or not. Returns what an operator should know.
    ///
    /// # Errors
    /// What to correct, for each key of another kid, and for each kid whose active key had been replaced; nothing is noted
    /// then.
    pub(super) fn keys_loaded(
        &mut self,
        keyring: &Keyring,
        now_ms: u64,
        accept_rollback: bool,
    ) -> Result<Vec<String>, Vec<String>> {
        let misplaced = self.misplaced(keyring);
        if !misplaced.is_empty() {
            return Err(misplaced);
        }
        let rollbacks = self.rollbacks(keyring);
        if !rollbacks.is_empty() && !accept_rollback {
            return Err(rollbacks);
        }
        let mut notes: Vec<String> =
            rollbacks.into_iter().map(|problem| format!("accepted as it is: {problem}")).collect();
        // Kids whose active key the vault knows: an unknown old key beside it may be a new one in the wrong place.
        let known_kids: BTreeSet<Kid> = keyring
            .iter()
            .filter(|(kid, pair)| self.ledger.generations.contains_key(&(*kid, pair.active().fingerprint())))
            .map(|(kid, _)| kid)
            .collect();
        for generation in keyring.iter().flat_map(|(_, pair)| pair.generations()) {
            let name = (generation.kid(), generation.fingerprint());
            let known = self.ledger.generations.get(&name).copied();
            let row = known.unwrap_or_else(|| KnownGeneration::first_seen(now_ms));
            if known.is_none() && generation.role() == Role::Old && known_kids.contains(&name.0) {
                notes.push(format!(
                    "MASKER_KEY_{}_OLD holds a key with fingerprint {} that this vault has never seen; if it was meant \
                     to be the new key, swap it with MASKER_KEY_{}",
                    name.0, name.1, name.0
                ));
            }
            let old_since_ms = match generation.role() {
                Role::Active => None,
                Role::Old => row.old_since_ms.or(Some(now_ms)),
            };
            // A proof holds only while the key stays old.
            let proven_at_ms = row.proven_at_ms.filter(|_| generation.role() == Role::Old);
            self.set_generation(name, KnownGeneration { old_since_ms, proven_at_ms, ..row });
        }
        let replaced: Vec<_> = self
            .ledger
            .generations
            .iter()
            .filter(|(name, row)| row.old_since_ms.is_none() && is_replaced(**name, keyring))
            .map(|(name, row)| (*name, KnownGeneration { old_since_ms: Some(now_ms), ..*row }))
            .collect();
        for (name, row) in replaced {
            self.set_generation(name, row);
        }
        Ok(notes)
    }

    /// Returns what to correct, for each key that the vault knows as one of another kid only.
    pub(super) fn misplaced(&self, keyring: &Keyring) -> Vec<String> {
        let known = |name: &(Kid, Fingerprint)| self.ledger.generations.contains_key(name);
        let own_is_known = |kid: Kid, role: Role| {
            let mut generations = keyring.get(kid).into_iter().flat_map(KeyPair::generations);
            generations.any(|generation| generation.role() == role && known(&(kid, generation.fingerprint())))
        };
        let names = keyring.names_elsewhere().iter();
        let misplaced =
            names.filter(|name| known(&(name.other, name.fingerprint)) && !own_is_known(name.kid, name.role));
        misplaced.map(describe_misplaced).collect()
    }

    /// Returns what to correct, for each kid whose active key had been replaced.
    pub(super) fn rollbacks(&self, keyring: &Keyring) -> Vec<String> {
        self.key_rollbacks(keyring).into_iter().map(|rollback| rollback.text).collect()
    }

    /// Returns each active key that had been replaced.
    pub(super) fn key_rollbacks(&self, keyring: &Keyring) -> Vec<KeyRollback> {
        keyring.iter().filter_map(|(kid, _)| self.rollback(kid, keyring)).collect()
    }

    fn rollback(&self, kid: Kid, keyring: &Keyring) -> Option<KeyRollback> {
        let pair = keyring.get(kid)?;
        let active = pair.active().fingerprint();
        let since = self.ledger.generations.get(&(kid, active))?.old_since_ms?;
        let at = |ms| timestamp(ms).unwrap_or(Timestamp::MAX);
        let later = self
            .ledger
            .generations_of(kid)
            .filter(|(name, row)| name.1 != active && row.old_since_ms.is_none_or(|old_since| old_since > since));
        // If there are several, the one that was active last.
        let later = later.max_by_key(|(_, row)| (row.old_since_ms.is_none(), row.old_since_ms, row.first_seen_ms));
        let replaced_by = later.map(|(name, _)| name.1);
        let text = match (replaced_by, pair.old()) {
            (Some(by), Some(old)) if old.fingerprint() == by => format!(
                "MASKER_KEY_{kid} and MASKER_KEY_{kid}_OLD are swapped: {by} replaced {active} on {}; swap them back. \
                 If the key that was replaced is to be active again, `masker recover` accepts that",
                at(since)
            ),
            (Some(by), _) => format!(
                "MASKER_KEY_{kid} holds {active}, which {by} replaced on {}; load {by} as MASKER_KEY_{kid} and {active} \
                 as MASKER_KEY_{kid}_OLD. If the key that was replaced is to be active again, `masker recover` accepts that",
                at(since)
            ),
            (None, _) => format!(
                "MASKER_KEY_{kid} holds {active}, which is old since {}; load the key that replaced it. If it is to be active \
                 again, `masker recover` accepts that",
                at(since)
            ),
        };
        Some(KeyRollback { kid, active, replaced_by, since: at(since), text })
    }

    /// Notes that a full pass has found nothing that needs this generation, unless the ledger counts something.
    pub(super) fn proven(&mut self, name: (Kid, Fingerprint), at_ms: u64) {
        if let Some(row) = self.ledger.generations.get(&name).copied()
            && row.old_since_ms.is_some()
            && !row.is_needed()
        {
            self.set_generation(name, KnownGeneration { proven_at_ms: Some(at_ms), ..row });
        }
    }
}

/// An active key that another one had replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRollback {
    /// The key id.
    pub kid: Kid,
    /// The active key.
    pub active: Fingerprint,
    /// The key that replaced it, if the vault knows it.
    pub replaced_by: Option<Fingerprint>,
    /// Since when it is old.
    pub since: Timestamp,
    /// What to correct: a message for an operator.
    pub text: String,
}

/// Returns whether another generation of its kid is the active one.
fn is_replaced(name: (Kid, Fingerprint), keyring: &Keyring) -> bool {
    keyring.get(name.0).is_some_and(|pair| pair.active().fingerprint() != name.1)
}

impl Ledger {
    /// Returns a warning for each key that records need and that is not among these.
    pub(super) fn missing_key_warnings(&self, keyring: &Keyring, second_tokens: &BTreeSet<Kid>) -> Vec<String> {
        let missing = self
            .generations
            .iter()
            .filter(|(name, row)| row.is_needed() && keyring.by_fingerprint(name.0, name.1).is_none());
        missing.map(|(name, row)| missing_key_warning(*name, row, second_tokens.contains(&name.0))).collect()
    }
}

/// Describes records whose key is not loaded, and what an operator can do.
fn missing_key_warning((kid, fingerprint): (Kid, Fingerprint), row: &KnownGeneration, second_tokens: bool) -> String {
    let consequence = if second_tokens { "get second tokens" } else { "are refused" };
    // A key that another one has replaced is refused as the active one.
    let or_active = match row.old_since_ms {
        None => format!(" (or as MASKER_KEY_{kid}, if it is the newest)"),
        Some(_) => String::new(),
    };
    format!(
        "{} the key {kid} with fingerprint {fingerprint}, which is not loaded: they cannot be rehydrated, \
         and values of {kid} that the vault does not find {consequence}; put it back from its copy as \
         MASKER_KEY_{kid}_OLD{or_active}",
        needs(row.records, row.index_rows)
    )
}

#[cfg(test)]
mod tests;
