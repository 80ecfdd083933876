//! Bodies, read within bounds of size, time and memory, and JSON that is refused without quoting it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Incoming};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    input::Input,
    json_place,
    problem::Problem,
    route::BodyKind,
    seat::{Seat, displaced},
    shares::{Charge, Shares},
};
use masker_access::{Displaceable, Resource};
use masker_api::StrictObject;
use masker_types::{
    error_code::Code,
    limits::{BODY_BYTES_MAX, BODY_BYTES_UNMETERED},
};

/// Bytes that a body is charged with at a time.
const STEP_BYTES: usize = 64 * 1_024;
/// Shorter pieces of a body are put together: each takes some memory of its own.
const PIECE_BYTES_MIN: usize = 4_096;

/// Time for which the body of a refused request is read after its answer, in milliseconds.
pub(super) const DRAIN_MS_MAX: u64 = 1_000;

/// Bytes of such a body that are read. More than a body may have, because one that is too large is refused as well.
pub(super) const DRAIN_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

/// Reads bodies within bounds of size and time, and charges what arrives to the user who sends it.
pub(super) struct BodyReader {
    /// How long a body may take to arrive.
    timeout: Duration,
}

impl BodyReader {
    pub(super) fn new(timeout: Duration) -> Self {
        BodyReader { timeout }
    }

    /// Reads the body of a request, at most [`BODY_BYTES_MAX`] of it, unless that is left to its handler.
    pub(super) async fn read(&self, kind: BodyKind, input: &mut Input, seat: &Arc<Seat>) -> Result<(), Problem> {
        if kind == BodyKind::Streamed || input.unread_body().is_none() {
            return Ok(());
        }
        check_announced(input)?;
        let Some(body) = input.unread_body() else { return Ok(()) };
        if kind == BodyKind::Ignored {
            return self.within_time(seat, discard(body, BODY_BYTES_MAX)).await;
        }
        let collected = self.within_time(seat, collect(body, seat)).await?;
        input.set_body(collected);
        Ok(())
    }

    /// Passes the rest of a refused request's body on, piece by piece, at most [`BODY_BYTES_MAX`] of it. Keeps nothing.
    pub(super) async fn watch(&self, kind: BodyKind, input: &mut Input, seat: &Arc<Seat>, note: impl FnMut(&[u8])) {
        let is_held_back = input.is_held_back;
        let Some(body) = input.unread_body().filter(|_| !is_held_back) else { return };
        self.watch_body(kind, body, seat, note).await;
    }

    /// Does so for what is left of a body. The client of a streamed one may wait for its answer before it sends more, so the
    /// answer does not wait for the client.
    pub(super) async fn watch_body(
        &self,
        kind: BodyKind,
        body: &mut Incoming,
        seat: &Arc<Seat>,
        mut note: impl FnMut(&[u8]),
    ) {
        let pause = if kind == BodyKind::Streamed { Duration::from_millis(DRAIN_MS_MAX) } else { self.timeout };
        let mut body = Limited::new(body, BODY_BYTES_MAX);
        let watching = async {
            while let Ok(Some(frame)) = timeout(pause, body.frame()).await {
                if let Some(piece) = frame?.data_ref() {
                    note(piece);
                }
            }
            Ok(())
        };
        // A body that ends early has shown what arrived of it.
        let _ = self.within_time(seat, watching).await;
    }

    /// Reads, until the time is over or the connection is displaced. That wakes the connection's task, which polls this.
    async fn within_time<T>(
        &self,
        seat: &Arc<Seat>,
        read: impl Future<Output = Result<T, BodyError>>,
    ) -> Result<T, Problem> {
        let mut read = pin!(read);
        let read_or_displaced = poll_fn(|task| match read.as_mut().poll(task) {
            Poll::Pending if seat.is_displaced() => Poll::Ready(Err(displaced().into())),
            polled => polled,
        });
        match timeout(self.timeout, read_or_displaced).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(BodyError::Refused(problem))) => Err(*problem),
            Ok(Err(BodyError::Read(failed))) if failed.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(BodyError::Read(_))) => Err(body_ended()),
            Err(_) => Err(Problem::unread(
                Code::RequestTimeout,
                format!("the body did not arrive within {} s", self.timeout.as_secs()),
            )),
        }
    }
}

/// A body that was read, and what it is charged with.
#[derive(Default)]
pub(super) struct CollectedBody {
    pieces: Vec<Bytes>,
    /// The last pieces, as long as they are short.
    tail: Vec<u8>,
    bytes: usize,
    /// What exceeds [`BODY_BYTES_UNMETERED`].
    charge: Option<Charge>,
}

