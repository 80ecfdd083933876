//! The Markdown of the book's pages as a man page: headings, paragraphs, code, lists, tables.

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::commands::verbatim;

/// A block of text.
#[derive(Debug, PartialEq, Eq)]
pub enum Block<'t> {
    /// A heading below the page's title.
    Heading(&'t str),
    /// A paragraph.
    Text(String),
    /// The lines of a code block.
    Code(Vec<&'t str>),
    /// The items of a list, each with its mark.
    List(Vec<(&'t str, String)>),
    /// The rows of a table. The first row is the header.
    Table(Vec<Vec<&'t str>>),
}

/// Splits a page into blocks. Leaves out its title.
pub fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut lines = text.lines();
    // Whether the next line continues the last block.
    let mut open = false;
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if trimmed.starts_with("```") {
            let code = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```"));
            blocks.push(Block::Code(code.map(|line| line.get(indent..).unwrap_or("")).collect()));
            open = false;
        } else if trimmed.is_empty() {
            open = false;
        } else if let Some(heading) = line.strip_prefix('#') {
            if heading.starts_with('#') {
                blocks.push(Block::Heading(heading.trim_start_matches('#').trim()));
            }
            open = false;
        } else if trimmed.starts_with('|') {
            match blocks.last_mut() {
                // The line under the header has no cells.
                Some(Block::Table(_)) if trimmed.starts_with("|--") => {}
                Some(Block::Table(rows)) if open => rows.push(cells(trimmed)),
                _ => blocks.push(Block::Table(vec![cells(trimmed)])),
            }
            open = true;
        } else if let Some((mark, item)) = list_item(line) {
            match blocks.last_mut() {
                Some(Block::List(items)) => items.push((mark, item.to_owned())),
                _ => blocks.push(Block::List(vec![(mark, item.to_owned())])),
            }
            open = true;
        } else {
            match blocks.last_mut() {
                Some(Block::Text(text)) if open => *text = format!("{text} {trimmed}"),
                Some(Block::List(items)) if open => {
                    if let Some((_, item)) = items.last_mut() {
                        *item = format!("{item} {trimmed}");
                    }
                }
                _ => blocks.push(Block::Text(trimmed.to_owned())),
            }
            open = true;
        }
    }
    blocks
}

/// Splits a line that begins a list's item into its mark and its text.
fn list_item(line: &str) -> Option<(&str, &str)> {
    let (mark, item) = line.split_once(' ')?;
    let number = mark.strip_suffix('.').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    (mark == "-" || (number && mark.len() > 1)).then_some((mark, item.trim_start()))
}

fn cells(row: &str) -> Vec<&str> {
    let row = row.strip_prefix('|').unwrap_or(row);
    row.strip_suffix('|').unwrap_or(row).split(" | ").map(str::trim).collect()
}

/// Adds a block to a man page.
pub fn render(roff: &mut Roff, block: &Block<'_>) {
    match block {
        Block::Heading(heading) => {
            roff.control("SH", [heading.to_uppercase().replace('`', "").as_str()]);
        }
        Block::Text(text) => {
            roff.control("PP", []);
            roff.text(inline(text));
        }
        Block::Code(lines) => verbatim(roff, lines.iter().copied()),
        Block::List(items) => {
            for (mark, item) in items {
                roff.control("IP", [*mark, "3"]);
                roff.text(inline(item));
            }
        }
        Block::Table(rows) => table(roff, rows),
    }
}

/// Adds an entry for each row: the first cell is its term. The last cell comes next, then the cells between, with their
/// headers.
fn table(roff: &mut Roff, rows: &[Vec<&str>]) {
    let Some((header, rows)) = rows.split_first() else { return };
    for row in rows {
        roff.control("TP", []);
        roff.text(inline(row[0]));
        let last = row.len() - 1;
        let mut sentences: Vec<String> = Vec::new();
        for index in (last > 0).then_some(last).into_iter().chain(1..last) {
            let name = header.get(index).filter(|name| index != last && !name.is_empty());
            let text = name.map_or_else(|| row[index].to_owned(), |name| format!("{name}: {}", row[index]));
            if !row[index].is_empty() {
                sentences.push(sentence(&text));
            }
        }
        let body = sentences.join(" ");
        roff.text(if body.is_empty() { vec![roman(" ")] } else { inline(&body) });
    }
}

/// Returns a text with a capital at its beginning and a full stop at its end.
fn sentence(text: &str) -> String {
    let end = if text.ends_with(['.', '?', '!']) { "" } else { "." };
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>() + end
}

/// Returns a text with code and emphasis in bold, and without the addresses of links.
pub fn inline(text: &str) -> Vec<Inline> {
    let mut out = Vec::new();
    let text = without_links(text);
    for (index, code) in text.split('`').enumerate() {
        if index % 2 == 1 {
            out.push(bold(code));
            continue;
        }
        for (index, strong) in code.split("**").enumerate() {
            if !strong.is_empty() {
                out.push(if index % 2 == 1 { bold(strong) } else { roman(strong) });
            }
        }
    }
    out
}

/// Replaces each `[text](address)` with its text. Brackets in code have no address after them.
fn without_links(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(middle) = rest.find("](") {
        let (Some(start), Some(length)) = (rest[..middle].rfind('['), rest[middle..].find(')')) else { break };
        out.push_str(&rest[..start]);
        out.push_str(&rest[start + 1..middle]);
        rest = &rest[middle + length + 1..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_a_page_into_blocks() {
        let text = "# Title\n\nOne\nline.\n\n```sh\ncode\n\nmore\n```\n\n## Part\n\n| a | b |\n|---|---|\n| `x` | y |\n\n\
                    - p\n  q\n- r\n";
        assert_eq!(
            blocks(text),
            [
                Block::Text("One line.".to_owned()),
                Block::Code(vec!["code", "", "more"]),
                Block::Heading("Part"),
                Block::Table(vec![vec!["a", "b"], vec!["`x`", "y"]]),
                Block::List(vec![("-", "p q".to_owned()), ("-", "r".to_owned())]),
            ]
        );
    }

    #[test]
    fn numbered_lists_keep_their_numbers_around_code() {
        let text = "1.  one\n\n    ```console\n    # x\n    ```\n\n2.  two\n";
        assert_eq!(
            blocks(text),
            [
                Block::List(vec![("1.", "one".to_owned())]),
                Block::Code(vec!["# x"]),
                Block::List(vec![("2.", "two".to_owned())]),
            ]
        );
    }

    #[test]
    fn renders_a_row_as_an_entry() {
        let mut roff = Roff::new();
        render(&mut roff, &Block::Table(vec![vec!["key", "default", "meaning"], vec!["`a`", "1", "how many"]]));
        assert!(roff.render().ends_with(".TP\n\\fBa\\fR\nHow many. Default: 1.\n"), "{}", roff.render());
    }

    #[test]
    fn removes_the_addresses_of_links() {
        assert_eq!(without_links("see [a](b) and [c](d)."), "see a and c.");
        assert_eq!(without_links("`[server] socket`"), "`[server] socket`");
    }
}
