//! fjall 3 as an engine of the embedded store.
//!
//! Rows and manifest are in one keyspace, a log-structured merge tree. A batch goes to a journal, which is synced, and to
//! a table in memory. Threads of fjall write tables out and merge them. Blocks, journals and the lists of tables have
//! checksums, so damage is an error when it is read.
//!
//! fjall needs help in four places:
//!
//! - It repairs when it opens: it cuts a journal off where it cannot be read, and removes a keyspace without a list of
//!   tables. So recovery is always tried on a copy first. Tables never change after they are written, so the copy has
//!   hard links to them, and only journals are copied.
//! - It opens files by their paths at any time, but a compaction renames the folder. So it gets the folder as
//!   `/proc/self/fd/N`, which follows renames.
//! - It takes a last batch that a power cut has torn for damage. So that batch is cut off before (`journal`).
//! - A write waits forever for threads that have failed. So writes wait here instead, and check for failed threads.

mod journal;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read},
    ops::RangeInclusive,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use ::fjall::{
    AbstractTree, CompressionType, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, config::CompressionPolicy,
};

use masker_types::engine::EngineKind;

use super::{
    database::{Database, DatabaseState, EngineDriver, RowWrite},
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest},
    paths::files_under,
};
use crate::{Row, RowKey, RowPage};

/// The driver of fjall, the default engine.
pub const FJALL: &dyn EngineDriver = &Fjall;

/// The key of the manifest. It sorts before all rows.
const MANIFEST_KEY: [u8; 1] = [0];

/// First byte of the keys of rows.
const ROW: u8 = 1;

/// Bounds of the size of a table in memory, which is the cache's size divided by [`MEMTABLE_SHARE`]. There are up to three:
/// one that is filled and two that are written out.
const MEMTABLE_BYTES: RangeInclusive<u64> = 1024 * 1024..=16 * 1024 * 1024;
const MEMTABLE_SHARE: u64 = 8;

/// Bytes of journals that are kept for tables that are not written out yet.
const JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Tables that may wait to be written out, and to be merged, before a commit waits for them. fjall's own limits are 4 and
/// 30; there it waits even if the threads that do the work have failed.
const SEALED_MAX: usize = 2;
const UNMERGED_MAX: usize = 16;

/// Threads that write tables out and merge them. With two, both can happen at the same time.
const THREADS: usize = 2;

/// Files that are kept open at once.
const OPEN_FILES_MAX: usize = 128;

/// How long a dropped database may take to close its files.
const RELEASE_SECONDS_MAX: u64 = 5;

struct Fjall;

/// An open database. Fields are dropped in their order: the folder last, because it waits for the others' files to close.
struct Keyspace {
    rows: ::fjall::Keyspace,
    db: ::fjall::Database,
    memtable_bytes: u64,
    _folder: Folder,
}

/// The folder of an open database. Renames do not affect it.
struct Folder(File);

impl EngineDriver for Fjall {
    fn kind(&self) -> EngineKind {
        EngineKind::Fjall
    }

