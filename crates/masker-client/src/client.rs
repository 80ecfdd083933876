//! A client of the daemon's HTTP interface, over its socket or through a gateway.
//!
//! A client is one connection, kept alive from request to request. All commands use it, and so do the programs that
//! measure and test the daemon from outside.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    http::response::Parts,
};
use serde::{Deserialize, Serialize};

use crate::{
    connection::Connection,
    endpoint::Endpoint,
    server::{ProxyError, TlsError},
};
use masker_api::{ErrorBody, REQUEST_ID_HEADER, SESSION_HEADER};
use masker_types::limits::BODY_BYTES_MAX;

const JSON: &str = "application/json";
/// How the content types of texts begin.
const TEXT: &str = "text/";
const OCTET_STREAM: &str = "application/octet-stream";
const JSON_LINES: &str = "application/x-ndjson";
/// POST requests that may be repeated: the second gives the same result. Limits count both.
const REPEATABLE: [&str; 4] = ["/api/v1/tokenize", "/api/v1/rehydrate", "/api/v1/lookup", "/api/v1/rewrap"];

/// A request that failed, or a daemon that cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The socket does not exist.
    #[error(
        "the daemon cannot be reached: there is no socket {0}. Start it (`systemctl start masker.socket \
         masker.service` for that of the package, else `masker serve`), or give its socket with --socket, MASKER_SOCKET or `[server] socket`"
    )]
    NoSocket(PathBuf),
    /// The socket exists, but no process listens on it.
    #[error(
        "the daemon cannot be reached: nobody listens on {0}. It has stopped; start it: `systemctl start \
         masker.socket masker.service` for that of the package, else `masker serve`"
    )]
    Refused(PathBuf),
    /// The socket's mode does not permit this user to connect.
    #[error(
        "the daemon cannot be reached: this user may not connect to {0}. `ls -l` shows the group that may; an \
         administrator can add you to it"
    )]
    Forbidden(PathBuf),
    /// Connecting failed for another reason.
    #[error("the daemon cannot be reached at {socket}: {source}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A gateway cannot be reached.
    #[error("{server} cannot be reached: {source}. Check the address, and that masker-gateway runs there")]
    Unreachable {
        /// Its address.
        server: String,
        /// The cause.
        source: io::Error,
    },
    /// The proxy does not connect to a gateway.
    #[error(transparent)]
    Proxy(Box<ProxyError>),
    /// A gateway and this client do not agree on TLS.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// The connection broke before the response was complete; for requests that may be repeated, twice. Whether the
    /// request was carried out is unknown.
    #[error("the daemon closed the connection before it answered: {0}. Try again; if this persists, see its log")]
    Lost(#[source] hyper::Error),
    /// The daemon refused the request.
    #[error("{}", problem_text(.0))]
    Problem(Box<ErrorBody>),
    /// The daemon refused the request for now, with the time after which it may be repeated.
    #[error("{}; retry after {} s", problem_text(.problem), .after.as_secs())]
    Busy {
        /// The problem.
        problem: Box<ErrorBody>,
        /// The time to wait.
        after: Duration,
    },
    /// The response does not follow masker's interface.
    #[error("the server did not answer like masker: {0}")]
    UnexpectedResponse(String),
    /// The request could not be built.
    #[error("failed to build the request: {0}")]
    Request(String),
}

/// Returns the message of a problem. The title says no more than the code.
fn problem_text(problem: &ErrorBody) -> String {
    format!("{} ({}, request {})", problem.detail, problem.code, problem.request_id)
}

/// A successful response.
pub struct ClientReply {
    /// The HTTP status.
    pub status: u16,
    /// The request's id, which identifies it in the daemon's log.
    pub request_id: String,
    /// The time from the first byte sent to the last byte received.
    pub elapsed: Duration,
    body: Bytes,
}

impl ClientReply {
    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Parses the body as JSON. The result may borrow from the reply.
    ///
    /// # Errors
    /// Returns [`ClientError::UnexpectedResponse`] if the body has another form.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ClientError> {
        // Only the position is reported: the parser's message may contain personal data from the body.
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            ClientError::UnexpectedResponse(format!("its response is malformed (line {line}, column {column})"))
        })
    }
}

/// The body of a request: either whole, or read while it is sent.
pub type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// A response that is received in pieces.
pub struct Download {
    body: Incoming,
    /// The request's id.
    pub request_id: String,
}

impl Download {
    /// Returns the next piece, or `None` at the end.
    ///
    /// # Errors
    /// Returns [`ClientError::Lost`] if the connection breaks before the end.
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

/// A client of the daemon, with one connection.
pub struct Client {
    endpoint: Endpoint,
    connection: Connection,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Connects to the daemon's socket.
    ///
    /// # Errors
    /// Returns a [`ClientError`] that says why the daemon cannot be reached, and what to do.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        Client::connect_to(socket.into()).await
    }

