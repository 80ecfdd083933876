//! Requests and responses about rotations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/vault/rotations`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationBegin {
    /// The key id to whose active key records are moved.
    #[schema(example = "K_HEALTHCARE")]
    pub new_kid: String,
    /// The key id whose records are moved; if absent, those of `new_kid` under its old key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_kid: Option<String>,
    /// Open every record, but write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// The highest rate, in rows per second; 0 for no limit.
    #[serde(default)]
    pub max_rows_per_second: u64,
}

/// A rotation.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct Rotation {
    /// The id: 32 hex digits. Ids sort by time.
    pub id: String,
    /// The key id to whose active key records are moved.
    pub new_kid: String,
    /// The fingerprint of that key.
    pub fingerprint: String,
    /// The key id whose records are moved.
    pub old_kid: String,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// `moving` records, `proving` that none is left, or `ended`.
    pub phase: String,
    /// Records that have been or will be moved.
    pub rows_total: u64,
    /// Records that have been processed: moved or failed.
    pub rows_done: u64,
    /// Records that were moved.
    pub rows_resealed: u64,
    /// Records that could not be moved.
    pub rows_failed: u64,
    /// Records that were moved, but whose value is found by another token.
    pub conflicts: u64,
    /// Records processed per second, since the daemon last started or resumed the rotation.
    pub rows_per_second: f64,
    /// The highest rate, in rows per second; 0 for no limit.
    pub max_rows_per_second: u64,
    /// The time until all records are processed at this rate, in seconds; `null` if unknown.
    pub eta_seconds: Option<u64>,
    /// The time of the start (RFC 3339).
    pub started_at: Option<String>,
    /// The time of the end.
    pub finished_at: Option<String>,
    /// The first records that could not be moved.
    pub failures: Vec<RotationFailure>,
    /// What happened and what to do, if the rotation failed.
    pub detail: Option<String>,
}

/// A record that could not be moved.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct RotationFailure {
    /// The id of the record: 32 hex digits.
    pub record: String,
    /// The reason.
    pub reason: String,
}

/// `GET /api/v1/vault/rotations`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct RotationList {
    /// The remembered rotations, the latest first.
    pub rotations: Vec<Rotation>,
}
