//! Where the audit log stood: what a log that was cut at a line's end does not tell by itself.

use super::{LAYOUT_VERSION, RecordError, RowReader, RowWriter};
use crate::Row;

/// The last event of the audit log that the vault knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHeadRow {
    /// Its place in the chain.
    pub sequence: u64,
    /// The chain's hash at it.
    pub hash: [u8; 32],
}

impl AuditHeadRow {
    /// The row of the head.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 40);
        row.integer(self.sequence);
        row.array(&self.hash);
        row.finish()
    }

    /// The head of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module of the layouts says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let head = AuditHeadRow { sequence: row.integer()?, hash: row.array()? };
        row.end()?;
        Ok(head)
    }
}