    /// Connects to the daemon's socket, or to a gateway.
    ///
    /// # Errors
    /// Returns a [`ClientError`] that says why it cannot be reached, and what to do.
    pub async fn connect_to(endpoint: Endpoint) -> Result<Self, ClientError> {
        let connection = Connection::open(&endpoint).await?;
        Ok(Client { endpoint, connection, authorization: None })
    }

    /// Sends this `Authorization` header with all further requests.
    pub fn with_authorization(self, authorization: Option<HeaderValue>) -> Self {
        Client { authorization, ..self }
    }

    /// Sends a GET request to a path such as `/health`.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn get(&mut self, path: &str) -> Result<ClientReply, ClientError> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// Sends a GET request to a path that responds with text, such as `/metrics`.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn text(&mut self, path: &str) -> Result<String, ClientError> {
        let (head, body) = self.send(build_request(Method::GET, path, JSON, whole(Bytes::new()))?).await?.into_parts();
        let body = body.collect().await.map_err(ClientError::Lost)?.to_bytes();
        if !header_text(&head, "content-type").starts_with(TEXT) {
            return Err(refusal(&head, &body, "no text"));
        }
        let text = String::from_utf8(body.into());
        text.map_err(|_| ClientError::UnexpectedResponse("its response is not UTF-8".to_owned()))
    }

    /// Sends a POST request with a JSON body.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn post<T: Serialize + ?Sized>(&mut self, path: &str, body: &T) -> Result<ClientReply, ClientError> {
        self.request(Method::POST, path, to_json(body)?).await
    }

    /// Sends a PATCH request with a JSON body.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn patch<T: Serialize + ?Sized>(&mut self, path: &str, body: &T) -> Result<ClientReply, ClientError> {
        self.request(Method::PATCH, path, to_json(body)?).await
    }

    /// Sends a POST request with a JSON body in the session with this id.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn post_in_session<T: Serialize + ?Sized>(
        &mut self,
        session: &str,
        path: &str,
        body: &T,
    ) -> Result<ClientReply, ClientError> {
        self.post_json(Some(session), path, to_json(body)?).await
    }

    /// Sends a POST request whose body is already JSON, in a session if an id is given.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn post_json(
        &mut self,
        session: Option<&str>,
        path: &str,
        body: Bytes,
    ) -> Result<ClientReply, ClientError> {
        let session = session.map(session_header).transpose()?;
        self.exchange_with_retry(Method::POST, path, session, body).await
    }

    /// Sends a POST request whose response is received in pieces.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn download(&mut self, path: &str) -> Result<Download, ClientError> {
        let request = build_request(Method::POST, path, JSON, whole(Bytes::new()))?;
        self.receive(request, OCTET_STREAM, "no file").await
    }

    /// Sends a POST request whose body and response are lines of JSON, in a session if an id is given. The response is
    /// received while the body is sent.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn exchange_lines(
        &mut self,
        session: Option<&str>,
        path: &str,
        body: RequestBody,
    ) -> Result<Download, ClientError> {
        let mut request = build_request(Method::POST, path, JSON_LINES, body)?;
        if let Some(session) = session {
            request.headers_mut().insert(SESSION_HEADER, session_header(session)?);
        }
        self.receive(request, JSON_LINES, "no lines").await
    }

    /// Sends a request whose response is received in pieces.
    async fn receive(
        &mut self,
        request: Request<RequestBody>,
        content_type: &str,
        otherwise: &str,
    ) -> Result<Download, ClientError> {
        let (head, body) = self.send(request).await?.into_parts();
        if header_text(&head, "content-type") != content_type {
            let body = body.collect().await.map_err(ClientError::Lost)?.to_bytes();
            return Err(refusal(&head, &body, otherwise));
        }
        Ok(Download { request_id: header_text(&head, REQUEST_ID_HEADER).to_owned(), body })
    }

    /// Sends a POST request with a file as its body.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn upload(&mut self, path: &str, body: RequestBody) -> Result<ClientReply, ClientError> {
        self.exchange(build_request(Method::POST, path, OCTET_STREAM, body)?).await
    }

    /// Sends a DELETE request.
    ///
    /// # Errors
    /// Returns any [`ClientError`].
    pub async fn delete(&mut self, path: &str) -> Result<ClientReply, ClientError> {
        self.request(Method::DELETE, path, Bytes::new()).await
    }

    async fn request(&mut self, method: Method, path: &str, body: Bytes) -> Result<ClientReply, ClientError> {
        self.exchange_with_retry(method, path, None, body).await
    }

    /// Sends a request. If the connection ends without a response, sends it once more over a new connection, provided
    /// that the daemon did not receive all of the first, or that repeating it is harmless (RFC 9110 section 9.2.2).
    async fn exchange_with_retry(
        &mut self,
        method: Method,
        path: &str,
        session: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<ClientReply, ClientError> {
        let build = || {
            let mut request = build_request(method.clone(), path, JSON, whole(body.clone()))?;
            if let Some(session) = &session {
                request.headers_mut().insert(SESSION_HEADER, session.clone());
            }
            Ok(request)
        };
        match self.exchange(build()?).await {
            Err(ClientError::Lost(_))
                if method == Method::GET || REPEATABLE.contains(&path) || self.connection.write_failed() =>
            {
                self.connection = Connection::open(&self.endpoint).await?;
                self.exchange(build()?).await
            }
            outcome => outcome,
        }
    }

    async fn exchange(&mut self, request: Request<RequestBody>) -> Result<ClientReply, ClientError> {
        let started = Instant::now();
        let (head, body) = self.send(request).await?.into_parts();
        let body = body.collect().await.map_err(ClientError::Lost)?.to_bytes();
        if !header_text(&head, "content-type").starts_with(JSON) {
            return Err(refusal(&head, &body, "no JSON"));
        }
        let request_id = header_text(&head, REQUEST_ID_HEADER).to_owned();
        Ok(ClientReply { status: head.status.as_u16(), request_id, elapsed: started.elapsed(), body })
    }

    /// Sends a request, over a new connection if this one is closed: the daemon closes idle connections. A request that
    /// was sent in part is not repeated here.
    async fn send(&mut self, mut request: Request<RequestBody>) -> Result<Response<Incoming>, ClientError> {
        request.headers_mut().insert(header::HOST, self.endpoint.host());
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        if self.connection.write_failed() {
            self.connection = Connection::open(&self.endpoint).await?;
        }
        // If the connection was closed, `try_send_request` returns the request.
        let _ = self.connection.sender.ready().await;
        let mut failed = match self.connection.sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let Some(unsent) = failed.take_message() else { return Err(self.lost(failed.into_error())) };
        self.connection = Connection::open(&self.endpoint).await?;
        self.connection.sender.send_request(unsent).await.map_err(|error| self.lost(error))
    }

    /// Returns the error of a connection that ended. A server refuses a client certificate only after the handshake of TLS 1.3.
    fn lost(&self, error: hyper::Error) -> ClientError {
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
        match (&self.endpoint, cause) {
            (Endpoint::Server(server), Some(cause)) => server.tls_error(cause).unwrap_or(ClientError::Lost(error)),
            _ => ClientError::Lost(error),
        }
    }
}

