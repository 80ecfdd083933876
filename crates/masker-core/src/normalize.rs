//! The normalizers, which decide which spellings match.
//!
//! A normalizer never changes a value: the vault keeps every value byte for byte. It gives the value's **form**. Values
//! of one form have vault tokens with one match part, and a search by value finds all of them.
//!
//! A normalizer understands a value whole, or its form is that of `trim`. It drops nothing that it does not understand:
//! `1-800-FLOWERS` is not the number 1800. A released normalizer never changes: a changed one gets a new name. Case is
//! folded and not lowered, because Unicode guarantees that folding and NFKC of assigned characters never change.
//!
//! White space is Unicode's `White_Space`.

use std::borrow::Cow;

use masker_types::{kind::Value, limits::VALUE_BYTES_MAX};

mod address;
mod casefold;
mod date;
mod phone;

use date::Order;
pub(crate) use phone::form as phone;

/// A normalizer. The text in each description is its name in policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Normalizer {
    /// `exact`: the bytes as they are. The default.
    #[default]
    Exact,
    /// `trim`: no white space at both ends.
    Trim,
    /// `casefold`: NFKC, full default case folding, NFKC again; trimmed; inner white space is collapsed to single
    /// spaces.
    Casefold,
    /// `email`: ASCII text with one `@` and without white space, in lower case.
    Email,
    /// `digits`: the digits of a text of ASCII digits and separators.
    Digits,
    /// `alnum`: the letters and digits of a text of ASCII letters, digits and separators, in upper case.
    Alnum,
    /// `phone`: the 3 to 15 digits of a telephone number, after `+` if it begins so. No country is assumed.
    Phone,
    /// `phone_nanp`: like `phone`, but a number without `+` is read as one is dialled in North America.
    PhoneNanp,
    /// `date`: `YYYY-MM-DD`, from `YYYY-MM-DD`, `YYYY/MM/DD`, `YYYY.MM.DD` or `YYYYMMDD`, for days of the proleptic
    /// Gregorian calendar in the years 0001 to 9999.
    Date,
    /// `date_mdy`: like `date`, also from month, day and year, such as `4/12/1990`.
    DateMdy,
    /// `date_dmy`: like `date`, also from day, month and year, such as `12.4.1990`.
    DateDmy,
    /// `ip`: the canonical text of an IPv4 or IPv6 address (RFC 5952).
    Ip,
}

impl Normalizer {
    /// All normalizers.
    pub const ALL: [Normalizer; 12] = [
        Normalizer::Exact,
        Normalizer::Trim,
        Normalizer::Casefold,
        Normalizer::Email,
        Normalizer::Digits,
        Normalizer::Alnum,
        Normalizer::Phone,
        Normalizer::PhoneNanp,
        Normalizer::Date,
        Normalizer::DateMdy,
        Normalizer::DateDmy,
        Normalizer::Ip,
    ];

    /// Returns the name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Normalizer::Exact => "exact",
            Normalizer::Trim => "trim",
            Normalizer::Casefold => "casefold",
            Normalizer::Email => "email",
            Normalizer::Digits => "digits",
            Normalizer::Alnum => "alnum",
            Normalizer::Phone => "phone",
            Normalizer::PhoneNanp => "phone_nanp",
            Normalizer::Date => "date",
            Normalizer::DateMdy => "date_mdy",
            Normalizer::DateDmy => "date_dmy",
            Normalizer::Ip => "ip",
        }
    }

    /// Returns the normalizer with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|normalizer| normalizer.name() == name)
    }

    /// Returns the form of a value: 1 to [`VALUE_BYTES_MAX`] bytes. It borrows from the value if possible.
    ///
    /// A value that the normalizer does not understand has the form of `trim`, and so has one whose form would be longer
    /// than [`VALUE_BYTES_MAX`]. A value without anything but white space is its own form.
    pub fn form(self, value: Value<'_>) -> Cow<'_, str> {
        let text = value.as_str();
        let trimmed = text.trim();
        let understood = match self {
            Normalizer::Exact => return Cow::Borrowed(text),
            Normalizer::Trim => None,
            Normalizer::Casefold => Some(casefold::form(trimmed)),
            Normalizer::Email => email(trimmed),
            Normalizer::Digits => digits(trimmed),
            Normalizer::Alnum => alnum(trimmed),
            Normalizer::Phone => phone::form(trimmed),
            Normalizer::PhoneNanp => phone::form_nanp(trimmed),
            Normalizer::Date => date::form(trimmed, None),
            Normalizer::DateMdy => date::form(trimmed, Some(Order::MonthDayYear)),
            Normalizer::DateDmy => date::form(trimmed, Some(Order::DayMonthYear)),
            Normalizer::Ip => address::form(trimmed),
        };
        match understood.filter(|form| form.len() <= VALUE_BYTES_MAX).unwrap_or(Cow::Borrowed(trimmed)) {
            form if form.is_empty() => Cow::Borrowed(text),
            form => form,
        }
    }
}

/// Returns whether a character separates groups of digits or letters: a space, U+00A0, `-`, or U+2010 to U+2015.
pub(crate) fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '\u{a0}' | '-' | '\u{2010}'..='\u{2015}')
}

fn email(text: &str) -> Option<Cow<'_, str>> {
    let is_understood =
        text.is_ascii() && text.bytes().filter(|b| *b == b'@').count() == 1 && !text.chars().any(char::is_whitespace);
    is_understood.then(|| map_ascii(text, |b| b.to_ascii_lowercase()))
}

/// Returns the digits of a text of digits and separators, at least one of them a digit.
pub(crate) fn digits(text: &str) -> Option<Cow<'_, str>> {
    without_separators(text, |c| c.is_ascii_digit())
}

/// Returns the letters and digits of a text of them and separators, in upper case.
pub(crate) fn alnum(text: &str) -> Option<Cow<'_, str>> {
    Some(match without_separators(text, |c| c.is_ascii_alphanumeric())? {
        Cow::Borrowed(kept) => map_ascii(kept, |b| b.to_ascii_uppercase()),
        Cow::Owned(mut kept) => {
            kept.make_ascii_uppercase();
            Cow::Owned(kept)
        }
    })
}

/// Returns the characters that `keep` accepts, if all others are separators and at least one is kept.
fn without_separators(text: &str, keep: impl Fn(char) -> bool) -> Option<Cow<'_, str>> {
    if !text.is_empty() && text.chars().all(&keep) {
        return Some(Cow::Borrowed(text));
    }
    let kept = kept(text, &keep, is_separator)?;
    (!kept.is_empty()).then_some(Cow::Owned(kept))
}

/// Returns the characters that `keep` accepts. Returns `None` if `skip` does not accept all others.
fn kept(text: &str, keep: impl Fn(char) -> bool, skip: impl Fn(char) -> bool) -> Option<String> {
    let mut kept = String::with_capacity(text.len());
    for c in text.chars() {
        if keep(c) {
            kept.push(c);
        } else if !skip(c) {
            return None;
        }
    }
    Some(kept)
}

/// Maps the bytes of an ASCII text to ASCII. Borrows the text if nothing changes.
fn map_ascii(text: &str, map: impl Fn(u8) -> u8) -> Cow<'_, str> {
    if text.bytes().all(|b| map(b) == b) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.bytes().map(|b| char::from(map(b))).collect())
}

#[cfg(test)]
mod tests;
