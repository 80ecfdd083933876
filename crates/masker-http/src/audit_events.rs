//! Reading the audit log back.

use data_encoding::HEXLOWER;
use hyper::body::Bytes;
use tokio::task::spawn_blocking;

use super::{Service, exchange::RequestContext, problem::Problem, query::QueryParameters, upkeep::time, values::json};
use masker_api::{AuditEvents, AuditHead};
use masker_audit::AuditOperation;
use masker_types::{
    error_code::Code,
    limits::{AUDIT_PAGE_EVENTS_DEFAULT, AUDIT_PAGE_EVENTS_MAX},
};

impl Service {
    pub(super) async fn audit_events(
        &self,
        on: &mut RequestContext,
        query: &QueryParameters,
    ) -> Result<Bytes, Problem> {
        on.permit::<masker_access::AuditRead>()?;
        let log = self.audit.clone().ok_or_else(absent)?;
        let query = wanted(query)?;
        // One at a time: each takes a while of a disk and a processor.
        let _guard = self.reading_audit.lock().await;
        let page = spawn_blocking(move || log.read(&query)).await.map_err(|failed| unread(failed.to_string()))?;
        let page = page.map_err(|failed| unread(failed.to_string()))?;
        let events: Vec<_> = page.events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
        let answer = AuditEvents { events, cursor: page.last.to_string(), more: page.more };
        let read = AuditOperation::AuditRead.as_str();
        // Whoever follows the log would otherwise be told of each look at it, by the next.
        on.skip_audit = answer.events.iter().all(|event| event.get("op").is_some_and(|op| op == read));
        on.number("events", answer.events.len() as u64);
        json(&answer)
    }

    pub(super) fn audit_head(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        on.permit::<masker_access::AuditRead>()?;
        let head = self.audit.as_ref().ok_or_else(absent)?.durable_head();
        json(&AuditHead { sequence: head.sequence, hash: HEXLOWER.encode(&head.hash) })
    }
}

fn absent() -> Problem {
    Problem::new(Code::AuditUnavailable, "there is no audit log: MASKER_AUDIT_HMAC_KEY is not set")
}

/// What a query asks for.
fn wanted(query: &QueryParameters) -> Result<masker_audit::EventQuery, Problem> {
    let moment = "a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z";
    let known = |text: &str| AuditOperation::ALL.iter().find(|op| op.as_str() == text).map(|op| op.as_str().to_owned());
    let count = format!("a number from 1 to {AUDIT_PAGE_EVENTS_MAX}");
    let limit = |text: &str| text.parse().ok().filter(|limit| (1..=AUDIT_PAGE_EVENTS_MAX).contains(limit));
    Ok(masker_audit::EventQuery {
        since: query.read("since", moment, time)?,
        until: query.read("until", moment, time)?,
        caller: query.get("caller").map(str::to_owned),
        op: query.read(
            "op",
            "an operation of the audit log, such as rehydrate; docs/audit-log.md lists them",
            known,
        )?,
        after: query.read("cursor", "what an answer gave", |text| text.parse().ok())?.unwrap_or(0),
        limit: query.read("limit", &count, limit)?.unwrap_or(AUDIT_PAGE_EVENTS_DEFAULT),
    })
}

fn unread(cause: String) -> Problem {
    let detail =
        "the audit log cannot be read now; the operator finds the cause in the daemon's log, under the request id";
    Problem { cause: Some(cause), ..Problem::new(Code::AuditUnavailable, detail) }
}
