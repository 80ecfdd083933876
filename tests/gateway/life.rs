//! The start and the end, and a daemon that is away.

use std::os::unix::fs::MetadataExt;

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;

use crate::{
    client::{Answer, Connector},
    harness::is_root,
    recorder::{Recorder, run},
    site::{GatewaySite, HOST},
};

/// A user that no host has.
const STRANGER: u32 = 62_001;

#[test]
fn a_daemon_that_is_away_is_a_problem_to_retry() {
    run(async {
        let site = GatewaySite::new();
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        for path in ["/health", "/api/v1/a"] {
            let answer = client.get(path).await;
            assert_eq!((answer.status, answer.problem().as_str()), (503, "daemon.unavailable"));
            assert_eq!((answer.header("retry-after"), answer.header("cache-control")), (Some("1"), Some("no-store")));
        }
        let daemon = Recorder::listen(site.socket());
        assert_eq!(client.get("/api/v1/a").await.status, 200);
        daemon.next().await;
        let log = gateway.process.stop().log.text();
        assert!(!log.contains("Bearer") && !log.contains("api/v1"), "nothing of a request is logged: {log}");
    });
}

#[test]
fn a_request_in_flight_is_answered_before_the_end() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        let mut open = client.connect(&["http/1.1"]).await.unwrap();
        open.write_all(
            format!("GET /api/v1/wait HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer x\r\n\r\n").as_bytes(),
        )
        .await
        .unwrap();
        let idle = client.connect(&["http/1.1"]).await.unwrap();
        daemon.waits().await;
        let since = gateway.process.terminate();
        let mut connecting = client.connect(&["http/1.1"]).await;
        while connecting.is_ok() {
            // The listener ends at the signal, and not at the same moment.
            connecting = client.connect(&["http/1.1"]).await;
        }
        daemon.go_on();
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut open, &mut answer).await.unwrap();
        let answer = Answer::parse(std::str::from_utf8(&answer).unwrap());
        assert_eq!((answer.status, answer.body.as_str()), (200, "served"));
        drop(idle);
        let ended = gateway.process.stopped(since);
        assert!(!ended.log.text().contains("connections were cut off"), "{}", ended.log.text());
    });
}

/// A client that sends nothing, or half of a head, cannot delay the end.
#[test]
fn silent_connections_do_not_delay_the_end() {
    run(async {
        let site = GatewaySite::new();
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let mut silent = Vec::new();
        for listener in ["tls", "mtls", "redirect"] {
            silent.push(tokio::net::TcpStream::connect(gateway.address(listener)).await.unwrap());
        }
        let client = Connector::tls(&site, &gateway);
        let mut half = client.connect(&["http/1.1"]).await.unwrap();
        half.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
        // Accepted after the others.
        assert_eq!(client.get("/health").await.status, 200);
        let ended = gateway.process.stop();
        assert!(!ended.log.text().contains("connections were cut off"), "{}", ended.log.text());
        drop((silent, half));
    });
}

#[test]
fn a_socket_that_the_user_may_not_open_is_named() {
    run(async {
        if !is_root("a user of the gateway") {
            return;
        }
        // Only its owner may enter this directory.
        let closed = tempfile::tempdir().unwrap();
        let socket = closed.path().join("masker.sock");
        let _daemon = Recorder::listen(&socket);
        let site = GatewaySite::new().before(&socket, STRANGER);
        let gateway = site.start();
        assert_eq!(Connector::tls(&site, &gateway).get("/health").await.status, 503);
        let lines = gateway.process.log().wait_for(1, "failed to connect to the daemon");
        assert_eq!(lines[0]["level"], "WARN", "{lines:?}");
        assert!(lines[0]["advice"].as_str().unwrap().contains("group of the daemon's socket"), "{lines:?}");
        gateway.process.stop();
    });
}

#[test]
fn a_key_that_others_can_read_refuses_the_start() {
    let site = GatewaySite::new();
    let server = site.authority.server();
    site.install(&server);
    site.replace("key.pem", &server.key_pem(), 0o644);
    let Err(ended) = site.attempt() else { panic!("it started") };
    let log = ended.code(3);
    assert!(log.contains("gateway.toml:5: ") && log.contains("is open to other users (mode 0644)"), "{log}");
}

#[test]
fn the_process_keeps_nothing_readable() {
    run(async {
        let site = GatewaySite::new();
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process.pid())).unwrap();
        assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.process.pid())).unwrap();
        let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
        if is_root("a user of the gateway") {
            let site = GatewaySite::new().before(&site.path("masker.sock"), STRANGER);
            let gateway = site.start();
            // The files of a process that may be dumped belong to its user.
            let owner = std::fs::metadata(format!("/proc/{}/environ", gateway.process.pid())).unwrap().uid();
            assert_eq!(owner, 0);
            gateway.process.stop();
        }
        gateway.process.signal(Signal::SIGINT);
        assert_eq!(gateway.process.notification().as_deref(), Some(&["STOPPING=1".to_owned()][..]));
        gateway.process.stopped(std::time::Instant::now());
    });
}
