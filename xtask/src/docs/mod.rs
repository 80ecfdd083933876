//! `cargo xtask docs`: the pages of the book's reference that come from the source.

mod codes;
mod command_line;
mod http;
mod limits;
mod markdown;
mod metrics;

use std::fs;

use crate::{Error, read_source, root};

/// The directory of the pages.
const DIRECTORY: &str = "docs/src/reference";
/// Longest page of the book, in lines.
const LINES_MAX: usize = 300;

/// A generated page.
struct Page {
    /// The name of its file.
    name: &'static str,
    text: String,
}

/// Writes the pages that differ from the tree, and prints their paths.
///
/// # Errors
/// A page cannot be generated or written.
pub fn write() -> Result<(), Error> {
    for page in differing()? {
        let path = format!("{DIRECTORY}/{}", page.name);
        fs::write(root().join(&path), page.text).map_err(|error| format!("failed to write {path}: {error}"))?;
        println!("{path}");
    }
    Ok(())
}

/// Checks that every page in the tree is current.
///
/// # Errors
/// A page differs or cannot be generated.
pub fn check() -> Result<(), Error> {
    let differing: Vec<String> = differing()?.iter().map(|page| format!("{DIRECTORY}/{}", page.name)).collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(format!("these pages differ from the source: {}; write them with `cargo xtask docs`", differing.join(", "))
        .into())
}

/// Returns the pages that differ from those in the tree.
fn differing() -> Result<Vec<Page>, Error> {
    let mut differing = Vec::new();
    for page in pages()? {
        let path = format!("{DIRECTORY}/{}", page.name);
        if !root().join(&path).exists() || read_source(&path)? != page.text {
            differing.push(page);
        }
    }
    Ok(differing)
}

fn pages() -> Result<Vec<Page>, Error> {
    let mut pages = command_line::pages();
    pages.push(Page { name: "metrics.md", text: metrics::page()? });
    pages.push(Page { name: "codes.md", text: codes::page() });
    pages.push(Page { name: "limits.md", text: limits::page() });
    pages.push(Page { name: "http.md", text: http::page()? });
    for page in &pages {
        let lines = page.text.lines().count();
        if lines > LINES_MAX {
            return Err(format!("{} has {lines} lines, and a page has at most {LINES_MAX}", page.name).into());
        }
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_in_the_tree_are_current() {
        check().unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn every_page_is_in_the_summary() {
        let summary = read_source("docs/src/SUMMARY.md").unwrap();
        for page in pages().unwrap() {
            assert!(summary.contains(&format!("(reference/{})", page.name)), "{} is missing", page.name);
        }
    }
}
