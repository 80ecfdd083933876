//! Handlers of sessions.

use hyper::{HeaderMap, body::Bytes};
use jiff::Timestamp;

use super::{Service, body::parse, exchange::RequestContext, problem::Problem, query::QueryParameters, values::json};
use masker_access::{ApiKeyId, Caller, SessionsRead, VaultAdmin};
use masker_api::{SESSION_HEADER, SessionInfo, SessionKind, SessionList, SessionOpen, SessionOpener, SessionTokens};
use masker_types::{error_code::Code, limits::SESSIONS_PAGE_MAX};
use masker_vault::{SessionCounts, SessionError, SessionFilter, SessionId, SessionOwner, SessionState, SessionStatus};

/// Sessions in a page where a request does not say how many.
const PAGE_SIZE_DEFAULT: usize = 100;

/// The session that a request names, whether there is such a one or not.
pub(super) struct SessionReference(Option<SessionId>);

impl SessionReference {
    /// Out of a request's headers; `None` where it names none.
    ///
    /// # Errors
    /// `request.invalid` where it names several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut named = headers.get_all(SESSION_HEADER).into_iter();
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(id), None) => Ok(Some(SessionReference(id.to_str().ok().and_then(SessionId::parse)))),
            (Some(_), Some(_)) => {
                Err(Problem::new(Code::RequestInvalid, "a request names one session: `X-Masker-Session` stands once"))
            }
        }
    }
}

impl Service {
    /// Lets a request work in the session that it names.
    ///
    /// # Errors
    /// `session.not_found` unless it is open, and the caller's own: one answer for all.
    pub(super) fn enter_session(&self, on: &mut RequestContext, name: SessionReference) -> Result<(), Problem> {
        let session = name.0.and_then(|id| self.vault.enter_session(id));
        let session = session.filter(|session| session.opened_by().is_same(&owner(&on.caller)));
        let session = session.ok_or_else(|| {
            let detail = "no session of this caller that is open has this id; `POST /api/v1/sessions` opens one";
            Problem::new(Code::SessionNotFound, detail)
        })?;
        on.account.session = Some(session.id());
        on.session = Some(session);
        Ok(())
    }

    pub(super) async fn session_open(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let request: SessionOpen = if body.is_empty() { SessionOpen::default() } else { parse(body)? };
        let label = request.label.unwrap_or_default();
        let opened = self.vault.open_session(&label, owner(&on.caller)).await?;
        on.account.session = Some(opened.id);
        json(&info(opened))
    }

    pub(super) async fn session_list(
        &self,
        on: &mut RequestContext,
        query: &QueryParameters,
    ) -> Result<Bytes, Problem> {
        let own = owner(&on.caller);
        let filter = SessionFilter {
            opened_by: if on.permit::<SessionsRead>().is_ok() { None } else { Some(&own) },
            since: query.read("since", "a time such as 2026-01-31T12:00:00Z", |text| text.parse::<Timestamp>().ok())?,
            state: query.read("status", "`open` or `closed`", |text| {
                SessionState::ALL.into_iter().find(|state| state.as_str() == text)
            })?,
            limit: query
                .read("limit", &format!("a number of sessions, 1 to {SESSIONS_PAGE_MAX}"), |text| {
                    text.parse().ok().filter(|limit| (1..=SESSIONS_PAGE_MAX).contains(limit))
                })?
                .unwrap_or(PAGE_SIZE_DEFAULT),
            cursor: query.read("cursor", "what an answer had as `next_cursor`", SessionId::parse)?,
        };
        let page = self.vault.sessions(&filter).await?;
        json(&SessionList {
            sessions: page.sessions.into_iter().map(info).collect(),
            next_cursor: page.next.map(|id| id.to_string()),
        })
    }

    pub(super) async fn session(&self, on: &mut RequestContext, id: &str) -> Result<Bytes, Problem> {
        let status = self.known(id).await?;
        if !status.opened_by.is_same(&owner(&on.caller)) && on.permit::<SessionsRead>().is_err() {
            return Err(SessionError::NotFound.into());
        }
        on.account.session = Some(status.id);
        json(&info(status))
    }

    pub(super) async fn session_close(&self, on: &mut RequestContext, id: &str) -> Result<Bytes, Problem> {
        let status = self.known(id).await?;
        if !status.opened_by.is_same(&owner(&on.caller))
            && let Err(denied) = on.permit::<VaultAdmin>()
        {
            // Who cannot see it is not told that it is there.
            let sees = on.permit::<SessionsRead>().is_ok();
            return Err(if sees { denied } else { SessionError::NotFound.into() });
        }
        on.account.session = Some(status.id);
        json(&info(self.vault.close_session(status.id).await?))
    }

    /// What is no id is the id of no session.
    async fn known(&self, id: &str) -> Result<SessionStatus, Problem> {
        let id = SessionId::parse(id).ok_or(SessionError::NotFound)?;
        Ok(self.vault.session(id).await?.ok_or(SessionError::NotFound)?)
    }
}

/// The caller, as sessions remember who opened them.
fn owner(caller: &Caller) -> SessionOwner {
    let principal = caller.principal();
    SessionOwner {
        name: principal.label().to_owned(),
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

fn info(status: SessionStatus) -> SessionInfo {
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
