//! What `masker status` shows, computed from two samples. Pure: needs no clock, terminal or daemon.

use std::collections::BTreeMap;

use serde::Serialize;

use super::sample::{KeySummary, Observed, OwnRequests, Sample, StatusClass};
use crate::scrape::Scrape;
use masker_api::{Component, Components, HealthStatus};

/// The state of a daemon, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct StatusModel {
    pub(super) status: HealthStatus,
    pub(super) version: String,
    pub(super) uptime_seconds: u64,
    /// A line for each part that is not ok.
    #[serde(rename = "troubles")]
    pub(super) problems: Vec<String>,
    /// Requests per second. `None` from a single sample.
    pub(super) requests_per_second: Option<f64>,
    pub(super) traffic: Observed<Traffic>,
    pub(super) vault: Observed<VaultSummary>,
    pub(super) audit: AuditSummary,
    pub(super) rotation: Observed<Option<RotationSummary>>,
    pub(super) keys: Observed<Vec<KeySummary>>,
    pub(super) callers: Observed<Vec<CallerTraffic>>,
}

/// The requests of all routes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Traffic {
    pub(super) connections: u64,
    pub(super) total: RouteTraffic,
    /// The routes with requests since the previous sample, or with any requests if there is none. The busiest comes first.
    pub(super) routes: Vec<RouteTraffic>,
}

/// The requests of a route, or of all routes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct RouteTraffic {
    pub(super) route: String,
    /// Successful responses per second.
    pub(super) ok: f64,
    /// Refused requests per second: responses with status 4xx.
    pub(super) refused: f64,
    /// Failed requests per second: responses with status 5xx.
    pub(super) failed: f64,
    /// Median duration, in seconds.
    pub(super) p50: Option<f64>,
    /// 99th percentile of the duration, in seconds.
    pub(super) p99: Option<f64>,
}

impl RouteTraffic {
    fn rate(&self) -> f64 {
        self.ok + self.refused + self.failed
    }
}

/// The vault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct VaultSummary {
    pub(super) engine: String,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Free bytes on its disk. `None` if the daemon cannot determine them.
    pub(super) free_bytes: Option<u64>,
    /// Rows made durable per second.
    pub(super) rows_per_second: Option<f64>,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct AuditSummary {
    pub(super) on: bool,
    pub(super) sequence: Observed<u64>,
    /// The hash of the last durable event, as hex.
    pub(super) hash: Observed<String>,
    /// Seconds since the last event.
    pub(super) age_seconds: Option<u64>,
    pub(super) events_per_second: Option<f64>,
}

/// The latest rotation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RotationSummary {
    pub(super) kid: String,
    pub(super) state: String,
    pub(super) phase: String,
    pub(super) rows_done: u64,
    pub(super) rows_total: u64,
    pub(super) rows_failed: u64,
    pub(super) rows_per_second: f64,
    pub(super) eta_seconds: Option<u64>,
}

/// The requests of a caller.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct CallerTraffic {
    pub(super) name: String,
    pub(super) requests_per_second: f64,
    /// Requests since the daemon started.
    pub(super) requests: u64,
}

impl StatusModel {
    /// Computes the state from a sample and the previous one. Without a previous sample, or if the daemon restarted in
    /// between, there are no rates.
    pub(super) fn new(before: Option<&Sample>, now: &Sample) -> Self {
        let before =
            before.filter(|before| now.at > before.at && now.health.uptime_seconds >= before.health.uptime_seconds);
        let span = before.and_then(|before| Some((before.metrics.seen()?, (now.at - before.at).as_secs_f64())));
        let own = before.map_or_else(OwnRequests::new, |before| growth(&before.own, &now.own));
        let traffic = now.metrics.map(|now| SampleDelta { before: span, now }.traffic(&own));
        let audit_on = now.health.components.as_ref().is_none_or(|parts| parts.audit_log.status != HealthStatus::Off);
        StatusModel {
            status: now.health.status,
            version: now.health.version.clone().unwrap_or_default(),
            uptime_seconds: now.health.uptime_seconds.unwrap_or_default(),
            problems: problems(now),
            requests_per_second: span.and(traffic.seen()).map(|traffic| traffic.total.rate()),
            traffic,
            vault: now.metrics.map(|now| SampleDelta { before: span, now }.vault()),
            audit: AuditSummary {
                on: audit_on,
                sequence: now.metrics.map(|now| now.value("masker_audit_last_sequence").map_or(0, whole)),
                hash: now.head.map(|head| head.hash.clone()),
                age_seconds: now.metrics.seen().and_then(|metrics| {
                    let at = metrics.value("masker_audit_last_event_timestamp_seconds").filter(|at| *at > 0.0)?;
                    Some(whole(now.time.as_millisecond() as f64 / 1_000.0 - at))
                }),
                events_per_second: now
                    .metrics
                    .seen()
                    .and_then(|now| SampleDelta { before: span, now }.rate("masker_audit_last_sequence")),
            },
            rotation: now
                .rotation
                .map(|rotation| rotation.as_ref().map(|rotation| rotation_summary(rotation, before, now))),
            keys: now.keys.clone(),
            callers: now.metrics.map(|now| SampleDelta { before: span, now }.callers()),
        }
    }
}

