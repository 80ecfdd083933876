//! The beginning of the input, and bounds for its rows.

use std::io::{self, Chain, Cursor, Read};

use super::plan::InputFormat;
use crate::context::CommandError;

/// Longest row, in bytes. Bounds memory if a quote is never closed.
pub(super) const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the input that are searched for the first line end.
const BEGINNING_BYTES_MAX: usize = 64 * 1024;
/// The byte order mark, with which UTF-8 text may begin.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The whole input: the beginning that was examined, and the rest.
pub(super) type PeekedReader<R> = Chain<Cursor<Vec<u8>>, R>;

/// The input, after its beginning was examined.
pub(super) struct PeekedInput<R> {
    pub(super) bytes: PeekedReader<R>,
    /// Whether the input began with a byte order mark, which `bytes` does not contain.
    pub(super) byte_order_mark: bool,
    /// Whether the first line ends in a carriage return and a line feed.
    pub(super) crlf: bool,
}

impl<R: Read> PeekedInput<R> {
    pub(super) fn open(mut source: R, form: InputFormat) -> Result<Self, CommandError> {
        let mut beginning = Vec::new();
        let mut piece = [0; 8 * 1024];
        let line_end = loop {
            let line_end = first_line_end(&beginning, form);
            if line_end.is_some() || beginning.len() >= BEGINNING_BYTES_MAX {
                break line_end;
            }
            match source.read(&mut piece) {
                Ok(0) => break None,
                Ok(read) => beginning.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CommandError::Input(error)),
            }
        };
        if beginning.starts_with(b"\xFF\xFE") || beginning.starts_with(b"\xFE\xFF") {
            let message = "the input is UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`";
            return Err(CommandError::Other(message.to_owned()));
        }
        let crlf = line_end.is_some_and(|end| beginning[..end].ends_with(b"\r"));
        let byte_order_mark = beginning.starts_with(BYTE_ORDER_MARK);
        if byte_order_mark {
            beginning.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(PeekedInput { bytes: Cursor::new(beginning).chain(source), byte_order_mark, crlf })
    }
}

/// Returns the position of the first line feed, outside quotes in CSV.
fn first_line_end(bytes: &[u8], form: InputFormat) -> Option<usize> {
    let mut quoted = false;
    bytes.iter().position(|byte| {
        quoted ^= *byte == b'"' && form != InputFormat::JsonLines;
        *byte == b'\n' && !quoted
    })
}

/// A reader that fails after [`ROW_BYTES_MAX`] bytes of one row.
pub(super) struct RowLimitReader<R> {
    source: R,
    left: usize,
    given: u64,
    lines_end: u64,
}

impl<R> RowLimitReader<R> {
    pub(super) fn new(source: R) -> Self {
        RowLimitReader { source, left: ROW_BYTES_MAX, given: 0, lines_end: 0 }
    }

    /// Starts a new row.
    pub(super) fn begin(&mut self) {
        self.left = ROW_BYTES_MAX;
    }

    /// Returns the number of bytes up to the end of the last complete line.
    pub(super) fn lines_end(&self) -> u64 {
        self.lines_end
    }
}

impl<R: Read> Read for RowLimitReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(too_long("is a quote not closed?"));
        }
        let room = buffer.len().min(self.left);
        let read = self.source.read(&mut buffer[..room])?;
        self.left -= read;
        if let Some(end) = buffer[..read].iter().rposition(|byte| matches!(byte, b'\n' | b'\r')) {
            self.lines_end = self.given + end as u64 + 1;
        }
        self.given += read as u64;
        Ok(read)
    }
}

/// Returns the error of a row that is too long.
pub(super) fn too_long(advice: &str) -> io::Error {
    let message = format!("a row is longer than {} MiB; {advice}", ROW_BYTES_MAX >> 20);
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: InputFormat = InputFormat::Csv { delimiter: b',', header: true };

    #[test]
    fn a_line_of_csv_ends_outside_quotes() {
        for (text, end) in [("a\nb", Some(1)), ("\"a\n\"\"\n\",b\r\nc\n", Some(10)), ("\"a\n", None), ("", None)] {
            assert_eq!(first_line_end(text.as_bytes(), CSV), end, "{text:?}");
        }
        assert_eq!(first_line_end(b"[\"\\\"\"]\n", InputFormat::JsonLines), Some(6));
    }

    #[test]
    fn examining_the_beginning_does_not_consume_it() {
        for (bytes, mark, crlf, rest) in [
            (&b"a,b\r\nc"[..], false, true, &b"a,b\r\nc"[..]),
            (b"\xEF\xBB\xBFa\nc\r\n", true, false, b"a\nc\r\n"),
            (b"\xEF\xBB\xBF", true, false, b""),
            (b"", false, false, b""),
        ] {
            let mut input = PeekedInput::open(bytes, CSV).unwrap();
            let mut read = Vec::new();
            input.bytes.read_to_end(&mut read).unwrap();
            assert_eq!((input.byte_order_mark, input.crlf, read.as_slice()), (mark, crlf, rest));
        }
        assert!(PeekedInput::open(&b"\xFF\xFEa\0"[..], CSV).is_err_and(|error| error.to_string().contains("UTF-16")));
    }

    #[test]
    fn an_endless_row_is_an_error() {
        let mut endless = RowLimitReader::new(io::repeat(b'x'));
        let mut sink = io::sink();
        let error = io::copy(&mut endless, &mut sink).unwrap_err();
        assert_eq!((error.kind(), endless.given), (io::ErrorKind::InvalidData, ROW_BYTES_MAX as u64));
        endless.begin();
        assert_eq!(endless.read(&mut [0; 7]).unwrap(), 7);
    }

    #[test]
    fn reports_the_end_of_the_last_complete_line() {
        for (pieces, expected) in
            [(&["a\nb"][..], 2), (&["a\n", "b"], 2), (&["a", "\r\n"], 3), (&["a\rb\rc"], 4), (&["a"], 0)]
        {
            let mut bounded = RowLimitReader::new(pieces.concat().leak().as_bytes());
            for piece in pieces {
                bounded.read_exact(&mut vec![0; piece.len()]).unwrap();
            }
            assert_eq!(bounded.lines_end(), expected, "{pieces:?}");
        }
    }
}
