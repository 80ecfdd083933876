//! Opening a vault, so that nothing is changed before it is known to be sound.
//!
//! 1. The directory is ours alone and locked, and the witness is of a format that this release knows. What the system
//!    has cached of the files is dropped, so that all that follows is about the disk.
//! 2. The engine looks at the database. If it is in order and holds the commit that the witness saw, it may open it.
//! 3. If not, or if only opening could tell, recovery is rehearsed on a copy, and the result is held against the manifest
//!    and the witness. Where something is not in order, every row of the copy is read as well. What a power cut left is
//!    recovered whole; damage is an error, and the files are as they were.
//! 4. What was found is made durable before anyone is served from it, and a first commit proves that the vault can
//!    be written.
//!
//! A new vault has a witness at position 0 before there is a database, and one at position 1 when it is done: until
//! then nothing was ever answered, and the next start begins anew.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use super::{
    StoreOptions,
    database::DatabaseState,
    engine::Engine,
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest, RowTally, VERSION},
    open_error::StoreOpenError,
    paths::{self, VaultPaths},
    witness::{Witness, WitnessFile},
};
use crate::{RowBatch, StoreCheck};

/// A vault that is open.
pub(super) struct OpenedStore {
    pub(super) engine: Engine,
    pub(super) vault_id: [u8; 16],
    /// Commits that were answered and are gone, where an operator has accepted that just now.
    pub(super) loss: Option<u64>,
}

/// How much the files are to be mistrusted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FileTrust {
    /// A process ended, cleanly or not, or the system failed it.
    Usual,
    /// The engine gave up in the middle of something: a batch may be there in part.
    AfterEngineFailure,
}

impl FileTrust {
    /// What is to be thought of the files after an engine has failed with this.
    pub(super) fn after(error: &EngineError) -> Self {
        if error.is_io() { FileTrust::Usual } else { FileTrust::AfterEngineFailure }
    }
}

/// Opens the vault in a directory that is prepared and locked, or makes one in an empty directory.
pub(super) fn open(
    place: &VaultPaths,
    options: &StoreOptions,
    trust: FileTrust,
) -> Result<OpenedStore, StoreOpenError> {
    let opening = OpenContext { place, options };
    // A sync may have failed before, here or in a process that is gone.
    paths::drop_cache(&place.root).map_err(opening.io("drop the cached files"))?;
    let witness = Witness::open(&place.witness()).map_err(opening.io("read the witness file"))?;
    let path = || place.root.clone();
    let initial_position = matches!(&witness, WitnessFile::Witness(witness) if witness.position() == Witness::INITIAL);
    let there = place.there();
    if let Some(there) = there
        && there != place.kind
        && !initial_position
        && !matches!(witness, WitnessFile::Newer(_))
    {
        return Err(StoreOpenError::OtherEngine { path: path(), there, asked: place.kind });
    }
    let has_database = there.is_some();
    match witness {
        WitnessFile::Newer(version) => Err(opening.newer(version)),
        WitnessFile::Witness(witness) if initial_position => opening.make(witness.vault_id()),
        WitnessFile::Witness(_) if !has_database => Err(opening.damaged("the database is missing")),
        WitnessFile::Witness(witness) => opening.open_with_witness(witness, trust),
        WitnessFile::Missing | WitnessFile::Damaged if has_database && options.accept_loss => {
            opening.open_without_witness()
        }
        WitnessFile::Missing if has_database => Err(StoreOpenError::WitnessMissing { path: path() }),
        WitnessFile::Damaged => Err(StoreOpenError::WitnessDamaged { path: path() }),
        WitnessFile::Missing => opening.make(rand::random()),
    }
}

struct OpenContext<'a> {
    place: &'a VaultPaths,
    options: &'a StoreOptions,
}

