//! One connection of a client, from its handshake to its end.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::IpAddr,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::Response};
use futures_util::FutureExt;
use hyper::{
    Request, Version,
    body::Incoming,
    header::{CONNECTION, HeaderMap, HeaderValue},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{sleep, sleep_until, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, error, trace};

use crate::{
    body::AnswerBody,
    certificate::ClientIdentity,
    forward,
    gateway::{ClientKind, ConnectionInfo, Gateway},
    headers::{REQUEST_ID, set_strict},
    pace::Activity,
    problem::{Problem, RequestId},
};
use masker_types::{
    error_code::Code,
    limits::{DRAIN_SECONDS_MAX, GATEWAY_STREAMS_MAX, HEAD_BYTES_MAX, HEADERS_MAX},
};

/// Bytes of answers that one connection of HTTP/2 has in memory for each request.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Time between two questions whether the client of an HTTP/2 connection is still there, in seconds.
const PING_SECONDS: u64 = 20;
/// Requests of HTTP/2 that a client may cancel before they were answered, until its connection ends.
const RESETS_MAX: usize = 64;

/// The answer to a request, once it is there.
type AnswerFuture = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

type ClientStream = TlsStream<Pin<Box<TimeoutStream<TcpStream>>>>;

/// What a connection needs besides its client.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) router: Router,
    /// Whether clients show a certificate.
    pub(crate) mtls: bool,
    /// Is true once the gateway stops.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Service {
    /// Serves a connection to its end.
    pub(crate) async fn serve(self, stream: TcpStream, peer: IpAddr) {
        let bounds = self.gateway.bounds;
        // Before the certificates, so that no change is missed.
        let clients = self.mtls.then(|| self.gateway.certificates.clients());
        let tls = self.gateway.certificates.current();
        let config = if self.mtls { tls.mtls.clone() } else { Some(Arc::clone(&tls.server)) };
        let Some(config) = config else { return };
        drop(tls);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(bounds.write));
        let stream = match timeout(bounds.handshake, TlsAcceptor::from(config).accept(Box::pin(stream))).await {
            Ok(Ok(stream)) => stream,
            // Anyone can connect: this is nothing for an operator to look into.
            Ok(Err(error)) => return debug!(%error, %peer, "connection refused: the TLS handshake failed"),
            Err(_) => return debug!(%peer, "connection refused: the TLS handshake took too long"),
        };
        let client = match self.client(&stream) {
            Ok(client) => client,
            Err(reason) => return debug!(%peer, reason, "connection refused: the certificate has no usable identity"),
        };
        let info = Arc::new(ConnectionInfo { peer, client });
        let activity = Activity::new(bounds.write);
        let ended = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.serve_http2(stream, &info, &activity, clients).await
        } else {
            self.serve_http1(stream, &info, &activity, clients).await
        };
        match ended {
            Ok(()) => trace!("connection ended"),
            // Clients may send nonsense or go away.
            Err(reason) => debug!(reason, %peer, "connection ended early"),
        }
    }

    fn client(&self, stream: &ClientStream) -> Result<ClientKind, String> {
        if !self.mtls {
            return Ok(ClientKind::Bearer);
        }
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        // The handshake requires one.
        let certificate = certificate.ok_or("there is none")?;
        ClientIdentity::of(certificate).map(ClientKind::Certificate).map_err(|error| error.to_string())
    }

    async fn serve_http1(
        self,
        stream: ClientStream,
        info: &Arc<ConnectionInfo>,
        activity: &Arc<Activity>,
        clients: Option<watch::Receiver<u64>>,
    ) -> Result<(), String> {
        let stop = self.stop.clone();
        let stream = Http1Stream { stream, gateway: Arc::clone(&self.gateway), refusal: None };
        let head = self.gateway.bounds.head;
        let answer = self.answer(info, activity);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // hyper itself ends a connection that is idle.
        drive(served, activity, None, stop, clients).await
    }

    async fn serve_http2(
        self,
        stream: ClientStream,
        info: &Arc<ConnectionInfo>,
        activity: &Arc<Activity>,
        clients: Option<watch::Receiver<u64>>,
    ) -> Result<(), String> {
        let stop = self.stop.clone();
        let bounds = self.gateway.bounds;
        let answer = self.answer(info, activity);
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(GATEWAY_STREAMS_MAX)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .max_send_buf_size(SEND_BYTES_MAX)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_local_error_reset_streams(RESETS_MAX)
            .keep_alive_interval(Duration::from_secs(PING_SECONDS))
            .keep_alive_timeout(bounds.write)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        drive(served, activity, Some(bounds.head), stop, clients).await
    }

    /// Returns what answers each request of a connection.
    fn answer(
        self,
        info: &Arc<ConnectionInfo>,
        activity: &Arc<Activity>,
    ) -> impl Fn(Request<Incoming>) -> AnswerFuture + use<> {
        let (info, activity) = (Arc::clone(info), Arc::clone(activity));
        move |request| {
            let active = activity.begin();
            let (gateway, router) = (Arc::clone(&self.gateway), self.router.clone());
            let (info, stopping) = (Arc::clone(&info), *self.stop.borrow());
            Box::pin(async move {
                let version = request.version();
                let id = gateway.ids.next();
                let mut response = respond(router, info, id, request.map(Body::new)).await;
                finish_head(response.headers_mut(), version, stopping, id);
                Ok(response.map(|body| AnswerBody::new(body, active)))
            })
        }
    }
}

/// Answers a request. A panic is a bug, and costs one request only.
async fn respond(
    router: Router,
    info: Arc<ConnectionInfo>,
    id: RequestId,
    mut request: Request<Body>,
) -> Response<Body> {
    request.extensions_mut().insert(info);
    request.extensions_mut().insert(id);
    match AssertUnwindSafe(forward::call(router, request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            error!(request_id = id.text(), "a request ended by a panic");
            Problem::internal().response(id)
        }
    }
}

