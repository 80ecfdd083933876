//! The daemon's HTTP interface: HTTP/1.1 over a Unix socket.
//!
//! [`serve()`] accepts connections and answers their requests. A request is admitted on its head alone (route, caller,
//! scope, limits), before its body is read; then its operation runs to the end of its audit event, even if the client
//! goes away. Each resource's module has its routes, handlers and OpenAPI descriptions; [`routes`] lists all of them.
//!
//! This crate reads requests within bounds, calls `masker-vault`, and answers in the wire types of `masker-api`. It
//! knows no store and no cryptography. The daemon uses it, and `xtask` for the OpenAPI document.

mod address_requests;
mod admission;
mod answer;
mod api_key_rights;
mod api_key_upkeep;
mod api_keys;
mod assertions;
mod audit;
mod audit_events;
mod backup;
mod body;
mod context;
mod erasure_receipt;
mod gauges;
mod health;
mod honeytoken_uses;
mod honeytokens;
mod input;
mod json_place;
mod keys;
mod maintenance;
pub mod metrics;
mod openapi;
mod operation;
mod policies;
mod problem;
mod query;
mod refusal;
mod refusal_counts;
mod reports;
mod request_id;
mod request_lines;
mod rotations;
mod route;
mod route_metrics;
mod seat;
mod serve;
mod sessions;
mod shares;
mod shown_tokens;
mod shutdown;
mod socket;
mod sockets;
mod text;
#[cfg(test)]
mod tests;
mod values;
mod whoami;
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

pub use openapi::openapi_json;
pub use problem::ServiceBuildError;
pub use route::{Route, RouteAccess, routes};
pub use serve::{DrainReport, serve};
pub use socket::{Socket, SocketError, SocketOptions};
pub use workers::Workers;

use crate::metrics::Metrics;
use address_requests::AddressRequests;
use body::BodyReader;
use masker_access::{Access, FailedAttempts};
use masker_api::DaemonConfiguration;
use masker_audit::AuditLog;
use masker_core::policy::PolicySet;
use masker_files::OpenDirectory;
use masker_types::kind::Kid;
use masker_vault::Vault;
use refusal_counts::RefusalCounts;
use request_id::RequestIds;
use shares::Shares;

/// What to reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadTarget {
    /// Keys, where they come from files.
    Keys,
    /// Policies.
    Policies,
    /// Both: all or nothing.
    Both,
}

/// The result of a reload.
#[derive(Clone, Debug)]
pub struct ReloadOutcome {
    /// Policies in force now.
    pub policies: usize,
    /// What an operator should know about the change.
    pub warnings: Vec<String>,
}

/// Reloads keys or policies, all or nothing. The daemon makes it, as it knows their sources.
pub type ReloadFn =
    Box<dyn Fn(ReloadTarget) -> Pin<Box<dyn Future<Output = Result<ReloadOutcome, ReloadError>> + Send>> + Send + Sync>;

/// Why a reload failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReloadError {
    /// The sources have these problems.
    #[error("{}", [keys.as_slice(), policies.as_slice()].concat().join("\n"))]
    Invalid {
        /// Problems of the keys.
        keys: Vec<String>,
        /// Problems of the policies, with file and line.
        policies: Vec<String>,
    },
    /// The vault failed to adopt the change.
    #[error(transparent)]
    Vault(#[from] masker_vault::VaultError),
}

/// Why the last reloads failed, for `/health`.
#[derive(Clone, Default)]
struct ReloadFailures {
    keys: Option<String>,
    policies: Option<String>,
}

/// How long the service waits for a slow client.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a request's head, and for the next request on a kept-alive connection.
    pub head: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For the client to read any bytes of an answer.
    pub write: Duration,
}

/// Returns what makes changes of the keys of a kid take effect, such as "run `masker keys reload`".
pub type ApplyKeysFn = Arc<dyn Fn(Kid) -> String + Send + Sync>;

/// The settings of a service.
#[derive(Clone)]
pub struct ServiceSettings {
    /// The audit log, where there is one.
    pub audit: Option<Arc<AuditLog>>,
    /// How long the service waits for a slow client.
    pub timeouts: Timeouts,
    /// The vault's id, which its exports carry.
    pub vault_id: [u8; 16],
    /// The vault's directory, which holds imports until they are merged.
    pub data_dir: PathBuf,
    /// How many API keys of a workspace may be active at once.
    pub api_keys_per_workspace: usize,
    /// What makes changes of the keys of a kid take effect, such as "run `masker keys reload`".
    pub apply_keys: ApplyKeysFn,
    /// Which daemon this is and where its files are.
    pub configuration: DaemonConfiguration,
}

