//! Threads that serve connections: one for every other core, each with a runtime of its own. Whoever asks is on the same
//! host, and takes the rest.
//!
//! A request that is worked off in microseconds should not be moved between threads: a wake-up on another core costs as
//! much as the work. So a connection stays on the thread that it was given, and so does what is done for it, but for what
//! takes long: that is done on the daemon's main runtime, whose threads share out what there is to do.

use std::{io, sync::Arc, thread, time::Duration};

use hyper::body::Body;
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use super::router::Route;
use masker_types::limits::INLINE_BODY_BYTES_MAX;

/// Workers at least: where one waits for the audit log's disk, the others go on.
const WORKERS_MIN: usize = 2;

/// Threads at most for calls of one worker's connections that block on the disk.
const BLOCKING_THREADS_MAX: usize = 64;

/// Time that such calls have to end once all connections have, in milliseconds.
const SHUTDOWN_TIMEOUT_MS: u64 = 500;

/// The workers. Dropping them ends them, and what connections they still have.
pub struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    connections: Arc<()>,
    /// Dropped with the worker, which ends its thread.
    _running: oneshot::Sender<()>,
}

/// A place on a worker, as long as it is kept.
pub(super) struct WorkerSlot(#[expect(dead_code, reason = "is counted, not read")] Arc<()>);

impl Workers {
    /// Starts the workers; each begins with `on_start`.
    ///
    /// # Errors
    /// What the system said, where it gives no more threads or descriptors.
    pub fn start(on_start: fn()) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = (cores / 2).max(WORKERS_MIN);
        (0..workers).map(|number| Worker::start(number, on_start)).collect::<io::Result<_>>().map(Workers)
    }

    /// A seat on the worker with the fewest connections, and the runtime that the connection is to be served on.
    pub(super) fn seat(&self) -> Option<(WorkerSlot, &Handle)> {
        let worker = self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.connections))?;
        Some((WorkerSlot(Arc::clone(&worker.connections)), &worker.runtime))
    }
}

impl Worker {
    fn start(number: usize, on_start: fn()) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .on_thread_start(on_start)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        thread::Builder::new().name(format!("connections-{number}")).spawn(move || {
            on_start();
            // Only that it ended is of interest.
            let _ = runtime.block_on(ended);
            runtime.shutdown_timeout(Duration::from_millis(SHUTDOWN_TIMEOUT_MS));
        })?;
        Ok(Worker { runtime: handle, connections: Arc::default(), _running: running })
    }
}

/// Whether a request is worked off where it was read: a few values at most, so it takes no longer than handing it over
/// and back.
pub(super) fn runs_in_place(route: Route, body: &impl Body) -> bool {
    route.charges_by_value() && body.size_hint().exact().is_some_and(|bytes| bytes <= INLINE_BODY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    #[test]
    fn connections_are_spread_evenly() {
        let workers = Workers((0..3).map(|number| Worker::start(number, || {}).unwrap()).collect());
        let seats: Vec<WorkerSlot> = (0..6).map(|_| workers.seat().unwrap().0).collect();
        let taken = |workers: &Workers| {
            workers.0.iter().map(|worker| Arc::strong_count(&worker.connections) - 1).collect::<Vec<_>>()
        };
        assert_eq!(taken(&workers), [2, 2, 2]);
        drop(seats);
        assert_eq!(taken(&workers), [0, 0, 0]);
    }

    #[test]
    fn what_may_take_long_is_handed_over() {
        let body = |bytes: u64| Full::new(hyper::body::Bytes::from(vec![b' '; bytes as usize]));
        assert!(runs_in_place(Route::Tokenize, &body(INLINE_BODY_BYTES_MAX)));
        assert!(!runs_in_place(Route::Tokenize, &body(INLINE_BODY_BYTES_MAX + 1)));
        assert!(!runs_in_place(Route::VaultCheck, &body(0)));
    }
}
