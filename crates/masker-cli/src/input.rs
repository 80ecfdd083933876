//! Lines from standard input, in batches, without waiting for more than is there.
//!
//! What one read of a pipe gives becomes one request: a slow producer gets each answer at once, and a fast one gets
//! large batches. Memory stays within one buffer, however long the input is.

use std::io::{self, Read};

use zeroize::Zeroizing;

use masker_types::limits::ITEMS_PER_REQUEST_MAX;

/// Size of the buffer, in bytes, and so of the longest line. As JSON a byte takes up to six, which stays far below what
/// the daemon takes in one request.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Reads lines. They end in a line feed, before which a carriage return is dropped; the last one need not.
pub(super) struct LineReader<R> {
    source: R,
    buffer: Zeroizing<Vec<u8>>,
    /// The bytes of the buffer that hold input.
    filled: usize,
    ended: bool,
}

/// Complete lines, and where the buffer goes on after them.
struct SplitLines {
    lines: Vec<Result<Zeroizing<String>, InvalidUtf8>>,
    consumed: usize,
}

/// A line that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidUtf8;

/// Lines, in their order.
pub(super) type InputLines = Vec<Result<Zeroizing<String>, InvalidUtf8>>;

impl<R: Read> LineReader<R> {
    pub(super) fn new(source: R) -> Self {
        LineReader { source, buffer: Zeroizing::new(vec![0; BUFFER_BYTES]), filled: 0, ended: false }
    }

    /// The next lines: at least one, at most [`ITEMS_PER_REQUEST_MAX`]; `None` at the end.
    pub(super) fn next_batch(&mut self) -> io::Result<Option<InputLines>> {
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
            match self.source.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn split(&self) -> SplitLines {
        let mut split = SplitLines { lines: Vec::new(), consumed: 0 };
        while split.lines.len() < ITEMS_PER_REQUEST_MAX {
            let rest = &self.buffer[split.consumed..self.filled];
            let line = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => &rest[..=end],
                None if self.ended && !rest.is_empty() => rest,
                None => break,
            };
            split.consumed += line.len();
            split.lines.push(text(line));
        }
        split
    }
}

fn text(line: &[u8]) -> Result<Zeroizing<String>, InvalidUtf8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| InvalidUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its pieces one read at a time.
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
        let mut reader = LineReader::new(Pieces(pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect()));
        let mut batches = Vec::new();
        while let Some(lines) = reader.next_batch().unwrap() {
            batches.push(lines.into_iter().map(|line| line.unwrap().to_string()).collect());
        }
        batches
    }

    #[test]
    fn what_one_read_gives_is_one_batch() {
        assert_eq!(batches(&["a\nb\nc", "d\n", "e\n"]), [vec!["a", "b"], vec!["cd"], vec!["e"]]);
    }

    #[test]
    fn lines_are_what_stands_between_line_ends() {
        assert_eq!(batches(&["a\r\n\n b \nlast"]), [vec!["a", "", " b "], vec!["last"]]);
        assert_eq!(batches(&["\n"]), [vec![""]]);
        assert!(batches(&[]).is_empty());
        assert!(batches(&[""]).is_empty());
    }

    #[test]
    fn a_batch_is_no_larger_than_a_request() {
        let many = "x\n".repeat(ITEMS_PER_REQUEST_MAX + 1);
        let sizes: Vec<usize> = batches(&[&many]).iter().map(Vec::len).collect();
        assert_eq!(sizes, [ITEMS_PER_REQUEST_MAX, 1]);
    }

    #[test]
    fn memory_is_bounded_by_the_longest_line() {
        let longest = "x".repeat(BUFFER_BYTES - 1) + "\n";
        let mut reader = LineReader::new(longest.repeat(3).into_bytes().leak() as &[u8]);
        for _ in 0..3 {
            assert_eq!(reader.next_batch().unwrap().map(|lines| lines.len()), Some(1));
        }
        assert!(reader.next_batch().unwrap().is_none());
        let mut reader = LineReader::new("x".repeat(BUFFER_BYTES + 1).into_bytes().leak() as &[u8]);
        assert_eq!(reader.next_batch().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_line_that_is_not_text_keeps_its_place() {
        let mut reader = LineReader::new(&b"a\n\xFF\nb\n"[..]);
        let lines = reader.next_batch().unwrap().unwrap();
        assert_eq!(lines.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }
}
