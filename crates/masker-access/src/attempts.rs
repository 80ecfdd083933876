//! Failed attempts to authenticate: each further one is answered later, and many are no longer answered.
//!
//! What counts is the peer's uid together with the prefix of the key that was tried. A prefix is no secret, so it alone
//! must block nobody; a uid is shared by honest callers, so it alone is only slowed. Only failures are told to this
//! module: a key that is right is never delayed nor blocked, whatever others have tried. Guessing is hopeless at 220
//! bits anyway; this keeps it from being loud, and from taking the daemon's connections: few answers are delayed at a
//! time, and what comes beside them is refused at once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{KeyPrefix, limiter::whole_seconds};
use masker_types::limits::{
    ATTEMPTS_AT_ONCE_MAX, ATTEMPTS_BEFORE_BLOCK_MAX, ATTEMPTS_BLOCK_SECONDS_MAX, ATTEMPTS_BLOCK_SECONDS_MIN,
    ATTEMPTS_DELAY_MILLISECONDS_MAX, ATTEMPTS_DELAY_MILLISECONDS_MIN, ATTEMPTS_DELAYED_MAX,
    ATTEMPTS_OF_UID_AT_ONCE_MAX, ATTEMPTS_PREFIXES_MAX, ATTEMPTS_UIDS_MAX, ATTEMPTS_WINDOW_SECONDS,
};

const WINDOW: Duration = Duration::from_secs(ATTEMPTS_WINDOW_SECONDS);
const BLOCK_MIN: Duration = Duration::from_secs(ATTEMPTS_BLOCK_SECONDS_MIN);
const BLOCK_MAX: Duration = Duration::from_secs(ATTEMPTS_BLOCK_SECONDS_MAX);
const DELAY_MIN: Duration = Duration::from_millis(ATTEMPTS_DELAY_MILLISECONDS_MIN);
const DELAY_MAX: Duration = Duration::from_millis(ATTEMPTS_DELAY_MILLISECONDS_MAX);

/// What becomes of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It is answered, after this time.
    Answered {
        /// How long the answer waits; zero for none.
        delay: Duration,
    },
    /// It is refused at once, as `auth.blocked`.
    Blocked {
        /// When another failed attempt may be answered, in seconds, rounded up; at least 1.
        retry_after_seconds: u64,
    },
}

/// The failed attempts of all callers, within bounds: the oldest are forgotten.
#[derive(Default)]
pub struct FailedAttempts(Mutex<HashMap<u32, UidAttempts>>);

/// The failed attempts of one uid.
#[derive(Default)]
struct UidAttempts {
    /// Under whatever prefix.
    recent: RecentAttempts,
    /// When the answers are due that are being delayed.
    due: Vec<Duration>,
    pairs: Vec<PrefixAttempts>,
}

/// The failed attempts of one uid with one prefix, or with what is no key at all.
struct PrefixAttempts {
    prefix: Option<KeyPrefix>,
    recent: RecentAttempts,
    last: Duration,
    blocks: u32,
    blocked_until: Duration,
}

/// When the latest attempts were, oldest first.
#[derive(Default)]
struct RecentAttempts(VecDeque<Duration>);

impl FailedAttempts {
    /// Notes that a caller failed to authenticate with a key of this prefix (`None` for what is no key), and says what
    /// becomes of the answer. `now` is the time since some start, by a clock that never goes back.
    pub fn failed(&self, uid: u32, prefix: Option<KeyPrefix>, now: Duration) -> AttemptOutcome {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= ATTEMPTS_UIDS_MAX && !callers.contains_key(&uid) {
            let oldest = callers.iter().min_by_key(|(_, caller)| caller.recent.last()).map(|(uid, _)| *uid);
            oldest.map(|uid| callers.remove(&uid));
        }
        callers.entry(uid).or_default().failed(prefix, now)
    }
}

impl UidAttempts {
    fn failed(&mut self, prefix: Option<KeyPrefix>, now: Duration) -> AttemptOutcome {
        // As many are kept as make a difference to the delay.
        let of_uid = self.recent.note(now, ATTEMPTS_OF_UID_AT_ONCE_MAX + ATTEMPTS_BEFORE_BLOCK_MAX);
        let pair = self.pair(prefix, now);
        let Some(of_pair) = pair.failed(now) else {
            return AttemptOutcome::Blocked { retry_after_seconds: whole_seconds(pair.blocked_until - now) };
        };
        let delay = delay(of_pair, ATTEMPTS_AT_ONCE_MAX).max(delay(of_uid, ATTEMPTS_OF_UID_AT_ONCE_MAX));
        if delay.is_zero() {
            return AttemptOutcome::Answered { delay };
        }
        self.due.retain(|due| *due > now);
        match self.due.iter().min() {
            Some(next) if self.due.len() >= ATTEMPTS_DELAYED_MAX => {
                AttemptOutcome::Blocked { retry_after_seconds: whole_seconds(*next - now) }
            }
            _ => {
                self.due.push(now + delay);
                AttemptOutcome::Answered { delay }
            }
        }
    }

