//! Writes predictions for texts: `predict TEXTS.jsonl [MIN_CONFIDENCE] > PREDICTIONS.jsonl`.
//!
//! A line of the input is `{"id": …, "text": "…"}`, and of the output `{"id": …, "spans": [[start, end, "KIND", score, "rule"],
//! …]}`, with offsets in code points. MIN_CONFIDENCE is in percent.

use masker_text::{Detector, Options, Request};
use serde_json::{Value, json};
use std::{env, fs};

fn main() {
    let path = env::args().nth(1).expect("usage: predict TEXTS.jsonl [MIN_CONFIDENCE]");
    let least = env::args()
        .nth(2)
        .map_or(Options::default().min_confidence, |least| least.parse().expect("MIN_CONFIDENCE is a percentage"));
    let detector =
        Detector::new(Options { min_confidence: least, ..Options::default() }).expect("the options are valid");
    let lines = fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {path}: {error}"));
    for line in lines.lines() {
        let example: Value = serde_json::from_str(line).expect("lines are JSON");
        let text = example["text"].as_str().expect("lines have a text");
        let findings = detector.find(text, &Request::default()).expect("the text is short");
        let chars = |offset: usize| text[..offset].chars().count();
        let spans: Vec<Value> = findings
            .iter()
            .map(|finding| {
                let score = f64::from(finding.confidence) / 100.0;
                json!([chars(finding.start), chars(finding.end), finding.kind.as_str(), score, finding.rule])
            })
            .collect();
        println!("{}", json!({"id": example["id"], "spans": spans}));
    }
}
