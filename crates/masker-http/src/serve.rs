//! Connections: accepted within bounds, served, and drained at the end.

use std::{
    future::poll_fn,
    io,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use http_body_util::{Either, Full, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CONNECTION, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, error, trace, warn};

use super::{
    Service,
    audit::{CallerCache, RequestResult, operation},
    ending::ConnectionProgress,
    exchange::RequestContext,
    gate,
    meters::UNMATCHED,
    problem::Problem,
    refusal::RefusalStream,
    router::{RouteAccess, RouteMatch},
    workers::{WorkerSlot, Workers, runs_in_place},
};
use masker_access::Peer;
use masker_api::REQUEST_ID_HEADER;
use masker_types::limits::{CONNECTIONS_MAX, DRAIN_SECONDS_MAX, HEAD_BYTES_MAX, HEADERS_MAX};

/// Pause after a failure to accept a connection, such as too many open files, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 50;

/// The body of an answer: at hand as a whole, or made while it is sent.
pub(super) type AnswerBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, io::Error>>;

/// How the draining of connections went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that had to be cut off.
    pub cut_off: usize,
}

/// Serves connections until `stop` says true, then lets requests in flight end for up to [`DRAIN_SECONDS_MAX`] seconds. To
/// be called on a runtime of several threads, which does what takes long.
pub async fn serve(
    listener: UnixListener,
    workers: Workers,
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
) -> DrainReport {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let stopping = stop.clone();
    let mut stopped = pin!(async move { stop.wait_for(|stop| *stop).await.is_ok() });
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = accept(&listener, &slots, &workers) => match accepted {
                Ok((accepted, worker)) => {
                    let main = Handle::current();
                    connections.spawn_on(connection(accepted, main, Arc::clone(&service), stopping.clone()), worker);
                }
                Err(failed) => {
                    warn!(error = %failed, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            },
        }
    }
    drop(listener);
    let drain = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(Duration::from_secs(DRAIN_SECONDS_MAX), drain).await.is_err() {
        let cut_off = connections.len();
        connections.shutdown().await;
        return DrainReport { cut_off };
    }
    DrainReport { cut_off: 0 }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panicked) = ended {
        error!(error = %panicked, "a connection ended by a bug");
    }
}

/// A connection, and what it holds as long as it lasts.
struct AcceptedConnection {
    stream: std::os::unix::net::UnixStream,
    _slot: OwnedSemaphorePermit,
    _worker_slot: WorkerSlot,
}

/// Who is at the other end of a connection, as long as it lasts: as the kernel says, and as the log has it.
struct ConnectionInfo {
    peer: Arc<Peer>,
    caller_cache: CallerCache,
}

/// The next connection, once there is a slot for it: until then it waits in the listen queue.
async fn accept<'w>(
    listener: &UnixListener,
    slots: &Arc<Semaphore>,
    workers: &'w Workers,
) -> io::Result<(AcceptedConnection, &'w Handle)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    let (seat, worker) = workers.seat().ok_or_else(|| io::Error::other("there is no thread to serve it"))?;
    // It is another runtime that is to be told of what comes.
    Ok((AcceptedConnection { stream: stream.into_std()?, _slot: slot, _worker_slot: seat }, worker))
}

