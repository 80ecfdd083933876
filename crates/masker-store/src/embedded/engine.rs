//! An open database and its witness: reads, and commits that are durable before they are acknowledged.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    database::{Database, EngineDriver, RowWrite},
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest, ManifestError, RowTally},
    panics::{self, catch_panic},
    scan_cursor::ScanCursor,
    witness::Witness,
};
use crate::{ApplyOutcome, Row, RowBatch, RowChange, RowKey, RowPage, StoreCheck, prefix_scan::PrefixScan};

/// How long a commit waits at most for a step of longer work that is due, or a step for a commit.
const YIELD_MAX: Duration = Duration::from_millis(10);

/// Rows that a check reads while commits wait.
const CHECK_ROWS: usize = 1_024;

/// Receives the changes of each durable commit while the writer is locked.
pub(super) trait CommitListener: Send + Sync {
    fn committed(&self, changes: &[RowChange], position: CommitPosition);
}

/// An open database. Every method blocks.
pub(super) struct Engine {
    /// Calls hold the lock shared. [`Engine::close`] takes the database out, and so waits for them.
    database: RwLock<Option<Box<dyn Database>>>,
    writer: Mutex<EngineWriter>,
    /// Commits that wait for the writer.
    commits: AtomicUsize,
    /// Steps of longer work that wait for the writer.
    steps: AtomicUsize,
    /// Held by a check: the writer keeps up one at a time.
    checking: Mutex<()>,
}

/// What a commit reads and changes.
pub(super) struct EngineWriter {
    /// The manifest as of the last commit.
    pub(super) manifest: Manifest,
    pub(super) witness: Option<Witness>,
    check: Option<CheckProgress>,
    pub(super) listener: Option<Arc<dyn CommitListener>>,
    /// Whether commits are rejected: one has failed, or another database has replaced this one.
    pub(super) closed: bool,
}

/// A running check. Commits keep the tally of the rows up to `cursor` current.
struct CheckProgress {
    cursor: ScanCursor,
    tally: RowTally,
}

impl Engine {
    /// Opens the database in `folder`, or creates one. Returns its manifest too, unless it was just created.
    pub(super) fn open(
        driver: &dyn EngineDriver,
        folder: &Path,
        cache_bytes: u64,
    ) -> Result<(Self, Option<Manifest>), EngineError> {
        panics::watch_threads(driver.thread_prefix());
        let database = catch_panic(|| driver.open(folder, cache_bytes))??;
        let manifest = match catch_panic(|| database.manifest())??.as_deref().map(Manifest::decode) {
            None => None,
            Some(Ok(manifest)) => Some(manifest),
            Some(Err(ManifestError::OtherVersion(version))) => return Err(EngineError::OtherVersion(version)),
            Some(Err(ManifestError::Damaged)) => {
                return Err(EngineError::Damaged("its manifest is not what was written"));
            }
        };
        let empty = Manifest { vault_id: [0; 16], position: Witness::INITIAL, tally: RowTally::default() };
        let engine = Engine {
            database: RwLock::new(Some(database)),
            writer: Mutex::new(EngineWriter {
                manifest: manifest.unwrap_or(empty),
                witness: None,
                check: None,
                listener: None,
                closed: false,
            }),
            commits: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
            checking: Mutex::new(()),
        };
        Ok((engine, manifest))
    }

    /// Records later commits in this witness, if any.
    pub(super) fn set_witness(&self, witness: Option<Witness>) {
        self.writer().witness = witness;
    }

    /// Continues from this manifest: the next commit gets the position after it.
    pub(super) fn set_manifest(&self, manifest: Manifest) {
        self.writer().manifest = manifest;
    }

    /// Returns the manifest as of the last commit.
    pub(super) fn manifest(&self) -> Manifest {
        self.writer().manifest
    }

    /// Returns the rows under these keys.
    pub(super) fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, EngineError> {
        self.with(|database| keys.iter().map(|key| database.get(key)).collect())
    }

    /// Applies a batch and makes it durable. After an error that does not leave the store usable, the engine must be
    /// closed: it may hold a part of the batch in memory.
    pub(super) fn commit(&self, batch: &RowBatch) -> Result<ApplyOutcome, EngineError> {
        batch.validate().map_err(EngineError::Rejected)?;
        let mut writer = self.lock_for_commit();
        if writer.closed {
            return Err(EngineError::Closed);
        }
        let outcome = self.with(|database| writer.commit(database, batch));
        writer.closed = outcome.as_ref().is_err_and(|error| !error.leaves_store_usable());
        if let (Ok(ApplyOutcome::Durable), Some(listener)) = (&outcome, &writer.listener) {
            listener.committed(&batch.changes, writer.manifest.position);
        }
        outcome
    }

