//! The list of sessions, a page at a time.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::yield_now;

use super::{LongReads, SessionOwner, SessionService, SessionStatus};
use crate::{VaultError, ids::SessionId, paged_scan::PAGE_ROWS};
use masker_store::{
    Row, RowKey,
    record::{RowName, SessionRow},
};
use masker_types::limits::{SESSIONS_PAGE_MAX, SESSIONS_SCANNED_MAX};

/// Whether a session is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It is open.
    Open,
    /// It was closed.
    Closed,
}

impl SessionState {
    /// Every state.
    pub const ALL: [SessionState; 2] = [SessionState::Open, SessionState::Closed];

    /// Returns the name that clients see.
    pub const fn as_str(self) -> &'static str {
        match self {
            SessionState::Open => "open",
            SessionState::Closed => "closed",
        }
    }
}

impl SessionStatus {
    /// Returns whether it is open.
    pub fn state(&self) -> SessionState {
        if self.closed_at.is_none() { SessionState::Open } else { SessionState::Closed }
    }
}

/// Which sessions are listed.
#[derive(Clone, Copy, Debug)]
pub struct SessionFilter<'a> {
    /// Only sessions that this caller opened.
    pub opened_by: Option<&'a SessionOwner>,
    /// Only sessions opened at this time or later.
    pub since: Option<Timestamp>,
    /// Only sessions in this state.
    pub state: Option<SessionState>,
    /// The most sessions of the page; at most [`SESSIONS_PAGE_MAX`].
    pub limit: usize,
    /// Only sessions after this one.
    pub cursor: Option<SessionId>,
}

/// A page of sessions, in the order in which they were opened. It has fewer than asked for, or none, where
/// [`SESSIONS_SCANNED_MAX`] were looked at.
#[derive(Clone, Debug)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionStatus>,
    /// The cursor of the next page, if there may be one.
    pub next: Option<SessionId>,
}

impl SessionService {
    /// Implements [`Vault::sessions`](crate::Vault::sessions).
    pub(crate) async fn sessions(
        &self,
        filter: &SessionFilter<'_>,
        reads: &LongReads,
    ) -> Result<SessionPage, VaultError> {
        let limit = filter.limit.clamp(1, SESSIONS_PAGE_MAX);
        // The highest id of a session opened before.
        let since_ms = filter.since.and_then(|since| u64::try_from(since.as_millisecond()).ok());
        let before = since_ms.and_then(|ms| ms.checked_sub(1)).map(|ms| SessionId::new(ms, [0xff; 10]));
        let mut after = before.max(filter.cursor);
        let mut sessions = Vec::new();
        let _turn = reads.turn().await;
        let mut scanned = 0;
        loop {
            let from = after.map(|id| RowKey::session(id.as_bytes()));
            yield_now().await;
            let page = self.reader.store().scan_after(RowName::SESSIONS, from, PAGE_ROWS).await?;
            scanned += page.rows.len();
            for (key, row) in page.rows {
                let Ok(RowName::Session(id)) = RowName::parse(&key) else { continue };
                let id = SessionId::from_bytes(id);
                after = Some(id);
                let status = self.listed(id, &row).await?;
                let wanted = |status: &SessionStatus| {
                    filter.state.is_none_or(|state| status.state() == state)
                        && filter.opened_by.is_none_or(|opener| status.opened_by.is_same(opener))
                };
                sessions.extend(status.filter(wanted));
                if sessions.len() == limit {
                    return Ok(SessionPage { sessions, next: Some(id) });
                }
            }
            if page.is_last {
                return Ok(SessionPage { sessions, next: None });
            }
            if scanned >= SESSIONS_SCANNED_MAX {
                return Ok(SessionPage { sessions, next: after });
            }
        }
    }

    async fn listed(&self, id: SessionId, row: &Row) -> Result<Option<SessionStatus>, VaultError> {
        let row = match self.registry.get(id).as_ref().map(Arc::as_ref) {
            Some(session) => session.row(),
            None => match SessionRow::decode(row) {
                Ok(row) if row.closed_at_ms.is_some() => row,
                // The session is being opened, or was closed since the page was read.
                Ok(_) => match self.closed_session(id).await? {
                    Some(row) => row,
                    None => return Ok(None),
                },
                Err(_) => {
                    self.reader.count_damage();
                    return Ok(None);
                }
            },
        };
        Ok(Some(SessionStatus::new(id, row, None)))
    }
}
