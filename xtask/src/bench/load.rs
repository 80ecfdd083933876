//! A load generator over the daemon's socket.
//!
//! Every connection has one request in flight. Request bodies are built before the measurement starts, except for
//! [`LoadOperation::Mint`], whose values must be new.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{net::UnixStream, task::JoinSet};

use masker_api::{BatchResponse, ErrorBody, TokenizeResult};
use masker_types::limits::ITEMS_PER_REQUEST_MAX;

/// Bodies that each connection sends in turn.
const BODIES_PER_CONNECTION: usize = 64;
/// Latencies are recorded from 1 µs to 60 s, with three significant digits.
const LATENCY_MICROSECONDS_MAX: u64 = 60_000_000;

/// The operation that a load requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOperation {
    /// Tokenize the same values again and again.
    Tokenize,
    /// Tokenize values that are new.
    Mint,
    /// Rehydrate the tokens of the values that `Tokenize` uses.
    Rehydrate,
    /// Look up the values that `Tokenize` uses.
    Lookup,
}

/// A load on a daemon.
#[derive(Clone)]
pub struct LoadTest {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Number of connections, at least 1.
    pub connections: usize,
    /// Values in a request: 1 to 10,000.
    pub batch: usize,
    /// The operation to request.
    pub operation: LoadOperation,
    /// The policy. `None` is the daemon's default.
    pub policy: Option<String>,
    /// The kind of every value.
    pub kind: String,
    /// How long to measure.
    pub duration: Duration,
    /// Makes the values differ from those of other runs.
    pub seed: u64,
    /// The `Authorization` header of every request.
    pub authorization: Option<header::HeaderValue>,
}

/// The result of a load test.
#[derive(Clone, Debug, Serialize)]
pub struct LoadResult {
    /// Requests answered.
    pub requests: u64,
    /// Values in them.
    pub values: u64,
    /// Values that failed.
    pub failed: u64,
    /// Wall-clock time, in seconds.
    pub seconds: f64,
    /// Requests a second.
    pub requests_per_second: f64,
    /// Values a second.
    pub values_per_second: f64,
    /// Median latency of a request, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of the latency.
    pub p99_ms: f64,
    /// 99.9th percentile of the latency.
    pub p999_ms: f64,
    /// Longest latency.
    pub max_ms: f64,
}

/// Why a load test failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The load is invalid.
    #[error("{0}")]
    Load(&'static str),
    /// The daemon cannot be reached.
    #[error("failed to connect to {path}: {source}; is the daemon running? (`masker health`)")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The connection failed.
    #[error("connection failed: {0}")]
    Http(#[from] hyper::Error),
    /// The daemon refused a request.
    #[error("the daemon refused the request: {0}")]
    Refused(String),
    /// A connection's task panicked.
    #[error("connection task panicked: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl LoadTest {
    /// Puts the load on the daemon and measures.
    ///
    /// # Errors
    /// [`BenchError`]. A value that fails is counted; it is not an error.
    pub async fn run(&self) -> Result<LoadResult, BenchError> {
        if self.connections == 0 {
            return Err(BenchError::Load("at least one connection is needed"));
        }
        if !(1..=ITEMS_PER_REQUEST_MAX).contains(&self.batch) {
            return Err(BenchError::Load("a batch has 1 to 10,000 values"));
        }
        let load = Arc::new(self.clone());
        let mut prepared = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let mut connection = BenchConnection::open(&self.socket, self.authorization.clone()).await?;
            let bodies = load.bodies(number, &mut connection).await?;
            prepared.push((number, connection, bodies));
        }
        let started = Instant::now();
        let deadline = started + self.duration;
        let mut tasks = JoinSet::new();
        for (number, connection, bodies) in prepared {
            let load = Arc::clone(&load);
            tasks.spawn(async move { load.drive(number, connection, &bodies, deadline).await });
        }
        let mut total = BenchCounts::new()?;
        while let Some(counts) = tasks.join_next().await {
            total.add(&counts??);
        }
        Ok(total.result(self.batch, started.elapsed()))
    }

    /// Builds the request bodies of one connection, and tokenizes their values.
    async fn bodies(&self, number: usize, connection: &mut BenchConnection) -> Result<Vec<Bytes>, BenchError> {
        let mut bodies = Vec::with_capacity(BODIES_PER_CONNECTION);
        if self.operation == LoadOperation::Mint {
            return Ok(bodies);
        }
        for request in 0..BODIES_PER_CONNECTION {
            let body = self.tokenize_body("k", number, request);
            if self.operation == LoadOperation::Rehydrate {
                bodies.push(rehydrate_body(&connection.send("/api/v1/tokenize", body).await?)?);
            } else {
                // The measurement is of finding values, so they are minted now.
                connection.send("/api/v1/tokenize", body.clone()).await?;
                bodies.push(body);
            }
        }
        Ok(bodies)
    }

    /// Returns a request that tokenizes a batch of values that no other request of the run has.
    fn tokenize_body(&self, prefix: &str, connection: usize, request: usize) -> Bytes {
        let mut body = String::with_capacity(64 + self.batch * 64);
        body.push('{');
        if let Some(policy) = &self.policy {
            let _ = write!(body, "\"policy\":{},", serde_json::Value::from(policy.as_str()));
        }
        body.push_str("\"items\":[");
        let kind = serde_json::Value::from(self.kind.as_str()).to_string();
        for item in 0..self.batch {
            let separator = if item == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(
                body,
                "{separator}{{\"kind\":{kind},\"value\":\"{prefix}-{}-{connection}-{request}-{item}@example.org\"}}",
                self.seed
            );
        }
        body.push_str("]}");
        body.into()
    }

    async fn drive(
        &self,
        number: usize,
        mut connection: BenchConnection,
        bodies: &[Bytes],
        deadline: Instant,
    ) -> Result<BenchCounts, BenchError> {
        let path = match self.operation {
            LoadOperation::Tokenize | LoadOperation::Mint => "/api/v1/tokenize",
            LoadOperation::Rehydrate => "/api/v1/rehydrate",
            LoadOperation::Lookup => "/api/v1/lookup",
        };
        let mut counts = BenchCounts::new()?;
        for request in 0.. {
            let body = match bodies.len() {
                0 => self.tokenize_body("m", number, request),
                count => bodies[request % count].clone(),
            };
            let sent = Instant::now();
            if sent >= deadline {
                break;
            }
            let response = connection.send(path, body).await?;
            counts.record(sent.elapsed(), &response);
        }
        Ok(counts)
    }
}

