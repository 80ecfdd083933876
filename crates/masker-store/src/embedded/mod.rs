//! The embedded store: rows in a directory, kept by one of several engines
//! ([`EngineKind`](masker_types::engine::EngineKind)).
//!
//! An engine does little: it implements [`EngineDriver`], which opens databases, and [`Database`], which keeps rows and a
//! manifest beside them, atomically. A durability guarantee takes more. That part is here, once for all engines:
//!
//! - `store`, `shared`: the [`Store`](crate::Store) that callers use, and how it reopens its database after a failure;
//! - `engine`: an open database; a commit is one batch, durable before it is acknowledged;
//! - `manifest`: a row inside the database that says what the database must contain;
//! - `witness`: a file beside the database that remembers the last acknowledged commit;
//! - `open`: inspects a database, or tries its recovery on a copy, before an engine may repair it;
//! - `found_database`: compares the databases of a directory that has two;
//! - `compact`, `copy`, `migrate`: rewrite the files without their history, or with another engine;
//! - `panics`: turns panics of an engine into errors.
//!
//! # Adding an engine
//!
//! Implement [`EngineDriver`] and [`Database`], add a variant to `EngineKind` and the driver to the engines of the
//! program. The power-cut, crash and contract tests run on every engine.

mod compact;
mod copy;
mod database;
mod engine;
mod engine_error;
mod engine_lookup;
mod fjall;
mod found_database;
mod manifest;
mod migrate;
mod open;
mod open_error;
mod options;
mod panics;
mod paths;
mod scan_cursor;
mod served;
mod shared;
mod store;
mod witness;

pub use self::{
    database::{Database, DatabaseState, EngineDriver, RowWrite},
    engine_error::EngineError,
    engine_lookup::{engine_of, find_driver},
    fjall::FJALL,
    found_database::{FoundDatabase, found_databases},
    manifest::{CommitPosition, Manifest, ManifestError, RowTally},
    migrate::{MigrateError, Migrated, migrate},
    open_error::StoreOpenError,
    options::{NewVault, StoreOptions},
    panics::{EnginePanic, catch_panic},
    paths::{RESTORING, files_under, vault_entries, vault_exists, vault_files},
    served::check_served,
    store::EmbeddedStore,
    witness::witnessed_position,
};
