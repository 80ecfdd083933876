//! Reports: what the audit log, the keys and the API keys say of a period.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// `GET /api/v1/reports`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct Report {
    /// The version of masker that made it.
    pub version: String,
    /// When it was made.
    pub generated_at: String,
    /// Who asked for it.
    pub generated_for: ReportCaller,
    /// What it is about.
    pub period: ReportPeriod,
    /// The audit log that it was made from.
    pub log: ReportLog,
    /// The days of the period with events.
    pub days: Vec<ReportDay>,
    /// Requests and items by operation.
    pub operations: Vec<ReportOperation>,
    /// Requests and items by caller.
    pub callers: Vec<ReportCallerTotals>,
    /// Items by kind and operation.
    pub kinds: Vec<ReportKind>,
    /// Who was given values of which kinds, by `rehydrate` and `text.restore`.
    pub rehydrations: Vec<ReportItems>,
    /// Requests that failed or were refused, by operation, code and caller.
    pub failures: Vec<ReportFailure>,
    /// The generations of keys, as they are now.
    pub keys: Vec<ReportKey>,
    /// Rotations of the vault that began or ended, and reloads of keys.
    pub rotations: Vec<ReportEvent>,
    /// API keys.
    pub api_keys: ReportApiKeys,
    /// Honeytokens.
    pub honeytokens: ReportHoneytokens,
    /// Budgets of which a caller used up 80 %.
    pub budgets: Vec<ReportBudget>,
    /// Erasures.
    pub erasures: ReportErasures,
    /// Starts, stops, reloads of policies, and other changes of the configuration and the vault.
    pub configuration: Vec<ReportEvent>,
    /// What an operator should explain: a broken chain, an accepted loss, a clock that jumped.
    pub incidents: Vec<ReportEvent>,
    /// How many rows and events the report leaves out because there are too many. What is left out is counted in the totals.
    pub left_out: u64,
}

/// A period.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportPeriod {
    /// From this time on.
    pub since: String,
    /// Before this time.
    pub until: String,
}

/// Whether the audit log verifies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportVerification {
    /// Every line that was read verifies, the rollups do, and all continue each other.
    Verified,
    /// A line, a rollup or the end of the log does not verify. The report has only what does.
    #[default]
    Failed,
}

/// The audit log of a report.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportLog {
    /// Whether it verifies.
    pub verification: ReportVerification,
    /// Where and why it does not verify first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ReportChainFailure>,
    /// How many lines do not verify. The report has nothing of them.
    pub failed_lines: u64,
    /// The number and the hash of the last event, as `NUMBER:HASH`.
    pub head: String,
    /// Verified events of the whole log.
    pub events: u64,
    /// Verified events in the period.
    pub events_in_period: u64,
    /// The time of the first event that the log still has.
    pub first: Option<String>,
    /// The time of its last event.
    pub last: Option<String>,
    /// Whether the log still has the beginning of the period.
    pub covers_period: bool,
    /// The last event before the first one that the log still has, as `NUMBER:HASH`, if older segments were removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_before: Option<String>,
    /// Segments of the log.
    pub segments: u64,
    /// Segments of which every line was read and verified for this report. Of the others, the rollup was used.
    pub segments_read: u64,
}

/// Where the chain does not verify.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportChainFailure {
    /// The segment; empty if no segment is at fault.
    pub segment: String,
    /// The number of the line, from 1; 0 if no line is at fault.
    pub line: u64,
    /// The reason.
    pub why: String,
}

/// A caller. Without `uid`, it is the daemon itself, or callers beyond those that a report names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ToSchema)]
pub struct ReportCaller {
    /// The client's name.
    pub name: String,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The id of the API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The SHA-256 of the public key of its certificate, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The gateway that it came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// A day of a report, in UTC.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportDay {
    /// The date.
    pub day: String,
    /// Events.
    pub events: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that failed or were refused.
    pub failed: u64,
    /// Items by operation.
    pub items: BTreeMap<String, u64>,
}

