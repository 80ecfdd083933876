//! Export and import of the vault's records.
//!
//! [`masker_core::export`] defines the file. It has no index rows: an import makes them again under the active key, so that
//! none can lead to a missing record. A restore is an import into a new vault that also writes the control rows of a backup, and
//! repeats what the audit log has after it.

mod export;
mod import;
mod import_error;
mod later;
mod merge;
mod placement;
mod replaced_mover;
mod restore;
mod spool;

pub(crate) use export::Exporter;
pub use export::{RunningExport, VaultExportError};
pub(crate) use import::Importer;
pub use import::{ImportOutcome, ImportRules};
pub use import_error::VaultImportError;
pub use later::{LaterChanges, LaterErasures};
pub use merge::MergeCounts;
pub(crate) use restore::Restorer;
pub use restore::{ExportSummary, RestoreOutcome, SuspendedKey, VaultRestoreError, read_export};
