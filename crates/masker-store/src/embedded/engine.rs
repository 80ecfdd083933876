//! One open database and its witness: rows in, rows out, and a batch made durable.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    copy::CompactionCopy,
    database::{Database, EngineDriver, RowWrite},
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest, ManifestError, RowTally},
    panics::{self, caught},
    witness::Witness,
};
use crate::{ApplyOutcome, Row, RowBatch, RowChange, RowKey, RowPage, StoreCheck};

/// How long a commit lets the step of a longer work in first, or the other way round, at most.
const YIELD_MAX: Duration = Duration::from_millis(10);

/// Rows that a check reads between two batches.
const CHECK_ROWS: usize = 1_024;

/// How far a longer work has come that takes rows in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ScanCursor {
    Start,
    After(RowKey),
    End,
}

impl ScanCursor {
    /// Whether the work has taken the row of this key.
    pub(super) fn covers(&self, key: &RowKey) -> bool {
        match self {
            ScanCursor::Start => false,
            ScanCursor::After(last) => key <= last,
            ScanCursor::End => true,
        }
    }

    /// The last key that was taken.
    pub(super) fn last(&self) -> Option<&RowKey> {
        match self {
            ScanCursor::After(last) => Some(last),
            ScanCursor::Start | ScanCursor::End => None,
        }
    }

    /// Takes a page that follows.
    pub(super) fn advance(&mut self, page: &RowPage) {
        *self = match page.rows.last() {
            Some((key, _)) if !page.end => ScanCursor::After(key.clone()),
            _ => ScanCursor::End,
        };
    }
}

/// An open database. Every method blocks.
pub(super) struct Engine {
    /// Calls hold it shared; [`Engine::shut`] takes what is in it, and so waits for them.
    database: RwLock<Option<Box<dyn Database>>>,
    writer: Mutex<EngineWriter>,
    /// Commits that wait for the writer.
    commits: AtomicUsize,
    /// Steps of longer work that wait for it, and are due.
    steps: AtomicUsize,
    /// One check at a time: the writer keeps account of one.
    checking: Mutex<()>,
}

/// What only the one who commits may touch.
pub(super) struct EngineWriter {
    pub(super) manifest: Manifest,
    pub(super) witness: Option<Witness>,
    check: Option<CheckProgress>,
    pub(super) copy: Option<CompactionCopy>,
    /// Nothing is committed here any more.
    pub(super) over: bool,
}

/// A check that is under way: rows up to `cursor` are in the tally, and kept up to date.
struct CheckProgress {
    cursor: ScanCursor,
    tally: RowTally,
}

impl Engine {
    /// Opens the database in `folder`, or makes one where there is none.
    ///
    /// `None` for the manifest of a database that has none: one just made.
    pub(super) fn open(
        driver: &dyn EngineDriver,
        folder: &Path,
        cache_bytes: u64,
    ) -> Result<(Self, Option<Manifest>), EngineError> {
        panics::watch_threads(driver.thread_prefix());
        let database = caught(|| driver.open(folder, cache_bytes))??;
        let manifest = match caught(|| database.manifest())??.as_deref().map(Manifest::decode) {
            None => None,
            Some(Ok(manifest)) => Some(manifest),
            Some(Err(ManifestError::Newer(version))) => return Err(EngineError::Newer(version)),
            Some(Err(ManifestError::Damaged)) => return Err(EngineError::Damaged("its manifest are not whole")),
        };
        let nothing = Manifest { vault_id: [0; 16], position: Witness::INITIAL, tally: RowTally::default() };
        let engine = Engine {
            database: RwLock::new(Some(database)),
            writer: Mutex::new(EngineWriter {
                manifest: manifest.unwrap_or(nothing),
                witness: None,
                check: None,
                copy: None,
                over: false,
            }),
            commits: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
            checking: Mutex::new(()),
        };
        Ok((engine, manifest))
    }

    /// From now on commits are recorded by this witness, if any.
    pub(super) fn set_witness(&self, witness: Option<Witness>) {
        self.writer().witness = witness;
    }

    /// Begins a history: the next commit has this vault's id, the position after this one, and this tally before it.
    pub(super) fn set_manifest(&self, manifest: Manifest) {
        self.writer().manifest = manifest;
    }

    /// The manifest as of the last commit.
    pub(super) fn manifest(&self) -> Manifest {
        self.writer().manifest
    }

    /// The rows under these keys.
    pub(super) fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, EngineError> {
        self.with(|database| keys.iter().map(|key| database.get(key)).collect())
    }

    /// Applies a batch and makes it durable. After an error that is not harmless, the engine is to be shut: it may
    /// hold a part of the batch in memory.
    pub(super) fn commit(&self, batch: &RowBatch) -> Result<ApplyOutcome, EngineError> {
        batch.check_rules().map_err(EngineError::Refused)?;
        let mut writer = self.lock_for_commit();
        if writer.over {
            return Err(EngineError::Gone);
        }
        let outcome = self.with(|database| writer.commit(database, batch));
        writer.over = outcome.as_ref().is_err_and(|error| !error.leaves_store_usable());
        if let Ok(ApplyOutcome::Durable) = outcome {
            let position = writer.manifest.position;
            if let Some(copy) = &mut writer.copy {
                copy.mirror(&batch.changes, position);
            }
        }
        outcome
    }

