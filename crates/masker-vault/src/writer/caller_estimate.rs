//! An estimate of how many callers send changes at the same time, and whether to delay a commit for them.
//!
//! A commit costs about the same for one change as for many, so changes that arrive at about the same time should share
//! one. Most callers send their next change as soon as the last is answered. Without a short wait, the next commit would
//! begin with the first of them, and the others would wait for all of it.

use std::time::Duration;

/// The longest wait for callers, in microseconds: about as long as a commit takes on a fast disk.
const WAIT_MICROS_MAX: u128 = 1_000;

/// The wait ends when no change has arrived for this long, in microseconds.
const PAUSE_MICROS_MAX: u128 = 100;

/// How many callers are expected to send changes at the same time.
#[derive(Default)]
pub(super) struct CallerEstimate {
    callers: usize,
}

impl CallerEstimate {
    /// Notes that a commit answers so many changes, and that so many have arrived meanwhile.
    pub(super) fn answered(&mut self, answered: usize, waiting: usize) {
        self.callers = answered + waiting;
    }

    /// Returns whether to wait for more changes than the `group` that has gathered, by the time since its first and its
    /// last. A single caller never waits.
    pub(super) fn should_wait(&self, group: usize, since_first: Duration, since_last: Duration) -> bool {
        group < self.callers && since_first.as_micros() < WAIT_MICROS_MAX && since_last.as_micros() < PAUSE_MICROS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_single_caller_never_waits() {
        let mut callers = CallerEstimate::default();
        assert!(!callers.should_wait(1, AT_ONCE, AT_ONCE));
        callers.answered(1, 0);
        assert!(!callers.should_wait(1, AT_ONCE, AT_ONCE));
    }

    #[test]
    fn waits_for_the_callers_answered_and_those_who_came_meanwhile() {
        let mut callers = CallerEstimate::default();
        callers.answered(1, 2);
        assert!(callers.should_wait(2, AT_ONCE, AT_ONCE));
        assert!(!callers.should_wait(3, AT_ONCE, AT_ONCE));
        // Two callers have gone.
        callers.answered(1, 0);
        assert!(!callers.should_wait(1, AT_ONCE, AT_ONCE));
    }

    #[test]
    fn the_wait_is_bounded() {
        let mut callers = CallerEstimate::default();
        callers.answered(64, 0);
        assert!(callers.should_wait(10, micros(999), micros(99)));
        assert!(!callers.should_wait(10, micros(500), micros(100)));
        assert!(!callers.should_wait(10, micros(1_000), AT_ONCE));
    }
}
