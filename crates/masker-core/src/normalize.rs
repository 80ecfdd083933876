//! The normalizers, which decide which spellings are the same value.
//!
//! The id of a vault token is computed from the normal form of its value. A released normalizer therefore never
//! changes: known values would get new tokens. An improved one gets a new name. Case is folded and not lowered, because
//! Unicode guarantees that folding and NFKC of assigned characters never change.
//!
//! White space is Unicode's `White_Space`.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

use masker_types::{kind::Value, limits::VALUE_BYTES_MAX};

/// A value without a normal form. The messages contain no part of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NormalizeError {
    /// The value contains only white space.
    #[error("the value is empty once white space around it is removed")]
    Empty,
    /// The normal form is longer than [`VALUE_BYTES_MAX`]. Folding can make a text longer.
    #[error("the value's normal form is {bytes} bytes long, but at most {VALUE_BYTES_MAX} are allowed")]
    TooLong {
        /// The length of the normal form, in bytes.
        bytes: usize,
    },
}

/// A normalizer. The text in each description is its name in policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Normalizer {
    /// `exact`: the bytes as they are.
    Exact,
    /// `trim`: no white space at both ends.
    Trim,
    /// `casefold`: NFKC, full default case folding, NFKC again; trimmed; inner white space is collapsed to single
    /// spaces.
    Casefold,
    /// `digits`: only the ASCII digits.
    Digits,
    /// `alnum`: only the ASCII letters and digits, in upper case.
    Alnum,
    /// `phone`: the digits, after a leading `+` if there is one. Without it, 10 digits get `+1`, and 11 digits that
    /// begin with 1 get `+`.
    Phone,
    /// `date`: `YYYY-MM-DD`, converted from `YYYY-MM-DD`, `YYYY/MM/DD`, `MM/DD/YYYY` or `MM-DD-YYYY`, for days of the
    /// proleptic Gregorian calendar.
    Date,
    /// `ip`: the canonical text of an address (RFC 5952 for IPv6).
    Ip,
}

impl Normalizer {
    /// All normalizers.
    pub const ALL: [Normalizer; 8] = [
        Normalizer::Exact,
        Normalizer::Trim,
        Normalizer::Casefold,
        Normalizer::Digits,
        Normalizer::Alnum,
        Normalizer::Phone,
        Normalizer::Date,
        Normalizer::Ip,
    ];

    /// Returns the name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Normalizer::Exact => "exact",
            Normalizer::Trim => "trim",
            Normalizer::Casefold => "casefold",
            Normalizer::Digits => "digits",
            Normalizer::Alnum => "alnum",
            Normalizer::Phone => "phone",
            Normalizer::Date => "date",
            Normalizer::Ip => "ip",
        }
    }

    /// Returns the normalizer with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|normalizer| normalizer.name() == name)
    }

    /// Returns the normal form of a value: 1 to [`VALUE_BYTES_MAX`] bytes. It borrows from the value if possible.
    ///
    /// A normalizer that finds nothing in the value (no digit, no date) returns the result of `trim`. White space
    /// around a phone number, a date or an address is ignored.
    ///
    /// # Errors
    /// Returns [`NormalizeError`] if the normal form is empty or too long.
    pub fn apply<'a>(self, value: Value<'a>) -> Result<Cow<'a, str>, NormalizeError> {
        let text = value.as_str();
        let trimmed = text.trim();
        let found = match self {
            Normalizer::Exact => Some(Cow::Borrowed(text)),
            Normalizer::Trim => None,
            Normalizer::Casefold => Some(casefold(trimmed)),
            Normalizer::Digits => Some(only(trimmed, |b| b.is_ascii_digit().then_some(b))),
            Normalizer::Alnum => Some(only(trimmed, |b| b.is_ascii_alphanumeric().then(|| b.to_ascii_uppercase()))),
            Normalizer::Phone => Some(phone(trimmed)),
            Normalizer::Date => date(trimmed),
            Normalizer::Ip => ip(trimmed),
        };
        match found.filter(|found| !found.is_empty()).unwrap_or(Cow::Borrowed(trimmed)) {
            normal if normal.is_empty() => Err(NormalizeError::Empty),
            normal if normal.len() > VALUE_BYTES_MAX => Err(NormalizeError::TooLong { bytes: normal.len() }),
            normal => Ok(normal),
        }
    }
}

