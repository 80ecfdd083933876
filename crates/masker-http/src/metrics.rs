//! The metrics of the HTTP interface and the daemon.

use std::sync::Arc;

use masker_access::AccessMetrics;
use masker_audit::AuditMetrics;
use masker_types::limits::DURATION_BUCKETS_SECONDS;
use masker_vault::VaultMetrics;
use prometheus::{
    Encoder, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder, core::Collector,
    histogram_opts, opts,
};

/// The metrics of the HTTP interface and the daemon. No label holds text of a request.
pub struct HttpMetrics {
    /// `masker_requests_total{route,status}`.
    pub requests: IntCounterVec,
    /// `masker_request_duration_seconds{route}`.
    pub request_duration: HistogramVec,
    /// `masker_connections`.
    pub connections: IntGauge,
    /// `masker_disk_free_bytes{of}`: of the disks of the vault and of the audit log.
    pub disk_free_bytes: IntGaugeVec,
    /// `masker_vault_info{engine}`: always 1.
    pub vault_info: IntGaugeVec,
    /// `masker_log_lines_lost_total`: lines of the daemon's log that found no room.
    pub log_lines_lost: IntCounter,
    /// `masker_text_bytes_total{op}`.
    pub text_bytes: IntCounterVec,
    /// `masker_text_findings_total{kind}`.
    pub text_findings: IntCounterVec,
    /// `masker_sandbox_in_force{part,state}`: 1 where a part of the daemon's sandbox is fully in force.
    pub sandbox_in_force: IntGaugeVec,
}

impl HttpMetrics {
    /// Returns metrics at zero.
    ///
    /// # Errors
    /// Only if the description of a metric is malformed: a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(HttpMetrics {
            requests: IntCounterVec::new(
                opts!("masker_requests_total", "Requests answered, by route template and HTTP status"),
                &["route", "status"],
            )?,
            request_duration: HistogramVec::new(
                histogram_opts!(
                    "masker_request_duration_seconds",
                    "Time from a request's head to its response, by route template",
                    DURATION_BUCKETS_SECONDS.to_vec()
                ),
                &["route"],
            )?,
            connections: IntGauge::new("masker_connections", "Connections open now")?,
            disk_free_bytes: IntGaugeVec::new(
                opts!(
                    "masker_disk_free_bytes",
                    "Bytes that can still be written to the disk of the vault, and to that of the audit log"
                ),
                &["of"],
            )?,
            log_lines_lost: IntCounter::new(
                "masker_log_lines_lost_total",
                "Lines of the daemon's log that were lost, because nobody read it",
            )?,
            text_bytes: IntCounterVec::new(
                opts!("masker_text_bytes_total", "Bytes of texts that were masked, restored or searched, by operation"),
                &["op"],
            )?,
            text_findings: IntCounterVec::new(
                opts!("masker_text_findings_total", "Values that were found in texts, by kind"),
                &["kind"],
            )?,
            vault_info: IntGaugeVec::new(
                opts!("masker_vault_info", "Always 1; the label names the engine of the vault"),
                &["engine"],
            )?,
            sandbox_in_force: IntGaugeVec::new(
                opts!(
                    "masker_sandbox_in_force",
                    "1 where a part of the daemon's sandbox is fully in force, 0 where it is not, or only in part"
                ),
                &["part", "state"],
            )?,
        })
    }

    /// Returns every metric, to be registered. Each shares its counts with the field.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.requests.clone()),
            Box::new(self.request_duration.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.disk_free_bytes.clone()),
            Box::new(self.log_lines_lost.clone()),
            Box::new(self.text_bytes.clone()),
            Box::new(self.text_findings.clone()),
            Box::new(self.vault_info.clone()),
            Box::new(self.sandbox_in_force.clone()),
        ]
    }
}

/// Every metric of the daemon, and the registry that `/metrics` reads.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    /// Metrics of the HTTP interface and the daemon.
    pub http: HttpMetrics,
    /// Metrics of callers and credentials.
    pub access: AccessMetrics,
    /// Metrics of the vault.
    pub vault: Arc<VaultMetrics>,
    /// Metrics of the audit log.
    pub audit: Arc<AuditMetrics>,
}

impl Metrics {
    /// Returns metrics at zero, together with those of the process.
    ///
    /// # Errors
    /// Only if two metrics share a name: a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        let mut metrics = Metrics {
            registry: Registry::new(),
            names: Vec::new(),
            http: HttpMetrics::new()?,
            access: AccessMetrics::new()?,
            vault: Arc::new(VaultMetrics::new()?),
            audit: Arc::new(AuditMetrics::new()?),
        };
        let own = [
            metrics.http.collectors(),
            metrics.access.collectors(),
            metrics.vault.collectors(),
            metrics.audit.collectors(),
        ];
        for collector in own.into_iter().flatten() {
            metrics.names.extend(collector.desc().iter().map(|described| described.fq_name.clone()));
            metrics.registry.register(collector)?;
        }
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Returns the names of masker's own metrics, also of those without a sample yet.
    pub fn own_names(&self) -> &[String] {
        &self.names
    }

    /// Returns all metrics in Prometheus' text format.
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
    fn names_are_unique_and_process_metrics_are_included() {
        let metrics = Metrics::new().unwrap();
        metrics.http.requests.with_label_values(&["/health", "200"]).inc();
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        assert!(text.contains("masker_requests_total{route=\"/health\",status=\"200\"} 1"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
