//! Metrics of callers and credentials.

use prometheus::{IntCounterVec, IntGaugeVec, core::Collector, opts};

/// Metrics of callers and credentials. Cheap to update, shared by reference. No label is taken from a request.
pub struct AccessMetrics {
    /// `masker_caller_requests_total{caller}`: requests by client name or API key prefix.
    pub caller_requests: IntCounterVec,
    /// `masker_auth_failures_total{outcome}`: requests with a rejected credential.
    pub auth_failures: IntCounterVec,
    /// `masker_budget_crossed_total{limit}`: callers that reached 80 % of a daily budget.
    pub budget_warnings: IntCounterVec,
    /// `masker_api_keys{state}`: API keys by state.
    pub api_keys: IntGaugeVec,
}

impl AccessMetrics {
    /// Returns metrics at zero.
    ///
    /// # Errors
    /// A malformed description of a metric, which is a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(AccessMetrics {
            caller_requests: IntCounterVec::new(
                opts!(
                    "masker_caller_requests_total",
                    "Requests answered, by caller: a client's name or an API key's prefix"
                ),
                &["caller"],
            )?,
            auth_failures: IntCounterVec::new(
                opts!("masker_auth_failures_total", "Requests whose credential was rejected, by error code"),
                &["outcome"],
            )?,
            budget_warnings: IntCounterVec::new(
                opts!("masker_budget_crossed_total", "Times a caller reached 80 % of a daily budget, by limit"),
                &["limit"],
            )?,
            api_keys: IntGaugeVec::new(
                opts!(
                    "masker_api_keys",
                    "API keys, by state: active, inactive (active and unused for 90 days), expired, revoked"
                ),
                &["state"],
            )?,
        })
    }

    /// Returns every metric for a registry. Each shares its value with the field.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.caller_requests.clone()),
            Box::new(self.auth_failures.clone()),
            Box::new(self.budget_warnings.clone()),
            Box::new(self.api_keys.clone()),
        ]
    }
}