async fn connection(
    accepted: AcceptedConnection,
    main: Handle,
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
) {
    let stopping = stop.clone();
    let stream = match UnixStream::from_std(accepted.stream) {
        Ok(stream) => stream,
        Err(failed) => return warn!(error = %failed, "a connection could not be served"),
    };
    let connection_info = match Peer::of(&stream) {
        Ok(peer) => Arc::new(ConnectionInfo { peer: Arc::new(peer), caller_cache: CallerCache::default() }),
        Err(failed) => return warn!(error = %failed, "a connection was refused"),
    };
    service.metrics.http.connections.inc();
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(service.timeouts.write));
    let progress = Arc::new(ConnectionProgress::default());
    let answer = service_fn(|request| {
        let (service, connection_info, main) = (Arc::clone(&service), Arc::clone(&connection_info), &main);
        let (progress, stopping) = (&progress, &stopping);
        async move {
            progress.begin();
            let matched = service.routes.find(request.method(), request.uri().path());
            let mut answered = if matched.as_ref().is_ok_and(|matched| runs_in_place(matched.route, request.body())) {
                Ok(service.answer(&connection_info, matched, request).await)
            } else {
                on(main, async move { service.answer(&connection_info, matched, request).await }).await
            };
            progress.finish();
            // Once there is news this daemon stops: there is no other.
            if let Ok(response) = &mut answered
                && stopping.has_changed().unwrap_or(true)
            {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answered
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(service.timeouts.head)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true)
        .serve_connection(
            TokioIo::new(RefusalStream::new(stream, Arc::clone(&service), Arc::clone(&progress))),
            answer,
        );
    let mut served = pin!(served);
    let mut grace_period = pin!(async {
        // Only whether it is time is kept: the value borrows the channel's lock.
        drop(stop.wait_for(|stop| *stop).await);
        tokio::time::sleep(progress.grace_period()).await;
    });
    let (mut asked, mut over) = (false, false);
    let ended = poll_fn(|task| {
        loop {
            if let Poll::Ready(ended) = served.as_mut().poll(task) {
                return Poll::Ready(ended);
            }
            // Once asked it wakes this task when there is news. To ask it for each request would take a lock that all
            // connections share.
            if !over && (!asked || stopping.has_changed().unwrap_or(true)) {
                asked = true;
                over = grace_period.as_mut().poll(task).is_ready();
            }
            if !over || !progress.end() {
                return Poll::Pending;
            }
        }
    })
    .await;
    service.metrics.http.connections.dec();
    match ended {
        Ok(()) => trace!("a connection ended"),
        // A client that sends nonsense, or goes away, is its own business.
        Err(failed) => debug!(error = %failed, "a connection ended early"),
    }
}

/// Does something on another runtime, and gives it up where nobody waits for it any more.
async fn on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    let mut one = JoinSet::new();
    one.spawn_on(work, runtime);
    match one.join_next().await {
        Some(done) => done,
        None => std::future::pending().await,
    }
}

impl Service {
    /// Answers one request, whatever happens: a bug in a handler is an answer, too.
    async fn answer(
        &self,
        connection_info: &ConnectionInfo,
        matched: Result<RouteMatch, Problem>,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let peer = &connection_info.peer;
        let started = Instant::now();
        let id = self.ids.next();
        let template = matched.as_ref().map_or(UNMATCHED, |matched| matched.template);
        let mut on = RequestContext::new(
            id,
            self.access.local_caller(peer),
            self.policies.load_full(),
            self.timestamps(started),
        );
        let (route, place) = matched.as_ref().ok().map(|matched| (matched.route, matched.place)).unzip();
        let mut outcome = self.catch_panics(&mut on, peer, matched, request).await;
        let ended = RequestResult {
            route,
            status: outcome.as_ref().map_or_else(Problem::status, Response::status),
            code: outcome.as_ref().err().map(|problem| problem.code),
            took: started.elapsed(),
        };
        if let Err(audit_error) = self.record(&connection_info.caller_cache, &on, ended).await {
            outcome = Err(audit_error);
        }
        let mut response = match outcome {
            Ok(response) => response,
            Err(problem) => {
                if let Some(cause) = &problem.cause {
                    error!(request_id = id.as_str(), route = template, code = %problem.code, cause, "a request failed");
                }
                problem.response(id).map(Either::Left)
            }
        };
        if let Some(rate_limit) = &on.rate_limit {
            gate::tell(rate_limit, response.headers_mut());
        }
        if let Ok(id) = HeaderValue::from_bytes(id.as_bytes()) {
            response.headers_mut().insert(HeaderName::from_static(REQUEST_ID_HEADER), id);
        }
        let took = started.elapsed();
        let status = response.status();
        self.meters.count(&self.metrics, place, status, took);
        on.caller.principal().request_counter(&self.metrics.access).inc();
        debug!(
            request_id = id.as_str(),
            route = template,
            status = status.as_u16(),
            uid = peer.uid(),
            microseconds = took.as_micros(),
            "answered"
        );
        response
    }

    async fn catch_panics(
        &self,
        on: &mut RequestContext,
        peer: &Arc<Peer>,
        matched: Result<RouteMatch, Problem>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        // Nothing of a request outlives it, so what a panic leaves behind is dropped with it; the vault's shared state
        // changes only in its writer.
        let answered = AssertUnwindSafe(self.enter(on, peer, matched, request)).catch_unwind().await;
        answered.unwrap_or_else(|_| Err(Problem::internal("a handler panicked; the place stands above in the log")))
    }

    /// Lets a request in, and out again.
    async fn enter(
        &self,
        on: &mut RequestContext,
        peer: &Arc<Peer>,
        matched: Result<RouteMatch, Problem>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        self.authenticate(on, peer, matched.as_ref().ok(), &request).await?;
        let answered = match matched {
            Ok(matched) => self.handle(on, matched, request).await,
            Err(not_found) => Err(not_found),
        };
        if !on.admitted {
            // What could not be understood was asked all the same.
            drop(self.admit(on, 0));
        }
        gate::check_not_revoked(&on.caller)?;
        answered
    }

    /// Does what is asked, unless nothing may be done now.
    async fn handle(
        &self,
        on: &mut RequestContext,
        matched: RouteMatch,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        if operation(matched.route).is_some() {
            self.audit_ready()?;
        }
        if matched.rule == RouteAccess::Open {
            // Whoever has used up their limits may still ask what they are.
            drop(self.admit(on, 0));
        }
        self.dispatch(on, matched, request).await
    }
}
