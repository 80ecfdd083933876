//! The effect of a policy change on values that already have tokens.

use std::fmt;

use super::{Action, EntityRule, Policy, PolicyCipher, Scheme, TokenizeRule};
use crate::{crypto::aead::Suite, validate::Validation};
use masker_types::kind::EntityKind;

/// A kind that two policies treat differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// The kind.
    pub kind: EntityKind,
    /// The rule before; `None` if the policy did not name the kind.
    pub before: Option<EntityRule>,
    /// The rule after; `None` if the policy no longer names the kind.
    pub after: Option<EntityRule>,
    /// The effect on values.
    pub effect: Effect,
}

/// The effect of a rule change on a value that is tokenized again. Existing tokens still rehydrate after each of these
/// changes, while their keys are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The kind is new.
    Added,
    /// The kind was removed: requests that name it are rejected.
    Removed,
    /// Values that were passed through or redacted get tokens.
    TokenizedFromNowOn,
    /// Values that got tokens are passed through or redacted.
    TokenizedNoMore,
    /// Values that were redacted are passed through, or the reverse.
    OtherWithoutToken,
    /// Known values get new tokens. The text names the reason.
    NewTokens(&'static str),
    /// Some known values get new tokens. The text says which.
    SomeNewTokens(&'static str),
    /// Known values keep their tokens. Spellings tokenized before and after do not match.
    OtherMatches,
    /// Known values keep their tokens, but a value that fails this check is refused when it comes again.
    Validated(Validation),
    /// Known values keep their tokens.
    SameTokens,
}

impl Effect {
    /// Returns whether a value that has a token may get another.
    pub fn gives_new_tokens(self) -> bool {
        matches!(self, Effect::NewTokens(_) | Effect::SomeNewTokens(_))
    }

    fn between(before: Option<&EntityRule>, after: Option<&EntityRule>) -> Self {
        let (before, after) = match (before, after) {
            (None, _) => return Effect::Added,
            (_, None) => return Effect::Removed,
            (Some(before), Some(after)) => (before, after),
        };
        match (before.action, after.action) {
            (Action::Tokenize(old), Action::Tokenize(new)) => match Self::between_tokens(old, new) {
                Effect::SameTokens | Effect::OtherMatches if after.context_required && !before.context_required => {
                    Effect::SomeNewTokens("those tokenized without a context, which is now required")
                }
                Effect::SameTokens if old.validation != new.validation => {
                    new.validation.map_or(Effect::SameTokens, Effect::Validated)
                }
                effect => effect,
            },
            (Action::Tokenize(_), _) => Effect::TokenizedNoMore,
            (_, Action::Tokenize(_)) => Effect::TokenizedFromNowOn,
            (Action::Redact | Action::Passthrough, Action::Redact | Action::Passthrough) => Effect::OtherWithoutToken,
        }
    }

    fn between_tokens(old: TokenizeRule, new: TokenizeRule) -> Self {
        if old.kid != new.kid {
            return Effect::NewTokens("a different key id");
        }
        match (old.scheme, new.scheme) {
            (Scheme::VaultDeterministic, Scheme::VaultDeterministic) if old.normalizer != new.normalizer => {
                Effect::OtherMatches
            }
            (Scheme::VaultDeterministic, Scheme::VaultDeterministic) => Effect::SameTokens,
            (Scheme::ReversibleAead(old), Scheme::ReversibleAead(new)) => Self::between_suites(old, new),
            _ => Effect::NewTokens("a different tokenization"),
        }
    }

    fn between_suites(old: Suite, new: Suite) -> Self {
        match (old.is_deterministic(), new.is_deterministic()) {
            _ if old == new => Effect::SameTokens,
            (_, false) => Effect::NewTokens("each time, because the nonce is random"),
            _ if PolicyCipher::of(old) != PolicyCipher::of(new) => Effect::NewTokens("a different cipher"),
            _ => Effect::NewTokens("once, because the nonce was random"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Added => f.write_str("requests can use it from now on"),
            Effect::Removed => f.write_str("requests that name it are rejected; its tokens still rehydrate"),
            Effect::TokenizedFromNowOn => f.write_str("values get tokens from now on"),
            Effect::TokenizedNoMore => f.write_str("values no longer get tokens; existing tokens still rehydrate"),
            Effect::OtherWithoutToken => f.write_str("values get no tokens, as before"),
            Effect::NewTokens(through) => write!(f, "known values get new tokens: {through}"),
            Effect::SomeNewTokens(which) => write!(f, "some known values get new tokens: {which}"),
            Effect::OtherMatches => {
                f.write_str("known values keep their tokens; spellings from before and after do not match")
            }
            Effect::Validated(validation) => {
                write!(f, "known values keep their tokens; values that fail `{}` are refused", validation.name())
            }
            Effect::SameTokens => f.write_str("known values keep their tokens"),
        }
    }
}

/// Returns the kinds that two policies treat differently, in the order of kinds.
pub fn changes(before: &Policy, after: &Policy) -> Vec<PolicyChange> {
    let mut kinds: Vec<EntityKind> = before.entities.keys().chain(after.entities.keys()).copied().collect();
    kinds.sort_unstable();
    kinds.dedup();
    let change = |kind: EntityKind| {
        let (before, after) = (before.entities.get(&kind), after.entities.get(&kind));
        let effect = Effect::between(before, after);
        (before != after).then(|| PolicyChange { kind, before: before.copied(), after: after.copied(), effect })
    };
    kinds.into_iter().filter_map(change).collect()
}
