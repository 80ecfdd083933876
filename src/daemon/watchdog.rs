//! The service manager's watchdog (sd_watchdog_enabled(3)), fed while the store and the audit log answer.
//!
//! What answers slowly is waited for, and meanwhile the watchdog is not fed: a disk that hangs, or a lock that nobody gives
//! back, ends in a restart. An error is an answer where a restart would not mend it: a full disk is told of by
//! `masker health`, and both go on by themselves once there is room.

use std::{future::pending, sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::run::notify;
use masker_audit::AuditLog;
use masker_vault::Vault;

/// What has to answer.
pub(super) struct WatchdogTargets {
    pub(super) vault: Arc<Vault>,
    pub(super) audit: Option<Arc<AuditLog>>,
}

impl WatchdogTargets {
    /// Feeds the watchdog as often as the service manager asks for; for ever, and never where it does not ask.
    pub(super) async fn feed_watchdog(&self) {
        match sd_notify::watchdog_enabled() {
            None => pending().await,
            // Twice in its time, as sd_watchdog_enabled(3) recommends.
            Some(time) => feed(time / 2, async || self.answer().await, || notify(&[NotifyState::Watchdog])).await,
        }
    }

    /// Whether the store lets itself be read, and somebody keeps the audit log.
    async fn answer(&self) -> Result<(), String> {
        self.vault.ping().await.map_err(|failed| failed.to_string())?;
        let Some(log) = self.audit.clone() else { return Ok(()) };
        match tokio::task::spawn_blocking(move || log.is_running()).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err("the audit log's thread has ended".to_owned()),
        }
    }
}

/// Feeds once in each pause, if what is asked says that all is well.
async fn feed(pause: Duration, answer: impl AsyncFn() -> Result<(), String>, fed: impl Fn()) {
    // The least that the clock can count.
    let mut interval = interval(pause.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match answer().await {
            Ok(()) => fed(),
            Err(why) => warn!(why, "the watchdog is not fed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Mutex, mpsc};

    use super::*;

    #[tokio::test]
    async fn it_is_fed_once_for_each_answer_and_for_no_failure() {
        let (answers, asked) = mpsc::unbounded_channel();
        let asked = Mutex::new(asked);
        let (fed, feeds) = (AtomicUsize::new(0), mpsc::unbounded_channel());
        let (told, mut feeds) = feeds;
        let feeding = feed(
            Duration::from_millis(1),
            async || asked.lock().await.recv().await.expect("the test is not over"),
            || {
                fed.fetch_add(1, Ordering::Relaxed);
                told.send(()).expect("the test is not over");
            },
        );
        let test = async {
            for answer in [Ok(()), Err("no".to_owned()), Err("no".to_owned()), Ok(())] {
                answers.send(answer).expect("somebody asks");
            }
            feeds.recv().await;
            feeds.recv().await;
            // The third answer does not come: nothing is fed, however long that takes.
            assert!(tokio::time::timeout(Duration::from_millis(20), feeds.recv()).await.is_err());
            assert_eq!(fed.load(Ordering::Relaxed), 2);
        };
        tokio::select! {
            () = feeding => {}
            () = test => {}
        }
    }
}
