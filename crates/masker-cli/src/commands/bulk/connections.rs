//! A pool of connections to the daemon, each with one request in flight.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{body::Bytes, header::HeaderValue};

use super::plan::BulkOperation;
use crate::context::{CommandContext, CommandError};
use masker_api::WhoAmI;
use masker_client::{Client, ClientError, ClientReply, Endpoint};

/// Longest `Retry-After` of the daemon that does not end the command.
pub(in crate::commands) const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Maximum number of retries of one request.
pub(in crate::commands) const PAUSES_MAX: usize = 60;

/// Idle connections, and the parameters for opening more.
pub(super) struct ConnectionPool {
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    app_session: Option<String>,
    idle: Mutex<Vec<Client>>,
    /// Most values of a request, as far as the daemon has shown the caller's limits.
    values_max: AtomicUsize,
}

impl ConnectionPool {
    /// Opens a connection, so that an unreachable daemon is reported before any input is read.
    pub(super) async fn open(ctx: &CommandContext<'_>) -> Result<Self, CommandError> {
        let connections = ConnectionPool {
            endpoint: ctx.endpoint()?,
            authorization: ctx.authorization()?,
            app_session: ctx.app_session()?,
            idle: Mutex::default(),
            values_max: AtomicUsize::new(usize::MAX),
        };
        let client = connections.take().await?;
        connections.put_back(client);
        Ok(connections)
    }

    /// Returns how many values the caller's daily limits leave for an operation; `None` if there are none.
    pub(super) async fn left_today(&self, operation: BulkOperation) -> Result<Option<u64>, CommandError> {
        let mut client = self.take().await?;
        let reply = client.get("/api/v1/auth/whoami").await;
        self.put_back(client);
        // An older daemon, or a problem that the first request reports as well.
        let Ok(Ok(caller)) = reply.as_ref().map(ClientReply::json::<WhoAmI>) else { return Ok(None) };
        let left = operation.daily_limits().into_iter().filter_map(|limit| caller.limits_left.get(limit.as_str()));
        Ok(left.min().copied())
    }

    /// Returns the most values that a request may have.
    pub(super) fn values_max(&self) -> usize {
        self.values_max.load(Ordering::Relaxed)
    }

    /// Notes that requests may have only this many values.
    pub(super) fn lower_values_max(&self, values: usize) {
        self.values_max.fetch_min(values.max(1), Ordering::Relaxed);
    }

    /// Returns an idle connection, or opens one.
    pub(super) async fn take(&self) -> Result<Client, CommandError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(client) => Ok(client),
            None => {
                let client = Client::connect_to(self.endpoint.clone()).await?;
                Ok(client.with_authorization(self.authorization.clone()))
            }
        }
    }

    /// Returns a connection to the pool.
    pub(super) fn put_back(&self, client: Client) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }

    /// Sends a request, and retries it when the daemon says so.
    pub(super) async fn send(&self, client: &mut Client, path: &str, body: Bytes) -> Result<ClientReply, CommandError> {
        let session = self.app_session.as_deref();
        for _ in 0..PAUSES_MAX {
            match client.post_json(session, path, body.clone()).await {
                Err(ClientError::Busy { after, .. }) if after <= PAUSE_MAX => tokio::time::sleep(after).await,
                answer => return Ok(answer?),
            }
        }
        Ok(client.post_json(session, path, body).await?)
    }
}
