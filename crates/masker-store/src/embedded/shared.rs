//! What all calls of an embedded store share: its current engine, and reopening it after a failure.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use masker_types::limits::{STORE_REOPEN_PAUSE_MS_DAMAGED, STORE_REOPEN_PAUSE_MS_MAX, STORE_REOPEN_PAUSE_MS_MIN};

use super::{
    engine::Engine,
    manifest::CommitPosition,
    open::{self, FileTrust},
    options::StoreOptions,
    paths::{DataDirectoryLock, VaultPaths},
};
use crate::StoreError;

pub(super) struct StoreShared {
    pub(super) paths: VaultPaths,
    pub(super) options: StoreOptions,
    state: Mutex<StoreState>,
    /// Wakes the thread that reopens when the store is closed.
    changed: Condvar,
    /// Held by a compaction while it runs.
    pub(super) compacting: Mutex<()>,
    /// The position of the last durable commit.
    position: Mutex<CommitPosition>,
    /// `None` once the store is closed. Held while opening.
    lock: Mutex<Option<DataDirectoryLock>>,
}

#[derive(Clone)]
enum StoreState {
    Serving(Arc<Engine>),
    Down(StoreError),
    Closed,
}

impl StoreShared {
    /// Shares an engine that was just opened.
    pub(super) fn new(paths: VaultPaths, options: StoreOptions, engine: Engine, lock: DataDirectoryLock) -> Self {
        let position = Mutex::new(engine.manifest().position);
        StoreShared {
            paths,
            options,
            state: Mutex::new(StoreState::Serving(Arc::new(engine))),
            changed: Condvar::new(),
            compacting: Mutex::new(()),
            position,
            lock: Mutex::new(Some(lock)),
        }
    }

    fn state(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the engine that serves.
    pub(super) fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        match &*self.state() {
            StoreState::Serving(engine) => Ok(Arc::clone(engine)),
            StoreState::Down(reason) => Err(reason.clone()),
            StoreState::Closed => Err(StoreError::Unavailable("it was closed".into())),
        }
    }

    /// Returns the position of the last durable commit.
    pub(super) fn position(&self) -> CommitPosition {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that all commits of this engine so far are durable.
    pub(super) fn note_position(&self, engine: &Engine) {
        let committed = engine.manifest().position;
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        *position = committed.max(*position);
    }

    /// Returns whether this engine serves.
    pub(super) fn serves(&self, engine: &Arc<Engine>) -> bool {
        matches!(&*self.state(), StoreState::Serving(serving) if Arc::ptr_eq(serving, engine))
    }

    /// Serves from `new` if `old` still serves. Otherwise the store was closed or has failed just now, and the next
    /// opening finds the new database.
    pub(super) fn replace_engine(&self, old: &Arc<Engine>, new: Arc<Engine>) {
        let mut state = self.state();
        if matches!(&*state, StoreState::Serving(engine) if Arc::ptr_eq(engine, old)) {
            *state = StoreState::Serving(new);
        }
    }

    /// Stops serving from this engine and starts a thread that reopens the database. Does nothing if the engine no longer
    /// serves.
    pub(super) fn fail_engine(self: &Arc<Self>, failed: &Arc<Engine>, reason: &str, trust: FileTrust) {
        let mut state = self.state();
        if !matches!(&*state, StoreState::Serving(engine) if Arc::ptr_eq(engine, failed)) {
            return;
        }
        tracing::error!(why = reason, "the store failed; opening it again");
        *state = StoreState::Down(StoreError::Unavailable(reason.to_owned()));
        drop(state);
        let (shared, failed) = (Arc::clone(self), Arc::clone(failed));
        let reopening = thread::Builder::new().name("store-reopen".into());
        if let Err(error) = reopening.spawn(move || shared.reopen(&failed, trust)) {
            tracing::error!(%error, "failed to start the thread that reopens the store; restart masker");
        }
    }

    /// Tries to open the database until it serves or the store is closed.
    fn reopen(&self, failed: &Engine, trust: FileTrust) {
        failed.close();
        self.wait_for_compaction();
        let mut pause = Duration::from_millis(STORE_REOPEN_PAUSE_MS_MIN);
        let mut state = self.state();
        loop {
            if matches!(*state, StoreState::Closed) {
                return;
            }
            drop(state);
            // Held while opening, so that `close` finds either this engine or none.
            let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if lock.is_none() {
                return;
            }
            let opened = open::open(&self.paths, &self.options, trust);
            state = self.state();
            match opened {
                Ok(opened) if matches!(*state, StoreState::Down(_)) => {
                    self.note_position(&opened.engine);
                    tracing::info!("the store serves again");
                    *state = StoreState::Serving(Arc::new(opened.engine));
                    return;
                }
                Ok(opened) => return opened.engine.close(),
                Err(error) => {
                    let error = StoreError::from(error);
                    if matches!(error, StoreError::Damaged(_)) {
                        pause = Duration::from_millis(STORE_REOPEN_PAUSE_MS_DAMAGED);
                    }
                    tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "failed to reopen the store; will retry");
                    if matches!(*state, StoreState::Down(_)) {
                        *state = StoreState::Down(error);
                    }
                }
            }
            drop(lock);
            state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
            pause = (pause * 2).min(Duration::from_millis(STORE_REOPEN_PAUSE_MS_MAX));
        }
    }

    /// Closes the store: syncs and closes its engine, ends a compaction, and releases the directory.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let before = std::mem::replace(&mut *self.state(), StoreState::Closed);
        self.changed.notify_all();
        let mut outcome = Ok(());
        if let StoreState::Serving(engine) = before {
            outcome = engine.sync();
            engine.close();
        }
        self.wait_for_compaction();
        // Waits for an attempt to reopen that is in progress.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        outcome.map_err(StoreError::from)
    }

    /// Waits for a running compaction. It ends soon once the engine that it copies from does not serve.
    fn wait_for_compaction(&self) {
        drop(self.compacting.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
