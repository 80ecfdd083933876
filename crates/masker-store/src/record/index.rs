//! Index rows, which lead from a value or a form to its tokens, and what is remembered to search them.

use masker_types::kind::Kid;

use super::{
    bytes::{RowReader, RowWriter},
    key::RowKeyError,
    layout::{LAYOUT_VERSION, NORMALIZER_BYTES_MAX, RecordError},
};
use crate::Row;

/// Most entries of an index row.
pub const INDEX_ENTRIES_MAX: usize = 128;

/// The list of a value index (ids of tokens, 20 bytes each) or of a form index (match parts, 10 bytes each).
///
/// The tag must be verified in constant time before the list is used, so the type does not implement `PartialEq`.
#[derive(Clone)]
pub struct IndexRow {
    /// The entries in list order, concatenated: 1 to [`INDEX_ENTRIES_MAX`].
    pub list: Vec<u8>,
    /// The authentication tag of the index and the list.
    pub tag: [u8; 16],
}

impl IndexRow {
    /// Returns the entries, which have `N` bytes each.
    pub fn entries<const N: usize>(&self) -> impl DoubleEndedIterator<Item = [u8; N]> {
        self.list.as_chunks::<N>().0.iter().copied()
    }

    /// Encodes the list as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, self.tag.len() + self.list.len());
        row.array(&self.tag);
        row.array(&self.list);
        row.finish()
    }

    /// Decodes a row whose entries have `entry_bytes` each.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8], entry_bytes: usize) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let index = IndexRow { tag: row.array()?, list: row.rest().to_vec() };
        let (entries, rest) = (index.list.len() / entry_bytes, index.list.len() % entry_bytes);
        if rest != 0 || !(1..=INDEX_ENTRIES_MAX).contains(&entries) {
            return Err(RecordError::Damaged("its list has an invalid length"));
        }
        Ok(index)
    }
}

/// The normalizers under which the values of a kind that a kid seals have form indexes, in both modes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NormalizersRow {
    /// The names of the normalizers: 1 to [`NORMALIZER_BYTES_MAX`] bytes of printable ASCII each.
    pub names: Vec<String>,
}

impl NormalizersRow {
    /// Encodes the names as a row.
    ///
    /// # Errors
    ///
    /// [`RowKeyError::Normalizer`] if a name is invalid; see [`NormalizersRow::names`].
    pub fn encode(&self) -> Result<Row, RowKeyError> {
        let mut row = RowWriter::new(LAYOUT_VERSION, self.names.len() * (1 + NORMALIZER_BYTES_MAX));
        for name in &self.names {
            if !is_normalizer_name(name) {
                return Err(RowKeyError::Normalizer);
            }
            row.name(name);
        }
        Ok(row.finish())
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let mut normalizers = NormalizersRow::default();
        while !row.is_empty() {
            let name = row.name()?;
            if !is_normalizer_name(name) {
                return Err(RecordError::Damaged("its normalizer has an invalid name"));
            }
            normalizers.names.push(name.to_owned());
        }
        Ok(normalizers)
    }
}

/// Returns whether a text can be the name of a normalizer.
pub(super) fn is_normalizer_name(name: &str) -> bool {
    (1..=NORMALIZER_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
}

/// The kids that records of one kid were moved to. A search under a kid reads the index rows of these too.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KidMovesRow {
    /// The kids, in the order of the first move.
    pub targets: Vec<Kid>,
}

impl KidMovesRow {
    /// Encodes the kids as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 16 * self.targets.len());
        self.targets.iter().for_each(|kid| row.name(kid.as_str()));
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let mut moves = KidMovesRow::default();
        while !row.is_empty() {
            moves.targets.push(row.kid()?);
        }
        Ok(moves)
    }
}
