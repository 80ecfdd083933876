//! The clock: what was written before now is not of the future.

use jiff::{SignedDuration, Timestamp};

use super::{Finding, audit::AuditLogFacts, vault::VaultFacts};

/// By how much a time may lie ahead, in seconds: clocks are set by small steps all the time.
const AHEAD_SECONDS_MAX: i64 = 2;
/// From when on it is no small step any more, in seconds.
const BACK_SECONDS_MAX: i64 = 60;

/// Times that were written down, with what they are of.
pub(super) fn gather(vault: &VaultFacts, log: &AuditLogFacts) -> Vec<(&'static str, Timestamp)> {
    let times = [
        ("the audit log's last event", log.last()),
        ("the audit log's directory", log.modified()),
        ("a file of the vault", vault.newest),
    ];
    times.into_iter().filter_map(|(what, time)| Some((what, time?))).collect()
}

/// `clock.backwards`: it has not gone back since the last run. Grace periods, expiries and the audit log's times go by it.
pub(super) fn judge(times: &[(&'static str, Timestamp)], now: Timestamp) -> Vec<Finding> {
    let Some((what, latest)) = times.iter().max_by_key(|(_, time)| *time) else {
        return vec![Finding::ok("clock.backwards", "nothing was written yet that the clock could be held against")];
    };
    let ahead = now.duration_until(*latest).as_secs();
    if ahead <= AHEAD_SECONDS_MAX {
        return vec![Finding::ok("clock.backwards", format!("the clock is past everything that was written ({what})"))];
    }
    let by = SignedDuration::from_secs(ahead);
    let found = format!("{what} is of {latest:.0}, and it is {now:.0} now: the clock has gone back by {by:#}");
    let remedy = "`timedatectl status` says whether the clock is kept; set it before masker starts";
    vec![match ahead {
        ..=BACK_SECONDS_MAX => Finding::warning("clock.backwards", found, remedy),
        _ => Finding::error("clock.backwards", found, remedy),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn the_latest_time_counts() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let at = |seconds: i64| ("x", now + SignedDuration::from_secs(seconds));
        let status = |times: &[_]| judge(times, now)[0].status;
        assert_eq!(status(&[]), Severity::Ok);
        assert_eq!(status(&[at(-5), at(2), at(-9)]), Severity::Ok);
        assert_eq!(status(&[at(-5), at(3)]), Severity::Warning);
        assert_eq!(status(&[at(61), at(-5)]), Severity::Error);
        let found = &judge(&[at(7_200)], now)[0].found;
        assert_eq!(
            found,
            "x is of 2026-03-01T14:00:00Z, and it is 2026-03-01T12:00:00Z now: the clock has gone back by 2h"
        );
    }
}
