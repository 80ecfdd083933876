//! The time that the log vouches for: a clock that is wrong once must not destroy what is kept for years.
//!
//! Events follow each other within days, because a segment ends each day. A clock that is far past the last event has
//! jumped, or the daemon was off for long. Nothing can tell which, so nothing is deleted by that clock until an operator
//! accepts it. Events that are recorded meanwhile do not move the trusted time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};
use masker_types::limits::CLOCK_AHEAD_DAYS_MAX;
use serde::Deserialize;

use super::{chain::VerifiedLine, event::AuditOperation};

/// The name of the detail with the trusted time, of events that are recorded while the clock is not trusted.
pub(super) const TRUSTED_TIME: &str = "trusted_time";

/// The time of the last event whose time is trusted. Clones share it.
#[derive(Clone)]
pub(super) struct TrustedTime(Arc<AtomicI64>);

impl TrustedTime {
    pub(super) fn new(time: Timestamp) -> Self {
        TrustedTime(Arc::new(AtomicI64::new(time.as_millisecond())))
    }

    /// Returns the time.
    pub(super) fn get(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Returns whether a clock that shows `now` is trusted.
    pub(super) fn accepts(&self, now: Timestamp) -> bool {
        now.duration_since(self.get()) <= SignedDuration::from_hours(24 * CLOCK_AHEAD_DAYS_MAX)
    }

    /// Notes the time of an event, if it is trusted.
    pub(super) fn advance(&self, now: Timestamp) {
        if self.accepts(now) {
            self.0.fetch_max(now.as_millisecond(), Ordering::Relaxed);
        }
    }

    /// Follows the lines of a segment. `trusted` is the trusted time before this line, unless it is the first.
    pub(super) fn follow(trusted: &mut Option<Self>, line: &VerifiedLine<'_>, time: Timestamp) {
        match trusted {
            Some(trusted) if line.is(AuditOperation::ClockAccepted) => trusted.set(time),
            Some(trusted) => trusted.advance(time),
            None => {
                let stated = line.detail::<TrustedTimeDetail>().and_then(|detail| detail.time());
                *trusted = Some(TrustedTime::new(stated.unwrap_or(time)));
            }
        }
    }

    /// Trusts a clock that shows `now`.
    pub(super) fn set(&self, now: Timestamp) {
        self.0.store(now.as_millisecond(), Ordering::Relaxed);
    }
}

/// The trusted time in the details of an event.
#[derive(Deserialize)]
struct TrustedTimeDetail {
    trusted_time: String,
}

impl TrustedTimeDetail {
    fn time(&self) -> Option<Timestamp> {
        self.trusted_time.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_a_clock_that_goes_on_and_not_one_that_jumps() {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let day = |days: i64| start + SignedDuration::from_hours(24 * days);
        let time = TrustedTime::new(start);
        for days in [1, 31, 62, 60, 93] {
            assert!(time.accepts(day(days)));
            time.advance(day(days));
        }
        assert_eq!(time.get(), day(93));
        for days in [125, 7_300, 126] {
            assert!(!time.accepts(day(days)));
            time.advance(day(days));
        }
        assert!(time.get() == day(93) && time.accepts(day(124)) && time.accepts(day(-9_000)));
        time.set(day(7_300));
        assert!(time.accepts(day(7_301)) && time.accepts(day(94)));
    }
}
