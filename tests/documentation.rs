//! What the documents say, held against the source and the vectors: tables that nobody compares go stale.

use std::{fs, path::Path};

use masker_api::Code;
use masker_audit::AuditOperation;
use masker_http::metrics::Metrics;
use masker_types::{
    grant::{Limit, Scope},
    limits,
};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The cells of the table rows of a text, with back quotes removed from the first.
fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

#[test]
fn the_error_codes_are_those_of_the_source() {
    let readme = read("README.md");
    let documented: Vec<(String, String)> = rows(&readme)
        .into_iter()
        .skip_while(|row| row[0] != "code")
        .skip(1)
        .take_while(|row| row.len() == 3 && !row[0].starts_with('['))
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let codes: Vec<&str> = documented.iter().map(|(code, _)| code.as_str()).take(Code::ALL.len()).collect();
    assert_eq!(codes, Code::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>());
    for ((code, status), known) in documented.iter().zip(Code::ALL) {
        assert!(status == "item" || *status == known.status().to_string(), "{code}: {status}, not {}", known.status());
    }
}

#[test]
fn the_operations_are_those_of_the_audit_log() {
    let documented: Vec<String> = rows(&read("docs/audit-log.md"))
        .into_iter()
        .skip_while(|row| row[0] != "operation")
        .skip(1)
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(documented, AuditOperation::ALL.iter().map(|op| op.as_str()).collect::<Vec<_>>());
}

#[test]
fn the_limits_are_those_of_the_source() {
    let readme = read("README.md");
    let rows = rows(&readme);
    let grouped = |number: usize| match number {
        1_000.. => format!("{},{:03}", number / 1_000, number % 1_000),
        _ => number.to_string(),
    };
    let mebibytes = |bytes: usize| format!("{} MiB", bytes / (1 << 20));
    let file = usize::try_from(limits::TEXT_FILE_BYTES_MAX).unwrap();
    for (what, most) in [
        ("items in a request", grouped(limits::ITEMS_PER_REQUEST_MAX)),
        ("body of a request", mebibytes(limits::BODY_BYTES_MAX)),
        ("an export that is imported", format!("{} GiB", limits::IMPORT_BYTES_MAX >> 30)),
        ("a value, and its normal form", format!("{} bytes", grouped(limits::VALUE_BYTES_MAX))),
        ("a context", format!("{} bytes", limits::CONTEXT_BYTES_MAX)),
        ("an entity kind; a kid", format!("{}; {} characters", limits::KIND_BYTES_MAX, limits::KID_BYTES_MAX)),
        ("head of a request", format!("{} KiB, {} headers", limits::HEAD_BYTES_MAX / 1_024, limits::HEADERS_MAX)),
        ("connections served at once (more wait to be accepted)", grouped(limits::CONNECTIONS_MAX)),
        (
            &format!(
                "bodies over {} KiB in memory at once (more wait {} s)",
                limits::BODY_BYTES_UNMETERED / 1_024,
                limits::QUEUE_WAIT_SECONDS_MAX
            ),
            mebibytes(limits::BODIES_IN_FLIGHT_BYTES_MAX),
        ),
        ("requests that wait for the vault's writer", grouped(limits::WRITER_QUEUE_MAX)),
        ("a policy or configuration file", mebibytes(file)),
    ] {
        assert!(rows.contains(&vec![what.to_owned(), most.clone()]), "the README does not say: {what} | {most}");
    }
    assert!(readme.contains(&format!("the daemon is gone within {} s", limits::STOP_SECONDS_MAX)));
}

#[test]
fn the_routes_are_those_that_are_served() {
    let readme = read("README.md");
    for (method, path) in masker_http::routes().iter().map(|route| (route.method(), route.path())) {
        assert!(readme.contains(&format!("`{method} {path}`")), "the README does not name {method} {path}");
    }
}

#[test]
fn the_metrics_are_those_that_are_counted() {
    let readme = read("README.md");
    for name in Metrics::new().unwrap().names() {
        assert!(readme.contains(&format!("`{name}`")), "the README does not explain {name}");
    }
}

