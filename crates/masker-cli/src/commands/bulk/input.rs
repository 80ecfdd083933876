//! The beginning of the input, which shows what kind of file it is, and a buffer for its rows.

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek},
    os::{fd::AsFd, unix::fs::FileExt},
};

use super::{
    encoding::{CellEncoding, FileEncoding, Utf16Reader},
    wiped_bytes::WipedBytes,
};
use crate::{
    context::CommandError,
    file_kind::{self, BYTE_ORDER_MARK, ByteOrder, FileKind},
};

/// Longest row, in bytes. Bounds memory if a quote is never closed.
pub(super) const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Initial size of the buffer, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// The input after its beginning was examined: UTF-8, or text in another superset of ASCII, without byte order mark.
pub(super) struct OpenedInput {
    pub(super) rows: RowBuffer,
    /// The byte order mark of the input as UTF-8. Empty if it has none.
    pub(super) mark: &'static [u8],
    /// The byte order if the input is UTF-16.
    pub(super) utf16: Option<ByteOrder>,
}

impl OpenedInput {
    /// Reads the beginning of the input.
    ///
    /// # Errors
    /// The input cannot be read, or does not have the encoding.
    pub(super) fn open(mut source: impl Read + Send + 'static, encoding: FileEncoding) -> Result<Self, CommandError> {
        let mut beginning = Vec::new();
        let mut piece = [0; 8 * 1024];
        while !file_kind::is_enough(&beginning) {
            match source.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => beginning.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CommandError::Input(error)),
            }
        }
        let kind = file_kind::of(&beginning);
        let refuse = |message: String| Err(CommandError::Other(message));
        let mark_bytes = match (kind, encoding) {
            (FileKind::Utf16 { .. }, FileEncoding::Cells(_)) => {
                return refuse(
                    "the input is UTF-16: use --encoding utf-16 (CSV), or convert it with `iconv`".to_owned(),
                );
            }
            (FileKind::Utf16Unmarked, FileEncoding::Cells(_)) => {
                let message = "the input has bytes of zero, as UTF-16 does: use --encoding utf-16le (CSV), or convert it \
                               with `iconv`";
                return refuse(message.to_owned());
            }
            (FileKind::Utf32, _) => {
                return refuse("the input is UTF-32: convert it, as with `iconv -f UTF-32 -t UTF-8`".to_owned());
            }
            (FileKind::NotText(what), _) => return refuse(format!("the input is {what}")),
            (FileKind::MarkedUtf8, FileEncoding::Cells(cells)) if cells != CellEncoding::Utf8 => {
                let message = format!("the input begins with the mark of UTF-8, and --encoding is {}", cells.name());
                return refuse(message);
            }
            (FileKind::MarkedUtf8, FileEncoding::Cells(_)) => BYTE_ORDER_MARK.len(),
            (FileKind::Utf16 { .. }, FileEncoding::Utf16(_)) => 2,
            _ => 0,
        };
        let utf16 = match (encoding, kind) {
            (FileEncoding::Cells(_), _) => None,
            (FileEncoding::Utf16(Some(order)), FileKind::Utf16 { order: marked }) if marked != order => {
                return refuse("the byte order mark of the input has the other order of bytes".to_owned());
            }
            (FileEncoding::Utf16(Some(order)), _) | (FileEncoding::Utf16(None), FileKind::Utf16 { order }) => {
                Some(order)
            }
            (FileEncoding::Utf16(None), _) if beginning.is_empty() => None,
            (FileEncoding::Utf16(None), _) => {
                return refuse("the input has no byte order mark: use --encoding utf-16le or utf-16be".to_owned());
            }
        };
        beginning.drain(..mark_bytes);
        let mark = if mark_bytes > 0 { BYTE_ORDER_MARK } else { b"" };
        let rows = match utf16 {
            None => RowBuffer::new(source, &beginning),
            Some(order) => RowBuffer::new(Utf16Reader::new(Cursor::new(beginning).chain(source), order), b""),
        };
        Ok(OpenedInput { rows, mark, utf16 })
    }
}

/// A second reader of an input that is a file. It begins where the first will, and does not move it.
pub(in crate::commands) struct FileReader {
    file: File,
    at: u64,
    end: u64,
}

impl FileReader {
    /// Returns a reader, or `None` if the input is not a file.
    pub(in crate::commands) fn of(input: &impl AsFd) -> Option<Self> {
        let mut file = File::from(input.as_fd().try_clone_to_owned().ok()?);
        let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
        let at = file.stream_position().ok()?;
        Some(FileReader { file, at, end: metadata.len() })
    }

