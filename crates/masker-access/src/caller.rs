//! Callers: who makes a request, as the daemon knows it.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::{
    Certificate, KeyDigest, KeyPrefix, NetworkAddress, Peer, Principal,
    gateway::{Gateway, GatewayPath},
    key_record::SecretRole,
};
use masker_types::{
    certificate::PublicKeyDigest,
    grant::{GatewayAssertion, Grant},
};
#[cfg(any(test, feature = "testing"))]
use masker_types::{grant::Limits, mode::Mode};

/// The caller of one request: the process that the kernel attests, the principal that it acts as, and the gateway that it
/// comes through.
#[derive(Clone)]
pub struct Caller {
    pub(super) peer: Arc<Peer>,
    pub(super) principal: Arc<Principal>,
    /// How its principal was found.
    pub(super) found: FoundBy,
    /// The version of the client rules by which this was found.
    pub(super) version: u64,
    /// Where it comes from, if the process is a gateway.
    pub(super) path: Option<GatewayPath>,
    /// What it may do, if that is less than what its principal may.
    pub(super) bounded: Option<Arc<Grant>>,
}

/// How the principal of a caller was found, so that it can be found again.
#[derive(Clone)]
pub(super) enum FoundBy {
    /// By the process alone, in the client rules.
    Rules,
    /// By the secret that it presented: it acts as an API key.
    Secret(AcceptedSecret),
    /// By the certificate that its gateway has asserted: it acts as a role.
    Certificate(Arc<Certificate>),
}

/// The secret of an API key that was accepted.
#[derive(Clone, Copy)]
pub(super) struct AcceptedSecret {
    pub(super) digest: KeyDigest,
    /// The first characters of the secret, which are public.
    pub(super) prefix: KeyPrefix,
    /// Whether another secret has replaced it.
    pub(super) role: SecretRole,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("peer", &self.peer).field("principal", &self.principal).finish_non_exhaustive()
    }
}

impl Caller {
    /// Returns a caller that was found by rules of this version.
    pub(super) fn new(
        peer: &Arc<Peer>,
        (principal, found): (Arc<Principal>, FoundBy),
        path: Option<GatewayPath>,
        version: u64,
    ) -> Self {
        let mut caller = Caller { peer: Arc::clone(peer), principal, found, version, path, bounded: None };
        caller.apply_ceiling();
        caller
    }

    /// Returns a caller with this grant and no limits.
    #[cfg(any(test, feature = "testing"))]
    pub fn for_tests(grant: Grant) -> Self {
        Caller::for_tests_in(Mode::Live, grant)
    }

    /// Returns a caller who works in this mode, with this grant and no limits.
    #[cfg(any(test, feature = "testing"))]
    pub fn for_tests_in(mode: Mode, grant: Grant) -> Self {
        let peer = Arc::new(Peer::for_tests(1, 1, &[]));
        let mut principal = Principal::local("tests", grant, Limits::none());
        Arc::get_mut(&mut principal).expect("nobody else has it").mode = mode;
        Caller::new(&peer, (principal, FoundBy::Rules), None, 0)
    }

    /// Returns the process at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Returns the first characters of the secret that it presented, if it acts as an API key.
    pub fn key_prefix(&self) -> Option<KeyPrefix> {
        self.accepted().map(|accepted| accepted.prefix)
    }

    /// Returns the secret that it presented, if it acts as an API key.
    pub(super) fn accepted(&self) -> Option<&AcceptedSecret> {
        match &self.found {
            FoundBy::Secret(accepted) => Some(accepted),
            FoundBy::Rules | FoundBy::Certificate(_) => None,
        }
    }

    /// Returns the public key of its certificate, if it acts as a role.
    pub fn certificate(&self) -> Option<PublicKeyDigest> {
        match &self.found {
            FoundBy::Certificate(certificate) => Some(certificate.public_key()),
            FoundBy::Rules | FoundBy::Secret(_) => None,
        }
    }

    /// Returns the principal that it acts as.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Returns the name under which the vault stores what it has made: that of its principal, with the public key of its
    /// certificate if it acts as a role. At most [`LABEL_BYTES_MAX`](masker_types::limits::LABEL_BYTES_MAX) bytes.
    pub fn label(&self) -> String {
        match self.certificate() {
            Some(key) => format!("{} {key}", self.principal.label()),
            None => self.principal.label().to_owned(),
        }
    }

    /// Returns the name of the gateway that it comes through.
    pub fn gateway(&self) -> Option<&str> {
        self.path.as_ref().map(|path| path.gateway.name.as_str())
    }

    /// Returns whether its process is a gateway that may assert this.
    pub fn may_assert(&self, assertion: GatewayAssertion) -> bool {
        self.path.as_ref().is_some_and(|path| path.gateway.assertions.contains(&assertion))
    }

    /// Returns whether it is a gateway that has shown no credential of a caller.
    pub fn is_gateway_alone(&self) -> bool {
        self.path.is_some() && matches!(self.found, FoundBy::Rules)
    }

    /// Returns the address that its gateway has asserted.
    pub fn address(&self) -> Option<IpAddr> {
        self.path.as_ref().and_then(|path| path.address)
    }

    /// Returns the part of that address by which strangers differ.
    pub fn network_address(&self) -> Option<NetworkAddress> {
        self.address().map(NetworkAddress::of)
    }

    /// Notes the address that its gateway asserts. A caller that comes through no gateway has none.
    pub fn set_address(&mut self, address: IpAddr) {
        if let Some(path) = &mut self.path {
            path.address = Some(address.to_canonical());
        }
    }

    /// Returns the way of a request that comes through a gateway from the same address.
    pub(super) fn path_through(&self, gateway: Arc<Gateway>) -> GatewayPath {
        GatewayPath { gateway, address: self.address() }
    }
}
