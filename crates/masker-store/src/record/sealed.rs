//! Records, which are sealed values.

use masker_types::kind::{EntityKind, Kid};

use super::{
    bytes::{RowReader, RowWriter},
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// Shortest ciphertext, in bytes: one padded block of 16 and the tag of 16. Longer ones grow by whole blocks.
pub const CIPHERTEXT_BYTES_MIN: usize = 32;

/// A sealed value.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The kid of the key generation that sealed it.
    pub sealing_kid: Kid,
    /// The fingerprint of that generation.
    pub fingerprint: [u8; 8],
    /// The kind under which the token was minted.
    pub kind: EntityKind,
    /// The kid under which the token was minted, which is the kid in its text.
    pub minted_kid: Kid,
    /// When the token was minted.
    pub minted_at_ms: u64,
    /// When the value was last sealed: by the mint, or by a rotation since.
    pub sealed_at_ms: u64,
    /// The index of the value under that generation; `None` for a honeytoken.
    pub value_index: Option<[u8; 20]>,
    /// The index of the form under that generation; `None` for a honeytoken, and for the normalizer
    /// `exact`.
    pub form_index: Option<[u8; 20]>,
    /// The nonce of the seal.
    pub nonce: [u8; 24],
    /// The sealed payload and its tag: a multiple of 16 bytes, [`CIPHERTEXT_BYTES_MIN`] or more.
    pub ciphertext: Vec<u8>,
}

impl Record {
    /// Encodes the record as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 192 + self.ciphertext.len());
        row.flags([self.value_index.is_some(), self.form_index.is_some()]);
        row.name(self.sealing_kid.as_str());
        row.array(&self.fingerprint);
        row.name(self.kind.as_str());
        row.name(self.minted_kid.as_str());
        row.integer(self.minted_at_ms);
        row.integer(self.sealed_at_ms);
        for index in [&self.value_index, &self.form_index].into_iter().flatten() {
            row.array(index);
        }
        row.array(&self.nonce);
        row.array(&self.ciphertext);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let [has_value_index, has_form_index] = row.flags()?;
        let record = Record {
            sealing_kid: row.kid()?,
            fingerprint: row.array()?,
            kind: row.kind()?,
            minted_kid: row.kid()?,
            minted_at_ms: row.integer()?,
            sealed_at_ms: row.integer()?,
            value_index: has_value_index.then(|| row.array()).transpose()?,
            form_index: has_form_index.then(|| row.array()).transpose()?,
            nonce: row.array()?,
            ciphertext: row.rest().to_vec(),
        };
        if record.ciphertext.len() < CIPHERTEXT_BYTES_MIN || !record.ciphertext.len().is_multiple_of(16) {
            return Err(RecordError::Damaged("its ciphertext has an invalid length"));
        }
        Ok(record)
    }
}
