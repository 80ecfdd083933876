//! The daemon's threads: tokio's for requests, rayon's for large batches.

use std::{fmt::Display, thread};

use tokio::runtime::{self, Runtime};
use tracing::warn;

use super::{stack, start_error::StartError};
use masker_types::limits::BLOCKING_THREADS_MAX;

/// Starts the thread pools of tokio and rayon.
///
/// # Errors
/// A thread cannot be started.
pub(super) fn start_runtime() -> Result<Runtime, StartError> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(thread::available_parallelism().map_or(2, usize::from).max(2))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .on_thread_start(on_thread_start)
        .enable_all()
        .build()
        .map_err(thread_error)?;
    rayon::ThreadPoolBuilder::new().start_handler(|_| on_thread_start()).build_global().map_err(thread_error)?;
    Ok(runtime)
}

/// Prepares a thread that may compute with keys. Called first on each of them.
pub(super) fn on_thread_start() {
    if let Err(error) = stack::exclude_from_core_dumps() {
        warn!(%error, "failed to exclude a thread's stack from core dumps");
    }
}

/// Returns the error for a thread that did not start.
pub(super) fn thread_error(error: impl Display) -> StartError {
    format!("failed to start threads: {error}").into()
}
