//! The interface of the readers of CSV and of JSON lines.

use std::io;

use super::{chunk::Chunk, layout::OutputLayout};

/// A source of rows in one format.
pub(super) trait RowSource: Send {
    /// Returns the format of the output.
    fn layout(&self) -> OutputLayout;
    /// Returns the bytes to write before the first row.
    fn header(&self) -> &[u8];
    /// Reads a row. Returns false at the end.
    fn read(&mut self) -> io::Result<bool>;
    /// Adds the row that was read to a chunk.
    fn add_to(&mut self, chunk: &mut Chunk);
    /// Returns the number of input bytes that were read.
    fn bytes_read(&self) -> u64;
    /// Returns whether another complete row is buffered.
    fn has_buffered_rows(&self) -> bool;
}
