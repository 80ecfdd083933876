//! Opening a vault, so that nothing is changed before it is known to be sound.
//!
//! 1. The directory is ours alone and locked, and the witness is of a format that this release knows. What the system
//!    has cached of the files is dropped, so that all that follows is about the disk.
//! 2. The log is inspected. If it is in order and holds the commit that the witness saw, sled may open it.
//! 3. If not, its recovery is rehearsed on a copy, every row of the copy is read, and the result is held against
//!    the books and the witness. What a power cut left is recovered whole; damage is an error, and the files are as
//!    they were.
//! 4. What was found is made durable before anyone is served from it, and a first commit proves that the vault can
//!    be written.
//!
//! A new vault has a witness at position 0 before there is a database, and one at position 1 when it is done: until
//! then nothing was ever answered, and the next start begins anew.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::{
    Options,
    books::{Books, Position, Tally, VERSION},
    engine::Engine,
    error::OpenError,
    failure::EngineError,
    files::{self, Place},
    log,
    witness::{Found, Witness},
};
use crate::{
    directories,
    store::{Batch, Checked},
};

/// A vault that is open.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) vault_id: [u8; 16],
    /// Commits that were answered and are gone, where an operator has accepted that just now.
    pub(super) loss: Option<u64>,
}

/// How much the files are to be mistrusted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// A process ended, cleanly or not, or the system failed it.
    Usual,
    /// The engine gave up in the middle of something: a batch may be there in part.
    AfterEngineFailure,
}

impl Trust {
    /// What is to be thought of the files after an engine has failed with this.
    pub(super) fn after(error: &EngineError) -> Self {
        if error.is_io() { Trust::Usual } else { Trust::AfterEngineFailure }
    }
}

/// Opens the vault in a directory that is prepared and locked, or makes one in an empty directory.
pub(super) fn open(place: &Place, options: &Options, trust: Trust) -> Result<Opened, OpenError> {
    let opening = Opening { place, options };
    // A sync may have failed before, here or in a process that is gone.
    files::drop_cache(&place.root).map_err(opening.io("drop the cached files"))?;
    let witness = Witness::open(&place.witness()).map_err(opening.io("read the witness file"))?;
    let has_database = place.engine().exists() || place.former_engine().exists();
    let path = || place.root.clone();
    match witness {
        Found::Newer(version) => Err(opening.newer(version)),
        Found::Witness(witness) if witness.position() == Witness::UNBORN => opening.make(witness.vault_id()),
        Found::Witness(_) if !has_database => Err(opening.damaged("the database is missing")),
        Found::Witness(witness) => opening.open_beside(witness, trust),
        Found::Missing | Found::Damaged if has_database && options.accept_loss => opening.open_without_witness(),
        Found::Missing if has_database => Err(OpenError::WitnessMissing { path: path() }),
        Found::Damaged => Err(OpenError::WitnessDamaged { path: path() }),
        Found::Missing => opening.make(rand::random()),
    }
}

struct Opening<'a> {
    place: &'a Place,
    options: &'a Options,
}

