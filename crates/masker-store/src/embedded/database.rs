//! What an engine implements: opening a database, and keeping rows with a manifest beside them.

use std::{fmt, io, path::Path};

use masker_types::engine::EngineKind;

use super::{
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest},
};
use crate::{Row, RowKey, RowPage};

/// What an inspection found out about a closed database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseState {
    /// The database is consistent and has the witnessed commit. It is opened directly.
    Consistent,
    /// An inspection cannot tell. Recovery is tried on a copy first.
    Unknown,
    /// The database is inconsistent, or lacks the witnessed commit. Recovery is tried on a copy, and every row is read.
    Inconsistent,
}

/// An engine, which opens databases. One static driver serves all vaults.
///
/// A panic in any method of an engine becomes an error; see [`super::EnginePanic`].
pub trait EngineDriver: Sync {
    /// Returns which engine this is.
    fn kind(&self) -> EngineKind;

    /// Opens the database in `folder`, or creates one in an empty folder.
    ///
    /// The engine may repair or rewrite its files: the database was inspected, or its recovery tried on a copy, before.
    /// The folder may be renamed while the database is open, so an engine must not keep its path.
    ///
    /// `cache_bytes` bounds the engine's cache of pages or blocks, by the engine's own measure.
    fn open(&self, folder: &Path, cache_bytes: u64) -> Result<Box<dyn Database>, EngineError>;

    /// Inspects a closed database that must contain the commit `witnessed` of this vault. Must not change any file.
    ///
    /// An engine that cannot read its files without opening them returns [`DatabaseState::Unknown`].
    fn inspect(
        &self,
        folder: &Path,
        vault_id: &[u8; 16],
        witnessed: CommitPosition,
    ) -> Result<DatabaseState, EngineError>;

    /// Reads the manifest of the last commit of a closed database without opening it. Must not change any file.
    ///
    /// An engine that cannot read its files without opening them returns `None`.
    fn last_manifest(&self, _folder: &Path) -> Result<Option<Manifest>, EngineError> {
        Ok(None)
    }

    /// Returns whether opening a damaged database can destroy all of it. If so, recovery is tried on a copy even when
    /// an operator has accepted a loss.
    fn may_destroy_on_open(&self) -> bool;

    /// Copies a closed database into an empty folder, to try its recovery there. Opening the copy must not change the
    /// original; files that the engine never changes may be hard links. May leave out what [`Self::clean_up`] removes.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Returns about how much room [`EngineDriver::copy`] takes on a file system with hard links, in bytes.
    fn copied_bytes(&self, from: &Path) -> io::Result<u64>;

    /// Removes what would prevent a closed database from opening and contains no acknowledged commit, such as unfinished
    /// side files or a torn batch at the end of a log.
    fn clean_up(&self, folder: &Path) -> io::Result<()>;

    /// Returns the prefix of the names of the threads that the engine starts. A panic in such a thread fails the calls
    /// that wait for the engine.
    fn thread_prefix(&self) -> &'static str;

    /// Returns how many bytes a row of a vault takes on disk, as measured. A migration estimates from it the room that it
    /// needs.
    fn bytes_per_row(&self) -> u64;
}

impl fmt::Debug for dyn EngineDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

/// A change of one row, as an engine writes it.
pub struct RowWrite<'a> {
    /// The key of the row.
    pub key: &'a RowKey,
    /// Length of the row that is replaced or removed; 0 if there is none.
    pub old_length: usize,
    /// The new row; `None` removes the row.
    pub row: Option<&'a [u8]>,
}

/// An open database. Dropping it closes it.
///
/// Every method blocks. One of the methods that write runs at a time; reads run beside it, and see each row as it was
/// before or after a batch, never mixed.
pub trait Database: Send + Sync {
    /// Returns the manifest as it was last written, or `None` if the database was just created.
    fn manifest(&self) -> Result<Option<Vec<u8>>, EngineError>;

    /// Returns the row under a key, if there is one.
    fn get(&self, key: &RowKey) -> Result<Option<Row>, EngineError>;

    /// Returns up to `limit` rows after the key `after`, or from the first, in the order of their keys: of one space, or
    /// of all spaces for `None`.
    fn scan_after(&self, space: Option<u8>, after: Option<&RowKey>, limit: usize) -> Result<RowPage, EngineError>;

    /// Counts the rows of a space.
    fn count(&self, space: u8) -> Result<u64, EngineError>;

    /// Writes rows and manifest as one atomic batch, and returns when the batch is durable: it survives a power cut.
    fn commit(&self, writes: &[RowWrite<'_>], manifest: &Manifest) -> Result<(), EngineError>;

    /// Writes rows as one atomic batch that need not be durable until [`Self::sync`]. Used only while a database is built
    /// and not served yet. Batches that write different rows under one key have different values of `sequence`.
    fn write_unsynced(&self, writes: &[RowWrite<'_>], sequence: u64) -> Result<(), EngineError>;

    /// Removes rows of which a part is missing. Used after an operator has accepted a loss.
    fn remove_incomplete_rows(&self) -> Result<(), EngineError>;

    /// Makes everything that was written durable.
    fn sync(&self) -> Result<(), EngineError>;
}
