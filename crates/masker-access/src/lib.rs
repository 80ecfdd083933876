//! Who is calling, what they may do, and how much of it.
//!
//! - [`Access`] identifies the [`Caller`] of a request: from the kernel's credentials of its connection ([`Peer`]) and
//!   the clients of the configuration ([`ClientRules`]), from an API key ([`ApiKeys`]), or from a client certificate that a
//!   gateway asserts ([`Certificate`]). What comes through a gateway has no more rights than the gateway's ceiling.
//! - [`Permit`] proves that a caller may perform an operation. Only [`Caller::permit`] makes one, so a handler that
//!   forgets to authorize does not compile.
//! - [`Limiter`] and [`Budget`] bound how fast a caller goes and how much it learns in a day.
//! - [`ShareLedger`] shares connections and memory fairly between users.
//! - [`FailedAttempts`] delays and then blocks bad credentials, in bounded memory.
//!
//! It reads the host's users and groups and `/proc`, and does no other I/O: the vault stores API keys, and time is an
//! argument. The vault, the HTTP interface and the daemon may use it; it uses types, core and config.

#![warn(missing_docs)]

mod api_keys;
mod attempts;
mod budget;
mod caller;
mod clients;
mod gateway;
mod key_record;
mod limiter;
mod metrics;
mod peer;
mod permit;
mod principal;
mod roles;
mod share;
mod systemd_unit;
mod usage;

use std::sync::Arc;

use arc_swap::ArcSwap;
use caller::{AcceptedSecret, FoundBy};
use gateway::GatewayPath;
use masker_types::{
    grant::{GatewayAssertion, Grant, ROLE_NAME_PREFIX, UNRESTRICTED_NAME},
    share::Share,
};
use roles::RoleRejection;

pub use api_keys::{ApiKeys, AuthRejection, UnstoredChange};
pub use attempts::{AttemptOutcome, AttemptSource, FailedAttempts};
pub use budget::{Budget, BudgetWarning};
pub use caller::Caller;
pub use clients::{ClientRules, HostUsers, UserDatabase};
pub use gateway::NetworkAddress;
pub use key_record::{
    ApiKey, ApiKeyId, ApiKeySpec, ApiKeyUpdate, GraceSecret, KeyRejection, KeyRevoked, KeyRights, LastUse,
    SecretRotationError,
};
pub use limiter::{LimitExceeded, LimitKind, Limiter, RateLimitStatus, Timestamps};
pub use metrics::AccessMetrics;
pub use peer::{Peer, PeerError};
pub use permit::{
    ApiKeysAdmin, AuditRead, Denied, Forget, KeysAdmin, KeysRead, Lookup, MetricsRead, Permit, PoliciesRead,
    PoliciesReload, Rehydrate, RehydratesTokens, ReportsRead, Rewrap, ScopedOperation, SessionsRead, TextDetect,
    TextMask, TextRestore, Tokenize, TokenizesValues, VaultAdmin, VaultRead,
};
pub use principal::{ApiKeyIdentity, CallerId, Principal};
pub use roles::Certificate;
pub use share::{
    AccountId, Activity, Displaceable, HoldingId, Resource, ShareDecision, ShareHolder, ShareLedger, TicketId,
};

/// The text of API keys, defined in `masker-types` because clients check it too.
pub use masker_types::api_key::{ApiKeyFormatError, ApiKeySecret, KeyDigest, KeyPrefix, PresentedKey, looks_like_key};
/// Live or test mode. A client of the configuration works in live mode, an API key in the mode that it was created for.
pub use masker_types::mode::Mode;

/// Identifies callers by the client rules and the API keys in force.
pub struct Access {
    clients: ArcSwap<ClientRules>,
    keys: Arc<ApiKeys>,
}

