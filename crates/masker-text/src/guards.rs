//! Guards: texts with the form of an identifier that identify nobody, such as UUIDs, hashes, paths and versions.

/// How far a chunk reaches on each side, in bytes.
const REACH: usize = 100;

/// The run of bytes around a range that white space, quotes, brackets, and the delimiters of cells end.
pub(crate) fn chunk(text: &str, start: usize, end: usize) -> (usize, usize) {
    let bytes = text.as_bytes();
    let inside = |byte: &u8| {
        !byte.is_ascii_whitespace()
            && !matches!(
                byte,
                b'"' | b'\'' | b'`' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'|' | b',' | b';'
            )
    };
    let left = bytes[start.saturating_sub(REACH)..start].iter().rev().take_while(|byte| inside(byte)).count();
    let right = bytes[end..bytes.len().min(end + REACH)].iter().take_while(|byte| inside(byte)).count();
    (start - left, end + right)
}

/// Whether digits at a range are part of something technical: a UUID, a hash, a path, a version, a file name, a code identifier.
pub(crate) fn technical(text: &str, start: usize, end: usize) -> bool {
    let bytes = text.as_bytes();
    if glued(bytes, start, end) {
        return true;
    }
    let (from, to) = chunk(text, start, end);
    if (from, to) == (start, end) {
        return false;
    }
    let chunk = &bytes[from..to];
    is_uuid(chunk) || is_hash(chunk) || is_path(chunk) || is_file(chunk)
}

/// Whether letters, digits or underscores touch a range.
pub(crate) fn glued(bytes: &[u8], start: usize, end: usize) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let left = start.checked_sub(1).is_some_and(|index| word(bytes[index]));
    let right = bytes.get(end).is_some_and(|&byte| word(byte));
    left || right
}

/// A UUID, with marks around it.
pub(crate) fn is_uuid(chunk: &[u8]) -> bool {
    let Some(start) = chunk.iter().position(u8::is_ascii_hexdigit) else { return false };
    // `id:110bcd25-…` and `urn:uuid:…` have letters before it.
    let windows = chunk.len().saturating_sub(35);
    (start..windows).any(|at| {
        let window = &chunk[at..at + 36];
        let form = window.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        form && (at == 0 || !chunk[at - 1].is_ascii_alphanumeric())
            && chunk.get(at + 36).is_none_or(|byte| !byte.is_ascii_alphanumeric())
    })
}

/// A run of 16 hexadecimal digits or more, with letters and digits.
pub(crate) fn is_hash(chunk: &[u8]) -> bool {
    chunk
        .split(|byte| !byte.is_ascii_hexdigit())
        .any(|run| run.len() >= 16 && run.iter().any(u8::is_ascii_alphabetic) && run.iter().any(u8::is_ascii_digit))
}

/// A path with letters: `/var/log/2026`, `src/a/b`, `C:\x`, or a URL.
fn is_path(chunk: &[u8]) -> bool {
    let slashes = chunk.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count();
    let letters = chunk.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    slashes >= 2 && letters >= 3 || slashes >= 1 && matches!(chunk.first(), Some(b'/' | b'.' | b'~')) && letters >= 2
}

/// A file name with an underscore, or with an extension of letters.
fn is_file(chunk: &[u8]) -> bool {
    let chunk = chunk.strip_suffix(b".").unwrap_or(chunk);
    let Some(dot) = chunk.iter().rposition(|&byte| byte == b'.') else { return false };
    let extension = &chunk[dot + 1..];
    (2..=5).contains(&extension.len())
        && extension.iter().all(u8::is_ascii_alphanumeric)
        && extension.iter().any(u8::is_ascii_alphabetic)
        && !chunk.contains(&b'@')
        && !chunk.contains(&b',')
}

/// Whether a word before a range says that it is a version: `v`, `version`, `release`.
pub(crate) fn after_version(text: &str, start: usize) -> bool {
    let before = text[..start].trim_end_matches([' ', ':', '=', '-', '"', '/']);
    let word = before.bytes().rev().take(12).take_while(u8::is_ascii_alphabetic).count();
    let word = &before[before.len() - word..];
    [
        "v", "ver", "version", "release", "build", "rev", "revision", "firmware", "driver", "kernel", "chrome",
        "mozilla", "safari",
    ]
    .iter()
    .any(|known| word.eq_ignore_ascii_case(known))
}
