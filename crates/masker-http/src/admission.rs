//! Admission: what is decided about a request on its head alone, in this order. Who makes it, whether they may, and
//! whether their limits allow another request. Only then is its body read.

use std::{sync::Arc, time::Instant};

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use tracing::{debug, warn};

use super::{
    Service,
    assertions::Assertions,
    context::{Incident, RequestContext},
    input::Input,
    problem::Problem,
    query::QueryParameters,
    route::{AuditRule, Cost, Route, RouteAccess, RouteMatch},
    sessions::SessionReference,
    shares::Shares,
};
use masker_access::{
    AttemptOutcome, AttemptSource, AuthError, Certificate, KeyPrefix, LimitExceeded, LimitKind, Permit,
    RateLimitStatus, Resource, ScopedOperation, Timestamps, looks_like_key,
};
use masker_types::{error_code::Code, limits::ANSWER_BYTES_UNMETERED};
use masker_vault::ValueInput;

impl Service {
    /// Admits a request and reads its body, or refuses it.
    pub(super) async fn admit(
        &self,
        ctx: &mut RequestContext,
        matched: Result<RouteMatch, Problem>,
        head: &Parts,
        input: &mut Input,
    ) -> Result<&'static Route, Problem> {
        self.authenticate(ctx, matched.as_ref().ok(), head)?;
        let RouteMatch { route, parameter } = matched?;
        self.authorize(ctx, route)?;
        match route.cost {
            Cost::Request => self.charge_request(ctx, 0)?,
            Cost::Values | Cost::Tokens => self.check_limits(ctx)?,
            // A caller whose limits are used up may still ask what they are.
            Cost::Free => self.count_request(ctx),
        }
        input.parameter = parameter;
        input.query = QueryParameters::parse(head.uri.query(), &route.query_names)?;
        let session = if route.accepts_session { SessionReference::of(&head.headers)? } else { None };
        let connection = Arc::clone(&ctx.connection);
        self.bodies.read(route.body, input, &connection.seat).await?;
        let bytes = route.operation_bytes(input.body_bytes());
        if bytes > ANSWER_BYTES_UNMETERED {
            ctx.charge = Some(Shares::charge(Resource::Answers, &connection.seat, bytes).await?);
        }
        // The client decides how long its body takes.
        self.refresh_caller(ctx)?;
        self.authorize(ctx, route)?;
        if let Some(session) = session {
            self.enter_session(ctx, session)?;
        }
        ctx.operation = Some(connection.seat.begin_operation().await?);
        Ok(route)
    }

    /// Identifies the caller of a request. A request with a credential acts as its owner alone. An invalid credential is an
    /// error, never ignored.
    ///
    /// # Errors
    /// A problem. If there were many of them, it is to be held back: see [`masker_access::FailedAttempts`].
    fn authenticate(
        &self,
        ctx: &mut RequestContext,
        matched: Option<&RouteMatch>,
        head: &Parts,
    ) -> Result<(), Problem> {
        // The path of a route without a parameter is this program's own text.
        let is_literal = head.uri.query().is_none() && matched.is_some_and(|matched| matched.parameter.is_empty());
        let url = head.uri.path_and_query().map_or("", |url| url.as_str());
        let authority = head.uri.authority().map_or("", |authority| authority.as_str());
        let is_in_path = || !is_literal && looks_like_key(url.as_bytes());
        if ctx.key_in_fragment || is_in_path() || looks_like_key(authority.as_bytes()) {
            ctx.incident = Some(Incident::KeyInUrl);
            let detail = "an API key does not belong in a URL, where logs keep it: revoke this one, and show the next in \
                          the header `Authorization: Bearer`";
            return Err(Problem::new(Code::RequestInvalid, detail));
        }
        let asserted = match Assertions::of(&head.headers, &ctx.caller) {
            Ok(asserted) => asserted,
            Err(refusal) => {
                ctx.incident = Some(Incident::Refused("a header of gateways"));
                return Err(refusal);
            }
        };
        if let Some(address) = asserted.address {
            ctx.caller.set_address(address);
            ctx.address_slot = self.addresses.begin(&ctx.caller)?;
        }
        let mut credentials = head.headers.get_all(header::AUTHORIZATION).into_iter();
        let caller = match (credentials.next(), credentials.next(), asserted.certificate) {
            (None, _, None) => return self.check_gateway_alone(ctx, matched),
            (None, _, Some(certificate)) => return self.authenticate_certificate(ctx, certificate),
            (Some(_), _, Some(_)) => {
                ctx.incident = Some(Incident::Refused("two credentials"));
                let detail = "this request has an API key and a client certificate, and a request has one credential: leave \
                              out one of them";
                return Err(Problem::new(Code::AuthSeveral, detail));
            }
            (Some(credential), None, None) => {
                self.access.authenticate(&ctx.caller, credential.as_bytes(), self.now_ms())
            }
            (Some(_), Some(_), None) => Err((AuthError::Scheme, None)),
        };
        match caller {
            Ok(caller) => {
                ctx.caller = caller;
                Ok(())
            }
            Err((error, prefix)) => {
                if error == AuthError::Expired {
                    // It stays so, also if the clock is set back.
                    self.note_ended_keys();
                }
                Err(self.reject_credential(ctx, error, prefix))
            }
        }
    }

    /// Refuses a request of a gateway that has no credential of a caller, except for the health.
    fn check_gateway_alone(&self, ctx: &mut RequestContext, matched: Option<&RouteMatch>) -> Result<(), Problem> {
        if !ctx.caller.is_gateway_alone() || matched.is_some_and(|matched| matched.route.serves_gateways()) {
            return Ok(());
        }
        ctx.incident = Some(Incident::Unidentified { prefix: None });
        let problem = auth_problem(AuthError::NoCredential);
        self.metrics.access.auth_failures.with_label_values(&[problem.code.as_str()]).inc();
        Err(problem)
    }

    fn authenticate_certificate(&self, ctx: &mut RequestContext, certificate: Certificate) -> Result<(), Problem> {
        let key = certificate.public_key();
        match self.access.authenticate_certificate(&ctx.caller, certificate) {
            Ok(caller) => {
                ctx.caller = caller;
                Ok(())
            }
            Err(error) => {
                ctx.incident = Some(Incident::NoRole { certificate: key });
                Err(auth_problem(error))
            }
        }
    }

    /// Checks that the caller may use a route, and that its use can be recorded.
    ///
    /// # Errors
    /// `audit.unavailable`, or `perm.denied` with the scope that is lacking.
    fn authorize(&self, ctx: &RequestContext, route: &Route) -> Result<(), Problem> {
        if matches!(route.audit, AuditRule::Operation(_)) {
            self.audit_ready()?;
        }
        match route.access() {
            RouteAccess::Public => {}
            RouteAccess::Needs(scope) => ctx.caller.require(scope)?,
            RouteAccess::NeedsAny(scopes) => ctx.caller.require_any(scopes)?,
        }
        Ok(())
    }

    fn reject_credential(&self, ctx: &mut RequestContext, error: AuthError, prefix: Option<KeyPrefix>) -> Problem {
        let uid = ctx.caller.peer().uid();
        let source = match ctx.caller.network_address() {
            Some(address) => AttemptSource::Address(uid, address),
            None => AttemptSource::User(uid),
        };
        let outcome = self.attempts.record(source, prefix, self.started.elapsed());
        let blocked = matches!(outcome, AttemptOutcome::Blocked { .. });
        let shown = prefix.as_ref().map_or("", KeyPrefix::as_str);
        let (request_id, address) = (ctx.id.as_str(), ctx.caller.address().map(tracing::field::display));
        if blocked {
            // A caller who goes on must not fill the log. The audit log counts the refusals.
            debug!(request_id, uid, address, prefix = shown, blocked, reason = %error, "credential refused");
        } else {
            warn!(request_id, uid, address, prefix = shown, blocked, reason = %error, "credential refused");
        }
        ctx.incident = Some(if blocked { Incident::Blocked { prefix } } else { Incident::Unidentified { prefix } });
        let problem = match outcome {
            AttemptOutcome::Answered { delay } => {
                ctx.refusal_delay = delay;
                auth_problem(error)
            }
            AttemptOutcome::Blocked { retry_after_seconds } => {
                let detail = format!(
                    "too many credentials were refused: others are not looked at for {retry_after_seconds} s; a valid \
                     one still works"
                );
                Problem { retry_after_seconds: Some(retry_after_seconds), ..Problem::new(Code::AuthBlocked, detail) }
            }
        };
        self.metrics.access.auth_failures.with_label_values(&[problem.code.as_str()]).inc();
        problem
    }

    /// Gives the caller the rights that it has now. To be called after each wait whose length others control, before anything
    /// is changed.
    ///
    /// # Errors
    /// `auth.revoked`, `auth.suspended` or `auth.expired` if its API key no longer works; `role.none`, `role.ambiguous` or
    /// `gateway.denied` if it comes through a gateway whose rights, or whose callers' roles, have changed.
    fn refresh_caller(&self, ctx: &mut RequestContext) -> Result<(), Problem> {
        self.access.refresh(&mut ctx.caller, self.now_ms()).map_err(auth_problem)
    }

    /// Admits a request once more after such a wait, as it would be admitted now: what it does can be recorded, its caller
    /// still is who it was and may do this by the clients, API keys and policies in force, and its session is open. Limits refill
    /// up to now.
    ///
    /// # Errors
    /// `audit.unavailable`, those of [`Service::refresh_caller`], `session.not_found` or `perm.denied`.
    pub(super) fn renew<O: ScopedOperation>(&self, ctx: &mut RequestContext) -> Result<Permit<O>, Problem> {
        self.audit_ready()?;
        self.refresh_caller(ctx)?;
        ctx.policies = self.policies.load_full();
        ctx.timestamps = self.timestamps(Instant::now());
        self.renew_session(ctx)?;
        ctx.permit()
    }

    /// Takes a request with this many values or tokens from the caller's limits.
    ///
    /// # Errors
    /// `rate.limited` or `quota.exceeded`; then nothing was taken.
    pub(super) fn charge_request(&self, ctx: &mut RequestContext, values: usize) -> Result<(), Problem> {
        let admitted = ctx.caller.principal().limiter.admit(ctx.timestamps, values as u64);
        ctx.admitted = true;
        match admitted {
            Ok(rate_limit) => {
                ctx.rate_limit = rate_limit;
                Ok(())
            }
            Err(exceeded) => {
                ctx.rate_limit = exceeded.rate_limit;
                Err(limit_problem(&exceeded))
            }
        }
    }

    /// Takes a request from the caller's limits that is no operation, if they allow it.
    fn count_request(&self, ctx: &mut RequestContext) {
        let counted = ctx.caller.principal().limiter.admit_free(ctx.timestamps);
        ctx.admitted = true;
        ctx.rate_limit = counted.unwrap_or_else(|exceeded| exceeded.rate_limit);
    }

    /// Takes values that were found in the texts of a request, or in a part of them, from the caller's limits. The request was
    /// taken before.
    ///
    /// # Errors
    /// `rate.limited` or `quota.exceeded`; then nothing more was taken.
    pub(super) fn charge_found(&self, ctx: &mut RequestContext, values: usize) -> Result<(), Problem> {
        match ctx.caller.principal().limiter.admit_values(ctx.timestamps, ctx.values_found, values as u64) {
            Ok(rate_limit) => {
                ctx.values_found += values as u64;
                ctx.rate_limit = rate_limit;
                Ok(())
            }
            Err(exceeded) => {
                ctx.rate_limit = exceeded.rate_limit;
                Err(limit_problem(&exceeded))
            }
        }
    }

    /// Checks that the caller's limits allow another request, before its values are counted. Takes nothing: a request is
    /// charged with all of its values or not at all.
    ///
    /// # Errors
    /// `rate.limited` or `quota.exceeded`.
    fn check_limits(&self, ctx: &mut RequestContext) -> Result<(), Problem> {
        ctx.caller.principal().limiter.check(ctx.timestamps).map_err(|exceeded| {
            ctx.admitted = true;
            ctx.rate_limit = exceeded.rate_limit;
            limit_problem(&exceeded)
        })
    }

    /// Takes values that are tokenized or looked up from the caller's budget.
    ///
    /// # Errors
    /// `quota.exceeded`; then nothing was taken.
    pub(super) fn charge_values(&self, ctx: &mut RequestContext, items: &[ValueInput<'_>]) -> Result<(), Problem> {
        let values = items.iter().map(|item| [item.kind, item.context, item.value].map(str::as_bytes));
        let warnings = ctx.caller.principal().budget.charge_values(ctx.timestamps, values);
        ctx.add_budget_warnings(warnings.map_err(|exceeded| limit_problem(&exceeded))?, &self.metrics);
        Ok(())
    }

    /// Takes tokens that are rehydrated from the caller's budget.
    ///
    /// # Errors
    /// `quota.exceeded`; then nothing was taken.
    pub(super) fn charge_tokens(&self, ctx: &mut RequestContext, tokens: usize) -> Result<(), Problem> {
        let warnings = ctx.caller.principal().budget.charge_tokens(ctx.timestamps, tokens as u64);
        ctx.add_budget_warnings(warnings.map_err(|exceeded| limit_problem(&exceeded))?, &self.metrics);
        Ok(())
    }

    /// Returns a time as limits take it.
    pub(super) fn timestamps(&self, now: Instant) -> Timestamps {
        let unix = u64::try_from(self.vault.now().as_second()).unwrap_or(0);
        Timestamps { monotonic: now.saturating_duration_since(self.started), unix }
    }
}

