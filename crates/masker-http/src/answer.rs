//! Answers: their size is bounded, and the memory that they take is charged until they are sent.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use serde::Serialize;

use super::{
    problem::Problem,
    seat::Seat,
    shares::{Charge, Shares},
};
use masker_access::Resource;
use masker_types::{
    error_code::Code,
    limits::{ANSWER_BYTES_MAX, ANSWER_BYTES_UNMETERED},
};

/// The body of an answer.
pub(super) struct AnswerBody {
    content: Content,
    /// Whether its client may read it as slowly as it likes.
    may_be_slow: bool,
    /// The place of the connection that it is sent on.
    seat: Option<Arc<Seat>>,
}

enum Content {
    /// In memory as a whole; `None` once it is sent.
    Whole(Option<Bytes>),
    /// Made while it is sent.
    Streamed(UnsyncBoxBody<Bytes, io::Error>),
}

impl AnswerBody {
    /// Returns a body of bytes that are in memory.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let content = Content::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()));
        AnswerBody { content, may_be_slow: false, seat: None }
    }

    /// Returns a body that is made while it is sent.
    pub(super) fn streamed(body: UnsyncBoxBody<Bytes, io::Error>) -> Self {
        AnswerBody { content: Content::Streamed(body), may_be_slow: false, seat: None }
    }

    /// Lets its client read it as slowly as it likes.
    pub(super) fn for_slow_readers(mut self) -> Self {
        self.may_be_slow = true;
        self
    }

    /// Begins to send it on the connection of a seat.
    pub(super) fn begin(&mut self, seat: &Arc<Seat>) {
        seat.begin_answer(matches!(self.content, Content::Streamed(_)), self.may_be_slow);
        self.seat = Some(Arc::clone(seat));
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Streamed(body) => Pin::new(body).poll_frame(task),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Streamed(body) => body.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(seat) = &self.seat {
            seat.note_answer_ended();
        }
    }
}

/// Bytes that are charged until the last of them is sent, when hyper drops them.
struct ChargedBytes {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for ChargedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Charges an answer until it is sent. `charge` is what its operation was charged with. Most answers are small and free.
///
/// # Errors
/// `overloaded` if there is no room for it.
pub(super) async fn charge_answer(
    answer: &mut AnswerBody,
    charge: Option<Charge>,
    seat: &Arc<Seat>,
) -> Result<(), Problem> {
    let Content::Whole(Some(bytes)) = &mut answer.content else { return Ok(()) };
    let length = bytes.len();
    if length <= ANSWER_BYTES_UNMETERED {
        return Ok(());
    }
    let charge = match charge {
        Some(mut charge) => {
            charge.shrink_to(length);
            charge.grow_to(length).await?;
            charge
        }
        None => Shares::charge(Resource::Answers, seat, length).await?,
    };
    *bytes = Bytes::from_owner(ChargedBytes { bytes: std::mem::take(bytes), _charge: charge });
    Ok(())
}

/// Returns an answer in JSON.
///
/// # Errors
/// `answer.too_large` as soon as it is longer than [`ANSWER_BYTES_MAX`].
pub(super) fn to_json(answer: &impl Serialize) -> Result<Vec<u8>, Problem> {
    let mut writer = BoundedWriter { bytes: Vec::with_capacity(128), bytes_max: ANSWER_BYTES_MAX };
    match serde_json::to_writer(&mut writer, answer) {
        Ok(()) => Ok(writer.bytes),
        Err(failed) if failed.is_io() => Err(too_large()),
        Err(failed) => Err(Problem::internal(failed.to_string())),
    }
}

/// Returns the problem of an answer that is longer than [`ANSWER_BYTES_MAX`].
pub(super) fn too_large() -> Problem {
    let mebibytes = ANSWER_BYTES_MAX / (1024 * 1024);
    Problem::new(Code::AnswerTooLarge, format!("an answer is at most {mebibytes} MiB; split the request"))
}

/// A writer into memory that fails at a length.
struct BoundedWriter {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.bytes_max - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stops_at_its_greatest_length() {
        let text = |length: usize| to_json(&"x".repeat(length)).map(|bytes| bytes.len());
        assert_eq!(text(ANSWER_BYTES_MAX - 2).ok(), Some(ANSWER_BYTES_MAX));
        assert_eq!(text(ANSWER_BYTES_MAX - 1).err().map(|problem| problem.code), Some(Code::AnswerTooLarge));
        // Escapes count as they are sent.
        let escaped = "\u{1}".repeat(ANSWER_BYTES_MAX / 6 + 1);
        assert!(to_json(&escaped).is_err());
    }
}
