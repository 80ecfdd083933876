//! Bodies, which pass through the gateway piece by piece.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use tokio::time::timeout;

use crate::pace::{ActiveRequest, AnswerPace};

/// Most bytes that are read of a body that nobody wants.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Longest time for which such a body is read, in milliseconds.
const DRAIN_MS_MAX: u64 = 1_000;

/// The body of a request on its way to the daemon: its data, up to a bound, without trailers.
pub(crate) struct RequestBody {
    body: Body,
    left: Option<u64>,
    too_large: Arc<AtomicBool>,
}

impl RequestBody {
    /// Returns the body, and whether it turned out to be larger than `max`.
    pub(crate) fn new(body: Body, max: Option<u64>) -> (Self, Arc<AtomicBool>) {
        let too_large = Arc::new(AtomicBool::new(false));
        (RequestBody { body, left: max, too_large: Arc::clone(&too_large) }, too_large)
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else { return Poll::Ready(None) };
            // Anything but data are trailers.
            let Ok(data) = frame?.into_data() else { continue };
            if let Some(left) = &mut self.left {
                match left.checked_sub(data.len() as u64) {
                    Some(rest) => *left = rest,
                    None => {
                        self.too_large.store(true, Ordering::Release);
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
    pub(crate) fn new(body: Body, request: ActiveRequest) -> Self {
        let pace = (!body.is_end_stream()).then(|| request.pace());
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

/// Reads the rest of a refused request, within a bound of time and size, so that its client gets to read the answer.
pub(crate) async fn drain(mut body: Body) {
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
