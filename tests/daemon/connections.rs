//! Connections: kept, shared, interrupted, and abused.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::harness::{Client, Daemon, Site, item, request};

/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// The time limit for slow clients in these tests; not less, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns a site whose daemon waits for slow clients for at most [`PATIENCE`].
fn impatient() -> Site {
    let mut site = Site::new();
    for field in ["head_timeout_seconds", "body_timeout_seconds", "write_timeout_seconds"] {
        site.set("server", field, PATIENCE.as_secs().to_string());
    }
    site
}

fn start(site: &Site) -> Daemon {
    site.launch().care_keys().start()
}

/// Returns a body whose answer has at least `items` times 1,000 bytes.
fn large_answer(items: usize) -> Vec<u8> {
    json!({"items": vec![item("CITY", &"x".repeat(1_000)); items]}).to_string().into_bytes()
}

fn assert_serves(daemon: &Daemon) {
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    assert_eq!(client.value(&token), "415-555-2671");
    assert_eq!(client.health().0, "ok");
}

#[test]
fn one_connection_serves_many_requests() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    for i in 0..1_000 {
        let response = client.post("/api/v1/tokenize", &json!({"items": [item("CITY", &i.to_string())]}));
        assert_eq!(response.results(1)[0]["value"], i.to_string());
        assert!(!response.close);
    }
    daemon.stop();
}

#[test]
fn answers_to_pipelined_requests_are_in_order() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    // The first takes longest, because it is written to disk.
    let many: Vec<Value> = (0..5_000).map(|i| item("PHONE", &i.to_string())).collect();
    let mut bytes = request("POST", "/api/v1/tokenize", json!({ "items": many }).to_string().as_bytes());
    for i in 0..100 {
        bytes.extend(request(
            "POST",
            "/api/v1/tokenize",
            json!({"items": [item("CITY", &i.to_string())]}).to_string().as_bytes(),
        ));
        bytes.extend(request("GET", "/nosuch", b""));
    }
    thread::scope(|scope| {
        let mut sender = client.try_clone();
        scope.spawn(move || sender.send_raw(&bytes).expect("a client may send before it receives"));
        client.receive().results(5_000);
        for i in 0..100 {
            assert_eq!(client.receive().results(1)[0]["value"], i.to_string());
            client.receive().problem(404, "route.not_found");
        }
    });
    daemon.stop();
}

#[test]
fn answers_do_not_wait_for_the_next_request() {
    let site = Site::new();
    let daemon = start(&site);
    // Followed by the beginning of another request, and by bytes that cannot be one.
    for follows in ["GET /hea", "\r\n\r\n \0"] {
        let mut client = daemon.client();
        client.send_raw(&[&request("GET", "/health", b"")[..], follows.as_bytes()].concat()).unwrap();
        client.receive().ok();
    }
    daemon.stop();
}

#[test]
fn a_client_that_shut_down_writing_gets_all_answers() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let body = json!({"items": (0..2_000).map(|i| item("PHONE", &i.to_string())).collect::<Vec<_>>()});
    client.send("POST", "/api/v1/tokenize", body.to_string().as_bytes());
    client.send("GET", "/health", b"");
    client.finish_sending();
    client.receive().results(2_000);
    client.receive().ok();
    client.expect_end();

    // It shuts down writing in the middle of its request.
    let mut client = daemon.client();
    client.send_raw(b"POST /api/v1/tokenize HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"items\"").unwrap();
    client.finish_sending();
    let detail = client.receive().problem(400, "request.invalid");
    assert!(detail.contains("ended before"), "{detail}");
    client.expect_end();
    daemon.stop();
}

#[test]
fn vanished_clients_leave_nothing_behind() {
    let site = Site::new();
    let daemon = site.launch().care_keys().env("MASKER_LOG_LEVEL", "trace").start();
    let body = large_answer(10_000);
    let whole = request("POST", "/api/v1/tokenize", &body);
    let head_end = whole.len() - body.len();
    for length in [0, 1, head_end - 2, head_end, head_end + body.len() / 2, whole.len()] {
        let mut client = daemon.client();
        client.send_raw(&whole[..length]).unwrap();
        drop(client);
    }
    // The client leaves in the middle of an answer.
    let mut client = daemon.client();
    client.send_raw(&whole).unwrap();
    client.receive_head();
    drop(client);
    daemon.log().wait_for(6, "connection ended early");
    daemon.log().wait_for(1, "connection ended");
    let mut client = daemon.client();
    assert_eq!(client.metric("masker_connections"), Some(1.0));
    drop(client);
    assert_serves(&daemon);
    daemon.stop();
}

