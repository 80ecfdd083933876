//! Removal of sessions after their retention.

use super::{SessionService, session::Session};
use crate::{VaultError, ids::SessionId, paged_scan::PagedScan, time};
use masker_store::{
    RowKey,
    record::{RowName, SessionRow},
};

impl SessionService {
    /// Implements [`Vault::purge_sessions`](crate::Vault::purge_sessions).
    pub(crate) async fn purge_sessions(&self, retention_days: u32) -> (u64, Result<(), VaultError>) {
        let mut purged = 0;
        let result = self.purge(retention_days, &mut purged).await;
        (purged, result)
    }

    async fn purge(&self, retention_days: u32, purged: &mut u64) -> Result<(), VaultError> {
        let sessions = &self.registry;
        let _guard = sessions.flush_lock.write().await;
        let before_ms = time::unix_ms(&self.clock).saturating_sub(u64::from(retention_days) * time::DAY_MS);
        // Ids of sessions that were opened before are lower.
        let end = RowKey::session(SessionId::new(before_ms, [0; 10]).as_bytes());
        let mut pages = PagedScan::new(RowName::SESSIONS);
        'all: while let Some(rows) = pages.next(self.reader.store()).await? {
            for (key, row) in rows {
                if key >= end {
                    break 'all;
                }
                let Ok(RowName::Session(id)) = RowName::parse(&key) else { continue };
                let id = SessionId::from_bytes(id);
                let open = sessions.get(id);
                let ended_ms = match (&open, SessionRow::decode(&row)) {
                    (Some(session), _) => Some(session.row().last_used_ms),
                    (None, Ok(row)) => row.closed_at_ms,
                    (None, Err(_)) => {
                        self.reader.count_damage();
                        None
                    }
                };
                if ended_ms.is_none_or(|ended_ms| ended_ms >= before_ms) {
                    continue;
                }
                if let Some(session) = open.as_deref() {
                    sessions.remove(session, &Session::end(session));
                    sessions.end_placeholders(id);
                }
                sessions.queue_removal(id);
                *purged += 1;
            }
        }
        sessions.flush(&self.writer).await?;
        // A request of an ended session may have written placeholders until its row was removed.
        sessions.queue_ended_placeholders(self.reader.store()).await?;
        sessions.flush(&self.writer).await
    }
}
