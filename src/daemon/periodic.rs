//! What the daemon does from time to time, while it serves.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

use masker_http::Service;
use masker_vault::Vault;

/// How often the times at which keys were last used are written down, in seconds.
const KEY_USE_SECONDS: u64 = 60;
/// How often what sessions have counted is written down, in seconds.
const SESSIONS_SECONDS: u64 = 1;
/// How often sessions are removed that were kept for as long as they are to be, in seconds.
const PURGE_SECONDS: u64 = 24 * 60 * 60;

/// The chores, and what they are done on.
pub(super) struct PeriodicTasks<'d> {
    pub(super) vault: &'d Vault,
    pub(super) service: &'d Service,
    /// How long sessions are remembered.
    pub(super) session_retention_days: u32,
}

impl PeriodicTasks<'_> {
    /// Does each when it is its time, the first time at once. It never ends by itself; what is dropped halfway is done again.
    pub(super) async fn run(self) {
        let (mut key_use, mut sessions, mut purge) =
            (every(KEY_USE_SECONDS), every(SESSIONS_SECONDS), every(PURGE_SECONDS));
        // A disk that is full is told of once, not every second.
        let mut sessions_written = true;
        loop {
            tokio::select! {
                _ = key_use.tick() => self.note_use().await,
                _ = sessions.tick() => {
                    let written = self.vault.flush_sessions().await;
                    if let (Err(failed), true) = (&written, sessions_written) {
                        warn!(error = %failed, "the counts of sessions were not written down; it will be tried again");
                    }
                    sessions_written = written.is_ok();
                }
                _ = purge.tick() => self.purge_sessions().await,
            }
        }
    }

    /// Writes down when keys were last used, and how far the audit log has come.
    async fn note_use(&self) {
        if let Err(failed) = self.vault.note_key_use().await {
            warn!(error = %failed, "the use of keys was not written down; it will be tried again");
        }
        if let Err(failed) = self.service.note_api_key_use().await {
            warn!(error = %failed, "the use of API keys was not written down; it will be tried again");
        }
        if let Err(failed) = self.vault.write_audit_head().await {
            warn!(error = %failed, "the audit log's head was not written down; it will be tried again");
        }
    }

    async fn purge_sessions(&self) {
        match self.vault.purge_sessions(self.session_retention_days).await {
            Ok(0) => {}
            Ok(sessions) => info!(sessions, "sessions were removed that were kept for their time"),
            Err(failed) => warn!(error = %failed, "old sessions were not all removed; it will be tried again"),
        }
    }
}

fn every(seconds: u64) -> Interval {
    let mut interval = interval(Duration::from_secs(seconds));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
