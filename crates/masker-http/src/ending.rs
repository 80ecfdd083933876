//! How a connection ends when the daemon stops: a request that a client has sent is answered, and a client whose request
//! is not taken any more knows that nothing was done.
//!
//! To close a connection between two requests is a race that HTTP has no way around (RFC 9112 section 9.5): the client may
//! be sending at that moment, and never learns whether it was heard. Three things make it harmless here. What is answered
//! while the daemon stops says `connection: close`, so a client that goes on asking has a moment to be told. A connection
//! on which nothing was asked yet, whose client is about to, has longer. And it is not closed but shut for reading: for a
//! Unix socket the kernel does that in one step, before which a client's bytes are in the queue, where they are still read
//! and answered, and after which they are refused (`EPIPE`), so that a client may repeat any request that they were of.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Time for a first request, on a connection that was accepted and not used yet, in milliseconds.
const FIRST_REQUEST_MS: u64 = 2_000;
/// Time for another request, in milliseconds.
const NEXT_REQUEST_MS: u64 = 250;

/// How far a connection is. Its stream, its handler and who ends it are one task, so the order of the flags' changes is
/// that of the lines.
#[derive(Debug, Default)]
pub(super) struct ConnectionProgress {
    /// A request was asked, ever.
    asked: AtomicBool,
    /// A handler is at work.
    handler_running: AtomicBool,
    /// Bytes came that are of no request whose handler has begun.
    heard: AtomicBool,
    /// It is to be shut for reading.
    ended: AtomicBool,
}

impl ConnectionProgress {
    /// Bytes were read.
    pub(super) fn note_bytes_read(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// A handler begins.
    pub(super) fn begin(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.handler_running.store(true, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
    }

    /// The handler has ended, with the request's body behind it.
    pub(super) fn finish(&self) {
        self.handler_running.store(false, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
    }

    /// How long a client may still ask something once the daemon stops.
    pub(super) fn grace_period(&self) -> Duration {
        let asked = self.asked.load(Ordering::Relaxed);
        Duration::from_millis(if asked { NEXT_REQUEST_MS } else { FIRST_REQUEST_MS })
    }

    /// Has the connection shut for reading, unless a request is under way or that was done before. Says whether it did.
    pub(super) fn end(&self) -> bool {
        let under_way = self.handler_running.load(Ordering::Relaxed) || self.heard.load(Ordering::Relaxed);
        !under_way && !self.ended.swap(true, Ordering::Relaxed)
    }

    /// Whether it is to be shut for reading.
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
    fn what_came_before_the_end_is_read_and_what_comes_after_is_refused() {
        let (mut client, mut daemon) = UnixStream::pair().unwrap();
        client.write_all(b"before").unwrap();
        daemon.shutdown(Shutdown::Read).unwrap();
        assert_eq!(client.write(b"after").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut heard = String::new();
        daemon.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "before");
        daemon.write_all(b"answer").unwrap();
        drop(daemon);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
    }

    #[test]
    fn a_request_that_is_under_way_is_not_cut() {
        let progress = ConnectionProgress::default();
        assert_eq!(progress.grace_period(), Duration::from_millis(FIRST_REQUEST_MS));
        progress.note_bytes_read();
        assert!(!progress.end(), "its head has begun");
        progress.begin();
        progress.note_bytes_read();
        assert!(!progress.end(), "its body comes");
        progress.finish();
        assert_eq!(progress.grace_period(), Duration::from_millis(NEXT_REQUEST_MS));
        assert!(!progress.is_ended());
        assert!(progress.end() && progress.is_ended());
        assert!(!progress.end(), "once is enough");
    }
}
