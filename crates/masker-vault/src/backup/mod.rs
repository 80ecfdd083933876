//! The vault's records in a file, and back.
//!
//! The file is that of [`masker_core::export`]. Aliases are not in it: a record knows the index of its own, and an import
//! makes it again under the key, so that none can lead nowhere.

mod export;
mod import;
mod merge;
mod spool;

pub use export::{RunningExport, VaultExportError};
pub use import::{ImportOutcome, ImportRules, VaultImportError};
pub use merge::MergeCounts;
