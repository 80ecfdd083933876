//! A minimal server on hyper, with masker's runtime and settings. It reads each request completely and responds with a
//! prepared response.
//!
//! The response to `POST /NAME` is in two files: `NAME.head` has one header field per line, `NAME.body` has the body.

use std::{collections::HashMap, convert::Infallible, fs, path::Path, sync::Arc, thread, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use masker_types::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use tokio::{net::UnixListener, runtime};

use crate::Outcome;

/// The time limit for receiving a request head: the daemon's default.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The responses by path.
type Responses = HashMap<String, (HeaderMap, Bytes)>;

pub fn run(socket: &Path, directory: &Path) -> Outcome<()> {
    let responses = Arc::new(read(directory)?);
    let workers = thread::available_parallelism().map_or(2, usize::from).max(2);
    let runtime = runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(serve(socket, responses))
}

fn read(directory: &Path) -> Outcome<Responses> {
    let mut responses = Responses::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "head") {
            continue;
        }
        let mut head = HeaderMap::new();
        for line in fs::read_to_string(&path)?.lines() {
            let (name, value) = line.split_once(": ").ok_or("a header field is not `name: value`")?;
            head.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
        let name = path.file_stem().and_then(|name| name.to_str()).ok_or("a file name is not UTF-8")?;
        responses.insert(format!("/{name}"), (head, fs::read(path.with_extension("body"))?.into()));
    }
    Ok(responses)
}

async fn serve(socket: &Path, responses: Arc<Responses>) -> Outcome<()> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let responses = Arc::clone(&responses);
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(&responses, request));
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_headers(HEADERS_MAX)
                .max_buf_size(HEAD_BYTES_MAX)
                .half_close(true)
                .serve_connection(TokioIo::new(stream), answer);
            // The load generator closes its connections with requests in flight, so errors are expected.
            drop(served.await);
        });
    }
}

async fn answer(responses: &Responses, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let found = responses.get(request.uri().path()).cloned();
    let read = request.into_body().collect().await;
    let mut response = Response::new(Full::default());
    match (found, read) {
        (Some((head, body)), Ok(_)) => {
            *response.headers_mut() = head;
            *response.body_mut() = Full::new(body);
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}
