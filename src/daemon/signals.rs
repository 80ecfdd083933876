//! The daemon's signals: `SIGHUP` reloads, `SIGTERM` and `SIGINT` stop.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    panic,
    pin::pin,
    task::Poll,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tracing::warn;

use super::{
    audit::log_reload,
    notify::{notify, notify_reloading},
    watchdog::WatchdogTargets,
};
use masker_audit::AuditLog;
use masker_http::{ReloadTarget, Service};
use masker_vault::Vault;

/// How long a stop waits for a reload in progress, in milliseconds.
const RELOAD_END_MS_MAX: u64 = 1_000;

/// Handlers of the signals. From their creation on, none of these signals ends the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Registers the handlers.
    ///
    /// # Errors
    /// A handler cannot be registered.
    pub(super) fn new() -> Result<Self, String> {
        let handler = |kind| signal(kind).map_err(|error| format!("failed to register signal handlers: {error}"));
        Ok(Signals {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
            hangup: handler(SignalKind::hangup())?,
        })
    }

    /// Feeds the watchdog and reloads on `SIGHUP` until a signal to stop. Then it lets a reload in progress end with its audit
    /// event.
    ///
    /// # Panics
    /// If one of `tasks` panics: the service manager starts the daemon again.
    pub(super) async fn serve_until_stop(
        &mut self,
        service: &Service,
        tasks: &mut JoinSet<()>,
        watched: &WatchdogTargets,
    ) {
        let Signals { terminate, interrupt, hangup } = self;
        let (vault, audit) = (&watched.vault, watched.audit.as_deref());
        let reloading = Cell::new(false);
        let mut reloads = pin!(async {
            loop {
                let _ = hangup.recv().await;
                reloading.set(true);
                reload(service, vault, audit).await;
                reloading.set(false);
            }
        });
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = &mut reloads => {}
            Some(Err(panicked)) = tasks.join_next() => panic::resume_unwind(panicked.into_panic()),
            () = watched.feed_watchdog() => {}
        }
        let reloaded = poll_fn(|task| {
            let polled = reloading.get() && reloads.as_mut().poll(task).is_pending() && reloading.get();
            if polled { Poll::Pending } else { Poll::Ready(()) }
        });
        if timeout(Duration::from_millis(RELOAD_END_MS_MAX), reloaded).await.is_err() {
            warn!("stopped during a reload, which is not recorded");
        }
    }
}

async fn reload(service: &Service, vault: &Vault, audit: Option<&AuditLog>) {
    notify_reloading();
    // A failure is logged by the reloader, and `masker health` reports it until a reload succeeds.
    let reloaded = service.reload(ReloadTarget::Both).await;
    if let Some(log) = audit {
        log_reload(log, vault, reloaded.as_ref()).await;
    }
    notify(&[NotifyState::Ready]);
}
