//! Sessions: the tokens that an application received during one run, and which of them it rehydrated.
//!
//! Open sessions are in memory. A request that names one takes one short lock to note its tokens; other requests pay
//! nothing. The notes are written down once a second and when the vault is closed, so a crash loses the counts of a second
//! at most. Opening and closing are durable before they are answered. A closed session drops its tokens, and keeps its
//! counts and the key generations that the tokens needed.
//!
//! Sessions grant nothing: each operation in one needs its own permit.

mod list;
mod long_reads;
mod required_keys;
mod purge;
mod quota;
mod registry;
mod session;
mod share;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

pub use list::{SessionFilter, SessionPage, SessionState};
pub use long_reads::LongReads;
use long_reads::SharedAnswer;
pub(crate) use registry::SessionRegistry;
pub use required_keys::SessionNeeds;
use session::{NotedToken, Session};
use share::SessionShare;

use super::{
    VaultError,
    handles::Handles,
    ids::SessionId,
    kept_rows::KeepRows,
    keys::CurrentKeys,
    ledger::CurrentLedger,
    reader::Reader,
    time::{self, Clock, timestamp},
    writer::WriterHandle,
};
use masker_core::crypto::Fingerprint;
use masker_store::{
    RowChange, RowKey, StoreError,
    record::{PlaceholderOwner, SessionRow, is_valid_caller, is_valid_label},
};
use masker_types::{
    kind::{EntityKind, Kid},
    limits::{LABEL_BYTES_MAX, SESSIONS_OPEN_MAX},
};

pub use masker_store::record::{SessionCounts, SessionOwner};

/// Why a session was not opened or closed. The text is for the caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// The label is too long, or not printable.
    #[error("a session's label is at most {LABEL_BYTES_MAX} bytes of UTF-8 without control characters")]
    Label,
    /// The name of the caller is empty, too long, or not printable.
    #[error("the name of who opens a session is 1 to {LABEL_BYTES_MAX} bytes of UTF-8 without control characters")]
    Owner,
    /// The owner's share of the open sessions is used up.
    #[error(
        "this caller, with the API keys that come from it, has as many open sessions as are free for others, out of \
         {SESSIONS_OPEN_MAX}; close those that are done"
    )]
    TooMany,
    /// No session has this id, or it was removed.
    #[error(
        "this caller has no session with this id; `masker sessions list` or GET /api/v1/sessions lists its sessions"
    )]
    NotFound,
    /// The vault failed to write it.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for SessionError {
    fn from(failed: StoreError) -> Self {
        SessionError::Vault(failed.into())
    }
}

/// The status of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Its id.
    pub id: SessionId,
    /// The label that its application gave it.
    pub label: String,
    /// Who opened it.
    pub opened_by: SessionOwner,
    /// When it was opened.
    pub opened_at: Option<Timestamp>,
    /// When a request last named it.
    pub last_used_at: Option<Timestamp>,
    /// When it was closed; `None` while it is open.
    pub closed_at: Option<Timestamp>,
    /// Its counts by kind, in the order of the names.
    pub kinds: Vec<(EntityKind, SessionCounts)>,
    /// Tokens that were returned while it tracked as many as it can. A token is counted each time.
    pub tokens_untracked: u64,
    /// What its tokens need: now, or when it was closed. `None` for open sessions in lists, because it needs reads.
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

    /// Returns the counts of all kinds together.
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
    registry: Arc<SessionRegistry>,
    clock: Clock,
    session: Arc<Session>,
}

impl EnteredSession {
    /// Returns its id.
    pub fn id(&self) -> SessionId {
        self.session.id
    }

    /// Returns who opened it.
    pub fn opened_by(&self) -> &SessionOwner {
        &self.session.opened_by
    }

    /// Notes tokens that are returned to the caller, by their texts. A session that is closed by now notes nothing.
    pub fn note_minted<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) {
        let noted: Vec<NotedToken> = tokens.into_iter().filter_map(NotedToken::parse).collect();
        self.session.minted(&noted, time::unix_ms(&self.clock), &self.registry.quota);
    }

    /// Notes tokens that were rehydrated, by their texts. A session that is closed by now notes nothing.
    pub fn note_rehydrated<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) {
        let noted: Vec<NotedToken> = tokens.into_iter().filter_map(NotedToken::parse).collect();
        self.session.rehydrated(&noted, time::unix_ms(&self.clock));
    }
}

/// Opens, lists and closes sessions.
pub(crate) struct SessionService {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    clock: Clock,
    registry: Arc<SessionRegistry>,
    /// How many sessions need each old key.
    on_old_keys: SharedAnswer<BTreeMap<(Kid, Fingerprint), u64>>,
}

impl SessionService {
    pub(crate) fn new(handles: &Handles, registry: Arc<SessionRegistry>) -> Self {
        SessionService {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
            clock: Arc::clone(&handles.clock),
            registry,
            on_old_keys: SharedAnswer::default(),
        }
    }

