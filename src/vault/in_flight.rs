//! Which records are being written and are not durable yet.
//!
//! An engine shows a batch to readers before it is durable. A reader that met such a row and answered could hand out
//! what a power cut then takes back, so it waits for the commit and reads again.

use std::{
    collections::HashSet,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

use crate::crypto::TokenId;

/// The records of the commit that is under way.
pub(super) struct InFlight {
    any: AtomicBool,
    ids: RwLock<HashSet<TokenId>>,
    commits: watch::Sender<u64>,
}

impl Default for InFlight {
    fn default() -> Self {
        InFlight { any: AtomicBool::new(false), ids: RwLock::default(), commits: watch::Sender::new(0) }
    }
}

impl InFlight {
    /// Announces a commit. Called by the writer before it hands the batch to the store.
    pub(super) fn begin(&self, ids: impl IntoIterator<Item = TokenId>) {
        // A poisoned lock holds a set that is still a set: every change of it is a single call.
        let mut in_flight = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        in_flight.extend(ids);
        self.any.store(!in_flight.is_empty(), Ordering::SeqCst);
    }

    /// Ends the commit, however it went. Called by the writer once the store has answered.
    pub(super) fn end(&self) {
        self.ids.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.any.store(false, Ordering::SeqCst);
        self.commits.send_modify(|commit| *commit += 1);
    }

    /// If any of these records, read a moment ago, is being written, waits for the commit to end and returns true:
    /// they must be read again.
    pub(super) async fn settled_after_wait(&self, mut ids: impl Iterator<Item = TokenId>) -> bool {
        if !self.any.load(Ordering::SeqCst) {
            return false;
        }
        // Subscribed before looking, so that a commit that ends in between is not missed.
        let mut commits = self.commits.subscribe();
        let waiting = {
            let in_flight = self.ids.read().unwrap_or_else(PoisonError::into_inner);
            ids.any(|id| in_flight.contains(&id))
        };
        // The sender lives as long as `self`, so waiting cannot fail.
        waiting && commits.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    #[test]
    fn a_reader_waits_for_the_commit_that_writes_what_it_read_and_for_no_other() {
        let (a, b) = (TokenId::from_bytes([1; 16]), TokenId::from_bytes([2; 16]));
        let in_flight = InFlight::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(pin!(in_flight.settled_after_wait([a].into_iter())).poll(&mut cx), Poll::Ready(false));

        in_flight.begin([a]);
        assert_eq!(pin!(in_flight.settled_after_wait([b].into_iter())).poll(&mut cx), Poll::Ready(false));
        let mut waiting = pin!(in_flight.settled_after_wait([b, a].into_iter()));
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
        in_flight.end();
        assert_eq!(waiting.poll(&mut cx), Poll::Ready(true));
    }
}
