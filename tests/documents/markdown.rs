//! As much of Markdown as the documents use.

use std::collections::{BTreeMap, BTreeSet};

/// A fenced block.
pub struct Block<'t> {
    /// The line of its first line of text, from 1.
    pub line: usize,
    /// What follows the opening fence, such as `sh`.
    pub language: &'t str,
    /// Its text, without the indentation of the fence.
    pub text: String,
}

/// Returns the fenced blocks of a text.
pub fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let indentation = line.len() - line.trim_start().len();
        let mut block = Block { line: number + 2, language: language.trim(), text: String::new() };
        for (_, line) in lines.by_ref().take_while(|(_, line)| line.trim() != "```") {
            block.text.push_str(line.get(indentation..).unwrap_or_default());
            block.text.push('\n');
        }
        blocks.push(block);
    }
    blocks
}

/// Returns the lines of a text, with their numbers from 1, that are not in fenced blocks.
pub fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        (!is_fence && !is_fenced).then_some((number + 1, line))
    })
}

/// Returns a line without its code spans.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Returns the targets of a text's links and images, each with its line.
pub fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // A link's text can be code, and a code span can look like a link: remove the spans first.
        for rest in without_code(line).split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.to_owned()));
        }
    }
    found
}

/// Returns the anchors that the headings of a text get, as mdBook and GitHub make them.
pub fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let anchor: String = heading
                .chars()
                .filter_map(|c| match c {
                    ' ' => Some('-'),
                    c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                    _ => None,
                })
                .collect();
            let count = seen.entry(anchor.clone()).and_modify(|count| *count += 1).or_insert(0);
            if *count == 0 { anchor } else { format!("{anchor}-{count}") }
        })
        .collect()
}

/// Returns the cells of the rows of a text's tables, without back quotes.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = prose(text).filter(|(_, line)| line.starts_with("| "));
    rows.map(|(_, row)| row.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

/// Returns the rows of the table whose first heading this is, without its headings.
pub fn table(text: &str, first_heading: &str) -> Vec<Vec<String>> {
    let start = format!("| {first_heading} |");
    let lines = text.lines().skip_while(|line| !line.starts_with(&start)).skip(2);
    let found = rows(&lines.take_while(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n"));
    assert!(!found.is_empty(), "there is no table that begins with {first_heading:?}");
    found
}

#[test]
fn reads_what_documents_use() {
    let text = "# A title: `code`, _and_ more\n\n[one](a.md#b) `[none](x.md)` ![image](i.svg)\n\n  ```sh\n  echo '# no'\n    \
                two\n  ```\n## Same\n## Same\n\n| a | b |\n|---|---|\n| `x` | y |\n";
    assert_eq!(links(text), [(3, "a.md#b".to_owned()), (3, "i.svg".to_owned())]);
    let anchors: Vec<String> = anchors(text).into_iter().collect();
    assert_eq!(anchors, ["a-title-code-_and_-more", "same", "same-1"]);
    let blocks = blocks(text);
    assert_eq!((blocks.len(), blocks[0].line, blocks[0].language), (1, 6, "sh"));
    assert_eq!(blocks[0].text, "echo '# no'\n  two\n");
    assert_eq!(table(text, "a"), [["x", "y"]]);
}
