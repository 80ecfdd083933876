//! Checks of values before they are tokenized. None changes a value, and none repeats a part of it.
//!
//! A value that is itself a token is always refused, so that a pipeline that runs twice fails instead of sealing tokens:
//! see [`is_token`]. A policy can name a [`Validation`] for a kind, so that text in the wrong column fails too.

use masker_types::kind::Value;

use crate::{
    normalize,
    token::{AEAD_SCHEME, Token, VAULT_SCHEME},
};

mod email;
mod iban;

/// Returns whether a value is itself the canonical text of a token, of either scheme and with any key id. White space
/// around a token, and any other change, makes it an ordinary value.
pub fn is_token(value: &str) -> bool {
    // Almost every value ends here.
    let begins_with = |scheme: &str| value.strip_prefix(scheme).is_some_and(|rest| rest.starts_with('.'));
    (begins_with(VAULT_SCHEME) || begins_with(AEAD_SCHEME)) && Token::parse(value).is_ok()
}

/// A check that a policy can name for a kind. The text in each description is its name in policies.
///
/// White space around a value is ignored. A separator is a space, U+00A0, `-`, or U+2010 to U+2015.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// `luhn`: at least 2 ASCII digits, with or without separators, of which the last is the check digit of ISO/IEC
    /// 7812-1 (Luhn). For numbers of cards, devices (IMEI) and others.
    Luhn,
    /// `iban`: an IBAN (ISO 13616) of a country of the registry, of that country's length and with right check digits,
    /// with or without separators, in upper or lower case.
    Iban,
    /// `ssn`: a United States Social Security number, as nine digits or with separators after the third and the fifth.
    /// Its area is not 000, 666 or 900 to 999, its group not 00, and its serial number not 0000.
    Ssn,
    /// `email`: an address as forms accept them: at most 254 bytes, one `@` between a local part of 1 to 64 bytes and a
    /// domain with at least one dot. Quoted local parts, comments and address literals are refused, though RFC 5322 allows
    /// them. Letters beyond ASCII are accepted (RFC 6531).
    Email,
    /// `phone`: what the normalizer `phone` understands: 3 to 15 digits, the longest number of E.164, with the usual
    /// punctuation. After a leading `+` the first digit is not 0.
    Phone,
}

impl Validation {
    /// All checks.
    pub const ALL: [Validation; 5] =
        [Validation::Luhn, Validation::Iban, Validation::Ssn, Validation::Email, Validation::Phone];

    /// Returns the name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Validation::Luhn => "luhn",
            Validation::Iban => "iban",
            Validation::Ssn => "ssn",
            Validation::Email => "email",
            Validation::Phone => "phone",
        }
    }

    /// Returns the check with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|validation| validation.name() == name)
    }

    /// Returns what the check accepts, for the caller whose value fails.
    pub const fn expected(self) -> &'static str {
        match self {
            Validation::Luhn => "digits that end in their check digit (ISO/IEC 7812-1)",
            Validation::Iban => "an IBAN with its country's length and right check digits (ISO 13616)",
            Validation::Ssn => "a Social Security number that can have been issued, such as nine digits",
            Validation::Email => "an e-mail address: one `@` before a domain with a dot",
            Validation::Phone => "a telephone number: 3 to 15 digits, after `+` if international",
        }
    }

    /// Returns whether a value passes the check.
    pub fn accepts(self, value: Value<'_>) -> bool {
        let text = value.as_str().trim();
        match self {
            Validation::Luhn => normalize::digits(text).is_some_and(|digits| luhn(&digits)),
            Validation::Iban => normalize::alnum(text).is_some_and(|iban| iban::is_valid(&iban)),
            Validation::Ssn => ssn(text),
            Validation::Email => email::is_valid(text),
            Validation::Phone => normalize::phone(text).is_some_and(|number| !number.starts_with("+0")),
        }
    }
}

/// Returns whether the last digit is the check digit of the others: from the right, every second digit is doubled and
/// counts as the sum of its two digits, and the sum of all is a multiple of 10.
fn luhn(digits: &str) -> bool {
    let weighted = digits.bytes().rev().enumerate().map(|(index, digit)| {
        let digit = u32::from(digit - b'0');
        match index % 2 {
            0 => digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        }
    });
    digits.len() >= 2 && weighted.sum::<u32>() % 10 == 0
}

/// Returns whether a text is a number that the Social Security Administration can have issued. It has never assigned the
/// excluded areas, groups and serial numbers, neither before nor after it began to assign at random in 2011.
fn ssn(text: &str) -> bool {
    let chars: Vec<char> = text.chars().take(12).collect();
    let digits: String = match chars[..] {
        [a, b, c, x, d, e, y, f, g, h, i] if normalize::is_separator(x) && normalize::is_separator(y) => {
            [a, b, c, d, e, f, g, h, i].iter().collect()
        }
        _ => text.to_owned(),
    };
    if digits.len() != 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let (area, group, serial) = (&digits[..3], &digits[3..5], &digits[5..]);
    !matches!(area, "000" | "666") && !area.starts_with('9') && group != "00" && serial != "0000"
}

#[cfg(test)]
mod tests;
