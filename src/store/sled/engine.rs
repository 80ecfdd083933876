//! One open sled database and its witness: rows in, rows out, and a batch made durable.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::{File, TryLockError},
    io,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    barrier,
    books::{Books, BooksError, Position, Tally},
    copy::Copy,
    failure::EngineError,
    panics::caught,
    rows,
    tree::{get, heads_after, rows_after, whole_row, write},
    watch::Watch,
    witness::Witness,
};
use crate::store::{Applied, Batch, Change, Checked, Page, Row, RowKey};

/// How long a database that this process has just let go of may take to be free again.
const RELEASE_SECONDS_MAX: u64 = 5;

/// How long a commit lets the step of a longer work in first, or the other way round, at most.
const STEP_ASIDE_MAX: Duration = Duration::from_millis(10);

/// Rows that a check reads between two batches.
const CHECK_ROWS: usize = 1_024;

/// An open database. Every method blocks.
pub(super) struct Engine {
    /// Calls hold it shared; [`Engine::shut`] takes what is in it, and so waits for them.
    tree: RwLock<Option<sled::Db>>,
    watch: Mutex<Option<Watch>>,
    /// A descriptor of our own on sled's file, to sync it by.
    file: File,
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
    cursor: Vec<u8>,
    tally: Tally,
}

impl Engine {
    /// Opens the database in `folder`, or makes one where there is none. sled rewrites parts of its files when it opens:
    /// see [`super::open`] for what must be known before.
    ///
    /// `None` for the books of a database that has none: one just made.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<(Self, Option<Books>), EngineError> {
        let path = folder.join("db");
        if path.exists() {
            wait_for_release(&path)?;
        }
        // Without a flusher: what is not flushed by a commit was never answered.
        let config = sled::Config::new().path(folder).cache_capacity(cache_bytes).flush_every_ms(None);
        let db = caught(|| config.open())??;
        let watch = Watch::begin(&db)?;
        let found = caught(|| db.get(rows::BOOKS_KEY))??;
        let books = match found.as_deref().map(Books::decode) {
            None => None,
            Some(Ok(books)) => Some(books),
            Some(Err(BooksError::Newer(version))) => return Err(EngineError::Newer(version)),
            Some(Err(BooksError::Damaged)) => return Err(EngineError::Damaged("its books are not whole")),
        };
        let nothing = Books { vault_id: [0; 16], position: Witness::UNBORN, tally: Tally::default() };
        let engine = Engine {
            tree: RwLock::new(Some(db)),
            watch: Mutex::new(Some(watch)),
            file: File::open(path)?,
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
        self.with_tree(|tree| keys.iter().map(|key| get(tree, key)).collect())
    }