    /// The pair with this prefix, if need be in the place of the one that was tried longest ago.
    fn pair(&mut self, prefix: Option<KeyPrefix>, now: Duration) -> &mut PrefixAttempts {
        let known = self.pairs.iter().position(|pair| pair.prefix == prefix);
        let place = known.unwrap_or_else(|| {
            let new = PrefixAttempts {
                prefix,
                recent: RecentAttempts::default(),
                last: now,
                blocks: 0,
                blocked_until: Duration::ZERO,
            };
            let oldest = self.pairs.iter().enumerate().min_by_key(|(_, pair)| pair.last).map(|(place, _)| place);
            match oldest.filter(|_| self.pairs.len() >= ATTEMPTS_PREFIXES_MAX) {
                Some(oldest) => {
                    self.pairs[oldest] = new;
                    oldest
                }
                None => {
                    self.pairs.push(new);
                    self.pairs.len() - 1
                }
            }
        });
        &mut self.pairs[place]
    }
}

impl PrefixAttempts {
    /// Notes an attempt, and says how many there were lately; `None` while it is blocked.
    fn failed(&mut self, now: Duration) -> Option<usize> {
        let rested = now.saturating_sub(self.last.max(self.blocked_until));
        self.last = self.last.max(now);
        if now < self.blocked_until {
            return None;
        }
        if rested >= BLOCK_MAX {
            self.blocks = 0;
        }
        let count = self.recent.note(now, ATTEMPTS_BEFORE_BLOCK_MAX);
        if count >= ATTEMPTS_BEFORE_BLOCK_MAX {
            // This one is still answered; those after it are not.
            self.blocked_until = now + doubled(BLOCK_MIN, self.blocks).min(BLOCK_MAX);
            self.blocks = self.blocks.saturating_add(1);
            self.recent = RecentAttempts::default();
        }
        Some(count)
    }
}

