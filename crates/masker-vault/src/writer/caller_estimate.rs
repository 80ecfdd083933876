//! Who will ask the writer next, and whether a commit is better held for them.
//!
//! A commit costs about the same for one as for many, so those who ask at about the same time should share one. When a
//! commit is answered, most whom it answered ask again. They are on their way while the disk has nothing to do: without a
//! wait the next commit begins with the first of them, and the others wait for the whole of it.

use std::time::Duration;

/// Longest wait for callers, in microseconds: about as long as a commit takes on a fast disk.
const WAIT_MICROS_MAX: u128 = 1_000;

/// The wait ends when nobody has come for so long, in microseconds: whoever has not asked again by then does not.
const PAUSE_MICROS_MAX: u128 = 100;

/// How many may ask at the same time.
#[derive(Default)]
pub(super) struct CallerEstimate {
    known: usize,
}

impl CallerEstimate {
    /// A commit is about to answer so many, and so many have come meanwhile.
    pub(super) fn answered(&mut self, answered: usize, waiting: usize) {
        self.known = answered + waiting;
    }

    /// Whether a group of so many should be held for more: its first came so long ago, its last so long. Whoever is alone
    /// never waits.
    pub(super) fn should_wait(&self, group: usize, since_first: Duration, since_last: Duration) -> bool {
        group < self.known && since_first.as_micros() < WAIT_MICROS_MAX && since_last.as_micros() < PAUSE_MICROS_MAX
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
    fn whoever_is_alone_never_waits() {
        let mut callers = CallerEstimate::default();
        assert!(!callers.should_wait(1, AT_ONCE, AT_ONCE));
        callers.answered(1, 0);
        assert!(!callers.should_wait(1, AT_ONCE, AT_ONCE));
    }

    #[test]
    fn those_who_were_answered_are_waited_for_with_those_who_came_meanwhile() {
        let mut callers = CallerEstimate::default();
        callers.answered(1, 2);
        assert!(callers.should_wait(2, AT_ONCE, AT_ONCE));
        assert!(!callers.should_wait(3, AT_ONCE, AT_ONCE));
        // Two have gone.
        callers.answered(1, 0);
        assert!(!callers.should_wait(1, AT_ONCE, AT_ONCE));
    }

    #[test]
    fn the_wait_has_an_end() {
        let mut callers = CallerEstimate::default();
        callers.answered(64, 0);
        assert!(callers.should_wait(10, micros(999), micros(99)));
        assert!(!callers.should_wait(10, micros(500), micros(100)));
        assert!(!callers.should_wait(10, micros(1_000), AT_ONCE));
    }
}
