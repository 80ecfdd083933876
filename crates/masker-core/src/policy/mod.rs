//! Policies: the treatment of each kind of value.
//!
//! An operator writes a policy as text, which [`Policy::parse`] reads. A parsed policy has all defaults filled in. A
//! [`PolicySet`] contains the policies in force.

mod change;
mod parse;
mod set;
mod text;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use change::{Effect, PolicyChange, changes};
pub use set::{PolicySet, PolicySetError};
pub use text::TextRules;

use crate::{crypto::aead::Suite, normalize::Normalizer, validate::Validation};
use masker_types::kind::{EntityKind, Kid};

/// The treatment of each kind of value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name: `[a-z0-9][a-z0-9-]{0,63}`.
    pub name: String,
    /// The version, from 1, as the author counts. It shows people which text is in force, and has no other effect.
    pub version: u32,
    /// The purpose of the policy. It may be empty.
    pub description: String,
    /// The kinds that the policy names: at least one.
    pub entities: BTreeMap<EntityKind, EntityRule>,
    /// How texts are searched.
    pub text: TextRules,
}

/// The treatment of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityRule {
    /// The action.
    pub action: Action,
    /// Whether a request must give a context. Set only if the action is to tokenize.
    pub context_required: bool,
}

/// What to do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Replace it with a token.
    Tokenize(TokenizeRule),
    /// Replace it with `[REDACTED:KIND]`, irreversibly.
    Redact,
    /// Return it unchanged.
    Passthrough,
}

/// How to tokenize values of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizeRule {
    /// The key id, which is part of the token.
    pub kid: Kid,
    /// The kind of token.
    pub scheme: Scheme,
    /// The normalizer, which decides which spellings match. It affects only vault tokens: reversible tokens of two
    /// spellings have nothing in common.
    pub normalizer: Normalizer,
    /// The check that a value must pass, if there is one.
    pub validation: Option<Validation>,
}

/// The two kinds of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `MSKV1`: an id of a record in the vault.
    VaultDeterministic,
    /// `MSK1`: the sealed value.
    ReversibleAead(Suite),
}

impl Scheme {
    /// Returns the name in policies.
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
    /// `aes-256-gcm`: AES-256-GCM with a separate key for each nonce (XAES-256-GCM).
    Aes256Gcm,
    /// `xchacha20-poly1305`.
    XChaCha20Poly1305,
}

impl PolicyCipher {
    /// All ciphers, the default first.
    pub const ALL: [PolicyCipher; 2] = [PolicyCipher::Aes256Gcm, PolicyCipher::XChaCha20Poly1305];

    /// Returns the name in policies.
    pub fn name(self) -> &'static str {
        match self {
            PolicyCipher::Aes256Gcm => "aes-256-gcm",
            PolicyCipher::XChaCha20Poly1305 => "xchacha20-poly1305",
        }
    }

    /// Returns the cipher of a suite.
    pub fn of(suite: Suite) -> Self {
        match suite {
            Suite::Xaes256Gcm | Suite::Xaes256GcmRandom => PolicyCipher::Aes256Gcm,
            Suite::XChaCha20Poly1305 | Suite::XChaCha20Poly1305Random => PolicyCipher::XChaCha20Poly1305,
        }
    }

    /// Returns the suite with this cipher and a synthetic or random nonce.
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
    /// Returns the kind with this name and its rule, or `None` if the policy does not name it.
    pub fn rule(&self, kind: &str) -> Option<(EntityKind, &EntityRule)> {
        let kind = EntityKind::parse(kind)?;
        Some((kind, self.entities.get(&kind)?))
    }

    /// Returns the key ids that the policy needs, each once.
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

    /// Returns warnings about normalizers that have no effect because the tokens of their kind are stateless.
    ///
    /// They are not errors: a policy can change from vault tokens to stateless tokens and back in one line, without
    /// losing its normalizers.
    pub fn warnings(&self) -> Vec<String> {
        let warning = |(kind, rule): (&EntityKind, &EntityRule)| match rule.action {
            Action::Tokenize(TokenizeRule { scheme: Scheme::ReversibleAead(_), normalizer, .. })
                if normalizer != Normalizer::Exact =>
            {
                Some(format!(
                    "policy `{}`: `normalize = \"{}\"` does not affect the tokens of {kind}: reversible tokens do not \
                     show which spellings match",
                    self.name,
                    normalizer.name()
                ))
            }
            _ => None,
        };
        self.entities.iter().filter_map(warning).collect()
    }
}
