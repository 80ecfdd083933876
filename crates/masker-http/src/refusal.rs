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
    time::Duration,
};

use hyper::StatusCode;
use nix::sys::socket::{Shutdown, shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    time::{Sleep, sleep},
};
use tokio_io_timeout::TimeoutStream;

use super::{
    Service,
    body::{DRAIN_BYTES_MAX, DRAIN_MS_MAX},
    problem::Problem,
    request_lines::RequestLines,
    route_metrics::UNMATCHED,
    shutdown::ConnectionProgress,
};
use masker_types::{
    error_code::Code,
    limits::{HEAD_BYTES_MAX, HEADERS_MAX},
};

/// A connection that replaces hyper's own answers, and that is shut for reading when it is to end.
pub(super) struct RefusalStream {
    stream: Pin<Box<TimeoutStream<UnixStream>>>,
    service: Arc<Service>,
    progress: Arc<ConnectionProgress>,
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
        progress: Arc<ConnectionProgress>,
    ) -> Self {
        let (stream, lines) = (Box::pin(stream), RequestLines::default());
        RefusalStream { stream, service, progress, is_shut: false, lines, refusal: None, rest: None }
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
        if self.refusal.is_none()
            && let Some((status, date)) = automatic(bytes)
        {
            let (bytes, replaced) = (self.service.replace_response(status, date), bytes.len());
            self.refusal = Some(PendingRefusal { bytes, sent: 0, replaced });
            self.rest = Some(RefusedRest { read: 0, deadline: None });
        }
        if self.refusal.is_some() {
            return self.poll_refusal(cx);
        }
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // An answer of hyper's own has no body, and is never sent together with another.
        match pieces {
            [piece] => self.poll_write(cx, piece),
            _ => self.stream.as_mut().poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
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
            if self.lines.read(&buffer.filled()[before..]) {
                self.progress.note_key_in_fragment();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Service {
    /// Returns the answer to a head that hyper refused with `status`.
    fn replace_response(&self, status: StatusCode, date: &str) -> Vec<u8> {
        let problem = match status {
            StatusCode::BAD_REQUEST => Problem::unread(Code::RequestInvalid, "this is not an HTTP/1.1 request"),
            _ => Problem::unread(
                Code::RequestTooLarge,
                format!("a request has at most {HEADERS_MAX} headers, and {HEAD_BYTES_MAX} bytes before its body"),
            ),
        };
        let id = self.ids.next();
        let body = problem.body(id);
        let status = problem.status();
        self.metrics.http.requests.with_label_values(&[UNMATCHED, status.as_str()]).inc();
        let reason = status.canonical_reason().unwrap_or("Refused");
        let head = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\nx-request-id: {}\r\nconnection: close\r\n\
             content-length: {}\r\ndate: {date}\r\n\r\n",
            status.as_str(),
            id.as_str(),
            body.len()
        );
        [head.into_bytes(), body].concat()
    }
}

/// Returns status and date if these bytes are an answer of hyper's own: a head with a 4xx status and without the request
/// id that every other answer has. No part of a body looks like one: JSON and metrics do not have such line ends, and an
/// export is encrypted.
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
