//! Compaction: a new database beside the old one, with the same rows and without their history. A migration is a
//! compaction whose new database is of another engine.
//!
//! For an engine named `fjall`:
//!
//! 1. An empty database is created in `fjall.new`, and rows are copied while batches are applied (`copy`).
//! 2. Every row of the new database is read back and compared with its manifest, and its files are made durable.
//! 3. While the writer is locked, the new database gets the manifest of the old one, which must match the copy. `fjall` is
//!    renamed to `fjall.old`, and `fjall.new` to `fjall`, each durably before the next step. Both databases stay open
//!    meanwhile. Then the witness and the callers move to the new one.
//! 4. When the last call on the old database has ended, its files are removed.
//!
//! After a crash, the names alone say what to do. While no directory has an engine's plain name, `fjall.old` is the
//! database, and it is complete, because nothing is committed between the renames. As soon as one has, all others are
//! removed. A failure before the second rename is durable is undone. If undoing fails too, the store is reopened; by the
//! same rule, either database is then correct.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    sync::{
        Arc, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
};

use masker_types::limits::STORE_COMPACTION_ROOM_BYTES_MIN;

use super::{
    copy::{CopyError, EngineCopy},
    database::EngineDriver,
    engine::Engine,
    engine_error::EngineError,
    open::FileTrust,
    paths::{self, VaultPaths},
    shared::StoreShared,
};
use crate::{CompactionSizes, StoreError};

/// Why a compaction failed.
enum CompactionFailure {
    /// The old database, which serves, failed or was closed.
    Source(EngineError),
    /// The new database failed. The old one serves as before.
    Target(EngineError),
    /// It is unknown which names a power cut would leave.
    NamesInDoubt(io::Error),
}

impl From<CopyError> for CompactionFailure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Source(error) => CompactionFailure::Source(error),
            CopyError::Target(error) => CompactionFailure::Target(error),
        }
    }
}

impl From<io::Error> for CompactionFailure {
    fn from(error: io::Error) -> Self {
        CompactionFailure::Target(error.into())
    }
}

/// Called with the number of rows that were copied, and of all rows.
pub(super) type ProgressCallback<'a> = &'a dyn Fn(u64, u64);

/// One compaction.
struct Compaction<'a> {
    shared: &'a StoreShared,
    engine: Arc<Engine>,
    wanted: &'a AtomicBool,
    /// The paths of the new database, and its engine.
    to: VaultPaths,
    driver: &'static dyn EngineDriver,
    progress: ProgressCallback<'a>,
}

/// Compacts a store for as long as `wanted` is set. Blocks.
pub(super) fn compact(shared: &Arc<StoreShared>, wanted: &AtomicBool) -> Result<CompactionSizes, StoreError> {
    rewrite(shared, shared.options.engine, wanted, &|_, _| ())
}

/// Compacts a store into a new database of any engine. Blocks.
///
/// After a change of the engine, the store serves from the new database but cannot reopen it after a failure.
pub(super) fn rewrite(
    shared: &Arc<StoreShared>,
    driver: &'static dyn EngineDriver,
    wanted: &AtomicBool,
    progress: ProgressCallback<'_>,
) -> Result<CompactionSizes, StoreError> {
    shared.engine()?;
    let _guard = match shared.compacting.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(StoreError::Busy("a compaction is running")),
    };
    let engine = shared.engine()?;
    let failed = |error: &dyn std::fmt::Display| Err(StoreError::Uncompacted(error.to_string()));
    let size = || shared.paths.bytes_on_disk();
    let to = VaultPaths { kind: driver.kind(), ..shared.paths.clone() };
    let compaction = Compaction { shared, engine: Arc::clone(&engine), wanted, to, driver, progress };
    let compact = || {
        let bytes_before = size()?;
        compaction.run()?;
        Ok(CompactionSizes { bytes_before, bytes_after: size()? })
    };
    match compact() {
        Ok(sizes) => Ok(sizes),
        Err(CompactionFailure::Target(error)) => failed(&error),
        Err(CompactionFailure::Source(error)) => {
            if !error.leaves_store_usable() {
                shared.fail_engine(&engine, &error.to_string(), FileTrust::after(&error));
            }
            Err(error.into())
        }
        Err(CompactionFailure::NamesInDoubt(error)) => {
            shared.fail_engine(&engine, &error.to_string(), FileTrust::Normal);
            failed(&error)
        }
    }
}

