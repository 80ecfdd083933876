//! The content of a summary.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tally::{Tally, TallyKey};
use masker_types::limits::{SUMMARY_EVENTS_MAX, SUMMARY_ROWS_MAX};

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SummaryCaller {
    /// The daemon itself.
    Daemon,
    /// A caller, as its events have it.
    Known {
        /// The client's name.
        name: String,
        /// The user.
        uid: u32,
        /// The id of the API key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_id: Option<String>,
        /// The SHA-256 of the public key of its certificate, in hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<String>,
        /// The gateway that it came through.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<String>,
    },
    /// Callers beyond those that a summary names.
    Others,
}

/// What requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestKey {
    /// The name of the operation.
    pub op: String,
    /// Who made them.
    pub caller: SummaryCaller,
    /// `ok`, or the code of the failure.
    pub outcome: String,
}

/// What items are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ItemKey {
    /// The name of the operation.
    pub op: String,
    /// Who made the requests.
    pub caller: SummaryCaller,
    /// The kind, if it is known.
    pub kind: Option<String>,
    /// The code of a failure, or a word for a success.
    pub outcome: String,
}

/// What crossed budgets are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BudgetKey {
    /// Whose budget it is.
    pub caller: SummaryCaller,
    /// Which budget.
    pub which: String,
    /// Its size.
    pub limit: u64,
}

impl TallyKey for RequestKey {
    fn among_others(self) -> Self {
        RequestKey { caller: SummaryCaller::Others, ..self }
    }
}

impl TallyKey for ItemKey {
    fn among_others(self) -> Self {
        ItemKey { caller: SummaryCaller::Others, ..self }
    }
}

impl TallyKey for BudgetKey {
    fn among_others(self) -> Self {
        BudgetKey { caller: SummaryCaller::Others, limit: 0, ..self }
    }
}

/// An event that a report lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedEvent {
    /// The number of the event.
    pub sequence: u64,
    /// When it was written.
    pub time: String,
    /// The name of its operation.
    pub op: String,
    /// `ok`, or the code of the failure.
    pub outcome: String,
    /// Who did it.
    pub caller: SummaryCaller,
    /// The details that are a text, a number or a boolean.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<String, Value>,
}

/// What events say together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The number of events.
    pub events: u64,
    /// Requests, and what the daemon did.
    pub requests: Tally<RequestKey>,
    /// The items of requests.
    pub items: Tally<ItemKey>,
    /// How often callers have nearly used up a budget.
    pub budgets: Tally<BudgetKey>,
    /// The events that are listed, in their order.
    pub listed: Vec<ListedEvent>,
    /// How many further events would be listed.
    pub unlisted: u64,
}

impl Summary {
    pub(super) fn add_request(&mut self, key: RequestKey, requests: u64) {
        self.requests.add(key, requests, SUMMARY_ROWS_MAX);
    }

    pub(super) fn add_items(&mut self, key: ItemKey, items: u64) {
        self.items.add(key, items, SUMMARY_ROWS_MAX);
    }

    pub(super) fn add_budget(&mut self, key: BudgetKey) {
        self.budgets.add(key, 1, SUMMARY_ROWS_MAX);
    }

    pub(super) fn list(&mut self, event: ListedEvent) {
        if self.listed.len() < SUMMARY_EVENTS_MAX {
            self.listed.push(event);
        } else {
            self.unlisted += 1;
        }
    }

    /// Adds a later summary.
    pub(super) fn add(&mut self, later: Summary) {
        self.events += later.events;
        self.requests.add_all(later.requests, SUMMARY_ROWS_MAX);
        self.items.add_all(later.items, SUMMARY_ROWS_MAX);
        self.budgets.add_all(later.budgets, SUMMARY_ROWS_MAX);
        self.unlisted += later.unlisted;
        for event in later.listed {
            self.list(event);
        }
    }
}

/// The numbers of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayTotals {
    /// Events.
    pub events: u64,
    /// Requests of callers.
    pub requests: u64,
    /// Requests of callers that failed or were refused.
    pub failed: u64,
    /// Items by the name of the operation.
    pub items: BTreeMap<String, u64>,
}

impl DayTotals {
    pub(super) fn add(&mut self, summary: &Summary) {
        self.events += summary.events;
        for (key, requests) in summary.requests.iter().filter(|(key, _)| key.caller != SummaryCaller::Daemon) {
            self.requests += requests;
            if key.outcome != "ok" {
                self.failed += requests;
            }
        }
        for (key, items) in summary.items.iter() {
            *self.items.entry(key.op.clone()).or_default() += items;
        }
    }
}
