//! What a report says, as texts in the order in which they are read.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use masker_api::{Report, ReportCaller, ReportEvent, ReportItems, ReportVerification};

use crate::RenderError;

/// The longest period of which a chart shows each day. Longer ones are shown by month.
const CHART_DAYS_MAX: usize = 62;
/// Kinds that a chart shows.
const CHART_KINDS_MAX: usize = 8;
/// Characters of a hash that are shown where the whole hash is nearby.
const SHORT_CHARS: usize = 12;

/// A report to be rendered.
pub(crate) struct View {
    pub(crate) title: String,
    pub(crate) is_verified: bool,
    /// Whether the audit log verifies, in a sentence.
    pub(crate) verdict: String,
    /// What the report is about and where it is from.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// The numbers that matter most.
    pub(crate) figures: Vec<(&'static str, u64)>,
    /// Requests by day or month.
    pub(crate) requests: Vec<Bucket>,
    /// Whether these are months.
    pub(crate) by_month: bool,
    /// Values that were given out, by kind, the most first.
    pub(crate) kinds: Vec<(String, u64)>,
    pub(crate) tables: Vec<Table>,
}

/// A day or a month of a chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) label: String,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

/// A table.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    /// The text that replaces a table without rows.
    pub(crate) empty: &'static str,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// Its part of the width of a page.
    pub(crate) part: f32,
    pub(crate) is_number: bool,
}

const fn text(name: &'static str, part: f32) -> Column {
    Column { name, part, is_number: false }
}

const fn number(name: &'static str, part: f32) -> Column {
    Column { name, part, is_number: true }
}

impl View {
    pub(crate) fn new(report: &Report) -> Result<Self, RenderError> {
        let (since, until) = period(report)?;
        let (requests, by_month) = buckets(report, since, until)?;
        Ok(View {
            title: format!("Report of {} to {}", minute(&report.period.since), minute(&report.period.until)),
            is_verified: report.log.verification == ReportVerification::Verified,
            verdict: verdict(report),
            facts: facts(report),
            figures: figures(report),
            requests,
            by_month,
            kinds: kinds(report),
            tables: tables(report),
        })
    }
}

fn period(report: &Report) -> Result<(Timestamp, Timestamp), RenderError> {
    let since = report.period.since.parse().map_err(|_| RenderError::Time("period.since"))?;
    let until = report.period.until.parse().map_err(|_| RenderError::Time("period.until"))?;
    Ok((since, until))
}

fn verdict(report: &Report) -> String {
    let log = &report.log;
    match (log.verification, &log.failure) {
        (ReportVerification::Verified, _) => format!(
            "The audit log verifies: {} in {} form one chain. {} read line by line for this report; of the others, the rollups \
             verify.",
            counted(log.events, "event"),
            counted(log.segments, "segment"),
            if log.segments_read == 1 {
                "1 segment was".to_owned()
            } else {
                format!("{} segments were", grouped(log.segments_read))
            }
        ),
        (ReportVerification::Failed, Some(failure)) => {
            let place = match (&*failure.segment, failure.line) {
                ("", _) => String::new(),
                (segment, 0) => format!("{segment}: "),
                (segment, line) => format!("{segment}, line {line}: "),
            };
            format!(
                "The audit log does NOT verify. {place}{}. Not in this report: {}.",
                failure.why,
                counted(log.failed_lines, "line")
            )
        }
        (ReportVerification::Failed, None) => "The audit log does NOT verify.".to_owned(),
    }
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let log = &report.log;
    let span = match (&log.first, &log.last) {
        (Some(first), Some(last)) => format!("{} to {}", minute(first), minute(last)),
        _ => "no events".to_owned(),
    };
    let covers = match log.covers_period {
        true => "the log has the whole period".to_owned(),
        false => "the log does NOT have the beginning of the period: older segments were removed".to_owned(),
    };
    let mut facts = vec![
        (
            "Period",
            format!("{} to {} (UTC, the end not included)", minute(&report.period.since), minute(&report.period.until)),
        ),
        (
            "Made",
            format!(
                "{} by masker {} for {}",
                minute(&report.generated_at),
                report.version,
                caller(&report.generated_for)
            ),
        ),
        ("Head of the chain", log.head.clone()),
        ("Log", format!("{span}; {covers}")),
    ];
    facts.extend(log.removed_before.iter().map(|head| ("Removed before", head.clone())));
    if report.left_out > 0 {
        facts.push(("Left out", format!("{} rows and events, which the totals count", grouped(report.left_out))));
    }
    facts
}

