//! The vault's clock, and times as they are stored.

use std::sync::Arc;

use jiff::Timestamp;

/// The source of the current time, so that tests can pass grace periods without waiting.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A day, in milliseconds.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Returns the current time in milliseconds of Unix time; 0 for a clock before 1970.
pub(crate) fn unix_ms(clock: &Clock) -> u64 {
    u64::try_from(clock().as_millisecond()).unwrap_or(0)
}

/// Returns a stored time; `None` if it is beyond the year 9999.
pub(crate) fn timestamp(ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()
}
