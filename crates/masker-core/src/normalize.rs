//! The normalizers: which spellings are the same value.
//!
//! A vault token's id is computed from the normal form of its value, so a normalizer never changes once it is
//! released: a changed one would give known values new tokens, and gets a new name instead. That is why case is
//! folded and not lowered: folding and NFKC are what Unicode promises never to change for assigned characters.
//!
//! White space is Unicode's `White_Space` everywhere.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

use masker_types::{kind::Value, limits::VALUE_BYTES_MAX};

/// Why a value has no normal form. The messages hold nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NormalizeError {
    /// White space and nothing else.
    #[error("the value is empty once white space around it is removed")]
    Empty,
    /// A normal form longer than [`VALUE_BYTES_MAX`]; folding can make a text longer.
    #[error("the value's normal form is {bytes} bytes long, where {VALUE_BYTES_MAX} are allowed")]
    TooLong {
        /// The length of the normal form, in bytes.
        bytes: usize,
    },
}

/// Which spellings are the same value, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Normalizer {
    /// `exact`: the bytes as they are.
    Exact,
    /// `trim`: without white space at both ends.
    Trim,
    /// `casefold`: NFKC, full default case folding, NFKC again; trimmed; every inner run of white space is one space.
    Casefold,
    /// `digits`: ASCII digits only.
    Digits,
    /// `alnum`: ASCII letters and digits only, upper-cased.
    Alnum,
    /// `phone`: digits behind a `+` that led; without one, 10 digits get `+1` and 11 digits that begin with 1 get `+`.
    Phone,
    /// `date`: `YYYY-MM-DD`, from that, `YYYY/MM/DD`, `MM/DD/YYYY` or `MM-DD-YYYY`, for days of the proleptic Gregorian
    /// calendar.
    Date,
    /// `ip`: the canonical text of an address, by RFC 5952 for IPv6.
    Ip,
}

impl Normalizer {
    /// Every normalizer.
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

    /// The name in policies.
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

    /// The normalizer of this name; `None` where there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|normalizer| normalizer.name() == name)
    }

    /// The normal form of a value: 1 to [`VALUE_BYTES_MAX`] bytes. It borrows from the value where it can.
    ///
    /// A normalizer that finds nothing of its own in the value (no digit, no date) gives what `trim` gives. White space
    /// around a value never hides a phone number, a date or an address in it.
    ///
    /// # Errors
    /// [`NormalizeError`] where nothing is left, or too much.
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

/// The bytes that `keep` maps to ASCII, in their order; the text itself where that is all of it.
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
        // A `+` with nothing behind it is no number.
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

/// `None` for anything but the four ways of writing a date, and for days that the calendar does not have.
fn date(text: &str) -> Option<Cow<'_, str>> {
    let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
    let (year, month, day) = match (bytes[4], bytes[7], bytes[2], bytes[5]) {
        (b'-', b'-', _, _) | (b'/', b'/', _, _) => (0..4, 5..7, 8..10),
        (_, _, b'/', b'/') | (_, _, b'-', b'-') => (6..10, 0..2, 3..5),
        _ => return None,
    };
    // The separators have their place; every other byte is a digit, so the text is ASCII.
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
    // An IPv4 address has one text: the parser takes no leading zeros.
    if text.parse::<Ipv4Addr>().is_ok() {
        return Some(Cow::Borrowed(text));
    }
    text.parse::<Ipv6Addr>().ok().map(|address| Cow::Owned(address.to_string()))
}

/// Takes a text without white space around it.
fn casefold(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        let folded = text.nfkc().default_case_fold().nfkc();
        return Cow::Owned(with_single_spaces(folded, text.len()));
    }
    // To NFKC, ASCII is nothing new; to folding, it has 26 letters.
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

/// The characters, trimmed, with one space for every run of white space.
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
