//! What an engine has to do for the embedded store, and no more: keep rows and the manifest beside them, atomically.
//!
//! Everything else is the same for every engine, and is written once: the witness, the manifest, opening, checks, copies,
//! compactions, and what comes after a failure.

use std::{fmt, io, path::Path};

use masker_types::engine::EngineKind;

use super::{
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest},
};
use crate::{Row, RowKey, RowPage};

/// What is to be thought of a database before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseState {
    /// Opening it will change nothing that matters.
    InOrder,
    /// Only opening it tells, so a copy is opened first.
    Unknown,
    /// It is not in order: a copy is opened first, and every row read.
    OutOfOrder,
}

/// An engine: how its databases are opened.
pub trait EngineDriver: Sync {
    /// Returns which engine this is.
    fn kind(&self) -> EngineKind;

    /// Opens the database in `folder`, or makes one where there is none. An engine may rewrite parts of its files when it
    /// opens: see [`super::open`] for what must be known before. The folder may be renamed while the database is open.
    fn open(&self, folder: &Path, cache_bytes: u64) -> Result<Box<dyn Database>, EngineError>;

    /// Looks at a closed database that should have this commit of this vault, and changes nothing.
    fn look(&self, folder: &Path, vault_id: &[u8; 16], seen: CommitPosition) -> Result<DatabaseState, EngineError>;

    /// Whether opening a damaged database may leave nothing of it.
    fn may_destroy_on_open(&self) -> bool;

    /// Copies a closed database into an empty folder, for its recovery to be tried there: what opening the copy does
    /// must not show in the original.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes what would keep a closed database from being opened, and was never answered.
    fn tidy(&self, folder: &Path) -> io::Result<()>;

    /// What the names of the threads begin with that the engine makes.
    fn thread_prefix(&self) -> &'static str;
}

impl fmt::Debug for dyn EngineDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

/// One change of a row.
pub struct RowWrite<'a> {
    pub key: &'a RowKey,
    /// How long the row is that stands there; 0 where there is none.
    pub old_length: usize,
    /// What is to stand there; `None` for nothing.
    pub row: Option<&'a [u8]>,
}

/// An open database. Every method blocks; reads may go on beside one of the others. It is let go of by dropping it.
pub trait Database: Send + Sync {
    /// The manifest, as they were written; `None` for a database that has none: one just made.
    fn manifest(&self) -> Result<Option<Vec<u8>>, EngineError>;

    /// The row of a key.
    fn get(&self, key: &RowKey) -> Result<Option<Row>, EngineError>;

    /// Up to `limit` rows of one space, or of all, in the order of their keys, from the first after `after`.
    fn rows_after(&self, space: Option<u8>, after: Option<&RowKey>, limit: usize) -> Result<RowPage, EngineError>;

    /// How many rows a space has.
    fn count(&self, space: u8) -> Result<u64, EngineError>;

    /// Writes rows and manifest, atomically and durably.
    fn commit(&self, writes: &[RowWrite<'_>], manifest: &Manifest) -> Result<(), EngineError>;

    /// Writes rows, atomically, and not durably yet: for a database that is not served from.
    fn write_unlogged(&self, writes: &[RowWrite<'_>], sequence: u64) -> Result<(), EngineError>;

    /// Removes rows of which a part is missing: for a database that has lost something.
    fn remove_broken(&self) -> Result<(), EngineError>;

    /// Makes everything that was written durable.
    fn sync(&self) -> Result<(), EngineError>;
}
