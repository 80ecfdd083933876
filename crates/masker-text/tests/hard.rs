//! Inputs that detectors get wrong, compared exactly.

mod support;

use masker_text::{Detector, Options};
use support::{cases, find};

#[test]
fn hard_inputs() {
    let detector = Detector::new(Options::default()).unwrap();
    let mut total = 0;
    let mut wrong = Vec::new();
    for (line, (text, expected)) in cases(include_str!("hard.txt")) {
        let found = find(&detector, &text);
        total += 1;
        if found != expected {
            let shown: Vec<String> =
                found.iter().map(|(start, end, kind)| format!("[{kind}|{}]", &text[*start..*end])).collect();
            wrong.push(format!("{line}\n    found {}", shown.join(" ")));
        }
    }
    println!("{} of {total} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(total >= 240, "the list has {total} inputs");
    assert!(wrong.len() * 100 <= total * 4, "{} of {total} inputs are wrong", wrong.len());
}
