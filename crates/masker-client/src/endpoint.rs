//! Where a client connects.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::header::HeaderValue;

use crate::server::Server;

/// Where a client connects: the daemon's socket, or a gateway.
#[derive(Clone)]
pub enum Endpoint {
    /// The socket of a daemon on this host.
    Socket(PathBuf),
    /// A gateway.
    Server(Arc<Server>),
}

impl Endpoint {
    /// Returns the `Host` of requests.
    pub(crate) fn host(&self) -> HeaderValue {
        match self {
            Endpoint::Socket(_) => HeaderValue::from_static("masker"),
            Endpoint::Server(server) => server.host(),
        }
    }
}

impl From<&Path> for Endpoint {
    fn from(socket: &Path) -> Self {
        Endpoint::Socket(socket.to_owned())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Socket(socket) => socket.display().fmt(f),
            Endpoint::Server(server) => server.fmt(f),
        }
    }
}
