//! Key generations, and how many records use them.

use super::{
    bytes::{RowReader, RowWriter},
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// A key generation, as a control row: when it was first loaded, replaced and proven unneeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationRow {
    /// When it was first loaded.
    pub first_seen_ms: u64,
    /// Since when it is retired, if it is: another generation is the active one of its kid.
    pub old_since_ms: Option<u64>,
    /// When a full pass over the vault found nothing that needs it, unless something has needed it since.
    pub proven_at_ms: Option<u64>,
}

impl GenerationRow {
    /// Encodes the generation as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 32);
        row.flags([self.old_since_ms.is_some(), self.proven_at_ms.is_some()]);
        row.integer(self.first_seen_ms);
        for time in [self.old_since_ms, self.proven_at_ms].into_iter().flatten() {
            row.integer(time);
        }
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let [is_old, is_proven] = row.flags()?;
        let generation = GenerationRow {
            first_seen_ms: row.integer()?,
            old_since_ms: is_old.then(|| row.integer()).transpose()?,
            proven_at_ms: is_proven.then(|| row.integer()).transpose()?,
        };
        row.finish()?;
        Ok(generation)
    }
}

/// How much of the vault needs a key generation, and when it was last used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerationCountsRow {
    /// When it last decrypted a value; 0 for never.
    pub last_used_ms: u64,
    /// Records sealed under it.
    pub records: u64,
    /// Index rows under it.
    pub index_rows: u64,
}

impl GenerationCountsRow {
    /// Encodes the counts as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 24);
        row.integer(self.last_used_ms);
        row.integer(self.records);
        row.integer(self.index_rows);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let counts =
            GenerationCountsRow { last_used_ms: row.integer()?, records: row.integer()?, index_rows: row.integer()? };
        row.finish()?;
        Ok(counts)
    }
}

/// The number of records of a kind that were minted under a kid and still exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The number of records.
    pub records: u64,
}

impl UsageRow {
    /// Encodes the count as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 8);
        row.integer(self.records);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let usage = UsageRow { records: row.integer()? };
        row.finish()?;
        Ok(usage)
    }
}
