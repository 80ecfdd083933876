//! One session in memory: its tokens, and what has not been written yet.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Mutex as AsyncMutex;

use super::{SessionStatus, long_reads::SharedAnswer, quota::TokenQuota, share::SessionShare};
use crate::{ids::SessionId, tag::TokenTag};
use masker_core::{crypto::TokenId, token::Token};
use masker_store::{
    RowChange, RowKey,
    record::{RowKeyError, SESSION_KINDS_MAX, SessionNeed, SessionOwner, SessionRow, SessionTokenRow},
};
use masker_types::kind::{EntityKind, Kid};

/// What tokens of one session have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenSource {
    pub(super) kind: EntityKind,
    pub(super) kid: Kid,
    /// The prefix of the key's fingerprint in a token that contains its value.
    pub(super) prefix: Option<[u8; 4]>,
}

/// A token to note.
pub(super) struct NotedToken {
    pub(super) tag: TokenTag,
    pub(super) source: TokenSource,
}

impl NotedToken {
    /// Parses a token's text; `None` if it is not a token.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let token = Token::parse(text).ok()?;
        let prefix = match &token {
            Token::Vault { .. } => None,
            Token::Aead { body, .. } => Some(body.fingerprint_prefix()),
        };
        Some(NotedToken {
            tag: TokenTag::of(&token),
            source: TokenSource { kind: token.kind(), kid: token.kid(), prefix },
        })
    }
}

#[derive(Clone, Copy)]
struct TrackedToken {
    /// The index of its source.
    source: u16,
    rehydrated: bool,
    /// Whether its row must be written.
    changed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SessionPhase {
    Open,
    /// It is being closed: it counts nothing, and is open again if that fails.
    Closing,
    Ended,
}

struct SessionInner {
    phase: SessionPhase,
    row: SessionRow,
    row_changed: bool,
    /// Sources with the index of their kind in the row.
    sources: Vec<(TokenSource, usize)>,
    tokens: HashMap<TokenTag, TrackedToken>,
    /// Tokens whose rows must be written.
    changed: Vec<TokenTag>,
}

/// A session that is open, or was when the current request entered it.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) opened_by: SessionOwner,
    /// What it counts towards. All open sessions of one holder have the same.
    pub(super) share: Arc<SessionShare>,
    state: Mutex<SessionInner>,
    /// Held while the session is closed.
    pub(super) close_lock: AsyncMutex<()>,
    /// Its status with what its tokens need.
    pub(super) status: SharedAnswer<SessionStatus>,
}

/// The tokens that a session tracks.
#[derive(Default)]
pub(super) struct TrackedIds {
    /// Tokens with a record.
    pub(super) ids: Vec<TokenId>,
    /// Tokens that contain their value, by kid and fingerprint prefix.
    pub(super) with_value: BTreeMap<(Kid, [u8; 4]), u64>,
}

/// Changes taken from a session to be written. They go back to the session unless they were written.
pub(super) struct TakenChanges<'s> {
    session: &'s Session,
    /// Whether these are all changes, including the session's own row.
    pub(super) complete: bool,
    tags: Vec<TokenTag>,
}

