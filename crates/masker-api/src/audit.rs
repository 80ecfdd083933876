//! Answers about the audit log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// `GET /api/v1/audit/events`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct AuditEvents {
    /// The events, oldest first, as they stand in the log.
    pub events: Vec<BTreeMap<String, Value>>,
    /// Where the next page begins: give it as `cursor`. Later it begins with what was not there yet.
    pub cursor: String,
    /// Whether there is more now. A page can be empty and have more after it.
    pub more: bool,
}

/// `GET /api/v1/audit/head`: what `masker audit verify --head` takes, if it is kept elsewhere.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct AuditHead {
    /// The number of the last event that is known to survive a power cut.
    pub sequence: u64,
    /// Its hash: 64 hex digits.
    pub hash: String,
}
