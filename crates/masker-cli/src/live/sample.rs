//! Samples the state of a daemon.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hyper::header::HeaderValue;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::scrape::Scrape;
use masker_api::{AuditHead, Health, KeyList, Rotation, RotationList};
use masker_client::{Client, ClientError, Endpoint};

/// How long to wait for a sample, in seconds.
const RESPONSE_SECONDS_MAX: u64 = 5;
/// Seconds between requests about keys and rotations. Each of them is recorded in the audit log.
const SLOW_SAMPLE_SECONDS: u64 = 60;
/// Seconds between requests about a running rotation.
const RUNNING_ROTATION_SECONDS: u64 = 5;

/// A part of a sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Observed<T> {
    /// The part was received.
    Seen(T),
    /// The daemon refused the part, for this reason.
    Withheld {
        /// A short reason.
        withheld: String,
    },
}

impl<T> Observed<T> {
    /// Returns a part that the daemon refused.
    pub(super) fn withheld(why: impl Into<String>) -> Self {
        Observed::Withheld { withheld: why.into() }
    }

    /// Returns the part, if it was received.
    pub(super) fn seen(&self) -> Option<&T> {
        match self {
            Observed::Seen(seen) => Some(seen),
            Observed::Withheld { .. } => None,
        }
    }

    /// Converts the part, if it was received.
    pub(super) fn map<U>(&self, of: impl FnOnce(&T) -> U) -> Observed<U> {
        match self {
            Observed::Seen(seen) => Observed::Seen(of(seen)),
            Observed::Withheld { withheld } => Observed::withheld(withheld),
        }
    }
}

/// The fields of a key that are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct KeySummary {
    pub(super) kid: String,
    pub(super) fingerprint: String,
    pub(super) generation: String,
    pub(super) loaded: bool,
    pub(super) records: u64,
    pub(super) grace_days_left: Option<i64>,
    pub(super) removable: bool,
}

/// The class of a response's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StatusClass {
    /// Any status below 400.
    Ok,
    /// 4xx.
    Refused,
    /// 5xx.
    Failed,
}

impl StatusClass {
    /// Returns the class of a status.
    pub(super) fn of(status: u16) -> Self {
        match status {
            ..400 => StatusClass::Ok,
            400..500 => StatusClass::Refused,
            500.. => StatusClass::Failed,
        }
    }
}

/// How many requests a sampler has made of each route, with which result.
pub(super) type OwnRequests = BTreeMap<(&'static str, StatusClass), u64>;

/// The state of a daemon at one time.
pub(super) struct Sample {
    /// The time of the sample on a monotonic clock.
    pub(super) at: Duration,
    /// The time of the sample on the system clock.
    pub(super) time: Timestamp,
    pub(super) health: Health,
    pub(super) metrics: Observed<Scrape>,
    /// The sampler's requests that the metrics count.
    pub(super) own: OwnRequests,
    pub(super) head: Observed<AuditHead>,
    pub(super) keys: Observed<Vec<KeySummary>>,
    /// The latest rotation, if there was one, at the time of the last request about it.
    pub(super) rotation: Observed<Option<Rotation>>,
}

/// The parts that are requested less often.
struct SlowSample {
    keys: Observed<Vec<KeySummary>>,
    rotation: Observed<Option<Rotation>>,
    keys_requested: Instant,
    rotation_requested: Instant,
}

impl SlowSample {
    fn is_rotating(&self) -> bool {
        matches!(&self.rotation, Observed::Seen(Some(rotation)) if rotation.state == "running")
    }
}

/// Samples a daemon repeatedly. Reconnects after a failure.
pub(super) struct Sampler {
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    client: Option<SamplingClient>,
    slow: Option<SlowSample>,
    started: Instant,
}

impl Sampler {
    pub(super) fn new(endpoint: Endpoint, authorization: Option<HeaderValue>) -> Self {
        Sampler { endpoint, authorization, client: None, slow: None, started: Instant::now() }
    }

    /// Takes a sample.
    ///
    /// # Errors
    /// The daemon did not respond in time, or the connection failed. The next sample uses a new connection.
    pub(super) async fn sample(&mut self) -> Result<Sample, ClientError> {
        let limit = Duration::from_secs(RESPONSE_SECONDS_MAX);
        let sample = match timeout(limit, self.try_sample()).await {
            Ok(sample) => sample,
            Err(_) => Err(ClientError::UnexpectedResponse(format!("no response within {RESPONSE_SECONDS_MAX} s"))),
        };
        if sample.is_err() {
            (self.client, self.slow) = (None, None);
        }
        sample
    }

    async fn try_sample(&mut self) -> Result<Sample, ClientError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                let client = Client::connect_to(self.endpoint.clone()).await?;
                let client = client.with_authorization(self.authorization.clone());
                SamplingClient { client, own: OwnRequests::new(), refused: BTreeMap::new() }
            }
        };
        let health = client.health().await?;
        // The daemon counts a request when it has responded.
        let own = client.own.clone();
        let metrics = client.metrics().await?;
        let (at, time) = (self.started.elapsed(), Timestamp::now());
        let head = client.get("/api/v1/audit/head").await?;
        let slow = self.sample_slow(&mut client, &metrics).await?;
        let (keys, rotation) = (slow.keys.clone(), slow.rotation.clone());
        self.slow = Some(slow);
        self.client = Some(client);
        Ok(Sample { at, time, health, metrics, own, head, keys, rotation })
    }

    /// Requests keys and rotations again if it is time to, or if a rotation has started or ended.
    async fn sample_slow(
        &mut self,
        client: &mut SamplingClient,
        metrics: &Observed<Scrape>,
    ) -> Result<SlowSample, ClientError> {
        let running = metrics.seen().and_then(|metrics| metrics.value("masker_rotation_running"));
        let now = Instant::now();
        let is_due = |requested: Instant, seconds| now.duration_since(requested) >= Duration::from_secs(seconds);
        let Some(mut slow) = self.slow.take() else {
            let (keys, rotation) = (keys(client).await?, rotation(client).await?);
            return Ok(SlowSample { keys, rotation, keys_requested: now, rotation_requested: now });
        };
        if is_due(slow.keys_requested, SLOW_SAMPLE_SECONDS) {
            (slow.keys, slow.keys_requested) = (keys(client).await?, now);
        }
        let rotating = slow.is_rotating();
        let period = if rotating { RUNNING_ROTATION_SECONDS } else { SLOW_SAMPLE_SECONDS };
        let has_changed = slow.rotation.seen().is_some() && running.is_some_and(|running| (running > 0.0) != rotating);
        if has_changed || is_due(slow.rotation_requested, period) {
            (slow.rotation, slow.rotation_requested) = (rotation(client).await?, now);
        }
        Ok(slow)
    }
}

