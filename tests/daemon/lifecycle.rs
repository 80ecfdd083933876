//! Reloads and an orderly stop.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::harness::{CARE, Daemon, Site, error_code, item};

fn start(site: &Site) -> Daemon {
    site.launch().care_keys().start()
}

#[test]
fn requests_in_flight_are_answered_before_a_stop() {
    let site = Site::new();
    let daemon = start(&site);
    let items: Vec<Value> = (0..2_000).map(|i| item("PHONE", &i.to_string())).collect();
    let body = json!({ "items": items }).to_string();
    let head = format!(
        "POST /api/v1/tokenize HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut in_flight: Vec<_> = (0..4).map(|_| daemon.client()).collect();
    for client in &mut in_flight {
        client.send_raw(head.as_bytes()).unwrap();
        // The daemon has begun with the request and waits for the body.
        client.receive_continue();
    }
    let mut idle = [daemon.client(), daemon.client()];
    idle[1].get("/health").ok();

    let since = daemon.terminate();
    for client in &mut idle {
        client.expect_end();
    }
    let tokens: Vec<Vec<Value>> = in_flight
        .iter_mut()
        .map(|client| {
            client.send_raw(body.as_bytes()).unwrap();
            let response = client.receive();
            assert!(response.close, "there will be no other answer on this connection");
            client.expect_end();
            response.results(items.len()).into_iter().map(|result| result["token"].clone()).collect()
        })
        .collect();
    assert!(tokens.iter().all(|answer| *answer == tokens[0]));
    daemon.stopped(since);

    let daemon = start(&site);
    let values = daemon.client().rehydrate(&tokens[0]);
    assert!(values.iter().zip(&items).all(|(value, item)| value["value"] == item["value"]), "answered is durable");
    daemon.stop();
}

#[test]
fn stalled_clients_do_not_delay_a_stop() {
    let site = Site::new();
    let daemon = start(&site);
    let [mut head, mut body, mut answer] = [daemon.client(), daemon.client(), daemon.client()];
    head.get("/health").ok();
    head.send_raw(b"GET /health HTTP/1.1\r\n").unwrap();
    body.send_raw(b"POST /api/v1/tokenize HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n")
        .unwrap();
    body.receive_continue();
    let items = vec![item("CITY", &"x".repeat(1_000)); 4_000];
    answer.send("POST", "/api/v1/tokenize", json!({ "items": items }).to_string().as_bytes());
    answer.read_up_to(1);

    let ended = daemon.stop();
    assert!(ended.took >= Duration::from_secs(5), "requests in flight have their time: {:?}", ended.took);
    let cut_off = ended.log.lines().iter().any(|line| line["connections"].as_u64().is_some_and(|cut_off| cut_off >= 2));
    assert!(cut_off, "{}", ended.log.text());
    let daemon = start(&site);
    daemon.client().get("/health").ok();
    daemon.stop();
}

#[test]
fn an_interrupt_stops_the_daemon() {
    let site = Site::new();
    let mut tokens = Vec::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGINT] {
        let daemon = start(&site);
        tokens.push(daemon.client().token("PHONE", "415-555-2671"));
        let since = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.notification().unwrap(), ["STOPPING=1"]);
        daemon.stopped(since);
    }
    assert!(tokens.iter().all(|token| *token == tokens[0]));
}

const REDACTED: &str = "name = \"care\"\nversion = 4\n[entities.PHONE]\naction = \"redact\"\n";

#[test]
fn a_reload_applies_policies() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    site.policy("care.toml", REDACTED);
    client.token("PHONE", "415-555-0000");
    daemon.reload();
    assert_eq!(client.tokenize(&[item("PHONE", "415-555-2671")]), [json!({"redacted": "[REDACTED:PHONE]"})]);
    assert_eq!(error_code(&client.tokenize(&[item("NAME", "a")])[0]), "kind.unknown");
    assert_eq!(client.value(&token), "415-555-2671", "tokens stay what they are");
    assert_eq!(client.get("/api/v1/policies").ok()["policies"][0]["version"], 4);

    site.policy("care.toml", CARE);
    site.policy("second.toml", "name = \"second\"\nversion = 1\n[entities.NOTE]\naction = \"redact\"\n");
    let report = client.exchange("POST", "/api/v1/policies/reload", b"").ok();
    assert_eq!(report, json!({"policies": 2, "warnings": []}));
    let body = json!({"policy": "care", "items": [item("PHONE", "415-555-2671")]});
    assert_eq!(client.post("/api/v1/tokenize", &body).results(1), [json!({"token": token, "created": false})]);
    daemon.stop();
}