/// Why a credential was not accepted. No message contains any part of the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The `Authorization` header contains no credential.
    #[error("`Authorization` contains no credential: write `Bearer` and an API key, or omit the header")]
    Missing,
    /// The header has another form.
    #[error("`Authorization` is not `Bearer` and an API key")]
    Scheme,
    /// The text is not an API key.
    #[error("the credential is malformed: {0}")]
    Malformed(ApiKeyFormatError),
    /// This daemon has no such key.
    #[error("unknown API key; ask the person who issued it for another")]
    Unknown,
    /// The key was revoked.
    #[error("this API key was revoked; ask the person who issued it for another")]
    Revoked,
    /// The key is suspended.
    #[error("this API key is suspended; ask the person who issued it to resume it")]
    Suspended,
    /// The key has expired, or it was rotated and the former secret's grace period is over.
    #[error("this API key has expired, or was rotated and its grace period is over; use the new one")]
    Expired,
    /// The request comes through a gateway, with no credential.
    #[error(
        "this request came through a gateway without a credential: show an API key in `Authorization: Bearer`, or a client \
         certificate"
    )]
    NoCredential,
    /// The certificate has no role.
    #[error(
        "no identity of this client certificate is a member of a role; its operator can add one to `[roles]` in masker.toml"
    )]
    NoRole,
    /// The certificate has several roles.
    #[error(
        "the identities of this client certificate are members of several roles, and a certificate has one: the operator \
         removes all but one of them from `[roles]` in masker.toml"
    )]
    SeveralRoles,
    /// What the process that passed the request on may do has changed.
    #[error("the rights of the gateway that passed this request on have changed; send the request again")]
    GatewayChanged,
}

impl From<RoleRejection> for AuthError {
    fn from(rejection: RoleRejection) -> Self {
        match rejection {
            RoleRejection::NoRole => AuthError::NoRole,
            RoleRejection::SeveralRoles => AuthError::SeveralRoles,
        }
    }
}

impl From<AuthRejection> for AuthError {
    fn from(rejection: AuthRejection) -> Self {
        match rejection {
            AuthRejection::Unknown => AuthError::Unknown,
            AuthRejection::Rejected(KeyRejection::Revoked) => AuthError::Revoked,
            AuthRejection::Rejected(KeyRejection::Suspended) => AuthError::Suspended,
            AuthRejection::Rejected(KeyRejection::Expired) => AuthError::Expired,
        }
    }
}

impl Access {
    /// Returns an `Access` with these rules and keys.
    pub fn new(clients: ClientRules, keys: Arc<ApiKeys>) -> Self {
        keys.follow_clients(clients.principals());
        Access { clients: ArcSwap::from_pointee(clients), keys }
    }

    /// Returns the API keys.
    pub fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// Replaces the client rules. They apply from the next request of every connection, and to those that wait for their
    /// client, once they go on; a client keeps what it has used of its limits.
    pub fn replace_clients(&self, clients: ClientRules) {
        self.clients.rcu(|before| clients.clone().following(before));
        self.keys.follow_clients(self.clients.load().principals());
    }

    /// Identifies a caller by the content of its `Authorization` header. `local` is the caller without it. The key alone
    /// decides: the process gets none of the rights that it has without a key. A gateway's ceiling applies. The scheme's name is case-insensitive (RFC 9110 section 11.1).
    ///
    /// # Errors
    /// [`AuthError`], and the public prefix of the key if there is one.
    pub fn authenticate(
        &self,
        local: &Caller,
        authorization: &[u8],
        now_ms: u64,
    ) -> Result<Caller, (AuthError, Option<KeyPrefix>)> {
        let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let text = authorization.trim_ascii();
        let scheme = text.iter().position(blank).unwrap_or(text.len());
        let credential = text[scheme..].trim_ascii();
        if text.is_empty() || (credential.is_empty() && text.eq_ignore_ascii_case(b"bearer")) {
            return Err((AuthError::Missing, None));
        }
        if !text[..scheme].eq_ignore_ascii_case(b"bearer") {
            return Err((AuthError::Scheme, None));
        }
        let presented = PresentedKey::parse(credential).map_err(|error| (AuthError::Malformed(error), None))?;
        let principal = self.keys.authenticate(&presented, &local.peer, now_ms);
        let principal = principal.map_err(|rejection| (rejection.into(), Some(presented.prefix())))?;
        let (principal, role) = principal;
        let accepted = AcceptedSecret { digest: presented.digest(), prefix: presented.prefix(), role };
        Ok(Caller::new(&local.peer, (principal, FoundBy::Secret(accepted)), local.path.clone(), local.version))
    }

