//! Whom a request acts as.

use std::sync::Arc;

use super::Peer;
use crate::{crypto::World, grant::Grant};

/// One whom requests act as, with what it may do: a client of the configuration, an API key, or whoever no rule is about.
#[derive(Debug)]
pub struct Principal {
    /// The client's name, the key's, [`crate::grant::TRUSTED`] or [`crate::grant::UNLISTED`].
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// The world of tokens that it works in.
    pub world: World,
}

impl Principal {
    /// One of the live world.
    pub fn live(name: &str, grant: Grant) -> Arc<Self> {
        Arc::new(Principal { name: name.to_owned(), grant, world: World::Live })
    }
}

/// Who makes one request: the process that the kernel attests, and whom it acts as.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) peer: Arc<Peer>,
    pub(super) principal: Arc<Principal>,
}

impl Caller {
    #[cfg(test)]
    pub(crate) fn for_tests(grant: Grant) -> Self {
        Caller { peer: Arc::new(Peer::for_tests(1, 1, &[])), principal: Principal::live("tests", grant) }
    }

    /// The process at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whom it acts as.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
}