impl OpenContext<'_> {
    fn make(&self, vault_id: [u8; 16]) -> Result<OpenedStore, StoreOpenError> {
        let making = || self.io("make the files");
        for place in self.place.for_each_engine() {
            paths::remove_durably(&place.engine()).map_err(making())?;
        }
        let folder = self.place.engine();
        let witness = Witness::create(&self.place.witness(), vault_id, Witness::INITIAL).map_err(making())?;
        DirBuilder::new().mode(0o700).create(&folder).map_err(making())?;
        masker_files::sync_directory(&self.place.root).map_err(making())?;
        let (engine, _) = self.start(&folder)?;
        let initial_position = CommitPosition { epoch: 1, ..Witness::INITIAL };
        engine.set_manifest(Manifest { vault_id, position: initial_position, tally: RowTally::default() });
        self.first_commit(engine, Some(witness), None)
    }

    /// Takes back, or brings to its end, what a compaction or a migration has left: see [`super::compact`].
    fn settle(&self) -> Result<(), StoreOpenError> {
        let finishing = || self.io("settle what a compaction or a migration has left");
        let (current, former) = (self.place.engine(), self.place.engine_old_path());
        if !current.exists() {
            fs::rename(&former, &current).map_err(finishing())?;
        }
        let others = self.place.for_each_engine().flat_map(|place| [place.engine_new_path(), place.engine_old_path()]);
        let left: Vec<_> = others.filter(|folder| folder.exists()).collect();
        if !left.is_empty() {
            tracing::info!("a compaction or a migration was cut off; removing what it left");
            // The name that the database has now must not be lost while others go.
            masker_files::sync_directory(&self.place.root).map_err(finishing())?;
            left.iter().try_for_each(|folder| paths::remove_durably(folder)).map_err(finishing())?;
        }
        Ok(())
    }

    fn open_with_witness(&self, witness: Witness, trust: FileTrust) -> Result<OpenedStore, StoreOpenError> {
        self.settle()?;
        let folder = self.place.engine();
        let look = self.look(&witness, trust)?;
        if look != DatabaseState::InOrder {
            self.recover_copy(Some(&witness), look)?;
        }
        let (engine, manifest) = self.start_existing(&folder)?;
        if manifest.vault_id != witness.vault_id() && !self.options.accept_loss {
            return Err(StoreOpenError::WitnessOfAnotherVault { path: self.place.root.clone() });
        }
        if self.options.accept_loss {
            let lost = commits_lost(&manifest, &witness).filter(|_| manifest.vault_id == witness.vault_id());
            // A row that lacks a piece fails the reading, and is a loss as well.
            let sound = engine.check().is_ok_and(|checked| checked.sound);
            return match lost {
                Some(0) if sound => self.first_commit(engine, Some(witness), None),
                _ => self.start_epoch(engine, witness.position(), lost.unwrap_or(0)),
            };
        }
        self.check_position(&manifest, &witness)?;
        if look == DatabaseState::OutOfOrder {
            self.check_all_rows(&engine)?;
        }
        self.first_commit(engine, Some(witness), None)
    }

    fn open_without_witness(&self) -> Result<OpenedStore, StoreOpenError> {
        self.settle()?;
        if self.assume_state() != DatabaseState::InOrder {
            self.recover_copy(None, DatabaseState::Unknown)?;
        }
        let (engine, _) = self.start_existing(&self.place.engine())?;
        self.start_epoch(engine, Witness::INITIAL, 0)
    }

    /// Whether opening could destroy what it should report.
    fn look(&self, witness: &Witness, trust: FileTrust) -> Result<DatabaseState, StoreOpenError> {
        let driver = self.options.engine;
        if self.options.accept_loss {
            return Ok(self.assume_state());
        }
        let look = driver.look(&self.place.engine(), &witness.vault_id(), witness.position());
        tracing::debug!(?look, "looked at the database");
        let look = look.map_err(|error| match error {
            EngineError::Io(source) => self.io("look at the database")(source),
            other => self.engine()(other),
        })?;
        Ok(if trust == FileTrust::AfterEngineFailure { DatabaseState::OutOfOrder } else { look })
    }

    /// The same where a loss is accepted: of some commits, but not of everything.
    fn assume_state(&self) -> DatabaseState {
        if self.options.engine.may_destroy_on_open() { DatabaseState::Unknown } else { DatabaseState::InOrder }
    }

    /// Lets the engine recover a copy, and sees what comes of it.
    fn recover_copy(&self, witness: Option<&Witness>, look: DatabaseState) -> Result<(), StoreOpenError> {
        if look == DatabaseState::OutOfOrder {
            tracing::warn!("the store's database is not in order; recovering a copy of it first");
        }
        let copying = || self.io("copy the database aside, to see whether it can be recovered");
        let scratch = ScratchFolder::make(self.place).map_err(copying())?;
        let driver = self.options.engine;
        driver.copy(&self.place.engine(), &scratch.folder).map_err(copying())?;
        let (engine, manifest) =
            Engine::open(driver, &scratch.folder, self.options.cache_bytes).map_err(self.engine())?;
        let Some(witness) = witness.filter(|_| !self.options.accept_loss) else {
            return manifest.map(drop).ok_or_else(|| self.damaged("it holds nothing"));
        };
        let manifest = manifest.ok_or_else(|| self.behind(witness.position().sequence))?;
        if manifest.vault_id != witness.vault_id() {
            return Err(StoreOpenError::WitnessOfAnotherVault { path: self.place.root.clone() });
        }
        self.check_position(&manifest, witness)?;
        if look == DatabaseState::OutOfOrder {
            let checked = self.check_all_rows(&engine)?;
            tracing::info!(?checked, "recovered a copy of the database");
        }
        engine.shut();
        Ok(())
    }

    fn check_position(&self, manifest: &Manifest, witness: &Witness) -> Result<(), StoreOpenError> {
        match commits_lost(manifest, witness) {
            Some(0) => Ok(()),
            Some(lost) => Err(self.behind(lost)),
            None => Err(StoreOpenError::Superseded { path: self.place.root.clone() }),
        }
    }

    fn check_all_rows(&self, engine: &Engine) -> Result<StoreCheck, StoreOpenError> {
        let checked = engine.check().map_err(self.engine())?;
        let unsound = || self.damaged("rows are missing or are not those that were written");
        if checked.sound { Ok(checked) } else { Err(unsound()) }
    }

    fn start_existing(&self, folder: &Path) -> Result<(Engine, Manifest), StoreOpenError> {
        let tidying = self.io("remove an unfinished or damaged side file");
        self.options.engine.tidy(folder).map_err(tidying)?;
        let (engine, manifest) = self.start(folder)?;
        // Engines make an empty database of files that lost everything; the witness has seen a commit in it.
        Ok((engine, manifest.ok_or_else(|| self.damaged("it holds nothing"))?))
    }

    fn start(&self, folder: &Path) -> Result<(Engine, Option<Manifest>), StoreOpenError> {
        Engine::open(self.options.engine, folder, self.options.cache_bytes).map_err(self.engine())
    }

    /// Goes on from what is there: with a new epoch, so that no copy of what was there before passes for current.
    fn start_epoch(&self, engine: Engine, witnessed: CommitPosition, lost: u64) -> Result<OpenedStore, StoreOpenError> {
        let manifest = engine.manifest();
        let epoch = manifest.position.epoch.max(witnessed.epoch) + 1;
        let tally = engine.salvage().map_err(self.engine())?;
        engine.set_manifest(Manifest { position: CommitPosition { epoch, ..manifest.position }, tally, ..manifest });
        self.first_commit(engine, None, Some(lost))
    }

    /// Makes durable what was found or made, before the witness vouches for it; then proves that a commit gets through.
    ///
    /// Without a witness, a new one is made last: until then the old one, if any, is of an earlier epoch, and an
    /// accepted loss is either complete or to be accepted again.
    fn first_commit(
        &self,
        engine: Engine,
        witness: Option<Witness>,
        loss: Option<u64>,
    ) -> Result<OpenedStore, StoreOpenError> {
        let syncing = || self.io("make the files durable");
        let folder = self.place.engine();
        engine.sync().map_err(self.engine())?;
        paths::restrict_tree(&folder).and_then(|()| paths::sync_tree(&folder)).map_err(syncing())?;
        masker_files::sync_directory(&self.place.root).map_err(syncing())?;
        let vault_id = engine.manifest().vault_id;
        let must_make_witness = witness.is_none();
        engine.set_witness(witness);
        engine.commit(&RowBatch::default()).map_err(self.engine())?;
        if must_make_witness {
            let witness = Witness::create(&self.place.witness(), vault_id, engine.manifest().position);
            engine.set_witness(Some(witness.map_err(self.io("write a new witness file"))?));
        }
        Ok(OpenedStore { engine, vault_id, loss })
    }

    fn io(&self, doing: &'static str) -> impl Fn(io::Error) -> StoreOpenError + use<> {
        let path = self.place.root.clone();
        move |source| StoreOpenError::Io { path: path.clone(), doing, source }
    }

    fn engine(&self) -> impl Fn(EngineError) -> StoreOpenError {
        |error| match error {
            damage if damage.is_damage() => self.damaged(&damage.to_string()),
            EngineError::Newer(version) => self.newer(version),
            EngineError::NoBarrier => StoreOpenError::NoBarrier { path: self.place.root.clone() },
            EngineError::Io(source) => self.io("open the database")(source),
            EngineError::Unfinished(cause) => self.engine()(*cause),
            other => self.damaged(&other.to_string()),
        }
    }

    fn newer(&self, version: u8) -> StoreOpenError {
        StoreOpenError::NewerVersion { path: self.place.root.clone(), version, known: VERSION }
    }

    fn damaged(&self, what: &str) -> StoreOpenError {
        StoreOpenError::Damaged { path: self.place.root.clone(), what: what.into() }
    }

    fn behind(&self, lost: u64) -> StoreOpenError {
        StoreOpenError::BehindWitness { path: self.place.root.clone(), lost }
    }
}

/// Commits that the witness saw and the database has not; `None` where they are of two histories.
fn commits_lost(manifest: &Manifest, witness: &Witness) -> Option<u64> {
    let (there, seen) = (manifest.position, witness.position());
    // An epoch begins in the database: a witness of the one before is where a power cut left it.
    (there.epoch >= seen.epoch)
        .then(|| if there.epoch > seen.epoch { 0 } else { seen.sequence.saturating_sub(there.sequence) })
}

/// A folder that goes when it is done with.
struct ScratchFolder {
    folder: std::path::PathBuf,
}

impl ScratchFolder {
    fn make(place: &VaultPaths) -> io::Result<Self> {
        let folder = place.rehearsal();
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(ScratchFolder { folder })
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // What stays is removed by the next rehearsal.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