/// Returns the requests of `now` that were made after those of `before`.
fn growth(before: &OwnRequests, now: &OwnRequests) -> OwnRequests {
    now.iter().map(|(key, count)| (*key, count.saturating_sub(before.get(key).copied().unwrap_or(0)))).collect()
}

fn problems(now: &Sample) -> Vec<String> {
    let problem = |(name, part): (&str, &Component)| {
        (part.status != HealthStatus::Ok).then(|| format!("{name}: {}", part.detail.as_deref().unwrap_or("degraded")))
    };
    now.health.components.iter().flat_map(Components::named).filter_map(problem).collect()
}

/// Returns the progress of a rotation. Its own numbers are older than the metrics, so the metrics take precedence.
fn rotation_summary(rotation: &masker_api::Rotation, before: Option<&Sample>, now: &Sample) -> RotationSummary {
    let running = rotation.state == "running";
    let moved = |sample: &Sample| sample.metrics.seen().and_then(|metrics| metrics.value("masker_rotation_rows_total"));
    let counted = before.and_then(|before| {
        let seconds = (now.at - before.at).as_secs_f64();
        Some((moved(now)? - moved(before)?).max(0.0) / seconds)
    });
    let rate = counted.filter(|_| running && !rotation.dry_run).unwrap_or(rotation.rows_per_second);
    // Every sample counts the rows that are left; the other numbers are from the last request about the rotation.
    let counted = now.metrics.seen().and_then(|metrics| metrics.value("masker_rotation_rows_left"));
    let left = counted.filter(|_| running).map_or(rotation.rows_total.saturating_sub(rotation.rows_done), whole);
    RotationSummary {
        kid: rotation.new_kid.clone(),
        state: if rotation.dry_run { format!("{} (dry run)", rotation.state) } else { rotation.state.clone() },
        phase: rotation.phase.clone(),
        rows_done: rotation.rows_total.saturating_sub(left),
        rows_total: rotation.rows_total,
        rows_failed: rotation.rows_failed,
        rows_per_second: rate,
        eta_seconds: if running && rate > 0.0 {
            Some(whole((left as f64 / rate).ceil()))
        } else {
            rotation.eta_seconds
        },
    }
}

/// The metrics of a sample, and those of the previous one with the seconds between them.
struct SampleDelta<'a> {
    before: Option<(&'a Scrape, f64)>,
    now: &'a Scrape,
}

