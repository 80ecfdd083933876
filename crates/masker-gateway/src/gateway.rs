//! What all connections share.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::SystemTime};

use tokio::sync::Semaphore;

use crate::{
    address::TrustedProxies,
    certificate::ClientIdentity,
    config::{Bounds, Config},
    counts::AddressCounts,
    problem::RequestIds,
    reload::Certificates,
    url::PublicUrl,
};
use masker_types::limits::GATEWAY_REQUESTS_MAX;

/// The gateway, as its connections see it.
pub(crate) struct Gateway {
    pub(crate) public_url: PublicUrl,
    pub(crate) daemon: PathBuf,
    pub(crate) proxies: TrustedProxies,
    pub(crate) bounds: Bounds,
    pub(crate) certificates: Certificates,
    pub(crate) ids: RequestIds,
    /// Places of connections.
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) connections_by_address: Arc<AddressCounts>,
    /// Places of requests to the daemon.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) requests_by_address: Arc<AddressCounts>,
}

impl Gateway {
    pub(crate) fn new(config: &Config, certificates: Certificates) -> Arc<Self> {
        let bounds = config.bounds;
        Arc::new(Gateway {
            public_url: config.public_url.clone(),
            daemon: config.daemon.clone(),
            proxies: TrustedProxies::new(config.trusted_proxies.clone()),
            bounds,
            certificates,
            ids: RequestIds::new(),
            connections: Arc::new(Semaphore::new(bounds.connections)),
            connections_by_address: AddressCounts::new(bounds.connections_per_address),
            requests: Arc::new(Semaphore::new(GATEWAY_REQUESTS_MAX)),
            requests_by_address: AddressCounts::new(bounds.requests_per_address),
        })
    }
}

/// How the client of a connection shows who it is.
pub(crate) enum ClientKind {
    /// With a bearer in each request.
    Bearer,
    /// With the certificate of the connection.
    Certificate(ClientIdentity),
}

/// What the requests of a connection have in common.
pub(crate) struct ConnectionInfo {
    /// The address at the other end.
    pub(crate) peer: IpAddr,
    pub(crate) client: ClientKind,
}

impl ConnectionInfo {
    /// Returns whether the certificate of the connection has expired.
    pub(crate) fn has_expired(&self) -> bool {
        match &self.client {
            ClientKind::Bearer => false,
            ClientKind::Certificate(identity) => identity.has_expired(SystemTime::now()),
        }
    }
}
