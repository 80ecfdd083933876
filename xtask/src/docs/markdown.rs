//! Markdown of generated pages.

use std::fmt::Write as _;

/// Starts a page with a title, a mark that it is generated, and an introduction.
pub fn page(title: &str, introduction: &str) -> String {
    format!("# {title}\n\n<!-- Written by `cargo xtask docs` from the source. Do not edit. -->\n\n{introduction}\n")
}

/// Appends a table.
pub fn table(page: &mut String, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let _ = writeln!(page, "\n| {} |\n|{}", header.join(" | "), "---|".repeat(header.len()));
    for row in rows {
        let _ = writeln!(page, "| {} |", row.join(" | "));
    }
}

/// Returns text as inline code. Escapes it for a table.
pub fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// Escapes plain text for a table or a paragraph. Leaves inline code as it is.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, part) in text.split('`').enumerate() {
        if index > 0 {
            escaped.push('`');
        }
        for character in part.chars() {
            if character == '|' || (index % 2 == 0 && matches!(character, '<' | '>' | '*')) {
                escaped.push('\\');
            }
            escaped.push(character);
        }
    }
    escaped
}

/// Formats a number with commas between groups of three digits.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_outside_code_only() {
        assert_eq!(escape("MASKER_KEY_<KID> and `<KID>` | *"), "MASKER_KEY_\\<KID\\> and `<KID>` \\| \\*");
    }

    #[test]
    fn groups_digits() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_table_has_a_header() {
        let mut page = String::new();
        table(&mut page, &["a", "b"], [vec!["1".to_owned(), "2".to_owned()]]);
        assert_eq!(page, "\n| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