    /// Identifies a caller by the client certificate that its gateway asserts. `local` is the caller without it.
    ///
    /// # Errors
    /// [`AuthError::GatewayChanged`] if the process is no gateway that may assert certificates; [`AuthError::NoRole`] or
    /// [`AuthError::SeveralRoles`] unless the certificate has one role.
    pub fn authenticate_certificate(&self, local: &Caller, certificate: Certificate) -> Result<Caller, AuthError> {
        if !local.may_assert(GatewayAssertion::Certificate) {
            return Err(AuthError::GatewayChanged);
        }
        let clients = self.clients.load();
        let principal = clients.role(&certificate)?;
        let found = FoundBy::Certificate(Arc::new(certificate));
        // Rules that were replaced meanwhile are noticed by the version.
        Ok(Caller::new(&local.peer, (principal, found), local.path.clone(), local.version))
    }

    /// Checks that the API key of a caller was not ended since it was accepted: by a revocation, a suspension, or a rotation
    /// without a grace period. An expiry ends no request that began before it.
    ///
    /// # Errors
    /// [`AuthError::Revoked`], [`AuthError::Suspended`], or [`AuthError::Expired`] after a rotation.
    pub fn check_not_ended(&self, caller: &Caller) -> Result<(), AuthError> {
        let Some(AcceptedSecret { digest, .. }) = caller.accepted() else { return Ok(()) };
        self.keys.check(digest).map(drop).map_err(AuthError::from)
    }

    /// Checks that a request which was admitted may be answered: the API key of its caller was not ended since, or that is not
    /// stored yet, and its gateway and its role are still in the client rules. So no request succeeds after the answer to a revocation
    /// or after a reload, and those that were admitted before it finish.
    ///
    /// # Errors
    /// Those of [`Access::check_not_ended`], and of a caller through a gateway those of [`Access::refresh`].
    pub fn check_may_be_answered(&self, caller: &Caller) -> Result<(), AuthError> {
        if let Some(AcceptedSecret { digest, .. }) = caller.accepted() {
            self.keys.check_stored(digest)?;
        }
        let clients = self.clients.load();
        if caller.path.is_none() || caller.version == clients.version() {
            return Ok(());
        }
        let mut now = caller.clone();
        apply_rules(&clients, &mut now)?;
        let is_same_role = caller.certificate().is_none() || now.principal.name == caller.principal.name;
        if is_same_role { Ok(()) } else { Err(AuthError::NoRole) }
    }

    /// Brings a caller up to date after a wait whose length others control: it is who it would be if it called now, and has
    /// the rights and limits that the client rules, or its API key, give it now. A caller whose client rules are the same
    /// costs one comparison.
    ///
    /// # Errors
    /// [`AuthError::Revoked`], [`AuthError::Suspended`] or [`AuthError::Expired`] if its API key no longer works. If it comes
    /// through a gateway: [`AuthError::GatewayChanged`] if that is not a gateway any more, or may not assert what it has
    /// asserted; [`AuthError::NoRole`] or [`AuthError::SeveralRoles`].
    pub fn refresh(&self, caller: &mut Caller, now_ms: u64) -> Result<(), AuthError> {
        let clients = self.clients.load();
        let is_new = caller.version != clients.version();
        if is_new {
            apply_rules(&clients, caller)?;
        }
        if let FoundBy::Secret(accepted) = &mut caller.found {
            let principal;
            (principal, accepted.role) = self.keys.current(&accepted.digest, now_ms)?;
            if !is_new && Arc::ptr_eq(&caller.principal, &principal) {
                return Ok(());
            }
            caller.principal = principal;
            caller.apply_ceiling();
        } else if is_new {
            caller.apply_ceiling();
        }
        Ok(())
    }

