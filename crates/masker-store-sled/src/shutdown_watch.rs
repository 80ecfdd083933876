//! Waking callers that sled forgets.
//!
//! A thread of sled's that fails to write the buffer which a batch begins in stores the error and wakes nobody
//! (`exit_reservation` in its `pagecache/logger.rs`), so the caller that waits for the buffer waits for ever: on a full disk,
//! say. Any later flush finds the stored error, and in passing wakes everyone. So a thread of our own looks for such an
//! error now and then, and flushes when there is one.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use masker_store::embedded::caught;

/// Pause between two looks: what a failing disk adds to the time of an answer.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches a database until dropped.
pub(super) struct ShutdownWatch {
    over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl ShutdownWatch {
    /// Begins to watch.
    pub(super) fn begin(db: &::sled::Db) -> io::Result<Self> {
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let (db, theirs) = (db.clone(), Arc::clone(&over));
        let thread = thread::Builder::new().name("store-watch".into()).spawn(move || {
            let (over, changed) = &*theirs;
            let mut is_over = over.lock().unwrap_or_else(PoisonError::into_inner);
            while !*is_over {
                is_over = changed.wait_timeout(is_over, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
                if db.context.global_error().is_err() {
                    // It fails at once, with the error that is there already.
                    let _ = caught(|| db.flush());
                }
            }
            let _ = caught(|| drop(db));
        })?;
        Ok(ShutdownWatch { over, thread: Some(thread) })
    }
}

impl Drop for ShutdownWatch {
    fn drop(&mut self) {
        let (over, changed) = &*self.over;
        *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        // What it may panic at is caught in there.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