async fn keys(client: &mut SamplingClient) -> Result<Observed<Vec<KeySummary>>, ClientError> {
    let list: Observed<KeyList> = client.get("/api/v1/keys").await?;
    Ok(list.map(|list| {
        let key = |key: &masker_api::KeyStatus| KeySummary {
            kid: key.kid.clone(),
            fingerprint: key.fingerprint.clone(),
            generation: key.generation.clone(),
            loaded: key.loaded,
            records: key.vault_records,
            grace_days_left: key.grace_days_left,
            removable: key.removable,
        };
        list.keys.iter().map(key).collect()
    }))
}

async fn rotation(client: &mut SamplingClient) -> Result<Observed<Option<Rotation>>, ClientError> {
    let list: Observed<RotationList> = client.get("/api/v1/vault/rotations").await?;
    Ok(list.map(|list| list.rotations.first().cloned()))
}

/// A connection that counts its requests, so that they can be left out of what is shown. It does not repeat a request that
/// was refused until [`SLOW_SAMPLE_SECONDS`] later, so that a view without a scope does not cause a failure each second.
struct SamplingClient {
    client: Client,
    own: OwnRequests,
    refused: BTreeMap<&'static str, RefusedRoute>,
}

/// A route that was refused.
struct RefusedRoute {
    why: String,
    until: Instant,
}

impl SamplingClient {
    async fn health(&mut self) -> Result<Health, ClientError> {
        let route = "/health";
        let reply = self.client.get(route).await?;
        self.count(route, reply.status);
        reply.json()
    }

    async fn metrics(&mut self) -> Result<Observed<Scrape>, ClientError> {
        let route = "/metrics";
        if let Some(withheld) = self.refused(route) {
            return Ok(Observed::withheld(withheld));
        }
        let response = self.client.text(route).await;
        self.count_response(route, &response, |_| 200);
        Ok(self.part(route, response)?.map(|text| Scrape::parse(text)))
    }

    async fn get<T: DeserializeOwned>(&mut self, route: &'static str) -> Result<Observed<T>, ClientError> {
        if let Some(withheld) = self.refused(route) {
            return Ok(Observed::withheld(withheld));
        }
        let response = self.client.get(route).await;
        self.count_response(route, &response, |reply| reply.status);
        Ok(match self.part(route, response)? {
            Observed::Seen(reply) => Observed::Seen(reply.json()?),
            Observed::Withheld { withheld } => Observed::Withheld { withheld },
        })
    }

    /// Returns why a route was refused, unless it is time to ask again.
    fn refused(&self, route: &'static str) -> Option<&str> {
        let refused = self.refused.get(route).filter(|refused| Instant::now() < refused.until)?;
        Some(&refused.why)
    }

    /// Converts a refusal to its reason, and notes it. Returns any other error.
    fn part<T>(&mut self, route: &'static str, response: Result<T, ClientError>) -> Result<Observed<T>, ClientError> {
        let mut pause = Duration::from_secs(SLOW_SAMPLE_SECONDS);
        let why = match response {
            Ok(response) => {
                self.refused.remove(route);
                return Ok(Observed::Seen(response));
            }
            Err(ClientError::Problem(problem)) if problem.status == 403 => {
                let scope = problem.detail.split('`').find(|word| word.contains(':')).unwrap_or("a scope");
                format!("needs {scope}")
            }
            Err(ClientError::Busy { after, .. }) => {
                pause = after;
                format!("limited for {} s", after.as_secs())
            }
            Err(ClientError::Problem(problem)) => problem.title,
            Err(error) => return Err(error),
        };
        self.refused.insert(route, RefusedRoute { why: why.clone(), until: Instant::now() + pause });
        Ok(Observed::withheld(why))
    }

    fn count(&mut self, route: &'static str, status: u16) {
        *self.own.entry((route, StatusClass::of(status))).or_default() += 1;
    }

    /// Counts a request, unless there was no response.
    fn count_response<T>(
        &mut self,
        route: &'static str,
        response: &Result<T, ClientError>,
        status: impl FnOnce(&T) -> u16,
    ) {
        match response {
            Ok(response) => self.count(route, status(response)),
            Err(ClientError::Problem(problem) | ClientError::Busy { problem, .. }) => {
                self.count(route, problem.status);
            }
            Err(_) => {}
        }
    }
}
