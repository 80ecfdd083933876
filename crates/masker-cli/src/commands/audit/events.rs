//! `masker audit show` and `masker audit tail`: prints events of the audit log, which the daemon reads.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    args::EventArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
    url::encode,
};
use masker_api::AuditEvents;
use masker_types::limits::AUDIT_PAGE_EVENTS_MAX;

/// Interval between requests for new events.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Where `tail` begins by default.
const TAIL_SINCE: &str = "10m";
/// The operation of reading the log, which is itself recorded.
const READ: &str = "audit.read";

/// `masker audit show`.
pub(super) async fn show(args: &EventArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let filter = filter(args, None)?;
    let mut cursor = "0".to_owned();
    loop {
        let page = page(&filter, &cursor, ctx).await?;
        for event in &page.events {
            write(event, ctx)?;
        }
        if !page.more {
            return Ok(Exit::Done);
        }
        cursor = page.cursor;
    }
}

/// `masker audit tail`. Runs until it is interrupted.
pub(super) async fn tail(args: &EventArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let filter = filter(args, Some(TAIL_SINCE))?;
    let reads_wanted = args.op.as_deref() == Some(READ);
    let mut cursor = "0".to_owned();
    loop {
        let page = page(&filter, &cursor, ctx).await?;
        // Each request would otherwise cause a further line.
        let shown = page.events.iter().filter(|event| reads_wanted || text(event, "op") != READ);
        for event in shown {
            write(event, ctx)?;
        }
        ctx.output.flush()?;
        cursor = page.cursor;
        if !page.more {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

async fn page(filter: &str, cursor: &str, ctx: &mut CommandContext<'_>) -> Result<AuditEvents, CommandError> {
    let path = format!("/api/v1/audit/events?limit={AUDIT_PAGE_EVENTS_MAX}&cursor={cursor}{filter}");
    Ok(ctx.get(&path).await?.json()?)
}

/// Returns the part of a query that selects events.
fn filter(args: &EventArgs, since: Option<&str>) -> Result<String, CommandError> {
    let since = args.since.as_deref().or(since).map(|text| time("--since", text)).transpose()?;
    let until = args.until.as_deref().map(|text| time("--until", text)).transpose()?;
    let given = [("since", since), ("until", until), ("caller", args.caller.clone()), ("op", args.op.clone())];
    let mut filter = String::new();
    for (name, value) in given {
        if let Some(value) = value {
            filter.push_str(&format!("&{name}={}", encode(&value)));
        }
    }
    Ok(filter)
}

/// Converts a duration before now, such as `24h`, to a time. Other texts are left to the daemon.
fn time(flag: &str, text: &str) -> Result<String, CommandError> {
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let Some(seconds) = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, *seconds))) else {
        return Ok(text.to_owned());
    };
    let wrong =
        || CommandError::Usage(format!("{flag}: expected a duration such as 24h, a date, or a time in RFC 3339"));
    let seconds: i64 =
        seconds.0.parse::<u32>().ok().and_then(|count| i64::from(count).checked_mul(seconds.1)).ok_or_else(wrong)?;
    let at = Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).map_err(|_| wrong())?;
    Ok(at.to_string())
}

type Event = BTreeMap<String, Value>;

/// Prints an event on a line: the event itself with `--json`, otherwise its most important fields.
fn write(event: &Event, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    if ctx.output.is_json() {
        return ctx.output.json(event);
    }
    ctx.output.line(&line(event))
}

fn text<'e>(event: &'e Event, name: &str) -> &'e str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn line(event: &Event) -> String {
    let caller = event.get("caller").map_or_else(
        || "masker".to_owned(),
        |caller| {
            let credential = caller["key_prefix"].as_str().map(|prefix| format!(" {prefix}")).unwrap_or_default();
            format!("{} ({}{credential})", caller["name"].as_str().unwrap_or_default(), caller["uid"])
        },
    );
    let mut facts = Vec::new();
    for count in event.get("counts").and_then(Value::as_array).into_iter().flatten() {
        let of = ["kind", "kid", "fingerprint", "generation", "outcome"].map(|name| count[name].as_str());
        facts.push(format!("{} {}", count["items"], of.into_iter().flatten().collect::<Vec<_>>().join(" ")));
    }
    for (name, detail) in event.get("detail").and_then(Value::as_object).into_iter().flatten() {
        let detail = detail.as_str().map_or_else(|| detail.to_string(), str::to_owned);
        facts.push(format!("{name} {detail}"));
    }
    let cells = [
        text(event, "time"),
        text(event, "op"),
        text(event, "outcome"),
        &caller,
        text(event, "request_id"),
        &facts.join(", "),
    ];
    cells.join("\t").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_durations_and_times() {
        let before = Timestamp::now();
        let day: Timestamp = time("--since", "24h").ok().unwrap().parse().unwrap();
        let since = before.duration_since(day).as_secs();
        assert!((86_395..=86_400).contains(&since), "{since}");
        assert_eq!(time("--since", "2026-01-31").ok().unwrap(), "2026-01-31");
        for text in ["h", "1.5h", "-1h", "99999999999d", "one day"] {
            let exit = time("--since", text).err().map(|error| error.exit());
            assert_eq!(exit, (text != "one day").then_some(Exit::Usage), "{text}");
        }
    }

    #[test]
    fn filters_are_percent_encoded() {
        let args = EventArgs { caller: Some("Jörg & co=1".to_owned()), ..EventArgs::default() };
        assert_eq!(filter(&args, None).ok().unwrap(), "&caller=J%C3%B6rg%20%26%20co%3D1");
    }

    #[test]
    fn a_line_has_the_most_important_fields() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "time": "2026-03-01T12:00:00.000Z", "op": "rehydrate", "outcome": "ok", "request_id": "r",
            "caller": {"name": "billing", "uid": 7, "key_prefix": "masker_live_abcd"},
            "counts": [{"items": 2, "kind": "PHONE", "kid": "K_CARE", "generation": "old", "outcome": "ok"}],
            "detail": {"scope": "rehydrate", "records": 3},
        }))
        .unwrap();
        assert_eq!(
            line(&event),
            "2026-03-01T12:00:00.000Z\trehydrate\tok\tbilling (7 masker_live_abcd)\tr\t2 PHONE K_CARE old ok, records 3, \
             scope rehydrate"
        );
    }
}
