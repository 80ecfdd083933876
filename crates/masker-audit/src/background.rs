//! A job that runs on a plain thread on request, never twice at the same time.

use std::{
    io,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use super::sync::lock;

/// Runs a job on a thread that exists only while there is work. A request during a run causes one more run, however many
/// requests there are.
pub(super) struct BackgroundJob {
    name: &'static str,
    state: Mutex<JobState>,
}

#[derive(Default)]
struct JobState {
    requested: bool,
    running: bool,
    /// The last thread that was started.
    thread: Option<JoinHandle<()>>,
}

impl BackgroundJob {
    /// Returns a job that has not run. `name` becomes the name of its threads.
    pub(super) fn new(name: &'static str) -> Arc<Self> {
        Arc::new(BackgroundJob { name, state: Mutex::default() })
    }

    /// Runs `job` on a new thread, or once more on the thread that runs it.
    ///
    /// # Errors
    /// The thread could not be started. The next request tries again.
    pub(super) fn request(self: &Arc<Self>, job: impl Fn() + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.requested = true;
        if state.running {
            return Ok(());
        }
        let background = RunningGuard(self.clone());
        let thread = thread::Builder::new().name(self.name.into()).spawn(move || {
            while background.0.take_request() {
                job();
            }
        })?;
        state.running = true;
        // The thread before this one has no work left, but it may still hold what its job refers to.
        if let Some(previous) = state.thread.replace(thread) {
            join(previous);
        }
        Ok(())
    }

    /// Waits until the job does not run any more.
    pub(super) fn join(&self) {
        let thread = lock(&self.state).thread.take();
        if let Some(thread) = thread {
            join(thread);
        }
    }

    /// Returns whether the job is to run once more. If not, the next request starts a new thread.
    fn take_request(&self) -> bool {
        let mut state = lock(&self.state);
        state.running = std::mem::take(&mut state.requested);
        state.running
    }
}

/// Lets the next request start a thread after the job panicked.
struct RunningGuard(Arc<BackgroundJob>);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.state).running = false;
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the audit log panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use super::*;

    #[test]
    fn runs_once_more_for_all_requests_during_a_run_and_never_twice_at_once() {
        let (background, running, runs) = (BackgroundJob::new("job"), Arc::new(AtomicUsize::new(0)), Arc::default());
        let (started, start) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let released = Arc::new(Mutex::new(released));
        let request = |runs: &Arc<AtomicUsize>| {
            let (running, runs, started, released) = (running.clone(), runs.clone(), started.clone(), released.clone());
            background.request(move || {
                assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "the job runs twice at the same time");
                started.send(()).unwrap();
                lock(&released).recv().unwrap();
                running.fetch_sub(1, Ordering::SeqCst);
                runs.fetch_add(1, Ordering::SeqCst);
            })
        };
        request(&runs).unwrap();
        start.recv().unwrap();
        for _ in 0..3 {
            request(&runs).unwrap();
        }
        release.send(()).unwrap();
        start.recv().unwrap();
        assert!(start.recv_timeout(Duration::from_millis(20)).is_err());
        release.send(()).unwrap();
        background.join();
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        // A new thread does what comes after the first one has ended.
        release.send(()).unwrap();
        request(&runs).unwrap();
        background.join();
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn runs_again_after_a_panic() {
        let background = BackgroundJob::new("job");
        background.request(|| panic!("expected by the test")).unwrap();
        background.join();
        let (done, runs) = mpsc::channel();
        background.request(move || done.send(()).unwrap()).unwrap();
        runs.recv_timeout(Duration::from_secs(10)).unwrap();
        background.join();
    }
}
