//! The records that are being written and are not durable yet.
//!
//! An engine shows a batch to readers before it is durable. A reader that answered from such a row could return what a
//! power failure then undoes. So it waits for the commit to end and reads again. It also reads again if a commit has failed
//! since it began, for that commit may have undone rows which the reader saw.
//!
//! The property: a reader takes a [`ReadMarker`], reads rows, and calls [`InFlightRecords::must_reread`]. If that returns
//! `false`, every row that it read was written by a commit that has ended and has not failed. The same holds for a scan,
//! once [`InFlightRecords::wait_until_idle`] has returned and [`InFlightRecords::failed_since`] is `false`. A reader that
//! waits is woken when the commit ends. A model in the tests checks this for every interleaving of a writer with a reader;
//! it replaces the primitives in [`super::sync`].

use std::collections::HashSet;

use super::sync::{AtomicBool, AtomicU64, Ordering, PoisonError, RwLock, watch};
use masker_core::crypto::TokenId;

/// The records of the commit that is in flight. One writer, any number of readers.
pub(super) struct InFlightRecords {
    any: AtomicBool,
    ids: RwLock<HashSet<TokenId>>,
    /// Changes when a commit ends.
    commits: watch::Sender<u64>,
    failures: AtomicU64,
}

/// The state before a read, to be compared after it.
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
    /// Announces a commit. The writer calls it before it gives the batch to the store.
    pub(super) fn begin(&self, ids: impl IntoIterator<Item = TokenId>) {
        // Every change of the set is a single call, so the set is valid even if the lock is poisoned.
        let mut in_flight = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        in_flight.extend(ids);
        self.any.store(!in_flight.is_empty(), Ordering::SeqCst);
    }

    /// Ends the commit. The writer calls it once the store has answered.
    pub(super) fn end(&self, failed: bool) {
        // Before the rest, so that a reader that sees no commit any more sees the failure.
        self.failures.fetch_add(u64::from(failed), Ordering::SeqCst);
        self.ids.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.any.store(false, Ordering::SeqCst);
        self.commits.send_modify(|commit| *commit += 1);
    }

    /// Returns a marker. Must be called before the store is read.
    pub(super) fn read_marker(&self) -> ReadMarker {
        ReadMarker { failures: self.failures.load(Ordering::SeqCst) }
    }

    /// Returns whether the records of these ids, read since the marker was taken, must be read again because they may not
    /// be durable: a commit that writes one of them was in flight, whose end this awaits, or a commit has failed.
    pub(super) async fn must_reread(&self, since: &ReadMarker, mut ids: impl Iterator<Item = TokenId>) -> bool {
        if self.any.load(Ordering::SeqCst) {
            // Subscribed before the look at the set, so that a commit that ends in between is not missed.
            let mut commits = self.commits.subscribe();
            let must_wait = {
                let in_flight = self.ids.read().unwrap_or_else(PoisonError::into_inner);
                ids.any(|id| in_flight.contains(&id))
            };
            // The sender lives as long as `self`, so waiting cannot fail.
            if must_wait && commits.changed().await.is_ok() {
                return true;
            }
        }
        self.failed_since(since)
    }

    /// Returns whether a commit has failed since the marker was taken.
    pub(super) fn failed_since(&self, since: &ReadMarker) -> bool {
        self.failures.load(Ordering::SeqCst) != since.failures
    }

    /// Waits for the end of the commit that is in flight, if any.
    pub(super) async fn wait_until_idle(&self) {
        // Subscribed before the look at the flag, so that a commit that ends in between is not missed.
        let mut commits = self.commits.subscribe();
        if self.any.load(Ordering::SeqCst) {
            // The sender lives as long as `self`, so waiting cannot fail.
            drop(commits.changed().await);
        }
    }
}
