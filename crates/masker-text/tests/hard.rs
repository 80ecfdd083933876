//! Inputs that detectors get wrong, compared exactly.

mod support;

use masker_text::{Detector, Options, Request};
use support::parse;

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
            let shown: Vec<String> =
                found.iter().map(|(start, end, kind)| format!("[{kind}|{}]", &text[*start..*end])).collect();
            wrong.push(format!("{line}\n    found {}", shown.join(" ")));
        }
    }
    println!("{} of {total} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(total >= 150, "the list has {total} inputs");
    assert!(wrong.len() * 100 <= total * 4, "{} of {total} inputs are wrong", wrong.len());
}
