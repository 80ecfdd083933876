//! How fast a client reads its answer.

use std::time::{Duration, Instant};

use masker_types::limits::READ_BYTES_PER_SECOND_MIN;

/// What a client has read of an answer since the answer began to wait for it.
pub(super) struct ReadingPace {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl ReadingPace {
    /// Begins to measure, in windows of this length.
    pub(super) fn new(window: Duration, now: Instant) -> Self {
        ReadingPace { window, since: now, bytes: 0 }
    }

    /// Returns when the window ends.
    pub(super) fn window_end(&self) -> Instant {
        self.since + self.window
    }

    /// Notes bytes that the client has accepted.
    pub(super) fn note(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Returns whether the client has read a window long at less than [`READ_BYTES_PER_SECOND_MIN`]. Begins the next window
    /// if it has not.
    pub(super) fn is_too_slow(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < self.window {
            return false;
        }
        let too_slow = u128::from(self.bytes) * 1_000 < elapsed.as_millis() * u128::from(READ_BYTES_PER_SECOND_MIN);
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
}
