//! The bounds of connections, requests and time.

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{Answer, Connector},
    harness::LIMIT,
    recorder::{Recorder, run},
    site::{GatewaySite, HOST},
};

#[test]
fn an_address_has_a_bounded_number_of_connections() {
    run(async {
        let site = GatewaySite::new().with("connections_per_address = 2");
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        let first = client.connect(&["http/1.1"]).await.unwrap();
        let _second = client.connect(&["http/1.1"]).await.unwrap();
        assert!(client.connect(&["http/1.1"]).await.is_err(), "the third is refused");
        gateway.process.log().wait_for(1, "connection refused: its address has too many");
        // Once one has ended, there is room again, as soon as the gateway notices.
        drop(first);
        while client.connect(&["http/1.1"]).await.is_err() {}
        gateway.process.stop();
    });
}

#[test]
fn an_address_has_a_bounded_number_of_requests() {
    run(async {
        let site = GatewaySite::new().with("requests_per_address = 1").with("trusted_proxies = [\"127.0.0.1\"]");
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway).http2::<Full<Bytes>>().await;
        let request = |path: &str, address: &str| {
            let request = Request::get(format!("https://{HOST}{path}")).header("authorization", "Bearer x");
            request.header("x-forwarded-for", address).body(Full::default()).unwrap()
        };
        let mut waiting = client.clone();
        let waiting = tokio::spawn(waiting.send_request(request("/api/v1/wait", "192.0.2.1")));
        daemon.waits().await;
        let mut other = client.clone();
        let refused = other.send_request(request("/api/v1/a", "192.0.2.1")).await.unwrap();
        assert_eq!(refused.status().as_u16(), 429);
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(other.send_request(request("/api/v1/a", "192.0.2.2")).await.unwrap().status().as_u16(), 200);
        daemon.go_on();
        let answer = waiting.await.unwrap().unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "served");
        gateway.process.stop();
    });
}

#[test]
fn a_handshake_and_a_head_have_a_time() {
    run(async {
        let site = GatewaySite::new().with("handshake_timeout_seconds = 1").with("head_timeout_seconds = 1");
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let mut silent = TcpStream::connect(gateway.address("tls")).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(LIMIT, silent.read_to_end(&mut rest)).await.expect("it is cut off");
        gateway.process.log().wait_for(1, "connection refused: the TLS handshake took too long");
        let client = Connector::tls(&site, &gateway);
        let mut silent = client.connect(&["http/1.1"]).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(LIMIT, silent.read_to_end(&mut answer)).await.expect("it is cut off");
        assert!(answer.is_empty(), "{answer:?}");
        // The head of a second request that never ends.
        let mut slow = client.connect(&["http/1.1"]).await.unwrap();
        slow.write_all(format!("GET /health HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
        daemon.next().await;
        while !answer.ends_with(b"served") {
            answer.push(timeout(LIMIT, slow.read_u8()).await.expect("an answer").unwrap());
        }
        slow.write_all(b"GET /api/v1/a HTTP/1.1\r\nx: ").await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(LIMIT, slow.read_to_end(&mut rest)).await.expect("it is cut off");
        assert!(rest.is_empty(), "{rest:?}");
        // An idle connection of HTTP/2 ends as well.
        let mut idle = client.connect(&["h2"]).await.unwrap();
        idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
        let mut frames = Vec::new();
        let _ = timeout(LIMIT, idle.read_to_end(&mut frames)).await.expect("it is cut off");
        assert!(!daemon.has_more());
        gateway.process.stop();
    });
}

#[test]
fn a_head_and_a_body_have_a_size() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        let head = format!("GET /api/v1/a HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer x\r\n");
        let many = "x: y\r\n".repeat(70);
        let long = format!("x: {}\r\n", "y".repeat(20_000));
        // The daemon would refuse these with what the gateway adds to them.
        let (nearly_many, nearly_long) = ("x: y\r\n".repeat(61), format!("x: {}\r\n", "y".repeat(16_220)));
        for headers in [many, long, nearly_many, nearly_long] {
            let answer = Answer::parse(&client.raw(&format!("{head}{headers}\r\n")).await.unwrap());
            assert_eq!((answer.status, answer.problem().as_str()), (413, "request.too_large"));
        }
        let mut sender = client.http2::<Full<Bytes>>().await;
        let request = Request::get(format!("https://{HOST}/api/v1/a")).header("x", "y".repeat(20_000));
        let answer = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["cache-control"].to_str().unwrap()), (413, "no-store"));
        assert!(!daemon.has_more(), "none of them reached the daemon");
        // A body that does not say how long it is.
        let mut sender = client.http2::<http_body_util::combinators::BoxBody<Bytes, std::io::Error>>().await;
        let piece = || Ok(hyper::body::Frame::data(Bytes::from(vec![b'x'; 64 * 1024])));
        let pieces = futures_util::stream::iter((0..=256).map(move |_| piece()));
        let body = BodyExt::boxed(http_body_util::StreamBody::new(pieces));
        let request = Request::post(format!("https://{HOST}/api/v1/a")).header("authorization", "Bearer x");
        let answer = timeout(LIMIT, sender.send_request(request.body(body).unwrap())).await.expect("an answer");
        assert_eq!(answer.unwrap().status().as_u16(), 413);
        gateway.process.stop();
    });
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    run(async {
        let site = GatewaySite::new().with("write_timeout_seconds = 1");
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        let mut slow = client.connect(&["http/1.1"]).await.unwrap();
        let request = format!("GET /api/v1/large HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer x\r\n\r\n");
        slow.write_all(request.as_bytes()).await.unwrap();
        daemon.next().await;
        gateway.process.log().wait_for(1, "connection ended early");
        let cut_off = "answer cut off: the client reads too slowly";
        let before = gateway.process.log().text().matches(cut_off).count();
        // Over HTTP/2 the window of one answer is full, and the connection has room: only this answer ends.
        let mut sender = client.http2::<Full<Bytes>>().await;
        let request = |path: &str| {
            let request = Request::get(format!("https://{HOST}{path}")).header("authorization", "Bearer x");
            request.body(Full::<Bytes>::default()).unwrap()
        };
        let waiting = tokio::spawn(sender.send_request(request("/api/v1/wait")));
        daemon.waits().await;
        daemon.next().await;
        let slow = sender.send_request(request("/api/v1/large")).await.unwrap();
        daemon.next().await;
        gateway.process.log().wait_for(before + 1, cut_off);
        daemon.go_on();
        let answer = waiting.await.unwrap().expect("another request of the connection goes on");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "served");
        assert!(timeout(LIMIT, slow.into_body().collect()).await.expect("it has ended").is_err());
        // The daemon lets a client read an export as slowly as it likes.
        let export = sender.send_request(request("/api/v1/vault/export")).await.unwrap();
        let slow = sender.send_request(request("/api/v1/large")).await.unwrap();
        gateway.process.log().wait_for(before + 2, cut_off);
        drop(slow);
        let export = timeout(LIMIT, export.into_body().collect()).await.expect("in time").expect("all of it");
        assert_eq!(export.to_bytes().len(), 64 * 1024 * 1024);
        // A client that reads gets all of it.
        let mut sender = client.http2::<Full<Bytes>>().await;
        let request = Request::get(format!("https://{HOST}/api/v1/large")).header("authorization", "Bearer x");
        let answer = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        let body = timeout(LIMIT, answer.into_body().collect()).await.expect("in time").unwrap().to_bytes();
        assert_eq!(body.len(), 64 * 1024 * 1024);
        gateway.process.stop();
    });
}
