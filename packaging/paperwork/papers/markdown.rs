//! As much of Markdown as README.md uses, as a man page.

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::commands::verbatim;

/// What a block of text is.
pub enum Block<'t> {
    /// Lines that flow.
    Text(String),
    /// Lines that stand as they are.
    Code(Vec<&'t str>),
    /// Points of a list, each with its mark.
    List(Vec<(&'t str, String)>),
    /// Cells, the header's first.
    Table(Vec<Vec<&'t str>>),
}

/// What stands under a heading of the second level, down to the next heading.
pub fn section<'t>(text: &'t str, heading: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("\n## {heading}\n"))?;
    Some(rest.find("\n#").map_or(rest, |end| &rest[..end]))
}

/// Takes a text apart.
pub fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for paragraph in text.split("\n\n").map(|paragraph| paragraph.trim_matches('\n')).filter(|text| !text.is_empty()) {
        let lines: Vec<&str> = paragraph.lines().collect();
        if let Some(code) = lines.iter().map(|line| line.strip_prefix("    ")).collect::<Option<Vec<_>>>() {
            // An empty line in the midst of code does not end it.
            match blocks.last_mut() {
                Some(Block::Code(before)) => before.extend([""].into_iter().chain(code)),
                _ => blocks.push(Block::Code(code)),
            }
        } else if lines.iter().all(|line| line.starts_with('|')) {
            let rows = lines.iter().enumerate().filter(|(place, _)| *place != 1);
            blocks.push(Block::Table(rows.map(|(_, row)| cells(row)).collect()));
        } else if lines[0].starts_with("- ") {
            let mut points: Vec<(&str, String)> = Vec::new();
            for line in lines {
                match (line.split_once("- "), points.last_mut()) {
                    (Some(("", point)), _) => points.push(("-", point.to_owned())),
                    (_, Some((_, point))) => *point = format!("{point} {}", line.trim()),
                    (_, None) => {}
                }
            }
            blocks.push(Block::List(points));
        } else {
            blocks.push(Block::Text(lines.join(" ")));
        }
    }
    blocks
}

fn cells(row: &str) -> Vec<&str> {
    let row = row.strip_prefix('|').unwrap_or(row);
    row.strip_suffix('|').unwrap_or(row).split(" | ").map(str::trim).collect()
}

/// Adds a block to a page.
pub fn render(roff: &mut Roff, block: &Block<'_>) {
    match block {
        Block::Text(text) => {
            roff.control("PP", []);
            roff.text(inline(text));
        }
        Block::Code(lines) => verbatim(roff, lines.iter().copied()),
        Block::List(points) => {
            for (mark, point) in points {
                roff.control("IP", [*mark, "2"]);
                roff.text(inline(point));
            }
        }
        Block::Table(rows) => table(roff, rows),
    }
}

/// The first cell of a row over the last, with the cells between after it, by their header.
fn table(roff: &mut Roff, rows: &[Vec<&str>]) {
    let Some((header, rows)) = rows.split_first() else { return };
    for row in rows {
        roff.control("TP", []);
        roff.text(inline(row[0]));
        let last = row.len() - 1;
        let mut sentences: Vec<String> = Vec::new();
        for place in (last > 0).then_some(last).into_iter().chain(1..last) {
            let name = header.get(place).filter(|name| !name.is_empty());
            let words = name.map_or_else(|| row[place].to_owned(), |name| format!("{name}: {}", row[place]));
            if !row[place].is_empty() {
                sentences.push(sentence(&words));
            }
        }
        let body = sentences.join(" ");
        roff.text(if body.is_empty() { vec![roman(" ")] } else { inline(&body) });
    }
}

/// Words that begin and end as a sentence does.
fn sentence(words: &str) -> String {
    let end = if words.ends_with(['.', '?', '!']) { "" } else { "." };
    let mut letters = words.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>() + end
}

/// A text with code and emphasis in bold, and links as their words.
pub fn inline(text: &str) -> Vec<Inline> {
    let mut out = Vec::new();
    let text = without_links(text);
    for (place, code) in text.split('`').enumerate() {
        if place % 2 == 1 {
            out.push(bold(code));
            continue;
        }
        for (place, strong) in code.split("**").enumerate() {
            if !strong.is_empty() {
                out.push(if place % 2 == 1 { bold(strong) } else { roman(strong) });
            }
        }
    }
    out
}

/// `[words](address)` as its words. Brackets in code have no address behind them.
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
    fn blocks_are_what_they_look_like() {
        let text = "One\nline.\n\n    code\n\n    more\n\n| a | b |\n|---|---|\n| `x` | y |\n\n- p\n  q\n- r\n";
        let blocks = blocks(text);
        let [Block::Text(text), Block::Code(code), Block::Table(rows), Block::List(points)] = &blocks[..] else {
            panic!("{} blocks", blocks.len())
        };
        assert_eq!(text, "One line.");
        assert_eq!(code, &["code", "", "more"]);
        assert_eq!(rows, &[["a", "b"], ["`x`", "y"]]);
        assert_eq!(points, &[("-", "p q".to_owned()), ("-", "r".to_owned())]);
    }

    #[test]
    fn a_row_is_an_entry() {
        let mut roff = Roff::new();
        render(&mut roff, &Block::Table(vec![vec!["key", "default", ""], vec!["`a`", "1", "how many"]]));
        assert!(roff.render().ends_with(".TP\n\\fBa\\fR\nHow many. Default: 1.\n"), "{}", roff.render());
    }

    #[test]
    fn links_are_their_words() {
        assert_eq!(without_links("see [a](b) and [c](d)."), "see a and c.");
        assert_eq!(without_links("`[server] socket`"), "`[server] socket`");
    }

    #[test]
    fn a_section_ends_at_the_next_heading() {
        assert_eq!(section("\n## A\n\nx\n\n## B\n\ny\n", "A"), Some("\nx\n"));
        assert_eq!(section("\n## A\n", "C"), None);
    }
}
