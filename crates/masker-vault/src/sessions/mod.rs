//! Sessions: what an application was handed out in one run of its own, and what it did with it.
//!
//! Open sessions are in memory. A request that names one takes one short lock to note its tokens; others pay nothing.
//! What was noted is written down once a second and when the vault is closed, so that a crash loses the counts of a
//! second at most; opening and closing are durable before they are answered. A session that is closed lets go of its
//! tokens, and keeps its counts and which key generations the tokens needed then.
//!
//! Sessions give nobody anything: what is done in one takes a permit of its own.

mod list;
mod required_keys;
mod purge;
mod registry;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

pub use list::{SessionFilter, SessionPage, SessionState};
pub(crate) use registry::SessionRegistry;
pub use required_keys::SessionNeeds;
use session::{NotedToken, Session};

use super::{Vault, VaultError, VaultShared, ids::SessionId, kept_rows::KeepRows, time::timestamp};
use masker_store::{
    RowChange, RowKey, StoreError,
    record::{SessionRow, is_caller, is_label},
};
use masker_types::{
    kind::EntityKind,
    limits::{LABEL_BYTES_MAX, SESSIONS_OPEN_MAX},
};

pub use masker_store::record::{SessionCounts, SessionOwner};

/// Why a session was not opened or closed. The text is for the caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// The label is too long, or not printable.
    #[error("a session's label is at most {LABEL_BYTES_MAX} bytes of UTF-8 without control characters")]
    Label,
    /// The name of the caller cannot be kept.
    #[error("the name of who opens a session is 1 to {LABEL_BYTES_MAX} bytes of UTF-8 without control characters")]
    Owner,
    /// There are as many as may be.
    #[error("{SESSIONS_OPEN_MAX} sessions are open, which is as many as may be; close those that are done")]
    TooMany,
    /// There is none with this id, or none any more.
    #[error("there is no such session")]
    NotFound,
    /// The vault could not write it down.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for SessionError {
    fn from(failed: StoreError) -> Self {
        SessionError::Vault(failed.into())
    }
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Its id.
    pub id: SessionId,
    /// What its application calls it.
    pub label: String,
    /// Who opened it.
    pub opened_by: SessionOwner,
    /// When it was opened.
    pub opened_at: Option<Timestamp>,
    /// When a request last named it.
    pub last_used_at: Option<Timestamp>,
    /// When it was closed; none while it is open.
    pub closed_at: Option<Timestamp>,
    /// Its counts, by kind, in the order of their names.
    pub kinds: Vec<(EntityKind, SessionCounts)>,
    /// Tokens that were handed out when it tracked as many as it can: each time, and of no known kind.
    pub tokens_untracked: u64,
    /// What its tokens need: now, or when it was closed. None in lists for those that are open, for it takes reading.
    pub needs: Option<SessionNeeds>,
}

impl SessionStatus {
    fn new(id: SessionId, row: SessionRow, needs: Option<SessionNeeds>) -> Self {
        let mut kinds = row.kinds;
        kinds.sort_by_key(|(kind, _)| *kind);
        let closed = || SessionNeeds { generations: row.needs, gone: row.gone };
        SessionStatus {
            id,
            label: row.label,
            opened_by: row.opened_by,
            opened_at: timestamp(row.opened_at_ms),
            last_used_at: timestamp(row.last_used_ms),
            closed_at: row.closed_at_ms.and_then(timestamp),
            kinds,
            tokens_untracked: row.untracked,
            needs: needs.or_else(|| row.closed_at_ms.is_some().then(closed)),
        }
    }

    /// The counts of all kinds together.
    pub fn totals(&self) -> SessionCounts {
        self.kinds.iter().fold(SessionCounts::default(), |sum, (_, counts)| SessionCounts {
            minted: sum.minted + counts.minted,
            rehydrated: sum.rehydrated + counts.rehydrated,
            others_rehydrated: sum.others_rehydrated + counts.others_rehydrated,
        })
    }
}

/// A session that a request works in.
pub struct EnteredSession {
    shared: Arc<VaultShared>,
    session: Arc<Session>,
}

impl EnteredSession {
    /// Its id.
    pub fn id(&self) -> SessionId {
        self.session.id
    }

    /// Who opened it.
    pub fn opened_by(&self) -> &SessionOwner {
        &self.session.opened_by
    }

