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
    books::{Books, BooksError, Position, Tally},
    copy::Copy,
    database::{Database, Driver, Write},
    failure::EngineError,
    panics::{self, caught},
    witness::Witness,
};
use crate::{Applied, Batch, Change, Checked, Page, Row, RowKey};

/// How long a commit lets the step of a longer work in first, or the other way round, at most.
const STEP_ASIDE_MAX: Duration = Duration::from_millis(10);

/// Rows that a check reads between two batches.
const CHECK_ROWS: usize = 1_024;

/// How far a longer work has come that takes rows in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cursor {
    Start,
    After(RowKey),
    End,
}

impl Cursor {
    /// Whether the work has taken the row of this key.
    pub(super) fn covers(&self, key: &RowKey) -> bool {
        match self {
            Cursor::Start => false,
            Cursor::After(last) => key <= last,
            Cursor::End => true,
        }
    }

    /// The last key that was taken.
    pub(super) fn last(&self) -> Option<&RowKey> {
        match self {
            Cursor::After(last) => Some(last),
            Cursor::Start | Cursor::End => None,
        }
    }

    /// Takes a page that follows.
    pub(super) fn advance(&mut self, page: &Page) {
        *self = match page.rows.last() {
            Some((key, _)) if !page.end => Cursor::After(key.clone()),
            _ => Cursor::End,
        };
    }
}

/// An open database. Every method blocks.
pub(super) struct Engine {
    /// Calls hold it shared; [`Engine::shut`] takes what is in it, and so waits for them.
    database: RwLock<Option<Box<dyn Database>>>,
    writer: Mutex<Writer>,
    /// Commits that wait for the writer.
    commits: AtomicUsize,
    /// Steps of longer work that wait for it, and are due.
    steps: AtomicUsize,
    /// One check at a time: the writer keeps account of one.
    checking: Mutex<()>,
}

/// What only the one who commits may touch.
pub(super) struct Writer {
    pub(super) books: Books,
    pub(super) witness: Option<Witness>,
    check: Option<Progress>,
    pub(super) copy: Option<Copy>,
    /// Nothing is committed here any more.
    pub(super) over: bool,
}

/// A check that is under way: rows up to `cursor` are in the tally, and kept up to date.
struct Progress {
    cursor: Cursor,
    tally: Tally,
}

impl Engine {
    /// Opens the database in `folder`, or makes one where there is none.
    ///
    /// `None` for the books of a database that has none: one just made.
    pub(super) fn open(
        driver: &dyn Driver,
        folder: &Path,
        cache_bytes: u64,
    ) -> Result<(Self, Option<Books>), EngineError> {
        panics::watch_threads(driver.thread_prefix());
        let database = caught(|| driver.open(folder, cache_bytes))??;
        let books = match caught(|| database.books())??.as_deref().map(Books::decode) {
            None => None,
            Some(Ok(books)) => Some(books),
            Some(Err(BooksError::Newer(version))) => return Err(EngineError::Newer(version)),
            Some(Err(BooksError::Damaged)) => return Err(EngineError::Damaged("its books are not whole")),
        };
        let nothing = Books { vault_id: [0; 16], position: Witness::UNBORN, tally: Tally::default() };
        let engine = Engine {
            database: RwLock::new(Some(database)),
            writer: Mutex::new(Writer {
                books: books.unwrap_or(nothing),
                witness: None,
                check: None,
                copy: None,
                over: false,
            }),
            commits: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
            checking: Mutex::new(()),
        };
        Ok((engine, books))
    }

    /// From now on commits are recorded by this witness, if any.
    pub(super) fn set_witness(&self, witness: Option<Witness>) {
        self.writer().witness = witness;
    }

    /// Begins a history: the next commit has this vault's id, the position after this one, and this tally before it.
    pub(super) fn set_books(&self, books: Books) {
        self.writer().books = books;
    }

