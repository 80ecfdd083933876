//! Measures the speed of detection: `speed TEXTS.jsonl [SECONDS [THREADS]]`.
//!
//! A line of the input is `{"text": "…"}`. Each thread searches all texts, in whole rounds until SECONDS (5) have passed. Prints
//! one JSON object: what was searched and found, the elapsed time, the processor time of the searches, and the mean and the
//! percentiles of a text's processor time.

use masker_text::{Detector, Options, Request};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

fn main() {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().expect("usage: speed TEXTS.jsonl [SECONDS [THREADS]]");
    let seconds: f64 = arguments.next().map_or(5.0, |seconds| seconds.parse().expect("SECONDS is a number"));
    let threads: usize = arguments.next().map_or(1, |threads| threads.parse().expect("THREADS is a number"));
    let lines = fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {path}: {error}"));
    let read = |line: &str| {
        let example: Value = serde_json::from_str(line).expect("lines are JSON");
        example["text"].as_str().expect("lines have a text").to_owned()
    };
    let texts: Vec<String> = lines.lines().map(read).collect();
    assert!(!texts.is_empty() && threads > 0, "there is nothing to search");
    let detector = Detector::new(Options::default()).expect("the options are valid");
    // The first search reads the model.
    detector.find(&texts[0], &Request::default()).expect("the text is short");
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(seconds);
    let results: Vec<(Vec<f64>, usize)> = thread::scope(|scope| {
        let (detector, texts) = (&detector, &texts);
        let start = |thread: usize| {
            let first = thread * texts.len() / threads;
            scope.spawn(move || search(detector, texts, first, until))
        };
        let running: Vec<_> = (0..threads).map(start).collect();
        running.into_iter().map(|thread| thread.join().expect("threads do not panic")).collect()
    });
    let elapsed = started.elapsed();
    let findings: usize = results.iter().map(|(_, findings)| findings).sum();
    let mut times: Vec<f64> = results.into_iter().flat_map(|(times, _)| times).collect();
    times.sort_by(f64::total_cmp);
    let sum: f64 = times.iter().sum();
    let rounds = times.len() / texts.len();
    println!(
        "{}",
        json!({
            "texts": times.len(),
            "bytes": rounds * texts.iter().map(String::len).sum::<usize>(),
            "findings": findings,
            "seconds": elapsed.as_secs_f64(),
            "processor_seconds": sum / 1e6,
            "mean_us": sum / times.len() as f64,
            "p50_us": times[times.len() / 2],
            "p99_us": times[times.len() * 99 / 100],
            "max_us": times[times.len() - 1],
        })
    );
}

/// Searches all texts, from one of them on, in whole rounds until a time. Returns the time of each search in microseconds, and
/// the number of findings.
fn search(detector: &Detector, texts: &[String], first: usize, until: Instant) -> (Vec<f64>, usize) {
    let mut times = Vec::new();
    let mut findings = 0;
    while times.is_empty() || Instant::now() < until {
        for text in texts[first..].iter().chain(&texts[..first]) {
            let began = processor_us();
            findings += detector.find(text, &Request::default()).expect("the text is short").len();
            times.push(processor_us() - began);
        }
    }
    (times, findings)
}

/// The processor time of this thread in microseconds, which other processes on a busy machine do not change.
fn processor_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