    /// Applies a batch and makes it durable. After an error that is not harmless, the engine is to be shut: sled may
    /// hold a part of the batch in memory.
    pub(super) fn commit(&self, batch: &Batch) -> Result<Applied, EngineError> {
        batch.check_rules().map_err(EngineError::Refused)?;
        let mut writer = self.writer_for_commit();
        if writer.over {
            return Err(EngineError::Gone);
        }
        let outcome = self.with_tree(|tree| writer.commit(tree, batch));
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
        self.with_tree(|tree| {
            let (books, writes) = writer.prepare(tree, changes, HashMap::new(), position)?;
            tree.apply_batch(writes)?;
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
        self.with_tree(|tree| writer.finish(tree, sled::Batch::default(), books))
    }

    /// Up to `limit` rows of a space, from the first after `after`.
    pub(super) fn scan_after(&self, space: u8, after: Option<&RowKey>, limit: usize) -> Result<Page, EngineError> {
        self.with_tree(|tree| {
            let mut rows = Vec::new();
            let mut heads = heads_after(tree, space, after);
            while rows.len() < limit {
                let Some(entry) = heads.next() else { return Ok(Page { rows, end: true }) };
                let (physical, head) = entry?;
                let key = rows::logical_key(&physical)?;
                // The row can have gone since its head was read.
                if let Some(row) = whole_row(tree, &key, head)? {
                    rows.push((key, row));
                }
            }
            Ok(Page { rows, end: heads.next().transpose()?.is_none() })
        })
    }

    /// How many rows a space has.
    pub(super) fn count(&self, space: u8) -> Result<u64, EngineError> {
        self.with_tree(|tree| {
            let mut count = 0;
            for entry in tree.scan_prefix(rows::heads_of(space)) {
                entry?;
                count += 1;
            }
            Ok(count)
        })
    }

    /// Reads every row, a page at a time between batches, and compares with the books.
    pub(super) fn check(&self) -> Result<Checked, EngineError> {
        self.check_while(|| true)
    }

    /// The same, as long as `goes_on` says so; then [`EngineError::Gone`].
    pub(super) fn check_while(&self, goes_on: impl Fn() -> bool) -> Result<Checked, EngineError> {
        let _one = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        self.writer().check = Some(Progress { cursor: Vec::new(), tally: Tally::default() });
        loop {
            step_aside(&self.commits);
            let mut writer = self.writer_for_step();
            let Some(mut progress) = writer.check.take() else { return Err(EngineError::Gone) };
            if !self.with_tree(|tree| progress.advance(tree, CHECK_ROWS))? {
                let (found, expected) = (progress.tally, writer.books.tally);
                return Ok(Checked { rows: found.rows, rows_expected: expected.rows, sound: found == expected });
            }
            writer.check = Some(progress).filter(|_| goes_on());
        }
    }

    /// Removes the rows that lack a piece, and counts what is left, whatever the books say: for a database that
    /// has lost something, and an operator who accepts that.
    pub(super) fn salvage(&self) -> Result<Tally, EngineError> {
        self.with_tree(|tree| {
            let mut tally = Tally::default();
            for entry in tree.scan_prefix(rows::ALL_HEADS) {
                let (physical, head) = entry?;
                let key = rows::logical_key(&physical)?;
                match whole_row(tree, &key, head) {
                    Ok(Some(row)) => tally.add(key.as_bytes(), &row),
                    Ok(None) => {}
                    Err(EngineError::Damaged(_)) => drop(tree.remove(physical)?),
                    Err(other) => return Err(other),
                }
            }
            Ok(tally)
        })
    }

    /// Makes everything that sled has written durable.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        self.with_tree(|tree| {
            tree.flush()?;
            Ok(nix::unistd::fdatasync(&self.file).map_err(io::Error::from)?)
        })
    }

    /// Waits for the calls that run, and lets go of the database. Later calls fail.
    pub(super) fn shut(&self) {
        let db = self.tree.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(self.watch.lock().unwrap_or_else(PoisonError::into_inner).take());
        // sled syncs when it is dropped, and panics where that fails; whatever was answered is durable by now.
        let _ = caught(|| drop(db));
    }

    pub(super) fn with_tree<T>(
        &self,
        call: impl FnOnce(&sled::Tree) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        let tree = tree.as_ref().ok_or(EngineError::Gone)?;
        caught(|| call(tree))?
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
    fn commit(&mut self, tree: &sled::Tree, batch: &Batch) -> Result<Applied, EngineError> {
        let mut current = HashMap::with_capacity(batch.preconditions.len());
        for (place, precondition) in batch.preconditions.iter().enumerate() {
            let row = match current.entry(precondition.key()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(get(tree, precondition.key())?),
            };
            if !precondition.holds(row.as_deref()) {
                return Ok(Applied::Refused(place));
            }
        }
        let position = Position { sequence: self.books.position.sequence + 1, ..self.books.position };
        let (books, writes) = self.prepare(tree, batch.changes.iter(), current, position)?;
        self.finish(tree, writes, books).map_err(|error| EngineError::Unfinished(Box::new(error)))?;
        Ok(Applied::Durable)
    }

    /// What to write for changes, and the books after them. Of the rows that are there, some may be known.
    fn prepare<'a>(
        &mut self,
        tree: &sled::Tree,
        changes: impl Iterator<Item = &'a Change>,
        mut known: HashMap<&RowKey, Option<Row>>,
        position: Position,
    ) -> Result<(Books, sled::Batch), EngineError> {
        let mut books = Books { position, ..self.books };
        let mut writes = sled::Batch::default();
        for change in changes {
            let key = change.key();
            let old = match known.remove(key) {
                Some(known) => known,
                None => get(tree, key)?,
            };
            let new = match change {
                Change::Put(_, row) => Some(row.as_slice()),
                Change::Remove(_) => None,
            };
            account(&mut books.tally, key, old.as_deref(), new);
            if let Some(progress) = &mut self.check
                && rows::head_key(key) <= progress.cursor
            {
                account(&mut progress.tally, key, old.as_deref(), new);
            }
            write(&mut writes, key, old.map_or(0, |row| row.len()), new, position.sequence);
        }
        Ok((books, writes))
    }

    /// Writes with these books, and makes all of it durable.
    fn finish(&mut self, tree: &sled::Tree, mut writes: sled::Batch, books: Books) -> Result<(), EngineError> {
        writes.insert(&rows::BOOKS_KEY, books.encode());
        let crossed = barrier::crossed();
        tree.apply_batch(writes)?;
        // Returns when every byte of the batch is behind a barrier, which makes it durable: a sync of our own
        // would only cost another flush of the disk.
        tree.flush()?;
        if barrier::crossed() == crossed {
            return Err(EngineError::NoBarrier);
        }
        if let Some(witness) = &mut self.witness {
            witness.record(books.position)?;
        }
        self.books = books;
        Ok(())
    }
}

impl Progress {
    /// Takes up to `limit` more rows into account; whether there may be more.
    fn advance(&mut self, tree: &sled::Tree, limit: usize) -> Result<bool, EngineError> {
        let rows = rows_after(tree, &self.cursor, limit)?;
        for (key, row) in &rows {
            let row = row.as_ref().ok_or(EngineError::Damaged("a row went while nobody wrote"))?;
            self.tally.add(key.as_bytes(), row);
        }
        if let Some((key, _)) = rows.last() {
            self.cursor = rows::head_key(key);
        }
        Ok(rows.len() == limit)
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
