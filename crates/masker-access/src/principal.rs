//! Principals: the identities that requests act as.

use std::{
    fmt,
    hash::RandomState,
    sync::{Arc, OnceLock},
};

use prometheus::IntCounter;

use crate::{AccessMetrics, ApiKey, ApiKeyId, Budget, KeyPrefix, Limiter, Mode};
use masker_types::{
    certificate::PublicKeyDigest,
    grant::{Grant, Limits},
    limits::LABEL_BYTES_MAX,
};

/// An identity with its permissions and limits: a client or a role of the configuration, an API key, or one of the two names
/// for callers that no client matches.
pub struct Principal {
    /// The name of the client or of the key, `role:` and the name of the role, [`UNRESTRICTED_NAME`](masker_types::grant::UNRESTRICTED_NAME) or
    /// [`UNLISTED_NAME`](masker_types::grant::UNLISTED_NAME).
    pub name: String,
    /// What it may do. What a caller may do that acts as it is [`Caller::grant`](crate::Caller::grant): a gateway passes on less.
    pub(super) grant: Grant,
    /// How fast it may do it.
    pub limiter: Limiter,
    /// How much it may do in a day.
    pub budget: Budget,
    /// The mode of the tokens that it works with.
    pub mode: Mode,
    /// The API key, if it is one.
    pub credential: Option<ApiKeyIdentity>,
    /// The counter of its requests, found at the first of them so that later ones need no lookup.
    pub(super) requests: OnceLock<IntCounter>,
}

/// Who calls: equal for all requests of a caller, and for no others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallerId {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A user as a client of the configuration, or under one of the two names for callers that no client matches.
    Client(Arc<str>, u32),
    /// The holder of a client certificate in a role.
    Certificate(Arc<str>, PublicKeyDigest),
}

impl fmt::Debug for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallerId::ApiKey(id) => write!(f, "ApiKey({id:?})"),
            CallerId::Client(name, uid) => write!(f, "Client({name}, uid {uid})"),
            CallerId::Certificate(role, key) => write!(f, "Certificate({role}, {key})"),
        }
    }
}

/// Who has created an API key.
pub(super) enum Creator<'a> {
    /// A caller that may do everything.
    Unrestricted,
    /// A client of the configuration, or an API key.
    Known(&'a Principal),
    /// A client that the configuration no longer has. It has no rights, so its keys have none.
    Gone,
}

/// The public part of an API key.
#[derive(Clone, Debug)]
pub struct ApiKeyIdentity {
    /// The key's id.
    pub id: ApiKeyId,
    /// The first characters of its secret, which are public.
    pub prefix: KeyPrefix,
    /// The workspace that it counts towards.
    pub workspace: String,
    /// When it expires, in milliseconds of Unix time; `None` for never.
    pub expires_at_ms: Option<u64>,
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal").field("name", &self.name).field("grant", &self.grant).finish_non_exhaustive()
    }
}

impl Principal {
    /// Returns a principal in live mode without an API key.
    pub fn local(name: &str, grant: Grant, limits: Limits) -> Arc<Self> {
        Arc::new(Principal {
            name: name.to_owned(),
            grant,
            limiter: Limiter::new(&limits),
            budget: Budget::new(&limits, RandomState::new()),
            mode: Mode::Live,
            credential: None,
            requests: OnceLock::new(),
        })
    }

    /// Returns this principal with the usage of `before`, which it replaces.
    pub(super) fn inheriting_usage(&self, before: &Principal) -> Self {
        let limits = self.limiter.limits();
        Principal {
            name: self.name.clone(),
            grant: self.grant.clone(),
            limiter: before.limiter.with_limits(limits),
            budget: before.budget.with_limits(limits),
            mode: self.mode,
            credential: None,
            requests: OnceLock::new(),
        }
    }

    /// Returns this principal without an API key, and without its usage.
    pub(super) fn with_own_usage(&self) -> Self {
        let limits = self.limiter.limits();
        Principal {
            name: self.name.clone(),
            grant: self.grant.clone(),
            limiter: Limiter::new(limits),
            budget: Budget::new(limits, RandomState::new()),
            mode: self.mode,
            credential: None,
            requests: OnceLock::new(),
        }
    }

    /// Returns the principal of an API key. It keeps the usage of `before`, the former version of the key.
    pub(super) fn for_api_key(key: &ApiKey, credential: ApiKeyIdentity, before: Option<&Principal>) -> Self {
        let limits = key.limits();
        Principal {
            name: key.name().to_owned(),
            grant: key.grant().clone(),
            limiter: before.map_or_else(|| Limiter::new(limits), |before| before.limiter.with_limits(limits)),
            budget: before
                .map_or_else(|| Budget::new(limits, RandomState::new()), |before| before.budget.with_limits(limits)),
            mode: key.mode(),
            credential: Some(credential),
            requests: OnceLock::new(),
        }
    }

    /// Returns this principal of an API key, which has this grant, with what its creator has of that, and drawing on the
    /// limits of its creator as well.
    pub(super) fn created_by(&self, grant: &Grant, creator: Creator<'_>) -> Self {
        let (grant, creator) = match creator {
            Creator::Unrestricted => (grant.clone(), None),
            Creator::Known(creator) => (grant.intersection(&creator.grant), Some(creator)),
            Creator::Gone => (Grant::none(), None),
        };
        Principal {
            name: self.name.clone(),
            grant,
            limiter: self.limiter.created_by(creator.map(|creator| &creator.limiter)),
            budget: self.budget.created_by(creator.map(|creator| &creator.budget)),
            mode: self.mode,
            credential: self.credential.clone(),
            requests: OnceLock::new(),
        }
    }

    /// Returns its name, cut to the [`LABEL_BYTES_MAX`] bytes that the vault stores.
    pub fn label(&self) -> &str {
        let ends = self.name.char_indices().map(|(start, character)| start + character.len_utf8());
        let end = ends.take_while(|end| *end <= LABEL_BYTES_MAX).last().unwrap_or(0);
        &self.name[..end]
    }

    /// Returns the counter of its requests, labelled with the client's name or the key's prefix.
    pub fn request_counter(&self, metrics: &AccessMetrics) -> &IntCounter {
        let label = self.credential.as_ref().map_or(&*self.name, |credential| credential.prefix.as_str());
        self.requests.get_or_init(|| metrics.caller_counter(label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_long_names_between_characters() {
        for (name, short) in
            [("billing".to_owned(), 7), ("é".repeat(64), 128), ("é".repeat(65), 128), ("x€".repeat(40), 128)]
        {
            let principal = Principal::local(&name, Grant::none(), Limits::none());
            assert_eq!(principal.label().len(), short, "{name}");
            assert!(name.starts_with(principal.label()));
        }
    }
}
