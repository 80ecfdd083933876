//! Placeholders of values in texts, and their keys.

use super::{
    bytes::{RowReader, RowWriter},
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// Most digits of a placeholder's code.
pub const PLACEHOLDER_CODE_BYTES_MAX: usize = 32;
/// Longest token of a placeholder, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Whose placeholders they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlaceholderOwner {
    /// A session's, by its id.
    Session([u8; 16]),
    /// An API key's that works without a session, by its id.
    ApiKey([u8; 16]),
    /// A client's that works without a session, by a hash of its name and the user.
    Client([u8; 16]),
}

impl PlaceholderOwner {
    /// Length of an owner in keys of rows, in bytes.
    pub const BYTES: usize = 17;

    /// Returns the owner as keys of rows have it.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let (first, id) = match self {
            PlaceholderOwner::Session(id) => (0, id),
            PlaceholderOwner::ApiKey(id) => (1, id),
            PlaceholderOwner::Client(id) => (2, id),
        };
        let mut bytes = [first; Self::BYTES];
        bytes[1..].copy_from_slice(&id);
        bytes
    }

    /// Returns the owner of these bytes.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let id = *bytes.last_chunk()?;
        match bytes[0] {
            0 => Some(PlaceholderOwner::Session(id)),
            1 => Some(PlaceholderOwner::ApiKey(id)),
            2 => Some(PlaceholderOwner::Client(id)),
            _ => None,
        }
    }
}

/// The random key of someone's placeholders. The control key seals its row on the way to the store.
#[derive(Clone, PartialEq, Eq)]
pub struct PlaceholderKeyRow {
    /// The key.
    pub key: [u8; 32],
}

impl PlaceholderKeyRow {
    /// Encodes the key as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 32);
        row.array(&self.key);
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let key = PlaceholderKeyRow { key: row.array()? };
        row.finish()?;
        Ok(key)
    }
}

/// The token of a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct PlaceholderRow {
    /// The text of the token: 1 byte to 8 KiB.
    pub token: String,
}

impl PlaceholderRow {
    /// Encodes the placeholder as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 2 + self.token.len());
        // At most 8 KiB.
        row.array(&u16::try_from(self.token.len()).unwrap_or(u16::MAX).to_be_bytes());
        row.array(self.token.as_bytes());
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let length = u16::from_be_bytes(row.array()?);
        let token = row.rest();
        if token.len() != usize::from(length) {
            return Err(RecordError::Damaged("its token has another length"));
        }
        if !(1..=TOKEN_BYTES_MAX).contains(&token.len()) {
            return Err(RecordError::Damaged("its token is empty or too long"));
        }
        let token = std::str::from_utf8(token).map_err(|_| RecordError::Damaged("its token is not text"))?;
        Ok(PlaceholderRow { token: token.to_owned() })
    }
}