/// Returns a request that rehydrates the tokens of a response.
fn rehydrate_body(response: &[u8]) -> Result<Bytes, BenchError> {
    let answer: BatchResponse<TokenizeResult<'_>> =
        serde_json::from_slice(response).map_err(|error| BenchError::Refused(error.to_string()))?;
    let tokens = answer.results.iter().map(|result| match result {
        TokenizeResult::Token { token, .. } => Ok(&**token),
        TokenizeResult::Error { error } => Err(BenchError::Refused(format!("{}: {}", error.code, error.detail))),
        _ => Err(BenchError::Load("the policy does not tokenize this kind, so there is nothing to rehydrate")),
    });
    let tokens: Vec<&str> = tokens.collect::<Result<_, _>>()?;
    Ok(serde_json::json!({ "tokens": tokens }).to_string().into())
}

/// A connection with one request in flight.
struct BenchConnection {
    sender: SendRequest<Full<Bytes>>,
    authorization: Option<header::HeaderValue>,
}

impl BenchConnection {
    async fn open(path: &Path, authorization: Option<header::HeaderValue>) -> Result<Self, BenchError> {
        let connect = |source| BenchError::Connect { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).await.map_err(connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The task ends when its sender is dropped. Its errors reach the request in flight.
        drop(tokio::spawn(connection));
        Ok(BenchConnection { sender, authorization })
    }

    async fn send(&mut self, path: &'static str, body: Bytes) -> Result<Bytes, BenchError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = hyper::Uri::from_static(path);
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let detail = serde_json::from_slice(&body).map_or_else(|_| status.to_string(), |e: ErrorBody| e.detail);
        Err(BenchError::Refused(detail))
    }
}

struct BenchCounts {
    requests: u64,
    failed: u64,
    latencies: Histogram<u64>,
}

impl BenchCounts {
    fn new() -> Result<Self, BenchError> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MICROSECONDS_MAX, 3);
        let latencies = latencies.map_err(|_| BenchError::Load("failed to create the histogram of latencies"))?;
        Ok(BenchCounts { requests: 0, failed: 0, latencies })
    }

    fn record(&mut self, took: Duration, response: &[u8]) {
        self.requests += 1;
        // Only a failed result contains this text, because quotes in values are escaped.
        self.failed += occurrences(response, b"{\"error\":{");
        self.latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    fn add(&mut self, other: &BenchCounts) {
        self.requests += other.requests;
        self.failed += other.failed;
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
    }

    fn result(&self, batch: usize, took: Duration) -> LoadResult {
        let values = self.requests * batch as u64;
        let seconds = took.as_secs_f64();
        let ms = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        LoadResult {
            requests: self.requests,
            values,
            failed: self.failed,
            seconds,
            requests_per_second: self.requests as f64 / seconds,
            values_per_second: values as f64 / seconds,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: self.latencies.max() as f64 / 1_000.0,
        }
    }
}

/// Returns how often `text` contains `needle`.
fn occurrences(text: &[u8], needle: &[u8]) -> u64 {
    text.windows(needle.len()).filter(|window| *window == needle).count() as u64
}
