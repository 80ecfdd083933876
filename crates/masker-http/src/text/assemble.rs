//! Texts put together from parts of another text and what replaces the rest.

use std::ops::Range;

/// A part of a text, with what stands in its place.
#[derive(Clone, Copy)]
pub(super) struct Replacement<'r> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: &'r str,
}

/// Returns a text with replacements, and where each of them is in it. Replacements are in the order of the text, and do not
/// overlap.
pub(super) fn assemble(text: &str, replacements: &[Replacement<'_>]) -> (String, Vec<Range<usize>>) {
    let added: usize = replacements.iter().map(|replacement| replacement.text.len()).sum();
    let removed: usize = replacements.iter().map(|replacement| replacement.end - replacement.start).sum();
    let mut out = String::with_capacity(text.len() + added - removed);
    let mut ranges = Vec::with_capacity(replacements.len());
    let mut at = 0;
    for replacement in replacements {
        out.push_str(&text[at..replacement.start]);
        let begin = out.len();
        out.push_str(replacement.text);
        ranges.push(begin..out.len());
        at = replacement.end;
    }
    out.push_str(&text[at..]);
    (out, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_parts_and_says_where_they_are() {
        let one = |start, end, text| Replacement { start, end, text };
        let (text, ranges) = assemble("abcdef", &[one(0, 1, "XY"), one(3, 3, "-"), one(5, 6, "")]);
        assert_eq!(text, "XYbc-de");
        assert_eq!(ranges, [0..2, 4..5, 7..7]);
        assert_eq!(assemble("é", &[]), ("é".to_owned(), Vec::new()));
    }
}
