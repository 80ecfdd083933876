//! How policies minted tokens.

use masker_types::kind::Kid;

use super::{
    bytes::{RowReader, RowWriter},
    index::is_normalizer_name,
    key::RowKeyError,
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// How a policy last minted tokens of a kind. It shows whether a changed policy would mint new tokens for known values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappingRow {
    /// The number of the scheme, as policies define it.
    pub scheme: u8,
    /// The kid.
    pub kid: Kid,
    /// The name of the normalizer: 1 to [`NORMALIZER_BYTES_MAX`](super::NORMALIZER_BYTES_MAX) bytes of printable ASCII.
    pub normalizer: String,
}

impl MappingRow {
    /// Encodes the mapping as a row.
    ///
    /// # Errors
    ///
    /// [`RowKeyError::Normalizer`] if the normalizer's name is invalid; see [`MappingRow::normalizer`].
    pub fn encode(&self) -> Result<Row, RowKeyError> {
        if !is_normalizer_name(&self.normalizer) {
            return Err(RowKeyError::Normalizer);
        }
        let mut row = RowWriter::new(LAYOUT_VERSION, 96);
        row.byte(self.scheme);
        row.name(self.kid.as_str());
        row.name(&self.normalizer);
        Ok(row.finish())
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let mapping = MappingRow { scheme: row.byte()?, kid: row.kid()?, normalizer: row.name()?.to_owned() };
        row.finish()?;
        if !is_normalizer_name(&mapping.normalizer) {
            return Err(RecordError::Damaged("its normalizer has an invalid name"));
        }
        Ok(mapping)
    }
}
