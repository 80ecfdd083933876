//! Texts that arrive in parts: every split has the same answer, and answers come while the text arrives.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use serde_json::{Value, json};

use super::{
    MASK, MASK_STREAM, NOTE, RESTORE_STREAM, ask, launch, notes,
    placeholders::{open, rows_of_placeholders},
};
use crate::{
    api_keys::create,
    harness::{Client, error_code, events_of},
};

/// The answer to a stream.
#[derive(Debug, PartialEq)]
struct Streamed {
    text: String,
    findings: Vec<Value>,
    last: Value,
}

fn lines(options: &Value, parts: &[&str]) -> String {
    let parts = parts.iter().map(|part| json!({ "text": part }).to_string());
    std::iter::once(options.to_string()).chain(parts).map(|line| line + "\n").collect()
}

/// Reads the lines of an answer.
fn read(body: &[u8]) -> Streamed {
    let text = std::str::from_utf8(body).expect("UTF-8");
    assert!(text.ends_with('\n'), "{text}");
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = lines.pop().expect("a last line");
    let mut streamed = Streamed { text: String::new(), findings: Vec::new(), last };
    for line in &lines {
        streamed.text.push_str(line["text"].as_str().unwrap_or_else(|| panic!("{line}")));
        let found = line.get("findings").or(line.get("unrestored")).and_then(Value::as_array);
        streamed.findings.extend(found.unwrap_or_else(|| panic!("{line}")).clone());
    }
    streamed
}

fn stream(client: &mut Client, path: &str, options: &Value, parts: &[&str]) -> Streamed {
    let response = client.exchange("POST", path, lines(options, parts).as_bytes());
    assert_eq!((response.status, response.content_type.as_str()), (200, "application/x-ndjson"));
    read(&response.body)
}

/// Splits a text at random places.
fn split<'t>(text: &'t str, rng: &mut ChaCha8Rng, longest: usize) -> Vec<&'t str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let mut length = rng.random_range(0..=longest.min(rest.len()));
        while !rest.is_char_boundary(length) {
            length += 1;
        }
        let (part, others) = rest.split_at(length);
        parts.push(part);
        rest = others;
    }
    parts
}

/// A text of several segments.
fn long_text(seed: u64) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut text = String::new();
    while text.len() < 30_000 {
        match rng.random_range(0..8) {
            0 => text.push_str(NOTE),
            1 => text.push_str(" call (212) 555-0147 "),
            2 => text.push_str("\n\n"),
            3 => text.push_str("[PHONE_"),
            4 => text.push_str(" \u{1f600}é "),
            5 => text.push_str(&"x".repeat(rng.random_range(0..3_000))),
            _ => text.push_str("The weather was fine, and nothing else happened. "),
        }
    }
    text
}

#[test]
fn every_split_has_the_answer_of_the_whole_text() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for (replace_with, seed) in [("token", 1_u64), ("placeholder", 2)] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let text = long_text(seed);
        let options = json!({"replace_with": replace_with, "offsets": "utf16"});
        let whole = ask(&mut client, MASK, &text, options.clone());
        let end = json!({"end": true, "bytes": text.len()});
        for longest in [1_000, 9_000, 60_000] {
            let parts = split(&text, &mut rng, longest);
            let masked = stream(&mut client, MASK_STREAM, &options, &parts);
            assert_eq!(masked.last, end, "seed {seed}");
            assert!(masked.text == whole["text"].as_str().unwrap(), "seed {seed}, parts of {longest}");
            assert_eq!(json!(masked.findings), whole["findings"], "seed {seed}, parts of {longest}");
            let parts = split(&masked.text, &mut rng, longest);
            let restored = stream(&mut client, RESTORE_STREAM, &json!({}), &parts);
            assert!(restored.text == text, "seed {seed}, parts of {longest}");
            assert_eq!(restored.last, json!({"end": true, "bytes": masked.text.len()}));
        }
    }
    daemon.stop();
}

#[test]
fn what_is_settled_is_answered_before_the_rest_arrives() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for path in [MASK_STREAM, RESTORE_STREAM] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: masker\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let part = "The weather was fine, and nothing else happened. ".repeat(1_000);
        client.send_raw(head.as_bytes()).unwrap();
        client.send_raw(chunk(&lines(&json!({}), &[&part])).as_bytes()).unwrap();
        assert!(client.receive_head().starts_with("HTTP/1.1 200 OK"));
        // At most 32 KiB are held back of 48.
        let mut received = Vec::new();
        while received.len() < 16 * 1024 {
            assert!(client.receive_chunk(&mut received) > 0, "{path}");
        }
        client.send_raw(chunk(&json!({"text": "call (212) 555-0147"}).to_string()).as_bytes()).unwrap();
        client.send_raw(b"0\r\n\r\n").unwrap();
        received.extend(client.receive_chunks());
        let streamed = read(&received);
        assert_eq!(streamed.last, json!({"end": true, "bytes": part.len() + 19}), "{path}");
        assert!(streamed.text.starts_with(&part), "{path}");
    }
    daemon.stop();
}

