//! Tests of what two samples show.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use masker_api::{AuditHead, Components, Health, Rotation};

/// Returns a sample of a daemon with this uptime in seconds, and these metrics.
pub(in crate::live) fn sample(uptime: u64, metrics: &str) -> Sample {
    let fine = || Component { status: HealthStatus::Ok, detail: None };
    Sample {
        at: Duration::from_secs(1_000 + uptime),
        time: Timestamp::from_second(1_800_000_000).unwrap(),
        health: Health {
            status: HealthStatus::Ok,
            version: Some("0.1.0".to_owned()),
            uptime_seconds: Some(uptime),
            components: Some(Components { vault: fine(), keys: fine(), audit_log: fine(), policies: fine() }),
            configuration: None,
        },
        metrics: Observed::Seen(Scrape::parse(metrics)),
        own: OwnRequests::new(),
        head: Observed::Seen(AuditHead { sequence: 81_274, hash: "9f86d081884c7d65".repeat(4) }),
        keys: Observed::Seen(Vec::new()),
        rotation: Observed::Seen(None),
    }
}

/// Returns the metrics of a route: responses with 200, 403 and 503, and requests that took at most 1 ms, at most 10 ms, and
/// longer.
pub(in crate::live) fn route(name: &str, answers: [u64; 3], took: [u64; 3]) -> String {
    let mut text = String::new();
    for (status, count) in ["200", "403", "503"].into_iter().zip(answers) {
        text += &format!("masker_requests_total{{route=\"{name}\",status=\"{status}\"}} {count}\n");
    }
    let mut cumulative = 0;
    for (bound, count) in ["0.001", "0.01", "+Inf"].into_iter().zip(took) {
        cumulative += count;
        text += &format!("masker_request_duration_seconds_bucket{{route=\"{name}\",le=\"{bound}\"}} {cumulative}\n");
    }
    text
}

#[test]
fn rates_are_the_growth_between_two_samples() {
    let before = [
        route("/api/v1/tokenize", [1_000, 0, 0], [1_000, 0, 0]),
        route("/api/v1/lookup", [7, 0, 0], [7, 0, 0]),
        "masker_caller_requests_total{caller=\"billing\"} 1000\n".to_owned(),
    ]
    .concat();
    let now = [
        route("/api/v1/tokenize", [1_100, 20, 10], [1_064, 66, 0]),
        route("/api/v1/lookup", [7, 0, 0], [7, 0, 0]),
        route("/health", [4, 0, 0], [4, 0, 0]),
        "masker_caller_requests_total{caller=\"billing\"} 1130\n".to_owned(),
        "masker_caller_requests_total{caller=\"masker_live_abcd\"} 4\n".to_owned(),
    ]
    .concat();
    let shown = StatusModel::new(Some(&sample(10, &before)), &sample(12, &now));
    let traffic = shown.traffic.seen().unwrap();
    // Routes without requests since the previous sample are not shown.
    let routes: Vec<_> = traffic.routes.iter().map(|line| &*line.route).collect();
    assert_eq!(routes, ["tokenize", "/health"]);
    let first = &traffic.routes[0];
    assert_eq!((first.ok, first.refused, first.failed), (50.0, 10.0, 5.0));
    // The 65th of 130: within the 64 of the first bucket and the 66 of the second.
    assert!((first.p50.unwrap() - (0.001 + 0.009 / 66.0)).abs() < 1e-9, "{first:?}");
    assert_eq!(shown.requests_per_second, Some(67.0));
    let callers = shown.callers.seen().unwrap();
    let callers: Vec<_> = callers.iter().map(|caller| (&*caller.name, caller.requests_per_second)).collect();
    assert_eq!(callers, [("billing", 65.0), ("masker_live_abcd", 2.0)]);
}

#[test]
fn own_requests_are_left_out() {
    let routes = |health, refused| {
        route("/health", [health, 0, 0], [health, 0, 0]) + &route("/api/v1/keys", [0, refused, 0], [refused, 0, 0])
    };
    let of = |uptime, health, refused, own| {
        let mut sample = sample(uptime, &routes(health, refused));
        sample.own =
            OwnRequests::from([(("/health", StatusClass::Ok), own), (("/api/v1/keys", StatusClass::Refused), own)]);
        sample
    };
    let idle = StatusModel::new(Some(&of(10, 3, 5, 1)), &of(12, 5, 7, 3));
    assert_eq!(idle.requests_per_second, Some(0.0));
    let traffic = idle.traffic.seen().unwrap();
    assert_eq!((traffic.routes.len(), traffic.total.p50), (0, None));
    let busy = StatusModel::new(Some(&of(10, 3, 5, 1)), &of(12, 9, 7, 3));
    assert_eq!(busy.requests_per_second, Some(2.0));
    assert_eq!(busy.traffic.seen().unwrap().routes[0].route, "/health");
}

