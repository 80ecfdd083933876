//! What kind of file an input is, by its first bytes.

/// The byte order mark, with which UTF-8 text may begin.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The order of the bytes of UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Text in a superset of ASCII, or unknown.
    Text,
    /// UTF-8 text with a byte order mark.
    MarkedUtf8,
    /// UTF-16 text with a byte order mark.
    Utf16 { order: ByteOrder },
    /// Probably UTF-16 text without a byte order mark.
    Utf16Unmarked,
    /// Compressed: what it is, and what to do.
    Compressed(&'static str),
}

/// Returns the kind of a file that begins with these bytes.
pub(super) fn of(beginning: &[u8]) -> FileKind {
    for (mark, kind) in [
        (BYTE_ORDER_MARK, FileKind::MarkedUtf8),
        (b"\xFF\xFE", FileKind::Utf16 { order: ByteOrder::Little }),
        (b"\xFE\xFF", FileKind::Utf16 { order: ByteOrder::Big }),
        (b"\x1F\x8B", FileKind::Compressed("compressed with gzip: decompress it first, as with `gunzip`")),
        (b"\x28\xB5\x2F\xFD", FileKind::Compressed("compressed with zstd: decompress it first, as with `unzstd`")),
        (b"PK\x03\x04", FileKind::Compressed("a ZIP archive or a spreadsheet: extract it, or save it as CSV")),
    ] {
        if beginning.starts_with(mark) {
            return kind;
        }
    }
    // ASCII characters have a byte of zero in UTF-16, always on the same side.
    let zeros = |side: usize| beginning.iter().skip(side).step_by(2).filter(|byte| **byte == 0).count();
    let (first, second) = (zeros(0), zeros(1));
    if first.max(second) * 4 >= beginning.len().max(1) && first.min(second) == 0 {
        return FileKind::Utf16Unmarked;
    }
    FileKind::Text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_utf_16_without_a_mark() {
        for (bytes, kind) in [
            (&b"A\0n\0n\0\n\0"[..], FileKind::Utf16Unmarked),
            (b"\0A\0n\0n\0\n", FileKind::Utf16Unmarked),
            (b"Ann\n", FileKind::Text),
            (b"a\0b\n", FileKind::Utf16Unmarked),
            (b"\0\0\0\0", FileKind::Text),
            (b"415-555-0132\nvalue\0with zero\n", FileKind::Text),
            (b"", FileKind::Text),
        ] {
            assert_eq!(of(bytes), kind, "{bytes:?}");
        }
    }
}
