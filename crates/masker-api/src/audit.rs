//! Responses about the audit log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// `GET /api/v1/audit/events`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct AuditEvents {
    /// The events as in the log, oldest first.
    pub events: Vec<BTreeMap<String, Value>>,
    /// The `cursor` of the next page. After the last page, it continues with events that are written later.
    pub cursor: String,
    /// Whether there are more events now. An empty page can be followed by more.
    pub more: bool,
}

/// `GET /api/v1/audit/head`: the head of the chain. Store it elsewhere, and pass it to `masker audit verify --head`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct AuditHead {
    /// The number of the last durable event.
    pub sequence: u64,
    /// Its hash: 64 hex digits.
    pub hash: String,
}
