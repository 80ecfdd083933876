//! Several connections to the daemon, each with one request in flight.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hyper::{body::Bytes, header::HeaderValue};

use crate::context::{CommandContext, CommandError};
use masker_client::{Client, ClientError, ClientReply};

/// Longest time that the daemon can ask to be left alone for without that ending the command.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often in a row one request is sent again after such a pause.
const PAUSES_MAX: usize = 60;

/// Connections that nobody uses now, and what it takes to open more.
pub(super) struct ConnectionPool {
    socket: PathBuf,
    authorization: Option<HeaderValue>,
    masker_session: Option<String>,
    idle: Mutex<Vec<Client>>,
}

impl ConnectionPool {
    /// Opens one, so that a daemon which cannot be reached is told before anything is read.
    pub(super) async fn open(session: &CommandContext<'_>) -> Result<Self, CommandError> {
        let connections = ConnectionPool {
            socket: session.socket()?,
            authorization: session.authorization()?,
            masker_session: session.masker_session()?,
            idle: Mutex::default(),
        };
        let client = connections.take().await?;
        connections.put_back(client);
        Ok(connections)
    }

    pub(super) async fn take(&self) -> Result<Client, CommandError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(client) => Ok(client),
            None => Ok(Client::connect(&self.socket).await?.with_authorization(self.authorization.clone())),
        }
    }

    pub(super) fn put_back(&self, client: Client) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }

    /// Sends a request, and sends it again where the daemon says when.
    pub(super) async fn ask(&self, client: &mut Client, path: &str, body: Bytes) -> Result<ClientReply, CommandError> {
        let session = self.masker_session.as_deref();
        for _ in 0..PAUSES_MAX {
            match client.post_json(session, path, body.clone()).await {
                Err(ClientError::Busy { after, .. }) if after <= PAUSE_MAX => tokio::time::sleep(after).await,
                answer => return Ok(answer?),
            }
        }
        Ok(client.post_json(session, path, body).await?)
    }
}