impl RecentAttempts {
    /// Notes one and says how many there were within [`WINDOW`], this one among them; `most` at most.
    fn note(&mut self, now: Duration, most: usize) -> usize {
        self.0.retain(|at| now.saturating_sub(*at) < WINDOW);
        if self.0.len() >= most {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len()
    }

    fn last(&self) -> Option<Duration> {
        self.0.back().copied()
    }
}

/// The delay of an attempt's answer, where the first `at_once` of them have none.
fn delay(count: usize, at_once: usize) -> Duration {
    match count.checked_sub(at_once + 1).map(u32::try_from) {
        None => Duration::ZERO,
        Some(further) => doubled(DELAY_MIN, further.unwrap_or(u32::MAX)).min(DELAY_MAX),
    }
}

fn doubled(time: Duration, times: u32) -> Duration {
    time.saturating_mul(2u32.checked_pow(times).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(number: usize) -> Option<KeyPrefix> {
        KeyPrefix::parse(&format!("masker_live_{number:04}"))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn answered(milliseconds: u64) -> AttemptOutcome {
        AttemptOutcome::Answered { delay: Duration::from_millis(milliseconds) }
    }

    fn blocked(retry_after_seconds: u64) -> AttemptOutcome {
        AttemptOutcome::Blocked { retry_after_seconds }
    }

    /// What becomes of so many attempts, each when the one before is answered. The time is moved on.
    fn patiently(
        attempts: &FailedAttempts,
        uid: u32,
        prefix: Option<KeyPrefix>,
        now: &mut Duration,
    ) -> Vec<AttemptOutcome> {
        let mut verdicts = Vec::new();
        for _ in 0..10 {
            let verdict = attempts.failed(uid, prefix, *now);
            if let AttemptOutcome::Answered { delay } = verdict {
                *now += delay;
            }
            verdicts.push(verdict);
        }
        verdicts
    }

    #[test]
    fn answers_come_later_and_later_and_then_not() {
        let attempts = FailedAttempts::default();
        let mut now = seconds(1_000);
        let expected = [0, 0, 100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000].map(answered);
        assert_eq!(patiently(&attempts, 7, prefix(1), &mut now), expected);
        // The block began with the tenth, whose answer has taken 2 s since.
        assert_eq!(attempts.failed(7, prefix(1), now), blocked(298));
        assert_eq!(attempts.failed(7, prefix(1), now + seconds(297)), blocked(1));
        assert_eq!(attempts.failed(7, prefix(1), now + seconds(298)), answered(0));
    }

    #[test]
    fn blocks_double_and_are_forgotten_after_a_rest() {
        let attempts = FailedAttempts::default();
        let mut now = seconds(1_000);
        for minutes in [5, 10, 20, 40, 60, 60] {
            for attempt in 1..=10 {
                assert!(matches!(attempts.failed(7, prefix(1), now), AttemptOutcome::Answered { .. }), "{attempt}");
                now += seconds(10);
            }
            now -= seconds(10);
            assert_eq!(attempts.failed(7, prefix(1), now), blocked(60 * minutes));
            // Trying on makes it no longer, and a block is no rest.
            if minutes < 60 {
                assert_eq!(attempts.failed(7, prefix(1), now + seconds(60 * minutes - 1)), blocked(1));
            }
            now += seconds(60 * minutes);
        }
        now += seconds(3_600);
        patiently(&attempts, 7, prefix(1), &mut now);
        assert_eq!(attempts.failed(7, prefix(1), now), blocked(298));
    }

    #[test]
    fn attempts_count_together_for_ten_minutes() {
        let attempts = FailedAttempts::default();
        // Nine in ten minutes, for as long as one likes.
        let mut now = seconds(0);
        for attempt in 0..100 {
            assert!(matches!(attempts.failed(7, prefix(1), now), AttemptOutcome::Answered { .. }), "{attempt}");
            now += seconds(67);
        }
        // Ten.
        let (attempts, mut now) = (FailedAttempts::default(), seconds(0));
        for _ in 0..10 {
            attempts.failed(7, prefix(1), now);
            now += seconds(66);
        }
        assert!(matches!(attempts.failed(7, prefix(1), now), AttemptOutcome::Blocked { .. }));
    }

    #[test]
    fn nobody_pays_for_another_uid_or_prefix() {
        let attempts = FailedAttempts::default();
        let mut now = seconds(1_000);
        patiently(&attempts, 7, prefix(1), &mut now);
        assert!(matches!(attempts.failed(7, prefix(1), now), AttemptOutcome::Blocked { .. }));
        assert_eq!(attempts.failed(8, prefix(1), now), answered(0));
        assert_eq!(attempts.failed(7, prefix(2), now), answered(0));
        assert_eq!(attempts.failed(7, None, now), answered(0));
    }

    #[test]
    fn guessing_many_prefixes_is_slowed_as_well() {
        let attempts = FailedAttempts::default();
        let now = seconds(1_000);
        for number in 0..20 {
            assert_eq!(attempts.failed(7, prefix(number), now), answered(0), "{number}");
        }
        let delays = [100, 200, 400, 800].map(answered);
        assert_eq!([20, 21, 22, 23].map(|number| attempts.failed(7, prefix(number), now)), delays);
        assert_eq!(attempts.failed(7, prefix(24), now), blocked(1));
        assert_eq!(attempts.failed(8, prefix(24), now), answered(0));
        assert_eq!(attempts.failed(7, prefix(25), now + WINDOW), answered(0));
    }

    #[test]
    fn few_answers_are_delayed_at_once() {
        let attempts = FailedAttempts::default();
        let now = seconds(1_000);
        let verdicts: Vec<AttemptOutcome> =
            (0..1_000).map(|number| attempts.failed(7, prefix(number % 500), now)).collect();
        let delayed =
            verdicts.iter().filter(|verdict| matches!(verdict, AttemptOutcome::Answered { delay } if !delay.is_zero()));
        assert_eq!(delayed.count(), ATTEMPTS_DELAYED_MAX);
        let refused = verdicts.iter().filter(|verdict| matches!(verdict, AttemptOutcome::Blocked { .. })).count();
        assert_eq!(refused, 1_000 - ATTEMPTS_OF_UID_AT_ONCE_MAX - ATTEMPTS_DELAYED_MAX);
        // 100, 200, 400 and 800 ms: when the first is answered there is room for one more.
        assert_eq!(attempts.failed(7, prefix(0), now + Duration::from_millis(99)), blocked(1));
        assert_eq!(attempts.failed(7, prefix(0), now + Duration::from_millis(100)), answered(2_000));
        assert_eq!(attempts.failed(7, prefix(0), now + Duration::from_millis(100)), blocked(1));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_forgotten() {
        let attempts = FailedAttempts::default();
        let mut now = seconds(1_000);
        patiently(&attempts, 7, prefix(0), &mut now);
        for number in 1..2_000 {
            now += seconds(1);
            attempts.failed(7, prefix(number), now);
        }
        assert_eq!(attempts.0.lock().unwrap()[&7].pairs.len(), ATTEMPTS_PREFIXES_MAX);
        assert!(attempts.0.lock().unwrap()[&7].recent.0.len() <= 30);
        let known = |attempts: &FailedAttempts, number| {
            attempts.0.lock().unwrap()[&7].pairs.iter().any(|pair| pair.prefix == prefix(number))
        };
        assert!(known(&attempts, 1_999) && known(&attempts, 1_968) && !known(&attempts, 1_967));
        for uid in 8..2_000 {
            now += seconds(1);
            attempts.failed(uid, None, now);
        }
        let callers = attempts.0.lock().unwrap();
        assert_eq!(callers.len(), ATTEMPTS_UIDS_MAX);
        assert!(callers.contains_key(&1_999) && !callers.contains_key(&7));
    }

    #[test]
    fn a_time_out_of_order_does_no_harm() {
        let attempts = FailedAttempts::default();
        let mut now = seconds(1_000);
        patiently(&attempts, 7, prefix(1), &mut now);
        assert!(matches!(attempts.failed(7, prefix(1), seconds(0)), AttemptOutcome::Blocked { .. }));
        assert_eq!(attempts.failed(7, prefix(2), seconds(0)), answered(0));
    }
}
