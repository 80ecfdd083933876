//! Reports: what the audit log, the keys and the API keys say of a period.
//!
//! The daemon answers JSON and CSV. Other formats are made of the JSON by those who ask, so that no fonts are read where the keys
//! are.

mod content;
mod csv;
mod rows;

use std::sync::Arc;

use hyper::header::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use tokio::task::spawn_blocking;

use super::{
    Service,
    answer::to_json,
    audit_events::no_audit_log,
    context::RequestContext,
    input::Input,
    operation::{JSON, Outcome, Reply},
    problem::Problem,
    query::{QueryParameters, parse_time},
    route::{Route, route},
    shares::Shares,
};
use content::Circumstances;
use masker_access::{Permit, ReportsRead, Resource};
use masker_api::Report;
use masker_audit::SummaryPeriod;
use masker_types::{
    error_code::Code,
    limits::{REPORT_BYTES, REPORT_DAYS_MAX},
};

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
/// The period of a report that names none, in hours: a week.
const PERIOD_HOURS_DEFAULT: i64 = 7 * 24;

pub(super) fn routes() -> Vec<Route> {
    vec![route! {
        handler: reports / __path_reports,
        access: Scope(ReportsRead),
        audit: Operation(ReportRead),
        cost: Request,
        body: Ignored,
    }]
}

/// Report on a period: what the verified audit log, the keys and the API keys say of it.
#[utoipa::path(
    get,
    path = "/api/v1/reports",
    params(
        ("since" = Option<String>, Query, description = "From this time on: RFC 3339, a date (UTC), or a duration before now such as `7d` or `24h`; `7d` by default"),
        ("until" = Option<String>, Query, description = "Before this time, in the same forms; now by default"),
        ("format" = Option<String>, Query, description = "`json` (the default) or `csv`"),
        ("full" = Option<bool>, Query, description = "Whether to read all segments of the audit log again, also those with a rollup: `false` by default")
    ),
    responses((status = 200, description = "The report", body = Report, example = json!(content::example()))),
)]
async fn reports(
    service: &Arc<Service>,
    ctx: &mut RequestContext,
    permit: Permit<ReportsRead>,
    input: &Input,
) -> Outcome {
    let log = service.audit.clone().ok_or_else(no_audit_log)?;
    let now = service.vault.now();
    let query = ReportQuery::of(&input.query, now)?;
    let ms = |time: Timestamp| u64::try_from(time.as_millisecond()).unwrap_or(0);
    ctx.number("since_ms", ms(query.period.since));
    ctx.number("until_ms", ms(query.period.until));
    ctx.flag("full", query.full);
    // One at a time: each takes a while of a disk and a processor.
    let _guard = service.reporting.lock().await;
    ctx.charge = Some(Shares::charge(Resource::Answers, &ctx.connection.seat, REPORT_BYTES).await?);
    let circumstances = Circumstances {
        now,
        period: query.period,
        caller: content::caller_of(&ctx.caller),
        keys: service.key_statuses(service.vault.generations()),
        api_keys: service.access.keys().list(),
        honeytokens: service.vault.count_honeytokens(&permit),
    };
    let ReportQuery { period, format, full } = query;
    let working = spawn_blocking(move || -> Result<(Vec<u8>, HeaderValue), Problem> {
        let summary = log.summarize(&period, full).map_err(|failed| unreadable(failed.to_string()))?;
        let report: Report = content::report(summary, &circumstances);
        match format {
            ReportFormat::Json => Ok((to_json(&report)?, JSON)),
            ReportFormat::Csv => Ok((csv::to_csv(&report).into_bytes(), CSV)),
        }
    });
    let (bytes, content_type) = working.await.map_err(|stopped| Problem::internal(stopped.to_string()))??;
    Ok(Reply::whole(bytes.into(), content_type))
}

/// A format that the daemon answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReportFormat {
    Json,
    Csv,
}

#[derive(Debug, PartialEq, Eq)]
struct ReportQuery {
    period: SummaryPeriod,
    format: ReportFormat,
    full: bool,
}