    /// Implements [`Vault::open_session`](crate::Vault::open_session).
    pub(crate) async fn open_session(
        &self,
        label: &str,
        opened_by: SessionOwner,
    ) -> Result<SessionStatus, SessionError> {
        if !is_valid_label(label) {
            return Err(SessionError::Label);
        }
        if !is_valid_caller(&opened_by.name) {
            return Err(SessionError::Owner);
        }
        let now_ms = time::unix_ms(&self.clock);
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
        let share = SessionShare::of(&row.opened_by, self.reader.store()).await?;
        let slot = self.registry.reserve(id, row.clone(), share).ok_or(SessionError::TooMany)?;
        self.writer.commit(KeepRows(vec![RowChange::Put(RowKey::session(id.as_bytes()), encoded)])).await?;
        slot.fill();
        Ok(SessionStatus::new(id, row, Some(SessionNeeds::default())))
    }

    /// Implements [`Vault::enter_session`](crate::Vault::enter_session).
    pub(crate) fn enter_session(&self, id: SessionId) -> Option<EnteredSession> {
        let session = self.registry.get(id)?;
        Some(EnteredSession { registry: Arc::clone(&self.registry), clock: Arc::clone(&self.clock), session })
    }

    /// Implements [`Vault::close_session`](crate::Vault::close_session).
    pub(crate) async fn close_session(&self, id: SessionId, reads: &LongReads) -> Result<SessionStatus, SessionError> {
        let sessions = &self.registry;
        if let Some(session) = sessions.get(id) {
            // First: a holder of the other lock waits for no reads of other requests.
            let turn = reads.turn().await;
            let _alone = session.close_lock.lock().await;
            // Another caller may have closed it.
            if let Some(closing) = session.start_closing() {
                let needs = self.needs_of(&turn, &session.tracked_ids()).await?;
                drop(turn);
                let _guard = sessions.flush_lock.read().await;
                // A purge may have removed it.
                if !closing.is_ended() {
                    let row = closing.last_row(time::unix_ms(&self.clock), needs.generations, needs.gone);
                    let encoded = row.encode().map_err(|_| SessionError::Owner)?;
                    // The key of the placeholders ends at once, and their rows with the next flush.
                    let key = RowKey::placeholder_key(PlaceholderOwner::Session(*id.as_bytes()));
                    let closed = RowChange::Put(RowKey::session(id.as_bytes()), encoded);
                    self.writer.commit(KeepRows(vec![closed, RowChange::Remove(key)])).await?;
                    let tags = closing.closed(row.clone());
                    sessions.remove(&session, &tags);
                    sessions.end_placeholders(id);
                    return Ok(SessionStatus::new(id, row, None));
                }
            }
        }
        self.session(id, reads).await?.ok_or(SessionError::NotFound)
    }

    /// Implements [`Vault::session`](crate::Vault::session).
    pub(crate) async fn session(&self, id: SessionId, reads: &LongReads) -> Result<Option<SessionStatus>, VaultError> {
        let Some(session) = self.registry.get(id) else {
            return Ok(self.closed_session(id).await?.map(|row| SessionStatus::new(id, row, None)));
        };
        let turn = reads.turn().await;
        let status = session.status.get(&turn, async {
            let (row, tracked) = session.snapshot();
            let needs = match tracked {
                Some(tracked) => Some(self.needs_of(&turn, &tracked).await?),
                None => None,
            };
            Ok(SessionStatus::new(id, row, needs))
        });
        status.await.map(Some)
    }

    /// Implements [`Vault::session_owner`](crate::Vault::session_owner).
    pub(crate) async fn session_owner(&self, id: SessionId) -> Result<Option<SessionOwner>, VaultError> {
        match self.registry.get(id) {
            Some(session) => Ok(Some(session.opened_by.clone())),
            None => Ok(self.closed_session(id).await?.map(|row| row.opened_by)),
        }
    }

    /// Reads the row of a closed session.
    async fn closed_session(&self, id: SessionId) -> Result<Option<SessionRow>, VaultError> {
        let rows = self.reader.store().get_many(vec![RowKey::session(id.as_bytes())]).await?;
        let row = rows.into_iter().next().flatten().map(|row| SessionRow::decode(&row)).transpose();
        let row = row.map_err(|damage| StoreError::Damaged(damage.to_string()))?;
        // A session without a closing time is being opened now.
        Ok(row.filter(|row| row.closed_at_ms.is_some()))
    }

    /// Implements [`Vault::flush_sessions`](crate::Vault::flush_sessions).
    pub(crate) async fn flush_sessions(&self) -> Result<(), VaultError> {
        let _guard = self.registry.flush_lock.write().await;
        let queued = self.registry.queue_ended_placeholders(self.reader.store()).await;
        self.registry.flush(&self.writer).await?;
        Ok(queued?)
    }
}
