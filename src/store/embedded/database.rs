//! What an engine has to do for the embedded store, and no more: keep rows and the books beside them, atomically.
//!
//! Everything else is the same for every engine, and is written once: the witness, the books, opening, checks, copies,
//! compactions, and what comes after a failure.

use std::{fmt, io, path::Path};

use super::{
    books::{Books, Position},
    failure::EngineError,
    files::Place,
};
use crate::store::{Page, Row, RowKey, fjall, sled};

/// Which engine keeps the rows of a vault. A vault's directory tells which one made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// sled 0.34.
    #[default]
    Sled,
    /// fjall 3.
    Fjall,
}

impl EngineKind {
    /// Each of them, by its name in a configuration and on the disk.
    pub const CHOICES: [(&'static str, EngineKind); 2] = [("sled", EngineKind::Sled), ("fjall", EngineKind::Fjall)];

    /// Its name in a configuration and on the disk.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Sled => "sled",
            EngineKind::Fjall => "fjall",
        }
    }

    /// The engine that made the vault in this directory, if there is one.
    pub fn found_in(data_dir: &Path) -> Option<EngineKind> {
        Place { root: data_dir.to_owned(), kind: EngineKind::default() }.there()
    }

    pub(super) fn all() -> impl Iterator<Item = EngineKind> {
        Self::CHOICES.into_iter().map(|(_, kind)| kind)
    }

    pub(super) fn driver(self) -> &'static dyn Driver {
        match self {
            EngineKind::Sled => &sled::Sled,
            EngineKind::Fjall => &fjall::Fjall,
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is to be thought of a database before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Look {
    /// Opening it will change nothing that matters.
    InOrder,
    /// Only opening it tells, so a copy is opened first.
    Unknown,
    /// It is not in order: a copy is opened first, and every row read.
    OutOfOrder,
}

/// An engine: how its databases are opened.
pub(in crate::store) trait Driver: Sync {
    /// Opens the database in `folder`, or makes one where there is none. An engine may rewrite parts of its files when it
    /// opens: see [`super::open`] for what must be known before. The folder may be renamed while the database is open.
    fn open(&self, folder: &Path, cache_bytes: u64) -> Result<Box<dyn Database>, EngineError>;

    /// Looks at a closed database that should have this commit of this vault, and changes nothing.
    fn look(&self, folder: &Path, vault_id: &[u8; 16], seen: Position) -> Result<Look, EngineError>;

    /// Whether opening a damaged database may leave nothing of it.
    fn may_wipe(&self) -> bool;

    /// Copies a closed database into an empty folder, for its recovery to be tried there: what opening the copy does
    /// must not show in the original.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes what would keep a closed database from being opened, and was never answered.
    fn tidy(&self, folder: &Path) -> io::Result<()>;

    /// What the names of the threads begin with that the engine makes.
    fn thread_prefix(&self) -> &'static str;
}

/// One change of a row.
pub(in crate::store) struct Write<'a> {
    pub(in crate::store) key: &'a RowKey,
    /// How long the row is that stands there; 0 where there is none.
    pub(in crate::store) old_length: usize,
    /// What is to stand there; `None` for nothing.
    pub(in crate::store) row: Option<&'a [u8]>,
}

/// An open database. Every method blocks; reads may go on beside one of the others. It is let go of by dropping it.
pub(in crate::store) trait Database: Send + Sync {
    /// The books, as they were written; `None` for a database that has none: one just made.
    fn books(&self) -> Result<Option<Vec<u8>>, EngineError>;

    /// The row of a key.
    fn get(&self, key: &RowKey) -> Result<Option<Row>, EngineError>;

    /// Up to `limit` rows of one space, or of all, in the order of their keys, from the first after `after`.
    fn rows_after(&self, space: Option<u8>, after: Option<&RowKey>, limit: usize) -> Result<Page, EngineError>;

    /// How many rows a space has.
    fn count(&self, space: u8) -> Result<u64, EngineError>;

    /// Writes rows and books, atomically and durably.
    fn commit(&self, writes: &[Write<'_>], books: &Books) -> Result<(), EngineError>;

    /// Writes rows, atomically, and not durably yet: for a database that is not served from.
    fn absorb(&self, writes: &[Write<'_>], sequence: u64) -> Result<(), EngineError>;

    /// Removes rows of which a part is missing: for a database that has lost something.
    fn remove_broken(&self) -> Result<(), EngineError>;

    /// Makes everything that was written durable.
    fn sync(&self) -> Result<(), EngineError>;
}
