//! The counters of the vault.

use masker_types::limits::DURATION_BUCKETS_SECONDS;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, core::Collector, histogram_opts, opts};

/// Upper bounds of the rows of a commit.
const ROWS_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2_048.0, 8_192.0, 32_768.0];

/// The counters of the vault. Cheap to update, shared by reference. No request can create a label.
pub struct VaultMetrics {
    /// `masker_tokens_total{op,scheme,kid,generation,outcome}`.
    pub tokens: IntCounterVec,
    /// `masker_vault_records`.
    pub records: IntGauge,
    /// `masker_vault_size_bytes`.
    pub size_bytes: IntGauge,
    /// `masker_vault_commit_rows`: rows of each group commit.
    pub commit_rows: Histogram,
    /// `masker_vault_commit_duration_seconds`.
    pub commit_duration: Histogram,
    /// `masker_vault_damaged_total`: rows that were read and did not verify.
    pub damaged: IntCounter,
    /// `masker_rotation_rows_total`.
    pub rotation_rows: IntCounter,
    /// `masker_rotation_running`: 1 while a rotation is running.
    pub rotation_running: IntGauge,
    /// `masker_rotation_rows_left`: records that it has not moved yet.
    pub rotation_rows_left: IntGauge,
    /// `masker_key_missing_records{kid}`: records and index rows under keys that are not loaded.
    pub key_missing_records: IntGaugeVec,
    /// `masker_key_old_age_seconds{kid}`.
    pub key_old_age_seconds: IntGaugeVec,
    /// `masker_key_grace_seconds_left{kid}`.
    pub key_grace_seconds_left: IntGaugeVec,
    /// `masker_honeytoken_rehydrated_total`: honeytokens that a caller tried to rehydrate or rewrap.
    pub honeytokens_rehydrated: IntCounter,
}

impl VaultMetrics {
    /// Returns counters at zero.
    ///
    /// # Errors
    /// Only if the description of a metric is malformed: a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(VaultMetrics {
            tokens: IntCounterVec::new(
                opts!(
                    "masker_tokens_total",
                    "Values and tokens processed, by operation, token scheme, key and outcome"
                ),
                &["op", "scheme", "kid", "generation", "outcome"],
            )?,
            records: IntGauge::new("masker_vault_records", "Records in the vault")?,
            size_bytes: IntGauge::new("masker_vault_size_bytes", "Bytes of the vault on disk")?,
            commit_rows: Histogram::with_opts(histogram_opts!(
                "masker_vault_commit_rows",
                "Rows of each durable commit",
                ROWS_BUCKETS.to_vec()
            ))?,
            commit_duration: Histogram::with_opts(histogram_opts!(
                "masker_vault_commit_duration_seconds",
                "Time that each commit took to become durable",
                DURATION_BUCKETS_SECONDS.to_vec()
            ))?,
            damaged: IntCounter::new(
                "masker_vault_damaged_total",
                "Vault rows that did not verify when read; run `masker vault check`",
            )?,
            rotation_rows: IntCounter::new(
                "masker_rotation_rows_total",
                "Records that rotations have moved to another key",
            )?,
            rotation_running: IntGauge::new("masker_rotation_running", "1 while a rotation is running, else 0")?,
            rotation_rows_left: IntGauge::new(
                "masker_rotation_rows_left",
                "Records that the running rotation has not yet moved to the other key",
            )?,
            key_missing_records: IntGaugeVec::new(
                opts!(
                    "masker_key_missing_records",
                    "Records and index rows that need a key which is not loaded, by its kid"
                ),
                &["kid"],
            )?,
            key_old_age_seconds: IntGaugeVec::new(
                opts!("masker_key_old_age_seconds", "Time since a loaded old key was replaced"),
                &["kid"],
            )?,
            key_grace_seconds_left: IntGaugeVec::new(
                opts!(
                    "masker_key_grace_seconds_left",
                    "Time until the grace period of a loaded old key ends; negative once it is over"
                ),
                &["kid"],
            )?,
            honeytokens_rehydrated: IntCounter::new(
                "masker_honeytoken_rehydrated_total",
                "Honeytokens that a caller tried to rehydrate or rewrap; the audit log names the caller",
            )?,
        })
    }

    /// Returns every metric, to be registered. Each shares its counts with the field.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.tokens.clone()),
            Box::new(self.records.clone()),
            Box::new(self.size_bytes.clone()),
            Box::new(self.commit_rows.clone()),
            Box::new(self.commit_duration.clone()),
            Box::new(self.damaged.clone()),
            Box::new(self.rotation_rows.clone()),
            Box::new(self.rotation_running.clone()),
            Box::new(self.rotation_rows_left.clone()),
            Box::new(self.key_missing_records.clone()),
            Box::new(self.key_old_age_seconds.clone()),
            Box::new(self.key_grace_seconds_left.clone()),
            Box::new(self.honeytokens_rehydrated.clone()),
        ]
    }
}
