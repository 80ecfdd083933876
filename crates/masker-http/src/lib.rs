//! HTTP/1.1 over the Unix socket.
//!
//! The edge of the daemon: it reads requests within bounds, asks [`masker_access`] for a permit, calls the vault, and
//! turns what comes back into the wire types of [`masker_api`]. It knows no store and no cryptography.

pub mod metrics;
mod admin;
mod api_keys;
mod audit;
mod audit_events;
mod backup;
mod body;
mod dispatch;
mod ending;
mod exchange;
mod gate;
mod gauges;
mod honeytokens;
mod keys;
mod meters;
mod openapi;
mod problem;
mod query;
mod receipt;
mod refusal;
mod request_id;
mod rotations;
mod router;
mod serve;
mod sessions;
mod socket;
mod upkeep;
mod values;
mod workers;

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hyper::body::Bytes;
use tokio::sync::{Mutex, Semaphore};

pub use openapi::document as openapi_document;
pub use problem::BuildError;
pub use router::{ROUTES, Route, RouteAccess};
pub use serve::{DrainReport, serve};
pub use socket::{Socket, SocketError, SocketOptions};
pub use workers::Workers;

use crate::metrics::Metrics;
use body::BodyBudget;
use masker_access::{Access, FailedAttempts};
use masker_audit::AuditLog;
use masker_core::policy::PolicySet;
use masker_vault::Vault;
use request_id::RequestIds;

/// What can be loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadTarget {
    /// Keys, where they come from files.
    Keys,
    /// Policies.
    Policies,
    /// Both, or neither.
    Both,
}

/// What came of a reload.
#[derive(Clone, Debug)]
pub struct ReloadOutcome {
    /// Policies in force now.
    pub policies: usize,
    /// What the change brings that an operator should know.
    pub warnings: Vec<String>,
}

/// Loads again; made by the daemon, which knows where things come from. All or nothing: after an error, what is in
/// force stays.
pub type ReloadFn =
    Box<dyn Fn(ReloadTarget) -> Pin<Box<dyn Future<Output = Result<ReloadOutcome, ReloadError>> + Send>> + Send + Sync>;

/// Why nothing was loaded again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReloadError {
    /// Something is wrong with what was read: every problem.
    #[error("{}", [keys.as_slice(), policies.as_slice()].concat().join("\n"))]
    Invalid {
        /// What is wrong with the keys.
        keys: Vec<String>,
        /// What is wrong with the policies, with file and line.
        policies: Vec<String>,
    },
    /// The vault could not take note of it.
    #[error(transparent)]
    Vault(#[from] masker_vault::VaultError),
}

/// What the last reloads were refused for, for `/health`.
#[derive(Clone, Default)]
struct ReloadFailures {
    keys: Option<String>,
    policies: Option<String>,
}

/// How long a slow client is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a request's head, and for the next request on a kept-alive connection.
    pub head: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For the client to take any bytes of an answer.
    pub write: Duration,
}

/// What the service knows of the vault's place.
#[derive(Clone, Debug)]
pub struct VaultLocation {
    /// The vault's id, which its exports bear.
    pub vault_id: [u8; 16],
    /// The vault's directory, in which imports lie until they are merged.
    pub data_dir: PathBuf,
}

/// What a service is made with, but for the parts that it works on.
#[derive(Clone)]
pub struct ServiceSettings {
    /// The audit log, where there is one.
    pub audit: Option<Arc<AuditLog>>,
    /// How long a slow client is waited for.
    pub timeouts: Timeouts,
    /// Where the vault is.
    pub place: VaultLocation,
    /// How many API keys of a workspace may be active at once.
    pub api_keys_per_workspace: usize,
}

/// What every request needs. Made once.
pub struct Service {
    vault: Arc<Vault>,
    policies: Arc<ArcSwap<PolicySet>>,
    access: Arc<Access>,
    attempts: FailedAttempts,
    metrics: Arc<Metrics>,
    reloader: ReloadFn,
    refused: ArcSwap<ReloadFailures>,
    audit: Option<Arc<AuditLog>>,
    timeouts: Timeouts,
    place: VaultLocation,
    /// One import at a time: each takes room on the disk.
    importing: Semaphore,
    /// One change of API keys at a time: each is decided on what is in force, and is in force once it is durable.
    key_changes: Mutex<()>,
    /// One reading of the audit log at a time.
    reading_audit: Mutex<()>,
    api_keys_per_workspace: usize,
    started: Instant,
    ids: RequestIds,
    bodies: BodyBudget,
    routes: router::Routes,
    meters: meters::RouteMetrics,
    openapi: Bytes,
}

impl Service {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`BuildError`] if the route table or the OpenAPI document is malformed: a bug, found by the first test.
    pub fn new(
        vault: Arc<Vault>,
        policies: Arc<ArcSwap<PolicySet>>,
        access: Arc<Access>,
        metrics: Arc<Metrics>,
        reloader: ReloadFn,
        settings: ServiceSettings,
    ) -> Result<Self, BuildError> {
        let ServiceSettings { audit, timeouts, place, api_keys_per_workspace } = settings;
        gauges::register_at_zero(&metrics);
        Ok(Service {
            vault,
            policies,
            access,
            attempts: FailedAttempts::default(),
            metrics,
            reloader,
            refused: ArcSwap::default(),
            audit,
            timeouts,
            place,
            importing: Semaphore::new(1),
            key_changes: Mutex::new(()),
            reading_audit: Mutex::new(()),
            api_keys_per_workspace,
            started: Instant::now(),
            ids: RequestIds::new(),
            bodies: BodyBudget::new(timeouts.body),
            routes: router::Routes::new()?,
            meters: meters::RouteMetrics::default(),
            openapi: openapi::document()?.into(),
        })
    }

    /// Milliseconds of Unix time; 0 for a clock before 1970.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.vault.now().as_millisecond()).unwrap_or(0)
    }

    /// Loads again, and remembers for `/health` whether that went well.
    ///
    /// # Errors
    /// [`ReloadError`]; what is in force stays.
    pub async fn reload(&self, what: ReloadTarget) -> Result<ReloadOutcome, ReloadError> {
        let reloaded = (self.reloader)(what).await;
        let (keys, policies) = (what != ReloadTarget::Policies, what != ReloadTarget::Keys);
        let refusal =
            |problems: &str| format!("the last reload was refused, what was in force before it still is: {problems}");
        self.refused.rcu(|before| {
            let mut refused = ReloadFailures::clone(before);
            match &reloaded {
                Ok(_) => {
                    refused.keys = refused.keys.filter(|_| !keys);
                    refused.policies = refused.policies.filter(|_| !policies);
                }
                // What nothing was found wrong with stays as it was, and so does what was said of it.
                Err(ReloadError::Invalid { keys, policies }) => {
                    let problem = |of: &[String]| (!of.is_empty()).then(|| refusal(&of.join("; ")));
                    refused.keys = problem(keys).or(refused.keys);
                    refused.policies = problem(policies).or(refused.policies);
                }
                Err(ReloadError::Vault(failed)) => {
                    let problem = refusal(&failed.to_string());
                    refused.keys = keys.then(|| problem.clone()).or(refused.keys);
                    refused.policies = policies.then_some(problem).or(refused.policies);
                }
            }
            refused
        });
        reloaded
    }
}
