//! Tokens in texts: where they begin and end.

use std::ops::Range;

use super::{AEAD_SCHEME, BODY_CHARS_MAX, ID_CHARS, Token, VAULT_SCHEME};
use crate::crypto::AeadBody;
use masker_types::{
    kind::{EntityKind, Kid},
    limits::{KID_BYTES_MAX, KIND_BYTES_MAX},
};

/// What every scheme begins with.
const SCHEMES_BEGIN: &str = "MSK";
/// Lengths of bodies that are tried where a reversible token is followed by characters that its body could have.
const LENGTHS_TRIED: usize = 2;

/// Returns the tokens in a text, in its order. They do not overlap.
///
/// A vault token has a fixed length, so it is found before any text. A reversible token ends with the last character
/// that a body can have, or up to 24 characters before it: a longer row of such characters after it hides it.
pub fn tokens_in(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find(SCHEMES_BEGIN).map(|offset| at + offset) {
        match token_at(&text[begin..]) {
            Some(length) => {
                found.push(begin..begin + length);
                at = begin + length;
            }
            None => at = begin + SCHEMES_BEGIN.len(),
        }
    }
    found
}

/// Returns what was meant as a token in a text and is none: it begins as one, and is cut, broken by a line or changed. `tokens` are
/// the tokens in the text, in its order.
pub fn damaged_tokens_in(text: &str, tokens: &[Range<usize>]) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"._-\\".contains(byte);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(|byte| byte.eq_ignore_ascii_case(&b'M')) {
        let begin = at + offset;
        at = begin + 1;
        let rest = &bytes[begin..];
        if !begins_as_token(rest) && !resembles_token(rest) {
            continue;
        }
        let length = rest.iter().take_while(is_part).count();
        let end = begin + text[begin..begin + length].trim_end_matches('.').len();
        let next = tokens.partition_point(|token| token.end <= begin);
        if tokens.get(next).is_none_or(|token| token.start >= end) {
            found.push(begin..end);
        }
        at = end;
    }
    found
}

