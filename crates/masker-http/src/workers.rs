//! Threads that serve connections: one for every other core, each with its own runtime. The clients are on the same host
//! and need the other cores.
//!
//! A request that takes microseconds should stay on one thread: a wake-up on another core costs as much as the work. So a
//! connection stays on the thread that it was assigned to, and so do its operations, except those that take long. They run
//! on the daemon's main runtime, whose threads share the work.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use masker_types::limits::{BLOCKING_CALLS_STOP_MS_MAX, BLOCKING_THREADS_MAX};

/// The least number of workers: while one waits for the audit log's disk, the others go on.
const WORKERS_MIN: usize = 2;

/// The workers. Dropping them ends their threads and the connections that they still have.
pub struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    connections: Arc<()>,
    /// Dropped with the worker, which ends its thread.
    _running: oneshot::Sender<()>,
}

/// Counts as one connection of a worker until it is dropped.
pub(super) struct WorkerSlot(#[expect(dead_code, reason = "is counted, not read")] Arc<()>);

impl Workers {
    /// Starts the workers; each begins with `on_start`.
    ///
    /// # Errors
    /// An I/O error if the system has no more threads or descriptors.
    pub fn start(on_start: fn()) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = (cores / 2).max(WORKERS_MIN);
        (0..workers).map(|number| Worker::start(number, on_start)).collect::<io::Result<_>>().map(Workers)
    }

    /// Returns a slot on the worker with the fewest connections, and the runtime to serve the connection on.
    pub(super) fn slot(&self) -> Option<(WorkerSlot, &Handle)> {
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
            // It ends by an error: the sender was dropped.
            let _ = runtime.block_on(ended);
            runtime.shutdown_timeout(Duration::from_millis(BLOCKING_CALLS_STOP_MS_MAX));
        })?;
        Ok(Worker { runtime: handle, connections: Arc::default(), _running: running })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_evenly() {
        let workers = Workers((0..3).map(|number| Worker::start(number, || {}).unwrap()).collect());
        let slots: Vec<WorkerSlot> = (0..6).map(|_| workers.slot().unwrap().0).collect();
        let taken = |workers: &Workers| {
            workers.0.iter().map(|worker| Arc::strong_count(&worker.connections) - 1).collect::<Vec<_>>()
        };
        assert_eq!(taken(&workers), [2, 2, 2]);
        drop(slots);
        assert_eq!(taken(&workers), [0, 0, 0]);
    }
}
