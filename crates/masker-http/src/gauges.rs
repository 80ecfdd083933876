//! What is measured when somebody asks for the metrics, rather than counted when it happens.

use std::{collections::BTreeMap, path::PathBuf};

use hyper::body::Bytes;
use tokio::task::spawn_blocking;

use super::{Service, exchange::RequestContext, problem::Problem};
use crate::metrics::Metrics;
use masker_core::keyring::Role;
use masker_types::{grant::Limit, kind::Kid};

/// Budgets that can be crossed.
const BUDGETS: [Limit; 2] = [Limit::DistinctValuesPerDay, Limit::RehydrationsPerDay];

/// Lets series that alerts watch begin at zero: of one that begins with its first count, Prometheus sees no increase.
pub(super) fn register_at_zero(metrics: &Metrics) {
    for limit in BUDGETS {
        metrics.access.budget_warnings.with_label_values(&[limit.as_str()]);
    }
}

impl Service {
    pub(super) async fn metrics_text(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        on.permit::<masker_access::MetricsRead>()?;
        // A store that fails is no reason to hide the other counters.
        if let Ok(stats) = self.vault.stats().await {
            self.metrics.vault.records.set(stats.records.cast_signed());
            self.metrics.vault.size_bytes.set(stats.bytes_on_disk.cast_signed());
        }
        self.measure_keys();
        self.measure_rotation();
        self.measure_disks().await;
        self.measure_api_keys();
        self.metrics.text().map(Bytes::from).map_err(|failed| Problem::internal(failed.to_string()))
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
            let missed = missed.entry(generation.kid).or_default();
            if generation.missed() {
                *missed += generation.records + generation.aliases;
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

    /// A disk that does not tell has no gauge.
    async fn measure_disks(&self) {
        let audit = self.audit.as_ref().map(|log| ("audit", log.directory().to_owned()));
        let disks: Vec<(&str, PathBuf)> = [("vault", self.place.data_dir.clone())].into_iter().chain(audit).collect();
        let ask = |(what, path): (&'static str, PathBuf)| Some((what, masker_files::bytes_free(&path).ok()?));
        let free = spawn_blocking(move || disks.into_iter().filter_map(ask).collect::<Vec<_>>()).await;
        let gauge = &self.metrics.http.disk_free_bytes;
        gauge.reset();
        for (what, bytes) in free.unwrap_or_default() {
            gauge.with_label_values(&[what]).set(bytes.cast_signed());
        }
    }
}
