//! sled 0.34 as an engine of the embedded store, for vaults that sled created.
//!
//! sled needs help to write durably, which is all here:
//!
//! - `barrier`: replaces weak barriers between writes by real ones, in the whole program;
//! - `row_pieces`, `tree`: split long rows, so that sled moves none to files that it never syncs;
//! - `log`: reads the log before sled may repair it;
//! - `shutdown_watch`: wakes callers that sled forgets after an error.
//!
//! Opening detects a log that was truncated or changed anywhere, and an older copy of the whole database. It does not
//! detect a segment of 512 KiB that was replaced by zeros or by its own earlier content, which looks like an unused one.
//! [`Store::check`](masker_store::Store::check) does: it reads every row.
//!
//! This crate uses `masker-store`. Only the program uses it, with its feature `sled`.

mod barrier;
mod log;
mod row_pieces;
mod tree;
mod shutdown_watch;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use masker_types::engine::EngineKind;

use self::shutdown_watch::ShutdownWatch;
use masker_store::{
    Row, RowKey, RowPage,
    embedded::{CommitPosition, Database, DatabaseState, EngineDriver, EngineError, Manifest, RowWrite, files_under},
};

/// How long a dropped database may take to release its file.
const RELEASE_SECONDS_MAX: u64 = 5;

struct Sled;

/// The driver of sled.
pub const SLED: &dyn EngineDriver = &Sled;

/// An open database: a batch is atomic within one tree, so there is one.
struct Tree {
    /// Dropped before the database.
    _watch: ShutdownWatch,
    db: sled::Db,
    /// sled's file, opened a second time to sync it.
    file: File,
}

impl EngineDriver for Sled {
    fn kind(&self) -> EngineKind {
        EngineKind::Sled
    }

    fn open(&self, folder: &Path, cache_bytes: u64) -> Result<Box<dyn Database>, EngineError> {
        let path = folder.join("db");
        if path.exists() {
            wait_for_release(&path)?;
        }
        // Without a flusher: a commit flushes before it is acknowledged.
        let db = sled::Config::new()
            .path(folder)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .open()
            .map_err(engine_error)?;
        Ok(Box::new(Tree { _watch: ShutdownWatch::begin(&db)?, db, file: File::open(path)? }))
    }

    fn inspect(
        &self,
        folder: &Path,
        vault_id: &[u8; 16],
        witnessed: CommitPosition,
    ) -> Result<DatabaseState, EngineError> {
        let side_files = log::inspect_side_files(folder)?;
        let inspection = log::inspect(&open_log(folder)?, Some(vault_id), side_files.snapshot)?;
        let complete = inspection.manifest.is_some_and(|manifest| manifest.position >= witnessed);
        let consistent = inspection.inconsistent_segments.is_empty() && side_files.damaged.is_empty();
        tracing::debug!(
            complete,
            ?inspection.inconsistent_segments,
            damaged_side_files = side_files.damaged.len(),
            "inspected the log"
        );
        Ok(if complete && consistent { DatabaseState::Consistent } else { DatabaseState::Inconsistent })
    }

    fn last_manifest(&self, folder: &Path) -> Result<Option<Manifest>, EngineError> {
        let snapshot = log::inspect_side_files(folder)?.snapshot;
        let manifest = log::inspect(&open_log(folder)?, None, snapshot)?.manifest;
        manifest.map(Some).ok_or(EngineError::Damaged("it has no manifest"))
    }

    fn may_destroy_on_open(&self) -> bool {
        false
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        // sled does not open with unfinished or damaged side files.
        let side_files = log::inspect_side_files(from)?;
        for file in files_under(from)? {
            if side_files.unfinished.contains(&file) || side_files.damaged.contains(&file) {
                continue;
            }
            let name = file.strip_prefix(from).unwrap_or(&file);
            let target = to.join(name);
            if let Some(folder) = target.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
            io::copy(&mut File::open(&file)?, &mut copy)?;
        }
        Ok(())
    }

    fn copied_bytes(&self, from: &Path) -> io::Result<u64> {
        files_under(from)?.iter().map(|file| Ok(fs::metadata(file)?.len())).sum()
    }

