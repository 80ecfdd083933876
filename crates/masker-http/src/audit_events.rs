//! Reading the audit log.

use data_encoding::HEXLOWER;
use tokio::task::spawn_blocking;

use super::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
    query::{QueryParameters, parse_time},
    route::{Route, route},
};
use masker_access::{AuditRead, Permit};
use masker_api::{AuditEvents, AuditHead};
use masker_audit::AuditOperation;
use masker_types::{
    error_code::Code,
    limits::{AUDIT_PAGE_EVENTS_DEFAULT, AUDIT_PAGE_EVENTS_MAX},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: audit_events / __path_audit_events,
            access: Scope(AuditRead),
            audit: Operation(AuditRead),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: audit_head / __path_audit_head,
            access: Scope(AuditRead),
            audit: Unaudited("an event for each look at the head would move the head"),
            cost: Request,
            body: Ignored,
        },
    ]
}

/// List events of the audit log, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit/events",
    params(
        ("since" = Option<String>, Query, description = "From this time on (RFC 3339, or a date)"),
        ("until" = Option<String>, Query, description = "Before this time"),
        ("caller" = Option<String>, Query, description = "Of the caller with this name"),
        ("op" = Option<String>, Query, description = "Of this operation"),
        ("limit" = Option<usize>, Query, description = "The most to return: 1 to 1,000; 100 by default"),
        ("cursor" = Option<String>, Query, description = "The `cursor` of the page before")
    ),
    responses((status = 200, description = "The events", body = AuditEvents, example = json!({
        "events": [{
            "caller": {"gid": 1001, "mode": "live", "name": "billing", "pid": 4711, "uid": 1001}, "duration_us": 180,
            "op": "rehydrate", "outcome": "ok", "policy": "healthcare-default", "request_id": "0198b2c4d5e6f708",
            "seq": 42, "status": 200, "time": "2026-01-31T12:00:00.000Z", "v": 1
        }],
        "cursor": "42",
        "more": false
    }))),
)]
async fn audit_events(
    service: &Service,
    ctx: &mut RequestContext,
    _permit: Permit<AuditRead>,
    input: &Input,
) -> Outcome {
    let log = service.audit.clone().ok_or_else(no_audit_log)?;
    let query = event_query(&input.query)?;
    // One at a time: each takes a while of a disk and a processor.
    let _guard = service.reading_audit.lock().await;
    let page = spawn_blocking(move || log.read(&query)).await.map_err(|failed| unreadable(failed.to_string()))?;
    let page = page.map_err(|failed| unreadable(failed.to_string()))?;
    let events: Vec<_> = page.events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    let answer = AuditEvents { events, cursor: page.last.to_string(), more: page.more };
    let read = AuditOperation::AuditRead.as_str();
    // A client that follows the log would otherwise find an event for each of its own reads.
    ctx.skip_audit = answer.events.iter().all(|event| event.get("op").is_some_and(|op| op == read));
    ctx.number("events", answer.events.len() as u64);
    Reply::json(&answer)
}

/// Show the number and the hash of the audit log's last event, to be kept where the log is not.
#[utoipa::path(
    get,
    path = "/api/v1/audit/head",
    responses((status = 200, description = "The log's head", body = AuditHead, example = json!({
        "sequence": 42, "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    }))),
)]
async fn audit_head(
    service: &Service,
    _ctx: &mut RequestContext,
    _permit: Permit<AuditRead>,
    _input: &Input,
) -> Outcome {
    let head = service.audit.as_ref().ok_or_else(no_audit_log)?.durable_head();
    Reply::json(&AuditHead { sequence: head.sequence, hash: HEXLOWER.encode(&head.hash) })
}

pub(super) fn no_audit_log() -> Problem {
    let detail = "there is no audit log: MASKER_AUDIT_HMAC_KEY is not set";
    // That does not pass.
    Problem { retry_after_seconds: None, ..Problem::new(Code::AuditUnavailable, detail) }
}

/// Reads a query for events.
fn event_query(query: &QueryParameters) -> Result<masker_audit::EventQuery, Problem> {
    let time = "a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z";
    let known = |text: &str| AuditOperation::ALL.iter().find(|op| op.as_str() == text).map(|op| op.as_str().to_owned());
    let count = format!("a number from 1 to {AUDIT_PAGE_EVENTS_MAX}");
    let limit = |text: &str| text.parse().ok().filter(|limit| (1..=AUDIT_PAGE_EVENTS_MAX).contains(limit));
    Ok(masker_audit::EventQuery {
        since: query.read("since", time, parse_time)?,
        until: query.read("until", time, parse_time)?,
        caller: query.get("caller").map(str::to_owned),
        op: query.read("op", "an operation of the audit log, such as rehydrate", known)?,
        after: query.read("cursor", "the `cursor` of an answer", |text| text.parse().ok())?.unwrap_or(0),
        limit: query.read("limit", &count, limit)?.unwrap_or(AUDIT_PAGE_EVENTS_DEFAULT),
    })
}

fn unreadable(cause: String) -> Problem {
    let detail =
        "the audit log cannot be read now; the operator finds the cause in the daemon's log, under the request id";
    Problem { cause: Some(cause), ..Problem::new(Code::AuditUnavailable, detail) }
}
