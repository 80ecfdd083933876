//! Tombstones, which remain after a record was erased.

use super::{
    bytes::{RowReader, RowWriter},
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// An erased record, under the id of its token. It prevents an import from restoring the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstoneRow {
    /// When the record was erased.
    pub erased_at_ms: u64,
}

impl TombstoneRow {
    /// Encodes the tombstone as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 8);
        row.integer(self.erased_at_ms);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let tombstone = TombstoneRow { erased_at_ms: row.integer()? };
        row.finish()?;
        Ok(tombstone)
    }
}

/// The number of tombstones. If it is 0, a writer need not look for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstoneCountRow {
    /// The number of tombstones.
    pub tombstones: u64,
}

impl TombstoneCountRow {
    /// Encodes the count as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 8);
        row.integer(self.tombstones);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let count = TombstoneCountRow { tombstones: row.integer()? };
        row.finish()?;
        Ok(count)
    }
}