impl CollectedBody {
    /// Returns its length in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the bytes, put together. The charge stays.
    pub(super) fn take_whole(&mut self) -> Bytes {
        self.end_tail();
        match self.pieces.len() {
            0 | 1 => self.pieces.pop().unwrap_or_default(),
            _ => std::mem::take(&mut self.pieces).concat().into(),
        }
    }

    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if piece.len() >= PIECE_BYTES_MIN || (self.pieces.is_empty() && self.tail.is_empty()) {
            self.end_tail();
            self.pieces.push(piece);
        } else {
            self.tail.extend_from_slice(&piece);
            if self.tail.len() >= STEP_BYTES {
                self.end_tail();
            }
        }
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).into());
        }
    }

    /// Charges the body with what has arrived of it.
    async fn charge(&mut self, seat: &Arc<Seat>) -> Result<(), Problem> {
        let metered = self.bytes.saturating_sub(BODY_BYTES_UNMETERED).div_ceil(STEP_BYTES) * STEP_BYTES;
        match &mut self.charge {
            _ if metered == 0 => {}
            None => self.charge = Some(Shares::charge(Resource::Bodies, seat, metered).await?),
            Some(charge) => charge.grow_to(metered).await?,
        }
        Ok(())
    }
}

/// Reads a body to its end. Charges each piece before it reads the next.
async fn collect<B>(body: B, seat: &Arc<Seat>) -> Result<CollectedBody, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = Limited::new(body, BODY_BYTES_MAX);
    let mut collected = CollectedBody::default();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data() {
            collected.push(piece);
            collected.charge(seat).await?;
        }
    }
    Ok(collected)
}

/// Why a body was not read.
enum BodyError {
    /// It ended early, or it is too large.
    Read(Box<dyn std::error::Error + Send + Sync>),
    /// There is no memory for it.
    Refused(Box<Problem>),
}

impl From<Box<dyn std::error::Error + Send + Sync>> for BodyError {
    fn from(failed: Box<dyn std::error::Error + Send + Sync>) -> Self {
        BodyError::Read(failed)
    }
}

impl From<Problem> for BodyError {
    fn from(problem: Problem) -> Self {
        BodyError::Refused(Box::new(problem))
    }
}

/// Refuses a body whose announced length is too large.
fn check_announced(input: &Input) -> Result<(), Problem> {
    let is_too_large = input.announced_bytes().is_some_and(|length| length > BODY_BYTES_MAX as u64);
    if is_too_large { Err(too_large()) } else { Ok(()) }
}

/// Reads a body to its end, at most `bytes_max` of it, and keeps nothing.
async fn discard<B>(body: B, bytes_max: usize) -> Result<(), BodyError>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = Limited::new(body, bytes_max);
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// Reads what is left of the body of a request that was answered, within a bound of time and size.
///
/// Many clients write their whole request before they read anything. Closing the connection under them would lose them
/// the answer.
pub(super) async fn drain<B>(body: B)
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Whether it came to its end makes no difference: hyper closes the connection if it did not.
    let _ = timeout(Duration::from_millis(DRAIN_MS_MAX), discard(body, DRAIN_BYTES_MAX)).await;
}

/// Returns the problem of a body that is incomplete.
pub(super) fn body_ended() -> Problem {
    Problem::unread(Code::RequestInvalid, "the body ended before it was complete")
}

fn too_large() -> Problem {
    let mebibytes = BODY_BYTES_MAX / (1024 * 1024);
    Problem::unread(Code::RequestTooLarge, format!("a body is at most {mebibytes} MiB; split the request"))
}

/// Reads JSON. Errors give the place, the position and what was expected, and never quote the text: it may be personal
/// data.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map(|StrictObject(request)| request).map_err(|failed| {
        let (line, column) = (failed.line(), failed.column());
        let what = match failed.classify() {
            serde_json::error::Category::Data => expectation(&failed.to_string()),
            _ if bytes.is_empty() => "the body is empty, and should be a JSON object".to_owned(),
            _ => match compression(bytes) {
                Some(name) => {
                    let detail = format!("the body is compressed ({name}); send it uncompressed, as JSON");
                    return Problem::new(Code::RequestInvalid, detail);
                }
                None => "the body is not JSON".to_owned(),
            },
        };
        let place = json_place::place(bytes, json_place::offset(bytes, line, column));
        let separator = if place.is_empty() { "" } else { ": " };
        Problem::new(Code::RequestInvalid, format!("{place}{separator}{what} (line {line}, column {column})"))
    })
}

/// Returns the compression of a body that begins as compressed data does.
fn compression(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x1F, 0x8B, ..] => Some("gzip"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Some("zstd"),
        _ => None,
    }
}