    /// Returns whether a name is that of a client, begins like that of a role, or is that of callers that no client matches, also
    /// with other letter cases or with blanks around it.
    pub fn is_client_name(&self, name: &str) -> bool {
        let name = name.trim().to_lowercase();
        name == UNRESTRICTED_NAME || name.starts_with(ROLE_NAME_PREFIX) || self.clients.load().by_name(&name).is_some()
    }

    /// Returns whether the client of this name exists and may not do everything without limits.
    pub fn is_limited_client(&self, name: &str) -> bool {
        self.clients.load().by_name(name).is_some_and(|client| {
            client.grant.excess_of(&Grant::all()).is_some() || !client.limiter.limits().is_unlimited()
        })
    }

    /// Removes the series of callers that no longer exist: clients that were removed, keys that are no longer active, and
    /// replaced secrets.
    pub fn prune_metrics(&self, metrics: &AccessMetrics, now_ms: u64) {
        let active = self.keys.list().into_iter().filter(|key| key.is_active(now_ms)).map(|key| key.prefix());
        let prefixes: Vec<KeyPrefix> = active.collect();
        let clients = self.clients.load();
        let exists = |caller: &str| {
            clients.by_name(caller).is_some()
                || caller == UNRESTRICTED_NAME
                || prefixes.iter().any(|prefix| prefix.as_str() == caller)
        };
        metrics.retain_callers(exists);
    }

    /// Returns who takes shares of connections and memory for a process, and which.
    pub fn share(&self, peer: &Peer) -> (ShareHolder, Share) {
        self.clients.load().share(peer)
    }

    /// Returns whether a user is root or the daemon's own.
    pub fn is_owner(&self, uid: u32) -> bool {
        self.clients.load().is_owner(uid)
    }

    /// Returns what all clients are guaranteed together, in percent.
    pub fn guaranteed_percent(&self) -> u64 {
        self.clients.load().guaranteed_percent()
    }

    /// Identifies a caller that presents no credential, by the client rules. A gateway that presents none of its callers has no
    /// rights.
    pub fn local_caller(&self, peer: &Arc<Peer>) -> Caller {
        let clients = self.clients.load();
        let (principal, gateway) = clients.identify(peer);
        let path = gateway.map(|gateway| GatewayPath { gateway, address: None });
        Caller::new(peer, (principal, FoundBy::Rules), path, clients.version())
    }
}
/// Finds a caller again by other rules than before: its principal and its gateway. The ceiling is left to apply.
fn apply_rules(clients: &ClientRules, caller: &mut Caller) -> Result<(), AuthError> {
    let (principal, gateway) = clients.identify(&caller.peer);
    if caller.path.is_some() != gateway.is_some() && !matches!(caller.found, FoundBy::Secret(_)) {
        return Err(AuthError::GatewayChanged);
    }
    caller.path = match gateway {
        Some(gateway) => Some(caller.path_through(gateway)),
        // Its key alone would have all of its rights.
        None if caller.path.is_some() => return Err(AuthError::GatewayChanged),
        None => None,
    };
    let asserted = [
        (caller.address().is_some(), GatewayAssertion::Address),
        (caller.certificate().is_some(), GatewayAssertion::Certificate),
    ];
    if asserted.into_iter().any(|(has, assertion)| has && !caller.may_assert(assertion)) {
        return Err(AuthError::GatewayChanged);
    }
    match &caller.found {
        FoundBy::Rules => caller.principal = principal,
        FoundBy::Certificate(certificate) => caller.principal = clients.role(certificate)?,
        FoundBy::Secret(_) => {}
    }
    caller.version = clients.version();
    Ok(())
}