#[test]
fn a_stream_that_fails_says_so_and_sends_no_more() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut root = daemon.client();
    let body = |text: &str| text.as_bytes().to_vec();
    for (bytes, status, code) in [
        (body(""), 400, "request.invalid"),
        (body("no JSON\n"), 400, "request.invalid"),
        (body("{\"more\": 1}\n"), 400, "request.invalid"),
        (body("{\"policy\": \"nosuch\"}\n"), 422, "policy.unknown"),
        (body("{\"language\": \"es\"}\n"), 400, "request.invalid"),
    ] {
        root.exchange("POST", MASK_STREAM, &bytes).problem(status, code);
    }
    let fine = "The weather was fine, and nothing else happened. ".repeat(400);
    let fails = |client: &mut Client, path: &str, parts: &[&str]| {
        let streamed = stream(client, path, &json!({}), parts);
        assert!(!streamed.text.contains("078-05"), "{streamed:?}");
        error_code(&streamed.last).to_owned()
    };
    assert_eq!(fails(&mut root, MASK_STREAM, &[&fine, "SSN: 078-05-1120"]), "context.required");
    let no_part = format!("{{}}\n{{\"text\": {}}}\n[1]\n", json!(fine));
    // Each has an event, unlike refusals, which are counted together.
    for _ in 0..3 {
        let response = root.exchange("POST", MASK_STREAM, no_part.as_bytes());
        let last = read(&response.body).last;
        assert_eq!(error_code(&last), "request.invalid");
        assert!(last["error"]["detail"].as_str().unwrap().starts_with("line 3 of the body: "), "{last}");
    }
    let key = create(&mut root, "few", &["text:mask", "text:restore"], json!({"limits": {"values_per_hour": 3}}));
    assert_eq!(fails(&mut key.client(&daemon), MASK_STREAM, &[&fine, NOTE]), "rate.limited");
    let phones = create(&mut root, "phones", &["text:mask:PHONE"], json!({}));
    assert_eq!(fails(&mut phones.client(&daemon), MASK_STREAM, &[&fine, NOTE]), "perm.denied");
    phones.client(&daemon).exchange("POST", RESTORE_STREAM, b"{}\n").problem(403, "perm.denied");
    daemon.stop();
    let events = events_of(&site.audit_events(), "text.streamed");
    let outcomes: Vec<&str> = events.iter().map(|event| event["outcome"].as_str().unwrap()).collect();
    let invalid = "request.invalid";
    assert_eq!(outcomes, ["context.required", invalid, invalid, invalid, "rate.limited", "perm.denied"]);
}

#[test]
fn a_stream_whose_client_goes_away_is_recorded_to_its_end() {
    let site = notes();
    let daemon = launch(&site).start();
    for path in [MASK_STREAM, RESTORE_STREAM] {
        let mut client = daemon.client();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: masker\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        client.send_raw(head.as_bytes()).unwrap();
        let body = lines(&json!({}), &[NOTE]);
        client.send_raw(format!("{:x}\r\n{body}\r\n", body.len()).as_bytes()).unwrap();
        assert!(client.receive_head().starts_with("HTTP/1.1 200 OK"));
    }
    // It waits for what was begun.
    daemon.stop();
    let events = site.audit_events();
    assert_eq!((events_of(&events, "text.mask").len(), events_of(&events, "text.restore").len()), (1, 1));
    let ended = events_of(&events, "text.streamed");
    let is_cut = |event: &Value| event["outcome"] != "ok" || event["detail"]["incomplete"] == true;
    assert!(ended.len() == 2 && ended.iter().all(is_cut), "{ended:?}");
}

#[test]
fn a_stream_waits_for_limits_by_the_second_and_counts_every_operation() {
    let site = notes();
    let daemon = launch(&site).start();
    let fine = "The weather was fine, and nothing else happened. ".repeat(400);
    let parts: Vec<String> = (0..4).map(|number| format!("{fine}call (212) 555-014{number}. {fine}")).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let key = |client: &mut Client, limits: Value| {
        create(client, "paced", &["text:mask", "text:restore"], json!({"limits": limits}))
    };
    let slow =
        key(&mut daemon.client(), json!({"values_per_second": 1, "values_burst": 1, "requests_per_second": 100}));
    let masked = stream(&mut slow.client(&daemon), MASK_STREAM, &json!({}), &parts);
    assert_eq!(masked.text.matches("MSKV1.PHONE.").count(), 4, "{:?}", masked.last);
    let pieces: Vec<&str> = masked.text.as_bytes().chunks(16_000).map(|piece| str::from_utf8(piece).unwrap()).collect();
    let restored = stream(&mut slow.client(&daemon), RESTORE_STREAM, &json!({}), &pieces);
    assert_eq!(restored.text, parts.concat(), "{:?}", restored.last);
    let few = key(&mut daemon.client(), json!({"operations_per_day": 3}));
    let ended = stream(&mut few.client(&daemon), MASK_STREAM, &json!({}), &parts);
    assert_eq!(error_code(&ended.last), "quota.exceeded");
    assert_eq!(ended.text.matches("MSKV1.PHONE.").count(), 3);
    daemon.stop();
}