impl Session {
    /// Returns a session with this row, which counts towards this share.
    pub(super) fn new(id: SessionId, row: SessionRow, share: Arc<SessionShare>) -> Self {
        let state = SessionInner {
            phase: SessionPhase::Open,
            row_changed: false,
            sources: Vec::new(),
            tokens: HashMap::new(),
            changed: Vec::new(),
            row,
        };
        let opened_by = state.row.opened_by.clone();
        Session {
            id,
            opened_by,
            share,
            state: Mutex::new(state),
            close_lock: AsyncMutex::default(),
            status: SharedAnswer::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, SessionInner> {
        // No code below panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes tokens that are returned to the caller. A session that is not open notes nothing.
    pub(super) fn minted(&self, tokens: &[NotedToken], now_ms: u64, quota: &TokenQuota) {
        let mut state = self.state();
        if !state.used(now_ms) {
            return;
        }
        for noted in tokens {
            if state.tokens.contains_key(&noted.tag) {
                continue;
            }
            match state.source(noted.source).filter(|_| quota.take(state.tokens.len(), &self.share)) {
                Some(source) => {
                    state.track(noted.tag, TrackedToken { source, rehydrated: false, changed: true });
                    state.changed.push(noted.tag);
                }
                None => state.row.untracked += 1,
            }
        }
    }

    /// Notes tokens that were rehydrated.
    pub(super) fn rehydrated(&self, tokens: &[NotedToken], now_ms: u64) {
        let mut state = self.state();
        if !state.used(now_ms) {
            return;
        }
        for NotedToken { tag, source } in tokens {
            let SessionInner { tokens, changed, sources, row, .. } = &mut *state;
            match tokens.get_mut(tag) {
                Some(token) if !token.rehydrated => {
                    token.rehydrated = true;
                    if !token.changed {
                        token.changed = true;
                        changed.push(*tag);
                    }
                    let (_, kind) = sources[usize::from(token.source)];
                    row.kinds[kind].1.rehydrated += 1;
                }
                Some(_) => {}
                None => {
                    if let Some(kind) = state.kind(source.kind) {
                        state.row.kinds[kind].1.others_rehydrated += 1;
                    }
                }
            }
        }
    }

    /// Restores a token from its row. Returns whether the session can track it.
    pub(super) fn restore_token(&self, tag: TokenTag, row: &SessionTokenRow, quota: &TokenQuota) -> bool {
        let mut state = self.state();
        let source = TokenSource { kind: row.kind, kid: row.kid, prefix: row.prefix };
        match state.source(source).filter(|_| quota.restore(state.tokens.len(), &self.share)) {
            Some(source) => {
                state.track(tag, TrackedToken { source, rehydrated: row.rehydrated, changed: false });
                true
            }
            None => {
                state.row.untracked += 1;
                state.row_changed = true;
                false
            }
        }
    }

    /// Returns the row, with the tracked tokens unless the session has ended.
    pub(super) fn snapshot(&self) -> (SessionRow, Option<TrackedIds>) {
        let state = self.state();
        (state.row.clone(), (state.phase != SessionPhase::Ended).then(|| state.tracked_ids()))
    }

    /// Returns the row.
    pub(super) fn row(&self) -> SessionRow {
        self.state().row.clone()
    }

    /// Returns the tracked tokens.
    pub(super) fn tracked_ids(&self) -> TrackedIds {
        self.state().tracked_ids()
    }

    /// Takes changes of up to `limit` tokens, and appends their rows. The session's own row comes with the last tokens.
    pub(super) fn take_changes(
        &self,
        limit: usize,
        changes: &mut Vec<RowChange>,
    ) -> Result<Option<TakenChanges<'_>>, RowKeyError> {
        let mut state = self.state();
        if state.phase != SessionPhase::Open || (!state.row_changed && state.changed.is_empty()) {
            return Ok(None);
        }
        let row = state.row.encode()?;
        let rest = state.changed.len().saturating_sub(limit);
        let tags = state.changed.split_off(rest);
        let complete = state.changed.is_empty();
        let SessionInner { tokens, sources, .. } = &mut *state;
        for tag in &tags {
            if let Some(token) = tokens.get_mut(tag) {
                token.changed = false;
                let (TokenSource { kind, kid, prefix }, _) = sources[usize::from(token.source)];
                let row = SessionTokenRow { rehydrated: token.rehydrated, kind, kid, prefix };
                changes.push(RowChange::Put(RowKey::session_token(self.id.as_bytes(), tag.as_bytes()), row.encode()));
            }
        }
        if complete {
            state.row_changed = false;
            changes.push(RowChange::Put(RowKey::session(self.id.as_bytes()), row));
        }
        Ok(Some(TakenChanges { session: self, complete, tags }))
    }

    /// Begins to close the session: it counts nothing from now on. Returns `None` if it is not open.
    pub(super) fn start_closing(&self) -> Option<ClosingSession<'_>> {
        let mut state = self.state();
        if state.phase != SessionPhase::Open {
            return None;
        }
        state.phase = SessionPhase::Closing;
        Some(ClosingSession { session: self })
    }

    /// Ends the session at once. Returns the tags of its tokens.
    pub(super) fn end(&self) -> Vec<TokenTag> {
        let mut state = self.state();
        state.phase = SessionPhase::Ended;
        state.changed.clear();
        std::mem::take(&mut state.tokens).into_keys().collect()
    }
}

impl SessionInner {
    /// Notes the time of use. Returns whether the session is open.
    fn used(&mut self, now_ms: u64) -> bool {
        if self.phase != SessionPhase::Open {
            return false;
        }
        self.row.last_used_ms = self.row.last_used_ms.max(now_ms);
        self.row_changed = true;
        true
    }