/// Sends `bytes` one by one until the daemon closes the connection.
fn trickle(client: &mut Client, bytes: &[u8]) {
    for byte in bytes {
        // A failure is detected below, where the connection has ended.
        let _ = client.send_raw(&[*byte]);
        if !client.is_silent_for(Duration::from_millis(50)) {
            break;
        }
    }
}

/// Checks the time at which the connection ended. `since` is before the daemon began to wait.
fn assert_cut_off_in_time(since: Instant) {
    let took = since.elapsed();
    assert!(took >= PATIENCE, "{took:?}: a client has the full time");
    assert!(took < 8 * PATIENCE, "{took:?}");
}

#[test]
fn closes_connections_with_an_endless_head() {
    let site = impatient();
    let daemon = start(&site);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (since, mut client) = (Instant::now(), daemon.client());
            trickle(&mut client, &[b"GET /health HTTP/1.1\r\nhost: ", &[b'a'; 10_000][..]].concat());
            assert_cut_off_in_time(since);
            client.expect_end();
        });
        scope.spawn(|| {
            let (since, mut client) = (Instant::now(), daemon.client());
            client.expect_end();
            assert_cut_off_in_time(since);
        });
        scope.spawn(|| {
            let mut client = daemon.client();
            client.get("/health").ok();
            let since = Instant::now();
            client.get("/health").ok();
            client.expect_end();
            assert_cut_off_in_time(since);
        });
    });
    assert_serves(&daemon);
    daemon.stop();
}

#[test]
fn a_body_that_does_not_arrive_times_out() {
    let site = impatient();
    let daemon = start(&site);
    let (since, mut client) = (Instant::now(), daemon.client());
    client.send_raw(b"POST /api/v1/tokenize HTTP/1.1\r\nhost: a\r\ncontent-length: 10000\r\n\r\n").unwrap();
    trickle(&mut client, &[b' '; 10_000]);
    assert_cut_off_in_time(since);
    let response = client.receive();
    assert!(response.problem(408, "request.timeout").contains("2 s"));
    assert!(response.close);
    client.expect_end();
    assert_serves(&daemon);
    daemon.stop();
}

#[test]
fn closes_connections_of_clients_that_do_not_read() {
    let site = impatient();
    let daemon = start(&site);
    let body = large_answer(4_000);
    let mut stalled = daemon.client();
    stalled.send("POST", "/api/v1/tokenize", &body);
    let mut slow = daemon.client();
    slow.send("POST", "/api/v1/tokenize", &body);

    // Pieces that together take twice as long as the daemon waits for one.
    const PIECES: usize = 24;
    for piece in 1..=PIECES {
        slow.read_up_to(4_000_000 / PIECES * piece);
        thread::sleep(2 * PATIENCE / PIECES as u32);
    }
    slow.receive().results(4_000);

    daemon.log().wait_for(1, "connection ended early");
    let received = stalled.read_to_end().len();
    assert!(received < 4_000_000, "{received} bytes");
    assert_serves(&daemon);
    daemon.stop();
}

#[test]
fn rejects_large_bodies_in_any_encoding() {
    let site = Site::new();
    let daemon = start(&site);
    let body = vec![b' '; BODY_BYTES_MAX + 1];
    let mut announced = daemon.client();
    // The connection may end before all is sent; the answer can still be read.
    let _ = announced.send_raw(&request("POST", "/api/v1/tokenize", &body));
    announced.receive().problem(413, "request.too_large");

    const HEAD: &[u8] = b"POST /api/v1/tokenize HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut chunked = daemon.client();
    chunked.send_raw(HEAD).unwrap();
    for chunk in body.chunks(1_000_000) {
        if chunked.send_raw(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).is_err() {
            break;
        }
    }
    chunked.receive().problem(413, "request.too_large");

    let mut small = daemon.client();
    small.send_raw(&[HEAD, b"a\r\n{\"items\": \r\n3\r\n[]}\r\n0\r\n\r\n"].concat()).unwrap();
    small.receive().results(0);
    assert_serves(&daemon);
    daemon.stop();
}

