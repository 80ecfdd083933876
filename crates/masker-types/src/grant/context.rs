//! Contexts, as a grant names them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::CONTEXT_BYTES_MAX;

/// A context, or with a `*` at its end all that begin as it does. `clinic-7/*` leaves `clinic-7` itself out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextPattern {
    /// This context alone.
    Exact(String),
    /// Every context that begins with this.
    Prefix(String),
}

impl ContextPattern {
    /// Reads one; `None` where it is longer than a context can be. Any text is a pattern: only the last `*` means more
    /// than itself.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, pattern): (_, fn(String) -> Self) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, ContextPattern::Prefix),
            None => (text, ContextPattern::Exact),
        };
        (text.len() <= CONTEXT_BYTES_MAX).then(|| pattern(text.to_owned()))
    }

    /// Whether it names this context.
    pub fn matches(&self, context: &str) -> bool {
        match self {
            ContextPattern::Exact(exact) => exact == context,
            ContextPattern::Prefix(prefix) => context.starts_with(prefix.as_str()),
        }
    }

    /// Whether it names every context that `other` names.
    pub fn covers(&self, other: &ContextPattern) -> bool {
        match (self, other) {
            (_, ContextPattern::Exact(context)) => self.matches(context),
            (ContextPattern::Prefix(own), ContextPattern::Prefix(other)) => other.starts_with(own.as_str()),
            (ContextPattern::Exact(_), ContextPattern::Prefix(_)) => false,
        }
    }

    /// The pattern as it is written.
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
    fn a_star_at_the_end_stands_for_any_rest() {
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
    fn a_pattern_covers_what_it_names_all_of() {
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
}
