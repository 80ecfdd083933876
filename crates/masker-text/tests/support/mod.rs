//! Texts with marked findings: `[KIND|value]`, `\n` for a line break.

use masker_text::{Detector, Request};

/// A finding: start, end, kind.
pub type Mark = (usize, usize, String);

/// A text with its expected findings.
pub type Case = (String, Vec<Mark>);

/// Returns the cases of a list, without its comments.
pub fn cases(list: &str) -> impl Iterator<Item = (&str, Case)> {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    lines.map(|line| (line, parse(line)))
}

/// Returns what a detector finds in a text.
pub fn find(detector: &Detector, text: &str) -> Vec<Mark> {
    let findings = detector.find(text, &Request::default()).unwrap();
    findings.into_iter().map(|finding| (finding.start, finding.end, finding.kind.to_string())).collect()
}

/// Reads the marked findings of a line.
fn parse(line: &str) -> Case {
    let line = line.replace("\\n", "\n");
    let mut text = String::new();
    let mut expected = Vec::new();
    let mut rest = line.as_str();
    while let Some(open) = rest.find('[') {
        let kind_len = rest[open + 1..].bytes().take_while(|byte| byte.is_ascii_uppercase() || *byte == b'_').count();
        if kind_len < 2 || !rest[open + 1 + kind_len..].starts_with('|') {
            text.push_str(&rest[..=open]);
            rest = &rest[open + 1..];
            continue;
        }
        text.push_str(&rest[..open]);
        let kind = &rest[open + 1..open + 1 + kind_len];
        let value_at = open + kind_len + 2;
        // Values can hold brackets in pairs.
        let mut depth = 0;
        let len = rest[value_at..]
            .char_indices()
            .find(|(_, char)| {
                depth += match char {
                    '[' => 1,
                    ']' => -1,
                    _ => 0,
                };
                depth < 0
            })
            .map(|(len, _)| len)
            .expect("findings end");
        let start = text.len();
        text.push_str(&rest[value_at..value_at + len]);
        expected.push((start, text.len(), kind.to_owned()));
        rest = &rest[value_at + len + 1..];
    }
    text.push_str(rest);
    (text, expected)
}
