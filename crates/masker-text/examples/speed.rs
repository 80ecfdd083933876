//! Measures the speed of detection: `speed TEXTS.jsonl [BYTES]`.
//!
//! The texts are joined to texts of about BYTES (4096) each. Prints megabytes a second of processor time, and the mean and the
//! 99th percentile of a text's time.

use masker_text::{Detector, Options, Request};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use std::{env, fs, time::Instant};

const ROUNDS: usize = 20;

fn main() {
    let path = env::args().nth(1).expect("usage: speed TEXTS.jsonl [BYTES]");
    let bytes: usize = env::args().nth(2).map_or(4096, |bytes| bytes.parse().expect("the size is a number"));
    let started = Instant::now();
    let detector = Detector::new(Options::default()).expect("the options are valid");
    let lines = fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {path}: {error}"));
    let mut texts: Vec<String> = vec![String::new()];
    for line in lines.lines() {
        let example: Value = serde_json::from_str(line).expect("lines are JSON");
        let text = example["text"].as_str().expect("lines have a text");
        let last = texts.last_mut().expect("there is a text");
        if last.len() + text.len() > bytes && !last.is_empty() {
            texts.push(String::new());
        }
        let last = texts.last_mut().expect("there is a text");
        last.push_str(text);
        last.push('\n');
    }
    texts.pop();
    detector.find(&texts[0], &Request::default()).expect("the text is short");
    println!("ready after {} ms, {} texts", started.elapsed().as_millis(), texts.len());
    let mut times = Vec::with_capacity(texts.len() * ROUNDS);
    let mut findings = 0;
    for _ in 0..ROUNDS {
        for text in &texts {
            let started = processor_us();
            findings += detector.find(text, &Request::default()).expect("the text is short").len();
            times.push(processor_us() - started);
        }
    }
    times.sort_by(f64::total_cmp);
    let sum: f64 = times.iter().sum();
    let mean = sum / times.len() as f64;
    let total = texts.iter().map(String::len).sum::<usize>() * ROUNDS;
    println!(
        "{:.2} MB/s, {} findings a text, mean {mean:.0} us, median {:.0} us, p99 {:.0} us, maximum {:.0} us",
        total as f64 / sum,
        findings / times.len(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1]
    );
}

/// The processor time of this thread in microseconds, which other processes on a busy machine do not change.
fn processor_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