#[test]
fn a_single_sample_and_a_restarted_daemon_have_no_rates() {
    let metrics = route("/api/v1/tokenize", [10, 0, 0], [10, 0, 0]) + "masker_vault_commit_rows_sum 5\n";
    for before in [None, Some(sample(900, &metrics))] {
        let shown = StatusModel::new(before.as_ref(), &sample(3, &metrics));
        assert_eq!(shown.requests_per_second, None);
        let traffic = shown.traffic.seen().unwrap();
        assert_eq!((traffic.routes.len(), traffic.routes[0].ok), (1, 0.0));
        // Latencies are those of all requests.
        assert!(traffic.total.p99.is_some());
        assert_eq!(shown.vault.seen().unwrap().rows_per_second, None);
    }
}

#[test]
fn quantiles_match_prometheus() {
    let buckets = [(0.1, 10.0), (0.5, 10.0), (1.0, 30.0), (f64::INFINITY, 40.0)];
    for (part, value) in [(0.0, 0.0), (0.125, 0.05), (0.25, 0.1), (0.5, 0.75), (0.75, 1.0), (0.99, 1.0)] {
        let found = quantile(&buckets, part).unwrap();
        assert!((found - value).abs() < 1e-9, "{part}: {found}");
    }
    assert_eq!(quantile(&[], 0.5), None);
    assert_eq!(quantile(&[(1.0, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
}

#[test]
fn refused_parts_are_withheld() {
    let mut now = sample(5, "");
    now.metrics = Observed::withheld("needs metrics:read");
    now.keys = Observed::withheld("needs keys:read");
    let shown = StatusModel::new(Some(&sample(4, "")), &now);
    assert_eq!(shown.traffic, Observed::withheld("needs metrics:read"));
    assert_eq!(shown.keys, Observed::withheld("needs keys:read"));
    assert_eq!(shown.audit.hash.seen().unwrap().len(), 64);
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json["traffic"]["withheld"], "needs metrics:read");
    assert_eq!(json["status"], "ok");
}

#[test]
fn a_rotation_uses_the_metrics_of_the_samples() {
    let rotation = |state: &str, dry_run| Rotation {
        id: "0".repeat(32),
        new_kid: "K_CARE".to_owned(),
        fingerprint: "f".repeat(16),
        old_kid: "K_CARE".to_owned(),
        dry_run,
        state: state.to_owned(),
        phase: "moving".to_owned(),
        rows_total: 10_000,
        rows_done: 4_000,
        rows_resealed: 4_000,
        rows_failed: 0,
        conflicts: 0,
        rows_per_second: 7.0,
        max_rows_per_second: 0,
        eta_seconds: Some(99),
        started_at: None,
        finished_at: None,
        failures: Vec::new(),
        detail: None,
    };
    let sample_of = |uptime, moved: u64, state: &str, dry_run| {
        let metrics = format!("masker_rotation_rows_total {moved}\nmasker_rotation_rows_left 5000\n");
        let mut sample = sample(uptime, &metrics);
        sample.rotation = Observed::Seen(Some(rotation(state, dry_run)));
        sample
    };
    let shown = |state, dry_run| {
        let shown = StatusModel::new(Some(&sample_of(1, 1_000, state, dry_run)), &sample_of(3, 2_000, state, dry_run));
        let rotation = shown.rotation.seen().unwrap().clone().unwrap();
        (rotation.rows_per_second, rotation.eta_seconds)
    };
    assert_eq!(shown("running", false), (500.0, Some(10)));
    assert_eq!(shown("done", false), (7.0, Some(99)));
    // A dry run moves no rows, so the metrics do not count any.
    assert_eq!(shown("running", true), (7.0, Some(715)));
}

#[test]
fn the_audit_log_has_an_age() {
    let metrics = "masker_audit_last_sequence 81274\nmasker_audit_last_event_timestamp_seconds 1799999990.5\n";
    let shown = StatusModel::new(None, &sample(1, metrics)).audit;
    assert_eq!((shown.on, shown.sequence, shown.age_seconds), (true, Observed::Seen(81_274), Some(9)));
    let mut off = sample(1, "masker_audit_last_event_timestamp_seconds 0\n");
    off.health.components.as_mut().unwrap().audit_log.status = HealthStatus::Off;
    let shown = StatusModel::new(None, &off).audit;
    assert_eq!((shown.on, shown.age_seconds), (false, None));
}
