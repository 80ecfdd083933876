//! Requests: whatever a client sends, each answer is a whole and proper one, and none is a fault of the daemon's.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::bench::Bench;

/// Requests that one service answers: it remembers what it was told, and memory has an end.
const INPUTS_MAX: u32 = 2_000;

/// Sends the bytes as they are.
pub fn holds(bytes: &[u8]) {
    static BENCH: Mutex<Option<(Bench, u32)>> = Mutex::new(None);
    let mut place = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    let (bench, asked) = place.take().filter(|(_, asked)| *asked < INPUTS_MAX).unwrap_or_else(|| (Bench::new(), 0));
    let answer = bench.exchange(bytes);
    // An answer to HEAD has the length of a body, and none.
    let framed = !bytes.windows(5).any(|window| window == b"HEAD ");
    let statuses = statuses(&answer, framed);
    if asked % 64 == 0 {
        let health = bench.exchange(b"GET /health HTTP/1.1\r\nhost: masker\r\n\r\n");
        assert!(health.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&health));
    }
    // Whoever guesses keys waits longer for each further answer: the next input begins with a service that knows nothing.
    if !statuses.contains(&401) {
        *place = Some((bench, asked + 1));
    }
}

/// The statuses of these answers, each of which is held against the interface's rules.
pub fn statuses(mut answers: &[u8], framed: bool) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !answers.is_empty() {
        let shown = || String::from_utf8_lossy(answers).into_owned();
        let Some(end) = answers.windows(4).position(|window| window == b"\r\n\r\n") else {
            panic!("an answer without an end: {}", shown())
        };
        let head = std::str::from_utf8(&answers[..end]).expect("a head is ASCII");
        // Whoever asks in the words of 1.0 is answered in them.
        let of_old = head.starts_with("HTTP/1.0 ");
        let line = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "));
        let status = line.and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {}", shown()));
        answers = &answers[end + 4..];
        if status == 100 {
            continue;
        }
        statuses.push(status);
        assert_ne!(status, 500, "a fault of the daemon's: {}", shown());
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let id = header("x-request-id").unwrap_or_else(|| panic!("no id: {head}"));
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{head}");
        if !framed {
            break;
        }
        if header("transfer-encoding").is_some() {
            assert!(answers.ends_with(b"0\r\n\r\n"), "chunks without an end: {head}");
            break;
        }
        if of_old && header("content-length").is_none() {
            // The end of the connection is the body's.
            break;
        }
        let length: usize = header("content-length").and_then(|text| text.parse().ok()).expect("a length");
        assert!(length <= answers.len(), "a body that ends too early: {head}");
        let (body, rest) = answers.split_at(length);
        answers = rest;
        if status >= 400 {
            let problem: Value = serde_json::from_slice(body).expect("problem details");
            assert!(problem["status"] == status && problem["request_id"] == *id, "{head}\n{problem}");
            assert!(problem["code"].is_string() && problem["detail"].is_string(), "{problem}");
        }
    }
    statuses
}