/// Everything that requests share.
pub struct Service {
    vault: Arc<Vault>,
    policies: Arc<ArcSwap<PolicySet>>,
    access: Arc<Access>,
    attempts: FailedAttempts,
    metrics: Arc<Metrics>,
    reloader: ReloadFn,
    reload_failures: ArcSwap<ReloadFailures>,
    audit: Option<Arc<AuditLog>>,
    timeouts: Timeouts,
    vault_id: [u8; 16],
    configuration: DaemonConfiguration,
    data_dir: PathBuf,
    /// The same, as it was when the service was made.
    open_data_dir: Arc<OpenDirectory>,
    /// One import at a time: each takes room on the disk.
    importing: Semaphore,
    /// One change of API keys at a time: each depends on the keys in force, and is in force once it is durable.
    key_changes: Mutex<()>,
    /// One read of the audit log at a time.
    reading_audit: Mutex<()>,
    /// One report at a time.
    reporting: Mutex<()>,
    api_keys_per_workspace: usize,
    apply_keys: ApplyKeysFn,
    started: Instant,
    ids: RequestIds,
    bodies: BodyReader,
    shares: Arc<Shares>,
    addresses: Arc<AddressRequests>,
    refusals: RefusalCounts,
    router: route::Router,
    route_metrics: route_metrics::RouteMetrics,
    openapi: Bytes,
}

impl Service {
    /// Returns a service.
    ///
    /// # Errors
    /// [`ServiceBuildError`] if the data directory cannot be opened, or if the route table or the OpenAPI document is
    /// malformed, a bug that the first test finds.
    pub fn new(
        vault: Arc<Vault>,
        policies: Arc<ArcSwap<PolicySet>>,
        access: Arc<Access>,
        metrics: Arc<Metrics>,
        reloader: ReloadFn,
        settings: ServiceSettings,
    ) -> Result<Self, ServiceBuildError> {
        let ServiceSettings { audit, timeouts, vault_id, data_dir, api_keys_per_workspace, apply_keys, configuration } =
            settings;
        gauges::register_at_zero(&metrics);
        let shares = Arc::new(Shares::default());
        shares.set_guaranteed(access.guaranteed_percent());
        let open_data_dir = Arc::new(OpenDirectory::open(&data_dir)?);
        Ok(Service {
            vault,
            policies,
            access,
            attempts: FailedAttempts::default(),
            metrics,
            reloader,
            reload_failures: ArcSwap::default(),
            audit,
            timeouts,
            vault_id,
            data_dir,
            open_data_dir,
            importing: Semaphore::new(1),
            key_changes: Mutex::new(()),
            reading_audit: Mutex::new(()),
            reporting: Mutex::new(()),
            api_keys_per_workspace,
            apply_keys,
            configuration,
            started: Instant::now(),
            ids: RequestIds::new(),
            bodies: BodyReader::new(timeouts.body),
            shares,
            addresses: Arc::default(),
            refusals: RefusalCounts::default(),
            router: route::Router::new()?,
            route_metrics: route_metrics::RouteMetrics::default(),
            openapi: openapi::openapi_json()?.into(),
        })
    }

    /// Returns the Unix time in milliseconds; 0 for a clock before 1970.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.vault.now().as_millisecond()).unwrap_or(0)
    }

    /// Reloads keys or policies, and keeps for `/health` whether that failed.
    ///
    /// # Errors
    /// [`ReloadError`]; the keys and policies in force stay.
    pub async fn reload(&self, what: ReloadTarget) -> Result<ReloadOutcome, ReloadError> {
        let reloaded = (self.reloader)(what).await;
        self.shares.set_guaranteed(self.access.guaranteed_percent());
        let (keys, policies) = (what != ReloadTarget::Policies, what != ReloadTarget::Keys);
        let failure = |problems: &str| format!("the last reload was refused and changed nothing: {problems}");
        self.reload_failures.rcu(|before| {
            let mut failures = ReloadFailures::clone(before);
            match &reloaded {
                Ok(_) => {
                    failures.keys = failures.keys.filter(|_| !keys);
                    failures.policies = failures.policies.filter(|_| !policies);
                }
                // A part without problems was not reloaded either, so its last failure remains.
                Err(ReloadError::Invalid { keys, policies }) => {
                    let problem = |of: &[String]| (!of.is_empty()).then(|| failure(&of.join("; ")));
                    failures.keys = problem(keys).or(failures.keys);
                    failures.policies = problem(policies).or(failures.policies);
                }
                Err(ReloadError::Vault(failed)) => {
                    let problem = failure(&failed.to_string());
                    failures.keys = keys.then(|| problem.clone()).or(failures.keys);
                    failures.policies = policies.then_some(problem).or(failures.policies);
                }
            }
            failures
        });
        reloaded
    }
}
