//! Ages.

use super::{Scan, names};
use crate::{
    candidate::{Candidate, Rank},
    kind::Kind,
    names::token::TokenKind,
};

/// Ages from this one on are identifying (45 CFR 164.514(b)(2)(i)(C)).
const OLD: u32 = 90;
const OLDEST: u32 = 125;

/// Proposes ages: those above 89, or all if the options do not keep the others.
pub(crate) fn find(scan: &mut Scan<'_>) {
    for index in 0..scan.tokens().len() {
        let token = &scan.tokens()[index];
        if token.kind != TokenKind::Number || token.chars > 3 {
            continue;
        }
        let age: u32 = scan.word(index).parse().unwrap_or(0);
        if age > OLDEST || age == 0 || scan.keep_ages && age < OLD {
            continue;
        }
        let range = (token.start as usize, token.end as usize);
        let decimal = scan.text[range.1..].starts_with(['.', '/', '%'])
            && scan.text[range.1 + 1..].starts_with(|char: char| char.is_ascii_digit());
        let before = scan.text[..range.0].chars().next_back();
        if decimal || before.is_some_and(|char| char.is_alphanumeric() || matches!(char, '.' | '/' | '$' | '-')) {
            continue;
        }
        let label = scan.label(range.0).filter(|(says, _)| names(says, &Kind::Age));
        let candidate = match label {
            Some((_, at)) => Candidate::new(range, Kind::Age, Rank::Labelled, 92, "age").labelled(at.0, at.1),
            None if old_follows(&scan.text[range.1..]) => Candidate::new(range, Kind::Age, Rank::Pattern, 90, "age"),
            None => continue,
        };
        scan.out.push(candidate);
    }
}

/// Whether `-year-old`, `yo`, `y/o` or the like follows.
fn old_follows(rest: &str) -> bool {
    let rest = rest.strip_prefix(['-', ' ']).unwrap_or(rest);
    [
        "year-old",
        "year old",
        "years old",
        "years-old",
        "yr-old",
        "yr old",
        "yrs old",
        "yo",
        "y/o",
        "y.o.",
        "jährig",
        "jahre alt",
        "años",
        "year-olds",
    ]
    .iter()
    .any(|form| {
        rest.get(..form.len()).is_some_and(|head| head.eq_ignore_ascii_case(form))
            && !rest[form.len()..].starts_with(|char: char| char.is_alphabetic() && *form == "yo")
    })
}