/// Returns whether a text begins with the scheme of a token and a kind.
fn begins_as_token(text: &[u8]) -> bool {
    [VAULT_SCHEME, AEAD_SCHEME].iter().any(|scheme| {
        let rest = text.strip_prefix(scheme.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
        rest.and_then(|rest| rest.first()).is_some_and(u8::is_ascii_uppercase)
    })
}

/// Returns whether a text begins with a scheme, a kind, a key id and a body, in upper or lower case.
pub fn resembles_token(text: &[u8]) -> bool {
    let parts = [(VAULT_SCHEME.len(), Part::Scheme), (KIND_BYTES_MAX, Part::Kind), (KID_BYTES_MAX, Part::Kid)];
    let mut rest = text;
    for (bytes_max, part) in parts {
        let Some(end) = rest[..rest.len().min(bytes_max + 1)].iter().position(|byte| *byte == b'.') else {
            return false;
        };
        let Ok(text) = std::str::from_utf8(&rest[..end]) else { return false };
        let text = text.to_ascii_uppercase();
        let is_part = match part {
            Part::Scheme => matches!(&*text, VAULT_SCHEME | AEAD_SCHEME),
            Part::Kind => EntityKind::parse(&text).is_some(),
            Part::Kid => Kid::parse(&text).is_some(),
        };
        if !is_part {
            return false;
        }
        rest = &rest[end + 1..];
    }
    rest.first().is_some_and(u8::is_ascii_alphanumeric)
}

/// A part of a token, before its body.
enum Part {
    Scheme,
    Kind,
    Kid,
}

/// Returns the length of the token that a text begins with.
fn token_at(text: &str) -> Option<usize> {
    let rest = |scheme: &str| text.strip_prefix(scheme).is_some_and(|rest| rest.starts_with('.'));
    let is_vault = rest(VAULT_SCHEME);
    if !is_vault && !rest(AEAD_SCHEME) {
        return None;
    }
    let bytes = text.as_bytes();
    let after_field = |from: usize, bytes_max: usize| {
        let field = &bytes[from..bytes.len().min(from + bytes_max + 1)];
        field.iter().position(|byte| *byte == b'.').map(|dot| from + dot + 1)
    };
    let kind = after_field(0, VAULT_SCHEME.len())?;
    let kid = after_field(kind, KIND_BYTES_MAX)?;
    let body = after_field(kid, KID_BYTES_MAX)?;
    let is_body = |byte: &&u8| byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7');
    let run = bytes[body..].iter().take(BODY_CHARS_MAX).take_while(is_body).count();
    let parses = |chars: &usize| Token::parse(&text[..body + chars]).is_ok();
    let chars = match is_vault {
        true => Some(ID_CHARS).filter(|chars| *chars <= run).filter(parses),
        false => (1..=run).rev().filter(|chars| is_body_length(*chars)).take(LENGTHS_TRIED).find(parses),
    };
    chars.map(|chars| body + chars)
}

/// Returns whether the body of a reversible token can have this many characters.
fn is_body_length(chars: usize) -> bool {
    let bytes = chars * 5 / 8;
    AeadBody::is_length(bytes) && (bytes * 8).div_ceil(5) == chars
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE32_NOPAD;
    use proptest::prelude::*;

    use super::*;

    const VAULT: &str = "MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ";

    fn aead(blocks: usize, fill: u8) -> String {
        let mut bytes = vec![fill; 45 + 16 * blocks];
        bytes[0] = 0x01;
        format!("MSK1.PHONE.K_A.{}", BASE32_NOPAD.encode(&bytes))
    }

    fn found(text: &str) -> Vec<&str> {
        tokens_in(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn finds_tokens_whatever_is_around_them() {
        let aead = aead(2, 0xA7);
        for (before, after) in
            [("", ""), ("x", "x"), ("MSK", ". "), ("MSKV1.", "\u{e9}"), ("\"", "\\n"), ("MSK1.A.B.", "8")]
        {
            for token in [VAULT, &aead] {
                let text = format!("{before}{token}{after}");
                assert_eq!(found(&text), [token], "{text}");
            }
        }
        assert_eq!(found(&format!("{VAULT}ABC{VAULT}{aead}{VAULT}{aead}")), [VAULT, VAULT, &aead, VAULT, &aead]);
        assert_eq!(found(&format!("{aead}{}", "A".repeat(24))), [&aead]);
    }

    #[test]
    fn finds_nothing_else() {
        for text in [
            "",
            "MSK",
            "MSKV1",
            "MSK1.",
            "MSKV1.PHONE.K_A.",
            "MSKV1..K_A.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ",
            "MSKV1.phone.K_A.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ",
            &VAULT[..VAULT.len() - 1],
            &VAULT.to_lowercase(),
            &aead(1, 1)[..112],
        ] {
            assert_eq!(found(text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn what_was_a_token_is_damaged() {
        let damaged = |text: &str| -> Vec<String> {
            let found = damaged_tokens_in(text, &tokens_in(text));
            found.into_iter().map(|range| text[range].to_owned()).collect()
        };
        let lower = VAULT.to_lowercase();
        let (cut, escaped) = (&VAULT[..VAULT.len() - 1], VAULT.replace('_', "\\_"));
        for was in [&*lower, cut, &escaped, &VAULT[..20], "MSKV1.PHONE"] {
            for (before, after) in [("", ""), ("call ", ". "), ("(", ")"), ("\u{e9}", "\n")] {
                assert_eq!(damaged(&format!("{before}{was}{after}")), [was], "{was}");
            }
        }
        let both = format!("{VAULT} and {cut}");
        assert_eq!(damaged(&both), [cut]);
        for text in
            ["", VAULT, "msk1.com", "Ann@MSK1.COM.", "MSKV1.", "MSK1. Then", "mskv1.phone.k_a.", "Mmm", &"m".repeat(99)]
        {
            assert!(damaged(text).is_empty() || text.starts_with("Ann"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_token_is_found(before in "\\PC{0,9}", after in "(?s)[^A-Z2-7].{0,9}|", blocks in 1..9usize, fill: u8) {
            for token in [VAULT.to_owned(), aead(blocks, fill)] {
                let text = format!("{before}{token}{after}");
                prop_assert!(found(&text).contains(&token.as_str()), "{}", text);
            }
        }

        #[test]
        fn ranges_are_in_order_and_of_tokens(text in "(MSKV?1|[A-Z2-7]{20,40}|[.A-Z_a-z0-9]|\\PC){0,60}") {
            let mut last = 0;
            for range in tokens_in(&text) {
                prop_assert!(range.start >= last && Token::parse(&text[range.clone()]).is_ok());
                last = range.end;
            }
        }
    }
}
