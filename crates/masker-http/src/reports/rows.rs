//! The rows of a report, from the counts of a summary.

use std::{cmp::Reverse, collections::BTreeMap};

use masker_api::{
    ReportBudget, ReportCaller, ReportCallerTotals, ReportDay, ReportFailure, ReportItems, ReportKind, ReportOperation,
};
use masker_audit::{AuditOperation, PeriodSummary, RequestKey, Summary, SummaryCaller};

/// The outcome of what succeeded.
const OK: &str = "ok";
/// The name of the daemon among callers.
const DAEMON: &str = "masker";
/// The name of the callers that a summary does not name.
const OTHERS: &str = "other callers";

/// Returns a caller as reports write it.
pub(super) fn caller(caller: &SummaryCaller) -> ReportCaller {
    match caller {
        SummaryCaller::Daemon => ReportCaller { name: DAEMON.to_owned(), ..ReportCaller::default() },
        SummaryCaller::Others => ReportCaller { name: OTHERS.to_owned(), ..ReportCaller::default() },
        SummaryCaller::Known { name, uid, key_id, certificate, gateway } => ReportCaller {
            name: name.clone(),
            uid: Some(*uid),
            key_id: key_id.clone(),
            certificate: certificate.clone(),
            gateway: gateway.clone(),
        },
    }
}

/// Returns whether an event is about a request of a caller.
fn is_request(key: &RequestKey) -> bool {
    key.caller != SummaryCaller::Daemon
}

/// Returns whether an outcome of an item is a failure: a code has a dot, and a word for a success has none.
fn has_failed(outcome: &str) -> bool {
    outcome.contains('.')
}

/// Returns the days in their order.
pub(super) fn days(summary: &PeriodSummary) -> Vec<ReportDay> {
    let day = |(day, totals): (&String, &masker_audit::DayTotals)| ReportDay {
        day: day.clone(),
        events: totals.events,
        requests: totals.requests,
        failed: totals.failed,
        items: totals.items.clone(),
    };
    summary.days.iter().map(day).collect()
}

/// Returns the operations in the order of their names.
pub(super) fn operations(summary: &Summary) -> Vec<ReportOperation> {
    let mut operations: BTreeMap<&str, ReportOperation> = BTreeMap::new();
    let new = |op: &str| ReportOperation { op: op.to_owned(), ..ReportOperation::default() };
    for (key, requests) in summary.requests.iter() {
        let operation = operations.entry(&key.op).or_insert_with(|| new(&key.op));
        operation.requests += requests;
        if key.outcome != OK {
            operation.failed += requests;
        }
    }
    for (key, items) in summary.items.iter() {
        let operation = operations.entry(&key.op).or_insert_with(|| new(&key.op));
        operation.items += items;
        if has_failed(&key.outcome) {
            operation.items_failed += items;
        }
    }
    operations.into_values().collect()
}

/// Returns the callers, those with the most requests first.
pub(super) fn callers(summary: &Summary) -> Vec<ReportCallerTotals> {
    let mut callers: BTreeMap<&SummaryCaller, ReportCallerTotals> = BTreeMap::new();
    let new = |of: &SummaryCaller| ReportCallerTotals { caller: caller(of), ..ReportCallerTotals::default() };
    for (key, requests) in summary.requests.iter().filter(|(key, _)| is_request(key)) {
        let totals = callers.entry(&key.caller).or_insert_with(|| new(&key.caller));
        totals.requests += requests;
        if key.outcome != OK {
            totals.failed += requests;
        }
    }
    for (key, items) in summary.items.iter().filter(|(key, _)| key.caller != SummaryCaller::Daemon) {
        callers.entry(&key.caller).or_insert_with(|| new(&key.caller)).items += items;
    }
    let mut callers: Vec<_> = callers.into_values().collect();
    callers.sort_by_key(|totals| Reverse(totals.requests));
    callers
}

/// Returns the kinds with their operations, in the order of their names.
pub(super) fn kinds(summary: &Summary) -> Vec<ReportKind> {
    let mut kinds: BTreeMap<(&Option<String>, &str), ReportKind> = BTreeMap::new();
    for (key, items) in summary.items.iter() {
        let row = kinds.entry((&key.kind, &key.op)).or_insert_with(|| ReportKind {
            kind: key.kind.clone(),
            op: key.op.clone(),
            ..ReportKind::default()
        });
        row.items += items;
        if has_failed(&key.outcome) {
            row.failed += items;
        }
    }
    kinds.into_values().collect()
}

/// Returns the items of operations by caller and kind, the most first.
pub(super) fn items_of(summary: &Summary, operations: &[AuditOperation]) -> Vec<ReportItems> {
    let is_of = |op: &str| operations.iter().any(|operation| operation.as_str() == op);
    let mut rows: BTreeMap<(&SummaryCaller, &Option<String>, &str), ReportItems> = BTreeMap::new();
    for (key, items) in summary.items.iter().filter(|(key, _)| is_of(&key.op)) {
        let row = rows.entry((&key.caller, &key.kind, &key.op)).or_insert_with(|| ReportItems {
            caller: caller(&key.caller),
            op: key.op.clone(),
            kind: key.kind.clone(),
            ..ReportItems::default()
        });
        *(if has_failed(&key.outcome) { &mut row.failed } else { &mut row.items }) += items;
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| Reverse((row.items, row.failed)));
    rows
}

/// Returns the requests that failed or were refused, the most first.
pub(super) fn failures(summary: &Summary) -> Vec<ReportFailure> {
    let failed = summary.requests.iter().filter(|(key, _)| key.outcome != OK && is_request(key));
    let mut failures: Vec<_> = failed
        .map(|(key, requests)| ReportFailure {
            op: key.op.clone(),
            code: key.outcome.clone(),
            caller: caller(&key.caller),
            requests,
        })
        .collect();
    failures.sort_by_key(|row| Reverse(row.requests));
    failures
}

/// Returns the budgets that were nearly used up, the most frequent first.
pub(super) fn budgets(summary: &Summary) -> Vec<ReportBudget> {
    let mut budgets: Vec<_> = summary
        .budgets
        .iter()
        .map(|(key, times)| ReportBudget {
            caller: caller(&key.caller),
            which: key.which.clone(),
            limit: key.limit,
            times,
        })
        .collect();
    budgets.sort_by_key(|row| Reverse(row.times));
    budgets
}

/// Returns how often an operation was recorded.
pub(super) fn requests_of(summary: &Summary, op: AuditOperation) -> u64 {
    summary.requests.iter().filter(|(key, _)| key.op == op.as_str()).map(|(_, requests)| requests).sum()
}

/// Returns how often an operation succeeded.
pub(super) fn successes_of(summary: &Summary, op: AuditOperation) -> u64 {
    let of = |key: &RequestKey| key.op == op.as_str() && key.outcome == OK;
    summary.requests.iter().filter(|(key, _)| of(key)).map(|(_, requests)| requests).sum()
}
