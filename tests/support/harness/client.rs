//! A small and strict HTTP/1.1 client (RFC 9112).
//!
//! Each header of an answer must be known, occur once, and have the right form. An unintended header fails the test,
//! and so does a missing request id.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

use super::{LIMIT, operations::shape_of};

/// The limit for the head of an answer, in bytes. No answer of this interface comes near it.
const HEAD_BYTES_MAX: usize = 2_048;

/// A connection to the daemon.
pub struct Client {
    stream: UnixStream,
    /// Bytes that were read and are not yet part of an answer.
    unread: Vec<u8>,
    /// The credential of every request.
    bearer: Option<String>,
    /// The session of every request.
    session: Option<String>,
    /// Further headers of every request, each with the end of its line.
    headers: String,
}

/// An answer with a valid head.
pub struct Response {
    /// The status.
    pub status: u16,
    /// `content-type`.
    pub content_type: String,
    /// `x-request-id`.
    pub request_id: String,
    /// `allow`, only with 405.
    pub allow: Option<String>,
    /// `retry-after` in seconds, with 429 and some 503 only.
    pub retry_after: Option<String>,
    /// `x-ratelimit-limit`, `-remaining` and `-reset`, on answers to limited callers: all of them or none.
    pub rate: Option<[u64; 3]>,
    /// Whether the daemon closes the connection after this answer.
    pub close: bool,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body is chunked.
    chunked: bool,
}

impl Client {
    /// Connects. No read or write takes longer than [`LIMIT`].
    pub fn connect(socket: &Path) -> io::Result<Self> {
        Ok(Client::over(UnixStream::connect(socket)?))
    }

