//! The contexts of a grant.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::CONTEXT_BYTES_MAX;

/// A context, or all contexts with a prefix: `clinic-7/*` matches `clinic-7/a`, but not `clinic-7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextPattern {
    /// Only this context.
    Exact(String),
    /// All contexts with this prefix.
    Prefix(String),
}

impl ContextPattern {
    /// Parses a pattern. Returns `None` if it is longer than a context can be. Only a `*` at the end is special.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, pattern): (_, fn(String) -> Self) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, ContextPattern::Prefix),
            None => (text, ContextPattern::Exact),
        };
        (text.len() <= CONTEXT_BYTES_MAX).then(|| pattern(text.to_owned()))
    }

    /// Returns whether the pattern matches this context.
    pub fn matches(&self, context: &str) -> bool {
        match self {
            ContextPattern::Exact(exact) => exact == context,
            ContextPattern::Prefix(prefix) => context.starts_with(prefix.as_str()),
        }
    }

    /// Returns whether the pattern matches every context that `other` matches.
    pub fn covers(&self, other: &ContextPattern) -> bool {
        match (self, other) {
            (_, ContextPattern::Exact(context)) => self.matches(context),
            (ContextPattern::Prefix(own), ContextPattern::Prefix(other)) => other.starts_with(own.as_str()),
            (ContextPattern::Exact(_), ContextPattern::Prefix(_)) => false,
        }
    }

    /// Returns a pattern that matches what both match; `None` if no context is matched by both.
    pub fn intersection(&self, other: &ContextPattern) -> Option<ContextPattern> {
        if self.covers(other) { Some(other.clone()) } else { other.covers(self).then(|| self.clone()) }
    }

    /// Returns the text of the pattern.
    pub fn to_text(&self) -> String {
        match self {
            ContextPattern::Exact(exact) => exact.clone(),
            ContextPattern::Prefix(prefix) => format!("{prefix}*"),
        }
    }
}

impl Serialize for ContextPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for ContextPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        ContextPattern::parse(&text).ok_or_else(|| de::Error::custom("a context is at most 256 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_star_matches_any_suffix() {
        for (pattern, context, matches) in [
            ("clinic-7", "clinic-7", true),
            ("clinic-7", "clinic-70", false),
            ("clinic-7/*", "clinic-7/ward", true),
            ("clinic-7/*", "clinic-7/", true),
            ("clinic-7/*", "clinic-7", false),
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "x", false),
            ("a*b", "a*b", true),
            ("a*b", "axb", false),
        ] {
            let parsed = ContextPattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(context), matches, "{pattern} {context}");
            assert_eq!(parsed.to_text(), pattern);
        }
        assert_eq!(ContextPattern::parse(&"x".repeat(257)), None);
    }

    #[test]
    fn covers_patterns_that_match_a_subset() {
        for (own, other, covers) in [
            ("a*", "a", true),
            ("a*", "ab*", true),
            ("ab*", "a*", false),
            ("a", "a*", false),
            ("a", "a", true),
            ("*", "*", true),
        ] {
            let [own, other] = [own, other].map(|text| ContextPattern::parse(text).unwrap());
            assert_eq!(own.covers(&other), covers, "{own:?} {other:?}");
        }
    }

    #[test]
    fn an_intersection_matches_what_both_match() {
        for (one, other, both) in [
            ("a*", "ab*", Some("ab*")),
            ("a*", "ab", Some("ab")),
            ("a*", "b*", None),
            ("a", "b", None),
            ("a", "a", Some("a")),
        ] {
            let [one, other] = [one, other].map(|text| ContextPattern::parse(text).unwrap());
            let both = both.and_then(ContextPattern::parse);
            assert_eq!((one.intersection(&other), other.intersection(&one)), (both.clone(), both));
        }
    }
}
