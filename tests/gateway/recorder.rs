//! A server in the place of the daemon that records the requests which reach it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame, Incoming},
    header::{HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixListener,
    sync::{Notify, Semaphore},
    time::timeout,
};

use crate::harness::LIMIT;

/// A request as the daemon would see it.
pub struct Recorded {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Recorded {
    /// Returns the values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// The answers that a path asks for:
///
/// - `/api/v1/text/mask/stream`: each part of the request's body as it arrives.
/// - `/api/v1/refuse`: 401 before the body, which is then read.
/// - `/api/v1/large` and `/api/v1/vault/export`: 64 MiB.
/// - `/api/v1/wait`: nothing until [`Recorder::go_on`].
/// - All others: the recorded request's body is read, and a few headers are sent.
pub struct Recorder {
    requests: Mutex<VecDeque<Recorded>>,
    arrived: Notify,
    waiting: Semaphore,
    goes_on: Semaphore,
}

impl Recorder {
    /// Listens on a socket, for as long as the runtime lasts.
    pub fn listen(socket: &Path) -> Arc<Self> {
        let recorder = Arc::new(Recorder {
            requests: Mutex::default(),
            arrived: Notify::new(),
            waiting: Semaphore::new(0),
            goes_on: Semaphore::new(0),
        });
        let listener = UnixListener::bind(socket).unwrap();
        let serving = Arc::clone(&recorder);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let recorder = Arc::clone(&serving);
                let answer = service_fn(move |request| {
                    let recorder = Arc::clone(&recorder);
                    async move { Ok::<_, Infallible>(recorder.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        recorder
    }

    /// Returns the next request that arrived, or waits for it.
    pub async fn next(&self) -> Recorded {
        let next = async {
            loop {
                let arrived = self.arrived.notified();
                let request = self.requests.lock().unwrap().pop_front();
                match request {
                    Some(request) => return request,
                    None => arrived.await,
                }
            }
        };
        timeout(LIMIT, next).await.expect("a request reaches the daemon")
    }

    /// Returns whether a request arrived that no test has looked at.
    pub fn has_more(&self) -> bool {
        !self.requests.lock().unwrap().is_empty()
    }

    /// Waits until a request waits.
    pub async fn waits(&self) {
        timeout(LIMIT, self.waiting.acquire()).await.expect("a request waits").unwrap().forget();
    }

    /// Lets one request go on that waits.
    pub fn go_on(&self) {
        self.goes_on.add_permits(1);
    }

    fn record(&self, head: &hyper::http::request::Parts, body: Vec<u8>) {
        let (method, target) = (head.method.to_string(), head.uri.to_string());
        self.requests.lock().unwrap().push_back(Recorded { method, target, headers: head.headers.clone(), body });
        self.arrived.notify_waiters();
        self.arrived.notify_one();
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<BoxBody<Bytes, hyper::Error>> {
        let (head, body) = request.into_parts();
        match head.uri.path() {
            "/api/v1/text/mask/stream" => {
                self.record(&head, Vec::new());
                return Response::new(body.boxed());
            }
            "/api/v1/refuse" => {
                self.record(&head, Vec::new());
                tokio::spawn(body.collect());
                let mut refused = answer("refused");
                *refused.status_mut() = hyper::StatusCode::UNAUTHORIZED;
                return refused;
            }
            "/api/v1/large" | "/api/v1/vault/export" => {
                self.record(&head, Vec::new());
                let piece = || Ok(Frame::data(Bytes::from(vec![b'x'; 64 * 1024])));
                let pieces = futures_util::stream::iter((0..1_024).map(move |_| piece()));
                return Response::new(BodyExt::boxed(StreamBody::new(pieces)));
            }
            "/api/v1/wait" => {
                self.record(&head, Vec::new());
                self.waiting.add_permits(1);
                self.goes_on.acquire().await.unwrap().forget();
            }
            _ => {
                // A body that breaks off is not recorded.
                let Ok(body) = body.collect().await else { return answer("broken") };
                self.record(&head, body.to_bytes().to_vec());
            }
        }
        answer("served")
    }
}

fn answer(text: &'static str) -> Response<BoxBody<Bytes, hyper::Error>> {
    let mut response = Response::new(Full::from(text).map_err(|never: Infallible| match never {}).boxed());
    for (name, value) in [
        ("x-request-id", "0123456789abcdef0123456789abcdef"),
        ("cache-control", "public, max-age=60"),
        ("keep-alive", "timeout=5"),
        ("connection", "x-inner"),
        ("x-inner", "secret"),
        ("content-type", "application/json"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Runs a test on a runtime of its own.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { timeout(4 * LIMIT, test).await.expect("the test ends") });
    runtime.shutdown_timeout(Duration::from_secs(1));
}
