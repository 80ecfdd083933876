//! The string values of JSON documents: where they are, so that everything around them stays as it is.

use std::ops::Range;

use serde::de::IgnoredAny;

/// The string values of a document, without their quotes, in its order.
pub(super) struct JsonSpans {
    values: Vec<Range<usize>>,
    /// The escaped characters in them.
    escapes: Vec<Range<usize>>,
    keys: Vec<Range<usize>>,
}

impl JsonSpans {
    /// Finds the string values of a document; `None` if the text is not JSON, or has half of a surrogate pair in a string, which
    /// is no character (RFC 8259, section 8.2).
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        let bytes = text.as_bytes();
        let mut spans = JsonSpans { values: Vec::new(), escapes: Vec::new(), keys: Vec::new() };
        let mut at = 0;
        while let Some(quote) = memchr::memchr(b'"', &bytes[at..]) {
            let begin = at + quote + 1;
            let escapes = spans.escapes.len();
            let end = spans.string_end(bytes, begin)?;
            let next = bytes[end + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
            if next == Some(&b':') {
                // A key. They stay.
                spans.escapes.truncate(escapes);
                spans.keys.push(begin..end);
            } else {
                spans.values.push(begin..end);
            }
            at = end + 1;
        }
        Some(spans)
    }

    /// Returns where the string that begins here ends, and notes its escapes.
    fn string_end(&mut self, bytes: &[u8], begin: usize) -> Option<usize> {
        let mut at = begin;
        loop {
            at += memchr::memchr2(b'"', b'\\', &bytes[at..])?;
            if bytes[at] == b'"' {
                return Some(at);
            }
            let length = match bytes.get(at + 1)? {
                b'u' if is_surrogate_pair(&bytes[at..]) => 12,
                b'u' if surrogate_half(&bytes[at..]).is_some() => return None,
                b'u' => 6,
                _ => 2,
            };
            self.escapes.push(at..at + length);
            at += length;
        }
    }

    /// Returns the parts of a range that are in string values. No part begins or ends within an escaped character.
    pub(super) fn parts(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        let Range { start, end } = range;
        let first = self.values.partition_point(|value| value.end <= start);
        self.values[first..].iter().take_while(move |value| value.start < end).filter_map(move |value| {
            let part = self.begin_of(start.max(value.start))..self.end_of(end.min(value.end));
            (!part.is_empty()).then_some(part)
        })
    }

    /// Returns whether a range is of a number.
    pub(super) fn is_in_number(&self, text: &str, range: Range<usize>) -> bool {
        let within = |strings: &[Range<usize>]| {
            let position = strings.partition_point(|string| string.end <= range.start);
            strings.get(position).is_some_and(|string| string.start <= range.start)
        };
        let is_of_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
        text[range.clone()].bytes().all(is_of_number) && !within(&self.values) && !within(&self.keys)
    }

    fn escape_around(&self, at: usize) -> Option<&Range<usize>> {
        let position = self.escapes.partition_point(|escape| escape.end <= at);
        self.escapes.get(position).filter(|escape| escape.start < at)
    }

    fn begin_of(&self, at: usize) -> usize {
        self.escape_around(at).map_or(at, |escape| escape.start)
    }

    fn end_of(&self, at: usize) -> usize {
        self.escape_around(at).map_or(at, |escape| escape.end)
    }
}

