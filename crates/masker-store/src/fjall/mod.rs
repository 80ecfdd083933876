//! fjall 3 as the engine of the embedded store.
//!
//! Rows and manifest stand in one keyspace, in one log-structured tree. A batch goes to a journal, which is synced, and to a
//! table in memory; tables are written out, and merged, by threads of fjall's. Blocks, journals and the files that say
//! which tables there are have checksums, so damage is an error when it is read.
//!
//! It needs help in four places:
//!
//! - It repairs when it opens: a journal is cut off where it cannot be read, and a keyspace without its list of tables is
//!   removed. So recovery is always tried on a copy first. Tables never change once they are written, so the copy links
//!   to them, and only journals are copied.
//! - It opens files by their paths at any time, and a compaction renames its folder. So it is given the folder by way of a
//!   descriptor, `/proc/self/fd/N`, which follows.
//! - It takes a last batch that a power cut has torn for damage. So that is cut off before (`journal`).
//! - A writer waits without end for threads that have given up. So it waits here, before fjall would, and asks whether
//!   they have.

mod journal;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read},
    ops::RangeInclusive,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
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
    Row, RowKey, RowPage,
    embedded::{CommitPosition, Database, DatabaseState, EngineDriver, EngineError, Manifest, RowWrite, files_under},
};

/// The key of the manifest, before every row's.
const MANIFEST_KEY: [u8; 1] = [0];

/// What the keys of rows begin with.
const ROW: u8 = 1;

/// Bounds of the memory for rows that are not in a table yet, and its share of the cache's beside it. It is taken three
/// times over, for a table that is being filled and two that are being written out.
const MEMTABLE_BYTES: RangeInclusive<u64> = 1024 * 1024..=16 * 1024 * 1024;
const MEMTABLE_SHARE: u64 = 8;

/// Bytes of journals that are kept for tables which are not written out yet.
const JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Tables that may wait to be written out, and tables that may wait to be merged, before a commit waits for them. fjall
/// itself waits from 4 and 30 on, whether or not anybody works on them.
const SEALED_MAX: usize = 2;
const UNMERGED_MAX: usize = 16;

/// Threads that write tables out and merge them: one may do the one while the other does the other.
const THREADS: usize = 2;

/// Files that are kept open at once.
const OPEN_FILES_MAX: usize = 128;

/// How long the files of a database may take to be closed after it was let go of.
const RELEASE_SECONDS_MAX: u64 = 5;

/// The engine.
pub(super) struct Fjall;

/// An open database. Fields go in their order: the folder last, which waits for the files of the others.
struct Keyspace {
    rows: ::fjall::Keyspace,
    db: ::fjall::Database,
    memtable_bytes: u64,
    _folder: Folder,
}

/// The folder of an open database, by whatever name.
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
            // A batch says by itself when it is to be durable.
            .manual_journal_persist(true)
            .open()?;
        // Rows are sealed: there is nothing in them to compress.
        let options = || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::disabled())
                .manual_journal_persist(true)
        };
        let rows = db.keyspace("rows", options)?;
        let memtable_bytes = (cache_bytes / MEMTABLE_SHARE).clamp(*MEMTABLE_BYTES.start(), *MEMTABLE_BYTES.end());
        Ok(Box::new(Keyspace { rows, db, memtable_bytes, _folder: folder }))
    }

    fn look(&self, _folder: &Path, _vault_id: &[u8; 16], _seen: CommitPosition) -> Result<DatabaseState, EngineError> {
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
            let is_table = file.parent().and_then(Path::file_name).is_some_and(|folder| folder == "tables");
            // Some file systems have no links.
            if !is_table || fs::hard_link(&file, &target).is_err() {
                copy_without_holes(&file, &target)?;
            }
        }
        journal::cut(to)
    }

    fn tidy(&self, folder: &Path) -> io::Result<()> {
        journal::cut(folder)
    }

    fn thread_prefix(&self) -> &'static str {
        "fjall:"
    }
}

