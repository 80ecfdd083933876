//! Routes: what decides about a request before its handler runs, in one value for each.
//!
//! Each resource's module lists its routes next to its handlers. A route takes its method, path, query names and success
//! status from the OpenAPI description of its handler, so that nothing is written twice. Who may use it, how it appears
//! in the audit log, what it costs and how its body is read are arguments of [`route!`], none of which can be left out.

use std::sync::{Arc, LazyLock};

use hyper::{Method, StatusCode};
use utoipa::{
    __dev::SchemaReferences,
    Path,
    openapi::{
        RefOr, Schema,
        path::{HttpMethod, Operation, Parameter, ParameterIn},
    },
};

use super::{
    Service, api_keys, audit_events, backup,
    context::RequestContext,
    health, honeytokens,
    input::Input,
    keys, maintenance,
    operation::RunningOperation,
    policies,
    problem::{Problem, ServiceBuildError},
    reports, rotations, sessions, text, values, whoami,
};
use masker_api::SESSION_HEADER;
use masker_audit::AuditOperation;
use masker_types::{
    error_code::Code,
    grant::Scope,
    limits::{ANSWER_BYTES_PER_BODY_BYTE, INLINE_BODY_BYTES_MAX, OPERATION_BYTES_MAX, OPERATION_BYTES_PER_BODY_BYTE},
};

/// Everything that is known about a kind of request before one is made.
pub struct Route {
    /// Its position in [`routes`].
    pub(super) index: usize,
    method: Method,
    path: String,
    access: RouteAccess,
    pub(super) audit: AuditRule,
    pub(super) cost: Cost,
    pub(super) body: BodyKind,
    /// Whether its requests contain tokens, or texts that may.
    takes_tokens: bool,
    /// Memory that its answer takes at most beyond a small one, in bytes.
    answer_bytes_max: usize,
    pub(super) query_names: Vec<String>,
    pub(super) accepts_session: bool,
    /// Whether a gateway may use it without a credential of a caller.
    serves_gateways: bool,
    pub(super) success: StatusCode,
    pub(super) run: RunOperation,
    pub(super) http_methods: fn() -> Vec<HttpMethod>,
    pub(super) describe: fn() -> Operation,
    pub(super) schemas: fn(&mut Vec<(String, RefOr<Schema>)>),
}

/// Starts the operation of a request that was admitted.
pub(super) type RunOperation = fn(Arc<Service>, RequestContext, Input) -> RunningOperation;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteAccess {
    /// Everyone who can connect.
    Public,
    /// Callers with this scope, if only for some kind.
    Needs(Scope),
    /// Callers with one of these scopes, if only for some kind. What they reach depends on which, and on who owns it.
    NeedsAny(&'static [Scope]),
}

impl RouteAccess {
    /// Returns the scopes of which a caller needs one; none for a public route.
    pub fn scopes(&self) -> &[Scope] {
        match self {
            RouteAccess::Public => &[],
            RouteAccess::Needs(scope) => std::slice::from_ref(scope),
            RouteAccess::NeedsAny(scopes) => scopes,
        }
    }
}

/// How a request appears in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuditRule {
    /// As this operation.
    Operation(AuditOperation),
    /// Not at all, for this reason.
    Unaudited(&'static str),
}

/// What a request takes from its caller's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// One request, taken before its body is read.
    Request,
    /// One request with all of its values, taken once they are counted.
    Values,
    /// One request with all of its tokens, taken once they are counted.
    Tokens,
    /// One request, which is counted and never refused, and takes no operation of the day.
    Free,
}

/// How a request's body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// A body has no meaning here. It is read and dropped.
    Ignored,
    /// As a whole, into memory, before the operation begins.
    Buffered,
    /// By the handler, piece by piece.
    Streamed,
}

