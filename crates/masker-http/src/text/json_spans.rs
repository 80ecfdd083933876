//! The string values of JSON documents: where they are, so that everything around them stays as it is.

use std::{borrow::Cow, ops::Range};

use serde::de::IgnoredAny;

/// The string values of a document, without their quotes, in its order.
pub(super) struct JsonSpans {
    values: Vec<Range<usize>>,
    /// The escaped characters in them.
    escapes: Vec<Range<usize>>,
}

impl JsonSpans {
    /// Finds the string values of a document; `None` if the text is not JSON, or nested more than 127 levels deep.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        let bytes = text.as_bytes();
        let mut spans = JsonSpans { values: Vec::new(), escapes: Vec::new() };
        let mut at = 0;
        while let Some(quote) = memchr::memchr(b'"', &bytes[at..]) {
            let begin = at + quote + 1;
            let escapes = spans.escapes.len();
            let end = spans.string_end(bytes, begin)?;
            let next = bytes[end + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
            if next == Some(&b':') {
                // A key. They stay.
                spans.escapes.truncate(escapes);
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

/// Returns whether bytes begin with the two escapes of one character beyond the Basic Multilingual Plane.
fn is_surrogate_pair(bytes: &[u8]) -> bool {
    let half = |escape: &[u8]| match escape {
        [b'\\', b'u', b'd' | b'D', half, ..] => Some(half.to_ascii_lowercase()),
        _ => None,
    };
    let second = bytes.get(6..12).and_then(half);
    matches!(half(bytes), Some(b'8' | b'9' | b'a' | b'b')) && matches!(second, Some(b'c'..=b'f'))
}

/// Returns what a string of a JSON document holds, given as it is written there. A string that [`written_in_json`] would write
/// with other escapes keeps its own, so that the document comes back byte for byte.
pub(super) fn value_in_json(written: &str) -> Cow<'_, str> {
    match decoded(written) {
        Some(value) if escaped(&value) == written => value.into(),
        _ => written.into(),
    }
}

/// Returns a value as it is written into a string of a JSON document. The inverse of [`value_in_json`]: a value that has escapes
/// of its own is written as it is.
pub(super) fn written_in_json(value: &str) -> Cow<'_, str> {
    let keeps_escapes = || decoded(value).is_none_or(|other| escaped(&other) != value);
    if serde_json::from_slice::<IgnoredAny>(&quoted(value)).is_ok() && keeps_escapes() {
        return value.into();
    }
    escaped(value).into()
}

fn quoted(written: &str) -> Vec<u8> {
    [b"\"", written.as_bytes(), b"\""].concat()
}

/// Returns what a string holds; `None` if it is not one of a document, or has half of a surrogate pair.
fn decoded(written: &str) -> Option<String> {
    serde_json::from_slice(&quoted(written)).ok()
}

fn escaped(value: &str) -> String {
    let quoted = serde_json::to_string(value).unwrap_or_default();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
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
    fn a_string_comes_back_as_it_was_written() {
        for written in
            ["", "a b", r"a\nb", r#"a\"b"#, r"C:\\new", r"\u00e9", r"a\/b", r"\u001F", r"\ud83d\ude00", r"\ud83d", "é"]
        {
            assert_eq!(written_in_json(&value_in_json(written)), written);
        }
    }

    #[test]
    fn a_value_from_elsewhere_keeps_its_characters() {
        for value in ["a b", "a\nb", "a\"b", r"a\", r"\d", r"ACME\bob", r"C:\new", r"\\host\share", "é"] {
            assert_eq!(decoded(&written_in_json(value)).as_deref(), Some(value));
        }
    }

    #[test]
    fn usual_escapes_are_no_part_of_a_value() {
        for (written, value) in
            [(r"a\nb", "a\nb"), (r#"a\"b"#, "a\"b"), (r"C:\\new", r"C:\new"), (r"\u00e9", r"\u00e9")]
        {
            assert_eq!(value_in_json(written), value);
        }
    }
}
