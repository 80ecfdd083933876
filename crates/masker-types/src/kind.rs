//! Entity kinds, key ids, contexts and values.
//!
//! Each type is a proof: holding one means that its text was checked against the grammar of the token format, so later
//! code does not check again.

use std::fmt;

use crate::limits::{CONTEXT_BYTES_MAX, KID_BYTES_MAX, KIND_BYTES_MAX, VALUE_BYTES_MAX};

/// A short ASCII name, stored inline so that kinds and kids are `Copy` and never allocate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ShortName<const MAX: usize> {
    bytes: [u8; MAX],
    len: u8,
}

impl<const MAX: usize> ShortName<MAX> {
    /// Parses `[A-Z][A-Z0-9_]*` of at most `MAX` bytes.
    fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (&first, rest) = bytes.split_first()?;
        let is_valid = bytes.len() <= MAX
            && first.is_ascii_uppercase()
            && rest.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_');
        if !is_valid {
            return None;
        }
        let mut name = ShortName { bytes: [0; MAX], len: bytes.len() as u8 };
        name.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(name)
    }

    fn as_str(&self) -> &str {
        // Cannot fail, because the grammar is ASCII.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

/// An entity kind, such as `PHONE`: `[A-Z][A-Z0-9_]{0,31}`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKind(ShortName<KIND_BYTES_MAX>);

impl EntityKind {
    /// Parses a kind. Returns `None` if the text does not match the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        ShortName::parse(text).map(EntityKind)
    }

    /// Returns the kind as written in tokens.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A key id: `[A-Z][A-Z0-9_]{0,47}`, not ending in `_OLD` or `_FILE`, and not `ROTATION_GRACE_DAYS`. These exceptions
/// keep the names of environment variables unambiguous.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(ShortName<KID_BYTES_MAX>);

impl Kid {
    /// Parses a key id. Returns `None` if the text does not match the grammar or is reserved.
    pub fn parse(text: &str) -> Option<Self> {
        if text.ends_with("_OLD") || text.ends_with("_FILE") || text == "ROTATION_GRACE_DAYS" {
            return None;
        }
        ShortName::parse(text).map(Kid)
    }

    /// Returns the key id as written in tokens.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

macro_rules! text_traits {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
text_traits!(EntityKind, Kid);

/// A context of 0 to 256 bytes, such as a tenant, a table or a data set. A token is bound to its context.
///
/// It has no `Debug`, because a context may name a person's clinic or account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Context<'a>(&'a str);

impl<'a> Context<'a> {
    /// The context of requests without one.
    pub const EMPTY: Context<'static> = Context("");

    /// Returns `None` if the text is longer than [`CONTEXT_BYTES_MAX`].
    pub fn new(text: &'a str) -> Option<Self> {
        (text.len() <= CONTEXT_BYTES_MAX).then_some(Context(text))
    }

    /// Returns the context as given.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Returns whether the context is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A value of 1 to 4,096 bytes. It has no `Debug`, because it is personal data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// Returns `None` if the text is empty or longer than [`VALUE_BYTES_MAX`].
    pub fn new(text: &'a str) -> Option<Self> {
        (1..=VALUE_BYTES_MAX).contains(&text.len()).then_some(Value(text))
    }

    /// Returns the value as given.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_upper_case_names_of_at_most_32_bytes() {
        for good in ["A", "PHONE", "K9_Z", &"P".repeat(32)] {
            assert_eq!(EntityKind::parse(good).map(|k| k.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "phone", "9X", "_X", "PH ONE", "É", "A\0", &"P".repeat(33)] {
            assert!(EntityKind::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn kids_exclude_reserved_names() {
        for good in ["K", "K_HEALTHCARE", "OLD", "FILE", "K_OLDER", &"K".repeat(48)] {
            assert_eq!(Kid::parse(good).map(|k| k.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "k", "K_OLD", "_OLD", "K_FILE", "ROTATION_GRACE_DAYS", &"K".repeat(49)] {
            assert!(Kid::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn contexts_and_values_are_bounded_in_bytes() {
        assert!(Context::new(&"x".repeat(256)).is_some());
        assert!(Context::new(&"é".repeat(129)).is_none());
        assert!(Value::new("").is_none());
        assert!(Value::new(&"x".repeat(4_096)).is_some());
        assert!(Value::new(&"x".repeat(4_097)).is_none());
    }
}