#[test]
fn every_setting_is_in_the_reference() {
    let readme = read("README.md");
    let mut section = String::new();
    for line in read("systemd/masker.toml").lines() {
        let line = line.trim_start_matches("# ");
        if line.starts_with('[') {
            section = line.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.contains(' ')
        {
            assert!(readme.contains(&format!("| `{section} {key}` |")), "the README does not explain {section} {key}");
        }
    }
    assert_eq!(section, "[log]", "every section was read");
}

#[test]
fn the_scopes_are_those_that_can_be_given() {
    let rows = rows(&read("README.md"));
    let documented =
        rows.iter().skip_while(|row| row[0] != "scope").skip(1).map(|row| (row[0].as_str(), row[1].as_str()));
    let known: Vec<(&str, &str)> = Scope::ALL.iter().map(|scope| (scope.as_str(), scope.meaning())).collect();
    assert_eq!(documented.take(known.len()).collect::<Vec<_>>(), known);
}

#[test]
fn the_limits_of_callers_are_those_that_can_be_set() {
    let grouped = |number: u64| {
        let digits = number.to_string();
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
        groups.join(",")
    };
    let rows = rows(&read("README.md"));
    let documented =
        rows.iter().skip_while(|row| row[0] != "limit").skip(1).map(|row| (row[0].clone(), row[2].clone()));
    let known: Vec<(String, String)> =
        Limit::ALL.iter().map(|limit| (limit.to_string(), grouped(limit.greatest()))).collect();
    assert_eq!(documented.take(known.len()).collect::<Vec<_>>(), known);
}

#[test]
fn the_tokens_that_are_shown_as_examples_of_the_format_are_vectors() {
    let (format, vectors) = (read("docs/token-format.md"), read("tests/vectors/tokens-v1.json"));
    let shown: Vec<&str> =
        format.split_whitespace().filter(|word| word.starts_with("MSK") && word.len() > 40).collect();
    assert_eq!(shown.len(), 2);
    for token in shown {
        assert!(vectors.contains(&format!("\"token\": \"{token}\"")), "{token} is no vector");
    }
}

/// A measurement that is told without what it was measured with is hearsay.
#[test]
fn the_ratios_are_those_that_were_measured() {
    let ratios = |document: &str| -> Vec<Vec<String>> {
        let rows = rows(&read(document)).into_iter();
        let rows = rows.skip_while(|row| row[0] != "work, and what it is held to").skip(1);
        rows.take_while(|row| row.len() == 4 && row[0].contains(", ")).collect()
    };
    let shown = ratios("README.md");
    assert!(!shown.is_empty(), "the README shows ratios");
    assert_eq!(shown, ratios("benches/peers/RESULTS.md"));
}

#[test]
fn links_lead_somewhere() {
    for document in [
        "README.md",
        "CHANGELOG.md",
        "docs/token-format.md",
        "docs/vault-layout.md",
        "docs/export-format.md",
        "docs/audit-log.md",
    ] {
        let folder = Path::new(document).parent().unwrap();
        let text = read(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if file.starts_with("https://") {
                continue;
            }
            let target = if file.is_empty() { text.clone() } else { read(folder.join(file).to_str().unwrap()) };
            let headings = target.lines().filter_map(|line| line.strip_prefix('#'));
            let anchors: Vec<String> = headings
                .map(|heading| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"))
                .collect();
            assert!(heading.is_empty() || anchors.iter().any(|anchor| anchor == heading), "{document}: {link}");
        }
    }
}

#[test]
fn the_doctors_checks_are_those_of_the_source() {
    let readme = read("README.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = fs::read_to_string(root.join("cli/doctor.rs")).unwrap();
    for entry in fs::read_dir(root.join("doctor")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            // What tests say of checks is no check.
            let source = fs::read_to_string(path).unwrap();
            text.push_str(source.split("#[cfg(test)]").next().unwrap());
        }
    }
    let groups = ["keys", "environment", "policies", "socket", "vault", "audit", "clock", "host", "kernel", "daemon"];
    let named = text.split('"').filter(|word| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() == 2 && groups.contains(&parts[0]) && parts[1].bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    });
    let checks: std::collections::BTreeSet<&str> = named.collect();
    assert!(checks.len() > 25, "{checks:?}");
    for check in checks {
        assert!(readme.contains(&format!("`{check}`")), "the README does not explain {check}");
    }
}