    fn open(&self, folder: &Path, cache_bytes: u64) -> Result<Box<dyn Database>, EngineError> {
        let folder = Folder(File::open(folder)?);
        let db = ::fjall::Database::builder(folder.path())
            .cache_size(cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .worker_threads(THREADS)
            .journal_compression(CompressionType::None)
            // Each batch sets its own durability.
            .manual_journal_persist(true)
            .open()?;
        // Rows are encrypted, so they do not compress.
        let options = || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::disabled())
                .manual_journal_persist(true)
        };
        let rows = db.keyspace("rows", options)?;
        let memtable_bytes = (cache_bytes / MEMTABLE_SHARE).clamp(*MEMTABLE_BYTES.start(), *MEMTABLE_BYTES.end());
        Ok(Box::new(Keyspace { rows, db, memtable_bytes, _folder: folder }))
    }

    fn inspect(
        &self,
        _folder: &Path,
        _vault_id: &[u8; 16],
        _witnessed: CommitPosition,
    ) -> Result<DatabaseState, EngineError> {
        Ok(DatabaseState::Unknown)
    }

    fn may_destroy_on_open(&self) -> bool {
        true
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        for file in files_under(from)? {
            let target = to.join(file.strip_prefix(from).unwrap_or(&file));
            if let Some(folder) = target.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            // Some file systems do not support hard links.
            if !is_table(&file) || fs::hard_link(&file, &target).is_err() {
                copy_without_holes(&file, &target)?;
            }
        }
        journal::cut(to)
    }

    fn copied_bytes(&self, from: &Path) -> io::Result<u64> {
        // Journals are created at their full length, with holes.
        let allocated = |file: &PathBuf| Ok(fs::metadata(file)?.blocks() * 512);
        files_under(from)?.iter().filter(|file| !is_table(file)).map(allocated).sum()
    }

    fn clean_up(&self, folder: &Path) -> io::Result<()> {
        journal::cut(folder)
    }

    fn thread_prefix(&self) -> &'static str {
        "fjall:"
    }

    fn bytes_per_row(&self) -> u64 {
        135
    }
}

