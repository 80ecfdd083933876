//! Output that waits for the input to show that it was read right.
//!
//! A quote that was added or lost changes what the text after it means. The rows that a reader takes it for can have the
//! right number of cells, and values in the wrong ones. It shows at the next quote, or at the end of the file. So the
//! structure of a file is checked before anything is written, and output of a pipe waits: for more input, for a pause in it,
//! or for its end.

use std::collections::VecDeque;

use super::{fill::ProcessedChunk, wiped_bytes::WipedBytes};

/// Size in bytes of the output that waits, and of the rows of a pipe that must have each field.
pub(super) const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What output waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// Nothing: a row that has each field was found.
    Nothing,
    /// Rows that have each field of the plan.
    Fields,
    /// Rows that show that the input has the columns of the plan.
    Columns,
    /// Also what follows in the input.
    Input,
}

/// Output that is not written yet, with the bytes before the first row.
pub(super) struct HeldOutput {
    wait_for: WaitFor,
    pieces: VecDeque<(WipedBytes, u64)>,
    bytes: usize,
    rows: u64,
    is_confirmed: bool,
}

impl HeldOutput {
    pub(super) fn new(wait_for: WaitFor, header: Vec<u8>) -> Self {
        let bytes = header.len();
        HeldOutput { wait_for, pieces: [(header.into(), 0)].into(), bytes, rows: 0, is_confirmed: false }
    }

    /// Adds the output of the next chunk.
    pub(super) fn add(&mut self, chunk: &mut ProcessedChunk) {
        self.is_confirmed |= chunk.is_confirmed;
        self.rows += chunk.rows;
        self.bytes += chunk.text.len();
        self.pieces.push_back((std::mem::take(&mut chunk.text), chunk.rows));
    }

    /// Returns the next output that may be written, and the number of its rows.
    pub(super) fn next_due(&mut self) -> Option<(WipedBytes, u64)> {
        match self.wait_for {
            WaitFor::Nothing => self.next(),
            WaitFor::Columns | WaitFor::Fields if self.may_end() => self.next(),
            WaitFor::Fields => None,
            _ if self.bytes > HELD_BYTES_MAX => self.next(),
            _ => None,
        }
    }

    /// Returns the next output, after a pause in the input or its end.
    pub(super) fn next(&mut self) -> Option<(WipedBytes, u64)> {
        let (piece, rows) = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some((piece, rows))
    }

    /// Returns whether there is output that may be written after a pause in the input.
    pub(super) fn may_end(&self) -> bool {
        // Without a row, the first line could be one that has lost its line end.
        self.is_confirmed && self.rows > 0 && !self.pieces.is_empty()
    }
}
