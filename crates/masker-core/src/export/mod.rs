//! The format of exports: a header in the clear, and a sealed stream of entries. Records in it stay sealed under their
//! own keys.
//!
//! The reference of the export format specifies every byte. This module does not read or write files: callers pass
//! pieces.

mod entry;
mod header;
mod payload;

pub use entry::{EntryCounts, EntryReader, ExportEntry};
pub use header::{ExportHeader, HeaderKey, PREFIX_BYTES};
pub use payload::{CHUNK_BYTES, PayloadSealer, sealed_chunk_bytes};

/// The format version that this release writes, and the latest that it reads.
pub const EXPORT_VERSION: u8 = 1;

/// A file that is not a usable export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file does not begin like an export.
    #[error("this is not an export of masker: it does not begin with `masker export`")]
    Foreign,
    /// A later release wrote the export.
    #[error(
        "the export has version {0}, but this release of masker reads up to version {EXPORT_VERSION}: use a later release"
    )]
    NewerVersion(u8),
    /// The export is damaged or was altered.
    #[error("the export is damaged or was altered: {0}")]
    Damaged(&'static str),
}