#[test]
fn an_invalid_reload_changes_nothing_and_degrades_health() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let broken = [
        (
            "name = \"care\"\nversion = 1\nkid = \"K_CARE\"\n\n[entities.PHONE]\nnormalise = \"phone\"\n",
            "care.toml:6: ",
        ),
        ("name = \"care\"\nversion = \n", "care.toml:2: "),
        (
            "name = \"care\"\nversion = 1\nkid = \"K_NEW\"\ntokenization = \"vault-deterministic\"\n[entities.A]\n",
            "MASKER_KEY_K_NEW",
        ),
    ];
    for (text, expected) in broken {
        for by_signal in [true, false] {
            site.policy("care.toml", text);
            if by_signal {
                daemon.reload();
            } else {
                let detail = client.exchange("POST", "/api/v1/policies/reload", b"").problem(422, "policy.invalid");
                assert!(detail.contains(expected), "{detail}");
            }
            let (status, components) = client.health();
            assert_eq!(status, "degraded");
            assert_eq!(components["policies"]["status"], "degraded");
            let detail = components["policies"]["detail"].as_str().unwrap();
            assert!(detail.contains(expected), "{detail}");
            assert_eq!(client.get("/api/v1/policies").ok()["policies"][0]["version"], 3);
            client.token("PHONE", "415-555-2671");

            site.policy("care.toml", CARE);
            if by_signal {
                daemon.reload();
            } else {
                client.exchange("POST", "/api/v1/policies/reload", b"").ok();
            }
            assert_eq!(client.health().0, "ok");
        }
    }
    // A valid file beside an invalid one: neither is loaded.
    site.policy("care.toml", REDACTED);
    site.policy("second.toml", "name = \"second\"\n");
    daemon.reload();
    client.token("PHONE", "415-555-2671");
    daemon.stop();
}

#[test]
fn reloads_under_load_fail_no_request() {
    const CONNECTIONS: usize = 4;
    const RELOADS: usize = 12;
    let site = Site::new();
    let daemon = start(&site);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (daemon, done, answered) = (&daemon, &done, &answered);
            scope.spawn(move || {
                let mut client = daemon.client();
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    round += 1;
                    let value = |i| item("PHONE", &format!("{connection}-{round:06}-{i:02}"));
                    let results = client.tokenize(&(0..20).map(value).collect::<Vec<_>>());
                    let redacted = results.iter().filter(|result| result["redacted"] == "[REDACTED:PHONE]").count();
                    let minted = results.iter().filter(|result| result["created"] == true).count();
                    assert!((redacted, minted) == (20, 0) || (redacted, minted) == (0, 20), "{results:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for reload in 0..RELOADS {
            site.policy("care.toml", if reload % 2 == 0 { REDACTED } else { CARE });
            daemon.reload();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) >= CONNECTIONS);
    let log = daemon.stop().log;
    assert_eq!(log.wait_for(RELOADS, "the policies were reloaded").len(), RELOADS);
}

#[test]
fn a_vault_has_one_daemon() {
    let site = Site::new();
    let daemon = start(&site);
    let token = daemon.client().token("PHONE", "415-555-2671");
    let other = site.path("other.sock");
    let log = site.launch().care_keys().socket(&other).refused().code(1);
    assert!(log.contains("is in use by process ") && log.contains(&daemon.pid().to_string()), "{log}");
    assert!(!other.exists(), "it takes its socket along");
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.kill();
    let daemon = site.launch().care_keys().socket(&other).start();
    assert_eq!(daemon.client().value(&token), "415-555-2671", "the dead hold no lock");
    daemon.stop();
}
