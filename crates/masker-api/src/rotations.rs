//! Requests and answers about rotations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/vault/rotations`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationBegin {
    /// The key id whose active key records are moved to.
    #[schema(example = "K_HEALTHCARE")]
    pub new_kid: String,
    /// The key id whose records are moved; left out, those of `new_kid` under its old keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_kid: Option<String>,
    /// Opens every record and writes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Rows a second at most; 0 for as many as there is room for.
    #[serde(default)]
    pub max_rows_per_second: u64,
}

/// One rotation.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct Rotation {
    /// Its id: 32 hex digits. Ids sort by time.
    pub id: String,
    /// The key id whose active key records are moved to.
    pub new_kid: String,
    /// The fingerprint of that key.
    pub fingerprint: String,
    /// The key id whose records are moved.
    pub old_kid: String,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// `moving` through the records, `proving` that nothing is left, or `ended`.
    pub phase: String,
    /// Records that were or are to be moved.
    pub rows_total: u64,
    /// Records that are dealt with: moved or failed.
    pub rows_done: u64,
    /// Records that were moved.
    pub rows_resealed: u64,
    /// Records that could not be moved.
    pub rows_failed: u64,
    /// Records that were moved, and whose value has another token by which it is found.
    pub conflicts: u64,
    /// Records dealt with in a second, since the daemon last began with it.
    pub rows_per_second: f64,
    /// Rows a second at most; 0 for as many as there is room for.
    pub max_rows_per_second: u64,
    /// When it will be through the records at this rate, in seconds; `null` where that is not known.
    pub eta_seconds: Option<u64>,
    /// When it was begun (RFC 3339).
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// The first records that could not be moved.
    pub failures: Vec<RotationFailure>,
    /// What to know and do, where it failed.
    pub detail: Option<String>,
}

/// A record that could not be moved.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct RotationFailure {
    /// Its id: 32 hex digits.
    pub record: String,
    /// Why not.
    pub reason: String,
}

/// `GET /api/v1/vault/rotations`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct RotationList {
    /// Those that are remembered, the latest first.
    pub rotations: Vec<Rotation>,
}
