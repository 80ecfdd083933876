//! What kind of file an input is, by its first bytes, and whether it is the output.

use std::{io, os::fd::AsFd};

use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::context::CommandError;

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
    /// UTF-32 text with a byte order mark.
    Utf32,
    /// Not text: what it is, and what to do.
    NotText(&'static str),
}

impl FileKind {
    /// Returns what the file is and what to do, if it is not UTF-8 and must be.
    pub(crate) fn unless_utf8(self) -> Option<&'static str> {
        match self {
            FileKind::Text | FileKind::MarkedUtf8 => None,
            FileKind::Utf16 { .. } | FileKind::Utf16Unmarked => {
                Some("UTF-16: convert it, as with `iconv -f UTF-16 -t UTF-8`")
            }
            FileKind::Utf32 => Some("UTF-32: convert it, as with `iconv -f UTF-32 -t UTF-8`"),
            FileKind::NotText(what) => Some(what),
        }
    }
}

/// The number that the first block of a bzip2 file begins with, after "BZh" and a digit.
const BZIP2_BLOCK: &[u8] = b"1AY&SY";

/// Code units without a byte order mark that show UTF-16. A single byte of zero can be a part of a value.
const UNITS_MIN: usize = 8;
/// Bytes that show what kind of file an input is.
const MARK_BYTES: usize = 2 * UNITS_MIN;

/// Returns whether these bytes of the beginning are enough to find the kind of the file. A first line is: its writer may wait
/// for a response.
pub(super) fn is_enough(beginning: &[u8]) -> bool {
    beginning.len() >= MARK_BYTES || beginning.contains(&b'\n')
}

/// Returns the kind of a file that begins with these bytes.
pub(super) fn of(beginning: &[u8]) -> FileKind {
    for (mark, kind) in [
        (BYTE_ORDER_MARK, FileKind::MarkedUtf8),
        // Before UTF-16, whose mark it begins with: no text begins with a character of zero.
        (b"\xFF\xFE\0\0", FileKind::Utf32),
        (b"\0\0\xFE\xFF", FileKind::Utf32),
        (b"\xFF\xFE", FileKind::Utf16 { order: ByteOrder::Little }),
        (b"\xFE\xFF", FileKind::Utf16 { order: ByteOrder::Big }),
        (b"\x1F\x8B", FileKind::NotText("compressed with gzip: decompress it first, as with `gunzip`")),
        (b"\x28\xB5\x2F\xFD", FileKind::NotText("compressed with zstd: decompress it first, as with `unzstd`")),
        (b"\xFD7zXZ\0", FileKind::NotText("compressed with xz: decompress it first, as with `unxz`")),
        (b"7z\xBC\xAF\x27\x1C", FileKind::NotText("a 7z archive: extract it first")),
        (
            b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1",
            FileKind::NotText("an old office document or spreadsheet: save it as CSV or text"),
        ),
        (b"%PDF-", FileKind::NotText("a PDF document: extract its text first, as with `pdftotext`")),
        (b"PK\x03\x04", FileKind::NotText("a ZIP archive or a spreadsheet: extract it, or save it as CSV")),
    ] {
        if beginning.starts_with(mark) {
            return kind;
        }
    }
    if beginning.starts_with(b"BZh") && beginning.get(4..10) == Some(BZIP2_BLOCK) {
        return FileKind::NotText("compressed with bzip2: decompress it first, as with `bunzip2`");
    }
    // ASCII characters have a byte of zero in UTF-16, always on the same side. Most characters of a table are ASCII.
    let zeros = |side: usize| beginning.iter().skip(side).step_by(2).filter(|byte| **byte == 0).count();
    let (first, second, units) = (zeros(0), zeros(1), beginning.len() / 2);
    if units >= UNITS_MIN && first.max(second) * 4 >= units * 3 && first.min(second) == 0 {
        return FileKind::Utf16Unmarked;
    }
    FileKind::Text
}

/// Refuses standard input and output that are one file: it would be overwritten while it is read, or grow without end.
///
/// # Errors
/// [`CommandError::Usage`].
pub(super) fn refuse_same_file() -> Result<(), CommandError> {
    refuse_output(io::stdin())
}

/// Refuses an input that is also standard output.
///
/// # Errors
/// [`CommandError::Usage`].
pub(super) fn refuse_output(input: impl AsFd) -> Result<(), CommandError> {
    let is_file = |found: &FileStat| found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    match (fstat(input), fstat(io::stdout())) {
        (Ok(input), Ok(output))
            if is_file(&input) && (input.st_dev, input.st_ino) == (output.st_dev, output.st_ino) =>
        {
            let message = "the input file is also the output: write to another file, and rename it when the command has succeeded";
            Err(CommandError::Usage(message.to_owned()))
        }
        // What is closed is reported where it is used.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_what_is_not_text() {
        for (bytes, part) in [
            (&b"\x1F\x8B\x08\0"[..], "gzip"),
            (b"\xFD7zXZ\0\0\x04", "xz"),
            (b"BZh91AY&SY\x94", "bzip2"),
            (b"7z\xBC\xAF\x27\x1C\0\x04", "7z"),
            (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "CSV"),
            (b"%PDF-1.7\n", "PDF"),
        ] {
            assert!(matches!(of(bytes), FileKind::NotText(what) if what.contains(part)), "{bytes:?}");
        }
        for bytes in [&b"\xFF\xFE\0\0a\0\0\0"[..], b"\0\0\xFE\xFF\0\0\0a"] {
            assert_eq!(of(bytes), FileKind::Utf32);
        }
        assert_eq!(of(b"BZh9,a\n"), FileKind::Text, "a name");
    }

    #[test]
    fn recognizes_utf_16_without_a_mark() {
        for (bytes, kind) in [
            (&b"A\0n\0n\0\n\0E\0v\0e\0\n\0"[..], FileKind::Utf16Unmarked),
            (b"\0A\0n\0n\0\n\0E\0v\0e\0\n", FileKind::Utf16Unmarked),
            (b"Z\0o\0\xEB\x01,\0\x9E\x67,\0x\0\r\0\n\0", FileKind::Utf16Unmarked),
            (b"Ann\n", FileKind::Text),
            (b"a\0b\n", FileKind::Text),
            (b"a\0\n\0", FileKind::Text),
            (b"a\0b\0c\0d\0e\0f\0g\0", FileKind::Text),
            (b"a\0b\nc\0d\ne\0f\ng\0h\n", FileKind::Text),
            (b"\0\0\0\0", FileKind::Text),
            (b"415-555-0132\nvalue\0with zero\n", FileKind::Text),
            (b"", FileKind::Text),
        ] {
            assert_eq!(of(bytes), kind, "{bytes:?}");
        }
    }
}
