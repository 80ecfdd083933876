//! One event, as a summary takes it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::totals::{BudgetKey, ItemKey, ListedEvent, RequestKey, Summary, SummaryCaller};
use crate::event::AuditOperation;

/// Longest text of a detail that a summary keeps, in bytes.
const DETAIL_BYTES_MAX: usize = 256;
/// Length of a date, such as `2026-03-01`.
const DATE_BYTES: usize = 10;

/// Texts in parts whose first event is known at once.
const STREAMS_MAX: usize = 10_000;

/// What the parts of a text belong to: by the id of the request, the name of the operation that began it.
pub(super) type Streams = HashMap<String, &'static str>;

/// The members of an event that a summary reads.
#[derive(Deserialize)]
pub(super) struct SummarizedEvent<'a> {
    seq: u64,
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow, default)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    caller: Option<EventCaller<'a>>,
    #[serde(borrow, default)]
    counts: Vec<EventCount<'a>>,
    #[serde(default)]
    detail: Map<String, Value>,
}

#[derive(Deserialize)]
struct EventCaller<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    uid: u32,
    #[serde(borrow, default)]
    key_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    certificate: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    gateway: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct EventCount<'a> {
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    items: u64,
}

impl SummarizedEvent<'_> {
    /// Returns the day in UTC, such as `2026-03-01`.
    pub(super) fn day(&self) -> &str {
        self.time.get(..DATE_BYTES).unwrap_or_default()
    }

    /// Adds the event to the summary of its day.
    pub(super) fn add_to(self, streams: &mut Streams, summary: &mut Summary) {
        let op = AuditOperation::ALL.iter().find(|op| op.as_str() == self.op).copied();
        let item_op = self.streamed_operation(op, streams).unwrap_or(&self.op).to_owned();
        let caller = self.caller.map_or(SummaryCaller::Daemon, EventCaller::into_summary);
        summary.events += 1;
        if op == Some(AuditOperation::BudgetCrossed) {
            let which = self.detail.get("which").and_then(Value::as_str).unwrap_or_default().to_owned();
            let limit = self.detail.get("limit").and_then(Value::as_u64).unwrap_or(0);
            summary.add_budget(BudgetKey { caller, which, limit });
            return;
        }
        // An event that counts refusals is about as many requests. What has no operation, such as the note of a position,
        // is counted as well: the sum is the number of events.
        let requests = self.detail.get("repeated").and_then(Value::as_u64).unwrap_or(1);
        let key = RequestKey { op: self.op.to_string(), caller: caller.clone(), outcome: self.outcome.to_string() };
        summary.add_request(key, requests);
        // The counts of a start or a reload are keys and their records.
        if !op.is_some_and(loads_keys) {
            for count in self.counts {
                let key = ItemKey {
                    op: item_op.clone(),
                    caller: caller.clone(),
                    kind: count.kind.map(Cow::into_owned),
                    outcome: count.outcome.into_owned(),
                };
                summary.add_items(key, count.items);
            }
        }
        if op.is_some_and(is_listed) {
            summary.list(ListedEvent {
                sequence: self.seq,
                time: self.time.into_owned(),
                op: self.op.into_owned(),
                outcome: self.outcome.into_owned(),
                caller,
                detail: kept_details(self.detail),
            });
        }
    }
}

impl SummarizedEvent<'_> {
    /// Returns the operation that the event is a part of, if it is the part of a text whose first event is in the same segment.
    fn streamed_operation(&self, op: Option<AuditOperation>, streams: &mut Streams) -> Option<&'static str> {
        let id = self.request_id.as_deref()?;
        match op? {
            op @ (AuditOperation::TextMask | AuditOperation::TextRestore) => {
                if self.detail.contains_key("streamed") && streams.len() < STREAMS_MAX {
                    streams.insert(id.to_owned(), op.as_str());
                }
                None
            }
            AuditOperation::TextStreamed if self.detail.contains_key("part") => streams.get(id).copied(),
            AuditOperation::TextStreamed => streams.remove(id),
            _ => None,
        }
    }
}

impl EventCaller<'_> {
    fn into_summary(self) -> SummaryCaller {
        SummaryCaller::Known {
            name: self.name.into_owned(),
            uid: self.uid,
            key_id: self.key_id.map(Cow::into_owned),
            certificate: self.certificate.map(Cow::into_owned),
            gateway: self.gateway.map(Cow::into_owned),
        }
    }
}

/// Returns the details that a summary keeps: all but lists, long texts and the position of the vault.
fn kept_details(detail: Map<String, Value>) -> BTreeMap<String, Value> {
    let is_kept = |name: &str, value: &Value| match value {
        _ if name.starts_with("vault_") || name == "erased" => false,
        Value::String(text) => text.len() <= DETAIL_BYTES_MAX,
        Value::Number(_) | Value::Bool(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    detail.into_iter().filter(|(name, value)| is_kept(name, value)).collect()
}

const fn loads_keys(op: AuditOperation) -> bool {
    use AuditOperation as Op;
    matches!(op, Op::Start | Op::KeysReload | Op::Reload)
}

/// Returns whether an auditor reads the events of an operation one by one.
const fn is_listed(op: AuditOperation) -> bool {
    use AuditOperation as Op;
    matches!(
        op,
        Op::Start
            | Op::Stop
            | Op::KeysReload
            | Op::PoliciesReload
            | Op::Reload
            | Op::VaultExport
            | Op::VaultImport
            | Op::VaultPurge
            | Op::ControlKeyReplace
            | Op::RotationBegin
            | Op::RotationCancel
            | Op::RotationEnd
            | Op::ApiKeyCreate
            | Op::ApiKeyChange
            | Op::ApiKeyRotate
            | Op::ApiKeyRevoke
            | Op::SessionPurge
            | Op::HoneytokenPlant
            | Op::HoneytokenRemove
            | Op::HoneytokenRehydrated
            | Op::AuthBlocked
            | Op::Unrecorded
            | Op::LossAccepted
            | Op::VaultAccepted
            | Op::SegmentRemoved
            | Op::LineCut
            | Op::ChainBroken
            | Op::BreakAccepted
            | Op::ClockJumped
            | Op::ClockAccepted
            | Op::Resumed
            | Op::ContinueChosen
    )
}
