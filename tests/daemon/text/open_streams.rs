//! Streams that are open while something else happens: rights end, the audit log is asked, clients are slow.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{MASK_STREAM, RESTORE, RESTORE_STREAM, launch, mask, notes, open_stream::OpenStream, placeholders::open};
use crate::{
    api_keys::{Issued, create, outcome},
    harness::{Client, Daemon, Site, events_of},
};

const PHONE: &str = "call (212) 555-0147 now";

/// Repeats a question until the answer is yes.
fn wait_until(mut asked: impl FnMut() -> bool) {
    let since = Instant::now();
    while !asked() {
        assert!(since.elapsed() < Duration::from_secs(30), "it did not happen");
        thread::yield_now();
    }
}

fn header_of(key: &Issued) -> String {
    format!("authorization: Bearer {}\r\n", key.key)
}

/// Lets rights end while a stream restores. Returns the code that it ends with.
fn ends_restoring(daemon: &Daemon, headers: &str, end_rights: impl FnOnce()) -> String {
    let token = mask(&mut daemon.client(), PHONE, json!({}));
    let mut stream = OpenStream::open(daemon, RESTORE_STREAM, headers, &json!({}));
    stream.say(&token);
    assert!(stream.hear().text.contains("555-0147"));
    end_rights();
    stream.say(&token);
    let heard = stream.end();
    assert_eq!(heard.text.matches("555-0147").count(), 1, "{:?}", heard.last);
    heard.code().to_owned()
}

#[test]
fn a_stream_ends_with_the_key_of_its_caller() {
    let site = notes();
    let daemon = launch(&site).start();
    let key = |name: &str| create(&mut daemon.client(), name, &["text:restore"], json!({}));
    let ask = |method: &str, path: &str, body: Value| {
        daemon.client().exchange(method, path, body.to_string().as_bytes()).ok();
    };
    let until_refused = |key: &Issued| wait_until(|| outcome(&mut key.client(&daemon)).0 == 401);

    let revoked = key("revoked");
    let code = ends_restoring(&daemon, &header_of(&revoked), || ask("DELETE", &revoked.path(), json!({})));
    assert_eq!(code, "auth.revoked");
    let suspended = key("suspended");
    let code = ends_restoring(&daemon, &header_of(&suspended), || {
        ask("PATCH", &suspended.path(), json!({"suspended": true}));
    });
    assert_eq!(code, "auth.suspended");
    let narrowed = key("narrowed");
    let code = ends_restoring(&daemon, &header_of(&narrowed), || {
        ask("PATCH", &narrowed.path(), json!({"scopes": ["text:mask"]}));
    });
    assert_eq!(code, "perm.denied");
    let rotated = key("rotated");
    let code = ends_restoring(&daemon, &header_of(&rotated), || {
        ask("POST", &format!("{}/rotate", rotated.path()), json!({"grace_seconds": 1}));
        until_refused(&rotated);
    });
    assert_eq!(code, "auth.expired");
    let expires_at = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3)).to_string();
    let expiring = create(&mut daemon.client(), "expiring", &["text:restore"], json!({ "expires_at": expires_at }));
    let code = ends_restoring(&daemon, &header_of(&expiring), || until_refused(&expiring));
    assert_eq!(code, "auth.expired");
    daemon.stop();
}

#[test]
fn a_stream_ends_with_its_session() {
    let site = notes();
    let daemon = launch(&site).start();
    let session = open(&mut daemon.client());
    let code = ends_restoring(&daemon, &format!("x-masker-session: {session}\r\n"), || {
        daemon.client().exchange("DELETE", &format!("/api/v1/sessions/{session}"), b"").ok();
    });
    assert_eq!(code, "session.not_found");
    daemon.stop();
}

/// A client that is this user.
fn client_rule(more: &str) -> String {
    format!("name = \"app\"\nuid = {}\n{more}", nix::unistd::geteuid())
}

/// Gives this user other rights.
fn change_client(site: &mut Site, daemon: &Daemon, more: &str) {
    site.forget_clients();
    site.client(&client_rule(more));
    site.write();
    daemon.reload();
}

