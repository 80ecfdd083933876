//! The files for Prometheus and Grafana use metrics that exist, and each alert fires.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use masker_http::metrics::Metrics;
use serde_json::Value;

use crate::{read, root};

const RULES: &str = "masker.rules.yml";

fn shipped(name: &str) -> String {
    read(&format!("docs/monitoring/{name}"))
}

/// Returns the names of masker's and the process's metrics in a query.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("masker_") || word.starts_with("process_"))
}

/// Returns the names in a scrape: masker's, with the three series of each histogram, and the process's.
fn served() -> BTreeSet<String> {
    let metrics = Metrics::new().unwrap();
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    let of_process = text.lines().filter_map(|line| line.strip_prefix("# TYPE process_")?.split(' ').next());
    let mut served: BTreeSet<String> = of_process.map(|name| format!("process_{name}")).collect();
    for name in metrics.own_names() {
        let parts =
            ["_bucket", "_sum", "_count"].iter().filter(|_| name.ends_with("_seconds") || name.ends_with("_rows"));
        served.extend(parts.map(|part| format!("{name}{part}")));
        served.insert(name.clone());
    }
    served
}

/// Returns the queries of the dashboard's panels.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&shipped("masker-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// Returns Prometheus' checker; `None`, with a message, if it is missing. CI must have it.
fn promtool() -> Option<PathBuf> {
    let of_target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/promtool");
    let found = [PathBuf::from("promtool"), of_target]
        .into_iter()
        .find(|tool| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success()));
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "promtool does not run");
        eprintln!("skipped: promtool does not run here; `make deps` gets it");
    }
    found
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_dashboard_uses_all_metrics_that_are_served() {
    let (queries, served) = (queries(), served());
    let asked: BTreeSet<&str> = queries.iter().flat_map(|query| metrics_of(query)).collect();
    for name in &asked {
        assert!(served.contains(*name), "the dashboard asks for {name}, which is not served");
    }
    for name in Metrics::new().unwrap().own_names() {
        assert!(asked.iter().any(|asked| asked.starts_with(name)), "the dashboard does not show {name}");
    }
}

#[test]
fn panels_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&shipped("masker-dashboard.json")).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{} is wider than the page", panel["title"]);
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{} lies on another", panel["title"]);
        }
    }
}

#[test]
fn the_alerts_use_metrics_that_are_served() {
    let served = served();
    for name in shipped(RULES).lines().flat_map(metrics_of) {
        assert!(served.contains(name), "an alert asks for {name}, which is not served");
    }
}

#[test]
fn every_alert_is_explained() {
    let guide = read("docs/src/operate/monitoring.md");
    for line in shipped(RULES).lines() {
        if let Some(name) = line.trim_start().strip_prefix("- alert: ") {
            assert!(guide.contains(&format!("| `{name}` |")), "docs/src/operate/monitoring.md does not explain {name}");
        }
    }
}

#[test]
fn prometheus_accepts_the_alerts_and_fires_each() {
    let Some(promtool) = promtool() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(RULES), shipped(RULES)).unwrap();
    fs::copy(root().join("tests/documents/alerts.yml"), folder.path().join("alerts.yml")).unwrap();
    succeeds(Command::new(&promtool).args(["check", "rules", RULES]).current_dir(folder.path()));
    succeeds(Command::new(&promtool).args(["test", "rules", "alerts.yml"]).current_dir(folder.path()));
}

#[test]
fn prometheus_accepts_the_queries_of_the_dashboard() {
    let Some(promtool) = promtool() else { return };
    // As rules, because the checker reads queries only there. Grafana replaces its variables with times.
    let rules: Vec<Value> = queries()
        .iter()
        .enumerate()
        .map(|(place, query)| {
            let query = query.replace("$__rate_interval", "5m").replace("$__range", "1h");
            serde_json::json!({"record": format!("panel:{place}"), "expr": query})
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("panels.json");
    // JSON is YAML.
    fs::write(&file, serde_json::json!({"groups": [{"name": "panels", "rules": rules}]}).to_string()).unwrap();
    succeeds(Command::new(promtool).args(["check", "rules"]).arg(file));
}

#[test]
fn the_command_line_reads_the_metrics_back() {
    let metrics = Metrics::new().unwrap();
    metrics.http.requests.with_label_values(&["/health", "200"]).inc_by(3);
    metrics.access.caller_counter("a \"b\" \\ c,d={}\n").inc();
    metrics.http.request_duration.with_label_values(&["/health"]).observe(0.3);
    metrics.vault.records.set(7);
    let scrape = masker_cli::scrape::Scrape::parse(&String::from_utf8(metrics.text().unwrap()).unwrap());
    let requests = scrape.of("masker_requests_total").next().unwrap();
    assert_eq!((requests.label("route"), requests.label("status"), requests.value), ("/health", "200", 3.0));
    let caller = scrape.of("masker_caller_requests_total").next().unwrap();
    assert_eq!(caller.label("caller"), "a \"b\" \\ c,d={}\n");
    assert_eq!(scrape.value("masker_vault_records"), Some(7.0));
    let buckets: Vec<_> = scrape.of("masker_request_duration_seconds_bucket").collect();
    let last = buckets.last().unwrap();
    assert_eq!((last.label("le").parse::<f64>().unwrap(), last.value), (f64::INFINITY, 1.0));
    assert_eq!(scrape.value("masker_request_duration_seconds_count"), Some(1.0));
}
