//! Bodies, which pass through the gateway piece by piece.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time::timeout};

use crate::pace::{ActiveRequest, AnswerPace};

/// Most bytes that are read of a body that nobody wants.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Longest time for which such a body is read, in milliseconds.
const DRAIN_MS_MAX: u64 = 1_000;

/// The body of a request as it arrives. What nobody has read when this is dropped is read and discarded, within a bound of time and
/// size: over a connection that closes with unread bytes, the client would not get to read its answer.
pub(crate) struct ClientBody(Option<Incoming>);

impl ClientBody {
    pub(crate) fn new(body: Incoming) -> Self {
        ClientBody(Some(body))
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(drain(body));
        }
    }
}

/// Why the body of a request ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BrokenBody {
    /// It is larger than it may be.
    TooLarge,
    /// The client has sent no more of it.
    Aborted,
}

/// The body of a request on its way to the daemon: its data, up to a bound, without trailers.
pub(crate) struct RequestBody {
    body: Body,
    left: Option<u64>,
    broken: Arc<OnceLock<BrokenBody>>,
}

impl RequestBody {
    /// Returns the body, and why it ended early, if it did.
    pub(crate) fn new(body: Body, max: Option<u64>) -> (Self, Arc<OnceLock<BrokenBody>>) {
        let broken = Arc::new(OnceLock::new());
        (RequestBody { body, left: max, broken: Arc::clone(&broken) }, broken)
    }

    fn note_broken(&self, reason: BrokenBody) {
        // The first reason counts.
        let _ = self.broken.set(reason);
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else { return Poll::Ready(None) };
            let frame = frame.inspect_err(|_| self.note_broken(BrokenBody::Aborted))?;
            // Anything but data are trailers.
            let Ok(data) = frame.into_data() else { continue };
            if let Some(left) = &mut self.left {
                match left.checked_sub(data.len() as u64) {
                    Some(rest) => *left = rest,
                    None => {
                        self.note_broken(BrokenBody::TooLarge);
                        return Poll::Ready(Some(Err(axum::Error::new(io::Error::other("the body is too large")))));
                    }
                }
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer of the daemon, with what is held until it was sent.
pub(crate) struct ForwardedBody<H> {
    body: Incoming,
    _held: H,
}

impl<H> ForwardedBody<H> {
    pub(crate) fn new(body: Incoming, held: H) -> Self {
        ForwardedBody { body, _held: held }
    }
}

impl<H: Unpin> HttpBody for ForwardedBody<H> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_trailers() => {}
                frame => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer on its way to a client, which must read it in time.
pub(crate) struct AnswerBody {
    body: Body,
    pace: Option<AnswerPace>,
    _request: ActiveRequest,
}

impl AnswerBody {
    /// Returns the body. A client that `may_be_slow` can take any time.
    pub(crate) fn new(body: Body, request: ActiveRequest, may_be_slow: bool) -> Self {
        let pace = (!may_be_slow && !body.is_end_stream()).then(|| request.pace());
        AnswerBody { body, pace, _request: request }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let AnswerBody { body, pace, .. } = &mut *self;
        if let Some(pace) = pace {
            pace.note_taken();
        }
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let (Some(pace), Some(Ok(frame))) = (pace, &frame) {
            pace.note_waiting(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Reads the rest of a body, within a bound of time and size.
async fn drain(mut body: Incoming) {
    let mut read = 0;
    let reading = async {
        while read < DRAIN_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Out of time or not: the body ends here.
    let _ = timeout(Duration::from_millis(DRAIN_MS_MAX), reading).await;
}
