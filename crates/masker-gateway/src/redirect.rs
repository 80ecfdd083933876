//! The listener for plain HTTP, which answers with a redirect and nothing else.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tracing::debug;

use crate::{
    gateway::Gateway,
    headers::{REQUEST_ID, set_strict},
    problem::with_causes,
};
use masker_types::limits::{HEAD_BYTES_MAX, HEADERS_MAX};

/// Time for a request and its answer, in seconds.
const REDIRECT_SECONDS_MAX: u64 = 10;

/// Serves one request of a connection, within a time, or until a stop.
pub(crate) async fn serve(gateway: &Arc<Gateway>, stream: TcpStream, mut stop: watch::Receiver<bool>) {
    let bounds = gateway.bounds;
    let answer =
        service_fn(|request: Request<Incoming>| async move { Ok::<_, Infallible>(redirect(gateway, &request)) });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .keep_alive(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    let mut served = pin!(timeout(bounds.head.min(Duration::from_secs(REDIRECT_SECONDS_MAX)), served));
    let ended = tokio::select! {
        ended = &mut served => ended,
        // The answer is one write away from the request, so nothing is cut off. The value borrows the channel's lock.
        stopped = stop.wait_for(|stop| *stop) => return drop(stopped),
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = with_causes(&error), "redirect ended early"),
        Err(_) => debug!("redirect ended early: it took too long"),
    }
}

fn redirect(gateway: &Gateway, request: &Request<Incoming>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let target = gateway.public_url.of_path(request.uri().path_and_query());
    // A path is ASCII without control characters, and so is the URL.
    if let Ok(target) = HeaderValue::from_str(&target) {
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        response.headers_mut().insert(header::LOCATION, target);
    } else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    let headers = response.headers_mut();
    set_strict(headers);
    // It has a meaning over TLS only (RFC 6797 section 7.2).
    headers.remove(header::STRICT_TRANSPORT_SECURITY);
    if let Ok(id) = HeaderValue::from_str(&gateway.ids.next().text()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
