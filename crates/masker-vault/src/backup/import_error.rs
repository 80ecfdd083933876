//! The errors of an import.

use std::{collections::BTreeMap, io};

use super::merge::MergeCounts;
use crate::{ItemFailure, VaultError};
use masker_core::{
    crypto::{Fingerprint, LockedMemoryError},
    export::ExportError,
};
use masker_types::kind::Kid;

/// Why nothing was imported, or why an import stopped early; it can be repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultImportError {
    /// The file is not an export, or it was changed.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// None of these keys, which would open it, is loaded.
    #[error("no key is loaded that opens this export: it needs one of {}", listed(.0))]
    Closed(Vec<(Kid, Fingerprint)>),
    /// Records in it need keys that are not loaded: how many need each.
    #[error(
        "records of this export need keys that are not loaded: {}; load each as MASKER_KEY_<KID>_OLD (or as \
         MASKER_KEY_<KID>) and repeat this, or leave these records out with --skip-missing-keys; they stay in the export and can \
         be imported once their key is back; nothing was written",
        counted(.0)
    )]
    KeysMissing(BTreeMap<(Kid, Fingerprint), u64>),
    /// A key that the import needs was unloaded meanwhile.
    #[error("the keys changed during the import; repeat it: {0}")]
    KeysChanged(ItemFailure),
    /// The store failed, or the writer.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The received file failed to read.
    #[error("failed to read the received export: {0}")]
    Spool(#[source] io::Error),
    /// The import ended early, after it had written something.
    #[error("{failed}; {} records were imported before, and repeating the import continues it", .merged.imported)]
    Interrupted {
        /// What was merged.
        merged: MergeCounts,
        /// Why the import ended.
        failed: Box<VaultImportError>,
    },
    /// No locked memory was available for the file's key.
    #[error("no locked memory for the export's key: {0}")]
    Memory(#[from] LockedMemoryError),
}

fn listed(keys: &[(Kid, Fingerprint)]) -> String {
    let keys: Vec<String> =
        keys.iter().map(|(kid, fingerprint)| format!("{kid} with fingerprint {fingerprint}")).collect();
    keys.join(", ")
}

fn counted(keys: &BTreeMap<(Kid, Fingerprint), u64>) -> String {
    let key = |((kid, fingerprint), records): (&(Kid, Fingerprint), &u64)| {
        let need = if *records == 1 { "needs" } else { "need" };
        format!("{records} {need} {kid} with fingerprint {fingerprint}")
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}
