//! `masker audit show` and `masker audit tail`: prints events of the audit log, which the daemon reads.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    args::EventArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
    times::parse_past,
    url::encode,
};
use masker_api::AuditEvents;
use masker_audit::AuditOperation;
use masker_types::{
    limits::AUDIT_PAGE_EVENTS_MAX,
    quote::{quoted, suggestion},
};

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
    let time = |option, text| Ok::<_, CommandError>(parse_past(option, text, Timestamp::now())?.to_string());
    let since = args.since.as_deref().or(since).map(|text| time("--since", text)).transpose()?;
    let until = args.until.as_deref().map(|text| time("--until", text)).transpose()?;
    let op = args.op.as_deref().map(operation).transpose()?;
    let given = [("since", since), ("until", until), ("caller", args.caller.clone()), ("op", op)];
    let mut filter = String::new();
    for (name, value) in given {
        if let Some(value) = value {
            filter.push_str(&format!("&{name}={}", encode(&value)));
        }
    }
    Ok(filter)
}

/// Checks the name of an operation.
fn operation(name: &str) -> Result<String, CommandError> {
    let names: Vec<&str> = AuditOperation::ALL.iter().map(|operation| operation.as_str()).collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(CommandError::Usage(format!("--op: {} is not an operation: {}", quoted(name), suggestion(name, &names))))
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
            let facts = [("key_prefix", ""), ("certificate", ""), ("gateway", "through "), ("address", "from ")];
            let facts = facts.map(|(name, word)| caller[name].as_str().map(|fact| format!(" {word}{fact}")));
            let facts: String = facts.into_iter().flatten().collect();
            format!("{} ({}{facts})", caller["name"].as_str().unwrap_or_default(), caller["uid"])
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
    fn a_misspelled_operation_is_an_error_of_the_command_line() {
        let args = |op: &str| EventArgs { op: Some(op.to_owned()), ..EventArgs::default() };
        assert_eq!(filter(&args("rehydrate"), None).ok().unwrap(), "&op=rehydrate");
        let error = filter(&args("rehydrat"), None).unwrap_err();
        assert_eq!(
            (error.exit(), error.to_string().contains("did you mean `rehydrate`?")),
            (Exit::Usage, true),
            "{error}"
        );
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
