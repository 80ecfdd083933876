//! How fast a client reads its answer. Time is an argument.

use std::time::{Duration, Instant};

use crate::limits::READ_BYTES_PER_SECOND_MIN;

/// What a client has read of an answer since the answer began to wait for it. Only the time in which the answer waits counts: one
/// that is made while it is sent may have nothing to send for long.
pub struct ReadingPace {
    window: Duration,
    /// The time for which it waited in this window, until `since`.
    waited: Duration,
    /// Since when it waits; `None` while it does not.
    since: Option<Instant>,
    bytes: u64,
}

impl ReadingPace {
    /// Begins to measure, in windows of this length.
    pub fn new(window: Duration, now: Instant) -> Self {
        ReadingPace { window, waited: Duration::ZERO, since: Some(now), bytes: 0 }
    }

    /// Returns when the window ends if the answer waits until then.
    pub fn window_end(&self, now: Instant) -> Instant {
        now + self.window.saturating_sub(self.waited_until(now))
    }

    /// Notes bytes that the client has accepted.
    pub fn note(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Notes that the answer has nothing to send.
    pub fn pause(&mut self, now: Instant) {
        self.waited = self.waited_until(now);
        self.since = None;
    }

    /// Notes that the answer waits. Returns whether it did not before.
    pub fn go_on(&mut self, now: Instant) -> bool {
        self.since.replace(self.since.unwrap_or(now)).is_none()
    }

    fn waited_until(&self, now: Instant) -> Duration {
        self.waited + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Returns whether the client has read a window long at less than [`READ_BYTES_PER_SECOND_MIN`]. Begins the next window
    /// if it has not.
    pub fn is_too_slow(&mut self, now: Instant) -> bool {
        let waited = self.waited_until(now);
        if waited < self.window {
            return false;
        }
        let too_slow = u128::from(self.bytes) * 1_000 < waited.as_millis() * u128::from(READ_BYTES_PER_SECOND_MIN);
        if !too_slow {
            *self = ReadingPace::new(self.window, now);
        }
        too_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    /// Reads this much at the end of each second. Returns the second in which it is too slow, up to 90.
    fn cut_off(bytes_in: impl Fn(u64) -> usize) -> Option<u64> {
        let start = Instant::now();
        let mut pace = ReadingPace::new(WINDOW, start);
        (1..=90).find(|second| {
            pace.note(bytes_in(*second));
            pace.is_too_slow(start + Duration::from_secs(*second))
        })
    }

    #[test]
    fn a_client_below_the_least_rate_is_cut_off_at_the_end_of_a_window() {
        let least = READ_BYTES_PER_SECOND_MIN as usize;
        assert_eq!(cut_off(|_| least), None);
        assert_eq!(cut_off(|_| least - 1), Some(30));
        assert_eq!(cut_off(|_| 0), Some(30));
        // What was read before or after a pause makes up for it.
        assert_eq!(cut_off(|second| if second % 30 == 0 { 30 * least } else { 0 }), None);
        assert_eq!(cut_off(|second| if second <= 30 { 100 * least } else { 1 }), Some(60));
    }

    #[test]
    fn only_the_time_counts_in_which_something_waits() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = ReadingPace::new(WINDOW, start);
        pace.note(1);
        pace.pause(at(10));
        assert!(!pace.is_too_slow(at(3_600)), "it had nothing to send");
        assert!(pace.go_on(at(3_600)) && !pace.go_on(at(3_601)));
        assert_eq!(pace.window_end(at(3_601)), at(3_620));
        assert!(!pace.is_too_slow(at(3_619)) && pace.is_too_slow(at(3_620)));
    }
}
