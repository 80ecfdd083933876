//! Migration: moves the rows of a vault into a database of another engine, while no daemon has the vault open.
//!
//! A migration is a compaction whose new database is of the other engine; see [`super::compact`] for its steps and for
//! what a crash leaves. Until the databases are switched, the vault belongs to the old engine, and the next migration
//! starts again. Afterwards it belongs to the new one.

use std::{
    io,
    path::{Path, PathBuf},
};

use masker_types::engine::EngineKind;

use super::{
    database::EngineDriver,
    engine_lookup::{engine_of, find_driver},
    open_error::StoreOpenError,
    options::StoreOptions,
    paths::{self, VaultPaths},
    store::EmbeddedStore,
};
use crate::StoreError;
use masker_types::limits::STORE_COMPACTION_ROOM_BYTES_MIN;

/// The outcome of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// The vault belongs to that engine already.
    Already,
    /// The vault now belongs to the new engine.
    Moved {
        /// The engine that it belonged to.
        from: EngineKind,
        /// The number of rows.
        rows: u64,
        /// Size of the vault on disk before, in bytes.
        bytes_before: u64,
        /// Size of the vault on disk now, in bytes.
        bytes_after: u64,
    },
}

/// Why a vault was not moved. The vault is unchanged, or the next start restores it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// There is no vault.
    #[error("there is no vault in {path}")]
    NoVault {
        /// The directory.
        path: PathBuf,
    },
    /// The vault cannot be opened, or not after the move.
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    /// The disk has no room for both databases.
    #[error(
        "the migration of the vault in {path} may need {needed} bytes beside the existing database, but the disk has {free} free; make room and try again"
    )]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes that the migration may need.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The sizes of the database or of the disk cannot be read.
    #[error("failed to read the free space of the disk for the vault in {path}: {source}")]
    Disk {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The migration failed. The vault belongs to the old engine as before.
    #[error("the migration failed and the vault is unchanged: {0}")]
    Failed(StoreError),
}

/// Moves the vault in this directory to another engine. Calls `progress` after each page with the number of rows that were
/// copied, and of all rows. Blocks.
///
/// `engines` are the engines of the program. Every row of the copy is read back, and the copy must match the manifest of
/// the old database before it replaces that. The vault's id, its position and its witness stay the same.
///
/// # Errors
///
/// [`MigrateError`]; if a daemon has the vault open, it contains [`StoreOpenError::Locked`].
pub fn migrate(
    path: impl AsRef<Path>,
    engines: &[&'static dyn EngineDriver],
    to: EngineKind,
    cache_bytes: u64,
    progress: impl Fn(u64, u64),
) -> Result<Migrated, MigrateError> {
    let paths = VaultPaths { root: path.as_ref().to_owned(), kind: to };
    let path = || paths.root.clone();
    let from = engine_of(&paths.root)?.ok_or_else(|| MigrateError::NoVault { path: path() })?;
    let driver = |kind| find_driver(engines, kind, &paths.root);
    let (from_driver, to_driver) = (driver(from)?, driver(to)?);
    let open =
        |engine| EmbeddedStore::open(&paths.root, StoreOptions { engine, cache_bytes, ..StoreOptions::default() });
    let close = |store: EmbeddedStore| store.shared.close().map_err(MigrateError::Failed);
    let store = open(from_driver)?;
    if from == to {
        return close(store).map(|()| Migrated::Already);
    }

    let failed_to_read = |source| MigrateError::Disk { path: path(), source };
    let bytes = paths::bytes_on_disk(&paths.root.join(from.name())).map_err(failed_to_read)?;
    let free = masker_files::bytes_free(&paths.root).map_err(failed_to_read)?;
    let needed = bytes.saturating_mul(growth(from_driver, to_driver)) + 2 * STORE_COMPACTION_ROOM_BYTES_MIN;
    if free < needed {
        return Err(MigrateError::NoRoom { path: path(), needed, free });
    }
    let rows = store.shared.engine().map_err(MigrateError::Failed)?.manifest().tally.rows;
    let sizes = store.rewrite(to_driver, &progress).map_err(MigrateError::Failed)?;
    close(store)?;
    // Proves that the daemon will be able to open it.
    close(open(to_driver)?)?;
    Ok(Migrated::Moved { from, rows, bytes_before: sizes.bytes_before, bytes_after: sizes.bytes_after })
}

/// Returns how many times larger the new database may be. The existing one may have been compacted just now.
fn growth(from: &dyn EngineDriver, to: &dyn EngineDriver) -> u64 {
    to.bytes_per_row().div_ceil(from.bytes_per_row())
}
