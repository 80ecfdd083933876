//! Bodies that pass while they arrive.

use std::io;

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    Request,
    body::{Bytes, Frame},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};

use crate::{
    client::Connector,
    harness::LIMIT,
    recorder::{Recorder, run},
    site::{GatewaySite, HOST},
};

/// Each part is sent only after the one before came back: a gateway that waited for the end of a body would never answer.
#[test]
fn parts_pass_in_both_directions_at_the_same_time() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let mut client = Connector::tls(&site, &gateway).http2::<BoxBody<Bytes, io::Error>>().await;
        let (parts, received) = mpsc::unbounded_channel::<Bytes>();
        let body = stream::unfold(received, |mut received| async {
            received.recv().await.map(|part| (Ok(Frame::data(part)), received))
        });
        let body = BodyExt::boxed(StreamBody::new(
            Box::pin(body) as std::pin::Pin<Box<dyn futures_util::Stream<Item = _> + Send + Sync>>
        ));
        let request =
            Request::post(format!("https://{HOST}/api/v1/text/mask/stream")).header("authorization", "Bearer x");
        let answer = timeout(LIMIT, client.send_request(request.body(body).unwrap())).await.expect("in time").unwrap();
        assert_eq!(daemon.next().await.target, "/api/v1/text/mask/stream");
        let mut answer = answer.into_body();
        for number in 0..20 {
            let part = Bytes::from(format!("part {number}\n"));
            parts.send(part.clone()).unwrap();
            let frame = timeout(LIMIT, answer.frame()).await.expect("each part comes back").unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), part);
        }
        drop(parts);
        let rest = timeout(LIMIT, answer.collect()).await.expect("the end").unwrap().to_bytes();
        assert_eq!(rest, "");
        gateway.process.stop();
    });
}

/// The routes of texts and imports have bodies of any length.
#[test]
fn a_stream_is_not_bounded_by_the_size_of_a_body() {
    run(async {
        let site = GatewaySite::new();
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let mut client = Connector::tls(&site, &gateway).http2::<BoxBody<Bytes, io::Error>>().await;
        let piece = || Ok(Frame::data(Bytes::from(vec![b'x'; 64 * 1024])));
        let body = BodyExt::boxed(StreamBody::new(stream::iter((0..300).map(move |_| piece()))));
        let request =
            Request::post(format!("https://{HOST}/api/v1/text/mask/stream")).header("authorization", "Bearer x");
        let answer = timeout(LIMIT, client.send_request(request.body(body).unwrap())).await.expect("in time").unwrap();
        let echoed = timeout(LIMIT, answer.into_body().collect()).await.expect("in time").unwrap().to_bytes();
        assert_eq!(echoed.len(), 300 * 64 * 1024);
        gateway.process.stop();
    });
}

/// A part that looks like an answer of the HTTP library passes as it is.
#[test]
fn a_part_of_a_body_is_not_taken_for_an_answer() {
    run(async {
        let site = GatewaySite::new();
        let _daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let mut client = Connector::tls(&site, &gateway).connect(&["http/1.1"]).await.unwrap();
        let part = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        let head = format!(
            "POST /api/v1/text/mask/stream HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer x\r\ncontent-length: {}\r\n\r\n",
            2 * part.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        for _ in 0..2 {
            client.write_all(part.as_bytes()).await.unwrap();
            let length = answer.len();
            while !answer[length..].ends_with(part.as_bytes()) {
                answer.push(timeout(LIMIT, client.read_u8()).await.expect("each part comes back").unwrap());
            }
        }
        assert!(String::from_utf8(answer).unwrap().ends_with(&part.repeat(2)));
        gateway.process.stop();
    });
}
