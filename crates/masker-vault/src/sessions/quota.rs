//! The limit of tracked tokens.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::share::SessionShare;
use masker_types::limits::{OPEN_SESSIONS_TOKENS_MAX, SESSION_TOKENS_MAX};

/// The limit of tracked tokens, of all sessions together.
#[derive(Default)]
pub(super) struct TokenQuota(AtomicUsize);

impl TokenQuota {
    /// Takes one token from the quota, for a session that tracks so many. Returns whether there was one left: a holder has
    /// one as long as its sessions track fewer than are free. So others find room, however many one holder's sessions
    /// track.
    pub(super) fn take(&self, tracked: usize, share: &SessionShare) -> bool {
        self.has_room(share.tokens()) && self.restore(tracked, share)
    }

    /// Takes one token that was tracked before a restart, also if its holder has no room for more.
    pub(super) fn restore(&self, tracked: usize, share: &SessionShare) -> bool {
        if tracked >= SESSION_TOKENS_MAX {
            return false;
        }
        let one_more = |taken| (taken < OPEN_SESSIONS_TOKENS_MAX).then_some(taken + 1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if taken {
            share.add_token();
        }
        taken
    }

    pub(super) fn give_back(&self, tokens: usize, share: &SessionShare) {
        self.0.fetch_sub(tokens, Ordering::Relaxed);
        share.remove_tokens(tokens);
    }

    fn has_room(&self, own: usize) -> bool {
        own + self.0.load(Ordering::Relaxed) < OPEN_SESSIONS_TOKENS_MAX
    }
}
