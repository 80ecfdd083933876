//! Compaction: a new database beside the old one, with the same rows and without their past. A migration is the same,
//! with a new database of another engine.
//!
//! 1. An empty database is made in `sled.new`, say, and the rows are copied while batches are applied (`copy`).
//! 2. Every row of it is read back and held against its manifest, and its files are made durable.
//! 3. Under the writer's lock, it gets the manifest of the old one, which must be what the copy came to. Then `sled` becomes
//!    `sled.old` and `sled.new` becomes `sled`, each durable before the next step; an open database may be renamed, so both
//!    go on. Witness and callers go over to the new one.
//! 4. When the last call on the old one has ended, its files are removed.
//!
//! What a crash leaves is told by the names alone: while there is no `sled`, nor one of another engine, `sled.old` is the database, complete, for
//! nothing is committed between the two renames; as soon as there is one, all others may go. What fails before the second rename
//! is durable is undone. Where that fails too, the store is opened again, and by the same rule either database will do.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    sync::{
        Arc, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    StoreShared, StoreState, copy::CopyError, database::EngineDriver, engine::Engine, engine_error::EngineError,
    open::FileTrust, paths, paths::VaultPaths,
};
use crate::{CompactionSizes, StoreError};
use masker_types::limits::STORE_COMPACTION_ROOM_BYTES_MIN;

/// Why there was no compaction.
enum CompactionFailure {
    /// The database that serves, in whole or in part.
    Source(EngineError),
    /// What was to come in its place. It serves as before.
    Target(EngineError),
    /// Nobody can tell which names a power cut would leave.
    Unsettled(io::Error),
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

/// Rows that were copied, and rows that there are.
pub(super) type ProgressCallback<'a> = &'a dyn Fn(u64, u64);

/// One compaction.
struct Compaction<'a> {
    shared: &'a StoreShared,
    engine: Arc<Engine>,
    wanted: &'a AtomicBool,
    /// Where the new database comes to be, and of which engine.
    to: VaultPaths,
    driver: &'static dyn EngineDriver,
    progress: ProgressCallback<'a>,
}

impl StoreShared {
    /// Compacts the store for as long as that is wanted. Blocks.
    pub(super) fn compact(self: &Arc<Self>, wanted: &AtomicBool) -> Result<CompactionSizes, StoreError> {
        self.rewrite(self.options.engine, wanted, &|_, _| ())
    }

