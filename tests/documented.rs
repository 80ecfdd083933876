//! The README's reference against the program: whatever a client or an operator can meet is named there.

use masker::{code::Code, http::ROUTES, metrics::Metrics};

const README: &str = include_str!("../README.md");

/// Whether the README has `name` as code, alone or before its labels, arguments or value.
fn is_named(name: &str) -> bool {
    let begun = format!("`{name}");
    README.match_indices(&begun).any(|(at, _)| {
        let after = README[at + begun.len()..].chars().next();
        after.is_some_and(|after| !after.is_ascii_alphanumeric() && after != '_')
    })
}

#[test]
fn every_error_code_is_in_the_table_with_its_status() {
    for code in Code::ALL {
        let row = README.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let row = row.unwrap_or_else(|| panic!("{code} has no row"));
        let status = row.split('|').nth(2).unwrap().trim();
        assert!(status == code.status().to_string() || status == "item", "{row}");
    }
}

#[test]
fn every_route_is_named() {
    for (_, method, path) in ROUTES {
        assert!(is_named(&format!("{method} {path}")), "{method} {path}");
    }
}

#[test]
fn every_metric_of_masker_s_own_is_named() {
    let metrics = Metrics::new().unwrap();
    for name in metrics.names() {
        assert!(name.starts_with("process_") || is_named(&name), "{name}");
    }
}

#[test]
fn a_name_that_only_begins_like_another_is_not_that_name() {
    assert!(is_named("request.invalid") && !is_named("request.inval"));
    assert!(is_named("masker_connections") && !is_named("masker_connection"));
}
