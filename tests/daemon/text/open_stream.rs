//! A client that sends a text part after part, and reads the answer to each before it sends the next.

use serde_json::{Value, json};

use super::MASK_STREAM;
use crate::harness::{Client, Daemon};

/// A stream whose text has not ended.
pub(crate) struct OpenStream {
    client: Client,
    received: Vec<u8>,
    /// Bytes of the text that were sent.
    sent: usize,
    /// The most of it that waits for more.
    held: usize,
}

/// The answer to a stream so far.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) text: String,
    /// The last line, once it arrived.
    pub(crate) last: Option<Value>,
}

impl Heard {
    /// Returns the code that the stream ended with.
    pub(crate) fn code(&self) -> &str {
        let last = self.last.as_ref().expect("a last line");
        last["error"]["code"].as_str().unwrap_or_else(|| panic!("{last}"))
    }
}

impl OpenStream {
    /// Begins a stream. `headers` are those that say who calls, and in which session.
    pub(crate) fn open(daemon: &Daemon, path: &str, headers: &str, options: &Value) -> Self {
        let mut stream = OpenStream::ask(daemon, path, headers, options);
        let head = stream.client.receive_head();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        stream
    }

    /// Asks for a stream, and leaves the head of the answer to be read.
    pub(crate) fn ask(daemon: &Daemon, path: &str, headers: &str, options: &Value) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: masker\r\n{headers}content-type: application/x-ndjson\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        let held = if path == MASK_STREAM { 36 * 1_024 } else { 8 * 1_024 };
        let mut stream = OpenStream { client: daemon.client(), received: Vec::new(), sent: 0, held };
        stream.client.send_raw(head.as_bytes()).expect("the head is read");
        stream.send_line(&options.to_string());
        stream
    }

    /// Sends a line as it is. If the stream has ended, the answer says so.
    pub(crate) fn send_line(&mut self, line: &str) {
        let _ = self.client.send_raw(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes());
    }

    /// Sends a part of the text, with enough behind it that it is answered at once.
    pub(crate) fn say(&mut self, text: &str) {
        let text = format!("{text} {}", "The weather was fine, and nothing else happened. ".repeat(1_000));
        self.sent += text.len();
        self.send_line(&json!({ "text": text }).to_string());
    }

    /// Reads the answer, until it has what can be answered of the text by now, or ends.
    pub(crate) fn hear(&mut self) -> Heard {
        loop {
            let heard = self.heard();
            if heard.last.is_some() || heard.text.len() + self.held >= self.sent {
                return heard;
            }
            assert!(self.client.receive_chunk(&mut self.received) > 0, "the answer has no last line");
        }
    }

    /// Ends the text, and reads the rest of the answer.
    pub(crate) fn end(mut self) -> Heard {
        let _ = self.client.send_raw(b"0\r\n\r\n");
        self.received.extend(self.client.receive_chunks());
        self.heard()
    }

    /// Returns the connection.
    pub(crate) fn into_client(self) -> Client {
        self.client
    }

    fn heard(&self) -> Heard {
        let mut heard = Heard { text: String::new(), last: None };
        let whole = self.received.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in std::str::from_utf8(&self.received[..whole]).expect("UTF-8").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            match line["text"].as_str() {
                Some(text) => heard.text.push_str(text),
                None => heard.last = Some(line),
            }
        }
        heard
    }
}
