//! The sessions that are open: read when the vault is opened, written down from time to time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::RwLock as Turns;

use super::session::Session;
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
    record::{RecordError, RowName, SessionRow, SessionTokenRow},
};
use masker_types::limits::{SESSION_TOKENS_MAX, SESSIONS_OPEN_MAX, SESSIONS_TOKENS_MAX};

/// What bounds the tokens that are tracked.
#[derive(Default)]
pub(super) struct TokenQuota(AtomicUsize);

impl TokenQuota {
    /// Takes the place of one more token, for a session that tracks so many. Returns whether there was one.
    pub(super) fn take(&self, tracked: usize) -> bool {
        if tracked >= SESSION_TOKENS_MAX {
            return false;
        }
        let one_more = |taken| (taken < SESSIONS_TOKENS_MAX).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn give_back(&self, tokens: usize) {
        self.0.fetch_sub(tokens, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct SessionTable {
    open: HashMap<SessionId, Arc<Session>>,
    /// Sessions that are being written for the first time.
    opening: usize,
}

/// The sessions that are open.
#[derive(Default)]
pub(crate) struct SessionRegistry {
    places: RwLock<SessionTable>,
    pub(super) room: TokenQuota,
    /// Rows that are to be removed: of sessions that have ended, and of some that were never opened.
    pending_removals: Mutex<Vec<RowKey>>,
    /// Held alone by whoever writes down sessions that it does not close, so that no row is written over by an older one;
    /// shared by those who close one each.
    pub(super) turns: Turns<()>,
}

/// A place for a session that is being opened. Unless it is filled, what may be in the store is removed.
pub(super) struct SessionSlot<'s> {
    sessions: &'s SessionRegistry,
    session: Option<Session>,
}

impl SessionRegistry {
    /// Reads those that were open. What belongs to others is to be removed.
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let sessions = SessionRegistry::default();
        let mut pages = PagedScan::new(RowName::SESSIONS);
        while let Some(rows) = pages.next(store).await? {
            for (key, row) in rows {
                sessions.load_session(&key, &row).map_err(damaged)?;
            }
        }
        let mut pages = PagedScan::new(RowName::SESSION_TOKENS);
        while let Some(rows) = pages.next(store).await? {
            for (key, row) in rows {
                sessions.load_token(key, &row).map_err(damaged)?;
            }
        }
        Ok(sessions)
    }

    fn load_session(&self, key: &RowKey, row: &Row) -> Result<(), RecordError> {
        let RowName::Session(id) = RowName::parse(key)? else { return Ok(()) };
        let mut row = SessionRow::decode(row)?;
        if row.closed_at_ms.is_none() {
            // Counted again with each token, for their rows may have come further than this one, or less far.
            for (_, counts) in &mut row.kinds {
                (counts.minted, counts.rehydrated) = (0, 0);
            }
            let id = SessionId::from_bytes(id);
            self.places_mut().open.insert(id, Arc::new(Session::new(id, row)));
        }
        Ok(())
    }

    fn load_token(&self, key: RowKey, row: &Row) -> Result<(), RecordError> {
        let RowName::SessionToken(id, tag) = RowName::parse(&key)? else { return Ok(()) };
        let row = SessionTokenRow::decode(row)?;
        let session = self.get(SessionId::from_bytes(id));
        if !session.is_some_and(|session| session.restore_token(TokenTag::from_bytes(tag), &row, &self.room)) {
            self.pending_removals().push(key);
        }
        Ok(())
    }

    fn places(&self) -> RwLockReadGuard<'_, SessionTable> {
        // Every change is one call on a map, or one of a number.
        self.places.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn places_mut(&self) -> RwLockWriteGuard<'_, SessionTable> {
        self.places.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending_removals(&self) -> MutexGuard<'_, Vec<RowKey>> {
        self.pending_removals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.places().open.get(&id).cloned()
    }

    /// Those that are open now.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.places().open.values().cloned().collect()
    }

    /// A place for one more; `None` where there are as many as may be.
    pub(super) fn place(&self, session: Session) -> Option<SessionSlot<'_>> {
        let mut places = self.places_mut();
        if places.open.len() + places.opening >= SESSIONS_OPEN_MAX {
            return None;
        }
        places.opening += 1;
        Some(SessionSlot { sessions: self, session: Some(session) })
    }

    /// Takes a session that has ended out, with the tokens that it held.
    pub(super) fn remove(&self, session: &Session, tags: &[TokenTag]) {
        self.places_mut().open.remove(&session.id);
        self.room.give_back(tags.len());
        let token = |tag: &TokenTag| RowKey::session_token(session.id.as_bytes(), tag.as_bytes());
        self.pending_removals().extend(tags.iter().map(token));
    }

    /// Has the row of a session removed that is not among the open ones.
    pub(super) fn queue_removal(&self, id: SessionId) {
        self.pending_removals().push(RowKey::session(id.as_bytes()));
    }

    /// Writes down what has changed, and removes what is to go, a bounded number of rows at a time. For one that has
    /// all turns.
    pub(super) async fn flush(&self, writer: &WriterHandle) -> Result<(), VaultError> {
        let all = self.all();
        let mut waiting = all.iter().peekable();
        let (mut changes, mut taken) = (Vec::new(), Vec::new());
        while let Some(session) = waiting.peek() {
            // Its label and opener were held against their bounds when it was opened, so it has a row.
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
            let gone: Vec<RowChange> =
                self.pending_removals().iter().take(PAGE_ROWS).cloned().map(RowChange::Remove).collect();
            if gone.is_empty() {
                return Ok(());
            }
            let rows = gone.len();
            writer.commit(KeepRows(gone)).await?;
            // Others only append.
            self.pending_removals().drain(..rows);
        }
    }
}

impl SessionSlot<'_> {
    /// The session is durable, and open from now on.
    pub(super) fn fill(mut self) {
        if let Some(session) = self.session.take() {
            self.sessions.places_mut().open.insert(session.id, Arc::new(session));
        }
    }
}

impl Drop for SessionSlot<'_> {
    fn drop(&mut self) {
        self.sessions.places_mut().opening -= 1;
        if let Some(session) = &self.session {
            self.sessions.queue_removal(session.id);
        }
    }
}

fn damaged(damage: RecordError) -> StoreError {
    StoreError::Damaged(damage.to_string())
}