pub(super) fn auth_problem(error: AuthError) -> Problem {
    let code = match error {
        AuthError::Missing | AuthError::NoCredential => Code::AuthMissing,
        AuthError::Revoked => Code::AuthRevoked,
        AuthError::Suspended => Code::AuthSuspended,
        AuthError::Expired => Code::AuthExpired,
        AuthError::NoRole => Code::RoleNone,
        AuthError::SeveralRoles => Code::RoleAmbiguous,
        AuthError::GatewayChanged => Code::GatewayDenied,
        _ => Code::AuthInvalid,
    };
    Problem::new(code, error.to_string())
}

fn limit_problem(exceeded: &LimitExceeded) -> Problem {
    let (code, which) = match exceeded.kind {
        LimitKind::Rate => (Code::RateLimited, exceeded.which),
        LimitKind::Quota => (Code::QuotaExceeded, exceeded.which),
    };
    let LimitExceeded { needed, left, retry_after_seconds: seconds, .. } = *exceeded;
    // Waiting does not help a request that is too large for the limit.
    let retry_after_seconds = exceeded.max_values.is_none().then_some(seconds);
    let scope = match exceeded.kind {
        LimitKind::Rate => "in one request",
        LimitKind::Quota => "in a day",
    };
    let detail = match exceeded.max_values {
        Some(most) => format!(
            "this request needs {needed}, and `{which}` of this caller allows at most {most} values {scope}; send fewer"
        ),
        None if left == 0 => {
            format!("`{which}` of this caller is used up for {seconds} s; `masker whoami` shows its limits")
        }
        None => format!(
            "`{which}` of this caller: this request needs {needed}, {left} are left, and there is enough in {seconds} s; \
             send less at once, or wait; `masker whoami` shows its limits"
        ),
    };
    Problem { retry_after_seconds, ..Problem::new(code, detail) }
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Writes the headers that show a limited caller what is left.
pub(super) fn write_rate_limit_headers(rate_limit: &RateLimitStatus, headers: &mut HeaderMap) {
    let numbers = [(LIMIT, rate_limit.limit), (REMAINING, rate_limit.remaining), (RESET, rate_limit.reset_seconds)];
    for (name, number) in numbers {
        // `HeaderValue::from` of a number allocates twice.
        if let Ok(number) = HeaderValue::from_str(itoa::Buffer::new().format(number)) {
            headers.insert(name, number);
        }
    }
}
