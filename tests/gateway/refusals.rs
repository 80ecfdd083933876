//! Answers that arrive although the request was not read to its end.

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use tokio::time::timeout;

use crate::{
    client::Connector,
    harness::LIMIT,
    recorder::{Recorder, run},
    site::{GatewaySite, HOST},
};

const BODY_BYTES: usize = 900_000;

#[test]
fn a_refusal_of_the_daemon_arrives_before_the_end_of_the_body() {
    run(async {
        let site = GatewaySite::new();
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        let (body, length) = ("x".repeat(BODY_BYTES), BODY_BYTES.to_string());
        let headers = [("host", HOST), ("authorization", "Bearer bad"), ("content-length", &length)];
        for _ in 0..8 {
            let answer = client.request("POST /api/v1/refuse", &headers, &body).await;
            assert_eq!((answer.status, answer.body.as_str()), (401, "refused"));
            let request = Request::post(format!("https://{HOST}/api/v1/refuse")).header("authorization", "Bearer bad");
            let mut sender = client.http2::<Full<Bytes>>().await;
            let sent = sender.send_request(request.body(Full::from(body.clone())).unwrap());
            let answer = timeout(LIMIT, sent).await.expect("an answer").expect("no reset");
            assert_eq!(answer.status().as_u16(), 401);
            assert_eq!(answer.into_body().collect().await.expect("no reset").to_bytes(), "refused");
        }
        gateway.process.stop();
    });
}

#[test]
fn a_body_that_a_client_breaks_off_is_no_fault_of_the_daemon() {
    run(async {
        use tokio::io::AsyncWriteExt;

        let site = GatewaySite::new();
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let mut client = Connector::tls(&site, &gateway).connect(&["http/1.1"]).await.unwrap();
        let head =
            format!("POST /api/v1/a HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer x\r\ncontent-length: 9\r\n\r\nx");
        client.write_all(head.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        gateway.process.log().wait_for(1, "the client ended its request early");
        let log = gateway.process.stop().log.text();
        assert!(!log.contains("the daemon gave no answer"), "{log}");
    });
}
