//! Migration: the rows of a vault into a database of another engine, while no daemon has it.
//!
//! It is a compaction whose new database is of the other engine: see [`super::compact`] for its steps, each durable
//! before the next, and for what a crash leaves. Until the switch the vault is one of the old engine, and begins anew
//! with the next migration; after it, one of the new.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use masker_types::engine::EngineKind;

use super::{EmbeddedStore, EngineDriver, StoreOpenError, StoreOptions, VaultPaths, paths};
use crate::StoreError;
use masker_types::limits::STORE_COMPACTION_ROOM_BYTES_MIN;

/// What came of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// Nothing was to be done: that engine has the vault already.
    Already,
    /// The vault is the new engine's.
    Moved {
        /// The engine that had it.
        from: EngineKind,
        /// How many rows it has.
        rows: u64,
        /// What the vault took on disk before, in bytes.
        bytes_before: u64,
        /// What it takes now.
        bytes_after: u64,
    },
}

/// Why a vault was not moved. It is as it was, or the next start makes it so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// There is nothing to move.
    #[error("there is no vault in {path}")]
    NoVault {
        /// The directory.
        path: PathBuf,
    },
    /// The vault cannot be opened, or not any more.
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    /// Both databases would not fit.
    #[error(
        "moving the vault in {path} may take {needed} bytes beside the database that is there, and the disk has {free}; make room and begin again"
    )]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// What the new database may take until it is done.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// The disk cannot be asked.
    #[error("cannot look at the disk that the vault in {path} is on: {source}")]
    Disk {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The work failed. The vault is one of the old engine, as before.
    #[error("the vault was not moved, and is as it was: {0}")]
    Failed(StoreError),
}

/// Moves the vault in this directory to another engine, and tells after each piece of the work how many rows were
/// copied, of how many. Blocks.
///
/// Every row of the copy is read back, and counted and added up as the manifest of the old database say, before it takes
/// the old one's place. What opening is held against carries over: the vault's id, its position, its witness.
///
/// # Errors
///
/// [`MigrateError`]; a daemon that has the vault is an [`StoreOpenError::Locked`].
pub fn migrate(
    path: impl AsRef<Path>,
    engines: &[&'static dyn EngineDriver],
    to: EngineKind,
    cache_bytes: u64,
    progress: impl Fn(u64, u64),
) -> Result<Migrated, MigrateError> {
    let place = VaultPaths { root: path.as_ref().to_owned(), kind: to };
    let path = || place.root.clone();
    let from = place.there().ok_or_else(|| MigrateError::NoVault { path: path() })?;
    let driver = |kind| {
        let found = engines.iter().copied().find(|driver| driver.kind() == kind);
        found.ok_or_else(|| StoreOpenError::EngineNotBuilt { path: path(), engine: kind })
    };
    let (from_driver, to_driver) = (driver(from)?, driver(to)?);
    let open = |engine| EmbeddedStore::open(&place.root, StoreOptions { engine, cache_bytes, accept_loss: false });
    let closed = |store: EmbeddedStore| store.shared.close().map_err(MigrateError::Failed);
    let store = open(from_driver)?;
    if from == to {
        return closed(store).map(|()| Migrated::Already);
    }

    let asking = |source| MigrateError::Disk { path: path(), source };
    let there = paths::bytes_on_disk(&place.root.join(from.name())).map_err(asking)?;
    let free = masker_files::bytes_free(&place.root).map_err(asking)?;
    let needed = there.saturating_mul(growth(to)) + 2 * STORE_COMPACTION_ROOM_BYTES_MIN;
    if free < needed {
        return Err(MigrateError::NoRoom { path: path(), needed, free });
    }
    let rows = store.shared.engine().map_err(MigrateError::Failed)?.manifest().tally.rows;
    let moved = store.shared.rewrite(to_driver, &AtomicBool::new(true), &progress).map_err(MigrateError::Failed)?;
    closed(store)?;
    // That it opens as it will for the daemon is worth the moment that it takes.
    closed(open(to_driver)?)?;
    Ok(Migrated::Moved { from, rows, bytes_before: moved.bytes_before, bytes_after: moved.bytes_after })
}

/// How many times the space a database of this engine may take that one of the other takes: the one that is there may have
/// been compacted just now. Measured were 320 bytes a row for sled and 135 for fjall.
fn growth(to: EngineKind) -> u64 {
    match to {
        EngineKind::Sled => 3,
        EngineKind::Fjall => 1,
    }
}