#[test]
fn a_stream_ends_with_the_rights_of_its_client() {
    const ALL: &str = "scopes = [\"text:mask\", \"text:restore\", \"api-keys:admin\", \"rehydrate\"]";
    let mut site = notes();
    site.client(&client_rule(ALL));
    let daemon = launch(&site).start();
    let created = create(&mut daemon.client(), "created", &["text:mask"], json!({}));
    let options = json!({"context": "clinic-7"});
    let rights = [
        ("scopes = [\"text:mask\"]".to_owned(), RESTORE_STREAM, ""),
        ("scopes = [\"text:restore\"]".to_owned(), MASK_STREAM, ""),
        (format!("{ALL}\ncontexts = [\"clinic-8\"]"), RESTORE_STREAM, ""),
        (format!("{ALL}\ncontexts = [\"clinic-8\"]"), MASK_STREAM, ""),
        (format!("{ALL}\npolicies = [\"care\"]"), MASK_STREAM, ""),
        (format!("{ALL}\npolicies = [\"care\"]"), MASK_STREAM, &header_of(&created)),
    ];
    for (narrowed, path, headers) in rights {
        change_client(&mut site, &daemon, ALL);
        let token = mask(&mut daemon.client(), PHONE, options.clone());
        let mut stream = OpenStream::open(&daemon, path, headers, &options);
        let text = if path == MASK_STREAM { PHONE } else { &token };
        stream.say(text);
        assert!(stream.hear().last.is_none());
        change_client(&mut site, &daemon, &narrowed);
        stream.say(text);
        let heard = stream.end();
        let value = if path == MASK_STREAM { "MSKV1." } else { "555-0147" };
        assert_eq!((heard.code(), heard.text.matches(value).count()), ("perm.denied", 1), "{narrowed} {path}");
    }
    daemon.stop();
}