    /// The books as of the last commit.
    pub(super) fn books(&self) -> Books {
        self.writer().books
    }

    /// The rows under these keys.
    pub(super) fn get_many(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, EngineError> {
        self.with(|database| keys.iter().map(|key| database.get(key)).collect())
    }

    /// Applies a batch and makes it durable. After an error that is not harmless, the engine is to be shut: it may
    /// hold a part of the batch in memory.
    pub(super) fn commit(&self, batch: &Batch) -> Result<Applied, EngineError> {
        batch.check_rules().map_err(EngineError::Refused)?;
        let mut writer = self.writer_for_commit();
        if writer.over {
            return Err(EngineError::Gone);
        }
        let outcome = self.with(|database| writer.commit(database, batch));
        writer.over = outcome.as_ref().is_err_and(|error| !error.is_harmless());
        if let Ok(Applied::Durable) = outcome {
            let position = writer.books.position;
            if let Some(copy) = &mut writer.copy {
                copy.carry(&batch.changes, position);
            }
        }
        outcome
    }

    /// Applies changes at a position without making them durable, or known to the books on the disk: for a database
    /// that is not served from yet.
    pub(super) fn absorb<'a>(
        &self,
        changes: impl Iterator<Item = &'a Change>,
        position: Position,
    ) -> Result<(), EngineError> {
        let mut writer = self.writer_for_commit();
        self.with(|database| {
            let (books, writes) = writer.prepare(database, changes, HashMap::new(), position)?;
            database.absorb(&writes, position.sequence)?;
            writer.books = books;
            Ok(())
        })
    }

    /// Writes these books, durably, behind what was absorbed. They must be what it came to.
    pub(super) fn seal(&self, books: Books) -> Result<(), EngineError> {
        let mut writer = self.writer();
        let copied = Books { position: books.position, ..writer.books };
        if copied != books {
            return Err(EngineError::Damaged("a copy of its rows does not come to what the books say"));
        }
        self.with(|database| writer.finish(database, &[], books))
    }

