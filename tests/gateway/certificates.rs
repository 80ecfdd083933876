//! Certificates that are replaced while the gateway serves.

use tokio::{io::AsyncReadExt, time::timeout};

use crate::{
    authority::Authority,
    client::Connector,
    harness::LIMIT,
    raw_http2::RawHttp2,
    recorder::{Recorder, run},
    site::{GatewaySite, HOST},
};

/// PEM of the right label whose content is no private key.
const NO_KEY: &str = "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n";

#[test]
fn a_signal_reloads_the_certificate() {
    run(async {
        let site = GatewaySite::new().with("check_files_seconds = 3600");
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let next = Authority::new();
        let mut open = Connector::tls(&site, &gateway).connect(&["http/1.1"]).await.unwrap();
        site.install(&next.server());
        assert!(Connector::tls(&site, &gateway).trusting(&next).raw("").await.is_err(), "nothing was reloaded yet");
        gateway.process.reload();
        assert_eq!(Connector::tls(&site, &gateway).trusting(&next).get("/api/v1/a").await.status, 200);
        assert!(Connector::tls(&site, &gateway).raw("").await.is_err(), "the old certificate is gone");
        // A connection of before goes on.
        use tokio::io::AsyncWriteExt;
        open.write_all(format!("GET /health HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        timeout(LIMIT, open.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        gateway.process.stop();
    });
}

#[test]
fn a_change_of_the_files_reloads_the_certificate() {
    run(async {
        let site = GatewaySite::new().with("check_files_seconds = 1");
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let next = Authority::new();
        site.install(&next.server());
        gateway.process.log().wait_for(1, "certificates reloaded");
        assert_eq!(Connector::tls(&site, &gateway).trusting(&next).get("/api/v1/a").await.status, 200);
        gateway.process.stop();
    });
}

#[test]
fn an_invalid_replacement_changes_nothing() {
    run(async {
        let site = GatewaySite::new().with("check_files_seconds = 3600");
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let server = site.authority.server();
        let failed = "failed to reload the certificates: the previous ones stay in use";
        for attempt in 1..=5 {
            match attempt {
                1 => site.replace("key.pem", NO_KEY, 0o600),
                2 => site.install_certificate(&Authority::new().server()),
                3 => {
                    site.install_certificate(&server);
                    site.replace("key.pem", &server.key_pem(), 0o644);
                }
                4 => {
                    site.install(&server);
                    site.replace("ca.pem", "", 0o644);
                }
                _ => std::fs::remove_file(site.path("ca.pem")).unwrap(),
            }
            gateway.process.reload();
            gateway.process.log().wait_for(attempt, failed);
            assert_eq!(Connector::tls(&site, &gateway).get("/api/v1/a").await.status, 200, "attempt {attempt}");
        }
        let log = gateway.process.log().text();
        assert!(!log.contains("aHVudGVyMg") && !log.contains("hunter2"), "{log}");
        assert!(log.contains("gateway.toml:4: ") && log.contains("gateway.toml:5: "), "{log}");
        assert!(log.contains("is open to other users (mode 0644)"), "{log}");
        site.install_client_ca(&site.clients);
        gateway.process.reload();
        gateway.process.log().wait_for(1, "certificates reloaded");
        gateway.process.stop();
    });
}

#[test]
fn clients_of_a_removed_authority_are_disconnected() {
    run(async {
        let site = GatewaySite::new().with("check_files_seconds = 3600");
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let identity = site.clients.client(&["ci.example"]);
        let mtls = Connector::mtls(&site, &gateway, &identity);
        let mut open = mtls.connect(&["http/1.1"]).await.unwrap();
        let other = Connector::tls(&site, &gateway).connect(&["http/1.1"]).await.unwrap();
        assert_eq!(mtls.request("GET /api/v1/a", &[("host", HOST)], "").await.status, 200);
        site.install_client_ca(&Authority::new());
        gateway.process.reload();
        let mut rest = Vec::new();
        let ended = timeout(LIMIT, open.read_to_end(&mut rest)).await.expect("it ends");
        assert!(ended.is_ok() && rest.is_empty(), "{ended:?}");
        assert!(mtls.raw("").await.is_err(), "nor can they connect again");
        drop(other);
        gateway.process.stop();
    });
}

#[test]
fn a_revoked_certificate_is_refused_and_disconnected() {
    run(async {
        let site = GatewaySite::new().with("check_files_seconds = 3600").with_mtls("client_crl = \"crl.pem\"");
        let _daemon = Recorder::listen(site.socket());
        let (one, other) = (site.clients.client(&["ci.example"]), site.clients.client(&["ci.example"]));
        site.replace("crl.pem", &site.clients.revoked(&[], false), 0o644);
        let gateway = site.start();
        let get = async |identity| Connector::mtls(&site, &gateway, identity).raw(REQUEST).await;
        assert!(get(&one).await.is_ok() && get(&other).await.is_ok());
        let mut open = Connector::mtls(&site, &gateway, &one).connect(&["http/1.1"]).await.unwrap();

        site.replace("crl.pem", &site.clients.revoked(&[&one], false), 0o644);
        gateway.process.reload();
        let mut rest = Vec::new();
        let ended = timeout(LIMIT, open.read_to_end(&mut rest)).await.expect("it ends");
        assert!(ended.is_ok() && rest.is_empty(), "{ended:?}");
        assert!(get(&one).await.is_err(), "it is revoked");
        assert!(get(&other).await.is_ok(), "the other one is not");

        // A list that has expired, and one of another authority, say nothing about the other one.
        for (count, list) in [(2, site.clients.revoked(&[], true)), (3, Authority::new().revoked(&[], false))] {
            site.replace("crl.pem", &list, 0o644);
            gateway.process.reload();
            gateway.process.log().wait_for(count, "certificates reloaded");
            assert!(get(&other).await.is_err(), "list {count}");
        }
        gateway.process.stop();
    });
}

/// A client of HTTP/2 can ignore that its connection is to end, and keep it open with a request in flight.
#[test]
fn a_client_of_a_removed_authority_gets_no_further_answer() {
    run(async {
        let site = GatewaySite::new().with("check_files_seconds = 3600");
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let identity = site.clients.client(&["ci.example"]);
        let mut client = RawHttp2::connect(&Connector::mtls(&site, &gateway, &identity)).await;
        client.get(1, "/api/v1/a").await;
        assert_eq!(client.body(1).await.as_deref(), Some("served"));
        client.get(3, "/api/v1/wait").await;
        daemon.waits().await;
        site.install_client_ca(&Authority::new());
        gateway.process.reload();
        client.get(5, "/api/v1/a").await;
        let refused = client.body(5).await.expect("an answer");
        assert!(refused.contains("\"auth.invalid\""), "{refused}");
        assert_eq!(client.body(3).await, None, "the connection ends, also with a request in flight");
        gateway.process.stop();
    });
}

const REQUEST: &str = "GET /health HTTP/1.1\r\nhost: masker.example\r\nconnection: close\r\n\r\n";

#[test]
fn an_expired_certificate_and_one_of_another_host_fail_the_check() {
    let site = GatewaySite::new();
    assert_eq!(site.check(), (Some(0), String::new()));
    site.install(&site.authority.server_for(&["masker.example"], true));
    let (code, output) = site.check();
    assert!(code == Some(3) && output.contains("gateway.toml:4: ") && output.contains("has expired"), "{output}");
    site.install(&site.authority.server_for(&["other.example"], false));
    let (code, output) = site.check();
    assert!(code == Some(3) && output.contains("is not for masker.example"), "{output}");
    // The gateway starts with it, and says so.
    let gateway = site.start();
    gateway.process.log().wait_for(1, "clients refuse the certificate");
    gateway.process.stop();
}

#[test]
fn a_certificate_with_more_names_than_the_daemon_accepts_is_refused_with_a_reason() {
    run(async {
        let site = GatewaySite::new();
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let names: Vec<String> = (0..64).map(|number| format!("a{number}.ci.example")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let long = format!("spiffe://ci.example/{}", "a".repeat(1_000));
        for accepted in [&names[..63], &[&long]] {
            let identity = site.clients.client(accepted);
            let answer =
                Connector::mtls(&site, &gateway, &identity).request("GET /api/v1/a", &[("host", HOST)], "").await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        let too_many = site.clients.client(&names);
        let answer = Connector::mtls(&site, &gateway, &too_many).request("GET /api/v1/a", &[("host", HOST)], "").await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "auth.invalid"));
        gateway.process.log().wait_for(1, "client certificate refused: its identity cannot be passed on");
        gateway.process.stop();
    });
}
