//! The open sessions: read when the vault is opened, written down from time to time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::RwLock as AsyncRwLock;

use super::{quota::TokenQuota, session::Session, share::SessionShare};
use crate::{
    VaultError,
    ids::SessionId,
    kept_rows::KeepRows,
    paged_scan::{PAGE_ROWS, PagedScan},
    tag::TokenTag,
    writer::WriterHandle,
};
use masker_store::{
    Row, RowChange, RowKey, Store, StoreError,
    record::{PlaceholderOwner, RecordError, RowName, SessionRow, SessionTokenRow},
};
use masker_types::limits::SESSIONS_OPEN_MAX;

#[derive(Default)]
struct SessionTable {
    open: HashMap<SessionId, Arc<Session>>,
    /// The shares of sessions that are being written for the first time.
    opening: HashMap<SessionId, Arc<SessionShare>>,
}

impl SessionTable {
    /// Returns the share that open sessions of the same holder have, or else this one.
    fn known_share(&self, share: Arc<SessionShare>) -> Arc<SessionShare> {
        self.shares().find(|known| known.is_same(&share)).cloned().unwrap_or(share)
    }

    /// Returns whether there is room for another session of a holder: it has fewer than are free. So others find room,
    /// however many one holder opens.
    fn has_room(&self, share: &SessionShare) -> bool {
        let own = self.shares().filter(|other| other.is_same(share)).count();
        own + self.open.len() + self.opening.len() < SESSIONS_OPEN_MAX
    }

    fn shares(&self) -> impl Iterator<Item = &Arc<SessionShare>> {
        self.open.values().map(|session| &session.share).chain(self.opening.values())
    }
}

/// The open sessions.
#[derive(Default)]
pub(crate) struct SessionRegistry {
    table: RwLock<SessionTable>,
    pub(super) quota: TokenQuota,
    /// Rows to remove: of ended sessions, and of some that were never opened.
    pending_removals: Mutex<Vec<RowKey>>,
    /// Ended sessions whose rows of placeholders are still to be found.
    ended_owners: Mutex<Vec<SessionId>>,
    /// Held exclusively while sessions are flushed, and shared while one is closed, so that no older row overwrites the row
    /// of a closed session.
    pub(super) flush_lock: AsyncRwLock<()>,
}

/// A reserved slot for a session that is being opened. If it is dropped unfilled, the session's row is removed.
pub(super) struct SessionSlot<'s> {
    sessions: &'s SessionRegistry,
    id: SessionId,
    session: Option<Session>,
}

