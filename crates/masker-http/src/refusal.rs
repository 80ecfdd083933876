//! Answers to malformed heads.
//!
//! A head that hyper cannot parse never reaches the service: hyper answers it with a bare status. The contract gives
//! every answer a request id, and a reason to each refusal, so hyper's answers are replaced on their way to the client.

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::StatusCode;
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    time::{Sleep, sleep, sleep_until},
};
use tokio_io_timeout::TimeoutStream;

use super::{
    Service,
    body::{DRAIN_BYTES_MAX, DRAIN_MS_MAX},
    context::ConnectionInfo,
    problem::Problem,
    request_lines::RequestLines,
    route_metrics::UNMATCHED,
    shutdown::ConnectionProgress,
};
use masker_types::{
    error_code::Code,
    limits::{HEAD_BYTES_MAX, HEADERS_MAX},
    pace::ReadingPace,
};

/// A connection that replaces hyper's own answers, that is shut for reading when it is to end, and that fails where its
/// client reads too slowly.
pub(super) struct RefusalStream {
    stream: Pin<Box<TimeoutStream<UnixStream>>>,
    service: Arc<Service>,
    info: Arc<ConnectionInfo>,
    progress: Arc<ConnectionProgress>,
    /// How fast the client reads, once an answer has waited for it; and the end of the window.
    pace: Option<(ReadingPace, Pin<Box<Sleep>>)>,
    is_shut: bool,
    lines: RequestLines,
    refusal: Option<PendingRefusal>,
    /// What the client sent behind a head that was refused.
    rest: Option<RefusedRest>,
}

