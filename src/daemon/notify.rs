//! Notifications to systemd (sd_notify(3)).

use sd_notify::NotifyState;
use tracing::warn;

/// Notifies systemd if it listens. A failure is only logged.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "failed to notify systemd");
    }
}

/// Notifies systemd that a reload begins. It requires the time; without one, the reload is reported all the same.
pub(super) fn notify_reloading() {
    let now = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
    notify(&[NotifyState::Reloading, now]);
}
