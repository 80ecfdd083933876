//! Requests: for any input, each response is complete and well-formed, and none is an internal error.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::bench::Bench;

/// The number of inputs for one service: its vault is in memory and grows with them.
const INPUTS_MAX: u32 = 2_000;

/// Sends the input unchanged and checks the responses.
pub fn check(bytes: &[u8]) {
    static BENCH: Mutex<Option<(Bench, u32)>> = Mutex::new(None);
    let mut slot = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    let (bench, count) = slot.take().filter(|(_, count)| *count < INPUTS_MAX).unwrap_or_else(|| (Bench::new(), 0));
    let answer = bench.exchange(bytes);
    // A response to HEAD has a content length but no body.
    let framed = !bytes.windows(5).any(|window| window == b"HEAD ");
    let statuses = statuses(&answer, framed);
    if count % 64 == 0 {
        let health = bench.exchange(b"GET /health HTTP/1.1\r\nhost: masker\r\n\r\n");
        assert!(health.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&health));
    }
    // Each failed authentication delays later responses, so the next input gets a new service.
    if !statuses.contains(&401) {
        *slot = Some((bench, count + 1));
    }
}

/// Returns the statuses of the responses. Panics if a response violates the rules of the interface.
pub fn statuses(mut answers: &[u8], framed: bool) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !answers.is_empty() {
        let shown = || String::from_utf8_lossy(answers).into_owned();
        let Some(end) = answers.windows(4).position(|window| window == b"\r\n\r\n") else {
            panic!("an incomplete head: {}", shown())
        };
        let head = std::str::from_utf8(&answers[..end]).expect("a head is ASCII");
        // A request with HTTP/1.0 gets a response with HTTP/1.0.
        let http_1_0 = head.starts_with("HTTP/1.0 ");
        let line = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "));
        let status = line.and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {}", shown()));
        answers = &answers[end + 4..];
        if status == 100 {
            continue;
        }
        statuses.push(status);
        assert_ne!(status, 500, "internal error: {}", shown());
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let id = header("x-request-id").unwrap_or_else(|| panic!("no request id: {head}"));
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{head}");
        if !framed {
            break;
        }
        if header("transfer-encoding").is_some() {
            assert!(answers.ends_with(b"0\r\n\r\n"), "the last chunk is missing: {head}");
            break;
        }
        if http_1_0 && header("content-length").is_none() {
            // The body ends with the connection.
            break;
        }
        let length: usize = header("content-length").and_then(|text| text.parse().ok()).expect("a length");
        assert!(length <= answers.len(), "the body is incomplete: {head}");
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