    /// Applies changes at a position without making them durable, and without the manifest on disk: for a database that
    /// does not serve yet.
    pub(super) fn write_unsynced<'a>(
        &self,
        changes: impl Iterator<Item = &'a RowChange>,
        position: CommitPosition,
    ) -> Result<(), EngineError> {
        let mut writer = self.lock_for_commit();
        self.with(|database| {
            let (manifest, writes) = writer.prepare(database, changes, HashMap::new(), position)?;
            database.write_unsynced(&writes, position.sequence)?;
            writer.manifest = manifest;
            Ok(())
        })
    }

    /// Writes this manifest durably after [`Engine::write_unsynced`]. It must match the rows that were written.
    pub(super) fn seal(&self, manifest: Manifest) -> Result<(), EngineError> {
        let mut writer = self.writer();
        let written = Manifest { position: manifest.position, ..writer.manifest };
        if written != manifest {
            return Err(EngineError::Damaged("a copy of its rows does not match its manifest"));
        }
        self.with(|database| writer.finish(database, &[], manifest))
    }

    /// Writes the manifest and the witness as they are, durably: proves that both can be written.
    pub(super) fn rewrite_manifest(&self) -> Result<(), EngineError> {
        let mut writer = self.writer();
        let manifest = writer.manifest;
        self.with(|database| writer.finish(database, &[], manifest))
    }

    /// Returns up to `limit` rows of one space, or of all, after the key `after`.
    pub(super) fn scan_after(
        &self,
        space: Option<u8>,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<RowPage, EngineError> {
        self.with(|database| database.scan_after(space, after, limit))
    }

    /// Returns the rows whose keys begin with each prefix; see [`Store::scan_prefixes`](crate::Store::scan_prefixes).
    pub(super) fn scan_prefixes(
        &self,
        prefixes: &[RowKey],
        limit: usize,
    ) -> Result<Vec<Vec<(RowKey, Row)>>, EngineError> {
        self.with(|database| {
            let scan = |prefix: &RowKey| {
                let mut scan = PrefixScan::new(prefix.clone(), limit);
                while let Some((after, page_rows)) = scan.next_page() {
                    scan.add(database.scan_after(Some(prefix.space()), Some(&after), page_rows)?);
                }
                Ok(scan.rows)
            };
            prefixes.iter().map(scan).collect()
        })
    }

    /// Counts the rows of a space.
    pub(super) fn count(&self, space: u8) -> Result<u64, EngineError> {
        self.with(|database| database.count(space))
    }

    /// Reads every row, a page at a time between commits, and compares the rows with the manifest.
    pub(super) fn check(&self) -> Result<StoreCheck, EngineError> {
        self.check_while(|| true)
    }

    /// Checks as long as `should_continue` returns true; then fails with [`EngineError::Closed`].
    pub(super) fn check_while(&self, should_continue: impl Fn() -> bool) -> Result<StoreCheck, EngineError> {
        let _guard = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        self.writer().check = Some(CheckProgress { cursor: ScanCursor::Start, tally: RowTally::default() });
        loop {
            yield_to_waiters(&self.commits);
            let mut writer = self.lock_for_step();
            let Some(mut progress) = writer.check.take() else { return Err(EngineError::Closed) };
            self.with(|database| progress.advance(database))?;
            if progress.cursor == ScanCursor::End {
                let (found, expected) = (progress.tally, writer.manifest.tally);
                return Ok(StoreCheck { rows: found.rows, rows_expected: expected.rows, sound: found == expected });
            }
            writer.check = Some(progress).filter(|_| should_continue());
        }
    }

    /// Removes rows of which a part is missing, and returns the tally of the others, without regard to the manifest: for an
    /// operator who has accepted a loss.
    pub(super) fn salvage(&self) -> Result<RowTally, EngineError> {
        self.with(|database| {
            database.remove_incomplete_rows()?;
            let mut progress = CheckProgress { cursor: ScanCursor::Start, tally: RowTally::default() };
            while progress.cursor != ScanCursor::End {
                progress.advance(database)?;
            }
            Ok(progress.tally)
        })
    }

    /// Makes everything that was written durable.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        self.with(|database| database.sync())
    }

    /// Waits for running calls and closes the database. Later calls fail with [`EngineError::Closed`].
    pub(super) fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        // An engine may sync when it is dropped, and panic if that fails. All acknowledged commits are durable already.
        let _ = catch_panic(|| drop(database));
    }

    /// Calls into the database, and turns a panic into an error.
    pub(super) fn with<T>(&self, call: impl FnOnce(&dyn Database) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_deref().ok_or(EngineError::Closed)?;
        catch_panic(|| call(database))?
    }

    /// Locks the writer, for a moment.
    pub(super) fn writer(&self) -> MutexGuard<'_, EngineWriter> {
        // Panics inside are caught before they pass the guard.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the writer for a commit.
    ///
    /// A thread that releases a mutex and takes it again at once overtakes the threads that wait for it. So a stream of
    /// commits could starve longer work, and the other way round. Each waits a little while the other is waiting.
    fn lock_for_commit(&self) -> MutexGuard<'_, EngineWriter> {
        yield_to_waiters(&self.steps);
        self.commits.fetch_add(1, Ordering::AcqRel);
        let writer = self.writer();
        self.commits.fetch_sub(1, Ordering::AcqRel);
        writer
    }

    /// Locks the writer for one step of longer work.
    pub(super) fn lock_for_step(&self) -> MutexGuard<'_, EngineWriter> {
        self.steps.fetch_add(1, Ordering::AcqRel);
        let writer = self.writer();
        self.steps.fetch_sub(1, Ordering::AcqRel);
        writer
    }
}

