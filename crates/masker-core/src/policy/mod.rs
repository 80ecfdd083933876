//! Policies: what becomes of a value, by its kind.
//!
//! A policy is text that an operator writes ([`Policy::parse`]); here it is what the text means, with every default
//! filled in, so that no later code asks where a setting came from. A [`PolicySet`] is the policies in force.

mod change;
mod parse;
mod set;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use change::{Effect, PolicyChange, changes};
pub use set::{PolicySet, PolicySetError};

use crate::{crypto::aead::Suite, normalize::Normalizer};
use masker_types::kind::{EntityKind, Kid};

/// What to do with each kind of value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name: `[a-z0-9][a-z0-9-]{0,63}`.
    pub name: String,
    /// Its version, from 1, as its author counts. Nothing depends on it; it tells people which text is in force.
    pub version: u32,
    /// What it is for; may be empty.
    pub description: String,
    /// The kinds it knows: at least one.
    pub entities: BTreeMap<EntityKind, EntityRule>,
}

/// What to do with values of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityRule {
    /// What becomes of the value.
    pub action: Action,
    /// Whether a request must give a context. Only ever set where the action is to tokenize.
    pub context_required: bool,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A token takes its place.
    Tokenize(TokenizeRule),
    /// `[REDACTED:KIND]` takes its place; nothing gives it back.
    Redact,
    /// It stays as it is.
    Passthrough,
}

/// How values of one kind become tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizeRule {
    /// The key id, which is part of the token.
    pub kid: Kid,
    /// The kind of token.
    pub scheme: Scheme,
    /// Which spellings are the same value. It decides over vault tokens alone: a reversible token seals the value
    /// as it was given, so two spellings have two tokens.
    pub normalizer: Normalizer,
}

/// The two kinds of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `MSKV1`: a name for a record of the vault.
    VaultDeterministic,
    /// `MSK1`: the value itself, sealed.
    ReversibleAead(Suite),
}

impl Scheme {
    /// The name that policies use.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::VaultDeterministic => "vault-deterministic",
            Scheme::ReversibleAead(_) => "reversible-aead",
        }
    }
}

/// The ciphers of reversible tokens, as policies name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyCipher {
    /// `aes-256-gcm`: AES-256-GCM under a key of its own for each nonce (XAES-256-GCM).
    Aes256Gcm,
    /// `xchacha20-poly1305`.
    XChaCha20Poly1305,
}

impl PolicyCipher {
    /// Every cipher; the default first.
    pub const ALL: [PolicyCipher; 2] = [PolicyCipher::Aes256Gcm, PolicyCipher::XChaCha20Poly1305];

    /// The name that policies use.
    pub fn name(self) -> &'static str {
        match self {
            PolicyCipher::Aes256Gcm => "aes-256-gcm",
            PolicyCipher::XChaCha20Poly1305 => "xchacha20-poly1305",
        }
    }

    /// The cipher of a suite.
    pub fn of(suite: Suite) -> Self {
        match suite {
            Suite::Xaes256Gcm | Suite::Xaes256GcmRandom => PolicyCipher::Aes256Gcm,
            Suite::XChaCha20Poly1305 | Suite::XChaCha20Poly1305Random => PolicyCipher::XChaCha20Poly1305,
        }
    }

    /// The suite with this cipher and this kind of nonce.
    pub fn suite(self, deterministic: bool) -> Suite {
        match (self, deterministic) {
            (PolicyCipher::Aes256Gcm, true) => Suite::Xaes256Gcm,
            (PolicyCipher::Aes256Gcm, false) => Suite::Xaes256GcmRandom,
            (PolicyCipher::XChaCha20Poly1305, true) => Suite::XChaCha20Poly1305,
            (PolicyCipher::XChaCha20Poly1305, false) => Suite::XChaCha20Poly1305Random,
        }
    }
}

impl Policy {
    /// The rule for a kind as a request writes it, and the kind; `None` if the policy does not name it.
    pub fn rule(&self, kind: &str) -> Option<(EntityKind, &EntityRule)> {
        let kind = EntityKind::parse(kind)?;
        Some((kind, self.entities.get(&kind)?))
    }

    /// The key ids that the policy needs, each once.
    pub fn kids(&self) -> impl Iterator<Item = Kid> {
        let kids: BTreeSet<Kid> = self
            .entities
            .values()
            .filter_map(|rule| match rule.action {
                Action::Tokenize(rule) => Some(rule.kid),
                Action::Redact | Action::Passthrough => None,
            })
            .collect();
        kids.into_iter()
    }

    /// What is allowed but may not be what its author believes: normalizers of kinds whose tokens they do not
    /// decide over.
    ///
    /// They are not refused, because a policy that changes from vault tokens to reversible ones in one line should
    /// not have to lose its normalizers, and needs them again on the way back.
    pub fn warnings(&self) -> Vec<String> {
        let warning = |(kind, rule): (&EntityKind, &EntityRule)| match rule.action {
            Action::Tokenize(TokenizeRule { scheme: Scheme::ReversibleAead(_), normalizer, .. })
                if normalizer != Normalizer::Trim =>
            {
                Some(format!(
                    "policy `{}`: `normalize = \"{}\"` does not change the tokens of {kind}: a reversible token seals \
                     the value as it was given, so each spelling has a token of its own",
                    self.name,
                    normalizer.name()
                ))
            }
            _ => None,
        };
        self.entities.iter().filter_map(warning).collect()
    }
}