    /// Returns the number of bytes left to read.
    pub(in crate::commands) fn bytes_left(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Bytes of the input from the beginning of a row. Memory is bounded by the longest row, and wiped.
pub(super) struct RowBuffer {
    source: Box<dyn Read + Send>,
    bytes: WipedBytes,
    /// The part of `bytes` that is input and not consumed.
    start: usize,
    end: usize,
    ended: bool,
    consumed: u64,
}

impl RowBuffer {
    fn new(source: impl Read + Send + 'static, beginning: &[u8]) -> Self {
        let mut bytes = vec![0; BUFFER_BYTES.max(beginning.len())];
        bytes[..beginning.len()].copy_from_slice(beginning);
        RowBuffer {
            source: Box::new(source),
            bytes: bytes.into(),
            start: 0,
            end: beginning.len(),
            ended: false,
            consumed: 0,
        }
    }

    /// Returns the bytes that are not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Returns whether the input ends after [`RowBuffer::bytes`].
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Returns whether the bytes are as long as a row may be.
    pub(super) fn is_full(&self) -> bool {
        self.end - self.start >= ROW_BYTES_MAX
    }

    /// Returns the number of bytes that were consumed.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Consumes bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        self.consumed += count as u64;
    }

    /// Reads more bytes, or notes the end of the input. Blocks until there are any.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 && (self.start == self.end || self.end == self.bytes.len()) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            // The smaller buffer is wiped.
            let mut larger = WipedBytes::from(vec![0; self.bytes.len() * 2]);
            larger[..self.end].copy_from_slice(&self.bytes[..self.end]);
            self.bytes = larger;
        }
        loop {
            match self.source.read(&mut self.bytes[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    self.ended = read == 0;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(bytes: &'static [u8], encoding: &str) -> Result<(&'static [u8], Vec<u8>), String> {
        let encoding = FileEncoding::parse(encoding).unwrap();
        let mut input = OpenedInput::open(bytes, encoding).map_err(|error| error.to_string())?;
        while !input.rows.is_ended() {
            input.rows.fill().map_err(|error| error.to_string())?;
        }
        Ok((input.mark, input.rows.bytes().to_vec()))
    }

    #[test]
    fn examining_the_beginning_does_not_consume_it() {
        let mark = BYTE_ORDER_MARK;
        for (bytes, encoding, found) in [
            (&b"a,b\r\nc"[..], "utf-8", (&b""[..], &b"a,b\r\nc"[..])),
            (b"\xEF\xBB\xBFa\nc\r\n", "utf-8", (mark, b"a\nc\r\n")),
            (b"\xEF\xBB\xBF", "utf-8", (mark, b"")),
            (b"", "utf-8", (b"", b"")),
            (b"a\0b\nc\0d\n", "utf-8", (b"", b"a\0b\nc\0d\n")),
            (b"", "utf-16", (b"", b"")),
            (b"\xFF\xFEa\0\xEB\0", "utf-16", (mark, "aë".as_bytes())),
            (b"\xFE\xFF\0a", "utf-16", (mark, b"a")),
            (b"\xFF\xFEa\0", "utf-16le", (mark, b"a")),
            (b"a\0", "utf-16le", (b"", b"a")),
            (b"Zo\xEB", "latin1", (b"", b"Zo\xEB")),
        ] {
            let expected = Ok((found.0, found.1.to_vec()));
            assert_eq!(opened(bytes, encoding), expected, "{bytes:?}");
        }
    }

    #[test]
    fn refuses_what_has_another_encoding_or_is_not_text() {
        for (bytes, encoding, part) in [
            (&b"\xFF\xFEa\0"[..], "utf-8", "UTF-16: use --encoding utf-16"),
            (b"\xFE\xFF\0a", "latin1", "UTF-16"),
            (b"a\0,\0b\0\n\0c\0,\0d\0\n\0", "utf-8", "utf-16le"),
            (b"\xFE\xFF\0a", "utf-16le", "other order"),
            (b"a,b\n", "utf-16", "no byte order mark"),
            (b"\xEF\xBB\xBFa\n", "windows-1252", "mark of UTF-8"),
            (b"\x1F\x8B\x08\0", "utf-8", "gzip"),
            (b"\xFF\xFE\0\0a\0\0\0", "utf-16", "UTF-32"),
            (b"PK\x03\x04", "utf-8", "spreadsheet"),
            (b"\xFF\xFEa", "utf-16", "not UTF-16 text"),
        ] {
            let message = opened(bytes, encoding).unwrap_err();
            assert!(message.contains(part), "{bytes:?}: {message}");
        }
    }

    #[test]
    fn the_buffer_grows_to_the_longest_row() {
        let input = OpenedInput::open(io::repeat(b'x'), FileEncoding::UTF_8).unwrap();
        let mut rows = input.rows;
        while !rows.is_full() {
            rows.fill().unwrap();
        }
        assert!(rows.bytes().len() <= 2 * ROW_BYTES_MAX);
        rows.consume(rows.bytes().len());
        assert!(!rows.is_full() && rows.consumed() >= ROW_BYTES_MAX as u64);
        rows.fill().unwrap();
        assert!(rows.bytes().len() <= 2 * ROW_BYTES_MAX);
    }
}
