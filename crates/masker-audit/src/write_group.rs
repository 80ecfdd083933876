//! Requests that wait for one write or one sync.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

/// A group of requests whose events are written together. A clone is of the same group.
#[derive(Clone, Default)]
pub(super) struct WriteGroup(Arc<GroupState>);

#[derive(Default)]
struct GroupState {
    written: OnceLock<bool>,
    changed: Notify,
}

impl WriteGroup {
    /// Tells everyone whether it was written, once.
    pub(super) fn complete(&self, written: bool) {
        if self.0.written.set(written).is_ok() {
            self.0.changed.notify_waiters();
        }
    }

    /// Waits for that.
    pub(super) async fn wait(&self) -> bool {
        loop {
            // From here on a notice is not missed: it may come between the look and the wait.
            let changed = self.0.changed.notified();
            if let Some(written) = self.0.written.get() {
                return *written;
            }
            changed.await;
        }
    }
}
