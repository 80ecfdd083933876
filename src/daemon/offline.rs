//! Operations on a vault that no daemon has open.

use std::path::Path;

use super::{recorded_audit_head::recorded_audit_head, second_database::explain, vault_owner::become_owner};
use masker_cli::{MigrationSizes, OfflineTools};
use masker_store::embedded::{self, MigrateError, Migrated, vault_exists};
use masker_types::engine::EngineKind;

/// The operations, for the command line: its crate must not depend on the engines.
pub const OFFLINE: OfflineTools = OfflineTools {
    recorded_audit_head,
    vault_entries: embedded::vault_entries,
    migrate,
    find_refusals: super::refusals::find,
    read_export: super::restore::read_export,
    restore: super::restore::restore,
};

fn migrate(
    data_dir: &Path,
    to: EngineKind,
    cache_bytes: u64,
    progress: &dyn Fn(u64, u64),
) -> Result<Option<MigrationSizes>, String> {
    if vault_exists(data_dir) {
        become_owner(data_dir)?;
    }
    match embedded::migrate(data_dir, super::engines::ENGINES, to, cache_bytes, progress).map_err(
        |failed| match failed {
            MigrateError::Open(error) => explain(&error, data_dir),
            failed => failed.to_string(),
        },
    )? {
        Migrated::Already => Ok(None),
        Migrated::Moved { from, rows, bytes_before, bytes_after } => {
            Ok(Some(MigrationSizes { from, rows, bytes_before, bytes_after }))
        }
    }
}