fn figures(report: &Report) -> Vec<(&'static str, u64)> {
    let of = |ops: &[&str]| -> u64 {
        report
            .operations
            .iter()
            .filter(|row| ops.contains(&&*row.op))
            .map(|row| row.items - row.items_failed.min(row.items))
            .sum()
    };
    let requests = report.days.iter().map(|day| day.requests).sum();
    let failed = report.days.iter().map(|day| day.failed).sum();
    vec![
        ("requests", requests),
        ("failed or refused", failed),
        ("values tokenized", of(&["tokenize", "text.mask"])),
        ("values given out", of(&["rehydrate", "text.restore"])),
        ("records forgotten", of(&["forget"])),
        ("uses of honeytokens", report.honeytokens.uses),
    ]
}

fn kinds(report: &Report) -> Vec<(String, u64)> {
    let mut kinds: Vec<(String, u64)> = Vec::new();
    for row in &report.rehydrations {
        let kind = kind(row.kind.as_ref());
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, items)) => *items += row.items,
            None => kinds.push((kind, row.items)),
        }
    }
    kinds.retain(|(_, items)| *items > 0);
    kinds.sort_by_key(|(_, items)| std::cmp::Reverse(*items));
    let others: u64 = kinds.iter().skip(CHART_KINDS_MAX).map(|(_, items)| items).sum();
    kinds.truncate(CHART_KINDS_MAX);
    if others > 0 {
        kinds.push(("others".to_owned(), others));
    }
    kinds
}

/// Returns the days of the period, or its months if there are many, also those without events.
fn buckets(report: &Report, since: Timestamp, until: Timestamp) -> Result<(Vec<Bucket>, bool), RenderError> {
    let date = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
    let first = date(since);
    // The end is not in the period.
    let last = date(until.checked_sub(1.nanosecond()).unwrap_or(until)).max(first);
    let mut days = Vec::new();
    let mut day = Some(first);
    while let Some(date) = day.filter(|day| *day <= last) {
        days.push(date);
        day = date.tomorrow().ok();
    }
    let by_month = days.len() > CHART_DAYS_MAX;
    let label = |day: Date| if by_month { day.strftime("%Y-%m").to_string() } else { day.to_string() };
    let mut buckets: Vec<Bucket> = Vec::new();
    for day in days {
        let label = label(day);
        if buckets.last().is_none_or(|bucket| bucket.label != label) {
            buckets.push(Bucket { label, requests: 0, failed: 0 });
        }
    }
    for row in &report.days {
        let day: Date = row.day.parse().map_err(|_| RenderError::Time("days"))?;
        let label = label(day);
        if let Some(bucket) = buckets.iter_mut().find(|bucket| bucket.label == label) {
            bucket.requests += row.requests;
            bucket.failed += row.failed;
        }
    }
    Ok((buckets, by_month))
}

