//! Export and import of the vault's records.
//!
//! [`masker_core::export`] defines the file. It has no index rows: an import makes them again under the active key, so that
//! none can lead to a missing record.

mod export;
mod import;
mod import_error;
mod merge;
mod placement;
mod replaced_mover;
mod spool;

pub(crate) use export::Exporter;
pub use export::{RunningExport, VaultExportError};
pub(crate) use import::Importer;
pub use import::{ImportOutcome, ImportRules};
pub use import_error::VaultImportError;
pub use merge::MergeCounts;
