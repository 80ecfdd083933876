//! Sessions: the tokens that an application got, and those that it rehydrated.

use hyper::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
    route::{Route, route},
};
use masker_access::{ApiKeyId, Caller, SessionsRead, VaultAdmin};
use masker_api::{SESSION_HEADER, SessionInfo, SessionKind, SessionList, SessionOpen, SessionOpener, SessionTokens};
use masker_types::{error_code::Code, limits::SESSIONS_PAGE_MAX};
use masker_vault::{SessionCounts, SessionError, SessionFilter, SessionId, SessionOwner, SessionState, SessionStatus};

/// Sessions in a page of the default size.
const PAGE_SIZE_DEFAULT: usize = 100;

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: session_open / __path_session_open,
            access: AnyScope(Tokenize, Rehydrate, TextMask, TextRestore),
            audit: Operation(SessionOpen),
            cost: Request,
            body: Buffered,
        },
        route! {
            handler: sessions / __path_sessions,
            access: AnyScope(SessionsRead, Tokenize, Rehydrate, TextMask, TextRestore),
            audit: Operation(SessionRead),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: session / __path_session,
            access: AnyScope(SessionsRead, Tokenize, Rehydrate, TextMask, TextRestore),
            audit: Operation(SessionRead),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: session_close / __path_session_close,
            access: AnyScope(VaultAdmin, Tokenize, Rehydrate, TextMask, TextRestore),
            audit: Operation(SessionClose),
            cost: Request,
            body: Ignored,
        },
    ]
}

/// Open a session. Requests name it in the header `X-Masker-Session`.
#[utoipa::path(
    post,
    path = "/api/v1/sessions",
    request_body(content = SessionOpen, example = json!({"label": "night run"})),
    responses((status = 201, description = "The session", body = SessionInfo, example = json!(example_session("open")))),
)]
async fn session_open(service: &Service, ctx: &mut RequestContext, input: &Input) -> Outcome {
    let request: SessionOpen = input.json_or_default()?;
    let label = request.label.unwrap_or_default();
    let opened = service.vault.open_session(&label, owner(&ctx.caller)).await?;
    ctx.details.session = Some(opened.id);
    Reply::json(&session_info(opened))
}

/// List sessions: all of them for callers with `sessions:read`, else the caller's own.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    params(
        ("since" = Option<String>, Query, description = "Those opened at this time (RFC 3339) or later"),
        ("status" = Option<String>, Query, description = "`open` or `closed`"),
        ("limit" = Option<u32>, Query, description = "The most to return: 1 to 1,000; 100 by default"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before")
    ),
    responses((
        status = 200,
        description = "A page of sessions",
        body = SessionList,
        example = json!({"sessions": [example_session("open")], "next_cursor": null})
    )),
)]
async fn sessions(service: &Service, ctx: &mut RequestContext, input: &Input) -> Outcome {
    let query = &input.query;
    let own = owner(&ctx.caller);
    let filter = SessionFilter {
        opened_by: if ctx.permit::<SessionsRead>().is_ok() { None } else { Some(&own) },
        since: query.read("since", "a time such as 2026-01-31T12:00:00Z", |text| text.parse::<Timestamp>().ok())?,
        state: query.read("status", "`open` or `closed`", |text| {
            SessionState::ALL.into_iter().find(|state| state.as_str() == text)
        })?,
        limit: query
            .read("limit", &format!("a number of sessions, 1 to {SESSIONS_PAGE_MAX}"), |text| {
                text.parse().ok().filter(|limit| (1..=SESSIONS_PAGE_MAX).contains(limit))
            })?
            .unwrap_or(PAGE_SIZE_DEFAULT),
        cursor: query.read("cursor", "the `next_cursor` of an answer", SessionId::parse)?,
    };
    let page = service.vault.sessions(&filter, ctx.long_reads()).await?;
    Reply::json(&SessionList {
        sessions: page.sessions.into_iter().map(session_info).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    })
}

/// Show a session, with the key generations that its tokens need.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{id}",
    params(("id" = String, Path, description = "The session's id", example = "0198b2c4d5e6f708192a3b4c5d6e7f80")),
    responses((status = 200, description = "The session", body = SessionInfo, example = json!(example_session("open")))),
)]
async fn session(service: &Service, ctx: &mut RequestContext, input: &Input) -> Outcome {
    let (id, opened_by) = service.find_session(&input.parameter).await?;
    if !opened_by.is_same(&owner(&ctx.caller)) && ctx.permit::<SessionsRead>().is_err() {
        return Err(SessionError::NotFound.into());
    }
    ctx.details.session = Some(id);
    let status = service.vault.session(id, ctx.long_reads()).await?;
    Reply::json(&session_info(status.ok_or(SessionError::NotFound)?))
}

/// Close a session: it takes no further requests, and its counts are kept.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    params(("id" = String, Path, description = "The session's id", example = "0198b2c4d5e6f708192a3b4c5d6e7f80")),
    responses((status = 200, description = "The session, closed", body = SessionInfo, example = json!(example_session("closed")))),
)]
async fn session_close(service: &Service, ctx: &mut RequestContext, input: &Input) -> Outcome {
    let (id, opened_by) = service.find_session(&input.parameter).await?;
    if !opened_by.is_same(&owner(&ctx.caller))
        && let Err(denied) = ctx.permit::<VaultAdmin>()
    {
        // A caller that cannot see it must not learn that it exists.
        let can_see = ctx.permit::<SessionsRead>().is_ok();
        return Err(if can_see { denied } else { SessionError::NotFound.into() });
    }
    ctx.details.session = Some(id);
    Reply::json(&session_info(service.vault.close_session(id, ctx.long_reads()).await?))
}