#[test]
fn a_request_whose_body_arrives_has_the_rights_of_its_client_after_that() {
    let mut site = notes();
    site.client(&client_rule("scopes = [\"text:mask\", \"rehydrate\"]"));
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let token = mask(&mut client, "(212) 555-0147", json!({}));
    let body = json!({ "tokens": [token] }).to_string();
    let head = format!(
        "POST /api/v1/rehydrate HTTP/1.1\r\nhost: masker\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send_raw(head.as_bytes()).unwrap();
    client.receive_continue();
    change_client(&mut site, &daemon, "scopes = [\"text:mask\"]");
    client.send_raw(body.as_bytes()).unwrap();
    client.receive().problem(403, "perm.denied");
    daemon.stop();
}

/// Plants a honeytoken, and returns it.
fn plant(client: &mut Client) -> String {
    let planted = client.post("/api/v1/vault/honeytokens", &json!({"kind": "PHONE"}));
    planted.json()["token"].as_str().unwrap().to_owned()
}

fn alarms(daemon: &Daemon) -> f64 {
    daemon.client().metric("masker_honeytoken_rehydrated_total").unwrap()
}

/// A text with misses is held back, and the revocation comes meanwhile.
#[test]
fn no_value_comes_after_the_answer_to_a_revocation() {
    let site = notes();
    let daemon = launch(&site).start();
    let honeytoken = plant(&mut daemon.client());
    let token = mask(&mut daemon.client(), PHONE, json!({}));
    let key = create(&mut daemon.client(), "slow", &["text:restore"], json!({}));
    let mut stream = OpenStream::open(&daemon, RESTORE_STREAM, &header_of(&key), &json!({}));
    let misses = "[PHONE_7F3KQ2X0] ".repeat(200);
    stream.say(&format!("{token} {honeytoken} {misses}"));
    wait_until(|| alarms(&daemon) > 0.0);
    daemon.client().exchange("DELETE", &key.path(), b"").ok();
    let heard = stream.end();
    assert_eq!((heard.code(), heard.text.as_str()), ("auth.revoked", ""));
    daemon.stop();
}

#[test]
fn a_part_is_recorded_before_it_is_sent() {
    let site = notes();
    let daemon = launch(&site).start();
    let honeytoken = plant(&mut daemon.client());
    let token = mask(&mut daemon.client(), PHONE, json!({}));
    let mut masking = OpenStream::open(&daemon, MASK_STREAM, "", &json!({}));
    masking.say(PHONE);
    assert!(masking.hear().text.contains("MSKV1."));
    let mut restoring = OpenStream::open(&daemon, RESTORE_STREAM, "", &json!({}));
    restoring.say(&format!("{token} {honeytoken}"));
    assert!(restoring.hear().text.contains("555-0147"));
    daemon.log().wait_for(1, "honeytoken used");
    daemon.kill();
    let events = site.audit_events();
    let parts = events_of(&events, "text.streamed");
    assert_eq!(parts.len(), 2, "{parts:?}");
    for (part, began) in parts.iter().zip(["text.mask", "text.restore"]) {
        assert_eq!((&part["outcome"], &part["detail"]), (&json!("ok"), &json!({"part": 1})), "{part}");
        assert!(part["counts"].to_string().contains("PHONE"), "{part}");
        let began = events_of(&events, began);
        assert_eq!(part["request_id"], began.last().unwrap()["request_id"]);
    }
    let raised = events_of(&events, "honeytoken.rehydrated");
    assert_eq!((raised.len(), &raised[0]["request_id"]), (1, &parts[1]["request_id"]));
}

#[test]
fn the_events_of_a_stream_have_each_value_once() {
    let site = notes();
    let daemon = launch(&site).start();
    let token = mask(&mut daemon.client(), PHONE, json!({}));
    let mut stream = OpenStream::open(&daemon, RESTORE_STREAM, "", &json!({}));
    for text in [&*token, "nothing", &token, &token] {
        stream.say(text);
        stream.hear();
    }
    assert!(stream.end().last.is_some_and(|last| last["end"] == true));
    daemon.stop();
    let events = events_of(&site.audit_events(), "text.streamed");
    let items = |event: &Value| {
        let counts = event["counts"].as_array().map_or(&[][..], Vec::as_slice);
        counts.iter().map(|count| count["items"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(events.iter().map(items).collect::<Vec<_>>(), [1, 1, 1, 0]);
    assert_eq!(events[3]["detail"]["parts"], 3, "{}", events[3]);
    assert!(events[3]["detail"]["bytes"].as_u64().is_some(), "{}", events[3]);
}

#[test]
fn limits_refill_while_a_stream_is_open() {
    let site = notes();
    let daemon = launch(&site).start();
    let token = mask(&mut daemon.client(), PHONE, json!({}));
    let limits = json!({"values_per_second": 10, "values_burst": 20});
    let key = create(&mut daemon.client(), "limited", &["text:restore"], json!({ "limits": limits }));
    let mut stream = OpenStream::open(&daemon, RESTORE_STREAM, &header_of(&key), &json!({}));
    stream.say(&format!("{token} ").repeat(20));
    stream.hear();
    // Only time refills a limit, and another request would note that it has.
    thread::sleep(Duration::from_millis(1_500));
    stream.say(&format!("{token} ").repeat(10));
    let heard = stream.end();
    assert_eq!((&heard.last.unwrap()["end"], heard.text.matches("555-0147").count()), (&json!(true), 30));
    daemon.stop();
}

#[test]
fn refusals_of_texts_do_not_hide_honeytokens() {
    let site = notes();
    let daemon = launch(&site).start();
    let honeytoken = plant(&mut daemon.client());
    let thief = create(&mut daemon.client(), "thief", &["tokenize"], json!({}));
    let limits = json!({"rehydrations_per_day": 1});
    let poor = create(&mut daemon.client(), "poor", &["text:restore"], json!({ "limits": limits }));
    let mut raised = 0.0;
    let mut shown = |what: &str| {
        raised += 1.0;
        assert_eq!(alarms(&daemon), raised, "{what}");
    };
    let text = json!({ "text": format!("call {honeytoken}.") }).to_string();
    // The clients go on with their text only once they have the head of the answer.
    for path in [RESTORE_STREAM, MASK_STREAM] {
        for (headers, options, status) in [
            (header_of(&thief), "{}", "403"),
            ("authorization: Bearer nonsense\r\n".to_owned(), "{}", "401"),
            (format!("x-masker-session: {}\r\n", "0".repeat(32)), "{}", "404"),
            (String::new(), "{\"nonsense\": 1}", "400"),
        ] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: masker\r\n{headers}transfer-encoding: chunked\r\n\r\n");
            let body = format!("{options}\n{text}\n");
            let mut client = daemon.client();
            client.send_raw(format!("{head}{:x}\r\n{body}\r\n", body.len()).as_bytes()).unwrap();
            let answer = client.receive_head();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
            shown(&format!("{path} {status}"));
        }
        let mut bad_line = OpenStream::open(&daemon, path, "", &json!({}));
        bad_line.send_line(&json!({ "txt": honeytoken }).to_string());
        assert_eq!(bad_line.end().code(), "request.invalid");
        shown(&format!("{path}, a bad line"));
    }
    let mut beyond = OpenStream::open(&daemon, RESTORE_STREAM, &header_of(&poor), &json!({}));
    beyond.say(&format!("{honeytoken} [PHONE_7F3KQ2X0]"));
    assert_eq!(beyond.end().code(), "quota.exceeded");
    shown("a part beyond a limit");
    for text in [format!("{{\"a\": {honeytoken}"), format!("{{\"{honeytoken}\": \"a\"}}")] {
        daemon.client().post(RESTORE, &json!({"text": text, "format": "json"})).ok();
        shown(&text);
    }
    daemon.client().post(RESTORE, &json!({"text": [honeytoken]})).problem(400, "request.invalid");
    shown("a body that is not valid");
    daemon.stop();
    let events = events_of(&site.audit_events(), "honeytoken.rehydrated");
    let times: u64 = events.iter().map(|event| event["detail"]["times"].as_u64().unwrap()).sum();
    assert_eq!(times as f64, raised);
}

#[test]
fn a_client_that_reads_a_stream_too_slowly_is_cut_off() {
    const WINDOW: u64 = 20;
    let mut site = notes();
    site.set("server", "write_timeout_seconds", WINDOW.to_string());
    let daemon = launch(&site).start();
    let mut stream = OpenStream::open(&daemon, RESTORE_STREAM, "", &json!({}));
    stream.say("nothing");
    let mut client = stream.into_client();
    let mut sender = client.try_clone();
    let line = json!({"text": "The weather was fine, and nothing else happened. ".repeat(1_000)}).to_string() + "\n";
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    let since = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| while sender.send_raw(chunk.as_bytes()).is_ok() {});
        // 12,000 bytes in a second.
        while since.elapsed() < Duration::from_secs(2 * WINDOW) && client.read_some(1_200) > 0 {
            thread::sleep(Duration::from_millis(100));
        }
        let took = since.elapsed();
        // Lets the sender end in any case.
        drop(client);
        assert!(took < Duration::from_secs(2 * WINDOW), "{took:?}");
        assert!(took >= Duration::from_secs(WINDOW), "a client has a whole window: {took:?}");
    });
    daemon.stop();
}

#[test]
fn streams_are_charged_for_their_memory_as_long_as_they_run() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut streams = Vec::new();
    let refused = loop {
        let mut client = OpenStream::ask(&daemon, RESTORE_STREAM, "", &json!({})).into_client();
        let head = client.receive_head();
        if !head.starts_with("HTTP/1.1 200 OK") {
            break head;
        }
        streams.push(client);
        assert!(streams.len() < 600, "no stream is refused");
    };
    assert!(refused.starts_with("HTTP/1.1 503") && streams.len() >= 128, "{} streams: {refused}", streams.len());
    drop(streams);
    // Those that ended give back what they had.
    wait_until(|| {
        let mut client = OpenStream::ask(&daemon, RESTORE_STREAM, "", &json!({})).into_client();
        client.receive_head().starts_with("HTTP/1.1 200 OK")
    });
    daemon.stop();
}
