use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use tokio::runtime::{self, Runtime};

use super::*;
use crate::upload;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
/// More than the socket buffers, so that the upload is still running when the daemon responds.
const UPLOAD_BYTES: u64 = 8 * 1024 * 1024;

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Reads the head of a request.
fn read_head(stream: &UnixStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
}

/// Sends a request to a daemon that closes its first connection after the head of the request, and responds on the
/// second, if there is one.
fn request_to_dying_daemon(method: Method, path: &str) -> Result<u16, ClientError> {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("masker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = thread::spawn(move || {
        for response in ["", OK] {
            let (mut stream, _) = listener.accept().unwrap();
            read_head(&stream);
            stream.write_all(response.as_bytes()).unwrap();
        }
    });
    let outcome = runtime().block_on(async {
        let mut client = Client::connect(&socket).await?;
        client.request(method, path, Bytes::new()).await.map(|reply| reply.status)
    });
    // The daemon waits for a second connection, which must stay open until it has responded.
    let substitute = outcome.is_err().then(|| UnixStream::connect(&socket).unwrap());
    if let Some(mut stream) = substitute.as_ref() {
        stream.write_all(b"\r\n").unwrap();
    }
    daemon.join().unwrap();
    outcome
}

#[test]
fn repeats_requests_that_may_be_repeated() {
    assert_eq!(request_to_dying_daemon(Method::GET, "/health").unwrap(), 200);
    for path in REPEATABLE {
        assert_eq!(request_to_dying_daemon(Method::POST, path).unwrap(), 200);
    }
}

#[test]
fn does_not_repeat_requests_that_may_have_been_carried_out() {
    for (method, path) in [(Method::POST, "/api/v1/api-keys"), (Method::DELETE, "/api/v1/vault/rotations/a")] {
        let outcome = request_to_dying_daemon(method, path);
        assert!(matches!(outcome, Err(ClientError::Lost(_))), "{outcome:?}");
    }
}

/// When a daemon responds to a request that it does not read to the end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Respond {
    /// Before it stops reading.
    First,
    /// After the client has failed to write.
    AfterFailedWrite,
    /// Never.
    Never,
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        thread::yield_now();
    }
}

/// Stops reading after the head of the first request and responds with 413. Then responds with 200 on a second
/// connection.
fn serve_early_refusal(listener: &UnixListener, respond: Respond, write_failed: &AtomicBool) {
    let problem = r#"{"type": "urn:masker:problem:request.too_large", "title": "The request is too large", "status": 413,
        "detail": "send less", "code": "request.too_large", "request_id": "1"}"#;
    let refusal = format!(
        "HTTP/1.1 413 Payload Too Large\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{problem}",
        problem.len()
    );
    let (mut stream, _) = listener.accept().unwrap();
    read_head(&stream);
    if respond == Respond::First {
        stream.write_all(refusal.as_bytes()).unwrap();
    }
    stream.shutdown(Shutdown::Read).unwrap();
    // Frees the buffer, so that the client writes again, and fails.
    io::copy(&mut stream, &mut io::sink()).unwrap();
    wait_for(write_failed);
    if respond == Respond::AfterFailedWrite {
        stream.write_all(refusal.as_bytes()).unwrap();
    }
    drop(stream);
    let (mut stream, _) = listener.accept().unwrap();
    read_head(&stream);
    stream.write_all(OK.as_bytes()).unwrap();
}

/// Runs `requests` against [`serve_early_refusal`].
fn with_early_refusal<T>(respond: Respond, requests: impl AsyncFnOnce(&mut Client) -> T) -> T {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("masker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (flag, flags) = mpsc::channel::<Arc<AtomicBool>>();
    let daemon = thread::spawn(move || serve_early_refusal(&listener, respond, &flags.recv().unwrap()));
    let outcome = runtime().block_on(async {
        let mut client = Client::connect(&socket).await.unwrap();
        flag.send(client.connection.write_failure()).unwrap();
        requests(&mut client).await
    });
    daemon.join().unwrap();
    outcome
}

#[test]
fn reads_the_response_after_a_failed_write() {
    for respond in [Respond::First, Respond::AfterFailedWrite] {
        let (upload, next) = with_early_refusal(respond, async |client| {
            let body = upload::body(Box::new(io::repeat(7).take(UPLOAD_BYTES)), Some(UPLOAD_BYTES), |_| {});
            (client.upload("/api/v1/vault/import", body).await, client.get("/health").await)
        });
        let Err(ClientError::Problem(problem)) = upload else { panic!("{respond:?}: {:?}", upload.err()) };
        assert_eq!((problem.status, problem.code.as_str()), (413, "request.too_large"), "{respond:?}");
        assert_eq!(next.unwrap().status, 200, "{respond:?}: the next request has a new connection");
    }
}

#[test]
fn reports_a_lost_connection_without_a_response() {
    with_early_refusal(Respond::Never, async |client| {
        let body = upload::body(Box::new(io::repeat(7).take(UPLOAD_BYTES)), Some(UPLOAD_BYTES), |_| {});
        let outcome = client.upload("/api/v1/vault/import", body).await;
        assert!(matches!(outcome, Err(ClientError::Lost(_))), "{:?}", outcome.err());
        assert_eq!(client.get("/health").await.unwrap().status, 200);
    });
}

#[test]
fn repeats_a_request_that_was_not_sent_to_the_end() {
    let outcome = with_early_refusal(Respond::Never, async |client| {
        let body = Bytes::from(vec![b' '; UPLOAD_BYTES as usize]);
        client.post_json(None, "/api/v1/api-keys", body).await
    });
    assert_eq!(outcome.unwrap().status, 200);
}
