//! Who is calling, and what they may do.
//!
//! Nothing outside this module can make a [`Permit`]: an operation that takes one cannot be reached by a handler that
//! forgot to ask.

mod api_key;
mod clients;
mod peer;
mod permit;
mod principal;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use api_key::{ApiKeySecret, KeyDigest, KeyPrefix, Malformed, Presented, looks_like_key};
pub use clients::{Clients, HostUsers, UserDatabase};
pub use peer::{Peer, PeerError};
pub use permit::{
    ApiKeysAdmin, AuditRead, Denied, Forget, KeysAdmin, KeysRead, Lookup, MetricsRead, Operation, Permit, PoliciesRead,
    PoliciesReload, Rehydrate, Rewrap, SessionsRead, Tokenize, VaultAdmin, VaultRead,
};
pub use principal::{Caller, Principal};

/// Tells who callers are, by what is in force at the moment.
pub struct Access {
    clients: ArcSwap<Clients>,
}

impl Access {
    /// Begins with these rules.
    pub fn new(clients: Clients) -> Self {
        Access { clients: ArcSwap::from_pointee(clients) }
    }

    /// Puts other rules in force: the next request of every connection is held against them.
    pub fn replace_clients(&self, clients: Clients) {
        self.clients.store(Arc::new(clients));
    }

    /// Who a process is that shows no credential of its own.
    pub fn local(&self, peer: &Arc<Peer>) -> Caller {
        Caller { peer: Arc::clone(peer), principal: Arc::clone(self.clients.load().principal(peer)) }
    }
}