/// Returns the bytes that `keep` maps to ASCII, in their order. Borrows the text if nothing changes.
fn only(text: &str, keep: impl Fn(u8) -> Option<u8>) -> Cow<'_, str> {
    if text.bytes().all(|b| keep(b) == Some(b)) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    kept.extend(text.bytes().filter_map(keep).map(char::from));
    Cow::Owned(kept)
}

fn phone(text: &str) -> Cow<'_, str> {
    let leads = text.starts_with('+');
    let digits = only(text.strip_prefix('+').unwrap_or(text), |b| b.is_ascii_digit().then_some(b));
    let country = match (leads, digits.len(), digits.as_bytes().first()) {
        // A `+` without digits is not a number.
        (_, 0, _) => return Cow::Borrowed(""),
        (true, _, _) => "+",
        (false, 10, _) => "+1",
        (false, 11, Some(b'1')) => "+",
        (false, _, _) => return digits,
    };
    if leads && matches!(digits, Cow::Borrowed(_)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned([country, &digits].concat())
}

/// Returns `None` for a text that is not in one of the four date formats, and for a day that does not exist.
fn date(text: &str) -> Option<Cow<'_, str>> {
    let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
    let (year, month, day) = match (bytes[4], bytes[7], bytes[2], bytes[5]) {
        (b'-', b'-', _, _) | (b'/', b'/', _, _) => (0..4, 5..7, 8..10),
        (_, _, b'/', b'/') | (_, _, b'-', b'-') => (6..10, 0..2, 3..5),
        _ => return None,
    };
    // The separators were checked and every other byte must be a digit, so the text is ASCII.
    let [year, month, day] = [year, month, day].map(|range| text.get(range).filter(|part| is_digits(part)));
    let (year, month, day) = (year?, month?, day?);
    jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    if bytes[4] == b'-' {
        return Some(Cow::Borrowed(text));
    }
    Some(Cow::Owned([year, "-", month, "-", day].concat()))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn ip(text: &str) -> Option<Cow<'_, str>> {
    // An IPv4 address has a single text, because the parser rejects leading zeros.
    if text.parse::<Ipv4Addr>().is_ok() {
        return Some(Cow::Borrowed(text));
    }
    text.parse::<Ipv6Addr>().ok().map(|address| Cow::Owned(address.to_string()))
}

/// Folds a trimmed text.
fn casefold(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        let folded = text.nfkc().default_case_fold().nfkc();
        return Cow::Owned(with_single_spaces(folded, text.len()));
    }
    // NFKC does not change ASCII, and folding changes only its 26 upper-case letters.
    let mut after_space = false;
    let folded = text.bytes().all(|b| {
        let doubled = after_space && b == b' ';
        after_space = b == b' ';
        !doubled && !b.is_ascii_uppercase() && (b == b' ' || !char::from(b).is_whitespace())
    });
    if folded {
        return Cow::Borrowed(text);
    }
    Cow::Owned(with_single_spaces(text.bytes().map(|b| char::from(b.to_ascii_lowercase())), text.len()))
}

/// Trims the characters and replaces each run of white space with one space.
fn with_single_spaces(chars: impl Iterator<Item = char>, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes);
    let mut space = false;
    for char in chars {
        if char.is_whitespace() {
            space = true;
            continue;
        }
        if space && !text.is_empty() {
            text.push(' ');
        }
        space = false;
        text.push(char);
    }
    text
}

#[cfg(test)]
mod tests;