impl Opening<'_> {
    fn make(&self, vault_id: [u8; 16]) -> Result<Opened, OpenError> {
        let making = || self.io("make the files");
        let folder = self.place.engine();
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(making())?;
        }
        let witness = Witness::create(&self.place.witness(), vault_id, Witness::UNBORN).map_err(making())?;
        DirBuilder::new().mode(0o700).create(&folder).map_err(making())?;
        directories::sync_directory(&self.place.root).map_err(making())?;
        let (engine, _) = self.start(&folder)?;
        let unborn = Position { epoch: 1, ..Witness::UNBORN };
        engine.set_books(Books { vault_id, position: unborn, tally: Tally::default() });
        self.first_commit(engine, Some(witness), None)
    }

    /// Takes back, or brings to its end, what a compaction has left: see [`super::compact`].
    fn settle(&self) -> Result<(), OpenError> {
        let settling = || self.io("settle what a compaction has left");
        let (current, next, former) = (self.place.engine(), self.place.next_engine(), self.place.former_engine());
        if !current.exists() {
            fs::rename(&former, &current).map_err(settling())?;
        }
        if next.exists() || former.exists() {
            tracing::info!("a compaction was cut off; removing what it left");
            // The name that the database has now must not be lost while others go.
            directories::sync_directory(&self.place.root).map_err(settling())?;
            files::remove_durably(&next).and_then(|()| files::remove_durably(&former)).map_err(settling())?;
        }
        Ok(())
    }

    fn open_beside(&self, witness: Witness, trust: Trust) -> Result<Opened, OpenError> {
        self.settle()?;
        let folder = self.place.engine();
        let rehearsed = !self.options.accept_loss && self.must_rehearse(&witness, trust)?;
        if rehearsed {
            self.rehearse(&witness)?;
        }
        let (engine, books) = self.start_existing(&folder)?;
        if books.vault_id != witness.vault_id() && !self.options.accept_loss {
            return Err(OpenError::WitnessOfAnotherVault { path: self.place.root.clone() });
        }
        if self.options.accept_loss {
            let lost = lost_between(&books, &witness).filter(|_| books.vault_id == witness.vault_id());
            // A row that lacks a piece fails the reading, and is a loss as well.
            let sound = engine.check().is_ok_and(|checked| checked.sound);
            return match lost {
                Some(0) if sound => self.first_commit(engine, Some(witness), None),
                _ => self.begin_epoch(engine, witness.position(), lost.unwrap_or(0)),
            };
        }
        self.agrees(&books, &witness)?;
        if rehearsed && !self.read_everything(&engine)?.sound {
            return Err(self.damaged("rows are missing or are not those that were written"));
        }
        self.first_commit(engine, Some(witness), None)
    }

    fn open_without_witness(&self) -> Result<Opened, OpenError> {
        self.settle()?;
        let (engine, _) = self.start_existing(&self.place.engine())?;
        self.begin_epoch(engine, Witness::UNBORN, 0)
    }

    /// Whether opening could destroy what it should report.
    fn must_rehearse(&self, witness: &Witness, trust: Trust) -> Result<bool, OpenError> {
        let looking = || self.io("look at the database");
        let folder = self.place.engine();
        let db = File::open(folder.join("db")).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => self.damaged("its file is missing"),
            _ => looking()(source),
        })?;
        let side_files = log::inspect_side_files(&folder).map_err(looking())?;
        let inspection = log::inspect(&db, &witness.vault_id(), side_files.snapshot).map_err(looking())?;
        let complete = inspection.books.is_some_and(|books| books.position >= witness.position());
        let in_order = inspection.out_of_order.is_empty() && side_files.damaged.is_empty();
        tracing::debug!(complete, ?inspection.out_of_order, damaged_side_files = side_files.damaged.len(), "looked at the log");
        Ok(!complete || !in_order || trust == Trust::AfterEngineFailure)
    }

    /// Lets sled recover a copy, and reads every row of what comes of it.
    fn rehearse(&self, witness: &Witness) -> Result<(), OpenError> {
        tracing::warn!("the store's log is not in order; recovering a copy of it first");
        let copying = || self.io("copy the database aside, to see whether it can be recovered");
        let scratch = Scratch::make(self.place).map_err(copying())?;
        copy_database(&self.place.engine(), &scratch.folder).map_err(copying())?;
        let (engine, books) = Engine::open(&scratch.folder, self.options.cache_bytes).map_err(self.engine())?;
        let books = books.ok_or_else(|| self.behind(witness.position().sequence))?;
        if books.vault_id != witness.vault_id() {
            return Err(OpenError::WitnessOfAnotherVault { path: self.place.root.clone() });
        }
        self.agrees(&books, witness)?;
        let checked = self.read_everything(&engine)?;
        engine.shut();
        tracing::info!(?checked, "recovered a copy of the database");
        if checked.sound { Ok(()) } else { Err(self.damaged("rows are missing or are not those that were written")) }
    }

    fn agrees(&self, books: &Books, witness: &Witness) -> Result<(), OpenError> {
        match lost_between(books, witness) {
            Some(0) => Ok(()),
            Some(lost) => Err(self.behind(lost)),
            None => Err(OpenError::Superseded { path: self.place.root.clone() }),
        }
    }

    fn read_everything(&self, engine: &Engine) -> Result<Checked, OpenError> {
        engine.check().map_err(self.engine())
    }

    fn start_existing(&self, folder: &Path) -> Result<(Engine, Books), OpenError> {
        let cleaning = || self.io("remove an unfinished or damaged side file");
        let side_files = log::inspect_side_files(folder).map_err(cleaning())?;
        for path in side_files.unfinished.iter().chain(&side_files.damaged) {
            fs::remove_file(path).map_err(cleaning())?;
        }
        let (engine, books) = self.start(folder)?;
        // sled makes an empty database of a file that lost everything; the witness has seen a commit in it.
        Ok((engine, books.ok_or_else(|| self.damaged("it holds nothing"))?))
    }

    fn start(&self, folder: &Path) -> Result<(Engine, Option<Books>), OpenError> {
        Engine::open(folder, self.options.cache_bytes).map_err(self.engine())
    }

    /// Goes on from what is there: with a new epoch, so that no copy of what was there before passes for current.
    fn begin_epoch(&self, engine: Engine, witnessed: Position, lost: u64) -> Result<Opened, OpenError> {
        let books = engine.books();
        let epoch = books.position.epoch.max(witnessed.epoch) + 1;
        let tally = engine.salvage().map_err(self.engine())?;
        engine.set_books(Books { position: Position { epoch, ..books.position }, tally, ..books });
        self.first_commit(engine, None, Some(lost))
    }

    /// Makes durable what was found or made, before the witness vouches for it; then proves that a commit gets through.
    ///
    /// Without a witness, a new one is made last: until then the old one, if any, is of an earlier epoch, and an
    /// accepted loss is either complete or to be accepted again.
    fn first_commit(&self, engine: Engine, witness: Option<Witness>, loss: Option<u64>) -> Result<Opened, OpenError> {
        let syncing = || self.io("make the files durable");
        let folder = self.place.engine();
        engine.sync().map_err(self.engine())?;
        files::restrict_tree(&folder).and_then(|()| files::sync_tree(&folder)).map_err(syncing())?;
        directories::sync_directory(&self.place.root).map_err(syncing())?;
        let vault_id = engine.books().vault_id;
        let must_make_witness = witness.is_none();
        engine.set_witness(witness);
        engine.commit(&Batch::default()).map_err(self.engine())?;
        if must_make_witness {
            let witness = Witness::create(&self.place.witness(), vault_id, engine.books().position);
            engine.set_witness(Some(witness.map_err(self.io("write a new witness file"))?));
        }
        Ok(Opened { engine, vault_id, loss })
    }

    fn io(&self, doing: &'static str) -> impl Fn(io::Error) -> OpenError + use<> {
        let path = self.place.root.clone();
        move |source| OpenError::Io { path: path.clone(), doing, source }
    }

    fn engine(&self) -> impl Fn(EngineError) -> OpenError {
        |error| match error {
            damage if damage.is_damage() => self.damaged(&damage.to_string()),
            EngineError::Newer(version) => self.newer(version),
            EngineError::NoBarrier => OpenError::NoBarrier { path: self.place.root.clone() },
            EngineError::Io(source) => self.io("open the database")(source),
            EngineError::Sled(sled::Error::Io(source)) => self.io("open the database")(source),
            EngineError::Unfinished(cause) => self.engine()(*cause),
            other => self.damaged(&other.to_string()),
        }
    }

    fn newer(&self, version: u8) -> OpenError {
        OpenError::NewerVersion { path: self.place.root.clone(), version, known: VERSION }
    }

    fn damaged(&self, what: &str) -> OpenError {
        OpenError::Damaged { path: self.place.root.clone(), what: what.into() }
    }

    fn behind(&self, lost: u64) -> OpenError {
        OpenError::BehindWitness { path: self.place.root.clone(), lost }
    }
}

/// Commits that the witness saw and the database has not; `None` where they are of two histories.
fn lost_between(books: &Books, witness: &Witness) -> Option<u64> {
    let (there, seen) = (books.position, witness.position());
    // An epoch begins in the database: a witness of the one before is where a power cut left it.
    (there.epoch >= seen.epoch)
        .then(|| if there.epoch > seen.epoch { 0 } else { seen.sequence.saturating_sub(there.sequence) })
}

/// A folder that goes when it is done with.
struct Scratch {
    folder: std::path::PathBuf,
}

impl Scratch {
    fn make(place: &Place) -> io::Result<Self> {
        let folder = place.rehearsal();
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Scratch { folder })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is removed by the next rehearsal.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies what sled needs, without the side files that would stop it.
fn copy_database(from: &Path, to: &Path) -> io::Result<()> {
    let side_files = log::inspect_side_files(from)?;
    for file in files::files_under(from)? {
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
