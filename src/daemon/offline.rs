//! What is done to a vault while no daemon has it.

use std::path::Path;

use super::noted::noted_head;
use masker_cli::{Moved, Offline};
use masker_store::embedded::{self, Migrated};
use masker_types::engine::EngineKind;

/// All of it, for the command line.
pub const OFFLINE: Offline = Offline { noted_head, migrate };

fn migrate(
    data_dir: &Path,
    to: EngineKind,
    cache_bytes: u64,
    progress: &dyn Fn(u64, u64),
) -> Result<Option<Moved>, String> {
    match embedded::migrate(data_dir, super::engines::ENGINES, to, cache_bytes, progress)
        .map_err(|failed| failed.to_string())?
    {
        Migrated::Already => Ok(None),
        Migrated::Moved { from, rows, bytes_before, bytes_after } => {
            Ok(Some(Moved { from, rows, bytes_before, bytes_after }))
        }
    }
}
