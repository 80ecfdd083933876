//! Requests over real connections, whose clients or keys end at the worst moment.

use std::path::PathBuf;

use masker_access::{ApiKey, ApiKeyId, ApiKeySecret, Mode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::watch,
    task::JoinHandle,
};

use super::*;
use crate::{DrainReport, Workers, serve};

/// A fixture whose service is served on a socket.
struct Served {
    fixture: Fixture,
    socket: PathBuf,
    stop: watch::Sender<bool>,
    serving: JoinHandle<DrainReport>,
}

impl Served {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let socket = fixture.folder.path().join("socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (stop, stopping) = watch::channel(false);
        let workers = Workers::start(|| ()).expect("workers");
        let serving = tokio::spawn(serve(listener, workers, Arc::clone(&fixture.service), stopping));
        Served { fixture, socket, stop, serving }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.expect("a connection")
    }

    /// Creates a key without limits. Returns it and its secret.
    async fn issue(&self) -> (ApiKey, String) {
        let body = json!({"name": "app", "scopes": ["*"], "limits": "none"});
        let issued = self.fixture.done(Method::POST, "/api/v1/api-keys", "", body).await;
        let id = ApiKeyId::parse(issued["api_key"]["id"].as_str().expect("an id")).expect("an id");
        let key = self.fixture.service.access.keys().get(id).expect("a key");
        (key, issued["key"].as_str().expect("a secret").to_owned())
    }

    /// Stops serving, and returns the outcomes and details of the events of an operation.
    async fn events(self, operation: &str) -> Vec<Value> {
        self.stop.send(true).expect("it serves");
        let report = timeout(PATIENCE, self.serving).await.expect("connections end").expect("no panic");
        assert_eq!(report, DrainReport { cut_off: 0, unfinished: 0 });
        self.fixture.service.record_all_counted_refusals().await;
        let query = EventQuery { since: None, until: None, caller: None, op: None, after: 0, limit: 100_000 };
        let events = self.fixture.audit.read(&query).expect("events").events;
        let events = events.iter().map(|event| serde_json::from_str::<Value>(event).expect("JSON"));
        events.filter(|event| event["op"] == operation).collect()
    }
}

fn head(path: &str, more: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: masker\r\n{more}content-length: {length}\r\n\r\n")
}

/// Reads an answer until the connection ends.
async fn read_all(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer").expect("all of it");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until the daemon asks for the body, so the request was admitted on its head.
async fn read_continue(stream: &mut UnixStream) {
    let mut asked = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut asked)).await.expect("an answer").expect("all of it");
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn a_key_that_ends_while_a_body_arrives_does_nothing() {
    // An import reads its body itself.
    for path in ["/api/v1/vault/purge", "/api/v1/vault/import"] {
        for (revoked, code) in [(true, "auth.revoked"), (false, "auth.expired")] {
            let (name, events) = runtime().block_on(async {
                let served = Served::new().await;
                let fixture = &served.fixture;
                let minting = json!({"items": [{"kind": "PHONE", "value": "4155552671"}]});
                fixture.done(Method::POST, "/api/v1/tokenize", "", minting).await;
                let (key, secret) = served.issue().await;
                let body = json!({"before": "2999-01-01", "dry_run": false}).to_string();
                let more = format!("authorization: Bearer {secret}\r\nexpect: 100-continue\r\nconnection: close\r\n");
                let mut client = served.connect().await;
                client.write_all(head(path, &more, body.len()).as_bytes()).await.expect("written");
                read_continue(&mut client).await;
                let (begun, last) = body.split_at(body.len() - 1);
                client.write_all(begun.as_bytes()).await.expect("written");
                let ended = if revoked {
                    key.revoked(fixture.service.now_ms())
                } else {
                    let next = ApiKeySecret::generate(Mode::Live, &mut rand::rng());
                    key.rotated(&next.presented(), 0, fixture.service.now_ms()).expect("another secret")
                };
                fixture.service.access.keys().put(ended);
                client.write_all(last.as_bytes()).await.expect("written");
                let answer = read_all(&mut client).await;
                assert!(answer.starts_with("HTTP/1.1 401") && answer.contains(code), "{path}: {answer}");
                assert_eq!(fixture.service.vault.records(), 1, "{path}");
                (path.rsplit('/').next().expect("a name"), served.events(&path[8..].replace('/', ".")).await)
            });
            let [event] = &events[..] else { panic!("{name}: {events:?}") };
            assert_eq!(event["outcome"], code, "{event}");
            assert!(event["detail"]["withheld"].is_null(), "{event}");
        }
    }
}

#[test]
fn the_event_of_a_withheld_answer_tells_what_was_done() {
    runtime().block_on(async {
        let served = Served::new().await;
        let (key, secret) = served.issue().await;
        let service = &served.fixture.service;
        let body = json!({"items": [{"kind": "PHONE", "value": "4155552671"}]}).to_string();
        let (id, mut ctx) = served.fixture.context("/api/v1/tokenize", &Method::POST).await;
        let shown = format!("Bearer {secret}");
        ctx.caller = service.access.authenticate(&ctx.caller, shown.as_bytes(), service.now_ms()).expect("a key");
        let route = ctx.route.expect("a route");
        let operation = (route.run)(Arc::clone(service), ctx, Input::for_tests("", &body));
        service.access.keys().put(key.revoked(service.now_ms()));
        assert_eq!(operation.await.response.status(), StatusCode::UNAUTHORIZED);
        let [event] = served.fixture.events(&id).try_into().expect("one event");
        assert_eq!((&event["outcome"], &event["status"]), (&json!("ok"), &json!(401)), "{event}");
        assert_eq!(event["detail"]["withheld"], "auth.revoked", "{event}");
        assert_eq!(event["counts"][0]["items"], 1, "{event}");
    });
}

#[test]
fn a_request_that_leaves_during_its_body_is_recorded() {
    const CLIENTS: usize = 8;
    let events = runtime().block_on(async {
        let served = Served::new().await;
        for _ in 0..CLIENTS {
            let mut client = served.connect().await;
            let head = head("/api/v1/tokenize", "expect: 100-continue\r\n", 50);
            client.write_all(head.as_bytes()).await.expect("written");
            read_continue(&mut client).await;
            client.write_all(b"{\"items").await.expect("written");
        }
        served.events("tokenize").await
    });
    let count = |event: &Value| event["detail"]["repeated"].as_u64().unwrap_or(1);
    assert_eq!(events.iter().map(count).sum::<u64>(), CLIENTS as u64);
    for event in events {
        assert_eq!((&event["outcome"], &event["status"]), (&json!("request.invalid"), &json!(400)), "{event}");
    }
}

#[test]
fn the_refusal_of_a_head_reaches_a_client_that_writes_its_body_first() {
    runtime().block_on(async {
        let served = Served::new().await;
        let long = format!("x: {}\r\n", "a".repeat(20_000));
        let request = [head("/api/v1/tokenize", &long, 1 << 20).into_bytes(), vec![b' '; 1 << 20]].concat();
        let socket = served.socket.clone();
        let answer = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut client = std::os::unix::net::UnixStream::connect(socket).expect("a connection");
            client.set_read_timeout(Some(PATIENCE)).expect("a time limit");
            client.write_all(&request).expect("the daemon reads all of it");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("an answer");
            answer
        });
        let answer = answer.await.expect("no panic");
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("request.too_large"), "{answer}");
        served.events("tokenize").await;
    });
}
