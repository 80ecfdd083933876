//! `phone` and `phone_nanp`: telephone numbers.

use std::borrow::Cow;

use super::{is_separator, kept};

/// The trunk prefix that is written in international numbers and not dialled, as in `+44 (0)20 7946 0958`.
const TRUNK_PREFIX: &str = "(0)";

/// Returns `+` and the digits of a number that begins with `+`, and the digits of another. Returns `None` for a text
/// with anything but digits, separators and punctuation of numbers, or without 3 to 15 digits.
pub(crate) fn form(text: &str) -> Option<Cow<'_, str>> {
    let (is_international, rest) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let digits = match rest.split_once(TRUNK_PREFIX) {
        Some((before, after)) if is_international && !after.contains(TRUNK_PREFIX) => digits(before)? + &digits(after)?,
        _ if rest.bytes().all(|b| b.is_ascii_digit()) => {
            return (3..=15).contains(&rest.len()).then_some(Cow::Borrowed(text));
        }
        _ => digits(rest)?,
    };
    let number = || if is_international { format!("+{digits}") } else { digits.clone() };
    (3..=15).contains(&digits.len()).then(|| Cow::Owned(number()))
}

/// Returns the form of a number as it is dialled in the North American Numbering Plan: ten digits, or `1` and ten, are
/// a number of the plan; `011` begins an international one.
pub(super) fn form_nanp(text: &str) -> Option<Cow<'_, str>> {
    let number = form(text)?;
    let is_in_plan = |digits: &str| {
        let is_2_to_9 = |at: usize| digits.as_bytes().get(at).is_some_and(|digit| (b'2'..=b'9').contains(digit));
        digits.len() == 10 && is_2_to_9(0) && is_2_to_9(3)
    };
    // A `+` is none of these digits.
    Some(match &*number {
        digits if is_in_plan(digits) => Cow::Owned(format!("+1{digits}")),
        digits if digits.strip_prefix('1').is_some_and(is_in_plan) => Cow::Owned(format!("+{digits}")),
        digits if digits.len() >= 12 && digits.starts_with("011") => Cow::Owned(format!("+{}", &digits[3..])),
        _ => number,
    })
}

/// Returns the digits of a text of digits and the punctuation of numbers.
fn digits(text: &str) -> Option<String> {
    kept(text, |c| c.is_ascii_digit(), |c| is_separator(c) || matches!(c, '.' | '/' | '(' | ')'))
}