/// Makes a [`Route`].
///
/// `handler` names the handler and the type that `#[utoipa::path]` generates for it. A handler behind `Scope` is given
/// the permit for that scope's operation.
macro_rules! route {
    (
        handler: $handler:ident / $description:ident,
        access: $access:ident $(($($scope:ident),+))?,
        audit: $audit:ident($($audited:tt)+),
        cost: $cost:ident,
        body: $body:ident $(,)?
    ) => {
        $crate::route::Route::new::<$description>(
            $crate::route::route!(@access $access $(($($scope),+))?),
            $crate::route::route!(@audit $audit($($audited)+)),
            $crate::route::Cost::$cost,
            $crate::route::BodyKind::$body,
            |service, mut ctx, mut input| {
                Box::pin(async move {
                    input.assemble();
                    let handling = async {
                        let (service, ctx, input) = (&service, &mut ctx, &mut input);
                        $crate::route::route!(@call $handler, service, ctx, input, $access $(($($scope),+))?)
                    };
                    let outcome = $crate::operation::catch_panics(handling).await;
                    service.finish(ctx, input, outcome).await
                })
            },
        )
    };
    (@access Public) => { $crate::route::RouteAccess::Public };
    (@access Scope($scope:ident)) => {
        $crate::route::RouteAccess::Needs(<masker_access::$scope as masker_access::ScopedOperation>::SCOPE)
    };
    (@access AnyScope($($scope:ident),+)) => {
        $crate::route::RouteAccess::NeedsAny(&[$(<masker_access::$scope as masker_access::ScopedOperation>::SCOPE),+])
    };
    (@audit Operation($operation:ident)) => {
        $crate::route::AuditRule::Operation(masker_audit::AuditOperation::$operation)
    };
    (@audit Unaudited($reason:literal)) => { $crate::route::AuditRule::Unaudited($reason) };
    (@call $handler:ident, $service:ident, $ctx:ident, $input:ident, Scope($scope:ident)) => {{
        let permit = $ctx.permit::<masker_access::$scope>()?;
        $handler($service, $ctx, permit, $input).await
    }};
    (@call $handler:ident, $service:ident, $ctx:ident, $input:ident, $($without_permit:tt)+) => {
        $handler($service, $ctx, $input).await
    };
}
pub(super) use route;

impl Route {
    pub(super) fn new<D: Path + SchemaReferences>(
        access: RouteAccess,
        audit: AuditRule,
        cost: Cost,
        body: BodyKind,
        run: RunOperation,
    ) -> Self {
        let described = D::operation();
        let parameters: Vec<&Parameter> = described.parameters.iter().flatten().filter_map(inline).collect();
        let named = |location: &ParameterIn| {
            let names = parameters.iter().filter(|parameter| parameter.parameter_in == *location);
            names.map(|parameter| parameter.name.clone()).collect::<Vec<String>>()
        };
        let success = described.responses.responses.keys().find_map(|status| {
            status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()).filter(StatusCode::is_success)
        });
        Route {
            index: 0,
            method: D::methods().first().map_or(Method::GET, method),
            path: D::path(),
            access,
            audit,
            cost,
            body,
            takes_tokens: false,
            answer_bytes_max: 0,
            serves_gateways: false,
            query_names: named(&ParameterIn::Query),
            accepts_session: named(&ParameterIn::Header).iter().any(|name| name.eq_ignore_ascii_case(SESSION_HEADER)),
            success: success.unwrap_or(StatusCode::OK),
            run,
            http_methods: D::methods,
            describe: D::operation,
            schemas: D::schemas,
        }
    }

    /// Sets the memory that its largest answer takes, in bytes.
    pub(super) fn with_answer_bytes_max(self, bytes: usize) -> Self {
        Route { answer_bytes_max: bytes, ..self }
    }

    /// Returns the memory that its operation takes at most, with its answer, by the size of its body.
    pub(super) fn operation_bytes(&self, body_bytes: usize) -> usize {
        let answer_bytes = body_bytes.saturating_mul(ANSWER_BYTES_PER_BODY_BYTE).min(self.answer_bytes_max);
        body_bytes.saturating_mul(OPERATION_BYTES_PER_BODY_BYTE).min(OPERATION_BYTES_MAX) + answer_bytes
    }

    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path's template, as labels, logs and the OpenAPI document write it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns who may use it.
    pub fn access(&self) -> RouteAccess {
        self.access
    }

    /// Lets gateways use it without a credential of a caller.
    pub(super) fn serving_gateways(self) -> Self {
        Route { serves_gateways: true, ..self }
    }

    /// Returns whether a gateway may use it without a credential of a caller.
    pub fn serves_gateways(&self) -> bool {
        self.serves_gateways
    }

    /// Says that its requests contain tokens, or texts that may: those that are refused are searched for honeytokens.
    pub(super) fn taking_tokens(self) -> Self {
        Route { takes_tokens: true, ..self }
    }

    /// Returns whether its requests contain tokens, or texts that may.
    pub(super) fn takes_tokens(&self) -> bool {
        self.takes_tokens
    }

    /// Returns whether a request whose body was announced with this size runs on the thread that read it: it has a few
    /// values at most, so it takes no longer than a wake-up on another core.
    pub(super) fn runs_in_place(&self, announced_bytes: Option<u64>) -> bool {
        matches!(self.cost, Cost::Values | Cost::Tokens)
            && announced_bytes.is_some_and(|bytes| bytes <= INLINE_BODY_BYTES_MAX)
    }
}

