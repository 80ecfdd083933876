//! The order of a request's checks: its head before its body, and an operation that ends even if its client goes away.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    api_keys::create,
    harness::{Daemon, LIMIT, Site, TestKey, item, request},
};

/// Time in which an answer is taken for immediate. The machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1_024 * 1_024;

fn start(site: &Site) -> Daemon {
    site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64()).start()
}

/// The head of a request with this key and these further headers.
fn head(path: &str, key: &str, more: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: masker\r\nauthorization: Bearer {key}\r\n{more}\r\n").into_bytes()
}

/// Writes a whole request before it reads anything, as Python's and Node's clients do. Returns the status.
fn write_then_read(daemon: &Daemon, request: &[u8]) -> u16 {
    let mut stream = UnixStream::connect(daemon.socket()).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
    stream.write_all(request).expect("the daemon reads all of it");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("an answer");
    String::from_utf8_lossy(&start[9..]).parse().expect("a status")
}

#[test]
fn a_caller_without_the_scope_is_refused_before_it_sends_a_body() {
    let site = Site::new();
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "reader", &["lookup"], json!({}));
    let since = Instant::now();
    for length in [format!("content-length: {BODY_BYTES_MAX}"), "transfer-encoding: chunked".to_owned()] {
        let mut client = daemon.client();
        client.send_raw(&head("/api/v1/tokenize", &key.key, &format!("{length}\r\n"))).unwrap();
        client.receive().problem(403, "perm.denied");
    }
    let mut client = daemon.client();
    client.send_raw(&head("/api/v1/tokenize", "masker_live_none", "content-length: 1000000\r\n")).unwrap();
    client.receive().problem(401, "auth.invalid");
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    daemon.stop();
}

#[test]
fn request_limits_are_checked_before_the_body() {
    let site = Site::new();
    let daemon = start(&site);
    let limits = json!({"limits": {"requests_per_hour": 1}});
    let key = create(&mut daemon.client(), "limited", &["tokenize"], limits);
    key.client(&daemon).post("/api/v1/tokenize", &json!({"items": []})).results(0);
    let (since, mut client) = (Instant::now(), daemon.client());
    client.send_raw(&head("/api/v1/tokenize", &key.key, "content-length: 16000000\r\n")).unwrap();
    client.receive().problem(429, "rate.limited");
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    daemon.stop();
}

#[test]
fn bodies_that_never_come_take_no_memory_from_other_callers() {
    let site = Site::new();
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "reader", &["lookup"], json!({}));
    let idle: Vec<_> = (0..16)
        .map(|_| {
            let mut client = daemon.client();
            client.send_raw(&head("/api/v1/tokenize", &key.key, "transfer-encoding: chunked\r\n")).unwrap();
            client
        })
        .collect();
    let since = Instant::now();
    let items = vec![item("CITY", &"x".repeat(1_000)); 200];
    daemon.client().post("/api/v1/tokenize", &json!({ "items": items })).results(200);
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    drop(idle);
    daemon.stop();
}

#[test]
fn a_client_that_writes_all_of_its_body_first_gets_the_refusal() {
    let site = Site::new();
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "reader", &["lookup"], json!({}));
    let body = vec![b' '; 8 << 20];
    for path in ["/api/v1/tokenize", "/api/v1/vault/import"] {
        let head = head(path, &key.key, &format!("content-length: {}\r\n", body.len()));
        assert_eq!(write_then_read(&daemon, &[head, body.clone()].concat()), 403, "{path}");
    }
    let items = format!("{{\"items\": [{}]}}", vec!["{\"kind\": \"CITY\", \"value\": \"x\"}"; 200_000].join(","));
    assert_eq!(write_then_read(&daemon, &request("POST", "/api/v1/tokenize", items.as_bytes())), 413);
    daemon.stop();
}

#[test]
fn a_connection_goes_on_after_a_refusal_whose_body_was_sent() {
    let site = Site::new();
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "reader", &["lookup"], json!({}));
    let mut client = key.client(&daemon);
    for _ in 0..3 {
        let refused = client.post("/api/v1/tokenize", &json!({"items": [item("CITY", &"x".repeat(100_000))]}));
        refused.problem(403, "perm.denied");
        assert!(!refused.close);
        client.get("/api/v1/auth/whoami").ok();
    }
    daemon.stop();
}

#[test]
fn a_refused_client_is_not_asked_for_its_body() {
    let site = Site::new();
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "reader", &["lookup"], json!({}));
    for path in ["/api/v1/tokenize", "/api/v1/vault/import", "/nowhere"] {
        let mut client = daemon.client();
        client.send_raw(&head(path, &key.key, "content-length: 1000\r\nexpect: 100-continue\r\n")).unwrap();
        // The first head that comes is the refusal's.
        let refused = client.receive();
        assert!([403, 404].contains(&refused.status), "{path}: {}", refused.status);
        assert!(refused.close, "{path}: the client may or may not send its body now");
        client.expect_end();
    }
    daemon.stop();
}

#[test]
fn a_body_that_does_not_end_is_not_read_for_ever() {
    let site = Site::new();
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "reader", &["lookup"], json!({}));
    let mut client = daemon.client();
    client.send_raw(&head("/api/v1/tokenize", &key.key, "transfer-encoding: chunked\r\n")).unwrap();
    client.receive().problem(403, "perm.denied");
    let since = Instant::now();
    let ended = loop {
        match client.send_raw(b"1\r\nx\r\n") {
            Ok(()) if since.elapsed() > LIMIT => panic!("the daemon goes on reading"),
            Ok(()) => thread::sleep(Duration::from_millis(50)),
            Err(ended) => break ended,
        }
    };
    assert!(matches!(ended.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{ended}");
    daemon.stop();
}

#[test]
fn what_was_sent_is_done_and_recorded_although_its_client_has_gone() {
    const CLIENTS: usize = 20;
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let values: Vec<String> = (0..CLIENTS).map(|number| format!("patient {number}")).collect();
    let tokens = client.tokens("NAME", &values);
    for token in &tokens {
        let body = json!({"tokens": [token]}).to_string();
        let mut leaving = daemon.client();
        leaving.send_raw(&request("POST", "/api/v1/forget", body.as_bytes())).unwrap();
        drop(leaving);
    }
    // One that takes longer than its client waits, on the main runtime.
    let many: Vec<Value> = (0..10_000).map(|number| item("PHONE", &number.to_string())).collect();
    let mut leaving = daemon.client();
    leaving.send_raw(&request("POST", "/api/v1/tokenize", json!({ "items": many }).to_string().as_bytes())).unwrap();
    drop(leaving);

    let since = Instant::now();
    let records = |client: &mut super::harness::Client| client.get("/api/v1/vault/stats").ok()["records"].clone();
    while records(&mut client) != 10_000 {
        assert!(since.elapsed() < LIMIT, "{} records", records(&mut client));
        thread::sleep(Duration::from_millis(20));
    }
    for result in client.rehydrate(&tokens) {
        assert_eq!(result["error"]["code"], "token.not_found");
    }
    drop(client);
    daemon.stop();
    let events = site.audit_events();
    let count = |op: &str| events.iter().filter(|event| event["op"] == op && event["outcome"] == "ok").count();
    assert_eq!(count("forget"), CLIENTS);
    assert_eq!(count("tokenize"), 2);
}
