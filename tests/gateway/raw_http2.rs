//! A client of HTTP/2 that does only what a test asks for: it acknowledges neither settings nor pings, and ignores `GOAWAY`.

use std::collections::HashMap;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::{client::Connector, harness::LIMIT, site::HOST};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection.
pub struct RawHttp2 {
    stream: TlsStream<TcpStream>,
    /// The bodies that have begun to arrive.
    bodies: HashMap<u32, Vec<u8>>,
}

impl RawHttp2 {
    pub async fn connect(connector: &Connector<'_>) -> Self {
        let stream = connector.connect(&["h2"]).await.expect("a connection");
        let mut client = RawHttp2 { stream, bodies: HashMap::new() };
        client.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        client.send(SETTINGS, 0, 0, &[]).await;
        client
    }

    /// Sends a request without a body.
    pub async fn get(&mut self, stream: u32, path: &str) {
        // `:method: GET` and `:scheme: https` of the static table, then two of its names with literal values.
        let mut block = vec![0x82, 0x87];
        for (name, value) in [(4, path), (1, HOST)] {
            block.extend([name, u8::try_from(value.len()).unwrap()]);
            block.extend(value.as_bytes());
        }
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block).await;
    }

    /// Returns the whole body of an answer, or `None` once the connection has ended without it.
    pub async fn body(&mut self, stream: u32) -> Option<String> {
        loop {
            let (kind, flags, of, payload) = timeout(LIMIT, self.frame()).await.expect("a frame or the end")?;
            if kind == DATA {
                self.bodies.entry(of).or_default().extend(payload);
            }
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 && of == stream {
                return Some(String::from_utf8(self.bodies.remove(&of).unwrap_or_default()).unwrap());
            }
        }
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.stream.write_all(&frame).await.unwrap();
    }
}