    /// Applies changes at a position without making them durable, or known to the manifest on the disk: for a database
    /// that is not served from yet.
    pub(super) fn write_unlogged<'a>(
        &self,
        changes: impl Iterator<Item = &'a RowChange>,
        position: CommitPosition,
    ) -> Result<(), EngineError> {
        let mut writer = self.lock_for_commit();
        self.with(|database| {
            let (manifest, writes) = writer.prepare(database, changes, HashMap::new(), position)?;
            database.write_unlogged(&writes, position.sequence)?;
            writer.manifest = manifest;
            Ok(())
        })
    }

    /// Writes these manifest, durably, behind what was absorbed. They must be what it came to.
    pub(super) fn seal(&self, manifest: Manifest) -> Result<(), EngineError> {
        let mut writer = self.writer();
        let copied = Manifest { position: manifest.position, ..writer.manifest };
        if copied != manifest {
            return Err(EngineError::Damaged("a copy of its rows does not come to what the manifest say"));
        }
        self.with(|database| writer.finish(database, &[], manifest))
    }

    /// Up to `limit` rows of one space, or of all, from the first after `after`.
    pub(super) fn rows_after(
        &self,
        space: Option<u8>,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<RowPage, EngineError> {
        self.with(|database| database.rows_after(space, after, limit))
    }

    /// How many rows a space has.
    pub(super) fn count(&self, space: u8) -> Result<u64, EngineError> {
        self.with(|database| database.count(space))
    }

    /// Reads every row, a page at a time between batches, and compares with the manifest.
    pub(super) fn check(&self) -> Result<StoreCheck, EngineError> {
        self.check_rows_while(|| true)
    }

    /// The same, as long as `goes_on` says so; then [`EngineError::Gone`].
    pub(super) fn check_rows_while(&self, goes_on: impl Fn() -> bool) -> Result<StoreCheck, EngineError> {
        let _one = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        self.writer().check = Some(CheckProgress { cursor: ScanCursor::Start, tally: RowTally::default() });
        loop {
            yield_to_waiters(&self.commits);
            let mut writer = self.lock_for_step();
            let Some(mut progress) = writer.check.take() else { return Err(EngineError::Gone) };
            self.with(|database| progress.advance(database))?;
            if progress.cursor == ScanCursor::End {
                let (found, expected) = (progress.tally, writer.manifest.tally);
                return Ok(StoreCheck { rows: found.rows, rows_expected: expected.rows, sound: found == expected });
            }
            writer.check = Some(progress).filter(|_| goes_on());
        }
    }

    /// Removes the rows of which a part is missing, and counts what is left, whatever the manifest say: for a database that
    /// has lost something, and an operator who accepts that.
    pub(super) fn salvage(&self) -> Result<RowTally, EngineError> {
        self.with(|database| {
            database.remove_broken()?;
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

    /// Waits for the calls that run, and lets go of the database. Later calls fail.
    pub(super) fn shut(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        // An engine may sync when it is dropped, and panic where that fails; whatever was answered is durable by now.
        let _ = caught(|| drop(database));
    }

    pub(super) fn with<T>(&self, call: impl FnOnce(&dyn Database) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_deref().ok_or(EngineError::Gone)?;
        caught(|| call(database))?
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, EngineWriter> {
        // Panics inside are caught before they pass the guard.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For commits. Who lets go of a lock and takes it again at once is ahead of those who wait for it, so a commit after
    /// the other would keep the steps of longer work waiting for ever, and the other way round: each lets the other in.
    fn lock_for_commit(&self) -> MutexGuard<'_, EngineWriter> {
        yield_to_waiters(&self.steps);
        self.commits.fetch_add(1, Ordering::AcqRel);
        let writer = self.writer();
        self.commits.fetch_sub(1, Ordering::AcqRel);
        writer
    }

    /// For longer work in many steps.
    pub(super) fn lock_for_step(&self) -> MutexGuard<'_, EngineWriter> {
        self.steps.fetch_add(1, Ordering::AcqRel);
        let writer = self.writer();
        self.steps.fetch_sub(1, Ordering::AcqRel);
        writer
    }
}

/// Waits until nobody waits any more, but not for long.
fn yield_to_waiters(waiting: &AtomicUsize) {
    let begun = Instant::now();
    while waiting.load(Ordering::Acquire) > 0 && begun.elapsed() < YIELD_MAX {
        thread::sleep(YIELD_MAX / 100);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shut();
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
        self.finish(database, &writes, manifest).map_err(|error| EngineError::Unfinished(Box::new(error)))?;
        Ok(ApplyOutcome::Durable)
    }

    /// What to write for changes, and the manifest after them. Of the rows that are there, some may be known.
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
            account(&mut manifest.tally, key, old.as_deref(), new);
            if let Some(progress) = &mut self.check
                && progress.cursor.covers(key)
            {
                account(&mut progress.tally, key, old.as_deref(), new);
            }
            writes.push(RowWrite { key, old_length: old.map_or(0, |row| row.len()), row: new });
        }
        Ok((manifest, writes))
    }

    /// Writes with these manifest, and makes all of it durable.
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
    /// Takes a page more into account.
    fn advance(&mut self, database: &dyn Database) -> Result<(), EngineError> {
        let page = database.rows_after(None, self.cursor.last(), CHECK_ROWS)?;
        page.rows.iter().for_each(|(key, row)| self.tally.add(key.as_bytes(), row));
        self.cursor.advance(&page);
        Ok(())
    }
}

fn account(tally: &mut RowTally, key: &RowKey, old: Option<&[u8]>, new: Option<&[u8]>) {
    if let Some(row) = old {
        tally.remove(key.as_bytes(), row);
    }
    if let Some(row) = new {
        tally.add(key.as_bytes(), row);
    }
}
