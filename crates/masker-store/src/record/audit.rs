//! The head of the audit log, which shows whether the log was cut off at the end of a line.

use super::{
    bytes::{RowReader, RowWriter},
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// The last event of the audit log that the vault has recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHeadRow {
    /// Its sequence number in the chain.
    pub sequence: u64,
    /// The chain's hash at this event.
    pub hash: [u8; 32],
}

impl AuditHeadRow {
    /// Encodes the head as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 40);
        row.integer(self.sequence);
        row.array(&self.hash);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let head = AuditHeadRow { sequence: row.integer()?, hash: row.array()? };
        row.finish()?;
        Ok(head)
    }
}
