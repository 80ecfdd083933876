//! Honeytokens.

use masker_types::{
    kind::{EntityKind, Kid},
    limits::LABEL_BYTES_MAX,
};

use super::{
    bytes::{RowReader, RowWriter},
    key::RowKeyError,
    layout::{LAYOUT_VERSION, RecordError, is_valid_caller, is_valid_label},
};
use crate::Row;

/// A token that was planted to detect its use. It does not implement `Debug`: its tag is part of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct HoneytokenRow {
    /// Whether the token carries its value.
    pub carries_value: bool,
    /// Identifies the token: its id, or the first bytes of its nonce if it carries its value.
    pub tag: [u8; 20],
    /// The kind in the token.
    pub kind: EntityKind,
    /// The key id in the token.
    pub kid: Kid,
    /// When it was planted.
    pub planted_at_ms: u64,
    /// The caller who planted it: 1 to [`LABEL_BYTES_MAX`] bytes.
    pub planted_by: String,
    /// A label that says where it was planted: at most [`LABEL_BYTES_MAX`] bytes.
    pub label: String,
}

impl HoneytokenRow {
    /// Encodes the honeytoken as a row.
    ///
    /// # Errors
    ///
    /// [`RowKeyError::Label`] if the label or the name is invalid; see the fields.
    pub fn encode(&self) -> Result<Row, RowKeyError> {
        if !is_valid_caller(&self.planted_by) || !is_valid_label(&self.label) {
            return Err(RowKeyError::Label);
        }
        let mut row = RowWriter::new(LAYOUT_VERSION, 128 + 2 * LABEL_BYTES_MAX);
        row.flags([self.carries_value]);
        row.array(&self.tag);
        row.name(self.kind.as_str());
        row.name(self.kid.as_str());
        row.integer(self.planted_at_ms);
        row.name(&self.planted_by);
        row.name(&self.label);
        Ok(row.finish())
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let [carries_value] = row.flags()?;
        let honeytoken = HoneytokenRow {
            carries_value,
            tag: row.array()?,
            kind: row.kind()?,
            kid: row.kid()?,
            planted_at_ms: row.integer()?,
            planted_by: row.caller()?,
            label: row.label()?,
        };
        row.finish()?;
        Ok(honeytoken)
    }
}
