//! A fake daemon: enough HTTP/1.1 for one client at a time.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};

/// A received request.
struct Seen {
    route: String,
    items: usize,
    authorization: Option<String>,
}

/// A fake daemon that serves until it is dropped.
pub struct FakeDaemon {
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The number of connections that were closed.
    closed: Arc<(Mutex<usize>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDaemon {
    /// Starts a daemon that keeps connections alive.
    pub fn start(socket: &Path) -> Self {
        Self::serve(socket, true)
    }

    /// Starts a daemon that closes each connection after its first answer, without announcing it.
    pub fn closing(socket: &Path) -> Self {
        Self::serve(socket, false)
    }

    fn serve(socket: &Path, keep_alive: bool) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new((Mutex::new(0), Condvar::new()));
        let (record, count) = (Arc::clone(&seen), Arc::clone(&closed));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while answer(&mut reader, &stream, &record) && keep_alive {}
                // Dropping the stream is not enough: a child process that another test is starting has a copy until
                // it runs its program. The client may have closed it already.
                let _ = stream.shutdown(Shutdown::Both);
                *count.0.lock().unwrap() += 1;
                count.1.notify_all();
                if record.lock().unwrap().last().is_some_and(|seen| seen.route == "STOP /") {
                    return;
                }
            }
        });
        FakeDaemon { socket: socket.to_owned(), seen, closed, thread: Some(thread) }
    }

    /// Returns the number of items of each request.
    pub fn items(&self) -> Vec<usize> {
        self.seen.lock().unwrap().iter().map(|seen| seen.items).collect()
    }

    /// Waits until this many connections were closed.
    pub fn wait_until_closed(&self, connections: usize) {
        let (count, changed) = &*self.closed;
        let closed = changed.wait_while(count.lock().unwrap(), |count| *count < connections).unwrap();
        assert!(*closed >= connections);
    }

    /// Returns the credential of each request.
    pub fn credentials(&self) -> Vec<Option<String>> {
        self.seen.lock().unwrap().iter().map(|seen| seen.authorization.clone()).collect()
    }

    /// Returns the method and path of each request.
    pub fn paths(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.route.clone()).collect()
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        let stopped =
            UnixStream::connect(&self.socket).and_then(|mut stream| stream.write_all(b"STOP / HTTP/1.1\r\n\r\n"));
        if let (Ok(()), Some(thread)) = (stopped, self.thread.take()) {
            thread.join().unwrap();
        }
    }
}

/// Answers one request. Returns whether the connection stays open.
fn answer(reader: &mut BufReader<UnixStream>, mut stream: &UnixStream, record: &Mutex<Vec<Seen>>) -> bool {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            return false;
        }
    }
    let length = head
        .lines()
        .filter_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(|length| length.parse()))
        .next()
        .map_or(0, |length| length.unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let route = head.split(" HTTP").next().unwrap().to_owned();
    let items = body["items"].as_array().or(body["tokens"].as_array()).map_or(0, Vec::len);
    let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
    record.lock().unwrap().push(Seen { route: route.clone(), items, authorization });
    let Some((status, kind, answer)) = response(&route, &body) else { return false };
    let text = if kind == "text/html" { "<h1>hello</h1>".to_owned() } else { answer.to_string() };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nx-request-id: r-1\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    stream.write_all((head + &text).as_bytes()).unwrap();
    true
}

/// Returns the answer to a request; `None` closes the connection without one.
fn response(route: &str, body: &Value) -> Option<(u16, &'static str, Value)> {
    let problem = |status: u16, code: &str, title: &str| {
        let body = json!({"type": "t", "title": title, "status": status, "detail": "what to do", "code": code,
            "request_id": "r-1"});
        Some((status, "application/problem+json", body))
    };
    let results = |results: Vec<Value>| Some((200, "application/json", json!({ "results": results })));
    let items = || body["items"].as_array().or(body["tokens"].as_array()).into_iter().flatten();
    let bad = json!({"error": {"code": "value.invalid", "detail": "it is bad"}});
    match (route, body["policy"].as_str()) {
        (_, Some("denied")) => problem(403, "perm.denied", "no"),
        (_, Some("no-credential")) => problem(401, "auth.missing", "no"),
        (_, Some("unavailable")) => problem(503, "vault.unavailable", "not now"),
        (_, Some("nonsense")) => Some((200, "application/json", json!({"results": [{"secret-value": 1}]}))),
        (_, Some("foreign")) => Some((200, "text/html", Value::Null)),
        (_, Some("broken")) => None,
        ("POST /api/v1/tokenize", _) => {
            let context = body["context"].as_str().unwrap_or_default();
            let token = |item: &Value| match (item["kind"].as_str().unwrap(), item["value"].as_str().unwrap()) {
                (_, "bad") => bad.clone(),
                (kind, value) => json!({"token": format!("{kind}/{context}/{value}"), "created": true}),
            };
            results(items().map(token).collect())
        }
        ("POST /api/v1/rehydrate", _) => {
            let value = |token: &Value| match token.as_str().unwrap() {
                "bad" => bad.clone(),
                value => json!({"value": value, "kind": "A", "generation": "active"}),
            };
            results(items().map(value).collect())
        }
        ("POST /api/v1/lookup", _) => {
            let tokens = |item: &Value| {
                let value = item["value"].as_str().unwrap();
                json!({"tokens": [format!("{value}1"), format!("{value}2")], "exact": true})
            };
            results(items().map(tokens).collect())
        }
        ("POST /api/v1/forget", _) => {
            results(items().map(|token| json!({"forgotten": token.as_str() != Some("unheld")})).collect())
        }
        ("POST /api/v1/policies/reload", _) => problem(422, "policy.invalid", "The policies do not validate"),
        ("GET /api/v1/policies/loaded", _) => {
            let phone = json!({"action": "tokenize", "kid": "K_X", "tokenization": "reversible-aead",
                "cipher": "aes-256-gcm", "deterministic": false, "context": "required"});
            let policy = json!({"name": "loaded", "version": 1, "description": "", "default": true,
                "entities": {"PHONE": phone, "NOTE": {"action": "redact", "context": "optional"}}});
            Some((200, "application/json", policy))
        }
        ("GET /health", _) => {
            let (ok, off) = (json!({"status": "ok"}), json!({"status": "off"}));
            let vault = json!({"status": "degraded", "detail": "the disk\tis full"});
            let components = json!({"vault": vault, "keys": ok, "audit_log": off, "policies": ok});
            let health =
                json!({"status": "degraded", "version": "0.0.0", "uptime_seconds": 7, "components": components});
            Some((503, "application/json", health))
        }
        ("STOP /", _) => None,
        _ => problem(404, "route.not_found", "no"),
    }
}
