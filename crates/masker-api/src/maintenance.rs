//! Imports, purges and compactions of the vault.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Text;

/// `POST /api/v1/vault/import`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ImportReport {
    /// Records in the export.
    pub records: u64,
    /// Records written.
    pub imported: u64,
    /// Written records that were sealed under another key and are now sealed under the active one.
    pub resealed: u64,
    /// Written records that had been erased here, restored on request.
    pub restored: u64,
    /// Records that already exist with the same value.
    pub present: u64,
    /// Records that exist with another value or cannot be compared. Those of the vault are kept.
    pub conflicts: u64,
    /// Written records whose value also has another token in this vault.
    pub index_conflicts: u64,
    /// Records left out because an index row has no room for another token of the value.
    pub rows_failed: u64,
    /// Records skipped because they were erased here.
    pub erased_skipped: u64,
    /// Records skipped because they do not open under their own key: the exported vault was damaged.
    pub damaged: u64,
    /// Records left out on request because their key is not loaded. They stay in the export.
    pub key_missing: u64,
    /// Tombstones in the export.
    pub tombstones: u64,
    /// Tombstones written.
    pub tombstones_added: u64,
    /// Tombstones skipped because this vault has the record.
    pub records_kept: u64,
    /// Control rows in the export, which are left out.
    pub control_rows: u64,
}

/// `POST /api/v1/vault/purge`, with either `before` or `key`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest<'a> {
    /// Erase records minted before this time: RFC 3339, or a date, which means its beginning in UTC.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2025-01-01")]
    pub before: Option<Text<'a>>,
    /// Erase records sealed under the key with this fingerprint, which must not be an active one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "00112233aabbccdd")]
    pub key: Option<Text<'a>>,
    /// Only count. This is the default.
    #[serde(default = "default_dry_run")]
    #[schema(default = true)]
    pub dry_run: bool,
}

fn default_dry_run() -> bool {
    true
}

/// `POST /api/v1/vault/compact`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CompactReport {
    /// The size of the vault on disk before, in bytes.
    pub bytes_before: u64,
    /// The size of the vault on disk now, in bytes.
    pub bytes_after: u64,
}

/// `POST /api/v1/vault/control-key`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ControlKeyReport {
    /// The number of the control key, which grows with each new one.
    pub epoch: u64,
    /// The keys that can open it.
    pub holders: Vec<ControlKeyHolder>,
}

/// A key that can open the vault's control key.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ControlKeyHolder {
    /// Its key id.
    pub kid: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// The records that a purge erased, or would erase.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PurgeReport {
    /// Whether the purge only counted.
    pub dry_run: bool,
    /// The number of records.
    pub records: u64,
    /// Rows that cannot be decoded and may match. They are kept.
    pub damaged: u64,
    /// The records of each key generation.
    pub by_kid: Vec<PurgedRecords>,
}

/// The records of one key generation in a purge.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PurgedRecords {
    /// The key id.
    pub kid: String,
    /// The fingerprint of the generation.
    pub fingerprint: String,
    /// Records sealed under it.
    pub records: u64,
}
