//! What authenticates the rows that no key of a record seals: the slots of the control key, the manifest of the control
//! rows, and the sum of the tombstones.

use super::{
    bytes::{RowReader, RowWriter},
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// The vault's control key, sealed by a key generation.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlSlotRow {
    /// The control epoch of the key.
    pub epoch: u64,
    /// The nonce of the sealed key.
    pub nonce: [u8; 24],
    /// The sealed key, with its tag.
    pub sealed: [u8; 48],
}

impl ControlSlotRow {
    /// Encodes the slot as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 80);
        row.integer(self.epoch);
        row.array(&self.nonce);
        row.array(&self.sealed);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let slot = ControlSlotRow { epoch: row.integer()?, nonce: row.array()?, sealed: row.array()? };
        row.finish()?;
        Ok(slot)
    }
}

/// The manifest of the control rows: what they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlManifestRow {
    /// Whether the control rows are all that the vault wrote. If not, nothing is granted by them.
    pub is_sound: bool,
    /// The control epoch.
    pub epoch: u64,
    /// The number of batches that changed control rows.
    pub changes: u64,
    /// The number of control rows.
    pub rows: u64,
    /// The tag over all of this, and over the sum of the control rows.
    pub tag: [u8; 16],
}

impl ControlManifestRow {
    /// Encodes the manifest as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 48);
        row.flags([self.is_sound]);
        row.integer(self.epoch);
        row.integer(self.changes);
        row.integer(self.rows);
        row.array(&self.tag);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let [is_sound] = row.flags()?;
        let manifest = ControlManifestRow {
            is_sound,
            epoch: row.integer()?,
            changes: row.integer()?,
            rows: row.integer()?,
            tag: row.array()?,
        };
        row.finish()?;
        Ok(manifest)
    }
}

/// The sum of all tombstones, masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstoneSumRow {
    /// The nonce of the mask.
    pub nonce: [u8; 16],
    /// The masked sum.
    pub masked: [u8; 32],
}

impl TombstoneSumRow {
    /// Encodes the sum as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 48);
        row.array(&self.nonce);
        row.array(&self.masked);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let sum = TombstoneSumRow { nonce: row.array()?, masked: row.array()? };
        row.finish()?;
        Ok(sum)
    }
}
