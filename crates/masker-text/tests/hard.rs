//! Inputs that detectors get wrong, compared exactly.

use masker_text::{Detector, Options, Request};

/// A text with its expected findings: start, end, kind.
type Case = (String, Vec<(usize, usize, String)>);

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

#[test]
fn hard_inputs() {
    let detector = Detector::new(Options::default()).unwrap();
    let mut total = 0;
    let mut wrong = Vec::new();
    for line in include_str!("hard.txt").lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let (text, expected) = parse(line);
        let found: Vec<(usize, usize, String)> = detector
            .find(&text, &Request::default())
            .unwrap()
            .into_iter()
            .map(|finding| (finding.start, finding.end, finding.kind.to_string()))
            .collect();
        total += 1;
        if found != expected {
            let shown: Vec<String> = found.iter().map(|(start, end, kind)| format!("[{kind}|{}]", &text[*start..*end])).collect();
            wrong.push(format!("{line}\n    found {}", shown.join(" ")));
        }
    }
    println!("{} of {total} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(total >= 150, "the list has {total} inputs");
    assert!(wrong.len() * 100 <= total * 4, "{} of {total} inputs are wrong", wrong.len());
}
