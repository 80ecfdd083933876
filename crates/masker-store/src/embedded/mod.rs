//! The embedded store: rows in a directory of their own, kept by one of several engines ([`EngineKind`]).
//!
//! What an engine does is narrow (`database`). A promise of durability takes more, and all of it is here, once for every
//! engine:
//!
//! - a commit is one batch, made durable before it is answered (`engine`);
//! - a witness beside the database remembers what was answered (`witness`), and manifest inside tell what should
//!   be there (`manifest`);
//! - a database is looked at, or its recovery tried on a copy, before an engine may repair it (`open`);
//! - its files are written anew where they must hold nothing of the past (`compact`, `copy`), or where another engine
//!   is to keep them (`migrate`);
//! - panics become errors (`panics`), and after a failure the database is opened again, by the same way.

mod manifest;
mod compact;
mod copy;
mod database;
mod engine;
mod open_error;
mod engine_error;
mod paths;
mod migrate;
mod open;
mod panics;
mod witness;

use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use masker_types::engine::EngineKind;
use tokio::{task::JoinHandle, time::Instant};

use self::{
    engine::Engine,
    open::{FileTrust, OpenedStore},
    paths::{DirectoryLock, VaultPaths},
};
use super::{
    ApplyOutcome, CompactionSizes, Row, RowBatch, RowKey, RowPage, Store, StoreCheck, StoreError, StoreFuture,
};
use masker_types::limits::{
    STORE_ANSWER_SECONDS_MAX, STORE_REOPEN_PAUSE_MILLISECONDS_DAMAGED, STORE_REOPEN_PAUSE_MILLISECONDS_MAX,
    STORE_REOPEN_PAUSE_MILLISECONDS_MIN,
};

pub use self::{
    migrate::{MigrateError, Migrated, migrate},
    open_error::StoreOpenError,
};
// What engines are written against.
pub use self::{
    database::{Database, DatabaseState, EngineDriver, RowWrite},
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest},
    panics::caught,
    paths::files_under,
};

/// fjall, the default engine.
pub const FJALL: &dyn EngineDriver = &crate::fjall::Fjall;

/// Returns the engine that made the vault in this directory, if there is a vault.
pub fn engine_of(data_dir: &Path) -> Option<EngineKind> {
    VaultPaths { root: data_dir.to_owned(), kind: EngineKind::default() }.there()
}

/// How a vault is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Which engine keeps the rows.
    pub engine: &'static dyn EngineDriver,
    /// Pages of the database that are kept, in bytes. sled counts what lies on the disk, and takes about twice that in
    /// memory.
    pub cache_bytes: u64,
    /// Go on with what is there, though commits that were answered are lost or the witness is. Once only: it is
    /// forgotten when the vault is open.
    pub accept_loss: bool,
}

impl StoreOptions {
    /// Default of [`StoreOptions::cache_bytes`]: 64 MiB.
    pub const CACHE_BYTES: u64 = 64 * 1024 * 1024;
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { engine: FJALL, cache_bytes: Self::CACHE_BYTES, accept_loss: false }
    }
}

/// A vault's rows in a directory of their own.
///
/// The methods of [`Store`] need a tokio runtime with its clock, and keep its blocking threads busy, never the one that
/// polls. Dropping the store closes it, and blocks meanwhile.
pub struct EmbeddedStore {
    shared: Arc<StoreShared>,
    vault_id: [u8; 16],
    loss: Option<u64>,
}

struct StoreShared {
    place: VaultPaths,
    options: StoreOptions,
    state: Mutex<StoreState>,
    changed: Condvar,
    /// Held by a compaction.
    compacting: Mutex<()>,
    lock: Mutex<Option<DirectoryLock>>,
}

#[derive(Clone)]
enum StoreState {
    Serving(Arc<Engine>),
    Down(StoreError),
    Closed,
}

impl EmbeddedStore {
    /// Opens the vault in this directory, or makes one where there is nothing. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreOpenError`]: what happened and what to do. A vault that was there is then as it was.
    pub fn open(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreOpenError> {
        let place = VaultPaths { root: path.as_ref().to_owned(), kind: options.engine.kind() };
        place.prepare()?;
        let mut lock = DirectoryLock::take(&place)?;
        let OpenedStore { engine, vault_id, loss } = open::open(&place, &options, FileTrust::Usual)?;
        lock.keep();
        let shared = StoreShared {
            place,
            options: StoreOptions { accept_loss: false, ..options },
            state: Mutex::new(StoreState::Serving(Arc::new(engine))),
            changed: Condvar::new(),
            compacting: Mutex::new(()),
            lock: Mutex::new(Some(lock)),
        };
        Ok(EmbeddedStore { shared: Arc::new(shared), vault_id, loss })
    }

    /// The vault's id: random, given when it was made.
    pub fn vault_id(&self) -> [u8; 16] {
        self.vault_id
    }

    /// How many answered commits the database had lost when it was opened, where an operator accepted that: 0 where
    /// nobody can tell.
    pub fn accepted_loss(&self) -> Option<u64> {
        self.loss
    }

    /// Runs a call on a thread that may block. One that met an engine which was replaced just then is run again.
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
                let error = match answer(task).await {
                    Ok(Ok(done)) => return Ok(done),
                    Ok(Err(EngineError::Gone)) if !self.shared.serves(&engine) => continue,
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

/// What came of a call, or why nothing will.
async fn answer<T>(mut task: JoinHandle<T>) -> Result<T, &'static str> {
    let lost_before = panics::lost_threads();
    let give_up_at = Instant::now() + Duration::from_secs(STORE_ANSWER_SECONDS_MAX);
    loop {
        match tokio::time::timeout(Duration::from_secs(1), &mut task).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(_)) => return Err("the runtime is shutting down"),
            Err(_) if panics::lost_threads() > lost_before => {
                return Err("a thread of the engine gave up; restart masker");
            }
            Err(_) if Instant::now() >= give_up_at => return Err("the engine does not answer; restart masker"),
            Err(_) => {}
        }
    }
}