/// Returns a session for the OpenAPI document.
fn example_session(status: &str) -> Value {
    json!({
        "id": "0198b2c4d5e6f708192a3b4c5d6e7f80",
        "label": "night run",
        "status": status,
        "opened_by": {"name": "billing", "uid": 1_001, "api_key_id": null},
        "opened_at": "2026-01-31T12:00:00Z",
        "last_used_at": "2026-01-31T12:00:05Z",
        "closed_at": (status == "closed").then_some("2026-01-31T12:05:00Z"),
        "minted": 2,
        "rehydrated": 1,
        "not_rehydrated": 1,
        "others_rehydrated": 0,
        "tokens_untracked": 0,
        "kinds": [{"kind": "PHONE", "minted": 2, "rehydrated": 1, "not_rehydrated": 1, "others_rehydrated": 0}],
        "needs": [{"kid": "K_HEALTHCARE", "fingerprint": "00112233aabbccdd", "tokens": 2}],
        "gone": 0
    })
}

/// The session that a request names. There may be none with this id.
pub(super) struct SessionReference(Option<SessionId>);

impl SessionReference {
    /// Reads a request's headers; `None` where they name no session.
    ///
    /// # Errors
    /// `request.invalid` where it names several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut named = headers.get_all(SESSION_HEADER).into_iter();
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(id), None) => Ok(Some(SessionReference(id.to_str().ok().and_then(SessionId::parse)))),
            (Some(_), Some(_)) => Err(Problem::new(
                Code::RequestInvalid,
                "a request names one session: `X-Masker-Session` may be there once",
            )),
        }
    }
}

impl Service {
    /// Enters the session that a request names.
    ///
    /// # Errors
    /// `session.not_found` unless it is open, and the caller's own: one answer for all.
    pub(super) fn enter_session(&self, ctx: &mut RequestContext, name: SessionReference) -> Result<(), Problem> {
        let session = name.0.and_then(|id| self.vault.enter_session(id));
        let session = session.filter(|session| session.opened_by().is_same(&owner(&ctx.caller)));
        let session = session.ok_or_else(|| {
            let detail = "this caller has no open session with this id; `masker sessions open` or POST /api/v1/sessions opens one";
            Problem::new(Code::SessionNotFound, detail)
        })?;
        ctx.details.session = Some(session.id());
        ctx.session = Some(session);
        Ok(())
    }

    /// Enters the session again that a request works in, if any.
    ///
    /// # Errors
    /// Those of [`Service::enter_session`].
    pub(super) fn renew_session(&self, ctx: &mut RequestContext) -> Result<(), Problem> {
        let entered = ctx.session.as_ref().map(|session| SessionReference(Some(session.id())));
        entered.map_or(Ok(()), |session| self.enter_session(ctx, session))
    }

    /// Finds who opened a session. Text that is not an id is the id of none.
    async fn find_session(&self, id: &str) -> Result<(SessionId, SessionOwner), Problem> {
        let id = SessionId::parse(id).ok_or(SessionError::NotFound)?;
        Ok((id, self.vault.session_owner(id).await?.ok_or(SessionError::NotFound)?))
    }
}

/// Returns the caller as sessions store who opened them.
fn owner(caller: &Caller) -> SessionOwner {
    let principal = caller.principal();
    SessionOwner {
        name: caller.label(),
        uid: Some(caller.peer().uid()),
        key_id: principal.credential.as_ref().map(|credential| *credential.id.as_bytes()),
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let code = match error {
            SessionError::Vault(failed) => return failed.into(),
            SessionError::Label | SessionError::Owner => Code::RequestInvalid,
            SessionError::TooMany => Code::SessionLimit,
            SessionError::NotFound => Code::SessionNotFound,
        };
        Problem::new(code, error.to_string())
    }
}

fn session_info(status: SessionStatus) -> SessionInfo {
    let totals = status.totals();
    let (needs, gone) = status.needs.clone().map(|needs| (needs.generations, needs.gone)).unzip();
    SessionInfo {
        id: status.id.to_string(),
        status: status.state().as_str().to_owned(),
        label: status.label,
        opened_by: SessionOpener {
            name: status.opened_by.name,
            uid: status.opened_by.uid,
            api_key_id: status.opened_by.key_id.map(|id| ApiKeyId::from_bytes(id).to_string()),
        },
        opened_at: status.opened_at.map(|at| at.to_string()),
        last_used_at: status.last_used_at.map(|at| at.to_string()),
        closed_at: status.closed_at.map(|at| at.to_string()),
        minted: totals.minted,
        rehydrated: totals.rehydrated,
        not_rehydrated: totals.not_rehydrated(),
        others_rehydrated: totals.others_rehydrated,
        tokens_untracked: status.tokens_untracked,
        kinds: status.kinds.iter().map(|(kind, counts)| of_kind(kind.as_str(), counts)).collect(),
        needs: needs.map(|needs| {
            let tokens = needs.into_iter().map(|need| SessionTokens {
                kid: need.kid.to_string(),
                fingerprint: need.fingerprint,
                tokens: need.tokens,
            });
            tokens.collect()
        }),
        gone,
    }
}

fn of_kind(kind: &str, counts: &SessionCounts) -> SessionKind {
    SessionKind {
        kind: kind.to_owned(),
        minted: counts.minted,
        rehydrated: counts.rehydrated,
        not_rehydrated: counts.not_rehydrated(),
        others_rehydrated: counts.others_rehydrated,
    }
}
