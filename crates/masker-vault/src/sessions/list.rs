//! Sessions, a page at a time.

use std::sync::Arc;

use jiff::Timestamp;

use super::{SessionOwner, SessionStatus};
use crate::{Vault, VaultError, ids::SessionId, paged_scan::PAGE_ROWS};
use masker_store::{
    Row, RowKey,
    record::{RowName, SessionRow},
};
use masker_types::limits::SESSIONS_PAGE_MAX;

/// Whether a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It does.
    Open,
    /// It was closed.
    Closed,
}

impl SessionState {
    /// Every state.
    pub const ALL: [SessionState; 2] = [SessionState::Open, SessionState::Closed];

    /// The state as clients see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            SessionState::Open => "open",
            SessionState::Closed => "closed",
        }
    }
}

impl SessionStatus {
    /// Whether it goes on.
    pub fn state(&self) -> SessionState {
        if self.closed_at.is_none() { SessionState::Open } else { SessionState::Closed }
    }
}

/// Which sessions are listed.
#[derive(Clone, Copy, Debug)]
pub struct SessionFilter<'a> {
    /// Those that this caller opened; those of all where `None`.
    pub opened_by: Option<&'a SessionOwner>,
    /// Those opened at this time or later.
    pub since: Option<Timestamp>,
    /// Those that stand so.
    pub state: Option<SessionState>,
    /// At most so many, and never more than [`SESSIONS_PAGE_MAX`].
    pub limit: usize,
    /// Those after this one.
    pub cursor: Option<SessionId>,
}

/// Some sessions, in the order in which they were opened.
#[derive(Clone, Debug)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionStatus>,
    /// The cursor of the next page, where there may be one.
    pub next: Option<SessionId>,
}

impl Vault {
    /// Sessions, those opened first first. A row that does not decode is counted as damage and left out.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails.
    pub async fn sessions(&self, filter: &SessionFilter<'_>) -> Result<SessionPage, VaultError> {
        let limit = filter.limit.clamp(1, SESSIONS_PAGE_MAX);
        // The last id that could have been given out before.
        let since_ms = filter.since.and_then(|since| u64::try_from(since.as_millisecond()).ok());
        let before = since_ms.and_then(|ms| ms.checked_sub(1)).map(|ms| SessionId::new(ms, [0xff; 10]));
        let mut after = before.max(filter.cursor);
        let mut sessions = Vec::new();
        loop {
            let from = after.map(|id| RowKey::session(id.as_bytes()));
            let page = self.shared.store.scan_after(RowName::SESSIONS, from, PAGE_ROWS).await?;
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
            if page.end {
                return Ok(SessionPage { sessions, next: None });
            }
        }
    }

    async fn listed(&self, id: SessionId, row: &Row) -> Result<Option<SessionStatus>, VaultError> {
        let row = match self.shared.sessions.get(id).as_ref().map(Arc::as_ref) {
            Some(session) => session.row(),
            None => match SessionRow::decode(row) {
                Ok(row) if row.closed_at_ms.is_some() => row,
                // It is being opened, or was closed since the page was read.
                Ok(_) => match self.closed_session(id).await? {
                    Some(row) => row,
                    None => return Ok(None),
                },
                Err(_) => {
                    self.shared.count_damage();
                    return Ok(None);
                }
            },
        };
        Ok(Some(SessionStatus::new(id, row, None)))
    }
}
