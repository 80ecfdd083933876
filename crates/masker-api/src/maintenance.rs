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
    /// Records of those that were sealed under another key, and are under the active one now.
    pub resealed: u64,
    /// Records of those that had been erased, and were asked for.
    pub restored: u64,
    /// Records that were there already, with the same value.
    pub present: u64,
    /// Records that were there with another value, or that could not be compared: the vault's stay.
    pub conflicts: u64,
    /// Records written whose value has another token in this vault, too.
    pub alias_conflicts: u64,
    /// Records left out because they were erased.
    pub erased_skipped: u64,
    /// Records left out because they do not open under their own key: the vault that was exported was damaged.
    pub damaged: u64,
    /// Tombstones in the export.
    pub tombstones: u64,
    /// Tombstones written.
    pub tombstones_added: u64,
    /// Tombstones left out because this vault has the record.
    pub records_kept: u64,
}

/// `POST /api/v1/vault/purge`: one of `before` and `key`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest<'a> {
    /// Erase records minted before: RFC 3339, or a date, which is its first moment in UTC.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2025-01-01")]
    pub before: Option<Text<'a>>,
    /// Erase records sealed under the key with this fingerprint, which is not an active one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "00112233aabbccdd")]
    pub key: Option<Text<'a>>,
    /// Only count. This is what happens unless it is `false`.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub dry_run: bool,
}

fn yes() -> bool {
    true
}

/// `POST /api/v1/vault/compact`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CompactReport {
    /// Bytes that the vault took on disk before.
    pub bytes_before: u64,
    /// Bytes that it takes now.
    pub bytes_after: u64,
}

/// What a purge erased, or would erase.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PurgeReport {
    /// Whether it only counted.
    pub dry_run: bool,
    /// Records.
    pub records: u64,
    /// Rows that do not decode, of which nobody can tell whether they are meant: they stay.
    pub damaged: u64,
    /// The records of each key generation.
    pub by_kid: Vec<PurgedRecords>,
}

/// The records of one key generation that a purge concerns.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PurgedRecords {
    /// The key id.
    pub kid: String,
    /// The generation's public name.
    pub fingerprint: String,
    /// Records sealed under it.
    pub records: u64,
}