impl ReportQuery {
    fn of(query: &QueryParameters, now: Timestamp) -> Result<Self, Problem> {
        let times =
            "a duration before now such as 7d, a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z";
        let time = |text: &str| parse_duration_before(text, now).or_else(|| parse_time(text));
        let week_ago = || now.checked_sub(SignedDuration::from_hours(PERIOD_HOURS_DEFAULT)).unwrap_or(now);
        let since = query.read("since", times, time)?.unwrap_or_else(week_ago);
        let until = query.read("until", times, time)?.unwrap_or(now);
        let format = query.read(
            "format",
            "`json` or `csv`: `masker report` makes other formats of the JSON",
            |text| match text {
                "json" => Some(ReportFormat::Json),
                "csv" => Some(ReportFormat::Csv),
                _ => None,
            },
        )?;
        let full = query.read("full", "`true` or `false`", |text| text.parse().ok())?.unwrap_or(false);
        if since >= until {
            return Err(invalid("`since` is not before `until`: exchange them, or leave out `until`".to_owned()));
        }
        if until.duration_since(since) > SignedDuration::from_hours(24 * REPORT_DAYS_MAX) {
            return Err(invalid(format!("a report is of at most {REPORT_DAYS_MAX} days: ask for several")));
        }
        let period = SummaryPeriod { since, until };
        Ok(ReportQuery { period, format: format.unwrap_or(ReportFormat::Json), full })
    }
}

/// Parses a duration such as `7d`, and returns the time that is as long before `now`.
fn parse_duration_before(text: &str, now: Timestamp) -> Option<Timestamp> {
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400), ('w', 604_800)];
    units.iter().find_map(|(unit, seconds)| {
        let digits = text.strip_suffix(*unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        let count: u32 = digits.parse().ok()?;
        now.checked_sub(SignedDuration::from_secs(i64::from(count) * seconds)).ok()
    })
}

fn invalid(detail: String) -> Problem {
    Problem::new(Code::RequestInvalid, detail)
}

fn unreadable(cause: String) -> Problem {
    let detail = "the audit log cannot be summarized now; the operator finds the cause in the daemon's log, under the \
                  request id";
    Problem { cause: Some(cause), ..Problem::new(Code::AuditUnavailable, detail) }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    fn read(query: &str) -> Result<ReportQuery, String> {
        static NAMES: LazyLock<Vec<String>> =
            LazyLock::new(|| ["since", "until", "format", "full"].map(str::to_owned).to_vec());
        let query = QueryParameters::parse(Some(query), &NAMES).ok().unwrap();
        ReportQuery::of(&query, "2026-03-08T12:00:00Z".parse().unwrap()).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_period_is_a_week_by_default() {
        let query = read("").unwrap();
        assert_eq!(query.period.since.to_string(), "2026-03-01T12:00:00Z");
        assert_eq!(query.period.until.to_string(), "2026-03-08T12:00:00Z");
        assert_eq!((query.format, query.full), (ReportFormat::Json, false));
        let query = read("since=2026-01-01&until=2d&format=csv&full=true").unwrap();
        assert_eq!(query.period.since.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(query.period.until.to_string(), "2026-03-06T12:00:00Z");
        assert_eq!((query.format, query.full), (ReportFormat::Csv, true));
    }

    #[test]
    fn a_wrong_period_is_an_error_that_says_what_is_expected() {
        for (query, expected) in [
            ("since=2026-03-08T12:00:00Z", "not before `until`"),
            ("since=1d&until=2d", "not before `until`"),
            ("since=1990-01-01", "at most 3660 days"),
            ("since=week", "such as 7d"),
            ("since=%2B7d", "such as 7d"),
            ("since=99999999999d", "such as 7d"),
            ("since=4294967295w", "such as 7d"),
            ("until=yesterday", "such as 7d"),
            ("format=pdf", "`masker report`"),
            ("full=yes", "`true` or `false`"),
        ] {
            let detail = read(query).unwrap_err();
            assert!(detail.contains(expected), "{query}: {detail}");
        }
    }
}