#[test]
fn rejects_invalid_http_and_closes_the_connection() {
    let site = Site::new();
    let daemon = start(&site);
    let header = |i: usize| format!("x-{i}: PRIVATE\r\n");
    let many_headers = format!("GET /health HTTP/1.1\r\n{}\r\n", (0..65).map(header).collect::<String>());
    let long_header = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "PRIVATE".repeat(3_000));
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "PRIVATE".repeat(3_000));
    let (invalid, large) = ((400, "request.invalid"), (413, "request.too_large"));
    let cases: [(&[u8], (u16, &str)); 10] = [
        (b"PRIVATE\r\n\r\n", invalid),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03PRIVATE", invalid),
        (b"\xff\xfe\0\0\0\0\r\n\r\n", invalid),
        (b"GET /health HTTP/9.9\r\n\r\n", invalid),
        (b"GET /health HTTP/1.1\r\nx y: PRIVATE\r\n\r\n", invalid),
        (b"POST /api/v1/tokenize HTTP/1.1\r\ncontent-length: PRIVATE\r\n\r\n", invalid),
        (b"GET /health HTTP/1.1\r\ntransfer-encoding: PRIVATE\r\n\r\n", invalid),
        (many_headers.as_bytes(), large),
        (long_header.as_bytes(), large),
        (long_path.as_bytes(), large),
    ];
    for (bytes, (status, code)) in cases {
        let mut client = daemon.client();
        // The longest may be rejected before all is sent.
        let _ = client.send_raw(bytes);
        let response = client.receive();
        let detail = response.problem(status, code);
        assert!(response.close && !detail.contains("PRIVATE"), "{detail}");
        client.expect_end();
    }
    // The same after an answer.
    let mut client = daemon.client();
    client.send_raw(&[request("GET", "/health", b""), b"PRIVATE\r\n\r\n".to_vec()].concat()).unwrap();
    client.receive().ok();
    client.receive().problem(400, "request.invalid");
    client.expect_end();

    let mut client = daemon.client();
    assert_eq!(client.metric("masker_requests_total{route=\"unmatched\",status=\"400\"}"), Some(8.0));
    assert!(!daemon.log().text().contains("PRIVATE"), "{}", daemon.log().text());
    assert_serves(&daemon);
    daemon.stop();
}

#[test]
fn sends_100_continue_on_request() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    client
        .send_raw(b"POST /api/v1/tokenize HTTP/1.1\r\nhost: a\r\ncontent-length: 13\r\nexpect: 100-continue\r\n\r\n")
        .unwrap();
    client.receive_continue();
    client.send_raw(b"{\"items\": []}").unwrap();
    client.receive().results(0);
    daemon.stop();
}

#[test]
fn a_connection_beyond_the_limit_displaces_an_idle_one() {
    const SERVED_MAX: usize = 1_024;
    const IDLE: usize = 1_100;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if most < 2_500 {
        eprintln!("skipped: only {most} files may be open here");
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let site = Site::new();
    let daemon = start(&site);
    let idle: Vec<Client> = (0..IDLE).map(|_| daemon.client()).collect();
    let mut late = daemon.client();
    late.get("/health").ok();
    daemon.log().wait_for(IDLE + 1 - SERVED_MAX, "connection displaced");
    let (mut displaced, mut served) = (0, 0);
    for mut client in idle {
        if client.is_silent_for(Duration::from_millis(1)) {
            served += 1;
        } else {
            client.receive().problem(503, "overloaded");
            client.expect_end();
            displaced += 1;
        }
    }
    assert_eq!((displaced, served), (IDLE + 1 - SERVED_MAX, SERVED_MAX - 1));
    late.get("/health").ok();
    daemon.stop();
}
