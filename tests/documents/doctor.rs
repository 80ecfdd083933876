//! The pages about doctor, compared with its checks and findings.

use std::{collections::BTreeSet, fs};

use masker_cli::doctor::FindingId;

use crate::{markdown::table, read, root};

/// The longest page of a finding, in lines. Somebody reads it at night.
const LINES_MAX: usize = 50;

/// Returns the source of doctor without its tests.
fn source() -> String {
    let mut text = String::new();
    for entry in fs::read_dir(root().join("crates/masker-cli/src/doctor")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("finding_id.rs") {
            let source = fs::read_to_string(path).unwrap();
            text.push_str(source.split("#[cfg(test)]").next().unwrap());
        }
    }
    text
}

/// Returns the names of checks in a text whose words these are.
fn checks<'t>(words: impl Iterator<Item = &'t str>) -> BTreeSet<&'t str> {
    let groups = [
        "access",
        "audit",
        "clock",
        "daemon",
        "environment",
        "files",
        "host",
        "kernel",
        "keys",
        "policies",
        "socket",
        "vault",
    ];
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    words
        .filter(|word| {
            let name = word.split_once('.').filter(|(group, _)| groups.contains(group));
            *word == "config" || name.is_some_and(|(_, name)| is_name(name) && !["rs", "toml"].contains(&name))
        })
        .collect()
}

#[test]
fn every_check_is_explained_and_exists() {
    let (source, page) = (source(), read("docs/src/operate/doctor.md"));
    let known = checks(source.split('"'));
    assert!(known.len() > 30, "{known:?}");
    let rows = table(&page, "checks");
    let explained: Vec<&str> = rows.iter().flat_map(|row| row[0].split(", ")).collect();
    assert_eq!(checks(explained.iter().copied()), known);
    assert_eq!(explained.len(), known.len(), "each once");
    for row in table(&page, "finding").iter().filter(|row| row[2] != "every check") {
        for check in row[2].split(", ") {
            assert!(known.contains(check), "{check} does not exist");
        }
    }
}

#[test]
fn every_finding_has_exactly_one_page() {
    let names: BTreeSet<&str> = FindingId::ALL.iter().map(|finding| finding.as_str()).collect();
    assert_eq!(names.len(), FindingId::ALL.len(), "names differ");
    let pages = fs::read_dir(root().join("docs/src/operate/doctor")).unwrap();
    let pages: BTreeSet<String> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(pages, names.iter().map(|name| format!("{name}.md")).collect());
    let summary = read("docs/src/SUMMARY.md");
    let listed = table(&read("docs/src/operate/doctor.md"), "finding");
    assert_eq!(listed.iter().map(|row| &*row[0]).collect::<BTreeSet<_>>().len(), listed.len());
    let source = source();
    for finding in FindingId::ALL {
        let (name, page) = (finding.as_str(), finding.page());
        assert_eq!(page, format!("operate/doctor/{name}.md"));
        assert!(source.contains(&format!("FindingId::{finding:?}")), "nothing finds {name}");
        let text = read(&format!("docs/src/{page}"));
        let title = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        assert_eq!(summary.matches(&format!("  - [{title}]({page})\n")).count(), 1, "{page} in the summary");
        let row = listed.iter().find(|row| row[0].contains(&format!("doctor/{name}.md")) || row[0] == name);
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!(row[1], title);
        let checks = row[2].replace('`', "").replace(", ", "`, `");
        let checks = if checks == "every check" { checks } else { format!("`{checks}`") };
        assert!(text.contains(&format!("`{name}`, found by {checks}.")), "{name}: {checks}");
        for part in ["## How to see it", "## What to do", "## What not to do"] {
            assert_eq!(text.matches(part).count(), 1, "{part} of {page}");
        }
        assert!(text.lines().count() <= LINES_MAX, "{page} is too long");
    }
    assert_eq!(listed.len(), FindingId::ALL.len());
}

/// A key that is missing is put back. Nothing that doctor says makes another one, or removes what only the missing key opens.
#[test]
fn no_remedy_makes_a_key_or_destroys_anything() {
    let source = source();
    for forbidden in
        ["keys generate", "vault purge", "new-control-key", "--accept loss", "--accept new-vault", "rm -", " rm "]
    {
        assert!(!source.contains(forbidden), "{forbidden}");
    }
    let missing =
        ["key-missing", "audit-key-missing", "key-replaced", "keys-swapped", "old-key-alone", "records-without-key"];
    for name in missing {
        let text = read(&format!("docs/src/operate/doctor/{name}.md"));
        assert!(
            text.contains("copy") && !text.contains("masker keys generate") && !text.contains("masker vault purge"),
            "{name}"
        );
    }
}
