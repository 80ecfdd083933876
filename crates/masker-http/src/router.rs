//! Which path and method leads where. The OpenAPI document is checked against this table by a test.

use hyper::Method;

use super::problem::{BuildError, Problem};
use masker_types::{error_code::Code, grant::Scope};

/// What a request can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// Values to tokens.
    Tokenize,
    /// Tokens to values.
    Rehydrate,
    /// The tokens of values, without minting.
    Lookup,
    /// Tokens minted again under the active key.
    Rewrap,
    /// Records erased.
    Forget,
    /// Key generations.
    Keys,
    /// The keys loaded again.
    KeysReload,
    /// The vault's counts.
    VaultStats,
    /// The vault checked as a whole.
    VaultCheck,
    /// The vault's records in one file.
    VaultExport,
    /// Such a file merged into the vault.
    VaultImport,
    /// Records erased by age or key.
    VaultPurge,
    /// The vault's files written anew.
    VaultCompact,
    /// A rotation begun.
    RotationBegin,
    /// The rotations that are remembered.
    Rotations,
    /// One rotation.
    Rotation,
    /// A rotation ended before its time.
    RotationCancel,
    /// The policies in force.
    Policies,
    /// One policy.
    Policy,
    /// The policies loaded again.
    PoliciesReload,
    /// An API key made.
    ApiKeyCreate,
    /// The API keys.
    ApiKeys,
    /// One API key.
    ApiKey,
    /// An API key changed.
    ApiKeyChange,
    /// An API key given another secret.
    ApiKeyRotate,
    /// An API key revoked.
    ApiKeyRevoke,
    /// A session opened.
    SessionOpen,
    /// The sessions.
    Sessions,
    /// One session.
    Session,
    /// A session closed.
    SessionClose,
    /// A honeytoken planted.
    HoneytokenPlant,
    /// The honeytokens.
    Honeytokens,
    /// A honeytoken's mark removed.
    HoneytokenRemove,
    /// Events of the audit log.
    AuditEvents,
    /// Where the audit log stands.
    AuditHead,
    /// Who the caller is.
    WhoAmI,
    /// This interface, described.
    OpenApi,
    /// The daemon's health.
    Health,
    /// The daemon's counters.
    Metrics,
}

impl Route {
    /// Whether a request is taken from the caller's limits only once its values are counted.
    pub(super) fn charges_by_value(self) -> bool {
        matches!(self, Route::Tokenize | Route::Rehydrate | Route::Lookup | Route::Rewrap | Route::Forget)
    }

    /// Whether a request can name the session that it works in.
    pub(super) fn accepts_session(self) -> bool {
        matches!(self, Route::Tokenize | Route::Rehydrate)
    }

    /// The names that its query may have.
    pub(super) fn query_names(self) -> &'static [&'static str] {
        match self {
            Route::VaultImport => &["restore_erased"],
            Route::Sessions => &["since", "status", "limit", "cursor"],
            Route::AuditEvents => &["since", "until", "caller", "op", "limit", "cursor"],
            _ => &[],
        }
    }
}

/// Who may take a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteAccess {
    /// Everybody who can connect.
    Open,
    /// Callers with this scope, if only for some kind.
    Needs(Scope),
    /// Callers with one of these scopes, if only for some kind. What they reach depends on which, and on whose it is.
    NeedsAny(&'static [Scope]),
}

use RouteAccess::{Needs, NeedsAny, Open};

/// Those who can work in a session.
const WORKERS: RouteAccess = NeedsAny(&[Scope::Tokenize, Scope::Rehydrate]);
/// Those who can see one of their own, and those who can see all.
const WATCHERS: RouteAccess = NeedsAny(&[Scope::SessionsRead, Scope::Tokenize, Scope::Rehydrate]);
/// Those who can close one of their own, and those who can close any.
const CLOSERS: RouteAccess = NeedsAny(&[Scope::VaultAdmin, Scope::Tokenize, Scope::Rehydrate]);

