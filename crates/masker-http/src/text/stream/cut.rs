//! Where a text that is still arriving can be cut, so that no token, placeholder or finding is cut.

use masker_core::token::TOKEN_BYTES_MAX;
use masker_text::Finding;

/// Most bytes before a cut in which a bracket may open a placeholder.
const BRACKET_BYTES_MAX: usize = 256;

/// Returns how much of a text can be worked on: at most `settled` bytes, and as many as possible. `findings` are those in the
/// text, with offsets that begin at `base`.
///
/// The result depends only on the text before `settled`. At most [`TOKEN_BYTES_MAX`] bytes and a finding are held back.
pub(super) fn cut(text: &str, settled: usize, base: usize, findings: &[Finding]) -> usize {
    let mut end = settled;
    loop {
        let before = end;
        end = before_word(text, end);
        end = before_bracket(text, end);
        let around = findings.iter().find(|finding| finding.start < base + end && base + end < finding.end);
        end = around.map_or(end, |finding| finding.start.saturating_sub(base));
        if end == before {
            return end;
        }
    }
}

/// Returns the beginning of the characters of tokens and placeholders before a place, if they can be a part of one.
fn before_word(text: &str, end: usize) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'\\');
    let length = text.as_bytes()[..end].iter().rev().take_while(|byte| is_word(byte)).count();
    if length <= TOKEN_BYTES_MAX { end - length } else { end }
}

/// Returns the place of a bracket that is not closed before a place.
fn before_bracket(text: &str, end: usize) -> usize {
    let from = end.saturating_sub(BRACKET_BYTES_MAX);
    let from = (from..=end).find(|from| text.is_char_boundary(*from)).unwrap_or(end);
    let last =
        text[from..end].char_indices().rev().find(|(_, character)| "[](){}<>［］【】「」〔〕".contains(*character));
    match last {
        Some((at, character)) if "[({<［【「〔".contains(character) => from + at,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_text::Kind;

    fn cut_at(text: &str, settled: usize) -> usize {
        cut(text, settled, 0, &[])
    }

    #[test]
    fn cuts_no_word_and_no_bracket() {
        for (text, expected) in [
            ("abc def", 4),
            ("abc. ", 5),
            ("abc MSKV1.PHONE.K_A.AAAA", 4),
            ("call [PHONE_7F3K", 5),
            ("call [PHONE_7F3KQ2XA] ", 22),
            ("call \\[PHONE\\_", 5),
            ("call 【PHONE_\n7F3K", 5),
            ("", 0),
            ("\u{e9}", 2),
        ] {
            assert_eq!(cut_at(text, text.len()), expected, "{text}");
        }
        let long = "A".repeat(TOKEN_BYTES_MAX + 1);
        assert_eq!(cut_at(&long, long.len()), long.len());
        assert_eq!(cut_at(&format!("[{}", " a".repeat(200)), 300), 300);
    }

    #[test]
    fn cuts_no_finding() {
        let finding =
            |start, end| Finding { start, end, kind: Kind::Name, confidence: 90, rule: "r".into(), why: None };
        let text = "see Ann Lee, and others";
        assert_eq!(cut(text, 8, 100, &[finding(104, 111)]), 4);
        assert_eq!(cut(text, 12, 100, &[finding(104, 111)]), 12);
        assert_eq!(cut(text, 8, 100, &[finding(100, 111)]), 0);
    }
}
