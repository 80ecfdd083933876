//! Counts answers by route, without a lookup for each.

use std::{sync::OnceLock, time::Duration};

use hyper::StatusCode;
use prometheus::{Histogram, IntCounter};

use super::route::{Route, routes};
use crate::metrics::Metrics;

/// The route label of requests without a route.
pub(super) const UNMATCHED: &str = "unmatched";

/// The metrics of each route, in the order of [`routes`]. A route without requests so far has none.
pub(super) struct RouteMetrics(Vec<OnceLock<RouteMetric>>);

struct RouteMetric {
    ok: IntCounter,
    duration: Histogram,
}

impl Default for RouteMetrics {
    fn default() -> Self {
        RouteMetrics(routes().iter().map(|_| OnceLock::new()).collect())
    }
}

impl RouteMetrics {
    /// Counts an answer of a route, or of none.
    pub(super) fn count(&self, metrics: &Metrics, route: Option<&Route>, status: StatusCode, took: Duration) {
        let template = route.map_or(UNMATCHED, |route| route.path());
        let counter = |status: StatusCode| metrics.http.requests.with_label_values(&[template, status.as_str()]);
        let of_route = route.and_then(|route| self.0.get(route.index)).map(|metric| {
            metric.get_or_init(|| RouteMetric {
                ok: counter(StatusCode::OK),
                duration: metrics.http.request_duration.with_label_values(&[template]),
            })
        });
        match of_route {
            Some(metric) if status == StatusCode::OK => metric.ok.inc(),
            _ => counter(status).inc(),
        }
        match of_route {
            Some(metric) => metric.duration.observe(took.as_secs_f64()),
            None => metrics.http.request_duration.with_label_values(&[template]).observe(took.as_secs_f64()),
        }
    }
}
