//! Sockets: accepted at once, so that the kernel's queue of new connections stays short, and shared among users.
//!
//! An accepted socket can wait for a place, or outlive its client while its operation runs. A user who has many of these
//! must not use up the daemon's descriptors.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use masker_types::limits::{CONNECTIONS_MAX, OWNER_CONNECTIONS, SHARE_QUEUE_MAX};

/// Sockets that are open at once: those that are served, those that wait for a place, and as many as wait for the others.
const SOCKETS_MAX: usize = CONNECTIONS_MAX + 2 * SHARE_QUEUE_MAX;
/// Sockets that only root and the daemon's own user may have.
const OWNER_SOCKETS: usize = 2 * OWNER_CONNECTIONS;
/// A user has at most this many times the sockets that are free for all. So one user can have four fifths of them, and others
/// still find some.
const SOCKETS_PER_FREE: usize = 4;

// A single user can take all connections and wait for more.
const _: () = assert!(
    CONNECTIONS_MAX + SHARE_QUEUE_MAX < (SOCKETS_MAX - OWNER_SOCKETS) * SOCKETS_PER_FREE / (SOCKETS_PER_FREE + 1)
);

/// The open sockets, counted by user.
#[derive(Default)]
pub(super) struct Sockets(Mutex<SocketCounts>);

#[derive(Default)]
struct SocketCounts {
    total: usize,
    by_user: HashMap<u32, usize>,
}

/// Counts as an open socket of a user until it is dropped.
pub(super) struct SocketCount {
    sockets: Arc<Sockets>,
    uid: u32,
}

impl Sockets {
    /// Counts a socket of a user; `None` if there is no room for it. Owners may use all sockets.
    pub(super) fn count(self: &Arc<Self>, uid: u32, is_owner: bool) -> Option<SocketCount> {
        let mut counts = self.lock();
        let held = counts.by_user.get(&uid).copied().unwrap_or_default();
        let has_room = if is_owner {
            counts.total < SOCKETS_MAX
        } else {
            held < (SOCKETS_MAX - OWNER_SOCKETS).saturating_sub(counts.total) * SOCKETS_PER_FREE
        };
        if !has_room {
            return None;
        }
        counts.total += 1;
        counts.by_user.insert(uid, held + 1);
        Some(SocketCount { sockets: Arc::clone(self), uid })
    }

    fn lock(&self) -> MutexGuard<'_, SocketCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SocketCount {
    fn drop(&mut self) {
        let mut counts = self.sockets.lock();
        counts.total -= 1;
        match counts.by_user.get_mut(&self.uid) {
            Some(held) if *held > 1 => *held -= 1,
            _ => drop(counts.by_user.remove(&self.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(sockets: &Arc<Sockets>, uid: u32) -> Vec<SocketCount> {
        std::iter::from_fn(|| sockets.count(uid, false)).collect()
    }

    #[test]
    fn one_user_leaves_sockets_for_others() {
        let sockets = Arc::new(Sockets::default());
        let first = fill(&sockets, 1);
        assert!(first.len() > CONNECTIONS_MAX + SHARE_QUEUE_MAX);
        let second = fill(&sockets, 2);
        assert!(second.len() > SHARE_QUEUE_MAX / 2, "{}", second.len());
        let third = fill(&sockets, 3);
        assert!(!third.is_empty());
        // A user can have many user ids.
        let others: Vec<Vec<SocketCount>> = (4..504).map(|uid| fill(&sockets, uid)).collect();
        let owners: Vec<SocketCount> = (0..OWNER_SOCKETS).map(|_| sockets.count(0, true).unwrap()).collect();
        drop((first, second, third, others, owners));
        let counts = sockets.lock();
        assert_eq!((counts.total, counts.by_user.len()), (0, 0));
    }

    #[test]
    fn owners_may_use_all_sockets() {
        let sockets = Arc::new(Sockets::default());
        let all: Vec<SocketCount> = std::iter::from_fn(|| sockets.count(0, true)).collect();
        assert_eq!(all.len(), SOCKETS_MAX);
        assert!(sockets.count(1, false).is_none());
    }
}
