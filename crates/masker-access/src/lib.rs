//! Who is calling, and what they may do.
//!
//! Nothing outside this module can make a [`Permit`]: an operation that takes one cannot be reached by a handler that
//! forgot to ask.

mod metrics;
mod attempts;
mod budget;
mod clients;
mod key_record;
mod limiter;
mod peer;
mod permit;
mod principal;
mod api_keys;
mod systemd_unit;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use api_keys::{ApiKeys, AuthRejection};
pub use attempts::{AttemptOutcome, FailedAttempts};
pub use budget::{Budget, BudgetWarning};
pub use clients::{ClientRules, HostUsers, UserDatabase};
pub use key_record::{ApiKey, ApiKeyId, ApiKeySpec, ApiKeyUpdate, KeyRejection, KeyRevoked, LastUse};
pub use limiter::{LimitExceeded, LimitKind, Limiter, RateLimitStatus, Timestamps};
pub use metrics::AccessMetrics;
pub use peer::{Peer, PeerError};
pub use permit::{
    ApiKeysAdmin, AuditRead, Denied, Forget, KeysAdmin, KeysRead, Lookup, MetricsRead, Operation, Permit, PoliciesRead,
    PoliciesReload, Rehydrate, Rewrap, SessionsRead, Tokenize, VaultAdmin, VaultRead,
};
pub use principal::{ApiKeyIdentity, Caller, Principal};

/// The text of API keys, which clients know as well.
pub use masker_types::api_key::{ApiKeyFormatError, ApiKeySecret, KeyDigest, KeyPrefix, PresentedKey, looks_like_key};
/// The worlds of tokens: which of them a caller works in is for this module to say.
pub use masker_types::mode::Mode;

/// Tells who callers are, by what is in force at the moment.
pub struct Access {
    clients: ArcSwap<ClientRules>,
    keys: Arc<ApiKeys>,
}

/// Why a credential was not accepted. The texts hold nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// There is an `Authorization` header with no credential in it.
    #[error("there is no credential in `Authorization`: write `Bearer` and an API key, or leave it out")]
    Missing,
    /// The header has another form.
    #[error("`Authorization` is not `Bearer` and an API key")]
    Scheme,
    /// The text is no API key.
    #[error("this is no API key: {0}")]
    Malformed(ApiKeyFormatError),
    /// It is no key of this daemon.
    #[error("this API key is not known; ask who gave it to you for another")]
    Unknown,
    /// The key was revoked.
    #[error("this API key was revoked; ask who gave it to you for another")]
    Revoked,
    /// The key has expired, or it was rotated and the former secret's grace period is over.
    #[error("this API key has expired, or was rotated and its grace period is over; use the new one")]
    Expired,
}

impl Access {
    /// Begins with these rules and these keys.
    pub fn new(clients: ClientRules, keys: Arc<ApiKeys>) -> Self {
        Access { clients: ArcSwap::from_pointee(clients), keys }
    }

    /// The API keys.
    pub fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// Puts other rules in force: the next request of every connection is held against them.
    pub fn replace_clients(&self, clients: ClientRules) {
        self.clients.rcu(|before| clients.clone().inheriting_usage(before));
    }

    /// Who a process is that shows an `Authorization` header of this content: the key alone, whatever the process may do
    /// without it. The scheme's name may be written in any case (RFC 9110 section 11.1).
    ///
    /// # Errors
    /// Why it is nobody, and the part of the key that may be shown, where there is one.
    pub fn authenticate(
        &self,
        peer: &Arc<Peer>,
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
        let presented = PresentedKey::parse(credential).map_err(|malformed| (AuthError::Malformed(malformed), None))?;
        let principal = self.keys.authenticate(&presented, peer, now_ms).map_err(|refused| {
            let error = match refused {
                AuthRejection::Unknown => AuthError::Unknown,
                AuthRejection::Rejected(KeyRejection::Revoked) => AuthError::Revoked,
                AuthRejection::Rejected(KeyRejection::Expired) => AuthError::Expired,
            };
            (error, Some(presented.prefix()))
        })?;
        Ok(Caller { peer: Arc::clone(peer), principal })
    }

    /// Who a process is that shows no credential of its own.
    pub fn local(&self, peer: &Arc<Peer>) -> Caller {
        Caller { peer: Arc::clone(peer), principal: Arc::clone(self.clients.load().principal(peer)) }
    }
}
