//! The interface of the readers of tables and of JSON lines.

use std::io;

use super::{chunk::Chunk, input::ROW_BYTES_MAX, layout::OutputLayout};
use crate::context::CommandError;

/// A source of rows in one format.
pub(super) trait RowSource: Send {
    /// Returns the format of the output.
    fn layout(&self) -> &OutputLayout;
    /// Returns the bytes to write before the first row.
    fn header(&self) -> &[u8];
    /// Reads a row. Without `wait`, does not wait for input.
    ///
    /// # Errors
    /// The rows after this one cannot be found.
    fn read(&mut self, wait: bool, long_rows: LongRows) -> Result<ReadRow, RowReadError>;
    /// Returns why the row that was read fails as a whole, and the line that it begins on. Does not examine its values.
    fn problem(&self) -> Option<(u64, String)>;
    /// Examines the row that was read for columns or fields, without adding it to a chunk.
    fn examine(&mut self) {}
    /// Adds the row that was read to a chunk.
    fn add_to(&mut self, chunk: &mut Chunk);
    /// Returns whether the rows so far show that the input has the expected columns or fields.
    fn is_confirmed(&self) -> bool;
    /// Checks that the rows so far have the expected columns or fields.
    fn finish(&self) -> Result<(), CommandError>;
    /// Returns what is worth knowing about columns or fields after the last row.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    /// Returns the number of rows that were read or examined and are not JSON, so that nothing is known of their fields.
    fn broken_rows(&self) -> u64 {
        0
    }
    /// Returns the number of input bytes that were read.
    fn bytes_read(&self) -> u64;
}

/// What to do with rows that are too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LongRows {
    /// Fail without reading the rest of it.
    Refuse,
    /// Pass over it.
    Skip,
}

/// The result of reading a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadRow {
    Row,
    /// No complete row is available without waiting.
    Pending,
    End,
}

/// Why no further rows can be read.
#[derive(Debug)]
pub(super) enum RowReadError {
    Io(io::Error),
    /// The row is too long, with advice.
    TooLong(&'static str),
    /// The row that begins on this line is not one of the table.
    Malformed {
        line: u64,
        detail: String,
    },
}

impl From<io::Error> for RowReadError {
    fn from(error: io::Error) -> Self {
        RowReadError::Io(error)
    }
}

impl RowReadError {
    /// Returns the error of the command, where this is the row with this number.
    pub(super) fn of_row(self, row: u64) -> CommandError {
        match self {
            RowReadError::Io(error) => CommandError::Input(error),
            RowReadError::TooLong(advice) => {
                let text = format!("row {row} is longer than {} MiB; {advice}", ROW_BYTES_MAX >> 20);
                CommandError::BrokenRow { row, text }
            }
            RowReadError::Malformed { line, detail } => {
                let text = format!("row {row} (line {line}): {detail}");
                CommandError::BrokenRow { row, text }
            }
        }
    }
}