    /// Uses a connection that is open.
    pub fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).and_then(|()| stream.set_write_timeout(Some(LIMIT))).expect("time limits");
        Client { stream, unread: Vec::new(), bearer: None, session: None, headers: String::new() }
    }

    /// Sets the time limit for an answer.
    pub fn patient(self, limit: Duration) -> Self {
        self.stream.set_read_timeout(Some(limit)).expect("a time limit");
        self
    }

    /// Sends this credential with every further request.
    pub fn show(mut self, credential: &str) -> Self {
        self.bearer = Some(credential.to_owned());
        self
    }

    /// Sends this session with every further request.
    pub fn within(mut self, session: &str) -> Self {
        self.session = Some(session.to_owned());
        self
    }

    /// Sends this header with every further request, besides others of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Sends a request and receives the answer.
    pub fn exchange(&mut self, method: &str, path: &str, body: &[u8]) -> Response {
        self.send(method, path, body);
        self.receive()
    }

    /// Sends a `GET`.
    pub fn get(&mut self, path: &str) -> Response {
        self.exchange("GET", path, b"")
    }

    /// Sends a `POST` with JSON.
    pub fn post(&mut self, path: &str, body: &Value) -> Response {
        self.exchange("POST", path, body.to_string().as_bytes())
    }

    /// Sends a request without waiting for the answer.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) {
        let request = request_of(self.bearer.as_deref(), self.session.as_deref(), &self.headers, method, path, body);
        self.send_raw(&request).expect("the daemon takes a whole request");
    }

    /// Sends bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Shuts down writing. Answers can still be received.
    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection that is open");
    }

    /// Receives the next answer.
    pub fn receive(&mut self) -> Response {
        let head = self.receive_head();
        let mut response = Response::parse(&head);
        if response.chunked {
            response.body = self.receive_chunks();
            return response;
        }
        let length = response.body.len();
        while self.unread.len() < length {
            assert!(self.read_more().expect("the body"), "the connection ended within a body of {length} bytes");
        }
        response.body = self.unread.drain(..length).collect();
        response
    }

    /// Receives a chunked body (RFC 9112 section 7.1): hex digits, no extensions and no trailers.
    pub fn receive_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while self.receive_chunk(&mut body) > 0 {}
        body
    }

    /// Receives the next chunk of a body, and returns its length: 0 for the last one.
    pub fn receive_chunk(&mut self, body: &mut Vec<u8>) -> usize {
        let line = loop {
            match self.unread.windows(2).position(|window| window == b"\r\n") {
                Some(end) => break self.unread.drain(..end + 2).take(end).collect::<Vec<u8>>(),
                None => assert!(self.read_more().expect("a chunk"), "the connection ended between chunks"),
            }
        };
        let line = String::from_utf8(line).expect("a chunk's length is ASCII");
        let length = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("a length, not {line:?}"));
        while self.unread.len() < length + 2 {
            assert!(self.read_more().expect("a chunk"), "the connection ended within a chunk");
        }
        body.extend(self.unread.drain(..length));
        assert_eq!(self.unread.drain(..2).collect::<Vec<u8>>(), b"\r\n", "the end of a chunk");
        length
    }

    /// Receives the next answer, or `None` if the daemon ends before it is complete.
    pub fn receive_if_whole(&mut self) -> Option<Response> {
        while !holds_whole_answer(&self.unread) {
            match self.read_more() {
                Ok(true) => {}
                Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("neither answer nor end: {error}"),
                Ok(false) | Err(_) => return None,
            }
        }
        Some(self.receive())
    }

    /// Receives the interim answer to `expect: 100-continue`: the daemon has read the head and waits for the body.
    pub fn receive_continue(&mut self) {
        assert_eq!(self.receive_head(), "HTTP/1.1 100 Continue");
    }

    /// Receives the next head, without the empty line at its end.
    pub fn receive_head(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.unread.drain(..end + 4).take(end).collect();
                return String::from_utf8(head).expect("a head is ASCII");
            }
            assert!(self.unread.len() < HEAD_BYTES_MAX, "the head of an answer has no end");
            assert!(self.read_more().expect("an answer"), "the connection ended where an answer should be");
        }
    }

    /// Reads what is available. Returns false at the end.
    pub fn read_more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1_024];
        let read = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.unread.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }

    /// Reads up to `length` bytes and drops them. Returns how many; 0 at the end.
    pub fn read_some(&mut self, length: usize) -> usize {
        self.stream.read(&mut vec![0; length]).unwrap_or(0)
    }

    /// Reads until there are `length` bytes, and keeps them for [`Client::receive`].
    pub fn read_up_to(&mut self, length: usize) {
        while self.unread.len() < length {
            assert!(self.read_more().expect("an answer"), "the connection ended too early");
        }
    }

    /// Returns another handle to the connection, for another thread.
    pub fn try_clone(&self) -> Self {
        Client::over(self.stream.try_clone().expect("another descriptor"))
    }

    /// Waits for the daemon to close the connection, and returns everything before that.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        loop {
            match self.read_more() {
                Ok(true) => {}
                // A socket that is closed with unread bytes is reset.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Ok(false) => break,
                Err(error) => panic!("the daemon did not end the connection: {error}"),
            }
        }
        std::mem::take(&mut self.unread)
    }

    /// Checks that the daemon closes the connection without sending more.
    pub fn expect_end(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "{} bytes came after the last answer", rest.len());
    }

    /// Whether nothing arrives within a time. It can return true too early but never false too late, so use it for
    /// what must not happen.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a time limit");
        let silent = match self.read_more() {
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(_) => false,
        };
        self.stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        silent
    }
}

fn holds_whole_answer(received: &[u8]) -> bool {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&received[..end]);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    received.len() >= end + 4 + length.unwrap_or(0)
}

/// Returns a request as this client sends it.
pub fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    request_of(None, None, "", method, path, body)
}

