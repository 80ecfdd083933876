//! Fair shares: what one user takes, another still finds. And answers: bounded, charged until they are sent, and read in time.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::harness::{Client, Daemon, OpenDaemon, Site, events_of, is_root, item, request};

/// A user who takes all that it can.
const GREEDY: u32 = 2_001;
/// Another user.
const MODEST: u32 = 2_002;
/// Connections that the daemon serves.
const SERVED_MAX: usize = 1_024;
/// More of them.
const TOO_MANY: usize = SERVED_MAX + 6;
const MIB: usize = 1_024 * 1_024;

/// Starts a daemon that other users can reach; `None` if this process cannot become other users.
fn open(test: &str, site: &Site) -> Option<OpenDaemon> {
    is_root(test).then(|| OpenDaemon::start(site))
}

/// Allows this process as many open files as it may have. Returns whether these are enough.
fn allow_files(count: u64) -> bool {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if most < count {
        eprintln!("skipped: only {most} files may be open here");
        return false;
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    true
}

/// Returns the head of a `POST` with these headers.
fn head(path: &str, headers: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: masker\r\n{headers}\r\n\r\n").into_bytes()
}

/// Returns whether the daemon has sent something, or has ended the connection.
fn has_answer(client: &mut Client) -> bool {
    !client.is_silent_for(Duration::from_millis(1))
}

fn tokenize(client: &mut Client) {
    let answer = client.post("/api/v1/tokenize", &json!({"items": [item("CITY", "Ghent")]}));
    assert_eq!(answer.results(1)[0]["value"], "Ghent");
}

/// Returns the memory that a daemon has in use, in bytes.
fn resident(daemon: &Daemon) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1_024
}

#[test]
fn idle_connections_of_one_user_shut_nobody_out() {
    let site = Site::new();
    if !allow_files(4 * TOO_MANY as u64) {
        return;
    }
    let chunked = head("/api/v1/tokenize", "transfer-encoding: chunked");
    let begun: [&[u8]; 3] = [b"", b"POST /api/v1/tok", &chunked];
    for sent in begun {
        let Some(daemon) = open("idle connections", &site) else { return };
        let mut idle: Vec<Client> = Vec::new();
        for _ in 0..TOO_MANY {
            let mut client = daemon.client_of(GREEDY);
            client.send_raw(sent).unwrap();
            idle.push(client);
        }
        for _ in 0..20 {
            let mut newcomer = daemon.client_of(MODEST);
            newcomer.get("/health");
            tokenize(&mut newcomer);
        }
        tokenize(&mut daemon.client());
        // Those that were displaced learn that their request had no effect.
        let mut displaced = 0;
        for client in &mut idle {
            if has_answer(client) {
                let answer = client.receive();
                answer.problem(503, "overloaded");
                assert!(answer.close && answer.retry_after.as_deref() == Some("1"));
                displaced += 1;
            }
        }
        assert!((6..=100).contains(&displaced), "{displaced} of the idle ones ended");
        daemon.stop();
    }
}

#[test]
fn bodies_that_were_only_announced_take_no_memory_from_others() {
    let site = Site::new();
    let Some(daemon) = open("announced bodies", &site) else { return };
    let announced = head("/api/v1/tokenize", &format!("content-length: {}", 16 * MIB));
    let mut silent: Vec<Client> = (0..40).map(|_| daemon.client_of(GREEDY)).collect();
    for client in &mut silent {
        client.send_raw(&announced).unwrap();
    }
    for uid in [GREEDY, MODEST] {
        let large = json!({"items": vec![item("CITY", &"x".repeat(4_000)); 500]});
        daemon.client_of(uid).post("/api/v1/tokenize", &large).results(500);
    }
    daemon.stop();
}

#[test]
fn a_stalled_body_gives_way() {
    let site = Site::new();
    let Some(daemon) = open("stalled bodies", &site) else { return };
    let announced = head("/api/v1/tokenize", &format!("content-length: {}", 16 * MIB));
    let mut stalled: Vec<Client> = (0..24).map(|_| daemon.client_of(GREEDY)).collect();
    for client in &mut stalled {
        // One that is refused meanwhile reads no further.
        let _ = client.send_raw(&[&announced[..], &vec![b' '; 15 * MIB]].concat());
    }
    // Meanwhile, all of them stall, and an idle connection is left alone.
    assert!(daemon.client().is_silent_for(Duration::from_millis(1_500)));
    let large = json!({"items": vec![item("CITY", &"x".repeat(4_000)); 2_000]});
    for uid in [MODEST, GREEDY] {
        daemon.client_of(uid).post("/api/v1/tokenize", &large).results(2_000);
    }
    let mut count = 0;
    for client in &mut stalled {
        if !has_answer(client) {
            continue;
        }
        let answer = client.receive();
        answer.problem(503, "overloaded");
        assert!(answer.close && answer.retry_after.is_some());
        count += 1;
    }
    assert!((8..24).contains(&count), "{count} were displaced");
    daemon.stop();
}

#[test]
fn a_client_has_the_share_that_is_set() {
    let mut site = Site::new();
    site.client("name = \"small\"\nuid = 2001\nscopes = [\"*\"]\n[clients.share]\nmax_percent = 1");
    let Some(daemon) = open("a client's share", &site) else { return };
    let mut held: Vec<Client> = (0..10).map(|_| daemon.client_of(GREEDY)).collect();
    held.iter_mut().for_each(tokenize);
    let mut next = daemon.client_of(GREEDY);
    tokenize(&mut next);
    // One of its own gave way. Which one, depends on when the daemon noted that the answers were sent.
    let mut displaced = held.extract_if(.., has_answer);
    displaced.next().expect("one gave way").receive().problem(503, "overloaded");
    assert!(displaced.next().is_none());
    drop(displaced);
    held.iter_mut().for_each(tokenize);
    daemon.stop();
}