    /// Notes tokens that are handed out, by their texts. One that is closed meanwhile notes nothing.
    pub fn note_minted<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) {
        let noted: Vec<NotedToken> = tokens.into_iter().filter_map(NotedToken::parse).collect();
        self.session.minted(&noted, self.shared.now_ms(), &self.shared.sessions.room);
    }

    /// Notes tokens that were rehydrated, by their texts. One that is closed meanwhile notes nothing.
    pub fn note_rehydrated<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) {
        let noted: Vec<NotedToken> = tokens.into_iter().filter_map(NotedToken::parse).collect();
        self.session.rehydrated(&noted, self.shared.now_ms());
    }
}

impl Vault {
    /// Opens a session: durable when it returns.
    ///
    /// # Errors
    /// [`SessionError`]; there is no such session then.
    pub async fn open_session(&self, label: &str, opened_by: SessionOwner) -> Result<SessionStatus, SessionError> {
        if !is_label(label) {
            return Err(SessionError::Label);
        }
        if !is_caller(&opened_by.name) {
            return Err(SessionError::Owner);
        }
        let now_ms = self.now_ms();
        let id = SessionId::new(now_ms, rand::random());
        let row = SessionRow {
            label: label.to_owned(),
            opened_by,
            opened_at_ms: now_ms,
            last_used_ms: now_ms,
            closed_at_ms: None,
            untracked: 0,
            gone: 0,
            kinds: Vec::new(),
            needs: Vec::new(),
        };
        let encoded = row.encode().map_err(|_| SessionError::Owner)?;
        let session = Session::new(id, row.clone());
        let place = self.shared.sessions.place(session).ok_or(SessionError::TooMany)?;
        self.writer.commit(KeepRows(vec![RowChange::Put(RowKey::session(id.as_bytes()), encoded)])).await?;
        place.fill();
        Ok(SessionStatus::new(id, row, Some(SessionNeeds::default())))
    }

    /// The session that a request names, to work in; `None` unless it is open.
    pub fn enter_session(&self, id: SessionId) -> Option<EnteredSession> {
        let session = self.shared.sessions.get(id)?;
        Some(EnteredSession { shared: Arc::clone(&self.shared), session })
    }

    /// Closes a session: durable when it returns. One that is closed already stays as it is.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], or a failure of the vault: then it is open as before.
    pub async fn close_session(&self, id: SessionId) -> Result<SessionStatus, SessionError> {
        let sessions = &self.shared.sessions;
        if let Some(session) = sessions.get(id) {
            let _guard = sessions.turns.read().await;
            let _alone = session.closing.lock().await;
            // Somebody else may have closed it.
            if let Some(closing) = session.start_closing() {
                let needs = self.needs_of(&session.held()).await?;
                let row = closing.last_row(self.now_ms(), needs.generations, needs.gone);
                let encoded = row.encode().map_err(|_| SessionError::Owner)?;
                self.writer.commit(KeepRows(vec![RowChange::Put(RowKey::session(id.as_bytes()), encoded)])).await?;
                let tags = closing.closed(row.clone());
                sessions.remove(&session, &tags);
                return Ok(SessionStatus::new(id, row, None));
            }
        }
        self.session(id).await?.ok_or(SessionError::NotFound)
    }

    /// How a session stands; `None` where there is none.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails, or the session's row does not decode.
    pub async fn session(&self, id: SessionId) -> Result<Option<SessionStatus>, VaultError> {
        let Some(session) = self.shared.sessions.get(id) else {
            return Ok(self.closed_session(id).await?.map(|row| SessionStatus::new(id, row, None)));
        };
        let (row, held) = session.look();
        let needs = match held {
            Some(held) => Some(self.needs_of(&held).await?),
            None => None,
        };
        Ok(Some(SessionStatus::new(id, row, needs)))
    }

    /// The row of a session that is closed.
    async fn closed_session(&self, id: SessionId) -> Result<Option<SessionRow>, VaultError> {
        let rows = self.shared.store.get_many(vec![RowKey::session(id.as_bytes())]).await?;
        let row = rows.into_iter().next().flatten().map(|row| SessionRow::decode(&row)).transpose();
        let row = row.map_err(|damage| StoreError::Damaged(damage.to_string()))?;
        // One that is being opened is none yet.
        Ok(row.filter(|row| row.closed_at_ms.is_some()))
    }

    /// Writes down what sessions have counted since the last time.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the counts are kept and written later.
    pub async fn flush_sessions(&self) -> Result<(), VaultError> {
        let _turns = self.shared.sessions.turns.write().await;
        self.shared.sessions.flush(&self.writer).await
    }
}
