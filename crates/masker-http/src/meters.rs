//! Counting answers, without a lookup for each.

use std::{sync::OnceLock, time::Duration};

use hyper::StatusCode;
use prometheus::{Histogram, IntCounter};

use super::router::ROUTES;
use crate::metrics::Metrics;

/// What stands for the route of requests that go nowhere.
pub(super) const UNMATCHED: &str = "unmatched";

/// The meters of the routes, by their places in [`ROUTES`]. One that was never asked for is in no metric.
pub(super) struct RouteMetrics([OnceLock<RouteMetric>; ROUTES.len()]);

struct RouteMetric {
    ok: IntCounter,
    duration: Histogram,
}

impl Default for RouteMetrics {
    fn default() -> Self {
        RouteMetrics([const { OnceLock::new() }; ROUTES.len()])
    }
}

impl RouteMetrics {
    /// Counts an answer of the route at this place, or of none.
    pub(super) fn count(&self, metrics: &Metrics, place: Option<usize>, status: StatusCode, took: Duration) {
        let template = place.and_then(|place| ROUTES.get(place)).map_or(UNMATCHED, |route| route.2);
        let counter = |status: StatusCode| metrics.http.requests.with_label_values(&[template, status.as_str()]);
        let meter = place.and_then(|place| self.0.get(place)).map(|meter| {
            meter.get_or_init(|| RouteMetric {
                ok: counter(StatusCode::OK),
                duration: metrics.http.request_duration.with_label_values(&[template]),
            })
        });
        match meter {
            Some(meter) if status == StatusCode::OK => meter.ok.inc(),
            _ => counter(status).inc(),
        }
        match meter {
            Some(meter) => meter.duration.observe(took.as_secs_f64()),
            None => metrics.http.request_duration.with_label_values(&[template]).observe(took.as_secs_f64()),
        }
    }
}
