//! Segments: parts of a text that are read one after the other.
//!
//! Where a segment ends depends only on the bytes before its longest possible end. A text therefore has the same segments, and
//! the same findings, however it arrives.

/// Longest segment, in bytes.
pub const SEGMENT_BYTES_MAX: usize = 8192;
/// Segments are longer than this, in bytes, except the last one and one before a private key.
const SEGMENT_BYTES_MIN: usize = 4096;

/// Returns where the first segment of a text ends. `None` if that depends on text that is yet to come.
pub(crate) fn end(text: &str, complete: bool) -> Option<usize> {
    if text.len() <= SEGMENT_BYTES_MAX {
        return complete.then_some(text.len());
    }
    let longest = (0..=SEGMENT_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let window = &text[..longest];
    let cut = cut(window);
    // A private key is not cut, if it is not the segment's first text.
    let key =
        window[..cut].rfind("-----BEGIN ").filter(|&begin| begin > 0 && !window[begin..cut].contains("-----END "));
    Some(key.unwrap_or(cut))
}

/// The last good place for a cut: after a paragraph, a line with the end of a sentence, a line, a sentence, a word.
fn cut(window: &str) -> usize {
    let from = (SEGMENT_BYTES_MIN..window.len()).find(|&from| window.is_char_boundary(from)).unwrap_or(window.len());
    let tail = &window[from..];
    let after = |mark: &str| tail.rfind(mark).map(|at| from + at + mark.len());
    after("\n\n")
        .or_else(|| after("\r\n\r\n"))
        .or_else(|| [".\n", ".\r\n", "?\n", "!\n", ":\n"].into_iter().filter_map(after).max())
        .or_else(|| after("\n"))
        .or_else(|| [". ", "? ", "! "].into_iter().filter_map(after).max())
        .or_else(|| after(" "))
        .unwrap_or(window.len())
}