/// The part of serde's message that comes from this program and not from the request.
fn expectation(message: &str) -> String {
    for own in ["missing field `", "duplicate field `"] {
        if let Some(field) = message.strip_prefix(own).and_then(|rest| rest.split('`').next()) {
            return format!("{own}{field}`");
        }
    }
    // "unknown field `…`, expected …", "invalid type: …, expected … at line …": the last part names what this program's
    // own types expect.
    let expected = message.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    let expected = expected.rsplit_once(" at line ").map_or(expected, |(expected, _)| expected);
    let what = if message.starts_with("unknown field") { "unknown field" } else { "wrong type" };
    if expected.is_empty() { what.to_owned() } else { format!("{what}, expected {expected}") }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::{Bytes, Frame};

    use super::*;
    use masker_api::{RehydrateRequest, TokenizeRequest};

    fn refused<'a, T: Deserialize<'a>>(body: &'a str) -> String {
        parse::<T>(body.as_bytes()).err().unwrap().detail
    }

    #[test]
    fn drains_more_than_the_largest_body_and_not_for_ever() {
        const PIECE: usize = 1 << 20;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for (announced, expected) in [(BODY_BYTES_MAX + PIECE, BODY_BYTES_MAX + PIECE), (usize::MAX, DRAIN_BYTES_MAX)] {
            let read = AtomicUsize::new(0);
            let pieces = stream::iter((0..announced / PIECE).map(|_| {
                read.fetch_add(PIECE, Ordering::Relaxed);
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; PIECE])))
            }));
            runtime.block_on(drain(StreamBody::new(pieces)));
            let read = read.into_inner();
            assert!((expected..=expected + PIECE).contains(&read), "{read} bytes");
        }
    }

    #[test]
    fn errors_quote_nothing_of_the_body() {
        let secret = "078-05-1120";
        let bodies = [
            secret.to_owned(),
            format!(r#""{secret}""#),
            format!(r#"{{"{secret}": 1}}"#),
            format!(r#"{{"items": "{secret}"}}"#),
            format!(r#"{{"items": "x, expected {secret}"}}"#),
            format!(r#"{{"items": ["{secret}"]}}"#),
            format!(r#"{{"items": [{{"kind": "SSN", "value": ["{secret}"]}}]}}"#),
            format!(r#"{{"items": [{{"kind": "SSN", "value": "a", "{secret}": 1}}]}}"#),
            format!(r#"{{"items": [{{"kind": "SSN", "value": "{secret}"#),
            format!(r#"{{"items": [], "items": ["{secret}"]}}"#),
            format!(r#"{{"tokens": [{{"{secret}": 1}}]}}"#),
            format!(r#"{{"tokens": [{{"token": "{secret}", "context": {{"{secret}": 1}}}}]}}"#),
        ];
        for body in &bodies {
            for detail in [refused::<TokenizeRequest<'_>>(body), refused::<RehydrateRequest<'_>>(body)] {
                assert!(!detail.contains("078") && !detail.contains("1120"), "{detail}");
                assert!(detail.contains("line 1, column "), "{detail}");
            }
        }
    }

    #[test]
    fn errors_name_what_was_expected() {
        assert_eq!(refused::<TokenizeRequest<'_>>("{}"), "missing field `items` (line 1, column 2)");
        assert_eq!(
            refused::<TokenizeRequest<'_>>(r#"{"x": 1}"#),
            "unknown field, expected one of `policy`, `context`, `items` (line 1, column 4)"
        );
        assert_eq!(
            refused::<TokenizeRequest<'_>>(r#"{"items": 7}"#),
            "items: wrong type, expected a sequence (line 1, column 11)"
        );
        assert_eq!(
            refused::<TokenizeRequest<'_>>(""),
            "the body is empty, and should be a JSON object (line 1, column 0)"
        );
        for (body, place, column) in [("[null, null, []]", "", 0), (r#"{"items": [["PHONE", "1"]]}"#, "items[0]: ", 11)]
        {
            assert_eq!(
                refused::<TokenizeRequest<'_>>(body),
                format!("{place}wrong type, expected an object (line 1, column {column})")
            );
        }
        assert_eq!(refused::<TokenizeRequest<'_>>("{"), "the body is not JSON (line 1, column 1)");
    }

    #[test]
    fn errors_name_the_item() {
        let item = |value: &str| format!(r#"{{"kind": "PHONE", "value": {value}}}"#);
        for (value, detail) in [
            ("42", "items[7777].value: wrong type, expected "),
            ("null", "items[7777].value: wrong type, expected "),
            (r#""\ud800""#, "items[7777].value: the body is not JSON "),
            (r#""a", "value": "b""#, "items[7777].value: duplicate field `value` "),
            (r#""a", "x": "b""#, "items[7777]: unknown field, expected one of `kind`, "),
        ] {
            let items = [vec![item("\"a\""); 7_777], vec![item(value); 2]].concat().join(", ");
            let found = refused_owned(&format!(r#"{{"items": [{items}]}}"#));
            assert!(found.starts_with(detail), "{value}: {found}");
        }
    }

    #[test]
    fn recognizes_compressed_bodies() {
        for (bytes, name) in [(&b"\x1F\x8B\x08\0\0"[..], "(gzip)"), (b"\x28\xB5\x2F\xFD\x04", "(zstd)")] {
            let problem = parse::<TokenizeRequest<'_>>(bytes).err().unwrap();
            assert!(problem.detail.contains(name), "{}", problem.detail);
        }
    }

    fn refused_owned(body: &str) -> String {
        parse::<TokenizeRequest<'_>>(body.as_bytes()).err().unwrap().detail
    }
}
