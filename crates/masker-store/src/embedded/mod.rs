//! The embedded store: rows in a directory, kept by one of several engines ([`EngineKind`]).
//!
//! An engine does little: it implements [`EngineDriver`], which opens databases, and [`Database`], which keeps rows and a
//! manifest beside them, atomically. A durability guarantee takes more. That part is here, once for all engines:
//!
//! - `store`, `shared`: the [`Store`](crate::Store) that callers use, and how it reopens its database after a failure;
//! - `engine`: an open database; a commit is one batch, durable before it is acknowledged;
//! - `manifest`: a row inside the database that says what the database must contain;
//! - `witness`: a file beside the database that remembers the last acknowledged commit;
//! - `open`: inspects a database, or tries its recovery on a copy, before an engine may repair it;
//! - `compact`, `copy`, `migrate`: rewrite the files without their history, or with another engine;
//! - `panics`: turns panics of an engine into errors.
//!
//! # Adding an engine
//!
//! Implement [`EngineDriver`] and [`Database`], add a variant to [`EngineKind`] and the driver to the engines of the
//! program. The power-cut, crash and contract tests run on every engine.

mod compact;
mod copy;
mod database;
mod engine;
mod engine_error;
mod manifest;
mod migrate;
mod open;
mod open_error;
mod options;
mod panics;
mod paths;
mod scan_cursor;
mod shared;
mod store;
mod witness;

use std::path::Path;

use masker_types::engine::EngineKind;

pub use self::{
    database::{Database, DatabaseState, EngineDriver, RowWrite},
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest, ManifestError, RowTally},
    migrate::{MigrateError, Migrated, migrate},
    open_error::StoreOpenError,
    options::StoreOptions,
    panics::{EnginePanic, catch_panic},
    paths::files_under,
    store::EmbeddedStore,
};
pub use crate::fjall::FJALL;

/// Returns the engine that created the vault in this directory, if there is a vault.
pub fn engine_of(data_dir: &Path) -> Option<EngineKind> {
    paths::VaultPaths { root: data_dir.to_owned(), kind: EngineKind::default() }.existing_engine()
}

/// Returns the driver of an engine among those that a program includes.
///
/// # Errors
///
/// [`StoreOpenError::EngineNotBuilt`] if it is not among them. `data_dir` is the vault that the error names.
pub fn find_driver(
    engines: &[&'static dyn EngineDriver],
    kind: EngineKind,
    data_dir: &Path,
) -> Result<&'static dyn EngineDriver, StoreOpenError> {
    let found = engines.iter().copied().find(|driver| driver.kind() == kind);
    found.ok_or_else(|| StoreOpenError::EngineNotBuilt { path: data_dir.to_owned(), engine: kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_engine_that_a_build_lacks() {
        assert!(find_driver(&[FJALL], EngineKind::Fjall, Path::new("/vault")).is_ok());
        let error = find_driver(&[], EngineKind::Fjall, Path::new("/vault")).unwrap_err();
        assert!(matches!(error, StoreOpenError::EngineNotBuilt { engine: EngineKind::Fjall, .. }));
        assert!(error.to_string().contains("/vault") && error.to_string().contains("`fjall`"), "{error}");
    }
}
