//! What all connections share.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::SystemTime};

use tokio::sync::{Semaphore, watch};

use crate::{
    address::TrustedProxies,
    certificate::ClientIdentity,
    config::{Bounds, Config},
    counts::AddressCounts,
    pace::Activity,
    places::Places,
    problem::RequestIds,
    reload::Certificates,
    url::PublicUrl,
};
use masker_types::limits::GATEWAY_REQUESTS_MAX;

/// Connections at once that are redirected to TLS, and those of one address.
const REDIRECTS_MAX: (usize, usize) = (32, 8);

/// The gateway, as its connections see it.
pub(crate) struct Gateway {
    pub(crate) public_url: PublicUrl,
    pub(crate) daemon: PathBuf,
    pub(crate) proxies: TrustedProxies,
    pub(crate) bounds: Bounds,
    pub(crate) certificates: Certificates,
    pub(crate) ids: RequestIds,
    /// Places of connections over TLS.
    pub(crate) places: Arc<Places>,
    pub(crate) connections_by_address: Arc<AddressCounts>,
    /// Places of connections that are redirected.
    pub(crate) redirects: Arc<Semaphore>,
    pub(crate) redirects_by_address: Arc<AddressCounts>,
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
            places: Places::new(bounds.connections, config.mtls.is_some()),
            connections_by_address: AddressCounts::new(bounds.connections_per_address),
            redirects: Arc::new(Semaphore::new(REDIRECTS_MAX.0)),
            redirects_by_address: AddressCounts::new(REDIRECTS_MAX.1),
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
    /// With a certificate whose identity cannot be passed on.
    Unusable,
}

/// What the requests of a connection have in common.
pub(crate) struct ConnectionInfo {
    /// The address at the other end.
    pub(crate) peer: IpAddr,
    pub(crate) client: ClientKind,
    /// Has changed once other client certificates are accepted than when the connection began. `None` without a certificate.
    pub(crate) clients: Option<watch::Receiver<u64>>,
    pub(crate) activity: Arc<Activity>,
}

impl ConnectionInfo {
    /// Returns whether the certificate of the connection has expired.
    pub(crate) fn has_expired(&self) -> bool {
        match &self.client {
            ClientKind::Bearer | ClientKind::Unusable => false,
            ClientKind::Certificate(identity) => identity.has_expired(SystemTime::now()),
        }
    }

    /// Returns whether other client certificates are accepted than when the connection began.
    pub(crate) fn is_outdated(&self) -> bool {
        // No replacement is left to come once the sender is gone.
        self.clients.as_ref().is_some_and(|clients| clients.has_changed().unwrap_or(false))
    }
}
