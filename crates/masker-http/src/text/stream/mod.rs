//! Texts that arrive in parts, and are answered while they arrive.
//!
//! A text is worked on in pieces. What a piece is depends on the text alone: the detector settles it segment by segment, and
//! is given [`FEED_BYTES`] at a time, however the text arrives. So every split of a text has the same answer. At most
//! [`TEXT_HELD_BYTES_MAX`] bytes are held back.

mod cut;
mod lines;
mod mask;
mod restore;

use std::{io, sync::Arc};

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    StatusCode,
    body::{Bytes, Frame},
    header::HeaderValue,
};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    Service,
    answer::to_json,
    audit::RequestResult,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply, catch_panics},
    problem::Problem,
    route::{Route, route},
};
use lines::BodyLines;
use mask::{__path_text_mask_stream, text_mask_stream};
use masker_api::{ItemError, TextStreamEnd, TextStreamError, TextStreamPart};
use masker_audit::AuditOperation;
use masker_types::{error_code::Code, limits::TEXT_HELD_BYTES_MAX};
use restore::{__path_text_restore_stream, text_restore_stream};

const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Bytes that are worked on at a time, but for the last ones.
const FEED_BYTES: usize = 4_096;

const _: () = assert!(
    FEED_BYTES + masker_text::SEGMENT_BYTES_MAX + masker_core::token::TOKEN_BYTES_MAX + masker_text::MATCH_BYTES_MAX
        <= TEXT_HELD_BYTES_MAX
);

pub(in crate::text) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: text_mask_stream / __path_text_mask_stream,
            access: Scope(TextMask),
            audit: Operation(TextMask),
            cost: Request,
            body: Streamed,
        },
        route! {
            handler: text_restore_stream / __path_text_restore_stream,
            access: Scope(TextRestore),
            audit: Operation(TextRestore),
            cost: Request,
            body: Streamed,
        },
    ]
}

/// Where the lines of an answer go.
struct LineSender(mpsc::Sender<Bytes>);

impl LineSender {
    async fn send(&self, line: &impl Serialize) -> Result<(), StreamFailure> {
        let mut line = to_json(line)?;
        line.push(b'\n');
        self.0.send(line.into()).await.map_err(|_| StreamFailure::Gone)
    }
}

/// Why a stream ended early.
enum StreamFailure {
    /// A problem.
    Refused(Box<Problem>),
    /// The client reads no more.
    Gone,
}

impl From<Problem> for StreamFailure {
    fn from(problem: Problem) -> Self {
        StreamFailure::Refused(Box::new(problem))
    }
}

/// The parts of a text, put together in pieces of [`FEED_BYTES`], however they arrive.
struct PartReader {
    lines: BodyLines,
    waiting: String,
    ended: bool,
    bytes: u64,
}

impl PartReader {
    fn new(lines: BodyLines) -> Self {
        PartReader { lines, waiting: String::new(), ended: false, bytes: 0 }
    }

    /// Returns the next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<String>, Problem> {
        while self.waiting.len() < FEED_BYTES && !self.ended {
            match self.lines.next::<TextStreamPart>().await? {
                Some(TextStreamPart { text }) => self.waiting.push_str(&text),
                None => self.ended = true,
            }
        }
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let longest = self.waiting.len().min(FEED_BYTES);
        let end = (0..=longest).rev().find(|end| self.waiting.is_char_boundary(*end)).unwrap_or(longest);
        let rest = self.waiting.split_off(end);
        let piece = std::mem::replace(&mut self.waiting, rest);
        self.bytes += piece.len() as u64;
        Ok(Some(piece))
    }
}

/// Begins to answer a request with the lines that `work` sends. It runs to the stream's end and its audit event, with a
/// context of its own.
fn begin<W, F>(service: &Arc<Service>, ctx: &mut RequestContext, work: W) -> Outcome
where
    W: FnOnce(Arc<Service>, RequestContext, LineSender) -> F,
    F: Future<Output = (RequestContext, LineSender, Result<u64, StreamFailure>)> + Send + 'static,
{
    let mut own = ctx.copy_of_head();
    own.audit_as = Some(AuditOperation::TextStreamed);
    own.details.policy = ctx.details.policy.clone();
    own.details.session = ctx.details.session;
    own.session = ctx.session.take();
    // It counts as an operation of its caller until it ends.
    own.operation = ctx.operation.take();
    ctx.flag("streamed", true);
    let (sender, receiver) = mpsc::channel(1);
    let working = work(Arc::clone(service), own, LineSender(sender));
    let service = Arc::clone(service);
    tokio::spawn(async move {
        let (ctx, sender, worked) = working.await;
        service.finish_stream(ctx, sender, worked).await;
    });
    let lines = stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((Ok::<_, io::Error>(Frame::data(line)), receiver))
    });
    Ok(Reply::streamed(StreamBody::new(lines).boxed_unsync(), LINES))
}

/// Turns a panic into a failure.
async fn catching(work: impl Future<Output = Result<u64, StreamFailure>>) -> Result<u64, StreamFailure> {
    catch_panics(async { Ok(work.await) }).await.unwrap_or_else(|problem| Err(problem.into()))
}

impl Service {
    /// Records the end of a stream, and then sends its last line.
    async fn finish_stream(&self, mut ctx: RequestContext, sender: LineSender, worked: Result<u64, StreamFailure>) {
        let code = match &worked {
            Ok(bytes) => {
                ctx.number("bytes", *bytes);
                None
            }
            Err(StreamFailure::Refused(problem)) => Some(problem.code),
            Err(StreamFailure::Gone) => {
                ctx.flag("incomplete", true);
                None
            }
        };
        let result = RequestResult { status: StatusCode::OK, code, took: ctx.started.elapsed() };
        let recorded = self.record(&ctx, result).await;
        let last = match (worked, recorded) {
            (Ok(bytes), Ok(())) => sender.send(&TextStreamEnd { end: true, bytes }).await,
            (Err(StreamFailure::Refused(problem)), Ok(())) => sender.send(&error_line(&problem, &ctx)).await,
            (Err(StreamFailure::Gone), Ok(())) => Ok(()),
            (_, Err(unrecorded)) => sender.send(&error_line(&unrecorded, &ctx)).await,
        };
        // A client that has gone needs no last line.
        drop(last);
    }
}

fn error_line(problem: &Problem, ctx: &RequestContext) -> TextStreamError {
    if let Some(cause) = &problem.cause {
        tracing::error!(request_id = ctx.id.as_str(), code = %problem.code, cause, "stream failed");
    }
    TextStreamError { error: ItemError { code: problem.code.to_string(), detail: problem.detail.clone() } }
}

/// Takes the body of a request as lines.
fn lines_of(service: &Service, input: &mut Input) -> BodyLines {
    BodyLines::new(input.take_unread(), service.timeouts.body)
}

/// Returns the problem of a stream without its first line.
fn no_options() -> Problem {
    Problem::new(
        Code::RequestInvalid,
        "the body has no lines: the first is an object with the options, and may be `{}`",
    )
}
