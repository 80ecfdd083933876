//! Placeholders in texts, also as models write them.

use std::ops::{Range, RangeInclusive};

use super::{CODE_CHARS_MAX, CODE_CHARS_MIN, Placeholder, WrongCheck};
use masker_types::{kind::EntityKind, limits::KIND_BYTES_MAX};

/// Brackets that a placeholder can have. Those of masker are the first.
const BRACKETS: [(char, char); 8] =
    [('[', ']'), ('(', ')'), ('{', '}'), ('<', '>'), ('［', '］'), ('【', '】'), ('「', '」'), ('〔', '〕')];

/// Most characters on either side of the first `_` between brackets, with marks, escapes, line breaks and the bracket.
const SIDE_CHARS_MAX: usize = 2 * KIND_BYTES_MAX + 32;
/// Characters of a code with its check character.
const CHARS: RangeInclusive<usize> = CODE_CHARS_MIN + 1..=CODE_CHARS_MAX + 1;
/// Characters of a code between brackets that may have lost or gained some.
const MISWRITTEN_CHARS: RangeInclusive<usize> = CODE_CHARS_MIN - 1..=CODE_CHARS_MAX + 3;

/// What looks like a placeholder in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPlaceholder {
    /// Where it is, with its brackets.
    pub range: Range<usize>,
    /// The placeholder, unless its check character is wrong.
    pub placeholder: Result<Placeholder, WrongCheck>,
}

