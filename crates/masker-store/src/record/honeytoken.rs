//! Tokens that nobody should ever use.

use super::{LABEL_BYTES_MAX, LAYOUT_VERSION, RecordError, RowKeyError, RowReader, RowWriter, is_caller, is_label};
use crate::Row;
use masker_types::kind::{EntityKind, Kid};

/// A token that was planted so that whoever uses it is noticed. It has no `Debug`: its tag is part of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct HoneytokenRow {
    /// Whether the token carries its value.
    pub carries_value: bool,
    /// What tells the token from all others: its id, or the first bytes of its nonce where it carries its value.
    pub tag: [u8; 16],
    /// The kind in the token.
    pub kind: EntityKind,
    /// The key id in the token.
    pub kid: Kid,
    /// When it was planted.
    pub planted_at_ms: u64,
    /// Who planted it: 1 to [`LABEL_BYTES_MAX`] bytes.
    pub planted_by: String,
    /// What it is for: at most [`LABEL_BYTES_MAX`] bytes.
    pub label: String,
}

impl HoneytokenRow {
    /// The row of the honeytoken.
    ///
    /// # Errors
    ///
    /// [`RowKeyError::Label`] where the label or the name is not as the fields say.
    pub fn encode(&self) -> Result<Row, RowKeyError> {
        if !is_caller(&self.planted_by) || !is_label(&self.label) {
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

    /// The honeytoken of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module of the layouts says.
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
        row.end()?;
        Ok(honeytoken)
    }
}
