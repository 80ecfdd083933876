//! Operations: what runs once a request was admitted, to the end of its audit event.
//!
//! A client that goes away cancels nothing. Its connection drops the future that answers it; a [`RunToEnd`] then hands
//! the operation to the daemon's main runtime, where it runs on: the vault's change is committed and recorded, and only
//! the answer is lost. The operation keeps the connection's slot until then, so clients that leave early cannot have
//! more operations than connections.

use std::{
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;
use tokio::runtime::Handle;
use tracing::{debug, error};

use super::{
    Service,
    admission::{auth_problem, write_rate_limit_headers},
    answer::{AnswerBody, charge_answer, to_json},
    audit::RequestResult,
    context::RequestContext,
    input::Input,
    problem::Problem,
    route_metrics::UNMATCHED,
};
use masker_api::REQUEST_ID_HEADER;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Room for the headers of nearly every answer: type, length, date, request id, and three of the caller's limits.
const HEADERS_CAPACITY: usize = 8;

/// An operation under way. It resolves when its audit event is recorded.
pub(super) type RunningOperation = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// What a handler returns.
pub(super) type Outcome = Result<Reply, Problem>;

/// The end of a request.
pub(super) struct Answered {
    pub(super) response: Response<AnswerBody>,
    /// The rest of the request's body, where it was not read to its end.
    pub(super) unread: Option<Incoming>,
}

/// What a handler answers with.
pub(super) struct Reply {
    body: AnswerBody,
    content_type: HeaderValue,
    /// Another status than the one in the route's description.
    status: Option<StatusCode>,
}

impl Reply {
    /// Returns a reply in JSON.
    pub(super) fn json(answer: &impl Serialize) -> Outcome {
        Ok(Reply::whole(to_json(answer)?.into(), JSON))
    }

    /// Returns a reply of bytes that are in memory.
    pub(super) fn whole(body: Bytes, content_type: HeaderValue) -> Self {
        Reply { body: AnswerBody::whole(body), content_type, status: None }
    }

    /// Returns a reply that is made while it is sent.
    pub(super) fn streamed(body: UnsyncBoxBody<Bytes, io::Error>, content_type: HeaderValue) -> Self {
        Reply { body: AnswerBody::streamed(body), content_type, status: None }
    }

    /// Lets the client read it as slowly as it likes.
    pub(super) fn for_slow_readers(self) -> Self {
        Reply { body: self.body.for_slow_readers(), ..self }
    }

    /// Replaces the status of the route's description.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Reply { status: Some(status), ..self }
    }

    fn response(self, success: StatusCode) -> Response<AnswerBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status.unwrap_or(success);
        response.headers_mut().reserve(HEADERS_CAPACITY);
        response.headers_mut().insert(header::CONTENT_TYPE, self.content_type);
        response
    }
}

/// Turns a panic into an answer.
pub(super) async fn catch_panics<T>(handling: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    // What a panic leaves behind is dropped with the request; the vault's shared state changes in its writer alone.
    let caught = AssertUnwindSafe(handling).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(Problem::internal("a handler panicked; the log has the details above")))
}

impl Service {
    /// Records the end of a request in the audit log, and makes its answer.
    pub(super) async fn finish(&self, mut ctx: RequestContext, mut input: Input, outcome: Outcome) -> Answered {
        if outcome.is_err() {
            self.watch_refused(&mut ctx, &mut input).await;
        }
        let charged = self.charge_unadmitted(&mut ctx);
        let success = ctx.route.map_or(StatusCode::OK, |route| route.success);
        let mut outcome = match (outcome, charged) {
            (Ok(reply), _) => Ok(reply.response(success)),
            // A caller without requests left learns that, and not what is wrong with the request.
            (Err(_), Err(limited)) if ctx.is_identified() => Err(limited),
            (Err(refusal), _) => Err(refusal),
        };
        // The event has what the operation did, even if its answer is withheld.
        let code = outcome.as_ref().err().map(|problem| problem.code);
        let mut settled = if ctx.is_identified() { self.settle(&ctx) } else { Ok(()) };
        if let (Ok(()), Ok(response)) = (&settled, &mut outcome) {
            settled = charge_answer(response.body_mut(), ctx.charge.take(), &ctx.connection.seat).await;
        }
        if let Err(withheld) = settled {
            if code != Some(withheld.code) {
                ctx.fact("withheld", withheld.code.as_str());
            }
            outcome = Err(withheld);
        }
        let status = outcome.as_ref().map_or_else(Problem::status, Response::status);
        let result = RequestResult { status, code, took: ctx.started.elapsed() };
        if let Err(audit_failure) = self.record(&ctx, result).await {
            outcome = Err(audit_failure);
        }
        let unread = input.into_unread();
        let id = ctx.id;
        let template = ctx.route.map_or(UNMATCHED, |route| route.path());
        let mut response = match outcome {
            Ok(response) => response,
            Err(problem) => {
                if let Some(cause) = &problem.cause {
                    error!(request_id = id.as_str(), route = template, code = %problem.code, cause, "request failed");
                }
                problem.response(id).map(AnswerBody::whole)
            }
        };
        if let Some(rate_limit) = &ctx.rate_limit {
            write_rate_limit_headers(rate_limit, response.headers_mut());
        }
        if let Ok(id) = HeaderValue::from_bytes(id.as_bytes()) {
            response.headers_mut().insert(HeaderName::from_static(REQUEST_ID_HEADER), id);
        }
        let took = ctx.started.elapsed();
        let status = response.status();
        self.route_metrics.count(&self.metrics, ctx.route, status, took);
        ctx.caller.principal().request_counter(&self.metrics.access).inc();
        debug!(
            request_id = id.as_str(),
            route = template,
            status = status.as_u16(),
            uid = ctx.caller.peer().uid(),
            microseconds = took.as_micros(),
            "answered"
        );
        Answered { response, unread }
    }

    /// Charges a request that was not charged yet: one that could not be understood counts as well. A request without a
    /// valid credential counts against the process that made it.
    ///
    /// # Errors
    /// `rate.limited` or `quota.exceeded`.
    fn charge_unadmitted(&self, ctx: &mut RequestContext) -> Result<(), Problem> {
        if ctx.admitted { Ok(()) } else { self.charge_request(ctx, 0) }
    }

    /// Checks that the answer may still be sent.
    ///
    /// # Errors
    /// The answer to be sent instead, if the caller's API key ended meanwhile and not by this request.
    fn settle(&self, ctx: &RequestContext) -> Result<(), Problem> {
        if ctx.ended_own_key { Ok(()) } else { self.access.check_may_be_answered(&ctx.caller).map_err(auth_problem) }
    }
}

/// Runs an operation on the task that polls it, and on `runtime` from when this is dropped.
pub(super) struct RunToEnd<'r> {
    /// `None` once it has ended.
    operation: Option<RunningOperation>,
    runtime: &'r Handle,
}

impl<'r> RunToEnd<'r> {
    pub(super) fn new(operation: RunningOperation, runtime: &'r Handle) -> Self {
        RunToEnd { operation: Some(operation), runtime }
    }
}

impl Future for RunToEnd<'_> {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let Some(operation) = &mut self.operation else { return Poll::Pending };
        let polled = operation.as_mut().poll(cx);
        if polled.is_ready() {
            self.operation = None;
        }
        polled
    }
}

impl Drop for RunToEnd<'_> {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            debug!("connection ended before its operation, which runs on");
            self.runtime.spawn(operation);
        }
    }
}