/// Returns the placeholders in a text, in its order. They do not overlap.
///
/// A placeholder may have small letters, other brackets or none, and between its brackets white space, `*`, backticks and
/// backslashes. `is_kind` says which kinds there are: something else with `_` is none. In the form of masker, a placeholder
/// with a right check character can have any kind.
pub fn placeholders_in(text: &str, is_kind: impl Fn(EntityKind) -> bool) -> Vec<FoundPlaceholder> {
    let mut found: Vec<FoundPlaceholder> = Vec::new();
    let mut at = 0;
    // Every placeholder has `_` before its code.
    while let Some(underscore) = text[at..].find('_').map(|offset| at + offset) {
        let word = word_around(text, at, underscore);
        let from = found.last().map_or(0, |last| last.range.end);
        let one = bracketed(text, from, underscore, &is_kind).or_else(|| bare(text, word.clone(), &is_kind));
        at = one.as_ref().map_or(word.end, |one| one.range.end.max(word.end));
        found.extend(one);
    }
    found
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Returns the row of letters, digits, `_` and `\_` around an underscore, from `from` on.
fn word_around(text: &str, from: usize, underscore: usize) -> Range<usize> {
    let mut start = underscore;
    for (at, character) in text[from..underscore].char_indices().rev() {
        let is_escape = character == '\\' && text.as_bytes()[from + at + 1] == b'_';
        if !is_word(character) && !is_escape {
            break;
        }
        start = from + at;
    }
    let mut end = underscore;
    for (at, character) in text[underscore..].char_indices() {
        let is_escape = character == '\\' && text.as_bytes().get(underscore + at + 1) == Some(&b'_');
        if !is_word(character) && !is_escape {
            break;
        }
        end = underscore + at + 1;
    }
    start..end
}

/// Reads the placeholder between the brackets around an underscore, the first of which is after `from`.
fn bracketed(
    text: &str,
    from: usize,
    underscore: usize,
    is_kind: impl Fn(EntityKind) -> bool,
) -> Option<FoundPlaceholder> {
    let is_inner = |character: char| is_word(character) || character.is_whitespace() || "*`\\".contains(character);
    let mut left = text[from..underscore].char_indices().rev().take(SIDE_CHARS_MAX);
    let before = left.find(|(_, character)| !is_inner(*character))?;
    let mut right = text[underscore..].char_indices().take(SIDE_CHARS_MAX);
    let after = right.find(|(_, character)| !is_inner(*character))?;
    let (open, close) = (from + before.0, underscore + after.0);
    let position = BRACKETS.iter().position(|pair| *pair == (before.1, after.1))?;
    let inner_start = open + before.1.len_utf8();
    let inner = &text[inner_start..close];
    let name: String = inner.chars().filter(|character| is_word(*character)).collect();
    let (kind, code) = split(&name)?;
    let is_own_form =
        position == 0 && format!("{kind}_{code}") == inner && !code.bytes().any(|b| b.is_ascii_lowercase());
    let placeholder = Placeholder::parse(kind, code.as_bytes());
    let is_placeholder = match placeholder {
        Ok(_) => is_own_form || is_kind(kind),
        Err(WrongCheck) => {
            let may_be_one = MISWRITTEN_CHARS.contains(&code.len()) && has_digit(code);
            is_kind(kind) && (may_be_one || is_own_form && CHARS.contains(&code.len()))
        }
    };
    let is_escaped = text[..open].ends_with('\\') && inner.ends_with('\\');
    let start = if is_escaped && open > from { open - 1 } else { open };
    is_placeholder.then(|| FoundPlaceholder { range: start..close + after.1.len_utf8(), placeholder })
}

/// Reads a word as a placeholder without brackets.
fn bare(text: &str, word: Range<usize>, is_kind: impl Fn(EntityKind) -> bool) -> Option<FoundPlaceholder> {
    // Underscores around a word are marks in Markdown.
    let trimmed = text[word.clone()].trim_start_matches(['_', '\\']);
    let start = word.end - trimmed.len();
    let trimmed = trimmed.trim_end_matches(['_', '\\']);
    let name = trimmed.replace('\\', "");
    let (kind, code) = split(&name)?;
    let placeholder = Placeholder::parse(kind, code.as_bytes());
    // Many words of programs look like a kind and a code of letters.
    let is_placeholder = placeholder.is_ok() || CHARS.contains(&code.len()) && has_digit(code);
    let range = start..start + trimmed.len();
    (is_placeholder && is_kind(kind)).then_some(FoundPlaceholder { range, placeholder })
}

/// Splits a name into its kind and the characters of its code.
fn split(name: &str) -> Option<(EntityKind, &str)> {
    let (kind, code) = name.trim_matches('_').rsplit_once('_')?;
    Some((EntityKind::parse(&kind.to_ascii_uppercase())?, code))
}

fn has_digit(code: &str) -> bool {
    code.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::PlaceholderCode, *};

    fn placeholder(kind: &str, digits: &[u8]) -> Placeholder {
        Placeholder { kind: EntityKind::parse(kind).unwrap(), code: PlaceholderCode::from_digits(digits).unwrap() }
    }

    fn phone() -> Placeholder {
        placeholder("PHONE", &[7, 15, 3, 19, 23, 2, 29])
    }

    fn is_kind(kind: EntityKind) -> bool {
        ["PHONE", "HEALTH_PLAN", "NAME"].contains(&kind.as_str())
    }

    fn found(text: &str) -> Vec<(&str, Result<Placeholder, WrongCheck>)> {
        let found = placeholders_in(text, is_kind);
        found.into_iter().map(|one| (&text[one.range], one.placeholder)).collect()
    }

    #[test]
    fn reads_what_models_write() {
        for placeholder in [phone(), placeholder("HEALTH_PLAN", &[31, 10, 10, 1, 0, 0, 5])] {
            let own = placeholder.to_text();
            let name = &own[1..own.len() - 1];
            let escaped = name.replace('_', "\\_");
            let code = name.rsplit('_').next().unwrap();
            let broken = name.replace(code, &format!("\n  {code}"));
            let broken_code = name.replace(code, &format!("{}\n{}", &code[..3], &code[3..]));
            let crockford = own.replace('0', "o").replace('1', "l");
            let whole = [
                own.clone(),
                own.to_lowercase(),
                crockford,
                name.to_owned(),
                name.to_lowercase(),
                format!("({name})"),
                format!("<{name}>"),
                format!("{{{name}}}"),
                format!("【{name}】"),
                format!("[ {name} ]"),
                format!("[{broken}]"),
                format!("[{broken_code}]"),
                format!("[**{name}**]"),
                format!("[`{name}`]"),
                format!("[{escaped}]"),
                format!("\\[{escaped}\\]"),
                escaped,
            ];
            for text in &whole {
                for (before, after) in
                    [("", ""), ("call ", "."), ("**", "**"), ("`", "`"), ("\n", "\n"), ("_", "_"), ("电话", "号")]
                {
                    let all = format!("{before}{text}{after}");
                    assert_eq!(found(&all), [(text.as_str(), Ok(placeholder))], "{all}");
                }
            }
            let twice = format!("{own}{own} see_also [{name} or {name}]");
            assert_eq!(found(&twice).len(), 4, "{twice}");
        }
    }

    #[test]
    fn a_wrong_check_character_is_reported() {
        let own = phone().to_text();
        for (at, _) in own.char_indices().filter(|(at, _)| (7..own.len() - 1).contains(at)) {
            for wrong in "0123456789ABCDEFGHJKMNPQRSTUVWXYZ".chars().filter(|wrong| !own[at..].starts_with(*wrong)) {
                let changed = format!("{}{wrong}{}", &own[..at], &own[at + 1..]);
                assert_eq!(found(&changed), [(changed.as_str(), Err(WrongCheck))]);
            }
        }
        let lost = own.replace('3', "");
        assert_eq!(found(&lost), [(lost.as_str(), Err(WrongCheck))]);
    }

    #[test]
    fn other_words_are_no_placeholders() {
        for text in [
            "",
            "_",
            "__init__",
            "PHONE_NUMBER",
            "[PHONE_NUMBER]",
            "name_required",
            "NAME_",
            "[NAME_]",
            "a_7F3KQ2X0",
            "NAME_UPPERCASE",
            "[ORDER_7F3KQ2X0]",
            "\\_",
            "[_]",
            "(see_it)",
            "[\u{e9}_7F3KQ2XA]",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
        let unknown = placeholder("ORDER", &[7; 7]);
        let own = unknown.to_text();
        assert_eq!(found(&own), [(own.as_str(), Ok(unknown))], "masker's form can have any kind");
        assert_eq!(found(&own.to_lowercase()), []);
    }

    proptest! {
        #[test]
        fn any_text_has_disjoint_placeholders(text in "([\\[\\](){}<>_*`\\\\ \n]|PHONE|phone|[0-9A-Z]{8}|\\PC){0,40}") {
            let mut last = 0;
            for one in placeholders_in(&text, is_kind) {
                prop_assert!(one.range.start >= last && one.range.end <= text.len(), "{:?}", one.range);
                prop_assert!(text.is_char_boundary(one.range.start) && text.is_char_boundary(one.range.end));
                last = one.range.end;
            }
        }

        #[test]
        fn masker_s_form_is_found_in_any_text(
            before in "\\PC{0,12}", after in "\\PC{0,12}",
            digits in proptest::collection::vec(0..32u8, CODE_CHARS_MIN..=CODE_CHARS_MAX)
        ) {
            let own = placeholder("HEALTH_PLAN", &digits);
            let text = format!("{before}{}{after}", own.to_text());
            let found = placeholders_in(&text, is_kind);
            prop_assert!(found.iter().any(|one| one.placeholder == Ok(own)), "{}", text);
        }
    }
}
