//! The service manager's watchdog (sd_watchdog_enabled(3)), fed while the store and the audit log answer.
//!
//! A slow answer is waited for, and meanwhile the watchdog is not fed: a disk that hangs, or a lock that is never
//! released, ends in a restart. A full disk does not: a restart would not help, `masker health` reports it, and the store
//! and the log recover once there is space.

use std::{future::pending, sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::notify::notify;
use masker_audit::AuditLog;
use masker_vault::Vault;

/// The parts that must answer.
pub(super) struct WatchdogTargets {
    pub(super) vault: Arc<Vault>,
    pub(super) audit: Option<Arc<AuditLog>>,
}

impl WatchdogTargets {
    /// Feeds the watchdog forever, at the interval that the service manager has set, if it has.
    pub(super) async fn feed_watchdog(&self) {
        match sd_notify::watchdog_enabled() {
            None => pending().await,
            // Twice in the interval, as sd_watchdog_enabled(3) recommends.
            Some(time) => feed(time / 2, async || self.check().await, || notify(&[NotifyState::Watchdog])).await,
        }
    }

    /// Checks that the store can be read and that the audit log's thread runs.
    async fn check(&self) -> Result<(), String> {
        self.vault.ping().await.map_err(|failed| failed.to_string())?;
        let Some(log) = self.audit.clone() else { return Ok(()) };
        match tokio::task::spawn_blocking(move || log.is_running()).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err("the audit log's thread has ended".to_owned()),
        }
    }
}

/// Calls `notify` once in each period if `check` succeeds.
async fn feed(period: Duration, check: impl AsyncFn() -> Result<(), String>, notify: impl Fn()) {
    // The resolution of tokio's clock, which also rejects a period of zero.
    let mut interval = interval(period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match check().await {
            Ok(()) => notify(),
            Err(why) => warn!(why, "not feeding the watchdog"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Mutex, mpsc};

    use super::*;

    #[tokio::test]
    async fn feeds_once_for_each_success_and_not_for_a_failure() {
        let (send_result, results) = mpsc::unbounded_channel();
        let results = Mutex::new(results);
        let (send_feed, mut feeds) = mpsc::unbounded_channel();
        let count = AtomicUsize::new(0);
        let feeding = feed(
            Duration::from_millis(1),
            async || results.lock().await.recv().await.expect("the test still sends"),
            || {
                count.fetch_add(1, Ordering::Relaxed);
                send_feed.send(()).expect("the test still receives");
            },
        );
        let test = async {
            for result in [Ok(()), Err("no".to_owned()), Err("no".to_owned()), Ok(())] {
                send_result.send(result).expect("the feeder still receives");
            }
            feeds.recv().await;
            feeds.recv().await;
            // Without a further result, the watchdog is not fed.
            assert!(tokio::time::timeout(Duration::from_millis(20), feeds.recv()).await.is_err());
            assert_eq!(count.load(Ordering::Relaxed), 2);
        };
        tokio::select! {
            () = feeding => {}
            () = test => {}
        }
    }
}
