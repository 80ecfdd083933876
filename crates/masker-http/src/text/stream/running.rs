//! A running stream: its request, the text that arrives, and the answer.
//!
//! Every part of the answer is recorded before it is sent, and its caller's rights are looked at twice: before anything is done,
//! and again once the client takes the part. Nothing waits between the second look and the connection.

use std::{sync::Arc, time::Duration};

use hyper::{
    StatusCode,
    body::{Bytes, Incoming},
};
use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    FEED_BYTES,
    lines::{BodyLines, too_late},
};
use crate::{
    Service, answer::to_json, audit::RequestResult, context::RequestContext, policies::required_policy,
    problem::Problem,
};
use masker_access::{Permit, ScopedOperation};
use masker_api::{ItemError, TextStreamEnd, TextStreamError, TextStreamPart};
use masker_types::error_code::Code;

/// Longest wait for a limit of the caller, in seconds. Those by the second have enough sooner, those by the hour rarely.
const LIMIT_WAIT_SECONDS_MAX: u64 = 10;

/// Why a stream ended early.
pub(super) enum StreamFailure {
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

/// Where one line of an answer goes.
pub(super) type LinePlace = oneshot::Sender<Bytes>;

/// The lines of an answer, each of which goes out when the connection asks for it.
struct AnswerLines {
    places: mpsc::Receiver<LinePlace>,
    /// The place that the connection waits to be filled.
    place: Option<LinePlace>,
}

impl AnswerLines {
    /// Waits until the connection asks for a line.
    async fn ready(&mut self) -> Result<(), StreamFailure> {
        if self.place.is_none() {
            self.place = Some(self.places.recv().await.ok_or(StreamFailure::Gone)?);
        }
        Ok(())
    }

