//! The names that travel through masker: entity kinds, key ids, contexts, values.
//!
//! Each type is a proof: having one tells you that its text was checked against the grammar of the token
//! format, so no later code checks again.

use std::fmt;

use crate::limits::{CONTEXT_BYTES_MAX, KID_BYTES_MAX, KIND_BYTES_MAX, VALUE_BYTES_MAX};

/// A short ASCII name held in place, so that kinds and kids are `Copy` and never allocate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ShortName<const MAX: usize> {
    bytes: [u8; MAX],
    len: u8,
}

impl<const MAX: usize> ShortName<MAX> {
    /// `[A-Z][A-Z0-9_]*`, at most `MAX` bytes.
    fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (&first, rest) = bytes.split_first()?;
        let grammatical = bytes.len() <= MAX
            && first.is_ascii_uppercase()
            && rest.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_');
        if !grammatical {
            return None;
        }
        let mut name = ShortName { bytes: [0; MAX], len: bytes.len() as u8 };
        name.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(name)
    }

    fn as_str(&self) -> &str {
        // The grammar is ASCII, so this cannot fail; an empty text is harmless if it ever did.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

/// Having one tells you that it is `[A-Z][A-Z0-9_]{0,31}`, such as `PHONE`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKind(ShortName<KIND_BYTES_MAX>);

impl EntityKind {
    /// Checks the grammar; `None` where it does not hold.
    pub fn parse(text: &str) -> Option<Self> {
        ShortName::parse(text).map(EntityKind)
    }

    /// The kind as written in tokens.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Having one tells you that it is a key id: `[A-Z][A-Z0-9_]{0,47}`, not ending in `_OLD` or `_FILE`, and not
/// `ROTATION_GRACE_DAYS`, so that no environment variable can be read as two things.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(ShortName<KID_BYTES_MAX>);

impl Kid {
    /// Checks the grammar and the reserved names; `None` where they do not hold.
    pub fn parse(text: &str) -> Option<Self> {
        if text.ends_with("_OLD") || text.ends_with("_FILE") || text == "ROTATION_GRACE_DAYS" {
            return None;
        }
        ShortName::parse(text).map(Kid)
    }

    /// The key id as written in tokens.
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

/// Having one tells you that it is 0 to 256 bytes of UTF-8: a tenant, a table, a data set. It is bound into the
/// token. It has no `Debug`: a context may name a person's clinic or account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Context<'a>(&'a str);

impl<'a> Context<'a> {
    /// The context of requests that give none.
    pub const EMPTY: Context<'static> = Context("");

    /// Checks the length; `None` where it is over [`CONTEXT_BYTES_MAX`].
    pub fn new(text: &'a str) -> Option<Self> {
        (text.len() <= CONTEXT_BYTES_MAX).then_some(Context(text))
    }

    /// The context as given.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Whether no context was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Having one tells you that it is 1 to 4,096 bytes of UTF-8. It has no `Debug`: it is the personal data itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// Checks the length; `None` where it is 0 or over [`VALUE_BYTES_MAX`].
    pub fn new(text: &'a str) -> Option<Self> {
        (1..=VALUE_BYTES_MAX).contains(&text.len()).then_some(Value(text))
    }

    /// The value as given.
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
    fn kids_leave_the_reserved_names_alone() {
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
