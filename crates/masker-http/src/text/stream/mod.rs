//! Texts that arrive in parts, and are answered while they arrive.
//!
//! A text is worked on in pieces. What a piece is depends on the text alone: the detector settles it segment by segment, and
//! is given [`FEED_BYTES`] at a time, however the text arrives. So every split of a text has the same answer. At most
//! [`TEXT_HELD_BYTES_MAX`] bytes are held back.

mod cut;
mod lines;
mod mask;
mod restore;
mod running;

use std::{io, sync::Arc, time::Duration};

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, header::HeaderValue};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply, catch_panics},
    problem::Problem,
    route::{Route, route},
    shares::Shares,
};
use lines::BodyLines;
use mask::{__path_text_mask_stream, text_mask_stream};
use masker_access::Resource;
use masker_audit::AuditOperation;
use masker_types::{
    error_code::Code,
    limits::{TEXT_HELD_BYTES_MAX, TEXT_STREAM_BYTES, TEXT_STREAM_SECONDS_MAX},
};
use restore::{__path_text_restore_stream, text_restore_stream};
use running::{LinePlace, RunningStream, StreamFailure};

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

/// Begins to answer a request with the lines that `work` sends. It runs to the stream's end and its audit event, with a
/// context of its own. It counts as an operation of its caller, and is charged for its memory, until then.
///
/// # Errors
/// `overloaded` if there is no memory for it, with the lines.
async fn begin<W, F>(
    service: &Arc<Service>,
    ctx: &mut RequestContext,
    context: Option<&str>,
    lines: BodyLines,
    work: W,
) -> Result<Reply, (Problem, BodyLines)>
where
    W: FnOnce(RunningStream) -> F + Send + 'static,
    F: Future<Output = (RunningStream, Result<u64, StreamFailure>)> + Send + 'static,
{
    let charge = match Shares::charge(Resource::Answers, &ctx.connection.seat, TEXT_STREAM_BYTES).await {
        Ok(charge) => charge,
        Err(overloaded) => return Err((overloaded, lines)),
    };
    let mut own = ctx.copy_of_head();
    own.audit_as = Some(AuditOperation::TextStreamed);
    own.details.policy = ctx.details.policy.clone();
    own.details.session = ctx.details.session;
    own.session = ctx.session.take();
    own.operation = ctx.operation.take();
    own.charge = Some(charge);
    ctx.flag("streamed", true);
    let (places, asked) = mpsc::channel::<LinePlace>(1);
    let context = context.unwrap_or_default().to_owned();
    let mut running = RunningStream::new(Arc::clone(service), own, context, lines, asked);
    tokio::spawn(async move {
        let (running, worked) = match running.begun().await {
            Ok(()) => work(running).await,
            Err(gone) => (running, Err(gone)),
        };
        running.finish(worked).await;
    });
    // A line is asked for only when the connection has room for it, so none waits for a slow client.
    let lines = stream::unfold(places, |places| async move {
        let (place, line) = oneshot::channel();
        places.send(place).await.ok()?;
        Some((Ok::<_, io::Error>(Frame::data(line.await.ok()?)), places))
    });
    Ok(Reply::streamed(StreamBody::new(lines).boxed_unsync(), LINES))
}

/// Answers with a stream, or gives back the body of a request that is refused.
fn begun(begun: Result<Reply, (Problem, BodyLines)>, input: &mut Input) -> Outcome {
    begun.map_err(|(problem, lines)| {
        lines.give_back(input);
        problem
    })
}

/// Runs `work`, and returns a failure where it panics.
async fn panics_to_failures(work: impl Future<Output = Result<u64, StreamFailure>>) -> Result<u64, StreamFailure> {
    catch_panics(async { Ok(work.await) }).await.unwrap_or_else(|problem| Err(problem.into()))
}

/// Takes the body of a request as lines.
fn lines_of(service: &Service, input: &mut Input) -> BodyLines {
    let deadline = Instant::now() + Duration::from_secs(TEXT_STREAM_SECONDS_MAX);
    BodyLines::new(input.take_unread(), service.timeouts.body, deadline)
}

/// Returns the problem of a stream without its first line.
fn no_options() -> Problem {
    Problem::new(
        Code::RequestInvalid,
        "the body has no lines: the first is an object with the options, and may be `{}`",
    )
}
