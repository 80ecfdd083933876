//! What the daemon counts, for Prometheus to scrape. No label holds anything of a request's making.

pub mod scrape;

use prometheus::{
    Encoder, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder, core::Collector,
    histogram_opts, opts,
};

/// The daemon's counters. Cheap to update, shared by reference.
pub struct Metrics {
    registry: Registry,
    /// `masker_requests_total{route,status}`.
    pub requests: IntCounterVec,
    /// `masker_request_duration_seconds{route}`.
    pub request_duration: HistogramVec,
    /// `masker_tokens_total{op,scheme,kid,generation,outcome}`.
    pub tokens: IntCounterVec,
    /// `masker_vault_records`.
    pub vault_records: IntGauge,
    /// `masker_vault_size_bytes`.
    pub vault_size_bytes: IntGauge,
    /// `masker_vault_info{engine}`: always 1.
    pub vault_info: IntGaugeVec,
    /// `masker_sandbox_in_force{part,state}`: 1 where a part of the daemon's own sandbox stops what it is there to stop.
    pub sandbox_in_force: IntGaugeVec,
    /// `masker_caller_requests_total{caller}`: a client's name, or the part of an API key that may be shown.
    pub caller_requests: IntCounterVec,
    /// `masker_rotation_rows_total`.
    pub rotation_rows: prometheus::IntCounter,
    /// `masker_rotation_running`: 1 while a rotation is under way.
    pub rotation_running: IntGauge,
    /// `masker_rotation_rows_left`: records that it has not yet moved.
    pub rotation_rows_left: IntGauge,
    /// `masker_disk_free_bytes{of}`: of the vault and of the audit log.
    pub disk_free_bytes: IntGaugeVec,
    /// `masker_key_missing_records{kid}`: records and aliases under keys that are not loaded.
    pub key_missing_records: IntGaugeVec,
    /// `masker_key_old_age_seconds{kid}`.
    pub key_old_age_seconds: IntGaugeVec,
    /// `masker_key_grace_seconds_left{kid}`.
    pub key_grace_seconds_left: IntGaugeVec,
    /// `masker_connections`.
    pub connections: IntGauge,
    /// `masker_vault_commit_rows`: rows of each group commit.
    pub commit_rows: prometheus::Histogram,
    /// `masker_vault_commit_duration_seconds`.
    pub commit_duration: prometheus::Histogram,
    /// `masker_auth_failures_total{outcome}`: credentials that were not accepted.
    pub auth_failures: IntCounterVec,
    /// `masker_budget_crossed_total{limit}`: budgets of callers of which 80 % were used up.
    pub budgets_crossed: IntCounterVec,
    /// `masker_api_keys{state}`.
    pub api_keys: IntGaugeVec,
    /// `masker_honeytoken_rehydrated_total`: honeytokens that somebody showed to have them rehydrated or rewrapped.
    pub honeytokens_rehydrated: prometheus::IntCounter,
    /// `masker_audit_events_total{op}`: events written to the audit log.
    pub audit_events: IntCounterVec,
    /// `masker_audit_failures_total`: events that could not be written.
    pub audit_failures: prometheus::IntCounter,
    /// `masker_audit_last_sequence`: the number of the last event that was written.
    pub audit_last_sequence: IntGauge,
    /// `masker_audit_last_event_timestamp_seconds`: when that was, in seconds of Unix time.
    pub audit_last_event_timestamp_seconds: prometheus::Gauge,
    /// `masker_vault_damaged_total`: rows that were read and did not verify.
    pub damaged: prometheus::IntCounter,
}

/// Upper bounds of durations, in seconds: from 50 µs, a warm single request, to 10 s, a failing disk.
const DURATION_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Upper bounds of the rows of a commit.
const ROWS_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2_048.0, 8_192.0, 32_768.0];

