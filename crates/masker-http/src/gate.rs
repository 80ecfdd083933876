//! What stands before every handler: who is asking, and whether they may ask so often.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, Request,
    body::{Body, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use tracing::warn;

use super::{
    Service,
    exchange::{Incident, RequestContext},
    problem::Problem,
    router::RouteMatch,
};
use masker_access::{
    AttemptOutcome, AuthError, Caller, KeyPrefix, LimitExceeded, LimitKind, Peer, RateLimitStatus, Timestamps,
    looks_like_key,
};
use masker_api::TokenizeRequest;
use masker_types::error_code::Code;

impl Service {
    /// Who makes a request. Whoever shows a credential is whom it is of and nobody else, whatever the process may do
    /// without it; a credential that is not accepted is never passed over.
    ///
    /// # Errors
    /// A problem, after a while if there were many of them: see [`masker_access::FailedAttempts`].
    pub(super) async fn authenticate(
        &self,
        on: &mut RequestContext,
        peer: &Arc<Peer>,
        matched: Option<&RouteMatch>,
        request: &Request<Incoming>,
    ) -> Result<(), Problem> {
        let url = request.uri().path_and_query().map_or("", |url| url.as_str());
        let plain = request.uri().query().is_none() && matched.is_some_and(RouteMatch::is_literal);
        if !plain && looks_like_key(url.as_bytes()) {
            on.incident = Some(Incident::KeyInUrl);
            let detail = "an API key does not belong in a URL, where logs keep it: revoke this one, and show the next in \
                          the header `Authorization: Bearer`";
            return Err(unread(request, Problem::new(Code::RequestInvalid, detail)));
        }
        let mut credentials = request.headers().get_all(header::AUTHORIZATION).into_iter();
        let caller = match (credentials.next(), credentials.next()) {
            (None, _) => return Ok(()),
            (Some(credential), None) => self.access.authenticate(peer, credential.as_bytes(), self.now_ms()),
            (Some(_), Some(_)) => Err((AuthError::Scheme, None)),
        };
        match caller {
            Ok(caller) => {
                on.caller = caller;
                Ok(())
            }
            Err((error, prefix)) => Err(unread(request, Box::pin(self.reject_credential(on, error, prefix)).await)),
        }
    }

    async fn reject_credential(&self, on: &mut RequestContext, error: AuthError, prefix: Option<KeyPrefix>) -> Problem {
        let uid = on.caller.peer().uid();
        let outcome = self.attempts.record(uid, prefix, self.started.elapsed());
        let blocked = matches!(outcome, AttemptOutcome::Blocked { .. });
        let shown = prefix.as_ref().map_or("", KeyPrefix::as_str);
        warn!(request_id = on.id.as_str(), uid, prefix = shown, blocked, reason = %error, "a credential was refused");
        on.incident = Some(if blocked { Incident::Blocked { prefix } } else { Incident::Unidentified { prefix } });
        let problem = match outcome {
            AttemptOutcome::Answered { delay } => {
                if delay > Duration::ZERO {
                    tokio::time::sleep(delay).await;
                }
                let code = match error {
                    AuthError::Missing => Code::AuthMissing,
                    AuthError::Revoked => Code::AuthRevoked,
                    AuthError::Expired => Code::AuthExpired,
                    _ => Code::AuthInvalid,
                };
                Problem::new(code, error.to_string())
            }
            AttemptOutcome::Blocked { retry_after_seconds } => {
                let detail = format!(
                    "too many credentials were refused: others are not looked at for {retry_after_seconds} s; one that \
                     is right still works"
                );
                Problem { retry_after_seconds: Some(retry_after_seconds), ..Problem::new(Code::AuthBlocked, detail) }
            }
        };
        self.metrics.access.auth_failures.with_label_values(&[problem.code.as_str()]).inc();
        problem
    }

    /// Takes a request with so many values or tokens from the caller's limits.
    ///
    /// # Errors
    /// `rate.limited` or `quota.exceeded`; then nothing was taken.
    pub(super) fn admit(&self, on: &mut RequestContext, values: usize) -> Result<(), Problem> {
        let admitted = on.caller.principal().limiter.admit(on.timestamps, values as u64);
        on.admitted = true;
        match admitted {
            Ok(rate_limit) => {
                on.rate_limit = rate_limit;
                Ok(())
            }
            Err(refusal) => {
                on.rate_limit = refusal.rate_limit;
                Err(refused(&refusal))
            }
        }
    }

    /// Pays for values that are tokenized or looked up.
    ///
    /// # Errors
    /// `quota.exceeded`; then nothing was paid for.
    pub(super) fn charge_values(&self, on: &mut RequestContext, request: &TokenizeRequest<'_>) -> Result<(), Problem> {
        let context = request.context.as_deref().unwrap_or_default();
        let values = request.items.iter().map(|item| {
            let context = item.context.as_deref().unwrap_or(context);
            [item.kind.as_bytes(), context.as_bytes(), item.value.as_bytes()]
        });
        let crossed = on.caller.principal().budget.charge_values(on.timestamps, values);
        on.crossed(crossed.map_err(|refusal| refused(&refusal))?, &self.metrics);
        Ok(())
    }

    /// Pays for tokens that are rehydrated.
    ///
    /// # Errors
    /// `quota.exceeded`; then nothing was paid for.
    pub(super) fn charge_tokens(&self, on: &mut RequestContext, tokens: usize) -> Result<(), Problem> {
        let crossed = on.caller.principal().budget.charge_tokens(on.timestamps, tokens as u64);
        on.crossed(crossed.map_err(|refusal| refused(&refusal))?, &self.metrics);
        Ok(())
    }

    /// Now, for limits.
    pub(super) fn timestamps(&self, now: Instant) -> Timestamps {
        let unix = u64::try_from(self.vault.now().as_second()).unwrap_or(0);
        Timestamps { monotonic: now.saturating_duration_since(self.started), unix }
    }
}

/// Whether a caller's key was revoked while its request was worked on.
pub(super) fn check_not_revoked(caller: &Caller) -> Result<(), Problem> {
    if caller.principal().is_revoked() {
        return Err(Problem::new(Code::AuthRevoked, AuthError::Revoked.to_string()));
    }
    Ok(())
}

/// A refusal of a request whose body was not read: nothing can follow on this connection, unless there was none.
fn unread(request: &Request<Incoming>, problem: Problem) -> Problem {
    Problem { close: !request.body().is_end_stream(), ..problem }
}

fn refused(refusal: &LimitExceeded) -> Problem {
    let (code, which) = match refusal.kind {
        LimitKind::Rate => (Code::RateLimited, refusal.which),
        LimitKind::Quota => (Code::QuotaExceeded, refusal.which),
    };
    let seconds = refusal.retry_after_seconds;
    let detail = match refusal.max_values {
        Some(most) => format!("`{which}` of this caller allows {most} at once: ask for fewer"),
        None => format!("`{which}` of this caller is used up for {seconds} s; `masker whoami` shows its limits"),
    };
    Problem { retry_after_seconds: Some(seconds), ..Problem::new(code, detail) }
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The headers that tell a limited caller what is left.
pub(super) fn tell(rate_limit: &RateLimitStatus, headers: &mut HeaderMap) {
    let numbers = [(LIMIT, rate_limit.limit), (REMAINING, rate_limit.remaining), (RESET, rate_limit.reset_seconds)];
    for (name, number) in numbers {
        // Not from the number itself: that takes two allocations.
        if let Ok(number) = HeaderValue::from_str(itoa::Buffer::new().format(number)) {
            headers.insert(name, number);
        }
    }
}
