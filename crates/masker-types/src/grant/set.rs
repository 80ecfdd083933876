//! Sets of scopes, which may be limited to single kinds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Scope;
use crate::{
    kind::EntityKind,
    quote::{quoted, suggestion},
};

/// A text that is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// There is no scope with this name.
    #[error("{} is not a scope: {}", quoted(.0), suggestion(.0, &names()))]
    Unknown(String),
    /// The text after the colon is not a kind.
    #[error(
        "the scope `{0}` is limited to a kind as in `{0}:PHONE`: a kind is a capital letter, then at most 31 of A-Z, 0-9 \
         and `_`"
    )]
    Kind(Scope),
}

fn names() -> Vec<&'static str> {
    Scope::ALL.iter().map(|scope| scope.as_str()).chain(["*"]).collect()
}

/// The scopes of a caller: whole scopes, and scopes for single kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet {
    /// The whole scopes, as bits at their positions in [`Scope::ALL`].
    whole: u32,
    kinds: BTreeMap<Scope, BTreeSet<EntityKind>>,
}

const _: () = assert!(Scope::ALL.len() < 32);

impl ScopeSet {
    /// Returns a set of all scopes.
    pub fn all() -> Self {
        ScopeSet { whole: (1 << Scope::ALL.len()) - 1, kinds: BTreeMap::new() }
    }

    /// Returns a set of these scopes.
    pub fn of(scopes: &[Scope]) -> Self {
        let whole = scopes.iter().fold(0, |whole, scope| whole | bit(*scope));
        ScopeSet { whole, kinds: BTreeMap::new() }
    }

    /// Returns the scopes that a gateway passes on unless its configuration says otherwise: all but those that show values,
    /// find tokens of values, or reach the vault and the keys as a whole.
    pub fn default_ceiling() -> Self {
        let opened = |scope: &Scope| {
            !matches!(
                scope,
                Scope::Rehydrate | Scope::Lookup | Scope::TextRestore | Scope::VaultAdmin | Scope::KeysAdmin
            )
        };
        ScopeSet::of(&Scope::ALL.iter().copied().filter(opened).collect::<Vec<Scope>>())
    }