fn inline(parameter: &RefOr<Parameter>) -> Option<&Parameter> {
    match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    }
}

fn method(described: &HttpMethod) -> Method {
    match described {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Trace => Method::TRACE,
    }
}

static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let resources = [
        values::routes(),
        text::routes(),
        keys::routes(),
        maintenance::routes(),
        backup::routes(),
        rotations::routes(),
        policies::routes(),
        api_keys::routes(),
        sessions::routes(),
        honeytokens::routes(),
        audit_events::routes(),
        reports::routes(),
        whoami::routes(),
        health::routes(),
    ];
    resources.into_iter().flatten().enumerate().map(|(index, route)| Route { index, ..route }).collect()
});

/// Returns every route.
pub fn routes() -> &'static [Route] {
    &ROUTES
}

/// Finds routes by path and method.
pub(super) struct Router(matchit::Router<Vec<&'static Route>>);

/// The route of a request.
pub(super) struct RouteMatch {
    pub(super) route: &'static Route,
    /// The value of `{name}` or `{id}`; empty where the template has neither.
    pub(super) parameter: String,
}

impl Router {
    pub(super) fn new() -> Result<Self, ServiceBuildError> {
        let mut router = matchit::Router::new();
        let mut paths: Vec<&str> = routes().iter().map(Route::path).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            router.insert(path, routes().iter().filter(|route| route.path == path).collect())?;
        }
        Ok(Router(router))
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Result<RouteMatch, Problem> {
        let matched = self.0.at(path).map_err(|_| {
            Problem::new(Code::RouteNotFound, "no such route; GET /api/v1/openapi.json describes all of them")
        })?;
        let Some(route) = matched.value.iter().find(|route| route.method == *method) else {
            let allow = matched.value.iter().map(|route| route.method.as_str()).collect::<Vec<_>>().join(", ");
            let problem = Problem::new(Code::RouteMethod, format!("this route takes {allow}"));
            return Err(Problem { allow: Some(allow), ..problem });
        };
        let parameter = matched.params.iter().next().map_or_else(String::new, |(_, value)| value.to_owned());
        Ok(RouteMatch { route, parameter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_requests_on_values_run_in_place() {
        let find = |path: &str| routes().iter().find(|route| route.path == path).unwrap();
        assert!(find("/api/v1/tokenize").runs_in_place(Some(INLINE_BODY_BYTES_MAX)));
        assert!(!find("/api/v1/tokenize").runs_in_place(Some(INLINE_BODY_BYTES_MAX + 1)));
        assert!(!find("/api/v1/tokenize").runs_in_place(None));
        assert!(!find("/api/v1/vault/check").runs_in_place(Some(0)));
    }

    #[test]
    fn requests_that_cost_tokens_and_texts_are_searched_for_honeytokens() {
        let is_text = |route: &&Route| route.path.starts_with("/api/v1/text/");
        let searched = routes().iter().filter(|route| route.cost == Cost::Tokens || is_text(route));
        let searched: Vec<bool> = searched.map(Route::takes_tokens).collect();
        assert_eq!(searched, vec![true; 8]);
    }

    #[test]
    fn a_route_takes_its_facts_from_its_description() {
        let find = |method: Method, path: &str| Router::new().ok().unwrap().find(&method, path).ok().unwrap();
        let opened = find(Method::POST, "/api/v1/sessions").route;
        assert_eq!((opened.success, opened.accepts_session), (StatusCode::CREATED, false));
        assert!(find(Method::POST, "/api/v1/tokenize").route.accepts_session);
        let listed = find(Method::GET, "/api/v1/sessions").route;
        assert_eq!(listed.query_names, ["since", "status", "limit", "cursor"]);
        assert_eq!(find(Method::GET, "/api/v1/sessions/abc").parameter, "abc");
    }
}
