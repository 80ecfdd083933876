//! Gauges: metrics that are measured when they are read, not counted when something happens.

use std::{collections::BTreeMap, path::PathBuf};

use tokio::task::spawn_blocking;

use super::Service;
use crate::metrics::Metrics;
use masker_core::keyring::Role;
use masker_types::{grant::Limit, kind::Kid};

/// Budgets that can be crossed.
const BUDGETS: [Limit; 2] = [Limit::DistinctValuesPerDay, Limit::RehydrationsPerDay];

/// Lets the series that alerts watch begin at zero. Prometheus sees no increase in a series that begins with its first
/// count.
pub(super) fn register_at_zero(metrics: &Metrics) {
    for limit in BUDGETS {
        metrics.access.budget_warnings.with_label_values(&[limit.as_str()]);
    }
}

impl Service {
    /// Brings every gauge up to date.
    pub(super) async fn measure(&self) {
        // A store that fails must not hide the other metrics.
        if let Ok(stats) = self.vault.stats().await {
            self.metrics.vault.records.set(stats.records.cast_signed());
            self.metrics.vault.size_bytes.set(stats.bytes_on_disk.cast_signed());
        }
        self.measure_keys();
        self.measure_rotation();
        self.measure_disks().await;
        self.measure_api_keys();
    }

    fn measure_keys(&self) {
        let (old_age, grace_left) =
            (&self.metrics.vault.key_old_age_seconds, &self.metrics.vault.key_grace_seconds_left);
        let missing = &self.metrics.vault.key_missing_records;
        for gauge in [old_age, grace_left, missing] {
            gauge.reset();
        }
        let now = self.vault.now();
        let mut missed: BTreeMap<Kid, u64> = BTreeMap::new();
        for generation in self.vault.generations() {
            let kid = [generation.kid.as_str()];
            let missing_records = missed.entry(generation.kid).or_default();
            if generation.missed() {
                *missing_records += generation.records;
            }
            if let (Some(Role::Old), Some(since)) = (generation.loaded, generation.old_since) {
                old_age.with_label_values(&kid).set(now.duration_since(since).as_secs());
            }
            if let Some(left) = generation.grace_seconds_left(now) {
                grace_left.with_label_values(&kid).set(left);
            }
        }
        for (kid, records) in missed {
            missing.with_label_values(&[kid.as_str()]).set(records.cast_signed());
        }
    }

    fn measure_rotation(&self) {
        let running = self.vault.rotation_running();
        let left = running.as_ref().map_or(0, |rotation| rotation.rows_total - rotation.rows_done);
        self.metrics.vault.rotation_running.set(running.is_some().into());
        self.metrics.vault.rotation_rows_left.set(left.cast_signed());
    }

    /// A disk whose free space cannot be read has no gauge.
    async fn measure_disks(&self) {
        let audit = self.audit.as_ref().map(|log| ("audit", log.directory().to_owned()));
        let disks: Vec<(&str, PathBuf)> = [("vault", self.data_dir.clone())].into_iter().chain(audit).collect();
        let measured = |(what, path): (&'static str, PathBuf)| Some((what, masker_files::bytes_free(&path).ok()?));
        let free = spawn_blocking(move || disks.into_iter().filter_map(measured).collect::<Vec<_>>()).await;
        let gauge = &self.metrics.http.disk_free_bytes;
        gauge.reset();
        for (what, bytes) in free.unwrap_or_default() {
            gauge.with_label_values(&[what]).set(bytes.cast_signed());
        }
    }
}