    /// Parses a list of scopes; `*` means all.
    ///
    /// # Errors
    /// Returns [`ScopeError`] for the first text that is not a scope.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, ScopeError> {
        let mut set = ScopeSet::default();
        texts.iter().try_for_each(|text| set.add(text.as_ref()))?;
        Ok(set)
    }

    /// Adds the scope of a text.
    ///
    /// # Errors
    /// Returns [`ScopeError`] if the text is not a scope. The set then stays unchanged.
    pub fn add(&mut self, text: &str) -> Result<(), ScopeError> {
        if text == "*" {
            *self = ScopeSet::all();
        } else if let Some(scope) = Scope::parse(text) {
            self.whole |= bit(scope);
            self.kinds.remove(&scope);
        } else {
            let unknown = || ScopeError::Unknown(text.to_owned());
            // The names of some scopes have a colon themselves.
            let (scope, kind) = text.rsplit_once(':').ok_or_else(unknown)?;
            let scope = Scope::parse(scope).filter(|scope| scope.takes_kind()).ok_or_else(unknown)?;
            let kind = EntityKind::parse(kind).ok_or(ScopeError::Kind(scope))?;
            if !self.allows(scope) {
                self.kinds.entry(scope).or_default().insert(kind);
            }
        }
        Ok(())
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.whole == 0 && self.kinds.is_empty()
    }

    /// Returns whether the set contains the whole scope.
    pub fn allows(&self, scope: Scope) -> bool {
        self.whole & bit(scope) != 0
    }

    /// Returns whether the set contains the scope for this kind.
    pub fn allows_kind(&self, scope: Scope, kind: EntityKind) -> bool {
        self.allows(scope) || self.kinds.get(&scope).is_some_and(|kinds| kinds.contains(&kind))
    }

    /// Returns whether the set contains the whole scope, or the scope for any kind.
    pub fn allows_some(&self, scope: Scope) -> bool {
        self.allows(scope) || self.kinds.contains_key(&scope)
    }

    /// Returns the first scope of `other` that this set does not contain, as written.
    pub fn excess_of(&self, other: &ScopeSet) -> Option<String> {
        let whole = Scope::ALL.iter().find(|scope| other.allows(**scope) && !self.allows(**scope));
        let of_kinds = || other.kinds().find(|(scope, kind)| !self.allows_kind(*scope, *kind));
        whole.map(Scope::to_string).or_else(|| of_kinds().map(|(scope, kind)| format!("{scope}:{kind}")))
    }

    /// Returns the scopes of this set that `other` does not contain, as written.
    pub fn beyond(&self, other: &ScopeSet) -> Vec<String> {
        let whole = Scope::ALL.iter().filter(|scope| self.allows(**scope) && !other.allows(**scope));
        let of_kinds = self.kinds().filter(|(scope, kind)| !other.allows_kind(*scope, *kind));
        whole.map(Scope::to_string).chain(of_kinds.map(|(scope, kind)| format!("{scope}:{kind}"))).collect()
    }

    /// Returns the scopes that are in this set or in `other`.
    #[must_use]
    pub fn union(&self, other: &ScopeSet) -> ScopeSet {
        let mut union = ScopeSet { whole: self.whole | other.whole, kinds: BTreeMap::new() };
        for (scope, kind) in self.kinds().chain(other.kinds()) {
            if !union.allows(scope) {
                union.kinds.entry(scope).or_default().insert(kind);
            }
        }
        union
    }

    /// Returns the scopes that are in this set and in `other`.
    #[must_use]
    pub fn intersection(&self, other: &ScopeSet) -> ScopeSet {
        let mut both = ScopeSet { whole: self.whole & other.whole, kinds: BTreeMap::new() };
        for (one, two) in [(self, other), (other, self)] {
            for (scope, kind) in one.kinds().filter(|(scope, kind)| two.allows_kind(*scope, *kind)) {
                both.kinds.entry(scope).or_default().insert(kind);
            }
        }
        both
    }

    /// Returns the scopes for single kinds.
    pub fn kinds(&self) -> impl Iterator<Item = (Scope, EntityKind)> + '_ {
        self.kinds.iter().flat_map(|(scope, kinds)| kinds.iter().map(|kind| (*scope, *kind)))
    }

    /// Returns the scopes as written, each once: whole scopes first, in the order of the reference.
    pub fn to_texts(&self) -> Vec<String> {
        let whole = Scope::ALL.iter().filter(|scope| self.allows(**scope)).map(Scope::to_string);
        whole.chain(self.kinds().map(|(scope, kind)| format!("{scope}:{kind}"))).collect()
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_texts().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        ScopeSet::parse(&texts).map_err(de::Error::custom)
    }
}

