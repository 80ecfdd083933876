//! The routes, and the way of a request to the daemon.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Response, StatusCode, Uri, Version, header, uri::PathAndQuery},
    routing::any,
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::OwnedSemaphorePermit, task::AbortHandle, time::timeout};
use tracing::{debug, warn};

use crate::{
    body::{BrokenBody, ForwardedBody, RequestBody},
    check::{self, API, Admitted, HEALTH, request_id},
    counts::AddressSlot,
    gateway::Gateway,
    headers::strip_hop_by_hop,
    problem::{Problem, RequestId, with_causes},
};
use masker_types::{
    error_code::Code,
    limits::{HEAD_BYTES_MAX, QUEUE_WAIT_SECONDS_MAX},
};

/// Time for a connection to the daemon, in seconds. It waits only where the daemon's queue of connections is full.
const CONNECT_SECONDS_MAX: u64 = 5;
/// The host of requests to the daemon, which ignores it.
const DAEMON_HOST: &str = "masker";

/// Returns the routes. The head of a request is checked first, whichever its path is.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route(HEALTH, any(forward))
        .route(&format!("{API}{{*rest}}"), any(forward))
        .fallback(not_found)
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

/// Marks an answer that its client may read as slowly as it likes.
#[derive(Clone, Copy)]
pub(crate) struct MayBeSlow;

async fn not_found(State(gateway): State<Arc<Gateway>>, _: Admitted, request: Request) -> Response<Body> {
    let detail = "the gateway serves `/health` and what begins with `/api/v1/`";
    Problem::unread(Code::RouteNotFound, detail).response(request_id(request.extensions(), &gateway))
}

async fn forward(State(gateway): State<Arc<Gateway>>, admitted: Admitted, request: Request) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let id = request_id(&head.extensions, &gateway);
    let (stream, permit) = match reach(&gateway, id).await {
        Ok(reached) => reached,
        Err(problem) => return problem.response(id),
    };
    let (body, broken) = RequestBody::new(body, admitted.body_max);
    let connecting = http1::Builder::new().max_buf_size(8 * HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = match connecting.await {
        Ok(connected) => connected,
        Err(error) => return gone(id, &error, None),
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
            note_answer(&admitted, answer.status());
            let held = Held { _slot: admitted.slot, _permit: permit, _driver: driver };
            let (mut head, body) = answer.into_parts();
            strip_hop_by_hop(&mut head.headers);
            head.version = Version::default();
            if admitted.may_be_slow {
                head.extensions.insert(MayBeSlow);
            }
            Response::from_parts(head, Body::new(ForwardedBody::new(body, held)))
        }
        Err(error) => gone(id, &error, broken.get().copied()),
    }
}

/// Notes an answer of the daemon, which has looked at the credential first.
fn note_answer(admitted: &Admitted, status: StatusCode) {
    let is_refused = status.is_server_error() || matches!(status.as_u16(), 400 | 401 | 413 | 429);
    if !is_refused {
        admitted.connection.activity.note_answered(!admitted.is_health);
    }
}

/// Connects to the daemon, once there is a place for the request.
async fn reach(gateway: &Gateway, id: RequestId) -> Result<(UnixStream, OwnedSemaphorePermit), Problem> {
    let waiting = timeout(Duration::from_secs(QUEUE_WAIT_SECONDS_MAX), Arc::clone(&gateway.requests).acquire_owned());
    let Ok(Ok(permit)) = waiting.await else {
        warn!(request_id = id.text(), "too many requests are in flight to the daemon");
        let detail = "the gateway has too many requests in flight; try again";
        return Err(Problem::unread(Code::Overloaded, detail));
    };
    let connecting = timeout(Duration::from_secs(CONNECT_SECONDS_MAX), UnixStream::connect(&gateway.daemon)).await;
    match connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => Ok((stream, permit)),
        Err(error) => {
            let advice = match error.kind() {
                io::ErrorKind::PermissionDenied => "add the user of the gateway to the group of the daemon's socket",
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    "start the daemon, or correct `daemon` in gateway.toml"
                }
                _ => "look at the daemon's log",
            };
            let (request_id, socket) = (id.text(), gateway.daemon.display());
            warn!(request_id, %socket, %error, advice, "failed to connect to the daemon");
            let detail =
                "the gateway failed to connect to the daemon; try again, and ask the operator to look at its log";
            Err(Problem::unread(Code::DaemonUnavailable, detail))
        }
    }
}

/// Answers a request whose connection to the daemon ended without an answer.
fn gone(id: RequestId, error: &hyper::Error, broken: Option<BrokenBody>) -> Response<Body> {
    let (request_id, error) = (id.text(), with_causes(error));
    match broken {
        Some(BrokenBody::TooLarge) => return check::too_large().response(id),
        // Any client can cause it, and no one reads the answer.
        Some(BrokenBody::Aborted) => debug!(request_id, error, "the client ended its request early"),
        None => warn!(request_id, error, "the daemon gave no answer"),
    }
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
