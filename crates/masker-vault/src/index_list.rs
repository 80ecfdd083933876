//! The lists of index rows: from a value to the ids of its tokens, and from a form to the match parts of its tokens.

use masker_core::crypto::{GenerationKeys, Index, IndexName, MatchPart, TokenId};
use masker_store::{Row, RowKey, record::IndexRow};

/// An entry of a list.
pub(crate) trait IndexEntry: Copy + PartialEq {
    /// Which index lists such entries.
    const NAME: IndexName;
    /// Length of an entry, in bytes.
    const BYTES: usize;

    /// Returns the key of the row with this index.
    fn row_key(index: Index) -> RowKey;

    /// Creates an entry from [`IndexEntry::BYTES`] bytes.
    fn from_slice(bytes: &[u8]) -> Option<Self>;

    /// Returns the bytes of the entry.
    fn as_slice(&self) -> &[u8];
}

impl IndexEntry for TokenId {
    const NAME: IndexName = IndexName::Value;
    const BYTES: usize = TokenId::BYTES;

    fn row_key(index: Index) -> RowKey {
        RowKey::value_index(index.as_bytes())
    }

    fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(TokenId::from_bytes)
    }

    fn as_slice(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl IndexEntry for MatchPart {
    const NAME: IndexName = IndexName::Form;
    const BYTES: usize = MatchPart::BYTES;

    fn row_key(index: Index) -> RowKey {
        RowKey::form_index(index.as_bytes())
    }

    fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(MatchPart::from_bytes)
    }

    fn as_slice(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Decodes a row; `None` if it does not decode. Its tag is not verified.
pub(crate) fn decode<E: IndexEntry>(row: &[u8]) -> Option<IndexRow> {
    IndexRow::decode(row, E::BYTES).ok()
}

/// Returns the entries of a row, in list order.
pub(crate) fn entries<E: IndexEntry>(row: &IndexRow) -> Vec<E> {
    row.list.chunks_exact(E::BYTES).filter_map(E::from_slice).collect()
}

/// Returns the entries of a row whose tag verifies under `keys`; `None` for any other row, which is damaged.
pub(crate) fn verified<E: IndexEntry>(keys: &GenerationKeys, index: Index, row: &[u8]) -> Option<Vec<E>> {
    let row = decode::<E>(row)?;
    keys.index_tag_verifies(E::NAME, index, &row.list, &row.tag).then(|| entries(&row))
}

/// Encodes a list under `keys`.
pub(crate) fn encode<E: IndexEntry>(keys: &GenerationKeys, index: Index, entries: &[E]) -> Row {
    let list: Vec<u8> = entries.iter().flat_map(|entry| entry.as_slice()).copied().collect();
    let tag = keys.index_tag(E::NAME, index, &list);
    IndexRow { list, tag }.encode()
}
