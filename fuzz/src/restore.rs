//! Placeholders and tokens in texts: what is found are parts of the text, and masker's own form is found everywhere.

use masker_core::{
    placeholder::{Placeholder, PlaceholderCode, placeholders_in},
    token::{Token, tokens_in},
};
use masker_types::kind::EntityKind;

/// Digits of a code.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Checks a text after a byte that selects where a placeholder is inserted, and which. Bytes that are not UTF-8 are replaced.
pub fn check(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let mut last = 0;
    for range in tokens_in(&text) {
        assert!(range.start >= last, "tokens overlap");
        assert!(Token::parse(&text[range.clone()]).is_ok(), "what is found as a token is one");
        last = range.end;
    }
    last = 0;
    for found in placeholders_in(&text, |_| true) {
        assert!(found.range.start >= last && text.get(found.range.clone()).is_some_and(|part| !part.is_empty()));
        last = found.range.end;
        if let Ok(placeholder) = found.placeholder {
            check_own_form(placeholder);
        }
    }
    // Codes of all lengths, with digits that depend on the text.
    let digits: Vec<u8> = (0..7 + usize::from(choice) % 14)
        .map(|at| rest.get(at).copied().unwrap_or(choice).wrapping_add(at as u8) % 32)
        .collect();
    let kind = EntityKind::parse(["NAME", "HEALTH_PLAN", "A"][usize::from(choice) % 3]).expect("a kind");
    let code = PlaceholderCode::from_digits(&digits).expect("a code of 7 to 20 digits");
    let placeholder = Placeholder { kind, code };
    check_own_form(placeholder);
    let mut at = usize::from(choice) * text.len() / 256;
    while !text.is_char_boundary(at) {
        at += 1;
    }
    let own = placeholder.to_text();
    let whole = format!("{} {own} {}", &text[..at], &text[at..]);
    let found = placeholders_in(&whole, |_| false);
    let range = at + 1..at + 1 + own.len();
    assert!(
        found.iter().any(|one| one.range == range && one.placeholder == Ok(placeholder)),
        "{own} is not found in {whole:?}"
    );
}

/// Checks that a placeholder in masker's form is read as itself, and is not with another character.
fn check_own_form(placeholder: Placeholder) {
    let own = placeholder.to_text();
    let found = placeholders_in(&own, |_| false);
    assert!(found.len() == 1 && found[0].range == (0..own.len()) && found[0].placeholder == Ok(placeholder), "{own}");
    let code = own.rfind('_').expect("it has one") + 1..own.len() - 1;
    for at in code {
        let digit = DIGITS.iter().position(|digit| *digit == own.as_bytes()[at]).expect("a digit");
        let other = char::from(DIGITS[(digit + 1 + at % 31) % 32]);
        let changed = format!("{}{other}{}", &own[..at], &own[at + 1..]);
        let read = placeholders_in(&changed, |kind| kind == placeholder.kind);
        assert!(read.iter().all(|one| one.placeholder.is_err()), "{changed} is read, and {own} was meant");
    }
}
