//! Metrics of callers and credentials.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use masker_types::limits::CALLER_SERIES_MAX;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, core::Collector, opts};

/// The series of callers beyond [`CALLER_SERIES_MAX`]. Names of clients and prefixes of keys begin with
/// a letter or a digit.
const OTHER_CALLERS: &str = "_other";

/// Metrics of callers and credentials. Cheap to update, shared by reference. No label is taken from a request.
pub struct AccessMetrics {
    /// `masker_caller_requests_total{caller}`: requests by client name or API key prefix.
    caller_requests: IntCounterVec,
    /// The callers that have a series of their own.
    callers: Mutex<HashSet<String>>,
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
                    "Requests answered, by caller: a client's name or an API key's prefix; `_other` for callers beyond the first 1,000"
                ),
                &["caller"],
            )?,
            callers: Mutex::default(),
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

    /// Returns the counter of a caller's requests. Once [`CALLER_SERIES_MAX`] callers have one, further callers share the
    /// series `_other`.
    pub fn caller_counter(&self, caller: &str) -> IntCounter {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let has_own = callers.contains(caller) || callers.len() < CALLER_SERIES_MAX;
        if has_own {
            callers.insert(caller.to_owned());
        }
        self.caller_requests.with_label_values(&[if has_own { caller } else { OTHER_CALLERS }])
    }

    /// Removes the series of callers that no longer exist.
    pub fn retain_callers(&self, exists: impl Fn(&str) -> bool) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.retain(|caller| {
            let kept = exists(caller);
            if !kept {
                // It fails if the series does not exist.
                let _ = self.caller_requests.remove_label_values(&[caller]);
            }
            kept
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_callers_are_bounded_and_end_with_their_callers() {
        let metrics = AccessMetrics::new().unwrap();
        let series = || metrics.caller_requests.collect()[0].get_metric().len();
        for caller in 0..2 * CALLER_SERIES_MAX {
            metrics.caller_counter(&caller.to_string()).inc();
        }
        assert_eq!(series(), CALLER_SERIES_MAX + 1);
        let others = metrics.caller_requests.with_label_values(&[OTHER_CALLERS]);
        assert_eq!(others.get(), CALLER_SERIES_MAX as u64);
        metrics.retain_callers(|caller| caller == "7");
        assert_eq!(series(), 2);
        assert_eq!((metrics.caller_counter("7").get(), metrics.caller_counter("8").get()), (1, 0));
    }
}