impl SessionRegistry {
    /// Reads the open sessions. Token rows of other sessions are queued for removal.
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let sessions = SessionRegistry::default();
        let mut pages = PagedScan::new(RowName::SESSIONS);
        while let Some(rows) = pages.next(store).await? {
            for (key, row) in rows {
                sessions.load_session(&key, &row, store).await?;
            }
        }
        let mut pages = PagedScan::new(RowName::SESSION_TOKENS);
        while let Some(rows) = pages.next(store).await? {
            for (key, row) in rows {
                sessions.load_token(key, &row).map_err(damaged)?;
            }
        }
        for space in [RowName::PLACEHOLDER_KEYS, RowName::PLACEHOLDERS] {
            // The rows of sessions come first.
            let mut pages = PagedScan::new(space);
            'space: while let Some(rows) = pages.next(store).await? {
                for (key, _) in rows {
                    let Some(id) = session_of_placeholder(&key).map_err(damaged)? else { break 'space };
                    if sessions.get(id).is_none() {
                        sessions.pending_removals().push(key);
                    }
                }
            }
        }
        Ok(sessions)
    }

    async fn load_session(&self, key: &RowKey, row: &Row, store: &dyn Store) -> Result<(), StoreError> {
        let RowName::Session(id) = RowName::parse(key).map_err(damaged)? else { return Ok(()) };
        let mut row = SessionRow::decode(row).map_err(damaged)?;
        if row.closed_at_ms.is_none() {
            // Counted again with each token, for the token rows may be newer or older than this one.
            for (_, counts) in &mut row.kinds {
                (counts.minted, counts.rehydrated) = (0, 0);
            }
            let id = SessionId::from_bytes(id);
            let share = SessionShare::of(&row.opened_by, store).await?;
            let mut table = self.table_mut();
            let share = table.known_share(share);
            table.open.insert(id, Arc::new(Session::new(id, row, share)));
        }
        Ok(())
    }

    fn load_token(&self, key: RowKey, row: &Row) -> Result<(), RecordError> {
        let RowName::SessionToken(id, tag) = RowName::parse(&key)? else { return Ok(()) };
        let row = SessionTokenRow::decode(row)?;
        let session = self.get(SessionId::from_bytes(id));
        if !session.is_some_and(|session| session.restore_token(TokenTag::from_bytes(tag), &row, &self.quota)) {
            self.pending_removals().push(key);
        }
        Ok(())
    }

    fn table(&self) -> RwLockReadGuard<'_, SessionTable> {
        // Every change is one call on a map or one change of a number.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, SessionTable> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending_removals(&self) -> MutexGuard<'_, Vec<RowKey>> {
        self.pending_removals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.table().open.get(&id).cloned()
    }

    /// Returns the sessions that are open now.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.table().open.values().cloned().collect()
    }

    /// Reserves a slot for one more; `None` if its holder's share is used up.
    pub(super) fn reserve(&self, id: SessionId, row: SessionRow, share: Arc<SessionShare>) -> Option<SessionSlot<'_>> {
        let mut table = self.table_mut();
        if !table.has_room(&share) {
            return None;
        }
        let share = table.known_share(share);
        table.opening.insert(id, Arc::clone(&share));
        Some(SessionSlot { sessions: self, id, session: Some(Session::new(id, row, share)) })
    }

    /// Removes an ended session, with the tokens that it tracked.
    pub(super) fn remove(&self, session: &Session, tags: &[TokenTag]) {
        self.table_mut().open.remove(&session.id);
        self.quota.give_back(tags.len(), &session.share);
        let token = |tag: &TokenTag| RowKey::session_token(session.id.as_bytes(), tag.as_bytes());
        self.pending_removals().extend(tags.iter().map(token));
    }

    fn ended_owners(&self) -> MutexGuard<'_, Vec<SessionId>> {
        self.ended_owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the placeholders of a session. Their rows go with a later flush.
    pub(super) fn end_placeholders(&self, id: SessionId) {
        self.ended_owners().push(id);
    }

    /// Queues the rows of ended placeholders for removal. What fails to be read is read again the next time.
    pub(super) async fn queue_ended_placeholders(&self, store: &dyn Store) -> Result<(), StoreError> {
        loop {
            let Some(id) = self.ended_owners().last().copied() else { return Ok(()) };
            self.queue_placeholders(id, store).await?;
            self.ended_owners().retain(|ended| *ended != id);
        }
    }

    /// Queues the rows of a session's placeholders for removal, with the row of their key.
    async fn queue_placeholders(&self, id: SessionId, store: &dyn Store) -> Result<(), StoreError> {
        let owner = PlaceholderOwner::Session(*id.as_bytes());
        self.pending_removals().push(RowKey::placeholder_key(owner));
        let prefix = RowKey::placeholders_of(owner);
        let mut after = prefix.clone();
        loop {
            let page = store.scan_after(RowName::PLACEHOLDERS, Some(after), PAGE_ROWS).await?;
            let own = page.rows.iter().map(|(key, _)| key).take_while(|key| key.begins_with(&prefix));
            let own: Vec<RowKey> = own.cloned().collect();
            let is_all = page.is_last || own.len() < page.rows.len();
            let last = own.last().cloned();
            self.pending_removals().extend(own);
            match last {
                Some(last) if !is_all => after = last,
                _ => return Ok(()),
            }
        }
    }

    /// Queues the row of a session that is not open for removal.
    pub(super) fn queue_removal(&self, id: SessionId) {
        self.pending_removals().push(RowKey::session(id.as_bytes()));
    }

    /// Writes changed sessions and removes queued rows, a bounded number at a time. The caller must hold `flush_lock`
    /// exclusively.
    pub(super) async fn flush(&self, writer: &WriterHandle) -> Result<(), VaultError> {
        let all = self.all();
        let mut waiting = all.iter().peekable();
        let (mut changes, mut taken) = (Vec::new(), Vec::new());
        while let Some(session) = waiting.peek() {
            // Encoding cannot fail: label and owner were checked when the session was opened.
            let one = session.take_changes(PAGE_ROWS - changes.len(), &mut changes).ok().flatten();
            if one.as_ref().is_none_or(|one| one.complete) {
                waiting.next();
            }
            taken.extend(one);
            if changes.len() >= PAGE_ROWS || (waiting.peek().is_none() && !changes.is_empty()) {
                writer.commit(KeepRows(std::mem::take(&mut changes))).await?;
                taken.drain(..).for_each(|one| one.written());
            }
        }
        loop {
            let removals: Vec<RowChange> =
                self.pending_removals().iter().take(PAGE_ROWS).cloned().map(RowChange::Remove).collect();
            if removals.is_empty() {
                return Ok(());
            }
            let rows = removals.len();
            writer.commit(KeepRows(removals)).await?;
            // Other tasks only append.
            self.pending_removals().drain(..rows);
        }
    }
}

impl SessionSlot<'_> {
    /// Opens the session, which is durable.
    pub(super) fn fill(mut self) {
        if let Some(session) = self.session.take() {
            self.sessions.table_mut().open.insert(session.id, Arc::new(session));
        }
    }
}

impl Drop for SessionSlot<'_> {
    fn drop(&mut self) {
        self.sessions.table_mut().opening.remove(&self.id);
        if let Some(session) = &self.session {
            self.sessions.queue_removal(session.id);
        }
    }
}

/// Returns the session that a placeholder or its key belongs to, if it belongs to one.
fn session_of_placeholder(key: &RowKey) -> Result<Option<SessionId>, RecordError> {
    match RowName::parse(key)? {
        RowName::PlaceholderKey(PlaceholderOwner::Session(id))
        | RowName::Placeholder(PlaceholderOwner::Session(id), ..) => Ok(Some(SessionId::from_bytes(id))),
        _ => Ok(None),
    }
}

fn damaged(damage: RecordError) -> StoreError {
    StoreError::Damaged(damage.to_string())
}