    fn clean_up(&self, folder: &Path) -> io::Result<()> {
        let side_files = log::inspect_side_files(folder)?;
        side_files.unfinished.iter().chain(&side_files.damaged).try_for_each(fs::remove_file)
    }

    fn thread_prefix(&self) -> &'static str {
        "sled-io-"
    }

    fn bytes_per_row(&self) -> u64 {
        320
    }
}

impl Tree {
    fn batch(writes: &[RowWrite<'_>], sequence: u64) -> sled::Batch {
        let mut batch = sled::Batch::default();
        writes.iter().for_each(|write| tree::write(&mut batch, write, sequence));
        batch
    }
}

impl Database for Tree {
    fn manifest(&self) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.db.get(row_pieces::MANIFEST_KEY).map_err(engine_error)?.map(|manifest| manifest.to_vec()))
    }

    fn get(&self, key: &RowKey) -> Result<Option<Row>, EngineError> {
        tree::get(&self.db, key)
    }

    fn scan_after(&self, space: Option<u8>, after: Option<&RowKey>, limit: usize) -> Result<RowPage, EngineError> {
        tree::scan_after(&self.db, space, after, limit)
    }

    fn count(&self, space: u8) -> Result<u64, EngineError> {
        let mut count = 0;
        for entry in self.db.scan_prefix(row_pieces::head_prefix(Some(space))) {
            entry.map_err(engine_error)?;
            count += 1;
        }
        Ok(count)
    }

    fn commit(&self, writes: &[RowWrite<'_>], manifest: &Manifest) -> Result<(), EngineError> {
        let mut batch = Self::batch(writes, manifest.position.sequence);
        batch.insert(&row_pieces::MANIFEST_KEY, manifest.encode());
        let barriers_passed = barrier::barriers_passed();
        self.db.apply_batch(batch).map_err(engine_error)?;
        // Returns when every byte of the batch is behind a barrier and so durable. Another sync would only cost a flush of
        // the disk.
        self.db.flush().map_err(engine_error)?;
        if barrier::barriers_passed() == barriers_passed {
            return Err(EngineError::NoBarrier);
        }
        Ok(())
    }

    fn write_unsynced(&self, writes: &[RowWrite<'_>], sequence: u64) -> Result<(), EngineError> {
        self.db.apply_batch(Self::batch(writes, sequence)).map_err(engine_error)
    }

    fn remove_incomplete_rows(&self) -> Result<(), EngineError> {
        for entry in self.db.scan_prefix(row_pieces::head_prefix(None)) {
            let (physical, head) = entry.map_err(engine_error)?;
            let key = row_pieces::logical_key(&physical)?;
            match tree::complete_row(&self.db, &key, head) {
                Err(EngineError::Damaged(_)) => drop(self.db.remove(physical).map_err(engine_error)?),
                read => drop(read?),
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.db.flush().map_err(engine_error)?;
        nix::unistd::fdatasync(&self.file).map_err(|errno| EngineError::Io(errno.into()))
    }
}

/// Opens sled's file to read it.
fn open_log(folder: &Path) -> Result<File, EngineError> {
    File::open(folder.join("db")).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => EngineError::Damaged("its file is missing"),
        _ => error.into(),
    })
}

/// Converts an error for operators. sled's own messages contain no rows.
fn engine_error(error: sled::Error) -> EngineError {
    match error {
        sled::Error::Corruption { .. } => EngineError::Damaged("a page cannot be read"),
        sled::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            EngineError::Damaged("a page is past the end of its file")
        }
        sled::Error::Io(error) => EngineError::Io(error),
        other => EngineError::Failed(other.to_string()),
    }
}

/// Waits until sled's file is unlocked: sled's last thread unlocks it some time after the database was dropped.
fn wait_for_release(db: &Path) -> io::Result<()> {
    let file = File::open(db)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return file.unlock(),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if begun.elapsed().as_secs() >= RELEASE_SECONDS_MAX => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has locked the database file"));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}
