//! The requests that wait for one write or one sync.

use std::sync::Arc;

use super::sync::{AtomicU8, Notify, Ordering};

const PENDING: u8 = 0;
const WRITTEN: u8 = 1;
const LOST: u8 = 2;

/// A group of requests whose events are written together. A clone refers to the same group.
#[derive(Clone, Default)]
pub(super) struct WriteGroup(Arc<GroupState>);

#[derive(Default)]
struct GroupState {
    outcome: AtomicU8,
    completed: Notify,
}

impl WriteGroup {
    /// Wakes every request of the group with the outcome. Only the first call has an effect.
    pub(super) fn complete(&self, written: bool) {
        let outcome = if written { WRITTEN } else { LOST };
        if self.0.outcome.compare_exchange(PENDING, outcome, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.0.completed.notify_waiters();
        }
    }

    /// Waits for the outcome: whether the events were written.
    pub(super) async fn wait(&self) -> bool {
        loop {
            // Created before the outcome is read, so that a notification between the two is not lost.
            let completed = self.0.completed.notified();
            match self.0.outcome.load(Ordering::Acquire) {
                PENDING => completed.await,
                outcome => return outcome == WRITTEN,
            }
        }
    }
}
