//! Emphasis of Markdown around words: `**Maria** **Lopez**`, `_John_`.

use super::Writer;

/// Longest text that is emphasized, in bytes. Only words are: marks around other values do not hide them.
const INSIDE_BYTES_MAX: usize = 80;

/// Whether a text can hold anything that [`replace`] changes.
pub fn may_emphasize(text: &str) -> bool {
    text.bytes().any(is_mark)
}

/// Removes the marks around words.
pub fn replace(text: &str, writer: &mut Writer<'_>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_mark(bytes[at]) {
            at += 1;
            continue;
        }
        let marks = run(bytes, at);
        if let Some(close) = close_of(bytes, at, marks) {
            writer.replace(at, at + marks, "");
            writer.replace(close, close + marks, "");
            at = close + marks;
        } else {
            at += marks;
        }
    }
}

fn is_mark(byte: u8) -> bool {
    matches!(byte, b'*' | b'_' | b'~')
}

/// How many equal marks are at an offset.
fn run(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().take_while(|&&byte| byte == bytes[at]).count()
}

/// Where the marks are that close what marks at an offset open.
fn close_of(bytes: &[u8], open: usize, marks: usize) -> Option<usize> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80;
    let fits = if bytes[open] == b'~' { marks == 2 } else { marks <= 3 };
    if !fits || open > 0 && (is_word(bytes[open - 1]) || bytes[open - 1] == b'\\') {
        return None;
    }
    let begin = open + marks;
    let mut at = begin;
    while at < bytes.len() && at - begin <= INSIDE_BYTES_MAX {
        let byte = bytes[at];
        if byte == bytes[open] {
            let closes = run(bytes, at) == marks
                && bytes[at - 1] != b' '
                && bytes.get(at + marks).is_none_or(|&next| !is_word(next));
            return (closes && at > begin).then_some(at);
        }
        let is_inside = byte.is_ascii_alphabetic() || byte >= 0x80 || b" .,:'-".contains(&byte) && at > begin;
        if !is_inside {
            return None;
        }
        at += 1;
    }
    None
}