/// Waits until no other thread waits, for at most [`YIELD_MAX`].
fn yield_to_waiters(waiting: &AtomicUsize) {
    let begun = Instant::now();
    while waiting.load(Ordering::Acquire) > 0 && begun.elapsed() < YIELD_MAX {
        thread::sleep(YIELD_MAX / 100);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl EngineWriter {
    fn commit(&mut self, database: &dyn Database, batch: &RowBatch) -> Result<ApplyOutcome, EngineError> {
        let mut current = HashMap::with_capacity(batch.preconditions.len());
        for (place, precondition) in batch.preconditions.iter().enumerate() {
            let row = match current.entry(precondition.key()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(database.get(precondition.key())?),
            };
            if !precondition.holds(row.as_deref()) {
                return Ok(ApplyOutcome::Refused(place));
            }
        }
        let position = CommitPosition { sequence: self.manifest.position.sequence + 1, ..self.manifest.position };
        let (manifest, writes) = self.prepare(database, batch.changes.iter(), current, position)?;
        self.finish(database, &writes, manifest).map_err(|error| EngineError::InDoubt(Box::new(error)))?;
        Ok(ApplyOutcome::Durable)
    }

    /// Returns the writes for these changes, and the manifest after them. Current rows in `known` are not read again.
    fn prepare<'a>(
        &mut self,
        database: &dyn Database,
        changes: impl Iterator<Item = &'a RowChange>,
        mut known: HashMap<&RowKey, Option<Row>>,
        position: CommitPosition,
    ) -> Result<(Manifest, Vec<RowWrite<'a>>), EngineError> {
        let mut manifest = Manifest { position, ..self.manifest };
        let mut writes = Vec::new();
        for change in changes {
            let key = change.key();
            let old = match known.remove(key) {
                Some(known) => known,
                None => database.get(key)?,
            };
            let new = match change {
                RowChange::Put(_, row) => Some(row.as_slice()),
                RowChange::Remove(_) => None,
            };
            update_tally(&mut manifest.tally, key, old.as_deref(), new);
            if let Some(progress) = &mut self.check
                && progress.cursor.covers(key)
            {
                update_tally(&mut progress.tally, key, old.as_deref(), new);
            }
            writes.push(RowWrite { key, old_length: old.map_or(0, |row| row.len()), row: new });
        }
        Ok((manifest, writes))
    }

    /// Writes rows and manifest durably, and then the witness.
    fn finish(
        &mut self,
        database: &dyn Database,
        writes: &[RowWrite<'_>],
        manifest: Manifest,
    ) -> Result<(), EngineError> {
        database.commit(writes, &manifest)?;
        if let Some(witness) = &mut self.witness {
            witness.record(manifest.position)?;
        }
        self.manifest = manifest;
        Ok(())
    }
}

impl CheckProgress {
    /// Adds the next page to the tally.
    fn advance(&mut self, database: &dyn Database) -> Result<(), EngineError> {
        let page = database.scan_after(None, self.cursor.last(), CHECK_ROWS)?;
        page.rows.iter().for_each(|(key, row)| self.tally.add(key.as_bytes(), row));
        self.cursor.advance(&page);
        Ok(())
    }
}

fn update_tally(tally: &mut RowTally, key: &RowKey, old: Option<&[u8]>, new: Option<&[u8]>) {
    if let Some(row) = old {
        tally.remove(key.as_bytes(), row);
    }
    if let Some(row) = new {
        tally.add(key.as_bytes(), row);
    }
}
