//! API keys, as documents that the vault does not read.

use super::{
    bytes::{RowReader, RowWriter},
    key::RowKeyError,
    layout::{API_KEY_BYTES_MAX, LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// An API key, as a document that the vault does not read. It does not implement `Debug`: the document has the key's digest.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// The document: 1 to [`API_KEY_BYTES_MAX`] bytes.
    pub document: Vec<u8>,
}

impl ApiKeyRow {
    /// Encodes the document as a row.
    ///
    /// # Errors
    ///
    /// [`RowKeyError::ApiKey`] if the document is empty or longer than [`API_KEY_BYTES_MAX`].
    pub fn encode(&self) -> Result<Row, RowKeyError> {
        if !is_document(&self.document) {
            return Err(RowKeyError::ApiKey);
        }
        let mut row = RowWriter::new(LAYOUT_VERSION, self.document.len());
        row.array(&self.document);
        Ok(row.finish())
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let document = RowReader::new(LAYOUT_VERSION, row)?.rest().to_vec();
        if !is_document(&document) {
            return Err(RecordError::Damaged("its document has an invalid length"));
        }
        Ok(ApiKeyRow { document })
    }
}

fn is_document(bytes: &[u8]) -> bool {
    (1..=API_KEY_BYTES_MAX).contains(&bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_types::limits::ROW_BYTES_MAX;

    #[test]
    fn rejects_documents_outside_of_the_bounds() {
        for length in [1, 2, API_KEY_BYTES_MAX] {
            let key = ApiKeyRow { document: vec![b'{'; length] };
            let row = key.encode().unwrap();
            assert!(row.len() <= ROW_BYTES_MAX && ApiKeyRow::decode(&row).is_ok_and(|back| back == key), "{length}");
        }
        for length in [0, API_KEY_BYTES_MAX + 1] {
            assert!(ApiKeyRow { document: vec![b'{'; length] }.encode().is_err_and(|why| why == RowKeyError::ApiKey));
            let row = [vec![LAYOUT_VERSION], vec![b'{'; length]].concat();
            assert!(ApiKeyRow::decode(&row).is_err_and(|why| matches!(why, RecordError::Damaged(_))), "{length}");
        }
        assert!(ApiKeyRow::decode(b"\x02{}").is_err_and(|why| why == RecordError::NewerVersion(2)));
    }
}
