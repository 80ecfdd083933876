//! From a route to its handler.

use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
};

use super::{
    Service,
    exchange::RequestContext,
    problem::Problem,
    query::QueryParameters,
    router::{Route, RouteAccess, RouteMatch},
    serve::AnswerBody,
    sessions::SessionReference,
};
use masker_api::HealthStatus;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Room for the headers of nearly every answer: type, length, date, request id, and three of the caller's limits.
const HEADERS_CAPACITY: usize = 8;

impl Service {
    /// Does what a request asks for, once it is clear that its caller may.
    pub(super) async fn dispatch(
        &self,
        on: &mut RequestContext,
        matched: RouteMatch,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        if matched.route == Route::VaultImport {
            let (head, body) = request.into_parts();
            let report = Box::pin(self.vault_import(on, head.uri.query(), body)).await?;
            return Ok(whole(StatusCode::OK, JSON, report));
        }
        let query = QueryParameters::parse(request.uri().query(), matched.route.query_names())?;
        let session = if matched.route.accepts_session() { SessionReference::of(request.headers())? } else { None };
        let body = self.bodies.read(request.into_body()).await?;
        match matched.rule {
            RouteAccess::Open => {}
            RouteAccess::Needs(scope) => on.caller.require(scope)?,
            RouteAccess::NeedsAny(scopes) => on.caller.require_any(scopes)?,
        }
        if matched.rule != RouteAccess::Open && !matched.route.charges_by_value() {
            self.admit(on, 0)?;
        }
        if let Some(session) = session {
            self.enter_session(on, session)?;
        }
        let answer = match matched.route {
            Route::Tokenize => self.tokenize(on, &body.bytes).await?,
            Route::Rehydrate => self.rehydrate(on, &body.bytes).await?,
            Route::Lookup => self.lookup(on, &body.bytes).await?,
            Route::Rewrap => self.rewrap(on, &body.bytes)?,
            Route::Forget => self.forget(on, &body.bytes).await?,
            // In a box of its own: what waits for any handler has room for the largest, and is moved with each request.
            _ => return Box::pin(self.administer(on, matched, &query, &body.bytes)).await,
        };
        Ok(whole(StatusCode::OK, JSON, answer))
    }

    /// Everything but the operations on values.
    async fn administer(
        &self,
        on: &mut RequestContext,
        matched: RouteMatch,
        query: &QueryParameters,
        body: &[u8],
    ) -> Result<Response<AnswerBody>, Problem> {
        let mut status = StatusCode::OK;
        let mut content_type = JSON;
        let answer = match matched.route {
            Route::Keys => self.keys(on).await?,
            Route::KeysReload => self.keys_reload(on).await?,
            Route::VaultStats => self.vault_stats(on).await?,
            Route::VaultCheck => self.vault_check(on).await?,
            Route::VaultExport => return self.vault_export(on).await,
            Route::VaultPurge => self.vault_purge(on, body).await?,
            Route::VaultCompact => self.vault_compact(on).await?,
            Route::RotationBegin => {
                status = StatusCode::ACCEPTED;
                self.begin_rotation(on, body).await?
            }
            Route::Rotations => self.rotations(on)?,
            Route::Rotation => self.rotation(on, &matched.name)?,
            Route::RotationCancel => self.cancel_rotation(on, &matched.name).await?,
            Route::Policies => self.policies(on)?,
            Route::Policy => self.policy(on, &matched.name)?,
            Route::PoliciesReload => self.policies_reload(on).await?,
            Route::ApiKeyCreate => {
                status = StatusCode::CREATED;
                self.api_key_create(on, body).await?
            }
            Route::ApiKeys => self.api_key_list(on)?,
            Route::ApiKey => self.api_key(on, &matched.name)?,
            Route::ApiKeyChange => self.api_key_change(on, &matched.name, body).await?,
            Route::ApiKeyRotate => self.api_key_rotate(on, &matched.name, body).await?,
            Route::ApiKeyRevoke => self.api_key_revoke(on, &matched.name).await?,
            Route::SessionOpen => {
                status = StatusCode::CREATED;
                self.session_open(on, body).await?
            }
            Route::Sessions => self.session_list(on, query).await?,
            Route::Session => self.session(on, &matched.name).await?,
            Route::SessionClose => self.session_close(on, &matched.name).await?,
            Route::HoneytokenPlant => {
                status = StatusCode::CREATED;
                self.honeytoken_plant(on, body).await?
            }
            Route::Honeytokens => self.honeytokens(on)?,
            Route::HoneytokenRemove => self.honeytoken_remove(on, &matched.name).await?,
            Route::AuditEvents => self.audit_events(on, query).await?,
            Route::AuditHead => self.audit_head(on)?,
            Route::WhoAmI => self.whoami(on)?,
            Route::OpenApi => self.openapi.clone(),
            Route::Health => {
                let (health, body) = self.health().await?;
                if health == HealthStatus::Degraded {
                    status = StatusCode::SERVICE_UNAVAILABLE;
                }
                body
            }
            Route::Metrics => {
                content_type = METRICS;
                self.metrics_text(on).await?
            }
            Route::Tokenize | Route::Rehydrate | Route::Lookup | Route::Rewrap | Route::Forget | Route::VaultImport => {
                return Err(Problem::internal("a request was not told from those of administration"));
            }
        };
        Ok(whole(status, content_type, answer))
    }
}

/// An answer that is at hand as a whole.
fn whole(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().reserve(HEADERS_CAPACITY);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
