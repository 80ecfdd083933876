//! Which path and method leads where. The OpenAPI document is checked against this table by a test.

use hyper::Method;

use super::problem::{BuildError, Problem};
use crate::code::Code;

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
    /// Who the caller is.
    WhoAmI,
    /// This interface, described.
    OpenApi,
    /// The daemon's health.
    Health,
    /// The daemon's counters.
    Metrics,
}

/// Every route with its method and its path, as labels, logs and the OpenAPI document write it.
pub const ROUTES: &[(Route, Method, &str)] = &[
    (Route::Tokenize, Method::POST, "/api/v1/tokenize"),
    (Route::Rehydrate, Method::POST, "/api/v1/rehydrate"),
    (Route::Lookup, Method::POST, "/api/v1/lookup"),
    (Route::Rewrap, Method::POST, "/api/v1/rewrap"),
    (Route::Forget, Method::POST, "/api/v1/forget"),
    (Route::Keys, Method::GET, "/api/v1/keys"),
    (Route::KeysReload, Method::POST, "/api/v1/keys/reload"),
    (Route::VaultStats, Method::GET, "/api/v1/vault/stats"),
    (Route::VaultCheck, Method::POST, "/api/v1/vault/check"),
    (Route::VaultExport, Method::POST, "/api/v1/vault/export"),
    (Route::VaultImport, Method::POST, "/api/v1/vault/import"),
    (Route::VaultPurge, Method::POST, "/api/v1/vault/purge"),
    (Route::VaultCompact, Method::POST, "/api/v1/vault/compact"),
    (Route::RotationBegin, Method::POST, "/api/v1/vault/rotations"),
    (Route::Rotations, Method::GET, "/api/v1/vault/rotations"),
    (Route::Rotation, Method::GET, "/api/v1/vault/rotations/{id}"),
    (Route::RotationCancel, Method::DELETE, "/api/v1/vault/rotations/{id}"),
    (Route::Policies, Method::GET, "/api/v1/policies"),
    (Route::Policy, Method::GET, "/api/v1/policies/{name}"),
    (Route::PoliciesReload, Method::POST, "/api/v1/policies/reload"),
    (Route::WhoAmI, Method::GET, "/api/v1/auth/whoami"),
    (Route::OpenApi, Method::GET, "/api/v1/openapi.json"),
    (Route::Health, Method::GET, "/health"),
    (Route::Metrics, Method::GET, "/metrics"),
];

/// The table, compiled.
pub(super) struct Routes(matchit::Router<Vec<usize>>);

/// A route that was found.
pub(super) struct Matched {
    pub(super) route: Route,
    /// The route's template: what logs and metrics may name.
    pub(super) template: &'static str,
    /// What stands in the place of `{name}` or `{id}`; empty where the template has neither.
    pub(super) name: String,
}

impl Routes {
    pub(super) fn new() -> Result<Self, BuildError> {
        let mut router = matchit::Router::new();
        let mut paths: Vec<&str> = ROUTES.iter().map(|(_, _, path)| *path).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let places = ROUTES.iter().enumerate().filter(|(_, route)| route.2 == path).map(|(place, _)| place);
            router.insert(path, places.collect())?;
        }
        Ok(Routes(router))
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Result<Matched, Problem> {
        let matched = self
            .0
            .at(path)
            .map_err(|_| Problem::new(Code::RouteNotFound, "see GET /api/v1/openapi.json for the routes there are"))?;
        let routes = matched.value.iter().filter_map(|place| ROUTES.get(*place));
        let Some((route, _, template)) = routes.clone().find(|route| route.1 == *method) else {
            let allow = routes.map(|route| route.1.as_str()).collect::<Vec<_>>().join(", ");
            let problem = Problem::new(Code::RouteMethod, format!("this route takes {allow}"));
            return Err(Problem { allow: Some(allow), ..problem });
        };
        let name = matched.params.iter().next().map_or_else(String::new, |(_, name)| name.to_owned());
        Ok(Matched { route: *route, template, name })
    }
}
