//! The store that callers open: each call runs on a thread that may block.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use masker_types::{
    limits::STORE_ANSWER_SECONDS_MAX,
    vault_position::{ControlPosition, VaultPosition},
};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    compact,
    database::EngineDriver,
    engine::Engine,
    engine_error::EngineError,
    manifest::CommitPosition,
    open::{self, FileTrust, OpenedStore},
    open_error::StoreOpenError,
    options::StoreOptions,
    panics,
    paths::{DataDirectoryLock, VaultPaths},
    shared::StoreShared,
};
use crate::{
    ApplyOutcome, CompactionSizes, Row, RowBatch, RowKey, RowPage, Store, StoreCheck, StoreError, StoreFuture,
};

/// The rows of a vault, in a directory.
///
/// The methods of [`Store`] need a tokio runtime with its clock. They block threads of the runtime's blocking pool, never
/// the thread that polls. Dropping the store closes it, and blocks.
pub struct EmbeddedStore {
    pub(super) shared: Arc<StoreShared>,
    vault_id: [u8; 16],
    loss: Option<u64>,
}

impl EmbeddedStore {
    /// Opens the vault in this directory, or creates one if the directory is empty or missing. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreOpenError`], which says what happened and what to do. An existing vault is left unchanged.
    pub fn open(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreOpenError> {
        let paths = VaultPaths { root: path.as_ref().to_owned(), kind: options.engine.kind() };
        options.check_recorded_vault_exists(&paths.root)?;
        paths.prepare()?;
        let mut lock = DataDirectoryLock::take(&paths)?;
        let OpenedStore { engine, vault_id, loss } = open::open(&paths, &options, FileTrust::Normal)?;
        lock.mark_opened();
        let options = StoreOptions { accept_loss: false, new_vault: None, recorded: None, ..options };
        Ok(EmbeddedStore { shared: Arc::new(StoreShared::new(paths, options, engine, lock)), vault_id, loss })
    }

    /// Returns the vault's id, which is random and chosen when the vault is created.
    pub fn vault_id(&self) -> [u8; 16] {
        self.vault_id
    }

    /// Returns how many acknowledged commits were lost, if an operator accepted a loss at this opening; 0 if the number is
    /// unknown.
    pub fn accepted_loss(&self) -> Option<u64> {
        self.loss
    }

    /// Rewrites the vault with another engine, and serves from it afterwards; see [`compact::rewrite`]. Blocks.
    pub(super) fn rewrite(
        &self,
        driver: &'static dyn EngineDriver,
        progress: compact::ProgressCallback<'_>,
    ) -> Result<CompactionSizes, StoreError> {
        compact::rewrite(&self.shared, driver, &AtomicBool::new(true), progress)
    }

    /// Runs a call on a thread that may block. Runs it again if the engine was replaced meanwhile.
    fn run<'a, T: Send + 'static>(
        &'a self,
        call: impl Fn(&Engine) -> Result<T, EngineError> + Send + Sync + 'static,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let call = Arc::new(call);
            loop {
                let engine = self.shared.engine()?;
                let task = tokio::task::spawn_blocking({
                    let (engine, call) = (Arc::clone(&engine), Arc::clone(&call));
                    move || call(&engine)
                });
                let error = match wait_for(task).await {
                    Ok(Ok(value)) => return Ok(value),
                    Ok(Err(EngineError::Closed)) if !self.shared.serves(&engine) => continue,
                    Ok(Err(error)) => error,
                    Err(stuck) => {
                        self.shared.fail_engine(&engine, stuck, FileTrust::AfterEngineFailure);
                        return Err(StoreError::Unavailable(stuck.into()));
                    }
                };
                if !error.leaves_store_usable() {
                    self.shared.fail_engine(&engine, &error.to_string(), FileTrust::after(&error));
                }
                return Err(error.into());
            }
        })
    }
}

/// Waits for the result of a call. Returns a reason if there will be none.
async fn wait_for<T>(mut task: JoinHandle<T>) -> Result<T, &'static str> {
    let panicked_before = panics::panicked_threads();
    let give_up_at = Instant::now() + Duration::from_secs(STORE_ANSWER_SECONDS_MAX);
    loop {
        match tokio::time::timeout(Duration::from_secs(1), &mut task).await {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(_)) => return Err(SHUTTING_DOWN),
            Err(_) if panics::panicked_threads() > panicked_before => {
                return Err("a thread of the engine panicked; restart masker");
            }
            Err(_) if Instant::now() >= give_up_at => return Err("the engine does not respond; restart masker"),
            Err(_) => {}
        }
    }
}

const SHUTTING_DOWN: &str = "the runtime is shutting down";

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        if let Err(error) = self.shared.close() {
            tracing::error!(%error, "failed to close the store cleanly");
        }
    }
}

impl Store for EmbeddedStore {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        self.run(move |engine| engine.get_many(&keys))
    }

    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        let shared = Arc::clone(&self.shared);
        self.run(move |engine| {
            let outcome = engine.commit(&batch)?;
            shared.note_position(engine);
            Ok(outcome)
        })
    }

    fn scan_after(&self, space: u8, after: Option<RowKey>, limit: usize) -> StoreFuture<'_, RowPage> {
        self.run(move |engine| engine.scan_after(Some(space), after.as_ref(), limit))
    }

    fn scan_prefixes(&self, prefixes: Vec<RowKey>, limit: usize) -> StoreFuture<'_, Vec<Vec<(RowKey, Row)>>> {
        self.run(move |engine| engine.scan_prefixes(&prefixes, limit))
    }

    fn count(&self, space: u8) -> StoreFuture<'_, u64> {
        self.run(move |engine| engine.count(space))
    }

    fn check(&self) -> StoreFuture<'_, StoreCheck> {
        self.run(Engine::check)
    }

    fn bytes_on_disk(&self) -> StoreFuture<'_, u64> {
        let paths = self.shared.paths.clone();
        self.run(move |_| Ok(paths.bytes_on_disk()?))
    }

    fn compact(&self) -> StoreFuture<'_, CompactionSizes> {
        /// Cancels the compaction when its future is dropped.
        struct CancelOnDrop(Arc<AtomicBool>);
        impl Drop for CancelOnDrop {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Release);
            }
        }
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let wanted = CancelOnDrop(Arc::new(AtomicBool::new(true)));
            let compacting = tokio::task::spawn_blocking({
                let wanted = Arc::clone(&wanted.0);
                move || compact::compact(&shared, &wanted)
            });
            compacting.await.unwrap_or_else(|_| Err(StoreError::Unavailable(SHUTTING_DOWN.into())))
        })
    }

    fn position(&self) -> VaultPosition {
        let CommitPosition { epoch, sequence } = self.shared.position();
        VaultPosition { vault_id: self.vault_id, epoch, sequence, control: ControlPosition::default() }
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let closing = tokio::task::spawn_blocking(move || shared.close());
            closing.await.unwrap_or_else(|_| Err(StoreError::Unavailable(SHUTTING_DOWN.into())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_a_call_after_an_engine_thread_panicked() {
        panics::watch_threads("test-store-");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            panics::catch_panic(|| ()).unwrap();
            let stuck = tokio::spawn(std::future::pending::<()>());
            let panics = async {
                let thread = std::thread::Builder::new().name("test-store-1".into()).spawn(|| panic!("gone")).unwrap();
                assert!(thread.join().is_err());
            };
            let (result, ()) = tokio::join!(wait_for(stuck), panics);
            assert!(result.is_err_and(|reason| reason.contains("restart masker")));
        });
    }
}