fn tables(report: &Report) -> Vec<Table> {
    let n = |number: u64| grouped(number);
    let items = |rows: &[ReportItems]| {
        let row = |row: &ReportItems| vec![caller(&row.caller), kind(row.kind.as_ref()), n(row.items), n(row.failed)];
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let of_items = vec![text("caller", 0.52), text("kind", 0.2), number("values", 0.14), number("failed", 0.14)];
    let states = report.api_keys.states.iter().map(|(state, keys)| vec![state.clone(), n(*keys)]);
    let changes =
        [("created in the period", report.api_keys.created), ("revoked in the period", report.api_keys.revoked)];
    let changes = changes.into_iter().map(|(name, keys)| vec![name.to_owned(), n(keys)]);
    let inactive = [vec!["not used for 90 days".to_owned(), n(report.api_keys.inactive.len() as u64)]];
    vec![
        Table {
            title: "Who was given values",
            empty: "Nobody was given a value.",
            columns: of_items.clone(),
            rows: items(&report.rehydrations),
        },
        Table {
            title: "Operations",
            empty: "There were no operations.",
            columns: vec![
                text("operation", 0.44),
                number("requests", 0.14),
                number("failed", 0.14),
                number("values", 0.14),
                number("failed", 0.14),
            ],
            rows: report
                .operations
                .iter()
                .map(|row| vec![row.op.clone(), n(row.requests), n(row.failed), n(row.items), n(row.items_failed)])
                .collect(),
        },
        Table {
            title: "Callers",
            empty: "There were no callers.",
            columns: vec![
                text("caller", 0.58),
                number("requests", 0.14),
                number("failed", 0.14),
                number("values", 0.14),
            ],
            rows: report
                .callers
                .iter()
                .map(|row| vec![caller(&row.caller), n(row.requests), n(row.failed), n(row.items)])
                .collect(),
        },
        Table {
            title: "Failures and refusals",
            empty: "No request failed or was refused.",
            columns: vec![text("operation", 0.2), text("code", 0.22), text("caller", 0.44), number("requests", 0.14)],
            rows: report
                .failures
                .iter()
                .map(|row| vec![row.op.clone(), row.code.clone(), caller(&row.caller), n(row.requests)])
                .collect(),
        },
        Table {
            title: "Incidents",
            empty: "There were none: no break of the chain, no accepted loss, no jump of the clock.",
            columns: event_columns(),
            rows: events(&report.incidents),
        },
        Table {
            title: "Keys now",
            empty: "There are no keys.",
            columns: vec![
                text("key", 0.22),
                text("fingerprint", 0.2),
                text("state", 0.16),
                text("first seen", 0.14),
                text("grace ends", 0.14),
                number("records", 0.14),
            ],
            rows: report
                .keys
                .iter()
                .map(|key| {
                    let state = match (key.loaded, &*key.generation) {
                        (false, _) => "not loaded".to_owned(),
                        (true, generation) if key.removable => format!("{generation}, removable"),
                        (true, generation) => generation.to_owned(),
                    };
                    let day =
                        |time: &Option<String>| time.as_deref().map_or("-".to_owned(), |time| date(time).to_owned());
                    vec![
                        key.kid.clone(),
                        key.fingerprint.clone(),
                        state,
                        day(&key.first_seen),
                        day(&key.grace_ends),
                        n(key.vault_records),
                    ]
                })
                .collect(),
        },
        Table {
            title: "Rotations and changes of keys",
            empty: "No key was changed.",
            columns: event_columns(),
            rows: events(&report.rotations),
        },
        Table {
            title: "API keys now",
            empty: "There are no API keys.",
            columns: vec![text("state", 0.8), number("keys", 0.2)],
            rows: states.chain(changes).chain(inactive).collect(),
        },
        Table {
            title: "API keys that are not used",
            empty: "Every active API key was used in the last 90 days.",
            columns: vec![text("name", 0.3), text("prefix", 0.25), text("owner", 0.25), text("last used", 0.2)],
            rows: report
                .api_keys
                .inactive
                .iter()
                .map(|key| {
                    let used = key.last_used.as_deref().map_or("never", date);
                    vec![key.name.clone(), key.prefix.clone(), key.owner.clone(), used.to_owned()]
                })
                .collect(),
        },
        Table {
            title: "Changes of API keys",
            empty: "No API key was changed.",
            columns: event_columns(),
            rows: events(&report.api_keys.events),
        },
        Table {
            title: "Honeytokens",
            empty: "No honeytoken was planted, removed or used.",
            columns: event_columns(),
            rows: events(&report.honeytokens.events),
        },
        Table {
            title: "Budgets",
            empty: "No caller used up 80 % of a budget.",
            columns: vec![text("caller", 0.5), text("budget", 0.22), number("size", 0.14), number("times", 0.14)],
            rows: report
                .budgets
                .iter()
                .map(|row| {
                    let size = if row.limit == 0 { "-".to_owned() } else { n(row.limit) };
                    vec![caller(&row.caller), row.which.clone(), size, n(row.times)]
                })
                .collect(),
        },
        Table {
            title: "Erasures on request",
            empty: "Nothing was forgotten.",
            columns: of_items,
            rows: items(&report.erasures.forgotten),
        },
        Table {
            title: "Erasures by rule",
            empty: "Nothing was purged.",
            columns: event_columns(),
            rows: events(&report.erasures.events),
        },
        Table {
            title: "Configuration and operation",
            empty: "Nothing was changed.",
            columns: event_columns(),
            rows: events(&report.configuration),
        },
    ]
}

fn event_columns() -> Vec<Column> {
    vec![text("time", 0.16), text("operation", 0.18), text("outcome", 0.12), text("caller", 0.24), text("details", 0.3)]
}

fn events(events: &[ReportEvent]) -> Vec<Vec<String>> {
    let row = |event: &ReportEvent| {
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let details = event.detail.iter().map(|(name, value)| format!("{name} {}", text(value)));
        let details = details.collect::<Vec<_>>().join(", ");
        vec![minute(&event.time), event.op.clone(), event.outcome.clone(), caller(&event.caller), details]
    };
    events.iter().map(row).collect()
}

/// Returns who a caller is, in a line.
fn caller(caller: &ReportCaller) -> String {
    let short = |text: &str| text.chars().take(SHORT_CHARS).collect::<String>();
    let facts = [
        caller.uid.map(|uid| format!("uid {uid}")),
        caller.key_id.as_deref().map(|id| format!("key {}", short(id))),
        caller.certificate.as_deref().map(|hash| format!("certificate {}", short(hash))),
        caller.gateway.as_deref().map(|gateway| format!("through {gateway}")),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if facts.is_empty() { caller.name.clone() } else { format!("{} ({})", caller.name, facts.join(", ")) }
}

fn kind(kind: Option<&String>) -> String {
    kind.cloned().unwrap_or_else(|| "unknown".to_owned())
}

/// Returns the date of a time in RFC 3339.
fn date(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

/// Returns a time in RFC 3339 up to its minute.
fn minute(time: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(date), Some(minute)) => format!("{date} {minute}"),
        _ => time.to_owned(),
    }
}

/// Returns a number with what it counts.
fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Returns a number with its digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_api::{ReportDay, ReportPeriod};

    fn view(since: &str, until: &str, days: &[(&str, u64)]) -> View {
        let day = |(day, requests): &(&str, u64)| ReportDay {
            day: (*day).to_owned(),
            requests: *requests,
            ..ReportDay::default()
        };
        let report = Report {
            period: ReportPeriod { since: since.to_owned(), until: until.to_owned() },
            days: days.iter().map(day).collect(),
            ..Report::default()
        };
        View::new(&report).unwrap()
    }

    #[test]
    fn days_without_events_are_shown_too() {
        let view = view("2026-03-01T12:00:00Z", "2026-03-05T00:00:00Z", &[("2026-03-02", 7)]);
        let shown: Vec<_> = view.requests.iter().map(|bucket| (&*bucket.label, bucket.requests)).collect();
        assert_eq!(shown, [("2026-03-01", 0), ("2026-03-02", 7), ("2026-03-03", 0), ("2026-03-04", 0)]);
        assert!(!view.by_month);
    }

    #[test]
    fn a_long_period_is_shown_by_month() {
        let days = [("2026-01-31", 1), ("2026-02-01", 2), ("2026-02-28", 3)];
        let view = view("2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z", &days);
        let shown: Vec<_> = view.requests.iter().map(|bucket| (&*bucket.label, bucket.requests)).collect();
        assert_eq!((shown, view.by_month), (vec![("2026-01", 1), ("2026-02", 5), ("2026-03", 0)], true));
    }

    #[test]
    fn a_report_with_a_wrong_time_is_refused() {
        let report =
            Report { period: ReportPeriod { since: "today".into(), until: "now".into() }, ..Report::default() };
        assert!(matches!(View::new(&report), Err(RenderError::Time("period.since"))));
    }

    #[test]
    fn numbers_have_groups_of_digits() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
