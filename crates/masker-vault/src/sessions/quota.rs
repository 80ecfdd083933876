//! The limit of tracked tokens.

use std::sync::atomic::{AtomicUsize, Ordering};

use masker_types::limits::{OPEN_SESSIONS_TOKENS_MAX, SESSION_TOKENS_MAX};

/// The limit of tracked tokens, of all sessions together.
#[derive(Default)]
pub(super) struct TokenQuota(AtomicUsize);

impl TokenQuota {
    /// Takes one token from the quota, for a session that tracks so many. Returns whether there was one left.
    pub(super) fn take(&self, tracked: usize) -> bool {
        if tracked >= SESSION_TOKENS_MAX {
            return false;
        }
        let one_more = |taken| (taken < OPEN_SESSIONS_TOKENS_MAX).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    pub(super) fn give_back(&self, tokens: usize) {
        self.0.fetch_sub(tokens, Ordering::Relaxed);
    }
}