impl Keyspace {
    /// Applies writes and a manifest with this durability, once there is room for them in memory.
    fn write(
        &self,
        writes: &[RowWrite<'_>],
        manifest: Option<&Manifest>,
        durable: Option<PersistMode>,
    ) -> Result<(), EngineError> {
        while self.rows.sealed_memtable_count() >= SEALED_MAX || self.rows.l0_table_count() >= UNMERGED_MAX {
            // Fails if a thread of fjall has failed.
            self.db.persist(PersistMode::Buffer)?;
            thread::sleep(Duration::from_millis(1));
        }
        let mut batch = OwnedWriteBatch::with_capacity(self.db.clone(), writes.len() + 1).durability(durable);
        for write in writes {
            match write.row {
                Some(row) => batch.insert(&self.rows, physical(write.key), row),
                None => batch.remove(&self.rows, physical(write.key)),
            }
        }
        if let Some(manifest) = manifest {
            batch.insert(&self.rows, MANIFEST_KEY, manifest.encode());
        }
        batch.commit()?;
        if self.rows.tree.active_memtable().size() >= self.memtable_bytes {
            self.rows.rotate_memtable()?;
        }
        Ok(())
    }
}

impl Database for Keyspace {
    fn manifest(&self) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.rows.get(MANIFEST_KEY)?.map(|manifest| manifest.to_vec()))
    }

    fn get(&self, key: &RowKey) -> Result<Option<Row>, EngineError> {
        Ok(self.rows.get(physical(key))?.map(|row| row.to_vec()))
    }

    fn scan_after(&self, space: Option<u8>, after: Option<&RowKey>, limit: usize) -> Result<RowPage, EngineError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let prefix = prefix_of(space);
        let from = match after.map(physical) {
            Some(key) if key >= prefix => Excluded(key),
            _ => Included(prefix.clone()),
        };
        let mut rows = Vec::new();
        for entry in self.rows.range((from, Unbounded)) {
            let (key, row) = entry.into_inner()?;
            if !key.starts_with(&prefix) {
                break;
            }
            if rows.len() == limit {
                return Ok(RowPage { rows, is_last: false });
            }
            rows.push((logical(&key)?, row.to_vec()));
        }
        Ok(RowPage { rows, is_last: true })
    }

    fn count(&self, space: u8) -> Result<u64, EngineError> {
        let mut count = 0;
        for entry in self.rows.prefix(prefix_of(Some(space))) {
            entry.key()?;
            count += 1;
        }
        Ok(count)
    }

    fn commit(&self, writes: &[RowWrite<'_>], manifest: &Manifest) -> Result<(), EngineError> {
        // `fdatasync`, which includes the file's length.
        self.write(writes, Some(manifest), Some(PersistMode::SyncData))
    }

    fn write_unsynced(&self, writes: &[RowWrite<'_>], _sequence: u64) -> Result<(), EngineError> {
        self.write(writes, None, None)
    }

    fn remove_incomplete_rows(&self) -> Result<(), EngineError> {
        // A row is in one block, which is either readable or an error.
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}

impl Folder {
    /// Returns a path that stays valid when the folder is renamed.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// Returns whether this process has a journal in the folder open.
    fn has_open_journals(&self) -> io::Result<bool> {
        let folder = fs::read_link(self.path())?;
        for descriptor in fs::read_dir("/proc/self/fd")? {
            // A descriptor that was closed meanwhile is skipped.
            let Ok(file) = fs::read_link(descriptor?.path()) else { continue };
            if file.starts_with(&folder) && file.extension().is_some_and(|extension| extension == "jnl") {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for Folder {
    /// Waits until the journals are closed. A thread of fjall can outlive the database by a moment, and then writes the rest
    /// of a failed batch to the journal, which must not happen after the journal is opened again.
    fn drop(&mut self) {
        let begun = Instant::now();
        while begun.elapsed().as_secs() < RELEASE_SECONDS_MAX && self.has_open_journals().unwrap_or(false) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl From<::fjall::Error> for EngineError {
    /// Converts an error for operators. Some of fjall's own messages contain bytes that were read.
    fn from(error: ::fjall::Error) -> Self {
        use ::fjall::{Error, LsmError};
        match error {
            Error::Io(error) | Error::Storage(LsmError::Io(error)) => match error.kind() {
                io::ErrorKind::UnexpectedEof => EngineError::Damaged("a file ends too early"),
                io::ErrorKind::NotFound => EngineError::Damaged("a file is missing"),
                // A file that is shorter than its trailer, which is read from its end on.
                io::ErrorKind::InvalidInput => EngineError::Damaged("a file is empty or too short"),
                io::ErrorKind::InvalidData => EngineError::Damaged("a file has invalid content"),
                // fjall creates a keyspace anew where the file is missing that lists it.
                io::ErrorKind::AlreadyExists => EngineError::Damaged("its files do not match each other"),
                _ => EngineError::Io(error),
            },
            Error::Poisoned => EngineError::Failed("a write or a thread of the engine has failed".into()),
            Error::Locked => {
                EngineError::Io(io::Error::new(io::ErrorKind::WouldBlock, "another process has locked the database"))
            }
            Error::JournalRecovery(_) => EngineError::Damaged("a batch of the journal is not what was written"),
            Error::Storage(_) => EngineError::Damaged("a block cannot be read"),
            _ => EngineError::Damaged("its files do not match each other"),
        }
    }
}

/// Copies a file without its zeros: a journal is created 64 MiB long and filled from its beginning.
fn copy_without_holes(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let (mut at, mut chunk) = (0, vec![0; 64 * 1024]);
    loop {
        let filled = from.read(&mut chunk)?;
        if filled == 0 {
            return to.set_len(at);
        }
        if chunk[..filled].iter().any(|byte| *byte != 0) {
            to.write_all_at(&chunk[..filled], at)?;
        }
        at += filled as u64;
    }
}

/// Returns whether a file is a table, which never changes.
fn is_table(file: &Path) -> bool {
    file.parent().and_then(Path::file_name).is_some_and(|folder| folder == "tables")
}

/// Returns the key of a row in the keyspace.
fn physical(key: &RowKey) -> Vec<u8> {
    [&[ROW], key.as_bytes()].concat()
}

/// Returns the prefix of the keys of all rows, or of those of one space.
fn prefix_of(space: Option<u8>) -> Vec<u8> {
    [ROW].into_iter().chain(space).collect()
}

/// Returns the key of the row under a key of the keyspace.
fn logical(physical: &[u8]) -> Result<RowKey, EngineError> {
    let key = physical.split_first().and_then(|(_, key)| RowKey::new(key));
    key.ok_or(EngineError::Damaged("a key has an invalid length"))
}
