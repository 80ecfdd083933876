//! The clock: nothing was written in the future.

use jiff::{SignedDuration, Timestamp};

use masker_types::limits::CLOCK_AHEAD_DAYS_MAX;

use super::{audit::AuditLogFacts, finding::Finding, vault::VaultFacts};

/// How far a time may be in the future, in seconds. Clocks are adjusted in small steps all the time.
const AHEAD_SECONDS_MAX: i64 = 2;
/// How far a time may be in the future before it is an error, in seconds.
const BACK_SECONDS_MAX: i64 = 60;

/// Returns the times that were recorded, with their sources.
pub(super) fn gather(vault: &VaultFacts, log: &AuditLogFacts) -> Vec<(&'static str, Timestamp)> {
    let times = [
        ("the audit log's last event", log.last()),
        ("the audit log's directory", log.modified()),
        ("a file of the vault", vault.newest),
    ];
    times.into_iter().filter_map(|(what, time)| Some((what, time?))).collect()
}

/// `clock.backwards`: the clock has not gone back since the last run. Grace periods, expiries and the audit log depend on it.
pub(super) fn judge(times: &[(&'static str, Timestamp)], now: Timestamp) -> Vec<Finding> {
    let Some((what, latest)) = times.iter().max_by_key(|(_, time)| *time) else {
        return vec![Finding::ok("clock.backwards", "nothing was written yet to compare the clock with")];
    };
    let ahead = now.duration_until(*latest).as_secs();
    if ahead <= AHEAD_SECONDS_MAX {
        return vec![Finding::ok(
            "clock.backwards",
            format!("the clock is later than every recorded time (latest: {what})"),
        )];
    }
    let by = SignedDuration::from_secs(ahead);
    let found = format!("{what} has the time {latest:.0}, and it is {now:.0} now: the clock has gone back by {by:#}");
    let remedy = "set the clock before masker starts; `timedatectl status` shows whether it is synchronized";
    vec![match ahead {
        ..=BACK_SECONDS_MAX => Finding::warning("clock.backwards", found, remedy),
        _ => Finding::error("clock.backwards", found, remedy),
    }]
}

/// `clock.jumped`: no run of the daemon, as far as the audit log was read, has found the clock far past its last event.
pub(super) fn judge_jump(jump: Option<&str>) -> Finding {
    match jump {
        None => Finding::ok("clock.jumped", "the audit log has no jump of the clock"),
        Some(time) => Finding::warning(
            "clock.jumped",
            format!(
                "the clock was over {CLOCK_AHEAD_DAYS_MAX} days past the audit log's last event when it showed {time}"
            ),
            "if it was wrong, look into what was written and what expired meanwhile; if the daemon was off, \
             `masker recover` accepts the clock, so that what is past its retention is deleted again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn remembers_a_jump_of_an_earlier_run() {
        assert_eq!(judge_jump(None).status, Severity::Ok);
        let jumped = judge_jump(Some("2046-03-01T12:00:00.000Z"));
        assert!(jumped.status == Severity::Warning && jumped.found.contains("2046-03-01T12:00:00.000Z"));
    }

    #[test]
    fn compares_the_clock_with_the_latest_time() {
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
            "x has the time 2026-03-01T14:00:00Z, and it is 2026-03-01T12:00:00Z now: the clock has gone back by 2h"
        );
    }
}
