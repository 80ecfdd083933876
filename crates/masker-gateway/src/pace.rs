//! What a connection does, and how its end is caused: by a client that reads an answer too slowly, or by another connection that
//! needs its place.
//!
//! A client of HTTP/2 can hold back one answer and read others, so the socket alone does not show it. Each answer is measured
//! on its own: the time counts in which a piece of it waits to be taken. Over HTTP/2 only the stream of the answer ends.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::rt::Executor;
use tokio::{
    select,
    sync::Notify,
    task::{AbortHandle, spawn},
    task_local,
    time::{sleep, sleep_until},
};
use tracing::debug;

use masker_types::pace::ReadingPace;

/// What a connection does.
pub(crate) struct Activity {
    /// Requests whose answers are not sent.
    requests: AtomicUsize,
    /// All requests that have begun.
    begun: AtomicU64,
    /// When the last of them ended.
    idle_since: Mutex<Instant>,
    admission: Mutex<Admission>,
    displaced: Notify,
    /// Ends the connection.
    cut: Arc<Notify>,
    /// The time for which a client may take nothing, or too little.
    window: Duration,
}

/// What the daemon has answered to the requests of a connection.
struct Admission {
    /// Whether it has answered one.
    is_answered: bool,
    /// Whether it has accepted a credential.
    is_admitted: bool,
    /// When it last did, or when the connection began.
    since: Instant,
}

/// Orders connections: the least one is displaced first. A connection of a caller who has shown a credential comes after all others,
/// and one with a request in flight after those without.
pub(crate) type Rank = (bool, bool, Instant);

task_local! {
    /// Ends the HTTP/2 stream whose task runs.
    static STREAM_CUT: Arc<Notify>;
}

/// Runs each stream of an HTTP/2 connection so that it can be ended alone.
#[derive(Clone)]
pub(crate) struct StreamExecutor;

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let cut = Arc::new(Notify::new());
        let ended = Arc::clone(&cut);
        // Without its task, a stream is reset.
        spawn(STREAM_CUT.scope(cut, async move {
            select! {
                _ = stream => {}
                () = ended.notified() => {}
            }
        }));
    }
}

impl Activity {
    pub(crate) fn new(window: Duration) -> Arc<Self> {
        Arc::new(Activity {
            requests: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            idle_since: Mutex::new(Instant::now()),
            admission: Mutex::new(Admission { is_answered: false, is_admitted: false, since: Instant::now() }),
            displaced: Notify::new(),
            cut: Arc::new(Notify::new()),
            window,
        })
    }

    /// Begins a request, which lasts until the returned value is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> ActiveRequest {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel);
        ActiveRequest(Arc::clone(self))
    }

    /// Returns when the last request ended, if none is in flight.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.requests.load(Ordering::Acquire) == 0).then(|| *lock(&self.idle_since))
    }

    /// Returns how many requests have begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Notes that the daemon has answered a request, and whether that shows that the caller has a credential.
    pub(crate) fn note_answered(&self, shows_credential: bool) {
        let mut admission = lock(&self.admission);
        admission.is_answered = true;
        if shows_credential {
            (admission.is_admitted, admission.since) = (true, Instant::now());
        }
    }

    /// Returns the rank among the connections that can be displaced. `None` for a connection at work for a caller.
    pub(crate) fn rank(&self) -> Option<Rank> {
        let is_at_work = self.requests.load(Ordering::Acquire) > 0;
        let admission = lock(&self.admission);
        (!is_at_work || !admission.is_admitted).then_some((admission.is_admitted, is_at_work, admission.since))
    }

    /// Ends the connection, whose place another one has.
    pub(crate) fn displace(&self) {
        // One permit is kept if the connection does not wait at this moment.
        self.displaced.notify_one();
    }

    /// Waits until another connection has the place of this one.
    pub(crate) async fn displaced(&self) {
        self.displaced.notified().await;
    }

    /// Waits until the connection has had a time without an answer of the daemon, and has no request in flight; for ever once there
    /// was one.
    pub(crate) async fn unanswered(&self, time: Duration) {
        loop {
            sleep(time).await;
            if lock(&self.admission).is_answered {
                return std::future::pending().await;
            }
            if self.idle_since().is_some() {
                return;
            }
        }
    }

    /// Waits until a client has read too slowly, and the connection can only end as a whole.
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
        let cut = STREAM_CUT.try_with(Arc::clone).unwrap_or_else(|_| Arc::clone(&activity.cut));
        let watcher = spawn(async move {
            loop {
                let now = Instant::now();
                let window_end = lock(&watched).window_end(now);
                // While nothing waits, the end of the window moves on; it need not be followed closely.
                sleep_until(window_end.max(now + activity.window / 8).into()).await;
                if lock(&watched).is_too_slow(Instant::now()) {
                    debug!("answer cut off: the client reads too slowly");
                    // One permit is kept if nothing waits for it at this moment.
                    return cut.notify_one();
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

    use tokio::time::timeout;

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