    /// The same, with a new database of any engine. After a switch to another one the store serves from it, and is not
    /// opened again by itself.
    pub(super) fn rewrite(
        self: &Arc<Self>,
        driver: &'static dyn EngineDriver,
        wanted: &AtomicBool,
        progress: ProgressCallback<'_>,
    ) -> Result<CompactionSizes, StoreError> {
        self.engine()?;
        let _one = match self.compacting.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(one)) => one.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy("it is being compacted")),
        };
        let engine = self.engine()?;
        let failed = |error: &dyn std::fmt::Display| Err(StoreError::Uncompacted(error.to_string()));
        let size = || paths::bytes_on_disk(&self.place.root);
        let to = VaultPaths { kind: driver.kind(), ..self.place.clone() };
        let compaction = Compaction { shared: self, engine: Arc::clone(&engine), wanted, to, driver, progress };
        let compact = || {
            let bytes_before = size()?;
            compaction.run()?;
            Ok(CompactionSizes { bytes_before, bytes_after: size()? })
        };
        match compact() {
            Ok(compacted) => Ok(compacted),
            Err(CompactionFailure::Target(error)) => failed(&error),
            Err(CompactionFailure::Source(error)) => {
                if !error.leaves_store_usable() {
                    self.fail_engine(&engine, &error.to_string(), FileTrust::after(&error));
                }
                Err(error.into())
            }
            Err(CompactionFailure::Unsettled(error)) => {
                self.fail_engine(&engine, &error.to_string(), FileTrust::Usual);
                failed(&error)
            }
        }
    }

    /// Waits for the compaction that is under way, if any. It ends soon once the engine that it began with does not serve.
    pub(super) fn wait_for_compaction(&self) {
        drop(self.compacting.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Compaction<'_> {
    fn run(&self) -> Result<(), CompactionFailure> {
        let switched = self.make().and_then(|target| self.switch(target));
        if let Err(error) = switched {
            self.engine.end_copy();
            if !matches!(error, CompactionFailure::Unsettled(_))
                && let Err(error) = paths::remove_durably(&self.to.engine_new_path())
            {
                tracing::warn!(%error, "what a compaction began stays until the next one, or the next start");
            }
            return Err(error);
        }
        self.engine.shut();
        Ok(paths::remove_durably(&self.shared.place.engine_old_path())?)
    }

    /// Makes the new database: complete but for its manifest, and kept so by every commit.
    fn make(&self) -> Result<Arc<Engine>, CompactionFailure> {
        let place = &self.shared.place;
        let folder = self.to.engine_new_path();
        paths::remove_durably(&place.engine_old_path())?;
        paths::remove_durably(&folder)?;
        DirBuilder::new().mode(0o700).create(&folder)?;
        let cache_bytes = self.shared.options.cache_bytes;
        let (target, _) = Engine::open(self.driver, &folder, cache_bytes).map_err(CompactionFailure::Target)?;
        let target = Arc::new(target);
        self.engine.begin_copy(Arc::clone(&target));
        loop {
            self.goes_on()?;
            // The writer goes first: a commit that fails for want of room closes the vault for a while.
            if masker_files::bytes_free(&folder)? < STORE_COMPACTION_ROOM_BYTES_MIN {
                return Err(io::Error::from(io::ErrorKind::StorageFull).into());
            }
            let more = self.engine.copy_page()?;
            (self.progress)(target.manifest().tally.rows, self.engine.manifest().tally.rows);
            if !more {
                break;
            }
        }
        let checked = target.check_rows_while(|| self.goes_on().is_ok()).map_err(CompactionFailure::Target)?;
        if !checked.sound {
            return Err(CompactionFailure::Target(EngineError::Damaged("the copy does not read as it was written")));
        }
        // All that is left to be done under the lock is little.
        target.sync().map_err(CompactionFailure::Target)?;
        paths::restrict_tree(&folder)?;
        paths::sync_tree(&folder)?;
        masker_files::sync_directory(&place.root)?;
        Ok(target)
    }

    fn goes_on(&self) -> Result<(), CompactionFailure> {
        let serves = self.shared.serves(&self.engine) && self.wanted.load(Ordering::Acquire);
        if serves { Ok(()) } else { Err(CompactionFailure::Source(EngineError::Gone)) }
    }

    /// Puts the new database in the place of the old one, while nobody writes.
    fn switch(&self, target: Arc<Engine>) -> Result<(), CompactionFailure> {
        let mut writer = self.engine.lock_for_step();
        self.goes_on()?;
        writer.end_copy()?;
        target.seal(writer.manifest).map_err(CompactionFailure::Target)?;
        self.rename()?;
        target.set_witness(writer.witness.take());
        writer.over = true;
        let mut state = self.shared.state();
        // Otherwise the store was closed or has failed just now; the next to open it finds the new database.
        if matches!(&*state, StoreState::Serving(engine) if Arc::ptr_eq(engine, &self.engine)) {
            *state = StoreState::Serving(target);
        }
        Ok(())
    }

    /// Each rename is durable when it returns, and may have happened when it fails: see sled's `barrier`, which is in
    /// force for the whole program.
    fn rename(&self) -> Result<(), CompactionFailure> {
        let place = &self.shared.place;
        let (replaced, former) = (place.engine(), place.engine_old_path());
        let (next, current) = (self.to.engine_new_path(), self.to.engine());
        let renamed = fs::rename(&replaced, &former).and_then(|()| fs::rename(&next, &current));
        let Err(error) = renamed else { return Ok(()) };
        let undo = || -> io::Result<()> {
            if former.try_exists()? {
                if current.try_exists()? {
                    fs::rename(&current, &next)?;
                }
                fs::rename(&former, &replaced)?;
            }
            masker_files::sync_directory(&place.root)
        };
        Err(match undo() {
            Ok(()) => CompactionFailure::Target(error.into()),
            Err(_) => CompactionFailure::Unsettled(error),
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
        let (shared, to) = (&store.shared, store.shared.place.clone());
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
    fn a_compaction_that_nobody_wants_any_more_ends_and_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with_a_row(&folder.path().join("vault"));
        let engine = store.shared.engine().unwrap();
        let ended = store.shared.compact(&AtomicBool::new(false));
        assert!(matches!(ended, Err(StoreError::Unavailable(_))));
        assert!(store.shared.serves(&engine) && serves(&store));
        assert!(!store.shared.place.engine_new_path().exists() && !store.shared.place.engine_old_path().exists());
    }

    #[test]
    fn what_fails_between_the_renames_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("vault");
        let store = store_with_a_row(&root);
        let wanted = AtomicBool::new(true);
        let compaction = compaction(&store, &wanted);
        // There is no new database to take the place.
        assert!(matches!(compaction.rename(), Err(CompactionFailure::Target(_))));
        assert!(root.join("sled/db").exists() && !root.join("sled.old").exists());
        assert!(serves(&store));
        // Nothing can be renamed, nor put back.
        fs::rename(&root, folder.path().join("elsewhere")).unwrap();
        assert!(matches!(compaction.rename(), Err(CompactionFailure::Unsettled(_))));
        fs::rename(folder.path().join("elsewhere"), &root).unwrap();
    }

    #[test]
    fn a_copy_that_lacks_a_row_takes_no_ones_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with_a_row(&folder.path().join("vault"));
        let (engine, wanted) = (store.shared.engine().unwrap(), AtomicBool::new(true));
        let compaction = compaction(&store, &wanted);
        let target = compaction.make().ok().unwrap();
        let remove = [RowChange::Remove(RowKey::new(*b"r").unwrap())];
        target.write_unlogged(remove.iter(), engine.manifest().position).unwrap();
        assert!(matches!(compaction.switch(target), Err(CompactionFailure::Target(EngineError::Damaged(_)))));
        assert!(store.shared.serves(&engine) && serves(&store));
    }
}
