//! Periodic tasks of the daemon while it serves.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::audit::log_session_purge;
use masker_audit::AuditLog;
use masker_http::Service;
use masker_vault::Vault;

/// How often the last use of keys and the audit log's head are stored, in seconds.
const KEY_USE_SECONDS: u64 = 60;
/// How often the counts of sessions are stored and the vault's position is recorded, in seconds.
const SESSIONS_SECONDS: u64 = 1;
/// How often expired sessions are removed, in seconds.
const PURGE_SECONDS: u64 = 24 * 60 * 60;

/// The periodic tasks, and the parts that they work on.
pub(super) struct PeriodicTasks<'d> {
    pub(super) vault: &'d Vault,
    pub(super) service: &'d Service,
    pub(super) audit: Option<&'d AuditLog>,
    /// How long sessions are kept.
    pub(super) session_retention_days: u32,
}

impl PeriodicTasks<'_> {
    /// Runs each task at once and then at its interval, forever. A task that is dropped halfway is repeated after the
    /// next start.
    pub(super) async fn run(self) {
        let (mut key_use, mut sessions, mut purge) =
            (every(KEY_USE_SECONDS), every(SESSIONS_SECONDS), every(PURGE_SECONDS));
        // A full disk is logged once, not every second.
        let mut sessions_stored = true;
        loop {
            tokio::select! {
                _ = key_use.tick() => self.store_key_use().await,
                _ = sessions.tick() => {
                    self.end_api_keys().await;
                    let stored = self.vault.flush_sessions().await;
                    if let (Err(failed), true) = (&stored, sessions_stored) {
                        warn!(error = %failed, "failed to store the counts of sessions; retrying");
                    }
                    sessions_stored = stored.is_ok();
                    if let Some(log) = self.audit {
                        // While the log cannot be written, health says so, and it is tried again.
                        let _ = log.record_vault_position().await;
                        self.service.record_counted_refusals().await;
                    }
                }
                _ = purge.tick() => self.purge_sessions().await,
            }
        }
    }

    /// Stores the last use of keys and of API keys, and the audit log's head.
    async fn store_key_use(&self) {
        if let Err(failed) = self.vault.note_key_use().await {
            warn!(error = %failed, "failed to store the last use of keys; retrying later");
        }
        if let Err(failed) = self.service.note_api_key_use().await {
            warn!(error = %failed, "failed to store the last use of API keys; retrying later");
        }
        if let Err(failed) = self.vault.write_audit_head().await {
            warn!(error = %failed, "failed to store the audit log's head; retrying later");
        }
    }

    /// Notes which API keys have expired and which grace periods of their secrets are over.
    async fn end_api_keys(&self) {
        if let Err(failed) = self.service.end_api_keys().await {
            debug!(error = %failed, "failed to store the end of an API key; retrying");
        }
    }

    async fn purge_sessions(&self) {
        if self.audit.is_some_and(|log| !log.clock_is_trusted()) {
            return warn!("expired sessions are kept, because the clock is far past the audit log's last event");
        }
        if self.audit.is_some_and(|log| log.ready().is_err()) {
            return warn!("expired sessions are kept, because the audit log cannot be written");
        }
        let (sessions, result) = self.vault.purge_sessions(self.session_retention_days).await;
        if sessions > 0 {
            if let Some(log) = self.audit {
                log_session_purge(log, sessions, &result).await;
            }
            info!(sessions, "removed expired sessions");
        }
        if let Err(failed) = result {
            warn!(error = %failed, "failed to remove all expired sessions; retrying later");
        }
    }
}

fn every(seconds: u64) -> Interval {
    let mut interval = interval(Duration::from_secs(seconds));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
