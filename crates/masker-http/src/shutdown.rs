//! How a connection ends when the daemon stops: a request that a client has sent is answered, and a client whose request
//! is no longer read can know that it had no effect.
//!
//! Closing a connection between two requests is a race that HTTP cannot avoid (RFC 9112 section 9.5): the client may be
//! sending at that moment, and never learns whether it was read. Three measures make it harmless here:
//!
//! - Answers sent while the daemon stops have `connection: close`, so a busy client has a moment to notice.
//! - A connection without a request so far has longer, as its client is about to send one.
//! - The connection is not closed but shut for reading. For a Unix socket the kernel does that in one step. Bytes that
//!   were sent before are still read and answered. Bytes sent after are refused (`EPIPE`), so the client may repeat the
//!   request, of any kind.
//!
//! hyper's `graceful_shutdown` closes instead, which loses the requests that are in the socket's queue at that moment.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::Waker,
    time::Duration,
};

use futures_util::task::AtomicWaker;

/// Time for the first request of a connection, in milliseconds.
const FIRST_REQUEST_MS: u64 = 2_000;
/// Time for another request, in milliseconds.
const NEXT_REQUEST_MS: u64 = 250;

/// The progress of a connection. Its stream and its handlers run on one thread, so relaxed ordering is enough.
#[derive(Debug, Default)]
pub(super) struct ConnectionProgress {
    /// How many requests' handlers have begun.
    requests: AtomicU64,
    /// A handler is running.
    handler_running: AtomicBool,
    /// Bytes were read that belong to no request whose handler has begun.
    unread_bytes: AtomicBool,
    /// The connection reads no further request.
    ended: AtomicBool,
    /// A request's URL had an API key in its fragment.
    key_in_fragment: AtomicBool,
    /// Wakes the connection's task, which would not notice the end of a drain.
    drained: AtomicWaker,
}

impl ConnectionProgress {
    /// Notes that bytes were read.
    pub(super) fn note_bytes_read(&self) {
        self.unread_bytes.store(true, Ordering::Relaxed);
    }

    /// Returns whether bytes were read that belong to no request whose handler has begun.
    pub(super) fn has_unread_bytes(&self) -> bool {
        self.unread_bytes.load(Ordering::Relaxed)
    }

    /// Returns whether a handler is running.
    pub(super) fn handler_is_running(&self) -> bool {
        self.handler_running.load(Ordering::Relaxed)
    }

    /// Notes that a request's URL has an API key in its fragment. From then on every request of the connection is refused,
    /// because it is not known which of them it is.
    pub(super) fn note_key_in_fragment(&self) {
        self.key_in_fragment.store(true, Ordering::Relaxed);
    }

    /// Returns whether a request's URL had an API key in its fragment.
    pub(super) fn has_key_in_fragment(&self) -> bool {
        self.key_in_fragment.load(Ordering::Relaxed)
    }

    /// Notes that a handler begins. Returns the number of its request.
    pub(super) fn begin(&self) -> u64 {
        self.handler_running.store(true, Ordering::Relaxed);
        self.unread_bytes.store(false, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes that the handler has ended and the request's body was read.
    pub(super) fn finish(&self) {
        self.handler_running.store(false, Ordering::Relaxed);
        self.unread_bytes.store(false, Ordering::Relaxed);
    }

    /// Notes that the rest of the body of a refused request was read. The next request may have begun already: hyper reads
    /// it as soon as the body has ended.
    pub(super) fn finish_drain(&self, request: u64) {
        if request == self.requests.load(Ordering::Relaxed) {
            self.finish();
        }
        self.drained.wake();
    }

    /// Registers the waker to be woken by [`ConnectionProgress::finish_drain`].
    pub(super) fn wake_when_drained(&self, waker: &Waker) {
        self.drained.register(waker);
    }

    /// Returns how long the client may still send a request once the daemon stops.
    pub(super) fn grace_period(&self) -> Duration {
        let request_seen = self.requests.load(Ordering::Relaxed) > 0;
        Duration::from_millis(if request_seen { NEXT_REQUEST_MS } else { FIRST_REQUEST_MS })
    }

    /// Marks the connection to be shut for reading, unless a request is in flight. Returns whether it is newly marked.
    pub(super) fn end(&self) -> bool {
        let in_flight = self.handler_running.load(Ordering::Relaxed) || self.unread_bytes.load(Ordering::Relaxed);
        !in_flight && !self.ended.swap(true, Ordering::Relaxed)
    }

    /// Returns whether the connection was marked by [`ConnectionProgress::end`].
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read, Write},
        net::Shutdown,
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn bytes_sent_before_the_shutdown_are_read_and_later_ones_refused() {
        let (mut client, mut daemon) = UnixStream::pair().unwrap();
        client.write_all(b"before").unwrap();
        daemon.shutdown(Shutdown::Read).unwrap();
        assert_eq!(client.write(b"after").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut received = String::new();
        daemon.read_to_string(&mut received).unwrap();
        assert_eq!(received, "before");
        daemon.write_all(b"answer").unwrap();
        drop(daemon);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
    }

    #[test]
    fn a_request_in_flight_is_not_cut() {
        let progress = ConnectionProgress::default();
        assert_eq!(progress.grace_period(), Duration::from_millis(FIRST_REQUEST_MS));
        progress.note_bytes_read();
        assert!(!progress.end(), "a part of its head was read");
        progress.begin();
        progress.note_bytes_read();
        assert!(!progress.end(), "its body is being read");
        progress.finish();
        assert_eq!(progress.grace_period(), Duration::from_millis(NEXT_REQUEST_MS));
        assert!(!progress.is_ended());
        assert!(progress.end() && progress.is_ended());
        assert!(!progress.end(), "once is enough");
    }

    #[test]
    fn the_end_of_a_drain_is_not_the_end_of_the_next_request() {
        let progress = ConnectionProgress::default();
        let refused = progress.begin();
        let next = progress.begin();
        progress.finish_drain(refused);
        assert!(!progress.end(), "the next request is in flight");
        progress.finish_drain(next);
        assert!(progress.end());
    }
}
