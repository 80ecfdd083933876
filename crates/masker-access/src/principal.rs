//! Whom a request acts as.

use std::{
    fmt,
    hash::RandomState,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus::IntCounter;

use super::{ApiKey, ApiKeyId, Budget, KeyPrefix, Limiter, Peer};
use crate::metrics::AccessMetrics;
use masker_types::{
    grant::{Grant, Limits},
    limits::LABEL_BYTES_MAX,
    mode::Mode,
};

/// One whom requests act as, with what it may do: a client of the configuration, an API key, or whoever no rule is about.
pub struct Principal {
    /// The client's name, the key's, [`masker_types::grant::UNRESTRICTED_NAME`] or [`masker_types::grant::UNLISTED`].
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// How fast it may do it.
    pub limiter: Limiter,
    /// How much of it.
    pub budget: Budget,
    /// The mode of tokens that it works in.
    pub mode: Mode,
    /// The key that it is, if it is one.
    pub credential: Option<ApiKeyIdentity>,
    /// Counts its requests, once it has made one: no request pays for finding the counter.
    pub(super) requests: OnceLock<IntCounter>,
}

/// What is public of an API key.
#[derive(Debug)]
pub struct ApiKeyIdentity {
    /// Its id.
    pub id: ApiKeyId,
    /// The part of its secret that may be shown.
    pub prefix: KeyPrefix,
    /// The workspace that it is counted in.
    pub workspace: String,
    /// When it expires, in milliseconds of Unix time.
    pub expires_at_ms: Option<u64>,
    /// Whether it was revoked since a request began to act as it.
    pub(super) revoked: Arc<AtomicBool>,
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal").field("name", &self.name).field("grant", &self.grant).finish_non_exhaustive()
    }
}

impl Principal {
    /// One of the live mode that is no key.
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

    /// The same with what `before`, who was in its place, has used of its limits.
    pub(super) fn inheriting_usage(&self, before: &Principal) -> Self {
        let limits = self.limiter.limits();
        Principal {
            name: self.name.clone(),
            grant: self.grant.clone(),
            limiter: before.limiter.succeed(limits),
            budget: before.budget.succeed(limits),
            mode: self.mode,
            credential: None,
            requests: OnceLock::new(),
        }
    }

    /// A key. What it has used of its limits goes on from `before`, the same key until now.
    pub(super) fn for_api_key(key: &ApiKey, credential: ApiKeyIdentity, before: Option<&Principal>) -> Self {
        let limits = key.limits();
        Principal {
            name: key.name().to_owned(),
            grant: key.grant().clone(),
            limiter: before.map_or_else(|| Limiter::new(limits), |before| before.limiter.succeed(limits)),
            budget: before
                .map_or_else(|| Budget::new(limits, RandomState::new()), |before| before.budget.succeed(limits)),
            mode: *key.mode(),
            credential: Some(credential),
            requests: OnceLock::new(),
        }
    }

    /// Its name, as far as the vault remembers names.
    pub fn metric_label(&self) -> &str {
        let ends = self.name.char_indices().map(|(start, character)| start + character.len_utf8());
        let end = ends.take_while(|end| *end <= LABEL_BYTES_MAX).last().unwrap_or(0);
        &self.name[..end]
    }

    /// Where its requests are counted: under a client's name, or under the part of a key that may be shown.
    pub fn request_counter(&self, metrics: &AccessMetrics) -> &IntCounter {
        let label = self.credential.as_ref().map_or(&*self.name, |credential| credential.prefix.as_str());
        self.requests.get_or_init(|| metrics.caller_requests.with_label_values(&[label]))
    }

    /// Whether it is a key that was revoked since: a request that began before must not succeed after.
    pub fn is_revoked(&self) -> bool {
        self.credential.as_ref().is_some_and(|credential| credential.revoked.load(Ordering::Acquire))
    }
}

/// Who makes one request: the process that the kernel attests, and whom it acts as.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) peer: Arc<Peer>,
    pub(super) principal: Arc<Principal>,
}

impl Caller {
    #[cfg(any(test, feature = "testing"))]
    pub fn for_tests(grant: Grant) -> Self {
        let peer = Arc::new(Peer::for_tests(1, 1, &[]));
        Caller { peer, principal: Principal::local("tests", grant, Limits::none()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_shortened_between_characters() {
        for (name, short) in
            [("billing".to_owned(), 7), ("é".repeat(64), 128), ("é".repeat(65), 128), ("x€".repeat(40), 128)]
        {
            let principal = Principal::local(&name, Grant::none(), Limits::none());
            assert_eq!(principal.metric_label().len(), short, "{name}");
            assert!(name.starts_with(principal.metric_label()));
        }
    }
}
