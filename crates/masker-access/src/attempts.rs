//! Failed attempts to authenticate: further answers are delayed, and after many attempts there are none for a while.
//!
//! Attempts count per source and key prefix. A source is a uid, or an address that the gateway of a uid asserts: strangers
//! who come through one gateway do not block each other. A prefix is public, so it alone must not block anyone. A source can be
//! shared by honest callers, so it alone only delays. Valid keys never reach this module: they are neither delayed nor blocked.
//! Guessing is hopeless at 220 bits anyway. This keeps it from being loud and from occupying connections: only a few
//! answers of a source are delayed at a time, and further attempts are refused at once.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{KeyPrefix, NetworkAddress, limiter::whole_seconds};
use masker_types::limits::{
    ATTEMPTS_ADDRESSES_MAX, ATTEMPTS_BEFORE_BLOCK_MAX, ATTEMPTS_BLOCK_SECONDS_MAX, ATTEMPTS_BLOCK_SECONDS_MIN,
    ATTEMPTS_DELAY_MS_MAX, ATTEMPTS_DELAY_MS_MIN, ATTEMPTS_DELAYED_MAX, ATTEMPTS_OF_UID_UNDELAYED_MAX,
    ATTEMPTS_PREFIXES_MAX, ATTEMPTS_UIDS_MAX, ATTEMPTS_UNDELAYED_MAX, ATTEMPTS_WINDOW_SECONDS,
};

const WINDOW: Duration = Duration::from_secs(ATTEMPTS_WINDOW_SECONDS);
const BLOCK_MIN: Duration = Duration::from_secs(ATTEMPTS_BLOCK_SECONDS_MIN);
const BLOCK_MAX: Duration = Duration::from_secs(ATTEMPTS_BLOCK_SECONDS_MAX);
const DELAY_MIN: Duration = Duration::from_millis(ATTEMPTS_DELAY_MS_MIN);
const DELAY_MAX: Duration = Duration::from_millis(ATTEMPTS_DELAY_MS_MAX);
/// Attempts of a source that are remembered: as many as make a difference to the delay.
const OF_UID_MAX: usize = ATTEMPTS_OF_UID_UNDELAYED_MAX + ATTEMPTS_BEFORE_BLOCK_MAX;

/// How a failed attempt is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// With the reason, after `delay`.
    Answered {
        /// How long the answer waits; zero for not at all.
        delay: Duration,
    },
    /// At once, with `auth.blocked`.
    Blocked {
        /// Until another failed attempt can be answered, in seconds, rounded up; at least 1.
        retry_after_seconds: u64,
    },
}

/// Where an attempt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptSource {
    /// A process of this user.
    User(u32),
    /// An address, as the gateway that this user runs asserts it.
    Address(u32, NetworkAddress),
}

/// The failed attempts of all callers. Memory is bounded: the least recent are forgotten, those of users and those of
/// addresses apart.
#[derive(Default)]
pub struct FailedAttempts {
    of_users: Mutex<HashMap<AttemptSource, SourceAttempts>>,
    of_addresses: Mutex<HashMap<AttemptSource, SourceAttempts>>,
}

#[derive(Default)]
struct SourceAttempts {
    recent: RecentAttempts,
    /// When each delayed answer is due.
    due: Vec<Duration>,
    /// `None` is the prefix of malformed credentials.
    by_prefix: HashMap<Option<KeyPrefix>, PrefixAttempts>,
}

#[derive(Default)]
struct PrefixAttempts {
    recent: RecentAttempts,
    blocks: usize,
    blocked_until: Duration,
}

/// Times of the latest attempts, oldest first.
#[derive(Default)]
struct RecentAttempts(VecDeque<Duration>);

impl FailedAttempts {
    /// Records that a caller failed to authenticate with a key of this prefix (`None` for a malformed credential), and
    /// returns how to answer. `now` is a monotonic time.
    pub fn record(&self, source: AttemptSource, prefix: Option<KeyPrefix>, now: Duration) -> AttemptOutcome {
        let (sources, most) = match source {
            AttemptSource::User(_) => (&self.of_users, ATTEMPTS_UIDS_MAX),
            AttemptSource::Address(..) => (&self.of_addresses, ATTEMPTS_ADDRESSES_MAX),
        };
        let mut sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = bounded_entry(&mut sources, source, most, |attempts| attempts.recent.latest());
        let of_source = attempts.recent.push(now, Duration::ZERO, OF_UID_MAX);
        let of_prefix = bounded_entry(&mut attempts.by_prefix, prefix, ATTEMPTS_PREFIXES_MAX, |p| p.recent.latest());
        let blocked_until =
            |until: Duration| AttemptOutcome::Blocked { retry_after_seconds: whole_seconds(until - now) };
        if let Err(until) = of_prefix.record(now) {
            return blocked_until(until);
        }
        let delay = delay(of_prefix.recent.0.len(), ATTEMPTS_UNDELAYED_MAX)
            .max(delay(of_source, ATTEMPTS_OF_UID_UNDELAYED_MAX));
        attempts.due.retain(|due| *due > now);
        match attempts.due.iter().min() {
            _ if delay.is_zero() => {}
            Some(next) if attempts.due.len() >= ATTEMPTS_DELAYED_MAX => return blocked_until(*next),
            _ => attempts.due.push(now + delay),
        }
        AttemptOutcome::Answered { delay }
    }
}

impl PrefixAttempts {
    /// Records an attempt, or fails with the end of the block in force. Attempts during a block do not prolong it.
    fn record(&mut self, now: Duration) -> Result<(), Duration> {
        if now.saturating_sub(self.recent.latest().max(self.blocked_until)) >= BLOCK_MAX {
            self.blocks = 0;
        }
        let count = self.recent.push(now, self.blocked_until, ATTEMPTS_BEFORE_BLOCK_MAX);
        if now < self.blocked_until {
            return Err(self.blocked_until);
        }
        if count >= ATTEMPTS_BEFORE_BLOCK_MAX {
            // This attempt is still answered; those after it are not.
            self.blocked_until = now + doubled(BLOCK_MIN, self.blocks).min(BLOCK_MAX);
            self.blocks += 1;
        }
        Ok(())
    }
}

impl RecentAttempts {
    /// Adds an attempt, and returns how many there were since `since` and within [`WINDOW`]; `max` at most.
    fn push(&mut self, now: Duration, since: Duration, max: usize) -> usize {
        self.0.retain(|at| *at >= since && now.saturating_sub(*at) < WINDOW);
        if self.0.len() >= max {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len()
    }

    fn latest(&self) -> Duration {
        self.0.back().copied().unwrap_or_default()
    }
}

/// Returns the entry of `key`. A new one replaces the least recent if there are `max`.
fn bounded_entry<K: Copy + Eq + Hash, V: Default>(
    map: &mut HashMap<K, V>,
    key: K,
    max: usize,
    latest: impl Fn(&V) -> Duration,
) -> &mut V {
    if map.len() >= max && !map.contains_key(&key) {
        let oldest = map.iter().min_by_key(|(_, value)| latest(value)).map(|(key, _)| *key);
        oldest.map(|key| map.remove(&key));
    }
    map.entry(key).or_default()
}

/// Returns how long the answer to the `count`th attempt waits, if the first `undelayed` do not.
fn delay(count: usize, undelayed: usize) -> Duration {
    let further = count.checked_sub(undelayed + 1);
    further.map_or(Duration::ZERO, |further| doubled(DELAY_MIN, further).min(DELAY_MAX))
}

fn doubled(time: Duration, times: usize) -> Duration {
    time.saturating_mul(1 << times.min(31))
}
