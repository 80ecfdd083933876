//! Tables that are written by hand, compared with the source.

use std::collections::BTreeSet;

use masker_api::Code;
use masker_audit::AuditOperation;
use masker_types::{
    grant::{Limit, Scope},
    limits,
};

use crate::{
    markdown::{rows, table},
    read,
};

/// Writes a number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// The page has the codes of operations on values; the generated page has all of them.
#[test]
fn the_advice_on_errors_is_about_codes_that_exist() {
    for row in table(&read("docs/src/develop/errors-and-retries.md"), "code") {
        for code in row[0].split(", ") {
            assert!(Code::ALL.iter().any(|known| known.as_str() == code), "{code} does not exist");
        }
    }
}

#[test]
fn the_operations_are_those_of_the_audit_log() {
    let documented: Vec<String> =
        table(&read("docs/src/reference/audit-format.md"), "operation").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(documented, AuditOperation::ALL.iter().map(|op| op.as_str()).collect::<Vec<_>>());
}

#[test]
fn every_setting_is_in_the_reference() {
    let reference = read("docs/src/reference/configuration.md");
    let mut section = String::new();
    for line in read("systemd/masker.toml").lines() {
        let line = line.trim_start_matches("# ");
        if line.starts_with('[') {
            section = line.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.contains(' ')
        {
            assert!(reference.contains(&format!("| `{section} {key}` |")), "{section} {key} is not explained");
        }
    }
    assert_eq!(section, "[log]", "every section was read");
}

#[test]
fn every_setting_of_the_gateway_is_in_its_reference() {
    let reference = read("docs/src/reference/gateway-configuration.md");
    let mut section = String::new();
    let mut settings = BTreeSet::new();
    for line in read("systemd/gateway.toml").lines() {
        let line = line.trim_start_matches("# ");
        if line.starts_with('[') {
            section = line.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.contains(' ')
        {
            settings.insert(format!("`{section} {key}`"));
        }
    }
    let documented: BTreeSet<String> =
        table(&reference, "key").iter().map(|row| format!("`{}`", row[0].trim_matches('`'))).collect();
    assert_eq!(documented, settings);
}

/// The page adds up what the constants allow, and the unit allows half as much again.
#[test]
fn the_memory_of_the_unit_is_what_the_page_adds_up() {
    let page = read("docs/src/deploy/capacity.md");
    let table = table(&page, "at most");
    let parts: Vec<usize> = table.iter().map(|row| row[1].parse().expect("MiB")).collect();
    let (together, parts) = parts.split_last().expect("rows");
    assert_eq!(parts.iter().sum::<usize>(), *together);
    for bytes in
        [limits::BODIES_IN_FLIGHT_BYTES_MAX, limits::ANSWERS_IN_FLIGHT_BYTES_MAX, limits::AUDIT_UNSYNCED_BYTES_MAX]
    {
        assert!(parts.contains(&(bytes >> 20)), "{bytes}");
    }
    let unmetered = 2 * limits::ANSWER_BYTES_UNMETERED + limits::BODY_BYTES_UNMETERED + 2 * limits::HEAD_BYTES_MAX;
    assert!(parts.contains(&((limits::CONNECTIONS_MAX * unmetered) >> 20)));
    let unit = read("systemd/masker.service");
    let max = unit.lines().find_map(|line| line.strip_prefix("MemoryMax=")?.strip_suffix('G')).expect("a limit");
    assert!(max.parse::<usize>().expect("GiB") * 1_024 >= together * 3 / 2, "{max} GiB");
}

#[test]
fn the_scopes_are_those_that_can_be_given() {
    let scopes = table(&read("docs/src/deploy/access.md"), "scope");
    let documented: Vec<(&str, &str)> = scopes.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    let known: Vec<(&str, &str)> = Scope::ALL.iter().map(|scope| (scope.as_str(), scope.meaning())).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_limits_of_callers_are_those_that_can_be_set() {
    let limits = table(&read("docs/src/deploy/access.md"), "limit");
    let documented: Vec<(String, String)> = limits.iter().map(|row| (row[0].clone(), row[2].clone())).collect();
    let known: Vec<(String, String)> =
        Limit::ALL.iter().map(|limit| (limit.to_string(), grouped(limit.greatest()))).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_example_tokens_of_the_format_are_vectors() {
    let (format, vectors) = (read("docs/src/reference/token-format.md"), read("tests/vectors/tokens-v1.json"));
    let shown: Vec<&str> =
        format.split_whitespace().filter(|word| word.starts_with("MSK") && word.len() > 40).collect();
    assert_eq!(shown.len(), 2);
    for token in shown {
        assert!(vectors.contains(&format!("\"token\": \"{token}\"")), "{token} is not a vector");
    }
}

/// The page shows results of recorded runs, and no others.
#[test]
fn the_figures_of_the_capacity_page_were_recorded() {
    let recorded = read("benches/peers/RESULTS.md") + &read("benches/peers/RESULTS-large.md");
    let recorded = recorded.replace(',', "");
    let numbers: BTreeSet<&str> = recorded.split(|c: char| !c.is_ascii_digit()).collect();
    let mut count = 0;
    for row in rows(&read("docs/src/deploy/capacity.md")) {
        // The first cell describes the work.
        for figure in
            row[1..].iter().filter(|cell| cell.contains(',') && cell.starts_with(|c: char| c.is_ascii_digit()))
        {
            for figure in figure.split(' ').filter(|word| word.contains(',')) {
                let digits = figure.replace(',', "");
                if digits.bytes().all(|b| b.is_ascii_digit()) {
                    assert!(numbers.contains(digits.as_str()), "{figure} was not recorded");
                    count += 1;
                }
            }
        }
    }
    assert!(count >= 20, "only {count} figures were compared");
}