    /// Hands a line to the connection that asks for it.
    fn send(&mut self, line: Bytes) -> Result<(), StreamFailure> {
        self.place.take().ok_or(StreamFailure::Gone)?.send(line).map_err(|_| StreamFailure::Gone)
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

/// A running stream.
pub(super) struct RunningStream {
    pub(super) service: Arc<Service>,
    pub(super) ctx: RequestContext,
    /// The context of its values.
    pub(super) context: String,
    /// The text that was not answered yet.
    pub(super) pending: String,
    parts: PartReader,
    answer: AnswerLines,
    /// Parts that have an event.
    recorded: u64,
}

impl RunningStream {
    pub(super) fn new(
        service: Arc<Service>,
        ctx: RequestContext,
        context: String,
        lines: BodyLines,
        places: mpsc::Receiver<LinePlace>,
    ) -> Self {
        let parts = PartReader { lines, waiting: String::new(), ended: false, bytes: 0 };
        let answer = AnswerLines { places, place: None };
        RunningStream { service, ctx, context, pending: String::new(), parts, answer, recorded: 0 }
    }

    /// Waits until the head of the answer is sent. So the event of the beginning is recorded before anything is done.
    pub(super) async fn begun(&mut self) -> Result<(), StreamFailure> {
        self.answer.ready().await
    }

    /// Returns the next piece of the text; `None` at the end. It is pending then.
    pub(super) async fn next_piece(&mut self) -> Result<Option<String>, Problem> {
        let piece = self.parts.next().await?;
        self.pending.push_str(piece.as_deref().unwrap_or_default());
        Ok(piece)
    }

    /// Returns how many bytes of the text have arrived.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.bytes
    }

    /// Takes the first bytes of the text that is pending, and notes the honeytokens in them.
    pub(super) fn take_pending(&mut self, end: usize) -> String {
        let rest = self.pending.split_off(end);
        let text = std::mem::replace(&mut self.pending, rest);
        self.service.note_tokens_in_texts(&mut self.ctx, [text.as_str()]);
        text
    }

    /// Admits the stream as it would be admitted now: see [`Service::renew`]. Its policy, if it has one, and its context must
    /// still be its caller's, and there must be time left.
    pub(super) fn renew<O: ScopedOperation>(&mut self) -> Result<Permit<O>, Problem> {
        if Instant::now() >= self.parts.lines.deadline() {
            return Err(too_late());
        }
        let permit: Permit<O> = self.service.renew(&mut self.ctx)?;
        if let Some(name) = &self.ctx.details.policy {
            permit.check_policy(&required_policy(self.ctx.policies.get(Some(name)))?.name)?;
        }
        permit.check_context(&self.context)?;
        Ok(permit)
    }

    /// Takes values that were found in a part from the caller's limits. Waits for a limit that soon has enough, because a part that
    /// is refused ends the stream.
    pub(super) async fn charge_found<O: ScopedOperation>(
        &mut self,
        mut permit: Permit<O>,
        values: usize,
    ) -> Result<Permit<O>, Problem> {
        loop {
            let Err(refused) = self.service.charge_found(&mut self.ctx, values) else { return Ok(permit) };
            let soon = refused.retry_after_seconds.filter(|seconds| *seconds <= LIMIT_WAIT_SECONDS_MAX);
            let Some(seconds) = soon.filter(|_| refused.code == Code::RateLimited) else { return Err(refused) };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            permit = self.renew()?;
        }
    }

    /// Records a part of the answer, and sends it once the client takes it, if the caller still may have it.
    pub(super) async fn send<O: ScopedOperation>(&mut self, part: &impl Serialize) -> Result<(), StreamFailure> {
        let line = line_of(part)?;
        self.record_part().await?;
        let ready = timeout_at(self.parts.lines.deadline(), self.answer.ready());
        ready.await.unwrap_or_else(|_| Err(too_late().into()))?;
        self.renew::<O>()?;
        self.answer.send(line)
    }

    /// Records what was done since the last event, if anything.
    async fn record_part(&mut self) -> Result<(), Problem> {
        if !self.ctx.has_to_record() {
            return Ok(());
        }
        self.ctx.number("part", self.recorded + 1);
        self.service.record(&self.ctx, self.result(None)).await?;
        self.recorded += 1;
        self.ctx.begin_event();
        Ok(())
    }

    fn result(&self, code: Option<Code>) -> RequestResult {
        RequestResult { status: StatusCode::OK, code, took: self.ctx.started.elapsed() }
    }

    /// Records the end of the stream, and then sends its last line.
    pub(super) async fn finish(mut self, worked: Result<u64, StreamFailure>) {
        if let Err(failure) = &worked {
            self.watch_unanswered(matches!(failure, StreamFailure::Refused(_))).await;
        }
        let code = match &worked {
            Ok(bytes) => {
                self.ctx.number("bytes", *bytes);
                None
            }
            Err(StreamFailure::Refused(problem)) => Some(problem.code),
            Err(StreamFailure::Gone) => {
                self.ctx.flag("incomplete", true);
                None
            }
        };
        if self.recorded > 0 {
            self.ctx.number("parts", self.recorded);
        }
        let recorded = self.service.record(&self.ctx, self.result(code)).await;
        let last = match (worked, recorded) {
            (Ok(bytes), Ok(())) => line_of(&TextStreamEnd { end: true, bytes }),
            (Err(StreamFailure::Refused(problem)), Ok(())) => line_of(&self.error_line(&problem)),
            (Err(StreamFailure::Gone), Ok(())) => return,
            (_, Err(unrecorded)) => line_of(&self.error_line(&unrecorded)),
        };
        if let (Ok(line), Ok(())) = (last, self.answer.ready().await) {
            // A client that has gone needs no last line.
            let _ = self.answer.send(line);
        }
    }

    /// Notes the honeytokens in what has arrived of a stream that failed, and in the rest of its body.
    async fn watch_unanswered(&mut self, reads_on: bool) {
        let RunningStream { service, ctx, pending, parts, .. } = self;
        let text = std::mem::take(pending) + &std::mem::take(&mut parts.waiting);
        service.note_tokens_in_texts(ctx, [text.as_str()]);
        let (read, unread) = parts.lines.rest();
        let unread: Option<&mut Incoming> = unread.filter(|_| reads_on);
        service.watch_failed_stream(ctx, read, unread).await;
    }

    fn error_line(&self, problem: &Problem) -> TextStreamError {
        if let Some(cause) = &problem.cause {
            tracing::error!(request_id = self.ctx.id.as_str(), code = %problem.code, cause, "stream failed");
        }
        TextStreamError { error: ItemError { code: problem.code.to_string(), detail: problem.detail.clone() } }
    }
}

fn line_of(line: &impl Serialize) -> Result<Bytes, Problem> {
    let mut line = to_json(line)?;
    line.push(b'\n');
    Ok(line.into())
}
