//! The clock: nothing was written in the future.

use jiff::{SignedDuration, Timestamp};

use masker_types::limits::CLOCK_AHEAD_DAYS_MAX;

use super::{audit::AuditLogFacts, finding::Finding, finding_id::FindingId, vault::VaultFacts};

/// How far a time may be in the future, in seconds. Clocks are adjusted in small steps all the time.
const AHEAD_SECONDS_MAX: i64 = 2;
/// How far a time may be in the future before it is an error, in seconds.
const BACK_SECONDS_MAX: i64 = 60;

/// The times that were recorded.
pub(super) struct RecordedTimes {
    /// The times, with their sources.
    times: Vec<(&'static str, Timestamp)>,
    /// Why other times are not known.
    unknown: Vec<&'static str>,
}

/// Returns the times that were recorded.
pub(super) fn gather(vault: &VaultFacts, log: &AuditLogFacts) -> RecordedTimes {
    let times = [
        ("the audit log's last event", log.last()),
        ("the audit log's directory", log.modified()),
        ("a file of the vault", vault.newest),
    ];
    let unknown = [
        (vault.partly_hidden, "this user cannot read all of the vault"),
        (log.is_unverified(), "the audit log was not verified"),
    ];
    RecordedTimes {
        times: times.into_iter().filter_map(|(what, time)| Some((what, time?))).collect(),
        unknown: unknown.into_iter().filter(|(is_unknown, _)| *is_unknown).map(|(_, why)| why).collect(),
    }
}

/// `clock.backwards`: the clock has not gone back since the last run. Grace periods, expiries and the audit log depend on it.
pub(super) fn judge(recorded: &RecordedTimes, now: Timestamp) -> Finding {
    const CHECK: &str = "clock.backwards";
    let RecordedTimes { times, unknown } = recorded;
    let latest = times.iter().max_by_key(|(_, time)| *time);
    let ahead = latest.map_or(0, |(_, latest)| now.duration_until(*latest).as_secs());
    let (what, latest) = match latest {
        Some(latest) if ahead > AHEAD_SECONDS_MAX => latest,
        _ if !unknown.is_empty() => {
            let found = format!("the clock was not compared with every recorded time: {}", unknown.join(", "));
            return Finding::not_checked(CHECK, found, "run doctor as root, with the key of the audit log");
        }
        Some((what, _)) => {
            return Finding::ok(CHECK, format!("the clock is later than every recorded time (latest: {what})"));
        }
        None => return Finding::ok(CHECK, "there is no vault and no audit log yet to compare the clock with"),
    };
    let by = SignedDuration::from_secs(ahead);
    let found = format!("{what} has the time {latest:.0}, and it is {now:.0} now: the clock has gone back by {by:#}");
    let remedy = "stop the daemon and set the clock before masker starts again: `timedatectl` shows whether it is synchronized. If the clock is \
                  right and was ahead before, wait until it has passed that time; change no file";
    match ahead {
        ..=BACK_SECONDS_MAX => Finding::warning(CHECK, FindingId::ClockBehind, found, remedy),
        _ => Finding::error(CHECK, FindingId::ClockBehind, found, remedy),
    }
}

/// What to do about a clock that is far ahead.
const AHEAD: &str = "`timedatectl` shows whether the clock is synchronized; if it is wrong, stop the daemon and set it. Only if it is right and the \
                     daemon was off for so long: `masker recover --accept clock`, then restart the daemon, so that what is past its retention is \
                     deleted again";

/// `clock.jumped`: the clock is not far past the last event, and no run of the daemon, as far as the audit log was read, has found it
/// so.
pub(super) fn judge_jump(log: &AuditLogFacts, now: Timestamp) -> Finding {
    const CHECK: &str = "clock.jumped";
    if let Some(trusted) = log.untrusted_clock(now) {
        let by = (now.duration_since(trusted).as_hours()) / 24;
        let found = format!(
            "it is {now:.0} now, {by} days past the audit log's last event of {trusted:.0}: nothing is deleted by this clock"
        );
        return Finding::warning(CHECK, FindingId::ClockAhead, found, AHEAD);
    }
    match log.verified() {
        None if log.is_torn() => {
            let found = "the clock was not compared with the audit log, whose last line a crash has cut";
            Finding::not_checked(CHECK, found, "start the daemon, which removes that line, then run doctor again")
        }
        None if log.is_unverified() => {
            let found = "the clock was not compared with the audit log, which was not verified";
            Finding::not_checked(CHECK, found, "run doctor as root, with the key of the audit log")
        }
        None => Finding::ok(CHECK, "there is no audit log yet to compare the clock with"),
        Some(verified) => jumped(verified.clock_jump.as_deref()),
    }
}

fn jumped(jump: Option<&str>) -> Finding {
    match jump {
        None => Finding::ok("clock.jumped", "the audit log has no jump of the clock"),
        Some(time) => Finding::warning(
            "clock.jumped",
            FindingId::ClockAhead,
            format!(
                "the clock was over {CLOCK_AHEAD_DAYS_MAX} days past the audit log's last event when it showed {time}"
            ),
            "if the clock was wrong then, it is right again: look into what was written and what expired meanwhile. Otherwise the page \
             describes how to accept it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn remembers_a_jump_of_an_earlier_run() {
        assert_eq!(jumped(None).status, Severity::Ok);
        let jumped = jumped(Some("2046-03-01T12:00:00.000Z"));
        assert!(jumped.status == Severity::Warning && jumped.found.contains("2046-03-01T12:00:00.000Z"));
    }

    #[test]
    fn compares_the_clock_with_the_latest_time() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let at = |seconds: i64| ("x", now + SignedDuration::from_secs(seconds));
        let judged = |times: &[_], unknown: &[&'static str]| {
            judge(&RecordedTimes { times: times.to_vec(), unknown: unknown.to_vec() }, now)
        };
        let status = |times: &[_]| judged(times, &[]).status;
        assert_eq!(judged(&[at(-5)], &["x"]).status, Severity::NotChecked);
        assert_eq!(judged(&[at(61)], &["x"]).status, Severity::Error, "what is known is enough");
        assert_eq!(status(&[]), Severity::Ok);
        assert_eq!(status(&[at(-5), at(2), at(-9)]), Severity::Ok);
        assert_eq!(status(&[at(-5), at(3)]), Severity::Warning);
        assert_eq!(status(&[at(61), at(-5)]), Severity::Error);
        let found = &judged(&[at(7_200)], &[]).found;
        assert_eq!(
            found,
            "x has the time 2026-03-01T14:00:00Z, and it is 2026-03-01T12:00:00Z now: the clock has gone back by 2h"
        );
    }
}
