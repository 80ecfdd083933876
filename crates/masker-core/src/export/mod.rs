//! The file that holds a vault's records: a header in the clear, and entries under the seal of a stream.
//!
//! docs/export-format.md has every byte of it. Nothing here reads or writes a file: pieces of it come in and go out.
//! Records stay sealed by their own keys inside.

mod entry;
mod header;
mod payload;

pub use entry::{EntryCounts, EntryReader, ExportEntry};
pub use header::{ExportHeader, HeaderKey, PREFIX_BYTES};
pub use payload::{CHUNK_BYTES, PayloadSealer, sealed_chunk_bytes};

/// The layout that this release writes, and the latest that it reads.
pub const EXPORT_VERSION: u8 = 1;

/// Why a file is no export that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It does not begin as one.
    #[error("this is not an export of masker's: it does not begin with `masker export`")]
    Foreign,
    /// A later release wrote it.
    #[error(
        "the export has layout {0}, and this release of masker reads layouts up to {EXPORT_VERSION}: use a later release"
    )]
    NewerVersion(u8),
    /// It is not what was written.
    #[error("the export is damaged or was altered: {0}")]
    Damaged(&'static str),
}
