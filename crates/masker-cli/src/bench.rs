//! A load generator over the socket: `masker bench`.
//!
//! Every connection keeps one request in flight. Bodies are made before the clock starts, but for `mint`, whose values
//! must never have been seen.

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

use masker_api::{Answer, ErrorBody, TokenizeResult};
use masker_types::limits::ITEMS_PER_REQUEST_MAX;

/// Bodies that each connection goes through in turn.
const BODIES_PER_CONNECTION: usize = 64;
/// Latencies are recorded from 1 µs to 60 s, with three significant digits.
const LATENCY_MICROSECONDS_MAX: u64 = 60_000_000;

/// What is asked of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOperation {
    /// The same values over and over.
    Tokenize,
    /// Values that were never seen.
    Mint,
    /// Tokens of the values that `Tokenize` uses.
    Rehydrate,
    /// The values that `Tokenize` uses.
    Lookup,
}

/// A load to put on the daemon.
#[derive(Clone, Debug)]
pub struct LoadTest {
    /// Where it listens.
    pub socket: PathBuf,
    /// Connections, each with one request in flight: 1 or more.
    pub connections: usize,
    /// Values in a request: 1 to 10,000.
    pub batch: usize,
    /// What is asked.
    pub operation: LoadOperation,
    /// The policy; the daemon's default if absent.
    pub policy: Option<String>,
    /// The kind of every value.
    pub kind: String,
    /// How long.
    pub duration: Duration,
    /// Sets the values apart from those of other runs.
    pub seed: u64,
    /// The `Authorization` header of every request.
    pub authorization: Option<header::HeaderValue>,
}

/// What was measured.
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
    /// Half of the requests took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 requests took no longer.
    pub p99_ms: f64,
    /// 999 of 1,000 requests took no longer.
    pub p999_ms: f64,
    /// The longest request.
    pub max_ms: f64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The load makes no sense.
    #[error("{0}")]
    Load(&'static str),
    /// The daemon cannot be reached.
    #[error("{path}: {source}; is the daemon running? (`masker health`)")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    /// The daemon refused a request.
    #[error("the daemon refused: {0}")]
    Refused(String),
    /// A connection's task ended by a bug.
    #[error("a connection's task ended by a bug: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl LoadTest {
    /// Puts the load on the daemon and measures.
    ///
    /// # Errors
    /// [`BenchError`]; a value that fails is counted and no error.
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
        Ok(total.measured(self.batch, started.elapsed()))
    }

    /// The requests of one connection, made before the clock starts.
    async fn bodies(&self, number: usize, connection: &mut BenchConnection) -> Result<Vec<Bytes>, BenchError> {
        let mut bodies = Vec::with_capacity(BODIES_PER_CONNECTION);
        if self.operation == LoadOperation::Mint {
            return Ok(bodies);
        }
        for request in 0..BODIES_PER_CONNECTION {
            let body = self.tokenize_body("k", number, request);
            if self.operation == LoadOperation::Rehydrate {
                bodies.push(rehydrate_body(&connection.ask("/api/v1/tokenize", body).await?)?);
            } else {
                // What is measured is finding values, not minting them.
                connection.ask("/api/v1/tokenize", body.clone()).await?;
                bodies.push(body);
            }
        }
        Ok(bodies)
    }

    /// A request to tokenize a batch of values that only this request of this connection has.
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
            let asked = Instant::now();
            if asked >= deadline {
                break;
            }
            let answer = connection.ask(path, body).await?;
            counts.count(asked.elapsed(), &answer);
        }
        Ok(counts)
    }
}

/// The same tokens, to be rehydrated.
fn rehydrate_body(answer: &[u8]) -> Result<Bytes, BenchError> {
    let answer: Answer<TokenizeResult<'_>> =
        serde_json::from_slice(answer).map_err(|failed| BenchError::Refused(failed.to_string()))?;
    let tokens = answer.results.iter().map(|result| match result {
        TokenizeResult::Token { token, .. } => Ok(&**token),
        TokenizeResult::Error { error } => Err(BenchError::Refused(format!("{}: {}", error.code, error.detail))),
        _ => Err(BenchError::Load("the policy does not tokenize this kind: there is nothing to rehydrate")),
    });
    let tokens: Vec<&str> = tokens.collect::<Result<_, _>>()?;
    Ok(serde_json::json!({ "tokens": tokens }).to_string().into())
}

/// One connection with one request in flight.
struct BenchConnection {
    sender: SendRequest<Full<Bytes>>,
    authorization: Option<header::HeaderValue>,
}

impl BenchConnection {
    async fn open(path: &Path, authorization: Option<header::HeaderValue>) -> Result<Self, BenchError> {
        let connect = |source| BenchError::Connect { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).await.map_err(connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with its sender; what goes wrong with it reaches the request in flight.
        drop(tokio::spawn(connection));
        Ok(BenchConnection { sender, authorization })
    }

    async fn ask(&mut self, path: &'static str, body: Bytes) -> Result<Bytes, BenchError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = hyper::Uri::from_static(path);
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
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
        let latencies = latencies.map_err(|_| BenchError::Load("latencies cannot be recorded: this is a bug"))?;
        Ok(BenchCounts { requests: 0, failed: 0, latencies })
    }

    fn count(&mut self, took: Duration, answer: &[u8]) {
        self.requests += 1;
        // No answer holds this text but in the place of a result: quotes within values are escaped.
        self.failed += count(answer, b"{\"error\":{");
        self.latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    fn add(&mut self, other: &BenchCounts) {
        self.requests += other.requests;
        self.failed += other.failed;
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
    }

    fn measured(&self, batch: usize, took: Duration) -> LoadResult {
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

/// How often `needle` stands in `text`.
fn count(text: &[u8], needle: &[u8]) -> u64 {
    text.windows(needle.len()).filter(|window| *window == needle).count() as u64
}
