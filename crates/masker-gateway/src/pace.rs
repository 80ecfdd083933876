//! Cuts off clients that read an answer too slowly.
//!
//! A client of HTTP/2 can hold back one answer and read others, so the socket alone does not show it. Each answer is measured
//! on its own: the time counts in which a piece of it waits to be taken.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::{AbortHandle, spawn},
    time::sleep_until,
};

use masker_types::pace::ReadingPace;

/// What a connection does.
pub(crate) struct Activity {
    /// Requests whose answers are not sent.
    requests: AtomicUsize,
    /// When the last of them ended.
    idle_since: Mutex<Instant>,
    /// Ends the connection.
    cut: Notify,
    /// The time for which a client may take nothing, or too little.
    window: Duration,
}

impl Activity {
    pub(crate) fn new(window: Duration) -> Arc<Self> {
        Arc::new(Activity {
            requests: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            cut: Notify::new(),
            window,
        })
    }

    /// Begins a request, which lasts until the returned value is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> ActiveRequest {
        self.requests.fetch_add(1, Ordering::AcqRel);
        ActiveRequest(Arc::clone(self))
    }

    /// Returns when the last request ended, if none is in flight.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.requests.load(Ordering::Acquire) == 0).then(|| *lock(&self.idle_since))
    }

    /// Waits until a client has read too slowly.
    pub(crate) async fn cut_off(&self) {
        self.cut.notified().await;
    }
}

/// A request in flight.
pub(crate) struct ActiveRequest(Arc<Activity>);

impl ActiveRequest {
    /// Begins to measure how fast its answer is read.
    pub(crate) fn pace(&self) -> AnswerPace {
        let pace = Arc::new(Mutex::new(ReadingPace::new(self.0.window, Instant::now())));
        let (activity, watched) = (Arc::clone(&self.0), Arc::clone(&pace));
        let watcher = spawn(async move {
            loop {
                let now = Instant::now();
                let window_end = lock(&watched).window_end(now);
                // While nothing waits, the end of the window moves on; it need not be followed closely.
                sleep_until(window_end.max(now + activity.window / 8).into()).await;
                if lock(&watched).is_too_slow(Instant::now()) {
                    // One permit is kept if the connection does not wait at this moment.
                    return activity.cut.notify_one();
                }
            }
        });
        AnswerPace { pace, taken: 0, watcher: watcher.abort_handle() }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        *lock(&self.0.idle_since) = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How fast one answer is read.
pub(crate) struct AnswerPace {
    pace: Arc<Mutex<ReadingPace>>,
    /// The length of the piece that waits.
    taken: usize,
    watcher: AbortHandle,
}

impl AnswerPace {
    /// Notes that the next piece is asked for, so the last one was taken.
    pub(crate) fn note_taken(&mut self) {
        let mut pace = lock(&self.pace);
        pace.note(std::mem::take(&mut self.taken));
        pace.pause(Instant::now());
    }

    /// Notes that a piece waits for the client.
    pub(crate) fn note_waiting(&mut self, bytes: usize) {
        self.taken = bytes;
        lock(&self.pace).go_on(Instant::now());
    }
}

impl Drop for AnswerPace {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{select, time::timeout};

    use super::*;

    const WINDOW: Duration = Duration::from_millis(20);

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn a_piece_that_nobody_takes_ends_the_connection() {
        run(async {
            let activity = Activity::new(WINDOW);
            let request = activity.begin();
            assert!(activity.idle_since().is_none());
            let mut pace = request.pace();
            pace.note_taken();
            pace.note_waiting(1_000);
            timeout(Duration::from_secs(30), activity.cut_off()).await.expect("it is cut off");
            drop((pace, request));
            assert!(activity.idle_since().is_some());
        });
    }

    #[test]
    fn time_without_a_piece_does_not_count() {
        run(async {
            let activity = Activity::new(WINDOW);
            let request = activity.begin();
            let mut pace = request.pace();
            pace.note_taken();
            // Several windows without anything to read.
            select! {
                () = activity.cut_off() => panic!("the client was not slow"),
                _ = timeout(10 * WINDOW, pending::<()>()) => {}
            }
        });
    }
}