impl Metrics {
    /// Counters at zero, with the process's own beside them.
    ///
    /// # Errors
    /// Only if two metrics had one name: a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Metrics {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                opts!("masker_requests_total", "Requests answered, by route template and HTTP status"),
                &["route", "status"],
            )?,
            request_duration: HistogramVec::new(
                histogram_opts!(
                    "masker_request_duration_seconds",
                    "Time from a request's head to its answer, by route template",
                    DURATION_BUCKETS.to_vec()
                ),
                &["route"],
            )?,
            tokens: IntCounterVec::new(
                opts!(
                    "masker_tokens_total",
                    "Values and tokens worked on, by operation, token scheme, key and outcome"
                ),
                &["op", "scheme", "kid", "generation", "outcome"],
            )?,
            vault_records: IntGauge::new("masker_vault_records", "Records in the vault")?,
            vault_size_bytes: IntGauge::new("masker_vault_size_bytes", "Bytes that the vault takes on disk")?,
            vault_info: IntGaugeVec::new(
                opts!("masker_vault_info", "Always 1; the label says which engine keeps the vault"),
                &["engine"],
            )?,
            sandbox_in_force: IntGaugeVec::new(
                opts!(
                    "masker_sandbox_in_force",
                    "1 where a part of the daemon's own sandbox stops what it is there to stop, 0 where it does not, or not all of it"
                ),
                &["part", "state"],
            )?,
            caller_requests: IntCounterVec::new(
                opts!(
                    "masker_caller_requests_total",
                    "Requests answered, by caller: a client's name, or the part of an API key that may be shown"
                ),
                &["caller"],
            )?,
            rotation_rows: prometheus::IntCounter::new(
                "masker_rotation_rows_total",
                "Records that rotations have moved to another key",
            )?,
            rotation_running: IntGauge::new("masker_rotation_running", "1 while a rotation is under way, else 0")?,
            rotation_rows_left: IntGauge::new(
                "masker_rotation_rows_left",
                "Records that the rotation under way has not yet moved to the other key",
            )?,
            disk_free_bytes: IntGaugeVec::new(
                opts!(
                    "masker_disk_free_bytes",
                    "Bytes that can still be written to the disk of the vault, and to that of the audit log"
                ),
                &["of"],
            )?,
            key_missing_records: IntGaugeVec::new(
                opts!(
                    "masker_key_missing_records",
                    "Records and aliases that need a key which is not loaded, by its kid"
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
            connections: IntGauge::new("masker_connections", "Connections open now")?,
            commit_rows: prometheus::Histogram::with_opts(histogram_opts!(
                "masker_vault_commit_rows",
                "Rows of each durable commit",
                ROWS_BUCKETS.to_vec()
            ))?,
            commit_duration: prometheus::Histogram::with_opts(histogram_opts!(
                "masker_vault_commit_duration_seconds",
                "Time that each commit took to become durable",
                DURATION_BUCKETS.to_vec()
            ))?,
            auth_failures: IntCounterVec::new(
                opts!(
                    "masker_auth_failures_total",
                    "Requests whose credential was not accepted, by the code of the answer"
                ),
                &["outcome"],
            )?,
            budgets_crossed: IntCounterVec::new(
                opts!(
                    "masker_budget_crossed_total",
                    "Times that a caller had used up 80 % of a day's budget, by limit"
                ),
                &["limit"],
            )?,
            api_keys: IntGaugeVec::new(
                opts!(
                    "masker_api_keys",
                    "API keys, by state: active, inactive (active and unused for 90 days), expired, revoked"
                ),
                &["state"],
            )?,
            honeytokens_rehydrated: prometheus::IntCounter::new(
                "masker_honeytoken_rehydrated_total",
                "Honeytokens that somebody showed to have them rehydrated or rewrapped; the audit log says who",
            )?,
            audit_events: IntCounterVec::new(
                opts!("masker_audit_events_total", "Events written to the audit log, by operation"),
                &["op"],
            )?,
            audit_failures: prometheus::IntCounter::new(
                "masker_audit_failures_total",
                "Events that could not be written to the audit log",
            )?,
            audit_last_sequence: IntGauge::new(
                "masker_audit_last_sequence",
                "Number of the last event that was written to the audit log",
            )?,
            audit_last_event_timestamp_seconds: prometheus::Gauge::new(
                "masker_audit_last_event_timestamp_seconds",
                "When the last event was written to the audit log, in seconds of Unix time",
            )?,
            damaged: prometheus::IntCounter::new(
                "masker_vault_damaged_total",
                "Vault rows that were read and did not verify; run `masker vault check`",
            )?,
        };
        for collector in metrics.own() {
            metrics.registry.register(collector)?;
        }
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// The metrics of masker's own: each shares its counts with the field.
    fn own(&self) -> [Box<dyn Collector>; 27] {
        [
            Box::new(self.requests.clone()),
            Box::new(self.request_duration.clone()),
            Box::new(self.tokens.clone()),
            Box::new(self.vault_records.clone()),
            Box::new(self.vault_size_bytes.clone()),
            Box::new(self.vault_info.clone()),
            Box::new(self.sandbox_in_force.clone()),
            Box::new(self.caller_requests.clone()),
            Box::new(self.rotation_rows.clone()),
            Box::new(self.rotation_running.clone()),
            Box::new(self.rotation_rows_left.clone()),
            Box::new(self.disk_free_bytes.clone()),
            Box::new(self.key_missing_records.clone()),
            Box::new(self.key_old_age_seconds.clone()),
            Box::new(self.key_grace_seconds_left.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.commit_rows.clone()),
            Box::new(self.commit_duration.clone()),
            Box::new(self.auth_failures.clone()),
            Box::new(self.budgets_crossed.clone()),
            Box::new(self.api_keys.clone()),
            Box::new(self.honeytokens_rehydrated.clone()),
            Box::new(self.audit_events.clone()),
            Box::new(self.audit_failures.clone()),
            Box::new(self.audit_last_sequence.clone()),
            Box::new(self.audit_last_event_timestamp_seconds.clone()),
            Box::new(self.damaged.clone()),
        ]
    }

    /// The names of masker's own metrics, also of those that have counted nothing yet.
    pub fn names(&self) -> Vec<String> {
        let own = self.own();
        own.iter().flat_map(|collector| collector.desc()).map(|described| described.fq_name.clone()).collect()
    }

    /// Everything counted so far, in Prometheus' text format.
    ///
    /// # Errors
    /// Only if a metric's name or labels were malformed: a bug.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn names_do_not_collide_and_the_process_is_there() {
        let metrics = Metrics::new().unwrap();
        metrics.requests.with_label_values(&["/health", "200"]).inc();
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        assert!(text.contains("masker_requests_total{route=\"/health\",status=\"200\"} 1"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
