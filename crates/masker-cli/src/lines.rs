//! Lines, or texts that end in NUL bytes, from standard input, in batches of what is available.
//!
//! The result of one read of a pipe becomes one request. So a slow producer gets each response immediately, and a fast one
//! gets large batches. Memory is bounded by one buffer, however long the input is.

use std::io::{self, Read};

use zeroize::Zeroizing;

use crate::file_kind::{self, BYTE_ORDER_MARK, FileKind};
use masker_types::limits::ITEMS_PER_REQUEST_MAX;

/// Size of the buffer in bytes, which is also the longest line. A byte can take six as JSON, which is far below the
/// daemon's limit for a request.
const BUFFER_BYTES: usize = 1024 * 1024;

/// What a line ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// A line feed, or a carriage return and a line feed.
    Break,
    /// A NUL byte. The lines can contain line breaks.
    Nul,
}

/// Reads lines. The last line need not have an end. A byte order mark before the first one is no part of it.
pub(super) struct LineReader<R> {
    source: R,
    end: LineEnd,
    /// Whether the beginning of the input was examined.
    begun: bool,
    buffer: Zeroizing<Vec<u8>>,
    /// Number of bytes of the buffer that are input.
    filled: usize,
    ended: bool,
}

/// Complete lines, and the number of bytes that they take in the buffer.
struct SplitLines {
    lines: InputLines,
    consumed: usize,
}

/// Why a line is no value or token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidInputLine {
    #[error("not UTF-8 text")]
    NotUtf8,
    #[error(
        "a carriage return is inside the line: end lines in a line feed; with --null-separated, values can contain one"
    )]
    CarriageReturn,
}

/// A line, or why it cannot be sent.
pub(super) type InputLine = Result<Zeroizing<String>, InvalidInputLine>;

/// Lines in input order.
pub(super) type InputLines = Vec<InputLine>;

impl<R: Read> LineReader<R> {
    pub(super) fn new(source: R, end: LineEnd) -> Self {
        LineReader { source, end, begun: false, buffer: Zeroizing::new(vec![0; BUFFER_BYTES]), filled: 0, ended: false }
    }