impl StoreShared {
    fn state(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        match &*self.state() {
            StoreState::Serving(engine) => Ok(Arc::clone(engine)),
            StoreState::Down(why) => Err(why.clone()),
            StoreState::Closed => Err(StoreError::Unavailable("it was closed".into())),
        }
    }

    /// Whether it is this engine that serves.
    fn serves(&self, engine: &Arc<Engine>) -> bool {
        matches!(&*self.state(), StoreState::Serving(serving) if Arc::ptr_eq(serving, engine))
    }

    /// Stops serving from this engine, unless that was done before, and tries to open another.
    fn fail_engine(self: &Arc<Self>, failed: &Arc<Engine>, why: &str, trust: FileTrust) {
        let mut state = self.state();
        if !matches!(&*state, StoreState::Serving(engine) if Arc::ptr_eq(engine, failed)) {
            return;
        }
        tracing::error!(why, "the store failed; opening it again");
        *state = StoreState::Down(StoreError::Unavailable(why.to_owned()));
        drop(state);
        let (shared, failed) = (Arc::clone(self), Arc::clone(failed));
        let reopening = thread::Builder::new().name("store-reopen".into());
        if let Err(error) = reopening.spawn(move || shared.reopen(&failed, trust)) {
            tracing::error!(%error, "the store cannot be opened again by itself; restart masker");
        }
    }

    /// Opens the database again and again until it serves or the store is closed.
    fn reopen(&self, failed: &Engine, trust: FileTrust) {
        failed.shut();
        self.wait_for_compaction();
        let mut pause = Duration::from_millis(STORE_REOPEN_PAUSE_MILLISECONDS_MIN);
        let mut state = self.state();
        loop {
            if matches!(*state, StoreState::Closed) {
                return;
            }
            // Held while opening, so that `close` finds either this engine or none.
            drop(state);
            let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if lock.is_none() {
                return;
            }
            let opened = open::open(&self.place, &self.options, trust);
            state = self.state();
            match opened {
                Ok(opened) if matches!(*state, StoreState::Down(_)) => {
                    tracing::info!("the store serves again");
                    *state = StoreState::Serving(Arc::new(opened.engine));
                    return;
                }
                Ok(opened) => return opened.engine.shut(),
                Err(error) => {
                    let error = StoreError::from(error);
                    if matches!(error, StoreError::Damaged(_)) {
                        pause = Duration::from_millis(STORE_REOPEN_PAUSE_MILLISECONDS_DAMAGED);
                    }
                    tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "the store cannot be opened yet");
                    if matches!(*state, StoreState::Down(_)) {
                        *state = StoreState::Down(error);
                    }
                }
            }
            drop(lock);
            state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
            pause = (pause * 2).min(Duration::from_millis(STORE_REOPEN_PAUSE_MILLISECONDS_MAX));
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        let before = std::mem::replace(&mut *self.state(), StoreState::Closed);
        self.changed.notify_all();
        let mut outcome = Ok(());
        if let StoreState::Serving(engine) = before {
            outcome = engine.sync();
            engine.shut();
        }
        self.wait_for_compaction();
        // Waits for a try to open that is under way.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        outcome.map_err(StoreError::from)
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        if let Err(error) = self.shared.close() {
            tracing::error!(%error, "the store could not be closed cleanly");
        }
    }
}

impl Store for EmbeddedStore {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        self.run(move |engine| engine.get_many(&keys))
    }

    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        self.run(move |engine| engine.commit(&batch))
    }

    fn scan_after(&self, space: u8, after: Option<RowKey>, limit: usize) -> StoreFuture<'_, RowPage> {
        self.run(move |engine| engine.rows_after(Some(space), after.as_ref(), limit))
    }

    fn count(&self, space: u8) -> StoreFuture<'_, u64> {
        self.run(move |engine| engine.count(space))
    }

    fn check(&self) -> StoreFuture<'_, StoreCheck> {
        self.run(Engine::check)
    }

    fn bytes_on_disk(&self) -> StoreFuture<'_, u64> {
        let root = self.shared.place.root.clone();
        self.run(move |_| Ok(paths::bytes_on_disk(&root)?))
    }

    fn compact(&self) -> StoreFuture<'_, CompactionSizes> {
        /// Ends the compaction when nobody waits for it any more.
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
                move || shared.compact(&wanted)
            });
            compacting.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the runtime is shutting down".into())))
        })
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let closing = tokio::task::spawn_blocking(move || shared.close());
            closing.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the runtime is shutting down".into())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_waits_for_a_lost_thread_is_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            panics::caught(|| ()).unwrap();
            let stuck = tokio::spawn(std::future::pending::<()>());
            let loses_one = async {
                let thread = thread::Builder::new().name("sled-io-test".into()).spawn(|| panic!("gone")).unwrap();
                assert!(thread.join().is_err());
            };
            let (told, ()) = tokio::join!(answer(stuck), loses_one);
            assert!(told.is_err_and(|why| why.contains("restart masker")));
        });
    }
}
