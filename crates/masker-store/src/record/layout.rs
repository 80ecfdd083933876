//! What all layouts share: their version, decoding errors, and the rules of labels.

pub use masker_types::limits::NORMALIZER_BYTES_MAX;
use masker_types::{limits::LABEL_BYTES_MAX, quote::is_unseen};

/// The version of the layouts that this release writes, and the latest that it reads.
pub const LAYOUT_VERSION: u8 = 1;

/// Longest document of an API key, in bytes.
pub const API_KEY_BYTES_MAX: usize = 8 * 1024;

/// Splits a stored row that ends with a tag; the tag is `None` if the row is too short to have one. Rows of records and of
/// indexes have none: see the reference of the vault's layout.
pub fn split_tag(row: &[u8]) -> (&[u8], Option<&[u8; 16]>) {
    match row.split_last_chunk() {
        Some((body, tag)) => (body, Some(tag)),
        None => (row, None),
    }
}

/// Why a row cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The row was written by a later release.
    #[error(
        "a row has layout {0}, but this release of masker knows layouts up to {LAYOUT_VERSION}; use a later release"
    )]
    NewerVersion(u8),
    /// The row is not what was written.
    #[error("a row is damaged: {0}")]
    Damaged(&'static str),
}

/// Returns whether a text is a valid label: printable, and at most [`LABEL_BYTES_MAX`] long. It may be empty.
pub fn is_valid_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX && !text.chars().any(is_unseen)
}

/// Returns whether a text is a valid name of a caller: a label that is not empty.
pub fn is_valid_caller(text: &str) -> bool {
    !text.is_empty() && is_valid_label(text)
}
