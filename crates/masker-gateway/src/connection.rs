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
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{sleep, sleep_until, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, error, trace, warn};

use crate::{
    body::{AnswerBody, ClientBody},
    certificate::ClientIdentity,
    forward::{self, MayBeSlow},
    gateway::{ClientKind, ConnectionInfo, Gateway},
    headers::{REQUEST_ID, set_strict},
    pace::{Activity, StreamExecutor},
    problem::{Problem, RequestId, with_causes},
};
use masker_types::{
    error_code::Code,
    limits::{DRAIN_SECONDS_MAX, GATEWAY_STREAMS_MAX, HEAD_BYTES_MAX, HEADERS_MAX},
};

/// Bytes of answers that one connection of HTTP/2 has in memory for each request.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Time between two questions whether the client of an HTTP/2 connection is still there, in seconds.
const PING_SECONDS: u64 = 20;
/// Requests of HTTP/2 that a client may reset before the gateway accepts them, and resets that a client may cause by errors of the
/// protocol, until its connection ends.
const RESETS_MAX: usize = 64;
/// Bytes of request bodies that a client of HTTP/2 may send ahead, over one connection and for each request.
const RECEIVE_BYTES_MAX: (u32, u32) = (256 * 1024, 64 * 1024);
/// Size of the headers of one HTTP/2 request, in bytes as HTTP/2 counts them. It leaves room for the gateway's own answer.
const HEADER_LIST_BYTES_MAX: usize = 4 * HEAD_BYTES_MAX;
/// Time until the daemon has answered a request of a new connection, in seconds.
const FIRST_ANSWER_SECONDS_MAX: u64 = 10;
/// Time between two checks whether an ending connection has a request in flight, in milliseconds.
const END_CHECK_MS: u64 = 500;

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
    pub(crate) async fn serve(mut self, stream: TcpStream, peer: IpAddr, activity: Arc<Activity>) {
        let bounds = self.gateway.bounds;
        // Before the certificates, so that no change is missed.
        let clients = self.mtls.then(|| self.gateway.certificates.clients());
        let tls = self.gateway.certificates.current();
        let config = if self.mtls { tls.mtls.clone() } else { Some(Arc::clone(&tls.server)) };
        let Some(config) = config else { return };
        drop(tls);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(bounds.write));
        let handshake = timeout(bounds.handshake, TlsAcceptor::from(config).accept(Box::pin(stream)));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            // The value borrows the channel's lock, so it must not be held.
            stopped = self.stop.wait_for(|stop| *stop) => return drop(stopped),
        };
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            // Anyone can connect: this is nothing for an operator to look into.
            Ok(Err(error)) => return debug!(%error, %peer, "connection refused: the TLS handshake failed"),
            Err(_) => return debug!(%peer, "connection refused: the TLS handshake took too long"),
        };
        let client = self.client(&stream, peer);
        let info = Arc::new(ConnectionInfo { peer, client, clients: clients.clone(), activity: Arc::clone(&activity) });
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

    fn client(&self, stream: &ClientStream, peer: IpAddr) -> ClientKind {
        if !self.mtls {
            return ClientKind::Bearer;
        }
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        // The handshake requires one.
        let identity =
            certificate.map(|certificate| ClientIdentity::of(certificate).map_err(|error| error.to_string()));
        match identity.unwrap_or_else(|| Err("there is none".to_owned())) {
            Ok(identity) => ClientKind::Certificate(identity),
            Err(error) => {
                // Only holders of a certificate of the right authority cause it.
                warn!(%peer, error, "client certificate refused: its identity cannot be passed on");
                ClientKind::Unusable
            }
        }
    }

    async fn serve_http1(
        self,
        stream: ClientStream,
        info: &Arc<ConnectionInfo>,
        activity: &Arc<Activity>,
        clients: Option<watch::Receiver<u64>>,
    ) -> Result<(), String> {
        let stop = self.stop.clone();
        let stream = Http1Stream {
            stream,
            gateway: Arc::clone(&self.gateway),
            activity: Arc::clone(activity),
            flushed: 0,
            refusal: None,
        };
        let head = self.gateway.bounds.head;
        let answer = self.answer(info, activity);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // hyper itself ends a connection that is idle.
        drive(served, activity, (first_answer(head), None), stop, clients).await
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
        let served = http2::Builder::new(StreamExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(GATEWAY_STREAMS_MAX)
            .max_header_list_size(u32::try_from(HEADER_LIST_BYTES_MAX).unwrap_or(u32::MAX))
            .initial_connection_window_size(RECEIVE_BYTES_MAX.0)
            .initial_stream_window_size(RECEIVE_BYTES_MAX.1)
            .max_send_buf_size(SEND_BYTES_MAX)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_local_error_reset_streams(RESETS_MAX)
            .keep_alive_interval(Duration::from_secs(PING_SECONDS))
            .keep_alive_timeout(bounds.write)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        drive(served, activity, (first_answer(bounds.head), Some(bounds.head)), stop, clients).await
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
                let request = request.map(|body| Body::new(ClientBody::new(body)));
                let mut response = respond(router, info, id, request).await;
                finish_head(response.headers_mut(), version, stopping, id);
                let may_be_slow = response.extensions().get::<MayBeSlow>().is_some();
                Ok(response.map(|body| AnswerBody::new(body, active, may_be_slow)))
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
            error!(request_id = id.text(), "request handler panicked");
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

impl<F> Graceful for http2::Connection<TokioIo<ClientStream>, F, StreamExecutor>
where
    F: hyper::service::HttpService<Incoming, ResBody = AnswerBody>,
    F::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F::Future: Send + 'static,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Why the gateway ends a connection.
#[derive(Clone, Copy)]
enum Ending {
    Stop,
    /// Other client certificates are accepted.
    Clients,
    /// It had no request for a time.
    Idle,
    /// None of its first requests was answered by the daemon.
    Unanswered,
}

/// Polls a connection to its end: that of the client, a stop, a change of which client certificates are accepted, `first` without an answer of the daemon,
/// `idle` without a request, or a client that reads too slowly.
async fn drive(
    connection: impl Graceful,
    activity: &Arc<Activity>,
    (first, idle): (Duration, Option<Duration>),
    mut stop: watch::Receiver<bool>,
    mut clients: Option<watch::Receiver<u64>>,
) -> Result<(), String> {
    let mut connection = pin!(connection);
    let mut cut_off = pin!(activity.cut_off());
    let mut ending = pin!(async {
        tokio::select! {
            // The value borrows the channel's lock, so it must not be held.
            stopped = stop.wait_for(|stop| *stop) => {
                drop(stopped);
                Ending::Stop
            }
            () = clients_changed(clients.as_mut()) => Ending::Clients,
            () = idle_for(activity, idle) => Ending::Idle,
            () = activity.unanswered(first) => Ending::Unanswered,
        }
    });
    let ending = tokio::select! {
        ended = &mut connection => return ended.map_err(|error| with_causes(&error)),
        () = &mut cut_off => return Err("the client reads too slowly".to_owned()),
        ending = &mut ending => ending,
    };
    connection.as_mut().end();
    // A client that does not end its connection has no right to it.
    let over = async {
        let drain = Duration::from_secs(DRAIN_SECONDS_MAX);
        let pause = match ending {
            // Its requests in flight have a time, and further ones are refused.
            Ending::Clients => return sleep(drain).await,
            Ending::Idle => drain,
            // The head of a request that has not arrived is nothing to wait for.
            Ending::Stop | Ending::Unanswered => Duration::from_millis(END_CHECK_MS),
        };
        loop {
            sleep(pause).await;
            // Twice, so that an answer which has just ended is sent.
            if activity.idle_since().is_some_and(|since| since.elapsed() >= pause) {
                return;
            }
        }
    };
    tokio::select! {
        ended = &mut connection => ended.map_err(|error| with_causes(&error)),
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

/// Returns the time until the daemon has answered a request of a new connection.
fn first_answer(head: Duration) -> Duration {
    head.min(Duration::from_secs(FIRST_ANSWER_SECONDS_MAX))
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
    activity: Arc<Activity>,
    /// How many requests had begun, and had ended, when everything was sent last.
    flushed: u64,
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
    /// Returns whether everything of all answers was sent. What is written then is an answer of hyper's own or the head of the next
    /// answer, and no part of a body, which a caller could make look like such an answer.
    fn is_between_answers(&self) -> bool {
        self.activity.begun() == self.flushed
    }

    fn refusal(&self, status: u16, replaced: usize) -> PendingRefusal {
        let problem = match status {
            400 => Problem::unread(Code::RequestInvalid, "this is not an HTTP/1.1 request"),
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
            && self.is_between_answers()
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
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // hyper flushes once it has written everything that there is.
        if self.activity.idle_since().is_some() {
            self.flushed = self.activity.begun();
        }
        Poll::Ready(Ok(()))
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
    use masker_types::limits::{GATEWAY_CONNECTIONS_DEFAULT, GATEWAY_REQUESTS_MAX};

    /// The most that the buffers of one connection's TLS take: a record each way, and what waits to be sent.
    const TLS_BYTES: usize = 96 * 1024;
    /// The buffer of a connection to the daemon, and the pieces of two bodies on their way.
    const REQUEST_BYTES: usize = (8 + 2 * 4) * HEAD_BYTES_MAX;

    /// Returns a setting of the unit.
    fn of_unit(name: &str) -> usize {
        let unit = include_str!("../../../systemd/masker-gateway.service");
        let value = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).expect("the setting");
        value.trim_end_matches('M').parse().unwrap()
    }

    #[test]
    fn the_default_bounds_fit_into_those_of_the_unit() {
        let connections = usize::try_from(GATEWAY_CONNECTIONS_DEFAULT).unwrap();
        let connection = usize::try_from(RECEIVE_BYTES_MAX.0).unwrap() + HEADER_LIST_BYTES_MAX + TLS_BYTES;
        let sum = connections * connection + GATEWAY_REQUESTS_MAX * (SEND_BYTES_MAX + REQUEST_BYTES);
        // The rest is for the program itself and for what an allocator does not give back.
        let max = of_unit("MemoryMax") * 1024 * 1024 / 4 * 3;
        assert!(sum <= max, "{} MiB", sum / 1024 / 1024);
        assert!(connections + GATEWAY_REQUESTS_MAX + 256 <= of_unit("LimitNOFILE"));
    }

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
