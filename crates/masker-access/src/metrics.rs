//! The counters of callers and credentials.

use prometheus::{IntCounterVec, IntGaugeVec, core::Collector, opts};

/// The counters of callers and credentials. Cheap to update, shared by reference. No label holds anything of a request's making.
pub struct AccessMetrics {
    /// `masker_caller_requests_total{caller}`: a client's name, or the part of an API key that may be shown.
    pub caller_requests: IntCounterVec,
    /// `masker_auth_failures_total{outcome}`: credentials that were not accepted.
    pub auth_failures: IntCounterVec,
    /// `masker_budget_crossed_total{limit}`: budgets of callers of which 80 % were used up.
    pub budget_warnings: IntCounterVec,
    /// `masker_api_keys{state}`.
    pub api_keys: IntGaugeVec,
}

impl AccessMetrics {
    /// Returns counters at zero.
    ///
    /// # Errors
    /// Only if the description of a metric is malformed: a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(AccessMetrics {
            caller_requests: IntCounterVec::new(
                opts!(
                    "masker_caller_requests_total",
                    "Requests answered, by caller: a client's name, or the part of an API key that may be shown"
                ),
                &["caller"],
            )?,
            auth_failures: IntCounterVec::new(
                opts!(
                    "masker_auth_failures_total",
                    "Requests whose credential was not accepted, by the code of the answer"
                ),
                &["outcome"],
            )?,
            budget_warnings: IntCounterVec::new(
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
        })
    }

    /// Returns every metric, to be registered. Each shares its counts with the field.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.caller_requests.clone()),
            Box::new(self.auth_failures.clone()),
            Box::new(self.budget_warnings.clone()),
            Box::new(self.api_keys.clone()),
        ]
    }
}
