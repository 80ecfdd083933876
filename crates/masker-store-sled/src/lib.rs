//! sled 0.34 as the engine of the embedded store, and the help that it needs to keep a promise of durability:
//!
//! - its barriers between writes become real ones (`barrier`);
//! - rows are cut so that none is moved to files that sled never syncs (`rows`);
//! - the log is read before sled may repair it (`log`);
//! - callers that it forgets are woken (`watch`).
//!
//! Opening notices a log that was cut off or changed anywhere, or an older copy of the whole database. It does not notice
//! a segment of 512 KiB that turned into zeros altogether, or into its own past: that looks like one which is not in use.
//! [`Store::check`](masker_store::Store::check) does, for it reads every row and compares with the manifest.

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

/// How long a database that this process has just let go of may take to be free again.
const RELEASE_SECONDS_MAX: u64 = 5;

/// The engine.
pub struct Sled;

/// sled.
pub const SLED: &dyn EngineDriver = &Sled;

/// An open database: a batch is atomic within one tree, so there is one.
struct Tree {
    /// Ends before the database is let go of.
    _watch: ShutdownWatch,
    db: sled::Db,
    /// A descriptor of our own on sled's file, to sync it by.
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
        // Without a flusher: what is not flushed by a commit was never answered.
        let db = sled::Config::new()
            .path(folder)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .open()
            .map_err(engine_error)?;
        Ok(Box::new(Tree { _watch: ShutdownWatch::begin(&db)?, db, file: File::open(path)? }))
    }

    fn look(&self, folder: &Path, vault_id: &[u8; 16], seen: CommitPosition) -> Result<DatabaseState, EngineError> {
        let db = File::open(folder.join("db")).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => EngineError::Damaged("its file is missing"),
            _ => error.into(),
        })?;
        let side_files = log::inspect_side_files(folder)?;
        let inspection = log::inspect(&db, vault_id, side_files.snapshot)?;
        let complete = inspection.manifest.is_some_and(|manifest| manifest.position >= seen);
        let in_order = inspection.out_of_order.is_empty() && side_files.damaged.is_empty();
        tracing::debug!(complete, ?inspection.out_of_order, damaged_side_files = side_files.damaged.len(), "looked at the log");
        Ok(if complete && in_order { DatabaseState::InOrder } else { DatabaseState::OutOfOrder })
    }

    fn may_destroy_on_open(&self) -> bool {
        false
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Without the side files that would stop it.
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

    fn tidy(&self, folder: &Path) -> io::Result<()> {
        let side_files = log::inspect_side_files(folder)?;
        side_files.unfinished.iter().chain(&side_files.damaged).try_for_each(fs::remove_file)
    }

    fn thread_prefix(&self) -> &'static str {
        "sled-io-"
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

    fn rows_after(&self, space: Option<u8>, after: Option<&RowKey>, limit: usize) -> Result<RowPage, EngineError> {
        tree::rows_after(&self.db, space, after, limit)
    }

    fn count(&self, space: u8) -> Result<u64, EngineError> {
        let mut count = 0;
        for entry in self.db.scan_prefix(row_pieces::heads_of(Some(space))) {
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
        // Returns when every byte of the batch is behind a barrier, which makes it durable: a sync of our own
        // would only cost another flush of the disk.
        self.db.flush().map_err(engine_error)?;
        if barrier::barriers_passed() == barriers_passed {
            return Err(EngineError::NoBarrier);
        }
        Ok(())
    }

    fn write_unlogged(&self, writes: &[RowWrite<'_>], sequence: u64) -> Result<(), EngineError> {
        self.db.apply_batch(Self::batch(writes, sequence)).map_err(engine_error)
    }

    fn remove_broken(&self) -> Result<(), EngineError> {
        for entry in self.db.scan_prefix(row_pieces::heads_of(None)) {
            let (physical, head) = entry.map_err(engine_error)?;
            let key = row_pieces::logical_key(&physical)?;
            match tree::whole_row(&self.db, &key, head) {
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

/// Converts an error of sled into words for an operator. None of sled's messages holds rows.
fn engine_error(error: sled::Error) -> EngineError {
    match error {
        sled::Error::Corruption { .. } => EngineError::Damaged("a page cannot be read"),
        // sled looked for a page where the file has ended.
        sled::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            EngineError::Damaged("a page is past the end of its file")
        }
        sled::Error::Io(error) => EngineError::Io(error),
        other => EngineError::Failed(other.to_string()),
    }
}

/// sled locks its file, and its last thread lets go of it some time after the database was dropped.
fn wait_for_release(db: &Path) -> io::Result<()> {
    let file = File::open(db)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return file.unlock(),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if begun.elapsed().as_secs() >= RELEASE_SECONDS_MAX => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "something else holds the database file"));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}
