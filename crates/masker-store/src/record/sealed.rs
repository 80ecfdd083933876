//! Records, which are sealed values, and the aliases that lead to them.

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
    /// The index of the alias that leads to this record, if there is one.
    pub alias: Option<[u8; 16]>,
    /// The nonce of the seal.
    pub nonce: [u8; 24],
    /// The sealed payload and its tag: a multiple of 16 bytes, [`CIPHERTEXT_BYTES_MIN`] or more.
    pub ciphertext: Vec<u8>,
}

impl Record {
    /// Encodes the record as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 192 + self.ciphertext.len());
        row.flags([self.alias.is_some()]);
        row.name(self.sealing_kid.as_str());
        row.array(&self.fingerprint);
        row.name(self.kind.as_str());
        row.name(self.minted_kid.as_str());
        row.integer(self.minted_at_ms);
        row.integer(self.sealed_at_ms);
        if let Some(alias) = &self.alias {
            row.array(alias);
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
        let [has_alias] = row.flags()?;
        let record = Record {
            sealing_kid: row.kid()?,
            fingerprint: row.array()?,
            kind: row.kind()?,
            minted_kid: row.kid()?,
            minted_at_ms: row.integer()?,
            sealed_at_ms: row.integer()?,
            alias: has_alias.then(|| row.array()).transpose()?,
            nonce: row.array()?,
            ciphertext: row.rest().to_vec(),
        };
        if record.ciphertext.len() < CIPHERTEXT_BYTES_MIN || !record.ciphertext.len().is_multiple_of(16) {
            return Err(RecordError::Damaged("its ciphertext has an invalid length"));
        }
        Ok(record)
    }
}

/// A second index to a record, from its id under another key.
///
/// The tag must be verified in constant time before the target is used, so the type does not implement `PartialEq`.
#[derive(Clone)]
pub struct Alias {
    /// The id of the record.
    pub target: [u8; 16],
    /// The authentication tag of index and target.
    pub tag: [u8; 16],
}

impl Alias {
    /// Encodes the alias as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 32);
        row.array(&self.target);
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
        let alias = Alias { target: row.array()?, tag: row.array()? };
        row.finish()?;
        Ok(alias)
    }
}
