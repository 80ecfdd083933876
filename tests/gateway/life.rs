//! The start and the end, and a daemon that is away.

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;

use crate::{
    client::{Answer, Connector},
    recorder::{Recorder, run},
    site::{GatewaySite, HOST},
};

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
        gateway.process.signal(Signal::SIGINT);
        assert_eq!(gateway.process.notification().as_deref(), Some(&["STOPPING=1".to_owned()][..]));
        gateway.process.stopped(std::time::Instant::now());
    });
}