fn to_json<T: Serialize + ?Sized>(body: &T) -> Result<Bytes, ClientError> {
    let body = serde_json::to_vec(body).map_err(|error| ClientError::Request(error.to_string()))?;
    if body.len() > BODY_BYTES_MAX {
        let message = format!("its body has {} bytes, but the daemon accepts at most {BODY_BYTES_MAX}", body.len());
        return Err(ClientError::Request(message));
    }
    Ok(body.into())
}

fn session_header(session: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_str(session).map_err(|_| ClientError::Request("the session id is malformed".to_owned()))
}

fn whole(body: Bytes) -> RequestBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn build_request(
    method: Method,
    path: &str,
    content_type: &str,
    body: RequestBody,
) -> Result<Request<RequestBody>, ClientError> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::CONTENT_TYPE, content_type);
    request.body(body).map_err(|error| ClientError::Request(error.to_string()))
}

fn header_text<'h>(head: &'h Parts, name: &str) -> &'h str {
    head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Converts a response of another content type than expected to an error.
fn refusal(head: &Parts, body: &[u8], found: &str) -> ClientError {
    let status = head.status.as_u16();
    if !header_text(head, "content-type").starts_with("application/problem+json") {
        return ClientError::UnexpectedResponse(format!("status {status} and {found}"));
    }
    match (serde_json::from_slice(body), header_text(head, header::RETRY_AFTER.as_str()).parse()) {
        (Ok(problem), Ok(seconds)) => {
            ClientError::Busy { problem: Box::new(problem), after: Duration::from_secs(seconds) }
        }
        (Ok(problem), Err(_)) => ClientError::Problem(Box::new(problem)),
        (Err(_), _) => ClientError::UnexpectedResponse(format!("status {status} without a reason")),
    }
}

#[cfg(test)]
mod tests;
