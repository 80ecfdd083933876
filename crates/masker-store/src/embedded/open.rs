//! Opening a vault, so that nothing is changed before the vault is known to be sound.
//!
//! 1. The directory belongs to this user alone and is locked, and this release knows the format of the witness. The
//!    system's cache of the files is dropped, so that everything that follows is about the disk.
//! 2. The engine inspects the database. If it is consistent and has the commit that the witness recorded, the engine
//!    opens it.
//! 3. Otherwise, or if only opening can tell, recovery is tried on a copy, and the result is compared with the manifest
//!    and the witness. If the database was inconsistent, every row of the copy is read as well. What a power cut left is
//!    recovered completely; damage is an error, and the files stay as they were.
//! 4. The recovered state is compared with the position that was recorded outside of the directory, if any. Then it is made
//!    durable before anyone is served from it, and its manifest is written once more, which proves that the vault can be
//!    written.
//!
//! A new vault gets a witness at position 0 before it has a database, and position 1 when it is complete. Until then
//! nothing was acknowledged, and the next start begins again.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{
    database::DatabaseState,
    engine::Engine,
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest, RowTally, VERSION},
    open_error::StoreOpenError,
    options::StoreOptions,
    paths::{self, VaultPaths},
    witness::{Witness, WitnessFile},
};
use crate::{RowBatch, StoreCheck};
use masker_types::vault_position::VaultId;

/// A vault that is open.
pub(super) struct OpenedStore {
    pub(super) engine: Engine,
    pub(super) vault_id: [u8; 16],
    /// Acknowledged commits that are lost, if an operator accepted a loss just now.
    pub(super) loss: Option<u64>,
}

/// How far the files can be trusted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FileTrust {
    /// A process ended, cleanly or not, or the operating system failed.
    Normal,
    /// The engine failed in the middle of a call: a batch may be there in part.
    AfterEngineFailure,
}

impl FileTrust {
    /// Returns how far the files can be trusted after an engine failed with this error.
    pub(super) fn after(error: &EngineError) -> Self {
        if error.is_io() { FileTrust::Normal } else { FileTrust::AfterEngineFailure }
    }
}

/// Opens the vault in a prepared and locked directory, or creates one if the directory is empty.
pub(super) fn open(
    paths: &VaultPaths,
    options: &StoreOptions,
    trust: FileTrust,
) -> Result<OpenedStore, StoreOpenError> {
    let opening = OpenContext { paths, options };
    // A sync may have failed before, in this process or an earlier one.
    paths.drop_cache().map_err(opening.io("drop the cache of the files"))?;
    let witness = Witness::open(&paths.witness()).map_err(opening.io("read the witness file"))?;
    let path = || paths.root.clone();
    let never_completed = matches!(&witness, WitnessFile::Witness(witness) if witness.position() == Witness::INITIAL);
    let found = paths.existing_engine();
    if let Some(found) = found
        && found != paths.kind
        && !never_completed
        && !matches!(witness, WitnessFile::OtherVersion(_))
    {
        return Err(StoreOpenError::OtherEngine { path: path(), found, configured: paths.kind });
    }
    let has_database = found.is_some();
    let second_database = paths.second_database().filter(|_| !never_completed);
    let ambiguous = |second| StoreOpenError::SecondDatabase { path: path(), first: paths.kind, second };
    if let Some(second) = second_database
        && options.accept_loss
    {
        // What this database lacks may be in the other one.
        return Err(ambiguous(second));
    }
    let opened = match witness {
        WitnessFile::OtherVersion(version) => Err(opening.other_version(version)),
        WitnessFile::Witness(_) if never_completed && opening.needs_recorded_vault() => Err(opening.vault_missing()),
        WitnessFile::Witness(witness) if never_completed => {
            opening.create(opening.new_id().unwrap_or(witness.vault_id()))
        }
        WitnessFile::Witness(_) if !has_database => Err(opening.lost("its database is missing")),
        WitnessFile::Damaged if !has_database => {
            Err(opening.lost("its witness file is damaged, and its database is missing"))
        }
        WitnessFile::Witness(witness) => opening.open_with_witness(witness, trust),
        WitnessFile::Missing | WitnessFile::Damaged if has_database && options.accept_loss => {
            opening.open_without_witness()
        }
        WitnessFile::Missing if has_database => Err(StoreOpenError::WitnessMissing { path: path() }),
        WitnessFile::Damaged => Err(StoreOpenError::WitnessDamaged { path: path() }),
        WitnessFile::Missing if opening.needs_recorded_vault() => Err(opening.vault_missing()),
        WitnessFile::Missing => opening.create(opening.new_id().unwrap_or_else(rand::random)),
    };
    let Some(second) = second_database else { return opened };
    match opened {
        Ok(opened) => {
            tracing::warn!(vault = %paths.kind, other = %second, "there is a second database, which is not used");
            Ok(opened)
        }
        Err(error) if error.offers_loss() => Err(ambiguous(second)),
        Err(error) => Err(error),
    }
}