impl Keyspace {
    /// Applies writes and manifest, as durably as told, once there is room for them in memory.
    fn write(
        &self,
        writes: &[RowWrite<'_>],
        manifest: Option<&Manifest>,
        durable: Option<PersistMode>,
    ) -> Result<(), EngineError> {
        while self.rows.sealed_memtable_count() >= SEALED_MAX || self.rows.l0_table_count() >= UNMERGED_MAX {
            // Fails where a thread of fjall's has failed.
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

    fn rows_after(&self, space: Option<u8>, after: Option<&RowKey>, limit: usize) -> Result<RowPage, EngineError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let wanted = rows_of(space);
        let from = match after.map(physical) {
            Some(key) if key >= wanted => Excluded(key),
            _ => Included(wanted.clone()),
        };
        let mut rows = Vec::new();
        for entry in self.rows.range((from, Unbounded)) {
            let (key, row) = entry.into_inner()?;
            if !key.starts_with(&wanted) {
                break;
            }
            if rows.len() == limit {
                return Ok(RowPage { rows, end: false });
            }
            rows.push((logical(&key)?, row.to_vec()));
        }
        Ok(RowPage { rows, end: true })
    }

    fn count(&self, space: u8) -> Result<u64, EngineError> {
        let mut count = 0;
        for entry in self.rows.prefix(rows_of(Some(space))) {
            entry.key()?;
            count += 1;
        }
        Ok(count)
    }

    fn commit(&self, writes: &[RowWrite<'_>], manifest: &Manifest) -> Result<(), EngineError> {
        // With what a reader needs of the file's metadata: its length.
        self.write(writes, Some(manifest), Some(PersistMode::SyncData))
    }

    fn write_unlogged(&self, writes: &[RowWrite<'_>], _sequence: u64) -> Result<(), EngineError> {
        self.write(writes, None, None)
    }

    fn remove_broken(&self) -> Result<(), EngineError> {
        // A block that cannot be read is an error, and a row is in one block.
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}

impl Folder {
    /// A path to it that holds whatever it is renamed to.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// Whether this process has a journal in it open.
    fn has_open_journals(&self) -> io::Result<bool> {
        let folder = fs::read_link(self.path())?;
        for descriptor in fs::read_dir("/proc/self/fd")? {
            // One that was closed meanwhile is not open.
            let Ok(file) = fs::read_link(descriptor?.path()) else { continue };
            if file.starts_with(&folder) && file.extension().is_some_and(|extension| extension == "jnl") {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for Folder {
    /// A thread of fjall's can outlive the database by a moment, and writes what is left of a failed batch to the journal
    /// when it goes. That must be over before anybody opens the journal again.
    fn drop(&mut self) {
        let begun = Instant::now();
        while begun.elapsed().as_secs() < RELEASE_SECONDS_MAX && self.has_open_journals().unwrap_or(false) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl From<::fjall::Error> for EngineError {
    /// In words for an operator. Some of fjall's messages are what was read where something else should have stood.
    fn from(error: ::fjall::Error) -> Self {
        use ::fjall::{Error, LsmError};
        match error {
            Error::Io(error) | Error::Storage(LsmError::Io(error)) => match error.kind() {
                io::ErrorKind::UnexpectedEof => EngineError::Damaged("a file ends too early"),
                io::ErrorKind::NotFound => EngineError::Damaged("a file is missing"),
                io::ErrorKind::InvalidData => EngineError::Damaged("a file is not what it should be"),
                // It makes a new one where a file is missing that says that there is one.
                io::ErrorKind::AlreadyExists => EngineError::Damaged("its files do not fit each other"),
                _ => EngineError::Io(error),
            },
            Error::Poisoned => EngineError::Failed("a write has failed, or a thread of the engine gave up".into()),
            Error::Locked => EngineError::Io(io::Error::new(io::ErrorKind::WouldBlock, "something else holds it")),
            Error::JournalRecovery(_) => EngineError::Damaged("a batch of the journal is not what was written"),
            Error::Storage(_) => EngineError::Damaged("a block cannot be read"),
            _ => EngineError::Damaged("its files do not fit each other"),
        }
    }
}

/// Copies a file and leaves out what is zero: a journal is made 64 MiB long and filled from its beginning.
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

/// Where a row stands.
fn physical(key: &RowKey) -> Vec<u8> {
    [&[ROW], key.as_bytes()].concat()
}

/// What the keys of the rows of one space begin with, or of all.
fn rows_of(space: Option<u8>) -> Vec<u8> {
    [ROW].into_iter().chain(space).collect()
}

fn logical(physical: &[u8]) -> Result<RowKey, EngineError> {
    let key = physical.split_first().and_then(|(_, key)| RowKey::new(key));
    key.ok_or(EngineError::Damaged("a key has an impossible length"))
}
