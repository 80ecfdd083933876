//! The daemon's HTTP interface over its Unix socket, from the client's side.
//!
//! One client is one connection, kept alive from request to request. It is what every command uses, and what
//! measures and tests the daemon from outside.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderValue},
    http::response::Parts,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use super::early_answer::EarlyAnswerStream;
use masker_api::{ErrorBody, REQUEST_ID_HEADER, SESSION_HEADER};
use masker_types::limits::BODY_BYTES_MAX;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const OCTETS: &str = "application/octet-stream";
/// What is sent by POST and comes to the same when it is sent twice; limits count it twice.
const REPEATABLE: [&str; 4] = ["/api/v1/tokenize", "/api/v1/rehydrate", "/api/v1/lookup", "/api/v1/rewrap"];

/// Why the daemon gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no socket.
    #[error(
        "the daemon cannot be reached: there is no socket {0}. Start it with `masker serve`, or say where it is: \
         --socket, MASKER_SOCKET or `[server] socket`"
    )]
    NoSocket(PathBuf),
    /// There is a socket, and nobody behind it.
    #[error(
        "the daemon cannot be reached: nobody listens on {0}. It has stopped; start it with `masker serve` or \
         `systemctl start masker`"
    )]
    Refused(PathBuf),
    /// The socket's mode keeps this user out.
    #[error(
        "the daemon cannot be reached: this user may not connect to {0}. Its group may: `ls -l` shows which it is, \
         and an administrator can make you a member"
    )]
    Forbidden(PathBuf),
    /// Another reason not to connect.
    #[error("the daemon cannot be reached at {socket}: {source}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke before the answer was there, again if the request could be repeated. Whether it was carried
    /// out is not known.
    #[error(
        "the daemon closed the connection before it answered: {0}. Try again, and look into its log if it stays so"
    )]
    Lost(#[source] hyper::Error),
    /// The daemon refused the request.
    #[error("{}", problem_text(.0))]
    Problem(Box<ErrorBody>),
    /// The daemon refused the request for now, and said when it may be sent again.
    #[error("{}", problem_text(.problem))]
    Busy {
        /// Why.
        problem: Box<ErrorBody>,
        /// After what time.
        after: Duration,
    },
    /// What answered does not speak like masker.
    #[error("what listens on the socket did not answer like masker: {0}")]
    Foreign(String),
    /// The request could not be put together.
    #[error("the request could not be made: {0}")]
    Request(String),
}

fn problem_text(problem: &ErrorBody) -> String {
    format!("{}: {} ({}, request {})", problem.title, problem.detail, problem.code, problem.request_id)
}

/// An answer that is no problem.
pub struct ClientReply {
    /// The HTTP status.
    pub status: u16,
    /// The request's id, which finds it in the daemon's log.
    pub request_id: String,
    /// From the first byte sent to the last one received.
    pub took: Duration,
    body: Bytes,
}

impl ClientReply {
    /// The body, read as JSON. What it holds may borrow from the reply.
    ///
    /// # Errors
    /// [`ClientError::Foreign`] if the body is something else.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ClientError> {
        // Of the parser's message only the place is passed on: the body may hold personal data.
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            ClientError::Foreign(format!("its answer cannot be understood (line {line}, column {column})"))
        })
    }
}

/// The body of a request: at hand as a whole, or read while it is sent.
pub type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// An answer that comes in pieces.
pub struct Download {
    body: Incoming,
    /// The request's id.
    pub request_id: String,
}

