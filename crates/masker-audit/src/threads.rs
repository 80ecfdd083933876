//! The threads of a log: one syncs, begins segments and retries after a failure; another one exists while closed segments
//! are compressed or removed.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use super::{background::BackgroundJob, maintenance, state::LogState, writer::log_chain_head};

/// The threads of a log.
pub(super) struct LogThreads {
    flush: JoinHandle<()>,
    maintenance: Arc<BackgroundJob>,
}

impl LogThreads {
    /// Starts them, and looks for segments that an earlier run did not compress or remove.
    pub(super) fn start(state: &Arc<LogState>) -> io::Result<Self> {
        let maintenance = BackgroundJob::new("audit-segments");
        let (state, job) = (state.clone(), maintenance.clone());
        let flush = thread::Builder::new().name("audit".into()).spawn(move || {
            request_maintenance(&job, &state);
            state.flusher.run(|| request_maintenance(&job, &state));
        })?;
        Ok(LogThreads { flush, maintenance })
    }

    /// Returns whether the thread that syncs and retries still runs.
    pub(super) fn is_running(&self) -> bool {
        !self.flush.is_finished()
    }

    /// Compresses, removes and summarizes closed segments in the background, where that is to be done.
    pub(super) fn request_maintenance(&self, state: &Arc<LogState>) {
        request_maintenance(&self.maintenance, state);
    }

    /// Waits until everything written is synced and the threads have ended. Blocks, also for a compression in progress.
    pub(super) fn stop(self, state: &LogState) {
        state.flusher.stop();
        if self.flush.join().is_err() {
            tracing::error!("a thread of the audit log panicked");
        }
        state.flusher.close();
        self.maintenance.join();
        let segment = state.flusher.output().writer.segment().map(|name| name.to_string()).unwrap_or_default();
        log_chain_head(&state.flusher.durable_head(), &segment, "the audit log ends");
    }
}

fn request_maintenance(job: &Arc<BackgroundJob>, state: &Arc<LogState>) {
    let state = state.clone();
    if let Err(error) = job.request(move || maintenance::run(&state)) {
        tracing::warn!(%error, "failed to start a thread that compresses segments of the audit log");
    }
}