const fn bit(scope: Scope) -> u32 {
    1 << scope as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> EntityKind {
        EntityKind::parse(text).unwrap()
    }

    #[test]
    fn allows_exactly_its_scopes() {
        let set = ScopeSet::parse(&["tokenize", "rehydrate:PHONE", "rehydrate:EMAIL", "keys:read"]).unwrap();
        assert!(set.allows(Scope::Tokenize) && set.allows_kind(Scope::Tokenize, kind("SSN")));
        assert!(!set.allows(Scope::Rehydrate) && set.allows_some(Scope::Rehydrate));
        assert!(set.allows_kind(Scope::Rehydrate, kind("PHONE")) && !set.allows_kind(Scope::Rehydrate, kind("SSN")));
        assert!(set.allows(Scope::KeysRead) && !set.allows_some(Scope::KeysAdmin));
        assert_eq!(set.to_texts(), ["tokenize", "keys:read", "rehydrate:EMAIL", "rehydrate:PHONE"]);
        assert_eq!(ScopeSet::parse(&set.to_texts()), Ok(set));
        let set = ScopeSet::parse(&["text:mask:PHONE", "text:detect"]).unwrap();
        assert!(set.allows_kind(Scope::TextMask, kind("PHONE")) && !set.allows(Scope::TextMask));
        assert_eq!(set.to_texts(), ["text:detect", "text:mask:PHONE"]);
    }

    #[test]
    fn a_star_means_all_scopes_and_a_whole_scope_includes_its_kinds() {
        let all = ScopeSet::parse(&["rehydrate:PHONE", "*"]).unwrap();
        assert_eq!(all, ScopeSet::all());
        assert!(Scope::ALL.iter().all(|scope| all.allows(*scope)));
        assert_eq!(ScopeSet::parse(&["forget:A", "forget", "forget:B"]).unwrap().to_texts(), ["forget"]);
        assert!(ScopeSet::default().is_empty());
        assert!(!Scope::ALL.iter().any(|scope| ScopeSet::default().allows_some(*scope)));
    }

    #[test]
    fn the_default_ceiling_has_all_scopes_but_five() {
        let ceiling = ScopeSet::default_ceiling();
        let closed: Vec<&str> =
            Scope::ALL.iter().filter(|scope| !ceiling.allows_some(**scope)).map(|scope| scope.as_str()).collect();
        assert_eq!(closed, ["rehydrate", "lookup", "text:restore", "keys:admin", "vault:admin"]);
    }

    #[test]
    fn an_intersection_has_what_both_sets_allow() {
        let set = |texts: &[&str]| ScopeSet::parse(texts).unwrap();
        let own = set(&["tokenize", "rehydrate:PHONE", "rehydrate:SSN", "lookup"]);
        let other = set(&["tokenize:EMAIL", "rehydrate:SSN", "rehydrate:CARD", "lookup", "forget"]);
        let both = set(&["tokenize:EMAIL", "rehydrate:SSN", "lookup"]);
        assert_eq!((own.intersection(&other), other.intersection(&own)), (both.clone(), both));
        assert_eq!((own.intersection(&own), own.intersection(&ScopeSet::all())), (own.clone(), own));
    }

    #[test]
    fn errors_suggest_a_scope() {
        for (text, message) in [
            ("tokenise", "`tokenise` is not a scope: did you mean `tokenize`?"),
            ("keys:PHONE", "`keys:PHONE` is not a scope: there is `tokenize`"),
            ("keys:read:PHONE", "`keys:read:PHONE` is not a scope: did you mean `keys:read`?"),
            ("rehydrate:phone", "the scope `rehydrate` is limited to a kind as in `rehydrate:PHONE`"),
            ("text:mask:phone", "the scope `text:mask` is limited to a kind as in `text:mask:PHONE`"),
            ("text:PHONE", "`text:PHONE` is not a scope"),
            ("", "`` is not a scope"),
        ] {
            let error = ScopeSet::parse(&[text]).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn finds_the_first_excess_scope() {
        let set = ScopeSet::parse(&["tokenize", "rehydrate:PHONE"]).unwrap();
        for (other, excess) in [
            (&["tokenize:SSN", "rehydrate:PHONE"][..], None),
            (&["rehydrate"], Some("rehydrate")),
            (&["rehydrate:SSN", "keys:read"], Some("keys:read")),
            (&["rehydrate:SSN"], Some("rehydrate:SSN")),
            (&["*"], Some("rehydrate")),
        ] {
            assert_eq!(set.excess_of(&ScopeSet::parse(other).unwrap()).as_deref(), excess, "{other:?}");
        }
        let other = ScopeSet::parse(&["rehydrate:SSN", "rehydrate:PHONE", "lookup", "tokenize"]).unwrap();
        assert_eq!(other.beyond(&set), ["lookup", "rehydrate:SSN"]);
    }
}
