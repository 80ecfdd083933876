//! Which records are being written and are not durable yet.
//!
//! An engine shows a batch to readers before it is durable. A reader that met such a row and answered could hand out
//! what a power cut then takes back, so it waits for the commit and reads again. It also reads again if a commit failed
//! since it began: rows that it met may have gone with the commit, which is over by the time that the reader asks.

use std::{
    collections::HashSet,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use masker_core::crypto::TokenId;

/// The records of the commit that is under way.
pub(super) struct InFlightRecords {
    any: AtomicBool,
    ids: RwLock<HashSet<TokenId>>,
    commits: watch::Sender<u64>,
    failures: AtomicU64,
}

/// What a reader knew before it read.
pub(super) struct ReadMarker {
    failures: u64,
}

impl Default for InFlightRecords {
    fn default() -> Self {
        InFlightRecords {
            any: AtomicBool::new(false),
            ids: RwLock::default(),
            commits: watch::Sender::new(0),
            failures: AtomicU64::new(0),
        }
    }
}

impl InFlightRecords {
    /// Announces a commit. Called by the writer before it hands the batch to the store.
    pub(super) fn begin(&self, ids: impl IntoIterator<Item = TokenId>) {
        // A poisoned lock holds a set that is still a set: every change of it is a single call.
        let mut in_flight = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        in_flight.extend(ids);
        self.any.store(!in_flight.is_empty(), Ordering::SeqCst);
    }

    /// Ends the commit. Called by the writer once the store has answered.
    pub(super) fn end(&self, failed: bool) {
        // First, so that whoever sees no commit any more sees that it failed.
        self.failures.fetch_add(u64::from(failed), Ordering::SeqCst);
        self.ids.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.any.store(false, Ordering::SeqCst);
        self.commits.send_modify(|commit| *commit += 1);
    }

    /// To be called before the store is read.
    pub(super) fn reading(&self) -> ReadMarker {
        ReadMarker { failures: self.failures.load(Ordering::SeqCst) }
    }

    /// Whether these records, read since, must be read again, because what was read may not be durable: one of them is
    /// being written, and then this waits for the end of that commit; or a commit has failed meanwhile.
    pub(super) async fn must_reread(&self, since: &ReadMarker, mut ids: impl Iterator<Item = TokenId>) -> bool {
        if self.any.load(Ordering::SeqCst) {
            // Subscribed before looking, so that a commit that ends in between is not missed.
            let mut commits = self.commits.subscribe();
            let waiting = {
                let in_flight = self.ids.read().unwrap_or_else(PoisonError::into_inner);
                ids.any(|id| in_flight.contains(&id))
            };
            // The sender lives as long as `self`, so waiting cannot fail.
            if waiting && commits.changed().await.is_ok() {
                return true;
            }
        }
        self.failed_since(since)
    }

    /// Whether a commit has failed since.
    pub(super) fn failed_since(&self, since: &ReadMarker) -> bool {
        self.failures.load(Ordering::SeqCst) != since.failures
    }

    /// Waits for the end of the commit that is under way, if one is.
    pub(super) async fn wait_until_idle(&self) {
        // Subscribed before looking, so that a commit that ends in between is not missed.
        let mut commits = self.commits.subscribe();
        if self.any.load(Ordering::SeqCst) {
            // The sender lives as long as `self`, so waiting cannot fail.
            drop(commits.changed().await);
        }
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
        let in_flight = InFlightRecords::default();
        let mut cx = Context::from_waker(Waker::noop());
        let reading = in_flight.reading();
        assert_eq!(pin!(in_flight.must_reread(&reading, [a].into_iter())).poll(&mut cx), Poll::Ready(false));

        in_flight.begin([a]);
        assert_eq!(pin!(in_flight.must_reread(&reading, [b].into_iter())).poll(&mut cx), Poll::Ready(false));
        let mut waiting = pin!(in_flight.must_reread(&reading, [b, a].into_iter()));
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
        in_flight.end(false);
        assert_eq!(waiting.poll(&mut cx), Poll::Ready(true));
        assert_eq!(pin!(in_flight.must_reread(&reading, [a].into_iter())).poll(&mut cx), Poll::Ready(false));
    }

    #[test]
    fn what_was_read_before_a_commit_failed_is_read_again() {
        let (a, b) = (TokenId::from_bytes([1; 16]), TokenId::from_bytes([2; 16]));
        let in_flight = InFlightRecords::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut again = |reading: &ReadMarker| pin!(in_flight.must_reread(reading, [a].into_iter())).poll(&mut cx);

        // The commit is over when the reader asks, and another one has begun.
        in_flight.begin([a]);
        let reading = in_flight.reading();
        in_flight.end(true);
        assert_eq!(again(&reading), Poll::Ready(true));
        in_flight.begin([b]);
        assert_eq!(again(&reading), Poll::Ready(true));
        assert_eq!(again(&in_flight.reading()), Poll::Ready(false));
    }
}
