//! What is left of an erased record: that there was one, and when it was erased.

use super::{LAYOUT_VERSION, RecordError, RowReader, RowWriter};
use crate::Row;

/// An erased record, under the id of its token. It keeps an import from bringing the record back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstoneRow {
    /// When the record was erased.
    pub erased_at_ms: u64,
}

impl TombstoneRow {
    /// The row of the tombstone.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 8);
        row.integer(self.erased_at_ms);
        row.finish()
    }

    /// The tombstone of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module of the layouts says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let tombstone = TombstoneRow { erased_at_ms: row.integer()? };
        row.end()?;
        Ok(tombstone)
    }
}

/// How many tombstones there are: a writer that knows of none need not look for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstoneCountRow {
    /// Tombstones.
    pub tombstones: u64,
}

impl TombstoneCountRow {
    /// The row of the count.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 8);
        row.integer(self.tombstones);
        row.finish()
    }

    /// The count of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module of the layouts says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let count = TombstoneCountRow { tombstones: row.integer()? };
        row.end()?;
        Ok(count)
    }
}
