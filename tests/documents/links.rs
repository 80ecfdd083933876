//! Links, sizes and the table of contents.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use crate::{markdown, markdown_files, read, root};

const README_LINES_MAX: usize = 150;
const PAGE_LINES_MAX: usize = 300;
const BOOK: &str = "docs/src";

/// Returns a path without `.` and `..`.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normalized.pop(), "{} is outside of the repository", path.display()),
            Component::CurDir => {}
            part => normalized.push(part),
        }
    }
    normalized
}

/// Returns what is wrong with a link of a document.
fn broken(document: &str, target: &str) -> Option<String> {
    if target.starts_with("https://") || target.starts_with("http://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let linked = match file {
        "" => PathBuf::from(document),
        file => normalized(&Path::new(document).parent().unwrap().join(file)),
    };
    let name = linked.to_str().unwrap();
    if !root().join(&linked).exists() {
        return Some("there is no such file".to_owned());
    }
    if document.starts_with(BOOK) && !name.starts_with(BOOK) {
        return Some("it leads out of the book".to_owned());
    }
    let is_known = anchor.is_empty() || markdown::anchors(&read(name)).contains(anchor);
    (!is_known).then(|| "there is no such heading".to_owned())
}

#[test]
fn links_resolve() {
    let mut faults = Vec::new();
    for document in markdown_files("") {
        for (line, target) in markdown::links(&read(&document)) {
            faults.extend(broken(&document, &target).map(|fault| format!("{document}:{line}: {target}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "broken links:\n{}", faults.join("\n"));
}

#[test]
fn the_summary_names_each_page_of_the_book() {
    let summary: BTreeSet<String> = markdown::links(&read("docs/src/SUMMARY.md"))
        .into_iter()
        .map(|(_, target)| format!("{BOOK}/{target}"))
        .collect();
    let pages: BTreeSet<String> =
        markdown_files(BOOK).into_iter().filter(|page| !page.ends_with("SUMMARY.md")).collect();
    let differences: Vec<&String> = summary.symmetric_difference(&pages).collect();
    assert!(differences.is_empty(), "only in the summary, or not in it: {differences:?}");
}

#[test]
fn no_page_is_too_long() {
    let limits = markdown_files(BOOK).into_iter().map(|page| (page, PAGE_LINES_MAX));
    for (page, most) in limits.chain([("README.md".to_owned(), README_LINES_MAX)]) {
        let lines = read(&page).lines().count();
        assert!(lines <= most, "{page} has {lines} lines, more than {most}");
    }
}
