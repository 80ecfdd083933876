//! The queue between a program's threads and its log, so that a reader of the log that stops reading stops nothing else.
//!
//! Standard error may be a pipe, and a write to a full pipe waits until someone reads. Only one thread writes to it. The
//! others leave their lines in a queue of bounded size; a line that finds no room is lost and counted.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::warn;

use masker_types::limits::LOG_QUEUE_BYTES_MAX;

/// The queue of the program's log.
pub static LOG: LogQueue = LogQueue { state: Mutex::new(LogQueueState::new()), changed: Condvar::new() };

/// Counts lost lines.
type LossCounter = Box<dyn Fn(u64) + Send>;

/// Lines that wait for the thread that writes them.
pub struct LogQueue {
    state: Mutex<LogQueueState>,
    changed: Condvar,
}

struct LogQueueState {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether there is a thread that writes. Until then, each line is written by the thread that logs it.
    has_thread: bool,
    /// Whether the thread writes a line that it has taken from the queue.
    writing: bool,
    /// Lines that were lost since the last line in the log that counts them.
    lost: u64,
    /// Is called with the number of lines that were lost.
    on_loss: Option<LossCounter>,
}

impl LogQueueState {
    const fn new() -> Self {
        LogQueueState { lines: VecDeque::new(), bytes: 0, has_thread: false, writing: false, lost: 0, on_loss: None }
    }

    fn add(&mut self, line: &[u8]) {
        if self.bytes + line.len() > LOG_QUEUE_BYTES_MAX {
            self.lost += 1;
            self.on_loss.iter().for_each(|count| count(1));
        } else {
            self.bytes += line.len();
            self.lines.push_back(line.to_vec());
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.len();
        Some(line)
    }
}

impl LogQueue {
    fn state(&self) -> MutexGuard<'_, LogQueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread that writes, which calls `prepare` first. From now on, logging does not wait for standard error.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start_thread(&'static self, prepare: fn()) -> io::Result<()> {
        thread::Builder::new().name("log".into()).spawn(move || {
            prepare();
            self.run();
        })?;
        self.state().has_thread = true;
        Ok(())
    }

    /// Counts lost lines from now on.
    pub fn count_lost_lines(&self, count: LossCounter) {
        let mut state = self.state();
        count(state.lost);
        state.on_loss = Some(count);
    }

    /// Waits until all lines are written, or until the time is over.
    pub fn finish(&self, limit: Duration) {
        let unwritten = |state: &mut LogQueueState| state.has_thread && (state.writing || !state.lines.is_empty());
        drop(self.changed.wait_timeout_while(self.state(), limit, unwritten));
    }

    fn run(&self) -> ! {
        loop {
            let mut state = self.state();
            let line = loop {
                match state.take() {
                    Some(line) => break line,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            state.writing = true;
            drop(state);
            write_line(&line);
            let mut state = self.state();
            state.writing = false;
            let lost = mem::take(&mut state.lost);
            drop(state);
            self.changed.notify_all();
            if lost > 0 {
                // There is room for this line now, unless others have taken it: then it is counted among the lost.
                warn!(lines = lost, "log lines were lost, because nobody read the log");
            }
        }
    }
}

/// Writes a line to standard error. Without a reader there is nobody to report a failure to.
fn write_line(line: &[u8]) {
    let _ = io::stderr().write_all(line);
}

impl Write for &LogQueue {
    /// Adds one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if state.has_thread {
            state.add(line);
            drop(state);
            self.changed.notify_all();
        } else {
            write_line(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    #[test]
    fn a_full_queue_loses_and_counts_lines() {
        let mut state = LogQueueState::new();
        let counter = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&counter);
        state.on_loss = Some(Box::new(move |lost| {
            counted.fetch_add(lost, Ordering::Relaxed);
        }));
        let line = vec![b'x'; LOG_QUEUE_BYTES_MAX / 2];
        for _ in 0..4 {
            state.add(&line);
        }
        assert_eq!((state.lines.len(), state.lost, counter.load(Ordering::Relaxed)), (2, 2, 2));
        assert_eq!(state.take(), Some(line.clone()));
        state.add(&line);
        assert_eq!((state.lines.len(), state.bytes, state.lost), (2, 2 * line.len(), 2));
    }
}
