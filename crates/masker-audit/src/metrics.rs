//! The metrics of the audit log.

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, core::Collector, opts};

/// The metrics of the audit log. They are cheap to update and shared by reference. No label contains data of a request.
pub struct AuditMetrics {
    /// `masker_audit_events_total{op}`: events written to the audit log.
    pub events: IntCounterVec,
    /// `masker_audit_failures_total`: events that were lost.
    pub failures: IntCounter,
    /// `masker_audit_last_sequence`: the number of the last written event.
    pub last_sequence: IntGauge,
    /// `masker_audit_last_event_timestamp_seconds`: the time of that event, in seconds of Unix time.
    pub last_event_timestamp_seconds: Gauge,
}

impl AuditMetrics {
    /// Returns metrics at zero.
    ///
    /// # Errors
    /// A malformed metric description, which is a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(AuditMetrics {
            events: IntCounterVec::new(
                opts!("masker_audit_events_total", "Events written to the audit log, by operation"),
                &["op"],
            )?,
            failures: IntCounter::new(
                "masker_audit_failures_total",
                "Events that were lost, because the audit log could not be written for too long",
            )?,
            last_sequence: IntGauge::new(
                "masker_audit_last_sequence",
                "Number of the last event that was written to the audit log",
            )?,
            last_event_timestamp_seconds: Gauge::new(
                "masker_audit_last_event_timestamp_seconds",
                "When the last event was written to the audit log, in seconds of Unix time",
            )?,
        })
    }

    /// Returns every metric for registration. Each one shares its value with the field.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.events.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.last_sequence.clone()),
            Box::new(self.last_event_timestamp_seconds.clone()),
        ]
    }
}
