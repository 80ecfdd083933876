//! The routes, and the way of a request to the daemon.

use std::{io, pin::Pin, sync::Arc, sync::atomic::Ordering, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Extension, Request, State},
    http::{HeaderValue, Response, Uri, Version, header, uri::PathAndQuery},
    middleware::{Next, from_fn_with_state},
    routing::any,
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::OwnedSemaphorePermit, task::AbortHandle, time::timeout};
use tracing::{debug, warn};

use crate::{
    body::{ForwardedBody, RequestBody, drain},
    check::{self, API, HEALTH, admit, connection_of},
    counts::AddressSlot,
    gateway::Gateway,
    headers::strip_hop_by_hop,
    problem::{Problem, RequestId},
};
use masker_types::{
    error_code::Code,
    limits::{HEAD_BYTES_MAX, QUEUE_WAIT_SECONDS_MAX},
};

/// Time for a connection to the daemon, in seconds. It waits only where the daemon's queue of connections is full.
const CONNECT_SECONDS_MAX: u64 = 5;
/// The host of requests to the daemon, which ignores it.
const DAEMON_HOST: &str = "masker";

/// Returns the routes. A request passes [`check_head`] first, whichever its path is.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route(HEALTH, any(forward))
        .route(&format!("{API}{{*rest}}"), any(forward))
        .fallback(not_found)
        .layer(from_fn_with_state(Arc::clone(&gateway), check_head))
        .with_state(gateway)
}

/// What a request holds until its answer was sent.
struct Held {
    _slot: AddressSlot,
    _permit: OwnedSemaphorePermit,
    _driver: Driver,
}

/// The task of a connection to the daemon. It ends with the request, also where the client has gone away.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What [`check_head`] found. A handler takes it out of the request.
#[derive(Clone)]
struct Passed(Arc<std::sync::Mutex<Option<check::Admitted>>>);

impl Passed {
    fn take(&self) -> Option<check::Admitted> {
        self.0.lock().ok()?.take()
    }
}

async fn check_head(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let id = request_id(&head.extensions, &gateway);
    let admitted = connection_of(&head).and_then(|connection| admit(&gateway, &connection, &mut head));
    match admitted {
        Ok(admitted) => {
            head.extensions.insert(Passed(Arc::new(std::sync::Mutex::new(Some(admitted)))));
            next.run(Request::from_parts(head, body)).await
        }
        Err(problem) => {
            debug!(request_id = id.text(), code = problem.code.as_str(), "request refused");
            refuse(&problem, id, body)
        }
    }
}

/// Answers a request whose body may not have arrived.
fn refuse(problem: &Problem, id: RequestId, body: Body) -> Response<Body> {
    tokio::spawn(drain(body));
    problem.response(id)
}

fn request_id(extensions: &axum::http::Extensions, gateway: &Gateway) -> RequestId {
    extensions.get::<RequestId>().copied().unwrap_or_else(|| gateway.ids.next())
}

async fn not_found(State(gateway): State<Arc<Gateway>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let detail = "the gateway serves `/health` and what begins with `/api/v1/`";
    refuse(&Problem::unread(Code::RouteNotFound, detail), request_id(&head.extensions, &gateway), body)
}

async fn forward(
    State(gateway): State<Arc<Gateway>>,
    Extension(passed): Extension<Passed>,
    request: Request,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let id = request_id(&head.extensions, &gateway);
    let Some(admitted) = passed.take() else { return refuse(&Problem::internal(), id, body) };
    let (stream, permit) = match reach(&gateway).await {
        Ok(reached) => reached,
        Err(problem) => {
            warn!(request_id = id.text(), code = problem.code.as_str(), "failed to reach the daemon");
            return refuse(&problem, id, body);
        }
    };
    let (body, too_large) = RequestBody::new(body, admitted.body_max);
    let connecting = http1::Builder::new().max_buf_size(8 * HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = match connecting.await {
        Ok(connected) => connected,
        Err(error) => return gone(id, &error),
    };
    let driver = Driver(tokio::spawn(connection).abort_handle());
    // The target of the daemon is a path alone.
    let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    head.uri = Uri::from(path);
    head.version = Version::HTTP_11;
    head.headers.insert(header::HOST, HeaderValue::from_static(DAEMON_HOST));
    head.extensions.clear();
    match sender.send_request(Request::from_parts(head, body)).await {
        Ok(answer) => {
            let held = Held { _slot: admitted.slot, _permit: permit, _driver: driver };
            let (mut head, body) = answer.into_parts();
            strip_hop_by_hop(&mut head.headers);
            head.version = Version::default();
            Response::from_parts(head, Body::new(ForwardedBody::new(body, held)))
        }
        Err(_) if too_large.load(Ordering::Acquire) => check::too_large().response(id),
        Err(error) => gone(id, &error),
    }
}

/// Connects to the daemon, once there is a place for the request.
async fn reach(gateway: &Gateway) -> Result<(UnixStream, OwnedSemaphorePermit), Problem> {
    let waiting = timeout(Duration::from_secs(QUEUE_WAIT_SECONDS_MAX), Arc::clone(&gateway.requests).acquire_owned());
    let Ok(Ok(permit)) = waiting.await else {
        let detail = "the gateway has too many requests in flight; try again";
        return Err(Problem::unread(Code::Overloaded, detail));
    };
    let connecting = timeout(Duration::from_secs(CONNECT_SECONDS_MAX), UnixStream::connect(&gateway.daemon)).await;
    match connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => Ok((stream, permit)),
        Err(error) => {
            debug!(%error, "failed to connect to the daemon");
            let detail = "the gateway does not reach the daemon; try again, and ask the operator to look at its log";
            Err(Problem::unread(Code::DaemonUnavailable, detail))
        }
    }
}

/// Answers a request whose connection to the daemon ended without an answer.
fn gone(id: RequestId, error: &hyper::Error) -> Response<Body> {
    // The client may be the cause: its body can end early. Then nobody reads the answer.
    warn!(request_id = id.text(), %error, "the daemon gave no answer");
    let detail = "the daemon gave no answer, so the operation may have happened or not; try again";
    Problem::unread(Code::DaemonUnavailable, detail).response(id)
}

/// Calls the routes for a request of a connection.
pub(crate) async fn call(mut router: Router, request: Request) -> Response<Body> {
    use tower_service::Service;

    match Pin::new(&mut router.call(request)).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}
