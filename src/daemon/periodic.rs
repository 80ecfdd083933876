//! Periodic tasks of the daemon while it serves.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};
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

/// How long after a failure the removal of expired sessions is tried again, in seconds.
const PURGE_RETRY_SECONDS: u64 = 10 * 60;

/// The periodic tasks, and the parts that they work on.
pub(super) struct PeriodicTasks {
    pub(super) vault: Arc<Vault>,
    pub(super) service: Arc<Service>,
    pub(super) audit: Option<Arc<AuditLog>>,
    /// How long sessions are kept.
    pub(super) session_retention_days: u32,
}

impl PeriodicTasks {
    /// Starts the tasks. Each runs at once and then at its interval. When `stopping` is set they end what they have begun,
    /// and record it.
    pub(super) fn start(self, stopping: &watch::Receiver<bool>) -> JoinSet<()> {
        let (tasks, mut started) = (Arc::new(self), JoinSet::new());
        started.spawn(Arc::clone(&tasks).store_counts(stopping.clone()));
        started.spawn(tasks.remove_sessions(stopping.clone()));
        started
    }

    /// Stores counts and times of use.
    async fn store_counts(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let (mut key_use, mut sessions) = (every(KEY_USE_SECONDS), every(SESSIONS_SECONDS));
        // A full disk is logged once, not every second.
        let mut sessions_stored = true;
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                _ = key_use.tick() => self.store_key_use().await,
                _ = sessions.tick() => {
                    self.end_api_keys().await;
                    let stored = self.vault.flush_sessions().await;
                    if let (Err(failed), true) = (&stored, sessions_stored) {
                        warn!(error = %failed, "failed to store the counts of sessions; retrying");
                    }
                    sessions_stored = stored.is_ok();
                    if let Some(log) = &self.audit {
                        // While the log cannot be written, health says so, and it is tried again.
                        let _ = log.record_vault_position().await;
                        self.service.record_counted_refusals().await;
                    }
                }
            }
        }
    }

    /// Removes sessions whose retention is over. This may take minutes, so it is a task of its own.
    async fn remove_sessions(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut purge = every(PURGE_SECONDS);
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                _ = purge.tick() => {
                    if !self.purge_sessions().await {
                        purge.reset_after(Duration::from_secs(PURGE_RETRY_SECONDS));
                    }
                }
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

    /// Removes expired sessions. Returns whether all are removed.
    async fn purge_sessions(&self) -> bool {
        let log = self.audit.as_deref();
        if log.is_some_and(|log| !log.clock_is_trusted()) {
            warn!("expired sessions are kept, because the clock is far past the audit log's last event");
            return false;
        }
        if log.is_some_and(|log| log.ready().is_err()) {
            warn!("expired sessions are kept, because the audit log cannot be written");
            return false;
        }
        let (sessions, result) = self.vault.purge_sessions(self.session_retention_days).await;
        if sessions > 0 {
            if let Some(log) = log {
                log_session_purge(log, sessions, &result).await;
            }
            info!(sessions, "removed expired sessions");
        }
        if let Err(failed) = &result {
            warn!(error = %failed, "failed to remove all expired sessions; retrying later");
        }
        result.is_ok()
    }
}

fn every(seconds: u64) -> Interval {
    let mut interval = interval(Duration::from_secs(seconds));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