impl Download {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Lost`] where the daemon ended the answer before its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(lost)) => return Err(ClientError::Lost(lost)),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }
}

/// A connection to the daemon.
pub struct Client {
    socket: PathBuf,
    sender: SendRequest<RequestBody>,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Why the daemon cannot be reached, and what can be done.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        Ok(Client { socket: socket.to_owned(), sender: open(socket).await?, authorization: None })
    }

    /// Shows this `Authorization` header with every request from now on.
    pub fn authorized(self, authorization: Option<HeaderValue>) -> Self {
        Client { authorization, ..self }
    }

    /// Asks for what is at a path, such as `/health`.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn get(&mut self, path: &str) -> Result<ClientReply, ClientError> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// Asks for a text, such as `/metrics`.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn text(&mut self, path: &str) -> Result<String, ClientError> {
        let (head, body) = self.send(request(Method::GET, path, JSON, whole(Bytes::new()))?).await?.into_parts();
        let body = body.collect().await.map_err(ClientError::Lost)?.to_bytes();
        if !text(&head, "content-type").starts_with(TEXT) {
            return Err(refusal(&head, &body, "no text"));
        }
        String::from_utf8(body.into()).map_err(|_| ClientError::Foreign("its answer is not UTF-8".to_owned()))
    }

    /// Sends something to a path, as JSON.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn post<T: Serialize + ?Sized>(&mut self, path: &str, body: &T) -> Result<ClientReply, ClientError> {
        self.request(Method::POST, path, json_of(body)?).await
    }

    /// [`Client::post`], in a session of this id.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn post_in<T: Serialize + ?Sized>(
        &mut self,
        session: &str,
        path: &str,
        body: &T,
    ) -> Result<ClientReply, ClientError> {
        self.post_json(Some(session), path, json_of(body)?).await
    }

    /// [`Client::post`] of what is JSON already, in a session if one is given.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn post_json(
        &mut self,
        session: Option<&str>,
        path: &str,
        body: Bytes,
    ) -> Result<ClientReply, ClientError> {
        let session = session.map(HeaderValue::from_str).transpose();
        let session = session.map_err(|_| ClientError::Request("the session's id is no such id".to_owned()))?;
        self.exchange_with_retry(Method::POST, path, session, body).await
    }

    /// Asks for what comes in pieces.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn download(&mut self, path: &str) -> Result<Download, ClientError> {
        let (head, body) = self.send(request(Method::POST, path, JSON, whole(Bytes::new()))?).await?.into_parts();
        if text(&head, "content-type") != OCTETS {
            let body = body.collect().await.map_err(ClientError::Lost)?.to_bytes();
            return Err(refusal(&head, &body, "no file"));
        }
        Ok(Download { request_id: text(&head, REQUEST_ID_HEADER).to_owned(), body })
    }

    /// Sends a file.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn upload(&mut self, path: &str, body: RequestBody) -> Result<ClientReply, ClientError> {
        self.exchange(request(Method::POST, path, OCTETS, body)?).await
    }

    /// Ends what is at a path.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn delete(&mut self, path: &str) -> Result<ClientReply, ClientError> {
        self.request(Method::DELETE, path, Bytes::new()).await
    }

    async fn request(&mut self, method: Method, path: &str, body: Bytes) -> Result<ClientReply, ClientError> {
        self.exchange_with_retry(method, path, None, body).await
    }

    /// Sends a request, and once again over a new connection where the first ended without an answer: if it was not
    /// heard, or if to be heard twice does no harm (RFC 9110 section 9.2.2).
    async fn exchange_with_retry(
        &mut self,
        method: Method,
        path: &str,
        session: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<ClientReply, ClientError> {
        let made = || {
            let mut request = request(method.clone(), path, JSON, whole(body.clone()))?;
            if let Some(session) = &session {
                request.headers_mut().insert(SESSION_HEADER, session.clone());
            }
            Ok(request)
        };
        match self.exchange(made()?).await {
            Err(ClientError::Lost(lost))
                if method == Method::GET || REPEATABLE.contains(&path) || was_not_sent(&lost) =>
            {
                self.sender = open(&self.socket).await?;
                self.exchange(made()?).await
            }
            outcome => outcome,
        }
    }

    async fn exchange(&mut self, request: Request<RequestBody>) -> Result<ClientReply, ClientError> {
        let started = Instant::now();
        let (head, body) = self.send(request).await?.into_parts();
        let body = body.collect().await.map_err(ClientError::Lost)?.to_bytes();
        if !text(&head, "content-type").starts_with(JSON) {
            return Err(refusal(&head, &body, "no JSON"));
        }
        let request_id = text(&head, REQUEST_ID_HEADER).to_owned();
        Ok(ClientReply { status: head.status.as_u16(), request_id, took: started.elapsed(), body })
    }

    /// Sends a request, over a new connection if the daemon has closed this one: it does that to idle ones. A request
    /// of which anything was sent is not repeated here.
    async fn send(&mut self, mut request: Request<RequestBody>) -> Result<Response<Incoming>, ClientError> {
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        // Of a connection that was closed meanwhile, the attempt gives the request back.
        let _ = self.sender.ready().await;
        let mut failed = match self.sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let Some(unsent) = failed.take_message() else { return Err(ClientError::Lost(failed.into_error())) };
        self.sender = open(&self.socket).await?;
        self.sender.send_request(unsent).await.map_err(ClientError::Lost)
    }
}

/// Whether the kernel refused a part of the request, so that the daemon never had the whole of it.
fn was_not_sent(lost: &hyper::Error) -> bool {
    let cause = lost.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn json_of<T: Serialize + ?Sized>(body: &T) -> Result<Bytes, ClientError> {
    let body = serde_json::to_vec(body).map_err(|error| ClientError::Request(error.to_string()))?;
    if body.len() > BODY_BYTES_MAX {
        let message = format!("it has {} bytes, and the daemon takes {BODY_BYTES_MAX}", body.len());
        return Err(ClientError::Request(message));
    }
    Ok(body.into())
}

fn whole(body: Bytes) -> RequestBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn request(method: Method, path: &str, kind: &str, body: RequestBody) -> Result<Request<RequestBody>, ClientError> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::HOST, "masker").header(header::CONTENT_TYPE, kind);
    request.body(body).map_err(|error| ClientError::Request(error.to_string()))
}

fn text<'h>(head: &'h Parts, name: &str) -> &'h str {
    head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Why an answer is not what was asked for.
fn refusal(head: &Parts, body: &[u8], instead: &str) -> ClientError {
    let status = head.status.as_u16();
    if !text(head, "content-type").starts_with("application/problem+json") {
        return ClientError::Foreign(format!("status {status} and {instead}"));
    }
    match (serde_json::from_slice(body), text(head, header::RETRY_AFTER.as_str()).parse()) {
        (Ok(problem), Ok(seconds)) => {
            ClientError::Busy { problem: Box::new(problem), after: Duration::from_secs(seconds) }
        }
        (Ok(problem), Err(_)) => ClientError::Problem(Box::new(problem)),
        (Err(_), _) => ClientError::Foreign(format!("status {status} without a reason")),
    }
}

async fn open(socket: &Path) -> Result<SendRequest<RequestBody>, ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ClientError::NoSocket(socket.to_owned()),
        io::ErrorKind::ConnectionRefused => ClientError::Refused(socket.to_owned()),
        io::ErrorKind::PermissionDenied => ClientError::Forbidden(socket.to_owned()),
        _ => ClientError::Connect { socket: socket.to_owned(), source },
    })?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(EarlyAnswerStream::new(stream))).await.map_err(ClientError::Lost)?;
    // It ends with the sender, and whatever it fails with, the request in flight fails with too.
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        os::unix::net::UnixListener,
        thread,
    };

    use tokio::runtime;

    use super::*;

    /// Asks a daemon that ends its first connection once it has the head of a request, and answers on the next, if there
    /// is one.
    fn asked_of_a_dying_daemon(method: Method, path: &str) -> Result<u16, ClientError> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("masker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = thread::spawn(move || {
            for answer in ["", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
                while head.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(async {
            let mut client = Client::connect(&socket).await?;
            client.request(method, path, Bytes::new()).await.map(|reply| reply.status)
        });
        // What waits for a second connection has one, and it stays until it was answered.
        let instead = outcome.is_err().then(|| std::os::unix::net::UnixStream::connect(&socket).unwrap());
        if let Some(mut stream) = instead.as_ref() {
            stream.write_all(b"\r\n").unwrap();
        }
        daemon.join().unwrap();
        outcome
    }

    #[test]
    fn what_may_be_sent_twice_is_sent_again() {
        assert_eq!(asked_of_a_dying_daemon(Method::GET, "/health").unwrap(), 200);
        for path in REPEATABLE {
            assert_eq!(asked_of_a_dying_daemon(Method::POST, path).unwrap(), 200);
        }
    }

    #[test]
    fn what_may_have_been_done_is_not_sent_again() {
        for (method, path) in [(Method::POST, "/api/v1/api-keys"), (Method::DELETE, "/api/v1/vault/rotations/a")] {
            let outcome = asked_of_a_dying_daemon(method, path);
            assert!(matches!(outcome, Err(ClientError::Lost(_))), "{outcome:?}");
        }
    }
}