impl Compaction<'_> {
    fn run(&self) -> Result<(), CompactionFailure> {
        if let Err(error) = self.build().and_then(|copy| self.switch(&copy)) {
            self.engine.writer().listener = None;
            if !matches!(error, CompactionFailure::NamesInDoubt(_))
                && let Err(error) = paths::remove_durably(&self.to.new_database())
            {
                tracing::warn!(%error, "failed to remove an unfinished compaction; the next compaction or start removes it");
            }
            return Err(error);
        }
        self.engine.close();
        Ok(paths::remove_durably(&self.shared.paths.old_database())?)
    }

    /// Builds the new database, complete but for its manifest. Commits keep it so.
    fn build(&self) -> Result<EngineCopy, CompactionFailure> {
        let folder = self.to.new_database();
        paths::remove_durably(&self.shared.paths.old_database())?;
        paths::remove_durably(&folder)?;
        DirBuilder::new().mode(0o700).create(&folder)?;
        let cache_bytes = self.shared.options.cache_bytes;
        let (target, _) = Engine::open(self.driver, &folder, cache_bytes).map_err(CompactionFailure::Target)?;
        let copy = EngineCopy::begin(&self.engine, Arc::new(target));
        let target = copy.target();
        loop {
            self.check_wanted()?;
            // Room is kept for the writer: a commit that fails for lack of room closes the vault for a while.
            if masker_files::bytes_free(&folder)? < STORE_COMPACTION_ROOM_BYTES_MIN {
                return Err(io::Error::from(io::ErrorKind::StorageFull).into());
            }
            let more = copy.copy_page()?;
            (self.progress)(target.manifest().tally.rows, self.engine.manifest().tally.rows);
            if !more {
                break;
            }
        }
        let checked = target.check_while(|| self.check_wanted().is_ok()).map_err(CompactionFailure::Target)?;
        if !checked.sound {
            return Err(CompactionFailure::Target(EngineError::Damaged("the copy does not contain what was written")));
        }
        // Before the writer is locked, so that little is left to sync while commits wait.
        target.sync().map_err(CompactionFailure::Target)?;
        paths::restrict_tree(&folder)?;
        paths::sync_tree(&folder)?;
        masker_files::sync_directory(&self.shared.paths.root)?;
        Ok(copy)
    }

    /// Fails if the compaction was cancelled, or if its source no longer serves.
    fn check_wanted(&self) -> Result<(), CompactionFailure> {
        let wanted = self.shared.serves(&self.engine) && self.wanted.load(Ordering::Acquire);
        if wanted { Ok(()) } else { Err(CompactionFailure::Source(EngineError::Closed)) }
    }

    /// Replaces the old database with the new one while the writer is locked.
    fn switch(&self, copy: &EngineCopy) -> Result<(), CompactionFailure> {
        let mut writer = self.engine.lock_for_step();
        self.check_wanted()?;
        copy.finish(&mut writer)?;
        let target = copy.target();
        target.seal(writer.manifest).map_err(CompactionFailure::Target)?;
        self.rename()?;
        target.set_witness(writer.witness.take());
        writer.closed = true;
        self.shared.replace_engine(&self.engine, Arc::clone(target));
        Ok(())
    }

    /// Renames both databases, each durably. Undoes both after a failure, because a rename that failed may have happened.
    fn rename(&self) -> Result<(), CompactionFailure> {
        let (replaced, old) = (self.shared.paths.database(), self.shared.paths.old_database());
        let (new, current) = (self.to.new_database(), self.to.database());
        let renamed = paths::rename_durably(&replaced, &old).and_then(|()| paths::rename_durably(&new, &current));
        let Err(error) = renamed else { return Ok(()) };
        let undo = || -> io::Result<()> {
            if old.try_exists()? {
                if current.try_exists()? {
                    fs::rename(&current, &new)?;
                }
                fs::rename(&old, &replaced)?;
            }
            masker_files::sync_directory(&self.shared.paths.root)
        };
        Err(match undo() {
            Ok(()) => CompactionFailure::Target(error.into()),
            Err(_) => CompactionFailure::NamesInDoubt(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RowBatch, RowChange, RowKey, Store, embedded::EmbeddedStore};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn compaction<'a>(store: &'a EmbeddedStore, wanted: &'a AtomicBool) -> Compaction<'a> {
        let (shared, to) = (&store.shared, store.shared.paths.clone());
        Compaction {
            shared,
            engine: shared.engine().unwrap(),
            wanted,
            to,
            driver: shared.options.engine,
            progress: &|_, _| (),
        }
    }

    fn store_with_a_row(root: &std::path::Path) -> EmbeddedStore {
        let store = EmbeddedStore::open(root, Default::default()).unwrap();
        let put = RowChange::Put(RowKey::new(*b"r").unwrap(), b"row".to_vec());
        runtime().block_on(store.apply(RowBatch { preconditions: Vec::new(), changes: vec![put] })).unwrap();
        store
    }

    fn serves(store: &EmbeddedStore) -> bool {
        let checked = runtime().block_on(store.check()).unwrap();
        runtime().block_on(store.apply(RowBatch::default())).unwrap();
        checked.sound && checked.rows == 1
    }

    #[test]
    fn a_cancelled_compaction_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with_a_row(&folder.path().join("vault"));
        let engine = store.shared.engine().unwrap();
        let cancelled = compact(&store.shared, &AtomicBool::new(false));
        assert!(matches!(cancelled, Err(StoreError::Unavailable(_))));
        assert!(store.shared.serves(&engine) && serves(&store));
        assert!(!store.shared.paths.new_database().exists() && !store.shared.paths.old_database().exists());
    }

    #[test]
    fn undoes_a_failure_between_the_renames() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("vault");
        let store = store_with_a_row(&root);
        let wanted = AtomicBool::new(true);
        let compaction = compaction(&store, &wanted);
        // There is no new database to rename.
        assert!(matches!(compaction.rename(), Err(CompactionFailure::Target(_))));
        assert!(root.join("fjall/0.jnl").exists() && !root.join("fjall.old").exists());
        assert!(serves(&store));
        // Nothing can be renamed, and nothing undone.
        fs::rename(&root, folder.path().join("elsewhere")).unwrap();
        assert!(matches!(compaction.rename(), Err(CompactionFailure::NamesInDoubt(_))));
        fs::rename(folder.path().join("elsewhere"), &root).unwrap();
    }

    #[test]
    fn rejects_a_copy_that_lacks_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with_a_row(&folder.path().join("vault"));
        let (engine, wanted) = (store.shared.engine().unwrap(), AtomicBool::new(true));
        let compaction = compaction(&store, &wanted);
        let copy = compaction.build().ok().unwrap();
        let remove = [RowChange::Remove(RowKey::new(*b"r").unwrap())];
        copy.target().write_unsynced(remove.iter(), engine.manifest().position).unwrap();
        assert!(matches!(compaction.switch(&copy), Err(CompactionFailure::Target(EngineError::Damaged(_)))));
        assert!(store.shared.serves(&engine) && serves(&store));
    }
}
