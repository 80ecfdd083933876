//! Wakes callers that sled forgets after an error.
//!
//! If a thread of sled fails to write the buffer that a batch begins in, it stores the error and wakes nobody
//! (`exit_reservation` in its `pagecache/logger.rs`). The caller that waits for the buffer then waits forever, on a full
//! disk, for example. A later flush finds the stored error and wakes all waiting callers. So a thread checks for such an
//! error regularly, and flushes if there is one.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use masker_store::embedded::catch_panic;

/// Pause between two checks, which delays the error after a failing write.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches a database for stored errors until dropped.
pub(super) struct ShutdownWatch {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl ShutdownWatch {
    /// Starts a thread that watches this database.
    pub(super) fn begin(db: &::sled::Db) -> io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (db, stopped) = (db.clone(), Arc::clone(&stop));
        let thread = thread::Builder::new().name("store-watch".into()).spawn(move || {
            let (stopped, changed) = &*stopped;
            let mut is_stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            while !*is_stopped {
                is_stopped = changed.wait_timeout(is_stopped, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
                if db.context.global_error().is_err() {
                    // Fails at once with the stored error, and wakes the callers.
                    let _ = catch_panic(|| db.flush());
                }
            }
            let _ = catch_panic(|| drop(db));
        })?;
        Ok(ShutdownWatch { stop, thread: Some(thread) })
    }
}

impl Drop for ShutdownWatch {
    fn drop(&mut self) {
        let (stopped, changed) = &*self.stop;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        // The thread catches its panics.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