impl SampleDelta<'_> {
    /// Returns the growth per second of a counter without labels.
    fn rate(&self, name: &str) -> Option<f64> {
        let (before, seconds) = self.before?;
        Some((self.now.value(name)? - before.value(name).unwrap_or(0.0)).max(0.0) / seconds)
    }

    /// Returns the growth per second of a counter, by a key made of its labels. It is 0 without a previous sample.
    fn rates<K: Ord>(&self, name: &str, key: impl Fn(&crate::scrape::Series) -> K) -> BTreeMap<K, f64> {
        let mut grown: BTreeMap<K, f64> = BTreeMap::new();
        for series in self.now.of(name) {
            *grown.entry(key(series)).or_default() += series.value;
        }
        let Some((before, seconds)) = self.before else {
            grown.values_mut().for_each(|value| *value = 0.0);
            return grown;
        };
        for series in before.of(name) {
            if let Some(value) = grown.get_mut(&key(series)) {
                *value -= series.value;
            }
        }
        grown.values_mut().for_each(|value| *value = value.max(0.0) / seconds);
        grown
    }

    /// Returns the traffic without the requests in `own`.
    fn traffic(&self, own: &OwnRequests) -> Traffic {
        let mut lines: BTreeMap<String, RouteTraffic> = BTreeMap::new();
        let rates = self.rates("masker_requests_total", |series| {
            let status = series.label("status").parse().unwrap_or_default();
            (series.label("route").to_owned(), StatusClass::of(status))
        });
        for ((route, class), rate) in rates {
            let line = lines.entry(route.clone()).or_default();
            let own = own.get(&(&*route, class)).copied().unwrap_or(0);
            let rate = (rate - self.before.map_or(0.0, |(_, seconds)| own as f64 / seconds)).max(0.0);
            match class {
                StatusClass::Ok => line.ok += rate,
                StatusClass::Refused => line.refused += rate,
                StatusClass::Failed => line.failed += rate,
            }
            line.route = route.trim_start_matches("/api/v1/").to_owned();
        }
        let mut total = RouteTraffic { route: "all".to_owned(), ..RouteTraffic::default() };
        let mut of_all: Vec<(f64, f64)> = Vec::new();
        for (route, line) in &mut lines {
            (total.ok, total.refused, total.failed) =
                (total.ok + line.ok, total.refused + line.refused, total.failed + line.failed);
            if self.before.is_some() && line.rate() == 0.0 {
                continue;
            }
            let buckets = self.buckets(route);
            (line.p50, line.p99) = (quantile(&buckets, 0.5), quantile(&buckets, 0.99));
            if of_all.is_empty() {
                of_all = buckets;
            } else {
                of_all.iter_mut().zip(buckets).for_each(|(all, one)| all.1 += one.1);
            }
        }
        (total.p50, total.p99) = (quantile(&of_all, 0.5), quantile(&of_all, 0.99));
        let mut routes: Vec<RouteTraffic> =
            lines.into_values().filter(|line| self.before.is_none() || line.rate() > 0.0).collect();
        routes.sort_by(|one, other| other.rate().total_cmp(&one.rate()).then_with(|| one.route.cmp(&other.route)));
        Traffic { connections: self.now.value("masker_connections").map_or(0, whole), total, routes }
    }

    /// Returns the buckets of a route's histogram: upper bounds in seconds, and cumulative counts since the previous sample,
    /// or since the daemon started if there is none.
    fn buckets(&self, route: &str) -> Vec<(f64, f64)> {
        const NAME: &str = "masker_request_duration_seconds_bucket";
        let counts = |scrape: &Scrape| -> Vec<(f64, f64)> {
            let of_route = scrape.of(NAME).filter(|series| series.label("route") == route);
            of_route.filter_map(|series| Some((series.label("le").parse().ok()?, series.value))).collect()
        };
        let mut now = counts(self.now);
        if let Some((before, _)) = self.before {
            now.iter_mut().zip(counts(before)).for_each(|(now, before)| now.1 -= before.1);
        }
        now
    }

    fn vault(&self) -> VaultSummary {
        let value = |name| self.now.value(name).map_or(0, whole);
        VaultSummary {
            engine: self.now.of("masker_vault_info").next().map_or("", |info| info.label("engine")).to_owned(),
            records: value("masker_vault_records"),
            bytes: value("masker_vault_size_bytes"),
            free_bytes: self
                .now
                .of("masker_disk_free_bytes")
                .find(|disk| disk.label("of") == "vault")
                .map(|disk| whole(disk.value)),
            rows_per_second: self.rate("masker_vault_commit_rows_sum"),
        }
    }

    fn callers(&self) -> Vec<CallerTraffic> {
        const NAME: &str = "masker_caller_requests_total";
        let rates = self.rates(NAME, |series| series.label("caller").to_owned());
        let mut callers: Vec<CallerTraffic> = self
            .now
            .of(NAME)
            .map(|series| CallerTraffic {
                name: series.label("caller").to_owned(),
                requests_per_second: rates.get(series.label("caller")).copied().unwrap_or(0.0),
                requests: whole(series.value),
            })
            .collect();
        callers.sort_by(|one, other| {
            let by_rate = other.requests_per_second.total_cmp(&one.requests_per_second);
            by_rate.then_with(|| other.requests.cmp(&one.requests)).then_with(|| one.name.cmp(&other.name))
        });
        callers
    }
}

/// Returns a quantile of a histogram, in seconds, as Prometheus' `histogram_quantile` does: values are taken as evenly
/// distributed within a bucket. Returns `None` if nothing was counted.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let count = buckets.last()?.1;
    if count <= 0.0 {
        return None;
    }
    let wanted = part * count;
    let index = buckets.iter().position(|(_, below)| *below >= wanted)?;
    let (bound, below) = buckets[index];
    let (lower, before) = if index == 0 { (0.0, 0.0) } else { buckets[index - 1] };
    // The last bucket has no upper bound.
    if bound.is_infinite() || below <= before {
        return Some(if bound.is_infinite() { lower } else { bound });
    }
    Some(lower + (bound - lower) * (wanted - before) / (below - before))
}

/// Converts a metric's value to a count.
fn whole(number: f64) -> u64 {
    // The conversion saturates: a negative value becomes 0.
    number as u64
}

#[cfg(test)]
#[path = "model_tests.rs"]
pub(super) mod tests;