#[test]
fn repeated_refusals_are_one_event_with_a_count() {
    const REFUSED: usize = 2_000;
    let mut site = Site::new();
    site.set("access", "unlisted", "[]");
    let key = super::harness::TestKey::named("audit");
    if !is_root("refusals of another user") {
        return;
    }
    let daemon = OpenDaemon::start_with(&site, |launch| launch.env("MASKER_AUDIT_HMAC_KEY", key.base64()));
    let body = json!({"tokens": ["x"]}).to_string();
    for path in ["/api/v1/rehydrate", "/api/v1/tokenize"] {
        let mut client = daemon.client_of(GREEDY);
        for _ in 0..REFUSED {
            client.exchange("POST", path, body.as_bytes()).problem(403, "perm.denied");
        }
    }
    daemon.stop();
    let events = site.audit_events();
    for operation in ["rehydrate", "tokenize"] {
        let events = events_of(&events, operation);
        let count = |event: &Value| event["detail"]["repeated"].as_u64().unwrap_or(1);
        assert_eq!(events.iter().map(count).sum::<u64>(), REFUSED as u64, "{operation}");
        assert!(events.len() <= 40, "{} events", events.len());
        assert!(events.iter().all(|event| event["caller"]["uid"] == GREEDY && event["outcome"] == "perm.denied"));
    }
}

#[test]
fn malformed_requests_count_against_the_limits_of_each_unlisted_user() {
    let mut site = Site::new();
    site.set("access", "unlisted", "[\"tokenize\"]");
    site.set("access", "unlisted_limits", "{ requests_per_hour = 10 }");
    let Some(daemon) = open("limits of other users", &site) else { return };
    for malformed in ["PRIVATE\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let mut client = daemon.client_of(GREEDY);
        client.send_raw(malformed.as_bytes()).unwrap();
        client.receive().problem(400, "request.invalid");
    }
    let mut client = daemon.client_of(GREEDY);
    let left = |client: &mut Client| client.get("/nowhere").rate.expect("the headers")[1];
    assert_eq!(left(&mut client), 7);
    client.exchange("POST", "/api/v1/tokenize", b"no JSON").problem(400, "request.invalid");
    assert_eq!(left(&mut client), 5);
    assert_eq!(left(&mut daemon.client_of(MODEST)), 9, "another user has limits of its own");
    for _ in 0..5 {
        client.get("/nowhere").problem(404, "route.not_found");
    }
    client.get("/nowhere").problem(429, "rate.limited");
    client.exchange("POST", "/api/v1/tokenize", b"no JSON").problem(429, "rate.limited");
    assert!(daemon.client().get("/nowhere").rate.is_none(), "root has no limits");
    daemon.stop();
}

/// Returns a request for the value of a token, 10,000 times.
fn ten_thousand(token: &str) -> String {
    json!({"tokens": vec![token; 10_000]}).to_string()
}

#[test]
fn an_answer_that_would_be_too_large_is_refused() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    // With its form, the first is sealed in twice its length. The second is six times as long in JSON.
    for value in ["X".repeat(4_096), "\u{1}".repeat(4_096)] {
        let token = client.token("NAME", &value);
        let before = resident(&daemon);
        client.exchange("POST", "/api/v1/rehydrate", ten_thousand(&token).as_bytes()).problem(413, "answer.too_large");
        assert!(resident(&daemon) < before + 300 * MIB, "{} MiB", resident(&daemon) / MIB);
        assert_eq!(client.value(&token), value);
    }
    let plain = client.token("NAME", &"x".repeat(4_096));
    assert_eq!(client.rehydrate(&vec![plain; 10_000]).len(), 10_000);
    daemon.stop();
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    let site = Site::new();
    let Some(daemon) = open("answers of another user", &site) else { return };
    let token = daemon.client().token("NAME", &"x".repeat(4_096));
    let asked = request("POST", "/api/v1/rehydrate", ten_thousand(&token).as_bytes());
    let mut unread: Vec<Client> = (0..64).map(|_| daemon.client_of(GREEDY)).collect();
    thread::scope(|scope| {
        for client in &mut unread {
            let asked = &asked;
            // The connection may end meanwhile.
            scope.spawn(move || client.send_raw(asked).is_ok());
        }
    });
    let mut modest = daemon.client_of(MODEST);
    for _ in 0..3 {
        assert_eq!(modest.rehydrate(&vec![token.as_str(); 10_000]).len(), 10_000);
    }
    assert!(resident(&daemon) < 1_500 * MIB, "{} MiB", resident(&daemon) / MIB);
    daemon.stop();
}

#[test]
fn a_client_that_reads_too_slowly_is_cut_off() {
    const WINDOW: u64 = 20;
    let mut site = Site::new();
    site.set("server", "write_timeout_seconds", WINDOW.to_string());
    let daemon = site.launch().care_keys().start();
    let body = json!({"items": vec![item("CITY", &"x".repeat(1_000)); 4_000]}).to_string();
    let mut client = daemon.client();
    client.send("POST", "/api/v1/tokenize", body.as_bytes());
    let since = Instant::now();
    let mut read = 0;
    // 12,000 bytes in a second: enough that the daemon never waits for a whole window without sending anything.
    while since.elapsed() < Duration::from_secs(2 * WINDOW) {
        match client.read_some(1_200) {
            0 => break,
            some => read += some,
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert!(since.elapsed() < Duration::from_secs(2 * WINDOW), "{read} bytes in {:?}", since.elapsed());
    assert!(since.elapsed() >= Duration::from_secs(WINDOW), "a client has a whole window: {:?}", since.elapsed());
    daemon.stop();
}
