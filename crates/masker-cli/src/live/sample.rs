//! One look at a daemon.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use hyper::header::HeaderValue;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::timeout;

use crate::scrape::Scrape;
use masker_api::{AuditHead, Health, KeyList, Rotation, RotationList};
use masker_client::{Client, ClientError};

/// How long an answer is waited for, in seconds.
const ANSWER_SECONDS_MAX: u64 = 5;
/// Time from one question about keys and rotations to the next, in seconds: each leaves a line in the audit log.
const SLOW_SAMPLE_SECONDS: u64 = 60;
/// The same about a rotation that is under way.
const ROTATING_SECONDS: u64 = 5;

/// Something that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Observed<T> {
    /// It was answered.
    Seen(T),
    /// It was not, for this reason.
    Withheld {
        /// The reason, in a few words.
        withheld: String,
    },
}

impl<T> Observed<T> {
    pub(super) fn withheld(why: impl Into<String>) -> Self {
        Observed::Withheld { withheld: why.into() }
    }

    pub(super) fn seen(&self) -> Option<&T> {
        match self {
            Observed::Seen(seen) => Some(seen),
            Observed::Withheld { .. } => None,
        }
    }

    pub(super) fn map<U>(&self, of: impl FnOnce(&T) -> U) -> Observed<U> {
        match self {
            Observed::Seen(seen) => Observed::Seen(of(seen)),
            Observed::Withheld { withheld } => Observed::withheld(withheld),
        }
    }
}

/// A key, as far as it is shown.
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

/// What one look has seen.
pub(super) struct Sample {
    /// When, by a clock that never goes back, from any moment on.
    pub(super) at: Duration,
    /// When, by the clock on the wall.
    pub(super) time: Timestamp,
    pub(super) health: Health,
    pub(super) metrics: Observed<Scrape>,
    pub(super) head: Observed<AuditHead>,
    pub(super) keys: Observed<Vec<KeySummary>>,
    /// The latest rotation, if there was one, as it was when it was asked for.
    pub(super) rotation: Observed<Option<Rotation>>,
}

/// What is asked for seldom.
struct SlowSample {
    keys: Observed<Vec<KeySummary>>,
    rotation: Observed<Option<Rotation>>,
    keys_asked: Instant,
    rotation_asked: Instant,
}

impl SlowSample {
    fn is_rotating(&self) -> bool {
        matches!(&self.rotation, Observed::Seen(Some(rotation)) if rotation.state == "running")
    }
}

/// Looks at a daemon again and again, over a connection that is made anew when it breaks.
pub(super) struct Sampler {
    socket: PathBuf,
    authorization: Option<HeaderValue>,
    client: Option<Client>,
    seldom: Option<SlowSample>,
    started: Instant,
}

impl Sampler {
    pub(super) fn new(socket: PathBuf, authorization: Option<HeaderValue>) -> Self {
        Sampler { socket, authorization, client: None, seldom: None, started: Instant::now() }
    }

    /// One look.
    ///
    /// # Errors
    /// Why there is nothing to be seen. The next look begins with a new connection.
    pub(super) async fn look(&mut self) -> Result<Sample, ClientError> {
        let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
        let looked = match timeout(limit, self.try_look()).await {
            Ok(looked) => looked,
            Err(_) => {
                Err(ClientError::UnexpectedResponse(format!("there was no answer within {ANSWER_SECONDS_MAX} s")))
            }
        };
        if looked.is_err() {
            (self.client, self.seldom) = (None, None);
        }
        looked
    }

    async fn try_look(&mut self) -> Result<Sample, ClientError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.socket).await?.with_authorization(self.authorization.clone()),
        };
        let health: Health = client.get("/health").await?.json()?;
        let metrics = part(client.text("/metrics").await)?.map(|text| Scrape::parse(text));
        let (at, time) = (self.started.elapsed(), Timestamp::now());
        let head = asked(&mut client, "/api/v1/audit/head").await?;
        let seldom = self.seldom(&mut client, &metrics).await?;
        let (keys, rotation) = (seldom.keys.clone(), seldom.rotation.clone());
        self.seldom = Some(seldom);
        self.client = Some(client);
        Ok(Sample { at, time, health, metrics, head, keys, rotation })
    }

    /// What is asked for seldom: anew where it is time, or where a rotation has begun or ended.
    async fn seldom(&mut self, client: &mut Client, metrics: &Observed<Scrape>) -> Result<SlowSample, ClientError> {
        let running = metrics.seen().and_then(|metrics| metrics.value("masker_rotation_running"));
        let now = Instant::now();
        let is_due = |asked: Instant, seconds| now.duration_since(asked) >= Duration::from_secs(seconds);
        let Some(mut seldom) = self.seldom.take() else {
            let (keys, rotation) = (keys(client).await?, rotation(client).await?);
            return Ok(SlowSample { keys, rotation, keys_asked: now, rotation_asked: now });
        };
        if is_due(seldom.keys_asked, SLOW_SAMPLE_SECONDS) {
            (seldom.keys, seldom.keys_asked) = (keys(client).await?, now);
        }
        let rotating = seldom.is_rotating();
        let every = if rotating { ROTATING_SECONDS } else { SLOW_SAMPLE_SECONDS };
        let has_changed =
            seldom.rotation.seen().is_some() && running.is_some_and(|running| (running > 0.0) != rotating);
        if has_changed || is_due(seldom.rotation_asked, every) {
            (seldom.rotation, seldom.rotation_asked) = (rotation(client).await?, now);
        }
        Ok(seldom)
    }
}

async fn keys(client: &mut Client) -> Result<Observed<Vec<KeySummary>>, ClientError> {
    let list: Observed<KeyList> = asked(client, "/api/v1/keys").await?;
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

async fn rotation(client: &mut Client) -> Result<Observed<Option<Rotation>>, ClientError> {
    let list: Observed<RotationList> = asked(client, "/api/v1/vault/rotations").await?;
    Ok(list.map(|list| list.rotations.first().cloned()))
}

async fn asked<T: for<'a> serde::Deserialize<'a>>(client: &mut Client, path: &str) -> Result<Observed<T>, ClientError> {
    Ok(match part(client.get(path).await)? {
        Observed::Seen(reply) => Observed::Seen(reply.json()?),
        Observed::Withheld { withheld } => Observed::Withheld { withheld },
    })
}

/// What the daemon refuses is left out, with a word; what breaks the connection is an error.
fn part<T>(answer: Result<T, ClientError>) -> Result<Observed<T>, ClientError> {
    match answer {
        Ok(answer) => Ok(Observed::Seen(answer)),
        Err(ClientError::Problem(problem)) if problem.status == 403 => {
            let scope = problem.detail.split('`').find(|word| word.contains(':')).unwrap_or("a scope");
            Ok(Observed::withheld(format!("it takes {scope}")))
        }
        Err(ClientError::Busy { after, .. }) => Ok(Observed::withheld(format!("limited for {} s", after.as_secs()))),
        Err(ClientError::Problem(problem)) => Ok(Observed::withheld(problem.title)),
        Err(broken) => Err(broken),
    }
}