/// Returns the empty files of a database, without its lock.
fn empty_files(database: &Path) -> Vec<String> {
    let files = paths::files_under(database).unwrap_or_default().into_iter();
    let is_empty = |file: &PathBuf| {
        let is_lock = file.file_name().is_some_and(|name| name.to_string_lossy().contains("lock"));
        !is_lock && fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() == 0)
    };
    files.filter(is_empty).map(|file| file.display().to_string()).collect()
}

struct OpenContext<'a> {
    paths: &'a VaultPaths,
    options: &'a StoreOptions,
}

impl OpenContext<'_> {
    fn create(&self, vault_id: [u8; 16]) -> Result<OpenedStore, StoreOpenError> {
        let creating = || self.io("create the files");
        for paths in self.paths.for_each_engine() {
            paths::remove_durably(&paths.database()).map_err(creating())?;
        }
        let folder = self.paths.database();
        let witness = Witness::create(&self.paths.witness(), vault_id, Witness::INITIAL).map_err(creating())?;
        DirBuilder::new().mode(0o700).create(&folder).map_err(creating())?;
        masker_files::sync_directory(&self.paths.root).map_err(creating())?;
        let (engine, _) = self.start(&folder)?;
        let first_epoch = CommitPosition { epoch: 1, ..Witness::INITIAL };
        engine.set_manifest(Manifest { vault_id, position: first_epoch, tally: RowTally::default() });
        self.first_commit(engine, Some(witness), None)
    }

    /// Undoes or completes an interrupted compaction or migration, but for the database that was replaced; see
    /// [`super::compact`].
    fn finish_interrupted_move(&self) -> Result<(), StoreOpenError> {
        let (current, old) = (self.paths.database(), self.paths.old_database());
        if !current.exists() {
            let finishing = self.io("finish an interrupted compaction or migration");
            paths::rename_durably(&old, &current).map_err(finishing)?;
        }
        self.remove_remnants(VaultPaths::new_database)
    }

    /// Removes what an interrupted compaction or migration has left under this name of each engine.
    fn remove_remnants(&self, name: fn(&VaultPaths) -> PathBuf) -> Result<(), StoreOpenError> {
        let finishing = || self.io("finish an interrupted compaction or migration");
        let folders = self.paths.for_each_engine().map(|paths| name(&paths));
        let remnants: Vec<_> = folders.filter(|folder| folder.exists()).collect();
        if !remnants.is_empty() {
            tracing::info!("a compaction or a migration was interrupted; removing its remnants");
            // The current name of the database must be durable before the others are removed.
            masker_files::sync_directory(&self.paths.root).map_err(finishing())?;
            remnants.iter().try_for_each(|folder| paths::remove_durably(folder)).map_err(finishing())?;
        }
        Ok(())
    }

    fn open_with_witness(&self, witness: Witness, trust: FileTrust) -> Result<OpenedStore, StoreOpenError> {
        self.finish_interrupted_move()?;
        let folder = self.paths.database();
        let state = self.inspect(&witness, trust)?;
        if state != DatabaseState::Consistent {
            self.try_recovery(Some(&witness), state)?;
        }
        let (engine, manifest) = self.start_existing(&folder)?;
        if manifest.vault_id != witness.vault_id() && !self.options.accept_loss {
            return Err(StoreOpenError::WitnessOfAnotherVault { path: self.paths.root.clone() });
        }
        self.check_vault_id(&manifest)?;
        if self.options.accept_loss {
            let lost = commits_lost(manifest.position, witness.position())
                .filter(|_| manifest.vault_id == witness.vault_id())
                .map(|lost| lost.max(self.commits_recorded_since(&manifest)));
            let sound = match engine.check() {
                Ok(checked) => checked.sound,
                // A row that lacks a piece is a loss as well.
                Err(error) if error.is_damage() => false,
                // What the disk or the engine failed to read may be there.
                Err(error) => return Err(self.engine()(error)),
            };
            return match lost {
                Some(0) if sound && !self.is_behind_record(&manifest) => self.continue_serving(engine, witness),
                _ => {
                    let lost = lost.unwrap_or_else(|| self.commits_recorded_since(&manifest));
                    self.start_epoch(engine, witness.position(), lost)
                }
            };
        }
        self.check_position(&manifest, &witness)?;
        if state == DatabaseState::Inconsistent {
            self.check_all_rows(&engine)?;
        }
        self.check_record(&manifest)?;
        self.continue_serving(engine, witness)
    }

    fn open_without_witness(&self) -> Result<OpenedStore, StoreOpenError> {
        self.finish_interrupted_move()?;
        if self.state_with_loss() != DatabaseState::Consistent {
            self.try_recovery(None, DatabaseState::Unknown)?;
        }
        let (engine, manifest) = self.start_existing(&self.paths.database())?;
        self.check_vault_id(&manifest)?;
        self.start_epoch(engine, Witness::INITIAL, self.commits_recorded_since(&manifest))
    }

    /// Returns the state of the database: whether opening it could destroy what must be reported.
    fn inspect(&self, witness: &Witness, trust: FileTrust) -> Result<DatabaseState, StoreOpenError> {
        let driver = self.options.engine;
        if self.options.accept_loss {
            return Ok(self.state_with_loss());
        }
        let state = driver.inspect(&self.paths.database(), &witness.vault_id(), witness.position());
        tracing::debug!(?state, "inspected the database");
        let state = state.map_err(|error| match error {
            EngineError::Io(source) => self.io("inspect the database")(source),
            other => self.engine()(other),
        })?;
        Ok(if trust == FileTrust::AfterEngineFailure { DatabaseState::Inconsistent } else { state })
    }

    /// Returns the state that is assumed where a loss is accepted: a loss of some commits, not of everything.
    fn state_with_loss(&self) -> DatabaseState {
        if self.options.engine.may_destroy_on_open() { DatabaseState::Unknown } else { DatabaseState::Consistent }
    }

    /// Lets the engine recover a copy, and checks the result.
    fn try_recovery(&self, witness: Option<&Witness>, state: DatabaseState) -> Result<(), StoreOpenError> {
        if state == DatabaseState::Inconsistent {
            tracing::warn!("the database is inconsistent; trying its recovery on a copy first");
        }
        let driver = self.options.engine;
        let database = self.paths.database();
        let copying = |source: io::Error| match source.kind() {
            // Removing the part that was copied does not make enough room.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let room = driver.copied_bytes(&database).ok();
                StoreOpenError::NoRoomToRecover {
                    path: self.paths.root.clone(),
                    room: room.map_or_else(String::new, |bytes| format!("about {} MiB of ", bytes.div_ceil(1 << 20))),
                    source,
                }
            }
            _ => self.io("copy the database to try its recovery")(source),
        };
        let scratch = ScratchFolder::create(self.paths).map_err(copying)?;
        driver.copy(&database, &scratch.folder).map_err(copying)?;
        // Where a loss is accepted, such an engine opens a copy as well.
        let opened = Engine::open(driver, &scratch.folder, self.options.cache_bytes);
        let (engine, manifest) = match driver.may_destroy_on_open() {
            true => opened.map_err(self.unopenable())?,
            false => opened.map_err(self.engine())?,
        };
        let Some(witness) = witness.filter(|_| !self.options.accept_loss) else {
            return manifest.map(drop).ok_or_else(|| self.lost("its database is empty"));
        };
        let manifest = manifest.ok_or_else(|| self.lost("its database is empty"))?;
        if manifest.vault_id != witness.vault_id() {
            return Err(StoreOpenError::WitnessOfAnotherVault { path: self.paths.root.clone() });
        }
        self.check_position(&manifest, witness)?;
        if state == DatabaseState::Inconsistent {
            let checked = self.check_all_rows(&engine)?;
            tracing::info!(?checked, "recovered a copy of the database");
        }
        engine.close();
        Ok(())
    }

    fn check_position(&self, manifest: &Manifest, witness: &Witness) -> Result<(), StoreOpenError> {
        match commits_lost(manifest.position, witness.position()) {
            Some(0) => Ok(()),
            Some(lost) => Err(self.behind(lost)),
            None => Err(StoreOpenError::Superseded { path: self.paths.root.clone() }),
        }
    }

    fn check_all_rows(&self, engine: &Engine) -> Result<StoreCheck, StoreOpenError> {
        let checked = engine.check().map_err(self.engine())?;
        let unsound = || self.damaged("rows are missing or are not what was written");
        if checked.sound { Ok(checked) } else { Err(unsound()) }
    }

    fn start_existing(&self, folder: &Path) -> Result<(Engine, Manifest), StoreOpenError> {
        let cleaning_up = self.io("remove an unfinished or damaged side file");
        self.options.engine.clean_up(folder).map_err(cleaning_up)?;
        let opened = Engine::open(self.options.engine, folder, self.options.cache_bytes);
        let (engine, manifest) = opened.map_err(self.unopenable())?;
        // Engines create an empty database where files are missing, but the witness recorded a commit.
        Ok((engine, manifest.ok_or_else(|| self.lost("its database is empty"))?))
    }

    fn start(&self, folder: &Path) -> Result<(Engine, Option<Manifest>), StoreOpenError> {
        Engine::open(self.options.engine, folder, self.options.cache_bytes).map_err(self.engine())
    }

    /// Continues from the rows that are left, in a new epoch: no copy of the earlier database is then taken for current.
    fn start_epoch(&self, engine: Engine, witnessed: CommitPosition, lost: u64) -> Result<OpenedStore, StoreOpenError> {
        let manifest = engine.manifest();
        let recorded = self.recorded_position(&manifest).unwrap_or_default();
        let epoch = manifest.position.epoch.max(witnessed.epoch).max(recorded.epoch) + 1;
        let tally = engine.salvage().map_err(self.engine())?;
        engine.set_manifest(Manifest { position: CommitPosition { epoch, ..manifest.position }, tally, ..manifest });
        self.first_commit(engine, None, Some(lost))
    }

    /// Continues at the position that was found. It stays the same, so that only commits advance it.
    fn continue_serving(&self, engine: Engine, witness: Witness) -> Result<OpenedStore, StoreOpenError> {
        self.make_durable(&engine)?;
        engine.set_witness(Some(witness));
        engine.rewrite_manifest().map_err(self.engine())?;
        let vault_id = engine.manifest().vault_id;
        Ok(OpenedStore { engine, vault_id, loss: None })
    }

    /// Makes the files durable before the witness refers to them.
    fn make_durable(&self, engine: &Engine) -> Result<(), StoreOpenError> {
        // Only now is it certain that the current database is the vault's.
        self.remove_remnants(VaultPaths::old_database)?;
        let syncing = || self.io("make the files durable");
        engine.sync().map_err(self.engine())?;
        let folder = self.paths.database();
        paths::restrict_tree(&folder).and_then(|()| paths::sync_tree(&folder)).map_err(syncing())?;
        masker_files::sync_directory(&self.paths.root).map_err(syncing())
    }

    /// Makes the first commit of a vault or of an epoch.
    ///
    /// Without a witness, creates one last. Until then an existing witness is of an earlier epoch, so an interrupted start
    /// leaves either a complete new epoch or a loss that must be accepted again.
    fn first_commit(
        &self,
        engine: Engine,
        witness: Option<Witness>,
        loss: Option<u64>,
    ) -> Result<OpenedStore, StoreOpenError> {
        self.make_durable(&engine)?;
        let vault_id = engine.manifest().vault_id;
        let must_make_witness = witness.is_none();
        engine.set_witness(witness);
        engine.commit(&RowBatch::default()).map_err(self.engine())?;
        if must_make_witness {
            let witness = Witness::create(&self.paths.witness(), vault_id, engine.manifest().position);
            engine.set_witness(Some(witness.map_err(self.io("write a new witness file"))?));
        }
        Ok(OpenedStore { engine, vault_id, loss })
    }

    /// Returns the recorded position, if it is of the same vault.
    fn recorded_position(&self, manifest: &Manifest) -> Option<CommitPosition> {
        let recorded = self.options.recorded.filter(|recorded| recorded.vault_id == manifest.vault_id)?;
        Some(CommitPosition { epoch: recorded.epoch, sequence: recorded.sequence })
    }

    /// Returns whether the database lacks commits that were recorded. A higher epoch excuses no lower number: anyone who can
    /// write the files can raise it, and a start that accepted a loss may have failed before that was recorded.
    fn is_behind_record(&self, manifest: &Manifest) -> bool {
        let found = manifest.position;
        self.recorded_position(manifest)
            .is_some_and(|recorded| recorded.epoch > found.epoch || recorded.sequence > found.sequence)
    }

    /// Returns how many commits were recorded that the database lacks.
    fn commits_recorded_since(&self, manifest: &Manifest) -> u64 {
        let recorded = self.recorded_position(manifest);
        recorded.map_or(0, |recorded| recorded.sequence.saturating_sub(manifest.position.sequence))
    }

    fn check_record(&self, manifest: &Manifest) -> Result<(), StoreOpenError> {
        if !self.is_behind_record(manifest) {
            return Ok(());
        }
        let lost = self.commits_recorded_since(manifest);
        Err(StoreOpenError::BehindAuditLog { path: self.paths.root.clone(), lost })
    }

    fn check_vault_id(&self, manifest: &Manifest) -> Result<(), StoreOpenError> {
        match self.options.recorded {
            Some(recorded)
                if recorded.vault_id != manifest.vault_id
                    && self.options.new_vault.is_none_or(|new| new.id != manifest.vault_id) =>
            {
                Err(StoreOpenError::OtherVault {
                    path: self.paths.root.clone(),
                    recorded: VaultId(recorded.vault_id),
                    found: VaultId(manifest.vault_id),
                })
            }
            _ => Ok(()),
        }
    }

    /// Returns whether a vault was recorded, and no new one is accepted.
    fn needs_recorded_vault(&self) -> bool {
        self.options.recorded.is_some() && !self.options.creates_new_vault()
    }

    /// Returns the id of the vault to create, if it is given.
    fn new_id(&self) -> Option<[u8; 16]> {
        self.options.new_vault.filter(|new| new.create).map(|new| new.id)
    }

    fn vault_missing(&self) -> StoreOpenError {
        let vault_id = VaultId(self.options.recorded.map_or([0; 16], |recorded| recorded.vault_id));
        StoreOpenError::VaultMissing { path: self.paths.root.clone(), vault_id }
    }

    fn io(&self, doing: &'static str) -> impl Fn(io::Error) -> StoreOpenError + use<> {
        let path = self.paths.root.clone();
        move |source| StoreOpenError::Io { path: path.clone(), doing, source }
    }

    fn engine(&self) -> impl Fn(EngineError) -> StoreOpenError {
        |error| match error {
            damage if damage.is_damage() => self.damaged(&damage.to_string()),
            EngineError::OtherVersion(version) => self.other_version(version),
            EngineError::NoBarrier => StoreOpenError::NoBarrier { path: self.paths.root.clone() },
            EngineError::Io(source) => self.io("open the database")(source),
            EngineError::InDoubt(cause) => self.engine()(*cause),
            other => self.damaged(&other.to_string()),
        }
    }

    /// As [`Self::engine`], for a database that cannot be opened if a loss is accepted either.
    fn unopenable(&self) -> impl FnOnce(EngineError) -> StoreOpenError + '_ {
        |error| match self.engine()(error) {
            StoreOpenError::Damaged { path, what, .. } => {
                let empty = empty_files(&self.paths.database());
                let what = if empty.is_empty() { what } else { format!("{what} (empty: {})", empty.join(", ")) };
                StoreOpenError::Damaged { path, what, can_continue: false }
            }
            other => other,
        }
    }

    fn other_version(&self, version: u8) -> StoreOpenError {
        StoreOpenError::OtherVersion { path: self.paths.root.clone(), version, known: VERSION }
    }

    fn damaged(&self, what: &str) -> StoreOpenError {
        let can_continue = !self.options.accept_loss;
        StoreOpenError::Damaged { path: self.paths.root.clone(), what: what.into(), can_continue }
    }

    /// Returns the error of a vault without any row.
    fn lost(&self, what: &str) -> StoreOpenError {
        StoreOpenError::Damaged { path: self.paths.root.clone(), what: what.into(), can_continue: false }
    }

    fn behind(&self, lost: u64) -> StoreOpenError {
        StoreOpenError::BehindWitness { path: self.paths.root.clone(), lost }
    }
}

/// Returns how many commits the witness recorded that the database lacks, or `None` if the two belong to different
/// histories.
fn commits_lost(found: CommitPosition, recorded: CommitPosition) -> Option<u64> {
    // A new epoch begins in the database, so a power cut can leave the witness one epoch behind.
    (found.epoch >= recorded.epoch)
        .then(|| if found.epoch > recorded.epoch { 0 } else { recorded.sequence.saturating_sub(found.sequence) })
}

/// A folder that is removed when dropped.
pub(super) struct ScratchFolder {
    pub(super) folder: PathBuf,
}

impl ScratchFolder {
    /// Creates the folder, empty, in the data directory, which is locked.
    pub(super) fn create(paths: &VaultPaths) -> io::Result<Self> {
        let folder = paths.recovery_copy();
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(ScratchFolder { folder })
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // The next recovery removes what is left.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests;
