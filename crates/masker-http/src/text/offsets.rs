//! Offsets in texts, in the unit that a request asks for.

use masker_api::TextOffsets;

/// Bytes between two marks. Converting an offset reads fewer than these.
const MARK_BYTES: usize = 1_024;

/// Converts offsets in bytes of a text.
pub(super) struct OffsetMap<'t> {
    text: &'t [u8],
    unit: TextOffsets,
    /// The units before every [`MARK_BYTES`] bytes.
    marks: Vec<u64>,
    /// The offset of the text in a longer one.
    base: u64,
}

impl<'t> OffsetMap<'t> {
    pub(super) fn new(text: &'t str, unit: TextOffsets) -> Self {
        let text = text.as_bytes();
        let mut marks = Vec::new();
        if unit != TextOffsets::Bytes {
            let mut before = 0;
            for chunk in text.chunks(MARK_BYTES) {
                marks.push(before);
                before += units(chunk, unit);
            }
            marks.push(before);
        }
        OffsetMap { text, unit, marks, base: 0 }
    }

    /// Returns the map of a text that begins at this offset of a longer one.
    pub(super) fn with_base(self, base: u64) -> Self {
        OffsetMap { base, ..self }
    }

    /// Returns the offset of a byte that begins a character, or of the end of the text.
    pub(super) fn at(&self, byte: usize) -> u64 {
        if self.unit == TextOffsets::Bytes {
            return self.base + byte as u64;
        }
        let mark = byte / MARK_BYTES;
        self.base + self.marks[mark] + units(&self.text[mark * MARK_BYTES..byte], self.unit)
    }
}

/// Counts the characters, or UTF-16 code units, whose first byte is among these.
fn units(bytes: &[u8], unit: TextOffsets) -> u64 {
    let of_byte = |byte: &u8| match byte {
        0x80..=0xBF => 0,
        0xF0.. if unit == TextOffsets::Utf16 => 2,
        _ => 1,
    };
    bytes.iter().map(of_byte).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_is_that_of_the_standard_library() {
        let text = "aé\u{20ac}\u{1f600}z".repeat(400);
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let [bytes, chars, utf16] =
            [TextOffsets::Bytes, TextOffsets::Chars, TextOffsets::Utf16].map(|unit| OffsetMap::new(&text, unit));
        for (count, at) in ends.enumerate() {
            assert_eq!((bytes.at(at), chars.at(at)), (at as u64, count as u64));
            assert_eq!(utf16.at(at), text[..at].encode_utf16().count() as u64);
        }
        assert_eq!(OffsetMap::new("", TextOffsets::Utf16).at(0), 0);
    }
}