    /// Up to `limit` rows of one space, or of all, from the first after `after`.
    pub(super) fn rows_after(
        &self,
        space: Option<u8>,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Page, EngineError> {
        self.with(|database| database.rows_after(space, after, limit))
    }

    /// How many rows a space has.
    pub(super) fn count(&self, space: u8) -> Result<u64, EngineError> {
        self.with(|database| database.count(space))
    }

    /// Reads every row, a page at a time between batches, and compares with the books.
    pub(super) fn check(&self) -> Result<Checked, EngineError> {
        self.check_while(|| true)
    }

    /// The same, as long as `goes_on` says so; then [`EngineError::Gone`].
    pub(super) fn check_while(&self, goes_on: impl Fn() -> bool) -> Result<Checked, EngineError> {
        let _one = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        self.writer().check = Some(Progress { cursor: Cursor::Start, tally: Tally::default() });
        loop {
            step_aside(&self.commits);
            let mut writer = self.writer_for_step();
            let Some(mut progress) = writer.check.take() else { return Err(EngineError::Gone) };
            self.with(|database| progress.advance(database))?;
            if progress.cursor == Cursor::End {
                let (found, expected) = (progress.tally, writer.books.tally);
                return Ok(Checked { rows: found.rows, rows_expected: expected.rows, sound: found == expected });
            }
            writer.check = Some(progress).filter(|_| goes_on());
        }
    }

    /// Removes the rows of which a part is missing, and counts what is left, whatever the books say: for a database that
    /// has lost something, and an operator who accepts that.
    pub(super) fn salvage(&self) -> Result<Tally, EngineError> {
        self.with(|database| {
            database.remove_broken()?;
            let mut progress = Progress { cursor: Cursor::Start, tally: Tally::default() };
            while progress.cursor != Cursor::End {
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

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        // Panics inside are caught before they pass the guard.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For commits. Who lets go of a lock and takes it again at once is ahead of those who wait for it, so a commit after
    /// the other would keep the steps of longer work waiting for ever, and the other way round: each lets the other in.
    fn writer_for_commit(&self) -> MutexGuard<'_, Writer> {
        step_aside(&self.steps);
        self.commits.fetch_add(1, Ordering::AcqRel);
        let writer = self.writer();
        self.commits.fetch_sub(1, Ordering::AcqRel);
        writer
    }

    /// For longer work in many steps.
    pub(super) fn writer_for_step(&self) -> MutexGuard<'_, Writer> {
        self.steps.fetch_add(1, Ordering::AcqRel);
        let writer = self.writer();
        self.steps.fetch_sub(1, Ordering::AcqRel);
        writer
    }
}

/// Waits until nobody waits any more, but not for long.
fn step_aside(waiting: &AtomicUsize) {
    let begun = Instant::now();
    while waiting.load(Ordering::Acquire) > 0 && begun.elapsed() < STEP_ASIDE_MAX {
        thread::sleep(STEP_ASIDE_MAX / 100);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shut();
    }
}

impl Writer {
    fn commit(&mut self, database: &dyn Database, batch: &Batch) -> Result<Applied, EngineError> {
        let mut current = HashMap::with_capacity(batch.preconditions.len());
        for (place, precondition) in batch.preconditions.iter().enumerate() {
            let row = match current.entry(precondition.key()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(database.get(precondition.key())?),
            };
            if !precondition.holds(row.as_deref()) {
                return Ok(Applied::Refused(place));
            }
        }
        let position = Position { sequence: self.books.position.sequence + 1, ..self.books.position };
        let (books, writes) = self.prepare(database, batch.changes.iter(), current, position)?;
        self.finish(database, &writes, books).map_err(|error| EngineError::Unfinished(Box::new(error)))?;
        Ok(Applied::Durable)
    }

    /// What to write for changes, and the books after them. Of the rows that are there, some may be known.
    fn prepare<'a>(
        &mut self,
        database: &dyn Database,
        changes: impl Iterator<Item = &'a Change>,
        mut known: HashMap<&RowKey, Option<Row>>,
        position: Position,
    ) -> Result<(Books, Vec<Write<'a>>), EngineError> {
        let mut books = Books { position, ..self.books };
        let mut writes = Vec::new();
        for change in changes {
            let key = change.key();
            let old = match known.remove(key) {
                Some(known) => known,
                None => database.get(key)?,
            };
            let new = match change {
                Change::Put(_, row) => Some(row.as_slice()),
                Change::Remove(_) => None,
            };
            account(&mut books.tally, key, old.as_deref(), new);
            if let Some(progress) = &mut self.check
                && progress.cursor.covers(key)
            {
                account(&mut progress.tally, key, old.as_deref(), new);
            }
            writes.push(Write { key, old_length: old.map_or(0, |row| row.len()), row: new });
        }
        Ok((books, writes))
    }

    /// Writes with these books, and makes all of it durable.
    fn finish(&mut self, database: &dyn Database, writes: &[Write<'_>], books: Books) -> Result<(), EngineError> {
        database.commit(writes, &books)?;
        if let Some(witness) = &mut self.witness {
            witness.record(books.position)?;
        }
        self.books = books;
        Ok(())
    }
}

impl Progress {
    /// Takes a page more into account.
    fn advance(&mut self, database: &dyn Database) -> Result<(), EngineError> {
        let page = database.rows_after(None, self.cursor.last(), CHECK_ROWS)?;
        page.rows.iter().for_each(|(key, row)| self.tally.add(key.as_bytes(), row));
        self.cursor.advance(&page);
        Ok(())
    }
}

fn account(tally: &mut Tally, key: &RowKey, old: Option<&[u8]>, new: Option<&[u8]>) {
    if let Some(row) = old {
        tally.remove(key.as_bytes(), row);
    }
    if let Some(row) = new {
        tally.add(key.as_bytes(), row);
    }
}
