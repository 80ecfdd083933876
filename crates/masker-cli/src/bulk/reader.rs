//! Rows of standard input, in chunks.

use std::{
    io::{self, Chain, Cursor, Read},
    sync::Arc,
};

use super::{
    chunk::{Chunk, OutputLayout},
    lines::JsonLinesReader,
    options::{BulkPlan, InputFormat},
    table::TableReader,
};
use crate::context::CommandError;

/// Longest row, in bytes: what bounds memory where a quote is never closed.
pub(super) const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How much of the input is looked at for how its lines end, in bytes.
const BEGINNING_BYTES_MAX: usize = 64 * 1024;
/// What UTF-8 text may begin with.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Rows of one form.
pub(super) trait RowSource: Send {
    fn layout(&self) -> OutputLayout;
    /// What is to be written before the first row.
    fn header(&self) -> &[u8];
    /// Reads a row; false at the end.
    fn read(&mut self) -> io::Result<bool>;
    /// Gives the row that was read to a chunk.
    fn add_to(&mut self, chunk: &mut Chunk);
    /// How far the input is read, in bytes.
    fn bytes_read(&self) -> u64;
    /// Whether a further row can be had without waiting for any of it.
    fn has_buffered_rows(&self) -> bool;
}

/// Where rows come from.
pub(super) struct ChunkReader {
    rows: Box<dyn RowSource>,
    plan: Arc<BulkPlan>,
    next_row: u64,
    /// What went wrong after the rows that were given out last.
    failed: Option<io::Error>,
}

impl ChunkReader {
    /// Reads as much as tells whether this is what the plan is about.
    pub(super) fn open<R: Read + Send + 'static>(plan: Arc<BulkPlan>, source: R) -> Result<Self, CommandError> {
        let input = PeekedInput::open(source, plan.form)?;
        let rows: Box<dyn RowSource> = match plan.form {
            InputFormat::Csv { delimiter, header } => {
                Box::new(TableReader::open(Arc::clone(&plan), input, delimiter, header)?)
            }
            InputFormat::JsonLines => Box::new(JsonLinesReader::open(Arc::clone(&plan), input)?),
        };
        Ok(ChunkReader { rows, plan, next_row: 1, failed: None })
    }

    /// How far the input is read, in bytes.
    pub(super) fn bytes_read(&self) -> u64 {
        self.rows.bytes_read()
    }

    /// What is to be written before the first row, unless rows are skipped: then it was written before them.
    pub(super) fn header(&self) -> Vec<u8> {
        if self.plan.skip_rows == 0 { self.rows.header().to_vec() } else { Vec::new() }
    }

    /// Passes over the rows that are to be skipped.
    pub(super) fn skip(&mut self) -> Result<(), CommandError> {
        for passed in 0..self.plan.skip_rows {
            if !self.rows.read().map_err(CommandError::Input)? {
                let message = format!("--skip-rows {}: there are {passed} rows", self.plan.skip_rows);
                return Err(CommandError::Other(message));
            }
        }
        self.next_row += self.plan.skip_rows;
        Ok(())
    }

    /// The next rows; `None` at the end. They are as many as are at hand, within bounds: a slow producer gets its answers
    /// at once, and a fast one gets large requests.
    pub(super) fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let mut chunk = Chunk::new(self.rows.layout(), self.next_row);
        while !chunk.is_full(&self.plan) && (chunk.is_empty() || self.rows.has_buffered_rows()) {
            match self.rows.read() {
                Ok(true) => {
                    self.rows.add_to(&mut chunk);
                    chunk.end_row();
                }
                Ok(false) => break,
                Err(failed) if chunk.is_empty() => return Err(failed),
                Err(failed) => {
                    self.failed = Some(failed);
                    break;
                }
            }
        }
        chunk.bytes_read = self.rows.bytes_read();
        self.next_row += chunk.rows();
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }
}

/// All of an input: the beginning that was looked at, and the rest.
pub(super) type PeekedReader<R> = Chain<Cursor<Vec<u8>>, R>;

/// The input, of which the beginning was looked at.
pub(super) struct PeekedInput<R> {
    pub(super) bytes: PeekedReader<R>,
    /// Whether it began with a byte order mark, which is not among the bytes.
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
            let message = "the input is UTF-16; `iconv -f UTF-16 -t UTF-8` makes UTF-8 of it";
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

/// Where the first line feed is, in CSV outside quotes.
fn first_line_end(bytes: &[u8], form: InputFormat) -> Option<usize> {
    let mut quoted = false;
    bytes.iter().position(|byte| {
        quoted ^= *byte == b'"' && form != InputFormat::JsonLines;
        *byte == b'\n' && !quoted
    })
}

/// A reader that gives no more than a row may have, and then fails.
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

    /// Begins a row.
    pub(super) fn begin(&mut self) {
        self.left = ROW_BYTES_MAX;
    }

    /// How much was given out up to the end of the last whole line, in bytes.
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

/// Why a row cannot be read.
pub(super) fn too_long(advice: &str) -> io::Error {
    let message = format!("a row is longer than {} MiB; {advice}", ROW_BYTES_MAX >> 20);
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: InputFormat = InputFormat::Csv { delimiter: b',', header: true };

    #[test]
    fn a_line_ends_outside_quotes_if_it_is_csv() {
        for (text, end) in [("a\nb", Some(1)), ("\"a\n\"\"\n\",b\r\nc\n", Some(10)), ("\"a\n", None), ("", None)] {
            assert_eq!(first_line_end(text.as_bytes(), CSV), end, "{text:?}");
        }
        assert_eq!(first_line_end(b"[\"\\\"\"]\n", InputFormat::JsonLines), Some(6));
    }

    #[test]
    fn the_beginning_is_looked_at_and_not_lost() {
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
    fn what_has_no_end_is_not_read_to_it() {
        let mut endless = RowLimitReader::new(io::repeat(b'x'));
        let mut sink = io::sink();
        let error = io::copy(&mut endless, &mut sink).unwrap_err();
        assert_eq!((error.kind(), endless.given), (io::ErrorKind::InvalidData, ROW_BYTES_MAX as u64));
        endless.begin();
        assert_eq!(endless.read(&mut [0; 7]).unwrap(), 7);
    }

    #[test]
    fn lines_are_at_hand_up_to_the_end_of_the_last_whole_one() {
        for (pieces, at_hand) in
            [(&["a\nb"][..], 2), (&["a\n", "b"], 2), (&["a", "\r\n"], 3), (&["a\rb\rc"], 4), (&["a"], 0)]
        {
            let mut bounded = RowLimitReader::new(pieces.concat().leak().as_bytes());
            for piece in pieces {
                bounded.read_exact(&mut vec![0; piece.len()]).unwrap();
            }
            assert_eq!(bounded.lines_end(), at_hand, "{pieces:?}");
        }
    }
}
