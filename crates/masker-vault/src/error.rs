//! Errors of items and of whole operations. None contains a value or a token.

use crate::control::ControlKeyError;
use masker_access::Denied;
use masker_core::validate::Validation;
use masker_store::StoreError;
use masker_types::{
    error_code::Code,
    kind::{EntityKind, Kid},
};

/// Digits of a fingerprint that a token contains.
const TOKEN_FINGERPRINT_DIGITS: usize = 8;

/// A key generation by its public names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationRef {
    /// The key id.
    pub kid: Kid,
    /// The fingerprint in lower-case hex: 16 digits, or the 8 in a token.
    pub fingerprint: String,
}

/// Returns a fingerprint for a message. An ellipsis shows that the digits of a token are only the beginning of one.
fn shown(fingerprint: &str) -> String {
    let ellipsis = if fingerprint.len() == TOKEN_FINGERPRINT_DIGITS { "…" } else { "" };
    format!("{fingerprint}{ellipsis}")
}

/// Why one item of a request failed. The text is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ItemFailure {
    /// The caller may not do this with this item.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The policy does not name the item's kind.
    #[error("the policy does not name this kind; `masker policy show` lists the kinds it does")]
    KindUnknown,
    /// The value's length is out of bounds.
    #[error("a value is 1 to 4096 bytes of UTF-8")]
    ValueLength,
    /// The value is itself a token.
    #[error("the value is a token already; masker does not tokenize tokens, so check that nothing runs twice")]
    ValueIsToken,
    /// The value fails the check that the policy names for its kind.
    #[error("the value fails the check `{}` of its kind: it must be {}", .0.name(), .0.expected())]
    ValueCheck(Validation),
    /// The context's length is out of bounds.
    #[error("a context is at most 256 bytes of UTF-8")]
    ContextLength,
    /// The policy requires a context.
    #[error("the policy requires a context for {0}; give one with the item or the request")]
    ContextRequired(EntityKind),
    /// Tokens of this kind are different every time.
    #[error("{0} is minted with a random nonce: equal values have different tokens, and none can be looked up")]
    NotSearchable(EntityKind),
    /// Tokens of this kind contain their value, so the vault has nothing to erase.
    #[error(
        "tokens of {0} contain their value: the vault holds nothing to erase, and forgetting them is up to who has them"
    )]
    NotErasable(EntityKind),
    /// The text is not a token.
    #[error("this is not a token: four fields separated by dots, as masker minted it, with nothing around it")]
    Malformed,
    /// The token is unknown, forged, or of another context. The caller does not learn which.
    #[error("no such token in this context")]
    NotFound,
    /// The key that the item needs is not loaded.
    #[error(
        "the key {} with fingerprint {} is not loaded; load it as MASKER_KEY_{} or MASKER_KEY_{}_OLD and run \
         `masker keys reload`, or start again",
        .0.kid, shown(&.0.fingerprint), .0.kid, .0.kid
    )]
    KeyUnavailable(GenerationRef),
    /// The vault's row for the item is damaged.
    #[error("the vault's row for this is damaged; an operator should run `masker vault check`")]
    Damaged,
    /// The vault failed after a part of the request was done.
    #[error("the vault failed before all of this was done; send the item again")]
    Interrupted,
    /// The old key's grace period is over, and the configuration refuses it then.
    #[error(
        "the grace period of the old key {} with fingerprint {} is over, and the configuration refuses it \
         (`[keys] grace_action`); rewrap such tokens, or rotate the vault's records", .0.kid, .0.fingerprint
    )]
    GraceExpired(GenerationRef),
}

impl ItemFailure {
    /// Returns the stable code that clients match on.
    pub fn code(&self) -> Code {
        match self {
            ItemFailure::Denied(_) => Code::PermDenied,
            ItemFailure::KindUnknown => Code::KindUnknown,
            ItemFailure::ValueLength | ItemFailure::ValueCheck(_) | ItemFailure::ContextLength => Code::ValueInvalid,
            ItemFailure::ValueIsToken => Code::ValueIsToken,
            ItemFailure::ContextRequired(_) => Code::ContextRequired,
            ItemFailure::NotSearchable(_) | ItemFailure::NotErasable(_) => Code::LookupImpossible,
            ItemFailure::Malformed => Code::TokenMalformed,
            ItemFailure::NotFound => Code::TokenNotFound,
            ItemFailure::KeyUnavailable(_) => Code::KeyUnavailable,
            ItemFailure::Damaged => Code::VaultDamaged,
            ItemFailure::Interrupted => Code::VaultUnavailable,
            ItemFailure::GraceExpired(_) => Code::KeyGraceExpired,
        }
    }
}

/// Why an operation failed as a whole. Nothing was acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The store failed; the message is for the log.
    #[error("{0}")]
    Unavailable(#[from] StoreError),
    /// The writer's queue stayed full.
    #[error("the vault's writer is overloaded")]
    Overloaded,
    /// The sealed values of the request have more than [`ANSWER_BYTES_MAX`](masker_types::limits::ANSWER_BYTES_MAX). None
    /// was opened.
    #[error("the answer would be too large")]
    AnswerTooLarge,
    /// The session of the request has ended meanwhile. Nothing was written.
    #[error("the session has ended")]
    SessionEnded,
    /// The daemon is stopping, or the writer task panicked.
    #[error("the vault's writer has stopped")]
    Stopped,
}

/// Why keys did not come into force. The keys before, if any, stay in force.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyLoadError {
    /// They do not fit what the vault remembers: what to correct, for each kid.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// They do not open the vault's control key.
    #[error(transparent)]
    ControlKey(#[from] ControlKeyError),
    /// The vault failed to note them.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipsis_shows_that_a_fingerprint_is_incomplete() {
        let message = |fingerprint: &str| {
            let kid = Kid::parse("K_A").expect("a kid");
            ItemFailure::KeyUnavailable(GenerationRef { kid, fingerprint: fingerprint.to_owned() }).to_string()
        };
        assert!(message("d3b962498132e3d0").contains("with fingerprint d3b962498132e3d0 is not loaded"));
        assert!(message("d3b96249").contains("with fingerprint d3b96249… is not loaded"));
    }
}
