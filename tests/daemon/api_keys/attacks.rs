//! Guessing, and revoking under load.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::json;

use super::{create, outcome};
use crate::harness::Site;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Returns a key as a guesser makes it who knows the format and the prefix of another key.
fn made_up(prefix: &str, number: usize) -> String {
    let body = format!("{prefix}{number:033}");
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % 62];
        rest /= 62;
    }
    body + std::str::from_utf8(&digits).unwrap()
}

#[test]
fn guessing_blocks_only_the_guesser() {
    const GUESSERS: usize = 24;
    const GUESSES: usize = 25;
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let honest = create(&mut daemon.client(), "honest", &["tokenize"], json!({}));
    let prefix = &honest.key[..16];
    let (begin, guessed, blocked) = (Barrier::new(GUESSERS + 1), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for guesser in 0..GUESSERS {
            let (daemon, begin, guessed, blocked) = (&daemon, &begin, &guessed, &blocked);
            scope.spawn(move || {
                begin.wait();
                for guess in 0..GUESSES {
                    let key = made_up(prefix, guesser * GUESSES + guess);
                    match outcome(&mut daemon.client().show(&key)) {
                        (401, code) if code == "auth.invalid" => {}
                        (429, code) if code == "auth.blocked" => drop(blocked.fetch_add(1, Ordering::SeqCst)),
                        other => panic!("{other:?}"),
                    }
                    guessed.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // The same uid and the same prefix, on old and new connections, until the last guess.
        begin.wait();
        let mut kept = honest.client(&daemon);
        let mut served = 0;
        while guessed.load(Ordering::SeqCst) < GUESSERS * GUESSES || served == 0 {
            kept.token("PHONE", "415-555-2671");
            honest.client(&daemon).token("PHONE", "415-555-2671");
            assert_eq!(outcome(&mut daemon.client()).0, 200, "callers without a key are not blocked either");
            served += 1;
        }
    });
    let blocked = blocked.into_inner();
    // Ten guesses with one prefix are examined; the others are rejected.
    assert_eq!(GUESSERS * GUESSES - blocked, daemon.log().text().matches("\"blocked\":false").count());
    assert!(GUESSERS * GUESSES - blocked <= 10, "{blocked}");
    let mut client = daemon.client();
    let counted = client.metric("masker_auth_failures_total{outcome=\"auth.blocked\"}");
    assert_eq!(counted, Some(blocked as f64));
    assert_eq!(outcome(&mut honest.client(&daemon)).0, 200);
    daemon.stop();
}

#[test]
fn no_request_succeeds_after_a_revocation() {
    const KEYS: usize = 8;
    const CONNECTIONS: usize = 64;
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut operator = daemon.client();
    let keys: Vec<_> =
        (0..KEYS).map(|key| create(&mut operator, &format!("key-{key}"), &["tokenize"], json!({}))).collect();
    let revoked: Vec<AtomicBool> = keys.iter().map(|_| AtomicBool::new(false)).collect();
    let working = Barrier::new(CONNECTIONS + 1);
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (daemon, keys, revoked, working) = (&daemon, &keys, &revoked, &working);
            scope.spawn(move || {
                let mut client = keys[connection % KEYS].client(daemon);
                let revoked = &revoked[connection % KEYS];
                let body = json!({"items": [{"kind": "PHONE", "value": connection.to_string()}]});
                client.post("/api/v1/tokenize", &body).results(1);
                working.wait();
                loop {
                    let too_late = revoked.load(Ordering::SeqCst);
                    let answer = client.post("/api/v1/tokenize", &body);
                    if answer.status != 200 {
                        // Many callers with one uid fail here, so some answers say why, and others to wait.
                        assert!([401, 429].contains(&answer.status), "{}", answer.status);
                        break;
                    }
                    assert!(!too_late, "connection {connection} succeeded with a key that was revoked");
                }
            });
        }
        working.wait();
        for (key, revoked) in keys.iter().zip(&revoked) {
            operator.exchange("DELETE", &key.path(), b"").ok();
            revoked.store(true, Ordering::SeqCst);
        }
    });
    daemon.stop();
}
