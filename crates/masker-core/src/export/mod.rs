//! The format of exports: a header in the clear, and a sealed stream of entries. Records in it stay sealed under their
//! own keys. The export of a backup also has the vault's control rows.
//!
//! The reference of the export format specifies every byte. This module does not read or write files: callers pass
//! pieces.

mod entry;
mod header;
mod payload;

pub use entry::{EntryCounts, EntryReader, ExportEntry, ListPositions};
pub use header::{ExportHeader, HeaderKey, PREFIX_BYTES};
pub use payload::{CHUNK_BYTES, PayloadSealer, sealed_chunk_bytes};

/// The format version that this release writes and reads.
pub const EXPORT_VERSION: u8 = 2;

/// A file that is not a usable export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file does not begin like an export.
    #[error("this is not an export of masker: it does not begin with `masker export`")]
    Foreign,
    /// Another release wrote the export.
    #[error(
        "the export has version {0}, but this release of masker reads version {EXPORT_VERSION}: use the release that wrote it"
    )]
    OtherVersion(u8),
    /// The export is damaged or was altered.
    #[error("the export is damaged or was altered: {0}")]
    Damaged(&'static str),
}