/// The numbers of an operation.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportOperation {
    /// The operation.
    pub op: String,
    /// Requests.
    pub requests: u64,
    /// Requests that failed or were refused.
    pub failed: u64,
    /// Items.
    pub items: u64,
    /// Items that failed.
    pub items_failed: u64,
}

/// The numbers of a caller.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportCallerTotals {
    /// Who it is.
    pub caller: ReportCaller,
    /// Requests.
    pub requests: u64,
    /// Requests that failed or were refused.
    pub failed: u64,
    /// Items.
    pub items: u64,
}

/// The numbers of a kind.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportKind {
    /// The kind; absent if it was not known.
    pub kind: Option<String>,
    /// The operation.
    pub op: String,
    /// Items.
    pub items: u64,
    /// Items that failed.
    pub failed: u64,
}

/// Items of a caller.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportItems {
    /// Who it was.
    pub caller: ReportCaller,
    /// The operation.
    pub op: String,
    /// The kind; absent if it was not known.
    pub kind: Option<String>,
    /// Items that succeeded.
    pub items: u64,
    /// Items that failed.
    pub failed: u64,
}

/// Requests that failed or were refused.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportFailure {
    /// The operation.
    pub op: String,
    /// The code.
    pub code: String,
    /// Who it was.
    pub caller: ReportCaller,
    /// Requests.
    pub requests: u64,
}

/// A generation of a key.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportKey {
    /// The key id.
    pub kid: String,
    /// The fingerprint.
    pub fingerprint: String,
    /// `active` or `old`.
    pub generation: String,
    /// Whether it is loaded.
    pub loaded: bool,
    /// When the vault first saw it.
    pub first_seen: Option<String>,
    /// When it was replaced.
    pub old_since: Option<String>,
    /// When its grace period ends.
    pub grace_ends: Option<String>,
    /// Records that it seals.
    pub vault_records: u64,
    /// When it last opened something.
    pub last_used: Option<String>,
    /// Whether it can be removed.
    pub removable: bool,
}

/// An event of the audit log.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportEvent {
    /// Its number.
    pub seq: u64,
    /// When it was written.
    pub time: String,
    /// The operation.
    pub op: String,
    /// `ok`, or the code of the failure.
    pub outcome: String,
    /// Who did it.
    pub caller: ReportCaller,
    /// Its details that are a text, a number or a boolean.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<String, Value>,
}

/// API keys: how many there are now, and what happened to them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportApiKeys {
    /// How many there are now, by state: `active`, `suspended`, `expired` and `revoked`.
    pub states: BTreeMap<String, u64>,
    /// Created in the period.
    pub created: u64,
    /// Revoked in the period.
    pub revoked: u64,
    /// Active keys that have not been used for 90 days.
    pub inactive: Vec<ReportApiKey>,
    /// What was done to keys in the period.
    pub events: Vec<ReportEvent>,
}

/// An API key.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportApiKey {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The part of its secret that is not secret.
    pub prefix: String,
    /// Its owner.
    pub owner: String,
    /// When it was created.
    pub created_at: Option<String>,
    /// When it was last used.
    pub last_used: Option<String>,
}

/// Honeytokens.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportHoneytokens {
    /// How many there are now.
    pub planted: u64,
    /// Events that report their use.
    pub uses: u64,
    /// What happened to them, and their uses.
    pub events: Vec<ReportEvent>,
}

/// A budget that a caller used up to 80 %.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportBudget {
    /// Who it was.
    pub caller: ReportCaller,
    /// Which budget.
    pub which: String,
    /// Its size; 0 for several.
    pub limit: u64,
    /// How often.
    pub times: u64,
}

/// Erasures.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct ReportErasures {
    /// Items of `forget`.
    pub forgotten: Vec<ReportItems>,
    /// Erasures by age or by key, and the removal of expired sessions.
    pub events: Vec<ReportEvent>,
}
