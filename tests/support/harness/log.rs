//! The log of a daemon, read while it is written.

use std::{
    io::Read,
    process::ChildStderr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::LIMIT;

/// The log of one daemon. It stays readable after the daemon has ended.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

impl Log {
    /// Reads standard error until the process ends; then calls `at_end`.
    pub(super) fn follow(mut stderr: ChildStderr, at_end: impl FnOnce() + Send + 'static) -> Self {
        let log = Log(Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() }));
        let writer = log.clone();
        thread::spawn(move || {
            let mut buffer = [0; 8_192];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                writer.state().bytes.extend_from_slice(&buffer[..read]);
                writer.0.changed.notify_all();
            }
            writer.state().ended = true;
            writer.0.changed.notify_all();
            at_end();
        });
        log
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed while it held the lock still shows the log.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns everything so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.state().bytes.clone()).expect("the log is UTF-8")
    }

    /// Returns the complete lines so far. Each must be a JSON object with a time, a level and a message.
    pub fn lines(&self) -> Vec<Value> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(parse).collect()
    }

    /// Waits until `count` lines have this message, and returns them.
    pub fn wait_for(&self, count: usize, message: &str) -> Vec<Value> {
        let mut state = self.state();
        loop {
            let bytes = state.bytes.clone();
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &bytes[..end]);
            let text = std::str::from_utf8(whole).expect("the log is UTF-8");
            let found: Vec<Value> = text
                .lines()
                .filter(|line| line.contains(message))
                .map(parse)
                .filter(|line| line["message"] == message)
                .collect();
            if found.len() >= count {
                return found;
            }
            assert!(!state.ended, "the daemon ended and had not logged {message:?} {count} times:\n{text}");
            let (guard, waited) = self.0.changed.wait_timeout(state, LIMIT).unwrap_or_else(PoisonError::into_inner);
            assert!(!waited.timed_out(), "{count} lines {message:?} were not logged within {LIMIT:?}:\n{text}");
            state = guard;
        }
    }

    /// Returns the length of the log so far, in bytes.
    pub fn length(&self) -> usize {
        self.state().bytes.len()
    }

    /// Returns what was logged after that many bytes.
    pub fn text_after(&self, length: usize) -> String {
        String::from_utf8(self.state().bytes[length..].to_vec()).expect("the log is UTF-8")
    }

    /// Waits for the first line after that many bytes that has one of these messages. Returns `None` at the time
    /// limit, or if the process ended.
    pub fn find_after(&self, length: usize, messages: &[&str], limit: Duration) -> Option<Value> {
        let found = |state: &State| {
            let rest = String::from_utf8_lossy(&state.bytes[length..]);
            let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
            let mut lines =
                whole.lines().filter(|line| messages.iter().any(|message| line.contains(message))).map(parse);
            lines.find(|line| messages.iter().any(|message| line["message"] == *message))
        };
        let wait = |state: &mut State| !state.ended && found(state).is_none();
        let waited = self.0.changed.wait_timeout_while(self.state(), limit, wait);
        found(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Waits for the end of the process. Returns false at the time limit.
    pub(super) fn wait_for_end(&self, limit: Duration) -> bool {
        let ended = self.0.changed.wait_timeout_while(self.state(), limit, |state| !state.ended);
        ended.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

fn parse(line: &str) -> Value {
    let parsed: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: a log line is JSON: {line}"));
    for field in ["timestamp", "level", "message"] {
        assert!(parsed[field].is_string(), "a log line has a {field}: {line}");
    }
    parsed
}