/// Sets the headers that every answer has.
fn finish_head(headers: &mut HeaderMap, version: Version, stopping: bool, id: RequestId) {
    set_strict(headers);
    // An answer of the daemon has the id under which the daemon has logged it.
    if !headers.contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(&id.text())
    {
        headers.insert(REQUEST_ID, id);
    }
    if version == Version::HTTP_2 {
        headers.remove(CONNECTION);
    } else if stopping {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// A connection that can be asked to end once its requests are answered.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn end(self: Pin<&mut Self>);
}

impl<F> Graceful for http1::Connection<TokioIo<Http1Stream>, F>
where
    F: hyper::service::HttpService<Incoming, ResBody = AnswerBody>,
    F::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<F> Graceful for http2::Connection<TokioIo<ClientStream>, F, TokioExecutor>
where
    F: hyper::service::HttpService<Incoming, ResBody = AnswerBody>,
    F::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F::Future: Send + 'static,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Polls a connection to its end: that of the client, a stop, a change of which client certificates are accepted, `idle` without a request, or a client that
/// reads too slowly.
async fn drive(
    connection: impl Graceful,
    activity: &Arc<Activity>,
    idle: Option<Duration>,
    mut stop: watch::Receiver<bool>,
    mut clients: Option<watch::Receiver<u64>>,
) -> Result<(), String> {
    let mut connection = pin!(connection);
    let mut cut_off = pin!(activity.cut_off());
    let mut ending = pin!(async {
        tokio::select! {
            // The value borrows the channel's lock, so it must not be held.
            stopped = stop.wait_for(|stop| *stop) => drop(stopped),
            () = clients_changed(clients.as_mut()) => {}
            () = idle_for(activity, idle) => {}
        }
    });
    tokio::select! {
        ended = &mut connection => return ended.map_err(|error| error.to_string()),
        () = &mut cut_off => return Err("the client reads too slowly".to_owned()),
        () = &mut ending => connection.as_mut().end(),
    }
    // Requests in flight go on. A client that does not end its connection has no right to it.
    let over = async {
        loop {
            sleep(Duration::from_secs(DRAIN_SECONDS_MAX)).await;
            if activity.idle_since().is_some() {
                break;
            }
        }
    };
    tokio::select! {
        ended = &mut connection => ended.map_err(|error| error.to_string()),
        () = &mut cut_off => Err("the client reads too slowly".to_owned()),
        () = over => Err("the client did not end it".to_owned()),
    }
}

async fn clients_changed(clients: Option<&mut watch::Receiver<u64>>) {
    if let Some(clients) = clients
        && clients.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Waits until the connection had no request for a time; for ever without one.
async fn idle_for(activity: &Activity, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    loop {
        let now = Instant::now();
        let end = activity.idle_since().unwrap_or(now) + idle;
        if end <= now {
            return;
        }
        sleep_until(end.into()).await;
    }
}

/// A connection of HTTP/1.1 that replaces hyper's own answers to malformed heads, which have neither a reason nor an id.
struct Http1Stream {
    stream: ClientStream,
    gateway: Arc<Gateway>,
    refusal: Option<PendingRefusal>,
}

/// An answer that is sent instead of hyper's.
struct PendingRefusal {
    bytes: Vec<u8>,
    sent: usize,
    /// The length of hyper's answer.
    replaced: usize,
}

impl Http1Stream {
    fn refusal(&self, status: u16, replaced: usize) -> PendingRefusal {
        let problem = match status {
            400 => Problem::unread(Code::RequestInvalid, "this is not an HTTP/1.1 request"),
            408 => Problem::unread(Code::RequestTimeout, "the head of the request did not arrive in time"),
            _ => Problem::unread(Code::RequestTooLarge, "the head of the request has too many headers or bytes"),
        };
        let mut headers = HeaderMap::new();
        set_strict(&mut headers);
        PendingRefusal { bytes: problem.raw_response(self.gateway.ids.next(), &headers), sent: 0, replaced }
    }
}

/// Returns the status if these bytes are an answer of hyper's own: a head with a 4xx status and without the request id that every
/// other answer has.
fn automatic(bytes: &[u8]) -> Option<u16> {
    let head = std::str::from_utf8(bytes.strip_suffix(b"\r\n\r\n")?).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))?.get(..3)?;
    let has_id = head.split("\r\n").any(|line| line.starts_with(masker_api::REQUEST_ID_HEADER));
    status.parse().ok().filter(|status| (400..500).contains(status) && !has_id)
}

impl AsyncWrite for Http1Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refusal.is_none()
            && let Some(status) = automatic(bytes)
        {
            self.refusal = Some(self.refusal(status, bytes.len()));
        }
        let Http1Stream { stream, refusal, .. } = &mut *self;
        while let Some(pending) = refusal {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &pending.bytes[pending.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => pending.sent += sent,
            }
            if pending.sent == pending.bytes.len() {
                let replaced = pending.replaced;
                *refusal = None;
                return Poll::Ready(Ok(replaced));
            }
        }
        Pin::new(stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Http1Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_heads_of_hyper_are_recognized() {
        let own = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        assert_eq!(automatic(own.as_bytes()), Some(400));
        for bytes in [
            own.replace("date", "x-request-id: 0\r\ndate"),
            own.replace("400", "200"),
            own.replace("HTTP/1.1", "{\"a\": \"HTTP/1.1"),
            own.trim_end().to_owned(),
            String::new(),
        ] {
            assert_eq!(automatic(bytes.as_bytes()), None, "{bytes}");
        }
    }
}