    /// Returns the index of a kind in the row; `None` if there are too many kinds.
    fn kind(&mut self, kind: EntityKind) -> Option<usize> {
        let kinds = &mut self.row.kinds;
        if let Some(index) = kinds.iter().position(|(known, _)| *known == kind) {
            return Some(index);
        }
        (kinds.len() < SESSION_KINDS_MAX).then(|| {
            kinds.push((kind, Default::default()));
            kinds.len() - 1
        })
    }

    /// Returns the index of a source; `None` if there are too many.
    fn source(&mut self, source: TokenSource) -> Option<u16> {
        let known = self.sources.iter().position(|(known, _)| *known == source);
        let index = match known {
            Some(index) => index,
            None => {
                let kind = self.kind(source.kind)?;
                self.sources.push((source, kind));
                self.sources.len() - 1
            }
        };
        u16::try_from(index).ok()
    }

    fn track(&mut self, tag: TokenTag, token: TrackedToken) {
        let (_, kind) = self.sources[usize::from(token.source)];
        let counts = &mut self.row.kinds[kind].1;
        counts.minted += 1;
        counts.rehydrated += u64::from(token.rehydrated);
        self.tokens.insert(tag, token);
    }

    fn tracked_ids(&self) -> TrackedIds {
        let mut tracked = TrackedIds::default();
        for (tag, token) in &self.tokens {
            let (source, _) = self.sources[usize::from(token.source)];
            match source.prefix {
                None => tracked.ids.push(TokenId::from_bytes(*tag.as_bytes())),
                Some(prefix) => *tracked.with_value.entry((source.kid, prefix)).or_default() += 1,
            }
        }
        tracked
    }
}

impl TakenChanges<'_> {
    /// Drops the changes, which are durable.
    pub(super) fn written(mut self) {
        self.complete = false;
        self.tags.clear();
    }
}

impl Drop for TakenChanges<'_> {
    fn drop(&mut self) {
        let mut state = self.session.state();
        state.row_changed |= self.complete;
        for tag in self.tags.drain(..) {
            let SessionInner { tokens, changed, .. } = &mut *state;
            if let Some(token) = tokens.get_mut(&tag)
                && !token.changed
            {
                token.changed = true;
                changed.push(tag);
            }
        }
    }
}

/// A session that is being closed. It is open again if this is dropped.
pub(super) struct ClosingSession<'s> {
    session: &'s Session,
}

impl ClosingSession<'_> {
    /// Returns whether it was ended meanwhile.
    pub(super) fn is_ended(&self) -> bool {
        self.session.state().phase == SessionPhase::Ended
    }

    /// Returns the row of the closed session.
    pub(super) fn last_row(&self, now_ms: u64, needs: Vec<SessionNeed>, gone: u64) -> SessionRow {
        let row = self.session.row();
        SessionRow { closed_at_ms: Some(now_ms.max(row.opened_at_ms)), needs, gone, ..row }
    }

    /// Ends the session, whose closing row is durable. Returns the tags of its tokens.
    pub(super) fn closed(self, row: SessionRow) -> Vec<TokenTag> {
        self.session.state().row = row;
        self.session.end()
    }
}

impl Drop for ClosingSession<'_> {
    fn drop(&mut self) {
        let mut state = self.session.state();
        if state.phase == SessionPhase::Closing {
            state.phase = SessionPhase::Open;
            // The store may have the closing row.
            state.row_changed = true;
        }
    }
}