    /// Returns the next lines, from one to [`ITEMS_PER_REQUEST_MAX`], or `None` at the end.
    ///
    /// # Errors
    /// The source cannot be read, is UTF-16 or compressed, or a line is too long.
    pub(super) fn next_batch(&mut self) -> io::Result<Option<InputLines>> {
        while !self.begun {
            let beginning = &self.buffer[..self.filled];
            if self.ended || file_kind::is_enough(beginning) || beginning.contains(&self.end.byte()) {
                self.begin()?;
            } else {
                self.read()?;
            }
        }
        loop {
            let SplitLines { lines, consumed } = self.split();
            if !lines.is_empty() {
                self.buffer.copy_within(consumed..self.filled, 0);
                self.filled -= consumed;
                return Ok(Some(lines));
            }
            if self.ended {
                return Ok(None);
            }
            if self.filled == self.buffer.len() {
                let message = format!("a line is longer than {} KiB", BUFFER_BYTES / 1_024);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        match self.source.read(&mut self.buffer[self.filled..]) {
            Ok(0) => self.ended = true,
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Examines the beginning of the input, and removes its byte order mark.
    fn begin(&mut self) -> io::Result<()> {
        self.begun = true;
        let kind = file_kind::of(&self.buffer[..self.filled]);
        if kind == FileKind::MarkedUtf8 {
            self.buffer.copy_within(BYTE_ORDER_MARK.len()..self.filled, 0);
            self.filled -= BYTE_ORDER_MARK.len();
        }
        match kind.unless_utf8() {
            Some(what) if kind != FileKind::Utf16Unmarked || self.end != LineEnd::Nul => {
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("the input is {what}")))
            }
            _ => Ok(()),
        }
    }

    fn split(&self) -> SplitLines {
        let mut split = SplitLines { lines: Vec::new(), consumed: 0 };
        while split.lines.len() < ITEMS_PER_REQUEST_MAX {
            let rest = &self.buffer[split.consumed..self.filled];
            let line = match memchr::memchr(self.end.byte(), rest) {
                Some(end) => &rest[..=end],
                None if self.ended && !rest.is_empty() => rest,
                None => break,
            };
            split.consumed += line.len();
            split.lines.push(text(line, self.end));
        }
        split
    }
}

impl LineEnd {
    /// Returns what values end in, with or without `--null-separated`.
    pub(super) fn of_values(null_separated: bool) -> Self {
        if null_separated { LineEnd::Nul } else { LineEnd::Break }
    }

    fn byte(self) -> u8 {
        match self {
            LineEnd::Break => b'\n',
            LineEnd::Nul => 0,
        }
    }
}

fn text(line: &[u8], end: LineEnd) -> Result<Zeroizing<String>, InvalidInputLine> {
    let line = match end {
        LineEnd::Nul => line.strip_suffix(b"\0").unwrap_or(line),
        LineEnd::Break => {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            line.strip_suffix(b"\r").unwrap_or(line)
        }
    };
    let text = std::str::from_utf8(line).map_err(|_| InvalidInputLine::NotUtf8)?;
    // A file whose lines end in it would be one value.
    if end == LineEnd::Break && text.contains('\r') {
        return Err(InvalidInputLine::CarriageReturn);
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one piece for each read.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn batches(pieces: &[&str]) -> Vec<Vec<String>> {
        batches_that_end_in(LineEnd::Break, pieces)
    }

    fn batches_that_end_in(end: LineEnd, pieces: &[&str]) -> Vec<Vec<String>> {
        let mut reader = LineReader::new(Pieces(pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect()), end);
        let mut batches = Vec::new();
        while let Some(lines) = reader.next_batch().unwrap() {
            batches.push(lines.into_iter().map(|line| line.unwrap().to_string()).collect());
        }
        batches
    }

    #[test]
    fn one_read_is_one_batch() {
        assert_eq!(batches(&["a\nb\nc", "d\n", "e\n"]), [vec!["a", "b"], vec!["cd"], vec!["e"]]);
    }

    #[test]
    fn a_carriage_return_inside_a_line_is_an_error() {
        let mut reader = LineReader::new(&b"a\rb\r\n\xFF\nc\r"[..], LineEnd::Break);
        let lines = reader.next_batch().unwrap().unwrap();
        assert_eq!(lines, [Err(InvalidInputLine::CarriageReturn), Err(InvalidInputLine::NotUtf8)]);
        let last = reader.next_batch().unwrap().unwrap();
        assert_eq!(last[0].as_deref().map(String::as_str), Ok("c"));
    }

    #[test]
    fn splits_at_line_ends() {
        assert_eq!(batches(&["a\r\n\n b \nlast"]), [vec!["a", "", " b "], vec!["last"]]);
        assert_eq!(batches(&["\n"]), [vec![""]]);
        assert!(batches(&[]).is_empty());
        assert!(batches(&[""]).is_empty());
    }

    #[test]
    fn a_batch_fits_into_a_request() {
        let many = "x\n".repeat(ITEMS_PER_REQUEST_MAX + 1);
        let sizes: Vec<usize> = batches(&[&many]).iter().map(Vec::len).collect();
        assert_eq!(sizes, [ITEMS_PER_REQUEST_MAX, 1]);
    }

    #[test]
    fn memory_is_bounded_by_the_longest_line() {
        let longest = "x".repeat(BUFFER_BYTES - 1) + "\n";
        let mut reader = LineReader::new(longest.repeat(3).into_bytes().leak() as &[u8], LineEnd::Break);
        for _ in 0..3 {
            assert_eq!(reader.next_batch().unwrap().map(|lines| lines.len()), Some(1));
        }
        assert!(reader.next_batch().unwrap().is_none());
        let mut reader = LineReader::new("x".repeat(BUFFER_BYTES + 1).into_bytes().leak() as &[u8], LineEnd::Break);
        assert_eq!(reader.next_batch().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_line_that_is_not_utf_8_keeps_its_place() {
        let mut reader = LineReader::new(&b"a\n\xFF\nb\n"[..], LineEnd::Break);
        let lines = reader.next_batch().unwrap().unwrap();
        assert_eq!(lines.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(batches(&["\u{feff}a\r\nb\n"]), [["a", "b"]]);
        assert_eq!(batches(&["\u{feff}", "a\n\u{feff}b\n"]), [["a", "\u{feff}b"]]);
        assert!(batches(&["\u{feff}"]).is_empty());
    }

    #[test]
    fn refuses_utf_16_and_compressed_input() {
        for (bytes, part) in [
            (&b"\xFF\xFEA\0n\0"[..], "UTF-16"),
            (b"\xFE\xFF\0A\0n", "UTF-16"),
            (b"A\0n\0n\0\n\0E\0v\0e\0\n\0", "UTF-16"),
            (b"\x1F\x8B\x08\0\0", "gzip"),
        ] {
            let error = LineReader::new(bytes, LineEnd::Break).next_batch().unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn texts_that_end_in_nul_bytes_can_contain_line_breaks() {
        assert_eq!(batches_that_end_in(LineEnd::Nul, &["a\r\nb\0", "\0c"]), [["a\r\nb"], [""], ["c"]]);
        assert_eq!(batches_that_end_in(LineEnd::Nul, &["a\0b\0"]), [["a", "b"]]);
    }
}
