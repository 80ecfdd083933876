//! Versions of TLS, and the certificates of clients.

use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    authority::Authority,
    client::Connector,
    harness::LIMIT,
    recorder::{Recorder, run},
    site::{GatewaySite, HOST},
};

/// The versions that are served, each alone.
const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

/// Returns the first message of a handshake of an old version, with cipher suites and curves that every server has.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let extensions = [
        &[0x00, 0x0a, 0, 6, 0, 4, 0x00, 0x17, 0x00, 0x18][..], // supported_groups: secp256r1, secp384r1
        &[0x00, 0x0b, 0, 2, 1, 0][..],                         // ec_point_formats: uncompressed
        &[0x00, 0x0d, 0, 6, 0, 4, 0x04, 0x03, 0x04, 0x01][..], // signature_algorithms
    ]
    .concat();
    let mut body = version.to_vec();
    body.extend([7; 32]); // random
    body.push(0); // session id
    body.extend([0, 6, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09]); // cipher suites
    body.extend([1, 0]); // compression: none
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u16::try_from(body.len()).unwrap();
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(body);
    record
}

/// Sends bytes to the TLS port, and returns what comes back until the end.
async fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // The end may be a reset.
    let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("the connection ends");
    answer
}

#[test]
fn tls_1_2_and_1_3_are_served_and_older_versions_are_not() {
    run(async {
        let site = GatewaySite::new();
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        for versions in VERSIONS {
            assert_eq!(Connector::tls(&site, &gateway).versions(versions).get("/api/v1/a").await.status, 200);
        }
        let address = gateway.address("tls");
        for version in [[3, 0], [3, 1], [3, 2]] {
            let answer = exchange(address, &client_hello(version)).await;
            // A fatal alert: protocol_version.
            assert!(answer.len() == 7 && answer[0] == 0x15 && answer[5..] == [2, 70], "{version:?}: {answer:02x?}");
        }
        // The same message with TLS 1.2 is answered: only the version was wrong.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&client_hello([3, 3])).await.unwrap();
        let mut first = [0; 6];
        timeout(LIMIT, stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!((first[0], first[5]), (0x16, 2), "a ServerHello: {first:02x?}");
        drop(stream);
        gateway.process.stop();
    });
}

#[test]
fn plain_http_is_refused_on_the_tls_port() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        for listener in ["tls", "mtls"] {
            let request = b"GET /health HTTP/1.1\r\nhost: masker.example\r\n\r\n";
            let answer = exchange(gateway.address(listener), request).await;
            assert!(!answer.starts_with(b"HTTP"), "{listener}: {}", String::from_utf8_lossy(&answer));
        }
        assert!(!daemon.has_more());
        gateway.process.stop();
    });
}

#[test]
fn a_client_needs_a_certificate_of_the_right_authority() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let other = Authority::new();
        let (foreign, expired) = (other.client(&["ci.example"]), site.clients.expired_client());
        // Of the right authority, and not for clients.
        let server = site.clients.server();
        let request = format!("GET /health HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
        for versions in VERSIONS {
            for (name, identity) in [("foreign", &foreign), ("expired", &expired), ("server", &server)] {
                // With TLS 1.3 the client learns it when it reads.
                let answer = Connector::mtls(&site, &gateway, identity).versions(versions).raw(&request).await;
                assert!(answer.is_err(), "{name}: {answer:?}");
            }
            let none = Connector::mtls(&site, &gateway, &foreign).anonymous().versions(versions).raw(&request).await;
            assert!(none.is_err(), "{none:?}");
        }
        assert!(!daemon.has_more(), "none of them reached the daemon");
        let right = site.clients.client(&["ci.example"]);
        let answer = Connector::mtls(&site, &gateway, &right).raw(&request).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        gateway.process.stop();
    });
}
