//! HTTP/1.1 over the Unix socket.
//!
//! The edge of the daemon: it reads requests within bounds, asks [`crate::access`] for a permit, calls the vault, and
//! turns what comes back into the wire types of [`crate::api`]. It knows no store and no cryptography.

mod admin;
mod body;
mod openapi;
mod problem;
mod refusal;
mod request_id;
mod rotations;
mod router;
mod serve;
mod socket;
mod values;

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hyper::body::Bytes;

pub use openapi::document as openapi_document;
pub use problem::BuildError;
pub use router::{ROUTES, Route};
pub use serve::{Drained, serve};
pub use socket::{Socket, SocketError, SocketOptions};

use crate::{access::Access, api::ReloadReport, metrics::Metrics, policy::PolicySet, vault::Vault};
use body::BodyBudget;
use request_id::RequestIds;

/// Loads the policies again; made by the daemon, which knows where they come from. All or nothing: after an error,
/// those in force stay.
pub type ReloadPolicies =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<ReloadReport, ReloadError>> + Send>> + Send + Sync>;

/// Why policies were not loaded again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// They do not validate: every problem, with file and line.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// The vault could not remember them.
    #[error(transparent)]
    Vault(#[from] crate::vault::VaultError),
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

/// What every request needs. Made once.
pub struct Service {
    vault: Arc<Vault>,
    policies: Arc<ArcSwap<PolicySet>>,
    access: Access,
    metrics: Arc<Metrics>,
    reload: ReloadPolicies,
    policies_problem: Mutex<Option<String>>,
    audit: &'static str,
    timeouts: Timeouts,
    started: Instant,
    ids: RequestIds,
    bodies: BodyBudget,
    routes: router::Routes,
    openapi: Bytes,
}

impl Service {
    /// Puts the parts together. `audit` says why there is no audit log.
    ///
    /// # Errors
    /// [`BuildError`] if the route table or the OpenAPI document is malformed: a bug, found by the first test.
    pub fn new(
        vault: Arc<Vault>,
        policies: Arc<ArcSwap<PolicySet>>,
        access: Access,
        metrics: Arc<Metrics>,
        reload: ReloadPolicies,
        audit: &'static str,
        timeouts: Timeouts,
    ) -> Result<Self, BuildError> {
        Ok(Service {
            vault,
            policies,
            access,
            metrics,
            reload,
            policies_problem: Mutex::new(None),
            audit,
            timeouts,
            started: Instant::now(),
            ids: RequestIds::new(),
            bodies: BodyBudget::new(timeouts.body),
            routes: router::Routes::new()?,
            openapi: openapi::document()?.into(),
        })
    }

    /// Loads the policies again, and remembers for `/health` whether that went well.
    ///
    /// # Errors
    /// [`ReloadError`]; the policies in force stay.
    pub async fn reload_policies(&self) -> Result<ReloadReport, ReloadError> {
        let reloaded = (self.reload)().await;
        let problem = match &reloaded {
            Ok(_) => None,
            Err(problem) => Some(format!("the last reload was refused, those before it are in force: {problem}")),
        };
        *self.policies_problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        reloaded
    }
}