/// Returns the third digit of an escape that is half of a surrogate pair, in lower case: 8 to b for the first, c to f for the
/// second.
fn surrogate_half(escape: &[u8]) -> Option<u8> {
    match escape {
        [b'\\', b'u', b'd' | b'D', half @ (b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F'), ..] => {
            Some(half.to_ascii_lowercase())
        }
        _ => None,
    }
}

/// Returns whether bytes begin with the two escapes of one character beyond the Basic Multilingual Plane.
fn is_surrogate_pair(bytes: &[u8]) -> bool {
    let second = bytes.get(6..12).and_then(surrogate_half);
    matches!(surrogate_half(bytes), Some(b'8' | b'9' | b'a' | b'b')) && matches!(second, Some(b'c'..=b'f'))
}

/// Returns what a string of a JSON document holds, given as it is written there.
pub(super) fn value_in_json(written: &str) -> String {
    // The document was parsed, and no part of a value begins or ends within an escape.
    serde_json::from_slice(&[b"\"", written.as_bytes(), b"\""].concat()).unwrap_or_default()
}

/// Which escapes a document has that JSON does not need, so that a value which is put into it has the same.
pub(super) struct EscapeStyle {
    /// Characters beyond ASCII are escaped, with these digits above 9.
    beyond_ascii: Option<HexCase>,
    /// `/` is escaped.
    slash: bool,
}

#[derive(Clone, Copy)]
enum HexCase {
    Lower,
    Upper,
}

impl EscapeStyle {
    /// Reads the style off a document.
    pub(super) fn of(document: &str) -> Self {
        let mut style = EscapeStyle { beyond_ascii: None, slash: false };
        let (mut slashes, mut is_upper) = (0_usize, false);
        let mut rest = document;
        while let Some(at) = rest.find('\\') {
            let escape = &rest[at + 1..];
            slashes += usize::from(escape.starts_with('/'));
            if let Some(code) = escape.strip_prefix('u').and_then(|code| code.get(..4)) {
                is_upper |= code.bytes().any(|digit| digit.is_ascii_uppercase());
                let is_beyond = u16::from_str_radix(code, 16).is_ok_and(|code| code > 0x7F);
                style.beyond_ascii = style.beyond_ascii.or(is_beyond.then_some(HexCase::Lower));
            }
            // What follows a backslash is ASCII.
            rest = escape.get(1..).unwrap_or_default();
        }
        style.slash = slashes > 0 && document.matches('/').count() == slashes;
        // If the document has unescaped characters beyond ASCII, none is escaped.
        style.beyond_ascii = style.beyond_ascii.filter(|_| document.is_ascii());
        if is_upper {
            style.beyond_ascii = style.beyond_ascii.map(|_| HexCase::Upper);
        }
        style
    }

    /// Returns a value as it is written into a string of the document.
    pub(super) fn write(&self, value: &str) -> String {
        let quoted = serde_json::to_string(value).unwrap_or_default();
        let needed = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        let mut written = String::with_capacity(needed.len());
        for character in needed.chars() {
            match (character, self.beyond_ascii) {
                ('/', _) if self.slash => written.push_str(r"\/"),
                (character, Some(case)) if !character.is_ascii() => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        written.push_str(&match case {
                            HexCase::Lower => format!(r"\u{unit:04x}"),
                            HexCase::Upper => format!(r"\u{unit:04X}"),
                        });
                    }
                }
                (character, _) => written.push(character),
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<&str> {
        JsonSpans::read(text).unwrap().values.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn finds_values_and_not_keys() {
        assert_eq!(values(r#" {"a": "b", "c\"" : ["d", {"e":"f\\"}], "g": 1, "h": ""} "#), ["b", "d", "f\\\\", ""]);
        assert_eq!(values(r#""\ud83d\ude00\n""#), [r"\ud83d\ude00\n"]);
        assert_eq!(values("[1, true]"), Vec::<&str>::new());
        for text in ["", "{", "a", "\"", "{\"a\": 'b'}", "1 2", &"[".repeat(200)] {
            assert!(JsonSpans::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn parts_are_whole_characters_of_values() {
        let text = r#"{"k":"ab","l":"\u00e9\ud83d\ude00\n"}"#;
        let spans = JsonSpans::read(text).unwrap();
        let parts = |range| spans.parts(range).map(|part| &text[part]).collect::<Vec<_>>();
        assert_eq!(parts(0..text.len()), ["ab", r"\u00e9\ud83d\ude00\n"]);
        assert_eq!(parts(7..8), ["b"]);
        assert_eq!(parts(2..3), Vec::<&str>::new());
        let begin = text.find(r"\u00e9").unwrap();
        assert_eq!(parts(begin + 3..begin + 4), [r"\u00e9"]);
        assert_eq!(parts(begin + 13..begin + 15), [r"\ud83d\ude00"]);
        assert_eq!(parts(begin + 19..text.len()), [r"\n"]);
    }

    #[test]
    fn a_value_is_what_a_string_holds_and_comes_back_with_equal_meaning() {
        for (written, value, canonical) in [
            ("a b", "a b", "a b"),
            (r"a\nb", "a\nb", r"a\nb"),
            (r#"a\"b"#, "a\"b", r#"a\"b"#),
            (r"C:\\new", r"C:\new", r"C:\\new"),
            (r"\\u0041nn", r"\u0041nn", r"\\u0041nn"),
            (r"\u00e9\u002B1", "é+1", "é+1"),
            (r"3\/4", "3/4", "3/4"),
            (r"\u001F", "\u{1f}", r"\u001f"),
            (r"\ud83d\ude00", "😀", "😀"),
        ] {
            let plain = EscapeStyle::of("{}").write(value);
            assert_eq!((value_in_json(written).as_str(), plain.as_str()), (value, canonical));
            assert_eq!(value_in_json(canonical), value);
        }
    }

    #[test]
    fn a_value_gets_the_escapes_of_its_document() {
        for (document, written) in [
            (r#"{"a": "b"}"#, "\"é/😀\""),
            (r#"["\u00e9"]"#, r#""\u00e9/\ud83d\ude00""#),
            (r#"["\u00C9\/"]"#, r#""\u00E9\/\uD83D\uDE00""#),
            (r#"["\u00e9", "é"]"#, "\"é/😀\""),
            (r#"["\/", "/"]"#, "\"é/😀\""),
            (r#"["\\u00e9", "\u001f"]"#, "\"é/😀\""),
        ] {
            let style = EscapeStyle::of(document);
            assert_eq!(format!("\"{}\"", style.write("é/😀")), written, "{document}");
            assert_eq!(value_in_json(&style.write("a\"\\/é\n")), "a\"\\/é\n");
        }
    }

    #[test]
    fn half_of_a_surrogate_pair_is_no_text() {
        for text in [r#""\ud83d""#, r#"["\ude00\ud83d"]"#, r#""\uD83D\u0041""#] {
            assert!(JsonSpans::read(text).is_none(), "{text}");
        }
        assert!(JsonSpans::read(r#"{"\u00e9": "\ud83d\ude00"}"#).is_some());
    }

    #[test]
    fn numbers_are_outside_of_strings() {
        let text = r#"{"455": 1234.5, "a": "67"}"#;
        let spans = JsonSpans::read(text).unwrap();
        let is_number = |part: &str| {
            let start = text.find(part).unwrap();
            spans.is_in_number(text, start..start + part.len())
        };
        assert!(is_number("1234.5") && is_number("234"));
        assert!(!is_number("455") && !is_number("67") && !is_number(r#"{"455""#));
    }
}