/// The rest of a refused request, which is read and dropped: see [`super::body::drain`].
struct RefusedRest {
    read: usize,
    /// `None` until the answer was sent.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl RefusedRest {
    /// Reads until the client has nothing more to send, within a bound of time and size.
    fn poll_drain(&mut self, stream: &mut Pin<Box<TimeoutStream<UnixStream>>>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(DRAIN_MS_MAX))));
        let mut bytes = [0; 16 * 1_024];
        while self.read < DRAIN_BYTES_MAX && deadline.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(stream.as_mut().poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.read += buffer.filled().len(),
                // The client has sent everything, or is gone.
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

/// An answer that is sent instead of hyper's.
struct PendingRefusal {
    bytes: Vec<u8>,
    /// How many of them were sent.
    sent: usize,
    /// The length of hyper's answer.
    replaced: usize,
}

impl RefusalStream {
    pub(super) fn new(
        stream: TimeoutStream<UnixStream>,
        service: Arc<Service>,
        info: Arc<ConnectionInfo>,
        progress: Arc<ConnectionProgress>,
    ) -> Self {
        let (stream, lines) = (Box::pin(stream), RequestLines::default());
        RefusalStream { stream, service, info, progress, pace: None, is_shut: false, lines, refusal: None, rest: None }
    }

    /// Notes what the client has accepted of an answer.
    fn note_written(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.info.seat.note_unsent(true);
            self.info.seat.note_bytes();
            if let Some((pace, _)) = &mut self.pace {
                pace.note(*bytes);
            }
        }
    }

    /// Waits for the client to read, unless it is too slow.
    fn keep_pace(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.note_written(&written);
        if written.is_ready() || self.info.seat.may_be_slow() {
            return written;
        }
        let window = self.service.timeouts.write;
        let now = Instant::now();
        let (pace, window_end) = self.pace.get_or_insert_with(|| {
            let pace = ReadingPace::new(window, now);
            let window_end = Box::pin(sleep_until(pace.window_end(now).into()));
            (pace, window_end)
        });
        if pace.go_on(now) {
            window_end.as_mut().reset(pace.window_end(now).into());
        }
        while window_end.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if pace.is_too_slow(now) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            window_end.as_mut().reset(pace.window_end(now).into());
        }
        Poll::Pending
    }

    /// Sends the rest of a refusal, then reports hyper's own answer as sent.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(refusal) = &mut self.refusal {
            match ready!(self.stream.as_mut().poll_write(cx, &refusal.bytes[refusal.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => refusal.sent += sent,
            }
            if refusal.sent == refusal.bytes.len() {
                let replaced = refusal.replaced;
                self.refusal = None;
                return Poll::Ready(Ok(replaced));
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl AsyncWrite for RefusalStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Where an answer is under way, these bytes are a part of it, even if they look like a head.
        if self.refusal.is_none()
            && !self.info.seat.has_unsent()
            && let Some((status, date)) = automatic(bytes)
        {
            let (bytes, replaced) = (self.service.replace_response(&self.info, status, date), bytes.len());
            self.refusal = Some(PendingRefusal { bytes, sent: 0, replaced });
            self.rest = Some(RefusedRest { read: 0, deadline: None });
        }
        if self.refusal.is_some() {
            return self.poll_refusal(cx);
        }
        let written = self.stream.as_mut().poll_write(cx, bytes);
        self.keep_pace(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // An answer of hyper's own has no body, and is never sent together with another.
        match pieces {
            [piece] => self.poll_write(cx, piece),
            _ => {
                let written = self.stream.as_mut().poll_write_vectored(cx, pieces);
                self.keep_pace(cx, written)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.as_mut().poll_flush(cx))?;
        // hyper flushes once it has written everything that there is.
        if self.info.seat.has_more() {
            if let Some((pace, _)) = &mut self.pace {
                pace.pause(Instant::now());
            }
        } else {
            self.pace = None;
        }
        self.info.seat.note_flushed(self.progress.has_unread_bytes());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.as_mut().poll_shutdown(cx))?;
        let RefusalStream { stream, rest, .. } = &mut *self;
        match rest {
            Some(rest) => rest.poll_drain(stream, cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for RefusalStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut && self.progress.is_ended() {
            self.is_shut = true;
            // It fails where the client is gone, which the next read shows.
            let _ = shutdown(self.stream.get_ref().as_raw_fd(), Shutdown::Read);
        }
        let before = buffer.filled().len();
        ready!(self.stream.as_mut().poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.progress.note_bytes_read();
            self.info.seat.note_bytes_read();
            if self.lines.read(&buffer.filled()[before..]) {
                self.progress.note_key_in_fragment();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Service {
    /// Returns the answer to a head that hyper refused with `status`. It counts against the limits of its process.
    fn replace_response(&self, info: &ConnectionInfo, status: StatusCode, date: &str) -> Vec<u8> {
        let caller = self.access.local_caller(&info.peer);
        // Nothing else depends on it: the connection ends.
        let _ = caller.principal().limiter.admit(self.timestamps(Instant::now()), 0);
        let problem = match status {
            StatusCode::BAD_REQUEST => Problem::unread(Code::RequestInvalid, "this is not an HTTP/1.1 request"),
            _ => Problem::unread(
                Code::RequestTooLarge,
                format!("a request has at most {HEADERS_MAX} headers, and {HEAD_BYTES_MAX} bytes before its body"),
            ),
        };
        self.raw_response(&problem, date)
    }

    /// Returns an answer as it is sent, after which the connection ends.
    fn raw_response(&self, problem: &Problem, date: &str) -> Vec<u8> {
        let id = self.ids.next();
        let body = problem.body(id);
        let status = problem.status();
        self.metrics.http.requests.with_label_values(&[UNMATCHED, status.as_str()]).inc();
        let reason = status.canonical_reason().unwrap_or("Refused");
        let retry_after = problem.retry_after_seconds.map(|seconds| format!("retry-after: {seconds}\r\n"));
        let retry_after = retry_after.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\nx-request-id: {}\r\nconnection: close\r\n\
             {retry_after}content-length: {}\r\ndate: {date}\r\n\r\n",
            status.as_str(),
            id.as_str(),
            body.len()
        );
        [head.into_bytes(), body].concat()
    }

    /// Sends an answer to a client whose connection ends without one, if there is room for it.
    pub(super) fn send_last(&self, connection: &impl AsRawFd, problem: &Problem) {
        let date = self.vault.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let bytes = self.raw_response(problem, &date);
        // The client may be gone.
        let _ = send(connection.as_raw_fd(), &bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }
}

/// Returns status and date if these bytes are an answer of hyper's own: a head with a 4xx status and without the request
/// id that every other answer has. It is asked only between answers: a part of a text can look like one.
fn automatic(bytes: &[u8]) -> Option<(StatusCode, &str)> {
    let head = bytes.strip_suffix(b"\r\n\r\n")?;
    let (version, rest) = head.split_at_checked("HTTP/1.1 ".len())?;
    if !matches!(version, b"HTTP/1.1 " | b"HTTP/1.0 ") {
        return None;
    }
    let status = StatusCode::from_bytes(rest.get(..3)?).ok().filter(StatusCode::is_client_error)?;
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    if lines.clone().any(|line| line.starts_with("x-request-id:")) {
        return None;
    }
    Some((status, lines.find_map(|line| line.strip_prefix("date: "))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_heads_of_hyper_are_recognized() {
        let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let own = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n{date}\r\n");
        assert_eq!(automatic(own.as_bytes()), Some((StatusCode::BAD_REQUEST, "Sun, 06 Nov 1994 08:49:37 GMT")));
        let others = [
            own.replace("date", "x-request-id: 0\r\ndate"),
            own.replace("400", "200"),
            own.replace("HTTP/1.1 400", "{\"a\": \"HTTP/1.1 400"),
            own.trim_end().to_owned(),
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
            "HTTP/1.1 4\r\n\r\n".to_owned(),
            "\r\n\r\n".to_owned(),
            String::new(),
        ];
        for bytes in others {
            assert_eq!(automatic(bytes.as_bytes()), None, "{bytes}");
        }
    }
}
