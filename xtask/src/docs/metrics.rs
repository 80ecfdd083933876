//! The page of metrics.

use masker_http::metrics::Metrics;
use prometheus::core::Collector;

use super::markdown::{self, code, escape, table};
use crate::Error;

const INTRODUCTION: &str = "\
The daemon serves these metrics as text in Prometheus' format at `GET /metrics`, to callers with the scope `metrics:read`.
[Monitoring](../operate/monitoring.md) explains which to watch. No label contains a value or a token.";

/// Returns the page.
///
/// # Errors
/// The metrics cannot be created: a bug.
pub fn page() -> Result<String, Error> {
    let metrics = Metrics::new()?;
    let mut page = markdown::page("Metrics", INTRODUCTION);
    for (heading, collectors) in [
        ("HTTP interface and daemon", metrics.http.collectors()),
        ("Callers", metrics.access.collectors()),
        ("Vault", metrics.vault.collectors()),
        ("Audit log", metrics.audit.collectors()),
    ] {
        page.push_str(&format!("\n## {heading}\n"));
        let rows = collectors.iter().flat_map(|collector| rows(&**collector));
        table(&mut page, &["metric", "type", "labels", "meaning"], rows);
    }
    page.push_str("\n## Process\n\nFrom the kernel, about the daemon's process.\n");
    table(&mut page, &["metric", "type", "meaning"], process(&String::from_utf8(metrics.text()?)?));
    Ok(page)
}

/// Returns a row for each metric of a collector.
fn rows(collector: &dyn Collector) -> Vec<Vec<String>> {
    // A metric without samples has a family all the same, which has its type.
    let families = collector.collect();
    let described = collector.desc().into_iter().zip(families);
    described
        .map(|(description, family)| {
            let labels: Vec<String> = description.variable_labels.iter().map(|label| code(label)).collect();
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            vec![code(&description.fq_name), kind, labels.join(", "), escape(&description.help)]
        })
        .collect()
}

/// Returns a row for each metric of the process in a response.
fn process(text: &str) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
            && name.starts_with("process_")
        {
            rows.push(vec![code(name), String::new(), escape(help.trim_end_matches('.'))]);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
            && let Some(row) = rows.iter_mut().find(|row| row[0] == code(name))
        {
            row[1] = kind.to_owned();
        }
    }
    rows
}
