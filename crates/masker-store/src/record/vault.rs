//! Rows about the vault as a whole.

use super::{
    bytes::{RowReader, RowWriter},
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// The times of the oldest and the newest record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanRow {
    /// When the oldest record was minted, or an older one that has been erased since.
    pub oldest_ms: u64,
    /// When the newest record was minted, or a newer one that has been erased since.
    pub newest_ms: u64,
}

impl SpanRow {
    /// Encodes the span as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 16);
        row.integer(self.oldest_ms);
        row.integer(self.newest_ms);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let span = SpanRow { oldest_ms: row.integer()?, newest_ms: row.integer()? };
        row.finish()?;
        Ok(span)
    }
}
