//! `casefold`: names and texts, whose case and spacing do not tell them apart.

use std::borrow::Cow;

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

/// Folds a trimmed text. Trimming before makes no difference, because no white space composes with what follows it.
pub(super) fn form(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        return Cow::Owned(fold(text));
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

/// Folds a text of any characters.
pub(super) fn fold(text: &str) -> String {
    with_single_spaces(text.nfkc().default_case_fold().nfkc(), text.len())
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