#[test]
fn what_was_a_token_is_unrestored() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let token = client.token("PHONE", "(212) 555-0147");
    let damaged = [token.to_lowercase(), token[..token.len() - 1].to_owned(), token.replace('_', "\\_")];
    let text = format!("{token}, {}.", damaged.join(", "));
    let restored = client.post("/api/v1/text/restore", &json!({"text": text})).ok();
    let result = &restored["results"][0];
    assert_eq!(result["text"], format!("(212) 555-0147, {}.", damaged.join(", ")));
    let unrestored = result["unrestored"].as_array().unwrap();
    assert_eq!(unrestored.len(), damaged.len(), "{result}");
    for (one, was) in unrestored.iter().zip(&damaged) {
        let place = one["start"].as_u64().unwrap() as usize..one["end"].as_u64().unwrap() as usize;
        assert_eq!((&one["reason"], &text[place]), (&json!("token.malformed"), was.as_str()));
    }
    let streamed = stream(&mut client, RESTORE_STREAM, &json!({}), &[&text]);
    assert_eq!(streamed.text, result["text"].as_str().unwrap());
    daemon.stop();
}

/// The key is made by the first value of a session, and the rows by each.
#[test]
fn a_stream_whose_session_is_closed_writes_no_more_placeholders() {
    for first in ["nothing else happened", "call (212) 555-0147"] {
        let site = notes();
        let daemon = launch(&site).start();
        let session = open(&mut daemon.client());
        let mut client = daemon.client();
        let head = format!(
            "POST {MASK_STREAM} HTTP/1.1\r\nhost: masker\r\nx-masker-session: {session}\r\ncontent-type: \
             application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let part = format!("{first}. {}", "The weather was fine, and nothing else happened. ".repeat(1_000));
        client.send_raw(head.as_bytes()).unwrap();
        let options = json!({"replace_with": "placeholder"});
        client.send_raw(chunk(&lines(&options, &[&part])).as_bytes()).unwrap();
        assert!(client.receive_head().starts_with("HTTP/1.1 200 OK"));
        let mut received = Vec::new();
        assert!(client.receive_chunk(&mut received) > 0);
        daemon.client().exchange("DELETE", &format!("/api/v1/sessions/{session}"), b"").ok();
        // The rest of the first part may have ended the stream already.
        let _ = client.send_raw(chunk(&json!({"text": "or (212) 555-0148"}).to_string()).as_bytes());
        let _ = client.send_raw(b"0\r\n\r\n");
        received.extend(client.receive_chunks());
        let streamed = read(&received);
        assert_eq!(error_code(&streamed.last), "session.not_found", "{first}");
        assert!(!streamed.text.contains("0148"), "{first}");
        daemon.stop();
        assert_eq!(rows_of_placeholders(&site), 0, "{first}");
    }
}

#[test]
fn a_stream_has_events_at_its_beginning_for_its_parts_and_at_its_end() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let masked = stream(&mut client, MASK_STREAM, &json!({"explain": true}), &[NOTE]);
    assert!(masked.findings.iter().all(|finding| finding["why"]["evidence"].is_string()), "{masked:?}");
    stream(&mut client, RESTORE_STREAM, &json!({}), &[&masked.text]);
    daemon.stop();
    let events = site.audit_events();
    for operation in ["text.mask", "text.restore"] {
        let began = &events_of(&events, operation)[0];
        assert_eq!((&began["detail"]["streamed"], &began["outcome"]), (&json!(true), &json!("ok")), "{began}");
        let mut streamed = events_of(&events, "text.streamed");
        streamed.retain(|event| event["request_id"] == began["request_id"]);
        let ended = streamed.pop().unwrap();
        assert_eq!(ended["detail"]["parts"], json!(streamed.len()), "{ended}");
        assert!(ended["detail"]["bytes"].as_u64().is_some() && ended["counts"].is_null(), "{ended}");
        let counts: String = streamed.iter().map(|part| part["counts"].to_string()).collect();
        assert!(counts.contains("PHONE") && counts.contains("EMAIL"), "{streamed:?}");
        let numbers: Vec<&Value> = streamed.iter().map(|part| &part["detail"]["part"]).collect();
        assert_eq!(numbers, [json!(1), json!(2)][..streamed.len()].iter().collect::<Vec<_>>());
    }
    let text = serde_json::to_string(&events).unwrap();
    assert!(!text.contains("Maria") && !text.contains("0147"), "{text}");
}