/// Every route with its method, its path, as labels, logs and the OpenAPI document write it, and who may take it.
pub const ROUTES: &[(Route, Method, &str, RouteAccess)] = &[
    (Route::Tokenize, Method::POST, "/api/v1/tokenize", Needs(Scope::Tokenize)),
    (Route::Rehydrate, Method::POST, "/api/v1/rehydrate", Needs(Scope::Rehydrate)),
    (Route::Lookup, Method::POST, "/api/v1/lookup", Needs(Scope::Lookup)),
    (Route::Rewrap, Method::POST, "/api/v1/rewrap", Needs(Scope::Rewrap)),
    (Route::Forget, Method::POST, "/api/v1/forget", Needs(Scope::Forget)),
    (Route::Keys, Method::GET, "/api/v1/keys", Needs(Scope::KeysRead)),
    (Route::KeysReload, Method::POST, "/api/v1/keys/reload", Needs(Scope::KeysAdmin)),
    (Route::VaultStats, Method::GET, "/api/v1/vault/stats", Needs(Scope::VaultRead)),
    (Route::VaultCheck, Method::POST, "/api/v1/vault/check", Needs(Scope::VaultAdmin)),
    (Route::VaultExport, Method::POST, "/api/v1/vault/export", Needs(Scope::VaultAdmin)),
    (Route::VaultImport, Method::POST, "/api/v1/vault/import", Needs(Scope::VaultAdmin)),
    (Route::VaultPurge, Method::POST, "/api/v1/vault/purge", Needs(Scope::VaultAdmin)),
    (Route::VaultCompact, Method::POST, "/api/v1/vault/compact", Needs(Scope::VaultAdmin)),
    (Route::RotationBegin, Method::POST, "/api/v1/vault/rotations", Needs(Scope::VaultAdmin)),
    (Route::Rotations, Method::GET, "/api/v1/vault/rotations", Needs(Scope::VaultRead)),
    (Route::Rotation, Method::GET, "/api/v1/vault/rotations/{id}", Needs(Scope::VaultRead)),
    (Route::RotationCancel, Method::DELETE, "/api/v1/vault/rotations/{id}", Needs(Scope::VaultAdmin)),
    (Route::Policies, Method::GET, "/api/v1/policies", Needs(Scope::PoliciesRead)),
    (Route::Policy, Method::GET, "/api/v1/policies/{name}", Needs(Scope::PoliciesRead)),
    (Route::PoliciesReload, Method::POST, "/api/v1/policies/reload", Needs(Scope::PoliciesReload)),
    (Route::ApiKeyCreate, Method::POST, "/api/v1/api-keys", Needs(Scope::ApiKeysAdmin)),
    (Route::ApiKeys, Method::GET, "/api/v1/api-keys", Needs(Scope::ApiKeysAdmin)),
    (Route::ApiKey, Method::GET, "/api/v1/api-keys/{id}", Needs(Scope::ApiKeysAdmin)),
    (Route::ApiKeyChange, Method::PATCH, "/api/v1/api-keys/{id}", Needs(Scope::ApiKeysAdmin)),
    (Route::ApiKeyRotate, Method::POST, "/api/v1/api-keys/{id}/rotate", Needs(Scope::ApiKeysAdmin)),
    (Route::ApiKeyRevoke, Method::DELETE, "/api/v1/api-keys/{id}", Needs(Scope::ApiKeysAdmin)),
    (Route::SessionOpen, Method::POST, "/api/v1/sessions", WORKERS),
    (Route::Sessions, Method::GET, "/api/v1/sessions", WATCHERS),
    (Route::Session, Method::GET, "/api/v1/sessions/{id}", WATCHERS),
    (Route::SessionClose, Method::DELETE, "/api/v1/sessions/{id}", CLOSERS),
    (Route::HoneytokenPlant, Method::POST, "/api/v1/vault/honeytokens", Needs(Scope::VaultAdmin)),
    (Route::Honeytokens, Method::GET, "/api/v1/vault/honeytokens", Needs(Scope::VaultRead)),
    (Route::HoneytokenRemove, Method::DELETE, "/api/v1/vault/honeytokens/{id}", Needs(Scope::VaultAdmin)),
    (Route::AuditEvents, Method::GET, "/api/v1/audit/events", Needs(Scope::AuditRead)),
    (Route::AuditHead, Method::GET, "/api/v1/audit/head", Needs(Scope::AuditRead)),
    (Route::WhoAmI, Method::GET, "/api/v1/auth/whoami", Open),
    (Route::OpenApi, Method::GET, "/api/v1/openapi.json", Open),
    (Route::Health, Method::GET, "/health", Open),
    (Route::Metrics, Method::GET, "/metrics", Needs(Scope::MetricsRead)),
];

/// The table, compiled.
pub(super) struct Routes(matchit::Router<Vec<usize>>);

/// A route that was found.
pub(super) struct RouteMatch {
    pub(super) route: Route,
    /// Its place in [`ROUTES`].
    pub(super) place: usize,
    /// The route's template: what logs and metrics may name.
    pub(super) template: &'static str,
    pub(super) rule: RouteAccess,
    /// What stands in the place of `{name}` or `{id}`; empty where the template has neither.
    pub(super) name: String,
}

impl RouteMatch {
    /// Whether nothing in the path is the caller's own.
    pub(super) fn is_literal(&self) -> bool {
        self.name.is_empty()
    }
}

impl Routes {
    pub(super) fn new() -> Result<Self, BuildError> {
        let mut router = matchit::Router::new();
        let mut paths: Vec<&str> = ROUTES.iter().map(|route| route.2).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let places = ROUTES.iter().enumerate().filter(|(_, route)| route.2 == path).map(|(place, _)| place);
            router.insert(path, places.collect())?;
        }
        Ok(Routes(router))
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Result<RouteMatch, Problem> {
        let matched = self
            .0
            .at(path)
            .map_err(|_| Problem::new(Code::RouteNotFound, "see GET /api/v1/openapi.json for the routes there are"))?;
        let routes = matched.value.iter().filter_map(|place| Some((*place, ROUTES.get(*place)?)));
        let Some((place, (route, _, template, rule))) = routes.clone().find(|(_, route)| route.1 == *method) else {
            let allow = routes.map(|(_, route)| route.1.as_str()).collect::<Vec<_>>().join(", ");
            let problem = Problem::new(Code::RouteMethod, format!("this route takes {allow}"));
            return Err(Problem { allow: Some(allow), ..problem });
        };
        let name = matched.params.iter().next().map_or_else(String::new, |(_, name)| name.to_owned());
        Ok(RouteMatch { route: *route, place, template, rule: *rule, name })
    }
}
