//! Failures of whole requests, as RFC 9457 problem details: the same as the daemon's.

use std::{
    error::Error,
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};

use masker_api::ErrorBody;
use masker_types::error_code::Code;

/// Makes ids that find a request in the log, unique across gateways and runs: 64 random bits for each run, then a count.
pub(crate) struct RequestIds {
    run: u64,
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        RequestIds { run: rand::random(), count: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> RequestId {
        RequestId { run: self.run, count: self.count.fetch_add(1, Ordering::Relaxed) }
    }
}

/// A request id, written as 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId {
    run: u64,
    count: u64,
}

impl RequestId {
    pub(crate) fn text(self) -> String {
        format!("{:016x}{:016x}", self.run, self.count)
    }
}

/// Why the gateway answers a request. The texts contain nothing of the request.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    detail: &'static str,
    /// Whether the connection ends after the answer, because the rest of the request may never be read.
    close: bool,
    retry_after_seconds: Option<u64>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: &'static str) -> Self {
        let passes = matches!(code, Code::DaemonUnavailable | Code::Overloaded | Code::RateLimited);
        Problem { code, detail, close: false, retry_after_seconds: passes.then_some(1) }
    }

    /// Returns a problem with a request whose body is not read to its end.
    pub(crate) fn unread(code: Code, detail: &'static str) -> Self {
        Problem { close: true, ..Problem::new(code, detail) }
    }

    /// Returns the problem of a bug.
    pub(crate) fn internal() -> Self {
        Problem::unread(Code::Internal, "this is a bug in masker; the gateway's log has the cause under the request id")
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn body(&self, id: &str) -> Vec<u8> {
        let body = ErrorBody {
            kind: format!("urn:masker:problem:{}", self.code),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.to_owned(),
            code: self.code.to_string(),
            request_id: id.to_owned(),
        };
        // It cannot fail: strings and a number serialize.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers
    }

    /// Returns the answer to a request. Its connection header is for HTTP/1.1 alone.
    pub(crate) fn response(&self, id: RequestId) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body(&id.text())));
        *response.status_mut() = self.status();
        *response.headers_mut() = self.headers();
        response
    }

    /// Returns the answer as HTTP/1.1 sends it, with these headers besides its own.
    pub(crate) fn raw_response(&self, id: RequestId, more: &HeaderMap) -> Vec<u8> {
        let (id, status) = (id.text(), self.status());
        let body = self.body(&id);
        let mut head = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("Refused"));
        for (name, value) in self.headers().iter().chain(more) {
            // Writing to a string does not fail, and these values are ASCII.
            let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
        let _ = write!(head, "x-request-id: {id}\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    }
}

/// Returns an error with its causes, which the text of some errors leaves out.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causes_of_an_error_are_shown() {
        #[derive(Debug, thiserror::Error)]
        #[error("failed to send")]
        struct Failed(#[source] std::io::Error);
        assert_eq!(with_causes(&Failed(std::io::Error::other("no route"))), "failed to send: no route");
    }

    #[test]
    fn ids_differ_within_and_between_runs() {
        let (a, b) = (RequestIds::new(), RequestIds::new());
        assert_ne!(a.next(), a.next());
        assert_ne!(a.next().text()[..16], b.next().text()[..16]);
        assert_eq!(a.next().text().len(), 32);
    }

    #[test]
    fn a_problem_has_the_shape_of_the_daemons() {
        let ids = RequestIds::new();
        let raw = Problem::unread(Code::AuthMissing, "no credential").raw_response(ids.next(), &HeaderMap::new());
        let raw = String::from_utf8(raw).unwrap();
        let (head, body) = raw.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\n"), "{head}");
        for header in ["www-authenticate: Bearer", "connection: close", &format!("content-length: {}", body.len())] {
            assert!(head.split("\r\n").any(|line| line == header), "{header} is missing:\n{head}");
        }
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["type"], "urn:masker:problem:auth.missing");
        assert_eq!((body["status"].as_u64(), body["code"].as_str()), (Some(401), Some("auth.missing")));
        assert_eq!(body["request_id"].as_str().unwrap().len(), 32);
        let retried = Problem::new(Code::DaemonUnavailable, "gone").response(ids.next());
        assert_eq!(retried.status().as_u16(), 503);
        assert_eq!(retried.headers()[header::RETRY_AFTER], "1");
    }
}