fn request_of(
    bearer: Option<&str>,
    session: Option<&str>,
    headers: &str,
    method: &str,
    path: &str,
    body: &[u8],
) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: masker\r\n{headers}");
    if let Some(credential) = bearer {
        request.push_str(&format!("authorization: Bearer {credential}\r\n"));
    }
    if let Some(session) = session {
        request.push_str(&format!("x-masker-session: {session}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    }
    [request.as_bytes(), b"\r\n", body].concat()
}

impl Response {
    /// Parses a head. The body is zeros until it is received.
    fn parse(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).unwrap_or_else(|| panic!("{head}"));
        let (code, reason) = status.split_once(' ').unwrap_or_else(|| panic!("{head}"));
        assert!(code.len() == 3 && !reason.is_empty(), "{head}");
        let code: u16 = code.parse().unwrap_or_else(|_| panic!("{head}"));

        let mut headers: Vec<(&str, &str)> = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} in\n{head}"));
            assert!(headers.iter().all(|(known, _)| *known != name), "{name} occurs twice in\n{head}");
            assert!(
                form_of(name, code).is_some_and(|is_right| is_right(value)),
                "{line:?} was not expected in\n{head}"
            );
            headers.push((name, value));
        }
        let header = |name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let required = |name| header(name).unwrap_or_else(|| panic!("{name} is missing in\n{head}"));
        required("date");
        assert_eq!(code == 405, header("allow").is_some(), "{head}");
        assert_eq!(code == 401, header("www-authenticate").is_some(), "{head}");
        let rate = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(header);
        assert!(rate.iter().all(Option::is_some) || rate.iter().all(Option::is_none), "{head}");
        let chunked = header("transfer-encoding").is_some();
        let streamed = ["application/octet-stream", "application/x-ndjson"];
        let is_streamed = header("content-type").is_some_and(|content_type| streamed.contains(&content_type.as_str()));
        assert_eq!(chunked, is_streamed, "{head}");
        let length = if chunked { "0".to_owned() } else { required("content-length") };
        Response {
            status: code,
            content_type: required("content-type"),
            request_id: required("x-request-id"),
            allow: header("allow"),
            retry_after: header("retry-after"),
            rate: rate[0].is_some().then(|| rate.map(|value| value.expect("as seen above").parse().expect("digits"))),
            close: header("connection").is_some(),
            body: vec![0; length.parse().expect("a length")],
            chunked,
        }
    }

    /// Checks for a 200 and returns the body as JSON.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Returns the body as JSON.
    pub fn json(&self) -> Value {
        assert_eq!(self.content_type, "application/json");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Returns the results of a 200, one for each item of the request.
    pub fn results(&self, items: usize) -> Vec<Value> {
        let Value::Object(mut answer) = self.ok() else { panic!("an object") };
        let results = answer.remove("results");
        assert!(answer.is_empty(), "an answer has results and nothing else: {answer:?}");
        let Some(Value::Array(results)) = results else { panic!("results are a list") };
        assert_eq!(results.len(), items, "one result for each item");
        results
    }

    /// Checks for problem details (RFC 9457) with this status and code, and no other members. Returns `detail`.
    pub fn problem(&self, status: u16, code: &str) -> String {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!((self.status, self.content_type.as_str()), (status, "application/problem+json"), "{text}");
        let problem: Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(shape_of(&problem), ["code", "detail", "request_id", "status", "title", "type"], "{text}");
        assert_eq!(problem["code"], code, "{text}");
        assert_eq!(problem["status"], status, "{text}");
        assert_eq!(problem["type"], format!("urn:masker:problem:{code}"), "{text}");
        assert_eq!(problem["request_id"], self.request_id, "{text}");
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|words| !words.is_empty()), "{member}: {text}");
        }
        let detail = problem["detail"].as_str().expect("as seen above").to_owned();
        // Waiting helps in every other case.
        let is_too_large = detail.ends_with("; send fewer");
        assert!(status != 429 || self.retry_after.is_none() == is_too_large, "{text}");
        detail
    }
}

/// Returns the check of a header's value; `None` if no answer with this status has the header.
fn form_of(name: &str, status: u16) -> Option<fn(&str) -> bool> {
    let digits = |value: &str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match name {
        "content-type" => Some(|value| {
            matches!(
                value,
                "application/json"
                    | "application/problem+json"
                    | "application/octet-stream"
                    | "application/x-ndjson"
                    | "text/csv; charset=utf-8; header=present"
                    | "text/plain; version=0.0.4; charset=utf-8"
            )
        }),
        "content-length" => Some(digits),
        "transfer-encoding" if status == 200 => Some(|value| value == "chunked"),
        // IMF-fixdate (RFC 9110 section 5.6.7): Sun, 06 Nov 1994 08:49:37 GMT
        "date" => Some(|value| value.len() == 29 && value.ends_with(" GMT")),
        "x-request-id" => Some(|value| {
            value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        }),
        "connection" => Some(|value| value == "close"),
        "allow" if status == 405 => {
            Some(|value| value.split(", ").all(|method| matches!(method, "GET" | "POST" | "PATCH" | "DELETE")))
        }
        "retry-after" if matches!(status, 429 | 503) => Some(digits),
        "www-authenticate" if status == 401 => Some(|value| value == "Bearer"),
        "x-ratelimit-limit" | "x-ratelimit-remaining" | "x-ratelimit-reset" => Some(digits),
        _ => None,
    }
}
