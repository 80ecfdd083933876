//! The places of connections: which connection ends where there are too many.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::Connector,
    harness::LIMIT,
    recorder::{Recorder, run},
    site::{GatewaySite, HOST},
};

/// A proxy may have as many connections as there are, so all of a test can come from one address.
const PROXY: &str = "trusted_proxies = [\"127.0.0.1\"]";

#[test]
fn a_connection_without_a_request_is_displaced_and_one_at_work_is_not() {
    run(async {
        let site = GatewaySite::new().with("connections = 1").with(PROXY);
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        let mut silent = client.connect(&["http/1.1"]).await.unwrap();
        let mut second = client.connect(&["http/1.1"]).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(LIMIT, silent.read_to_end(&mut rest)).await.expect("it is displaced");
        gateway.process.log().wait_for(1, "connection displaced: another one needs its place");
        let mut request = async |path: &str, sign: &str| {
            let head = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer x\r\n\r\n");
            second.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !sign.is_empty() && !answer.ends_with(sign.as_bytes()) {
                answer.push(timeout(LIMIT, second.read_u8()).await.expect("an answer").unwrap());
            }
        };
        request("/api/v1/a", "served").await;
        request("/api/v1/wait", "").await;
        daemon.waits().await;
        assert!(client.connect(&["http/1.1"]).await.is_err(), "the only place is at work for a caller");
        gateway.process.log().wait_for(1, "connection refused: there are too many");
        daemon.go_on();
        gateway.process.stop();
    });
}

#[test]
fn plain_http_takes_no_place_of_clients_with_tls() {
    run(async {
        let site = GatewaySite::new().with("connections = 2").with(PROXY);
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let identity = site.clients.client(&["ci.example"]);
        let mut plain = Vec::new();
        for _ in 0..2 {
            plain.push(TcpStream::connect(gateway.address("redirect")).await.unwrap());
        }
        // Accepted before the next one, whose answer shows it.
        let mut answered = TcpStream::connect(gateway.address("redirect")).await.unwrap();
        answered.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(LIMIT, answered.read_to_string(&mut answer)).await.expect("an end").unwrap();
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
        let mtls = Connector::mtls(&site, &gateway, &identity);
        assert_eq!(mtls.request("GET /api/v1/a", &[("host", HOST)], "").await.status, 200);
        drop(plain);
        gateway.process.stop();
    });
}

#[test]
fn a_connection_that_asks_for_nothing_ends_soon() {
    run(async {
        let site = GatewaySite::new();
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        for protocol in ["http/1.1", "h2"] {
            let mut silent = client.connect(&[protocol]).await.unwrap();
            let mut rest = Vec::new();
            // `LIMIT` is shorter than the time for which a connection may be idle.
            let _ = timeout(LIMIT, silent.read_to_end(&mut rest)).await.expect("it ends");
        }
        gateway.process.stop();
    });
}
