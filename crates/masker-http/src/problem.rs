//! Failures of whole requests, as RFC 9457 problem details.

use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{self, HeaderValue},
};

use super::{answer::too_large, request_id::RequestId};
use masker_access::Denied;
use masker_api::ErrorBody;
use masker_types::error_code::Code;
use masker_vault::VaultError;

/// The service cannot be built: a bug.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceBuildError {
    /// Two routes collide, or a path is malformed.
    #[error("the route table is malformed: {0}")]
    Routes(#[from] matchit::InsertError),
    /// The OpenAPI document does not serialize.
    #[error("the OpenAPI document does not serialize: {0}")]
    OpenApi(#[from] serde_json::Error),
    /// The data directory cannot be opened.
    #[error("failed to open the data directory: {0}")]
    DataDirectory(#[from] std::io::Error),
}

/// Why a request failed as a whole. `detail` is for the caller, `cause` for the log alone.
pub(super) struct Problem {
    pub(super) code: Code,
    pub(super) detail: String,
    pub(super) cause: Option<String>,
    /// Methods that the route takes, for 405.
    pub(super) allow: Option<String>,
    /// Whether the connection ends after the answer, because the rest of the request may never be read.
    pub(super) close: bool,
    /// When to retry, in seconds.
    pub(super) retry_after_seconds: Option<u64>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        let passes = matches!(code, Code::VaultUnavailable | Code::Overloaded | Code::AuditUnavailable);
        let retry_after_seconds = passes.then_some(1);
        Problem { code, detail: detail.into(), cause: None, allow: None, close: false, retry_after_seconds }
    }

    /// Returns a problem with a request whose body cannot be read to its end.
    pub(super) fn unread(code: Code, detail: impl Into<String>) -> Self {
        Problem { close: true, ..Problem::new(code, detail) }
    }

    /// Returns the problem of a bug. The caller learns the request id alone.
    pub(super) fn internal(cause: impl Into<String>) -> Self {
        let detail = "this is a bug in masker; the daemon's log has the cause under the request id";
        Problem { cause: Some(cause.into()), ..Problem::new(Code::Internal, detail) }
    }

    /// Returns the answer's status.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the answer's body.
    pub(super) fn body(&self, id: RequestId) -> Vec<u8> {
        let body = ErrorBody {
            kind: format!("urn:masker:problem:{}", self.code),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone(),
            code: self.code.to_string(),
            request_id: id.as_str().to_owned(),
        };
        // It cannot fail: strings and a number serialize.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Returns the answer.
    pub(super) fn response(&self, id: RequestId) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body(id)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(allow) = self.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Problem::new(Code::PermDenied, denied.to_string())
    }
}

impl From<VaultError> for Problem {
    fn from(failed: VaultError) -> Self {
        let (code, detail) = match &failed {
            VaultError::Overloaded => {
                (Code::Overloaded, "the vault's writer has too many requests in its queue; try again")
            }
            VaultError::AnswerTooLarge => return too_large(),
            VaultError::SessionEnded => {
                let detail =
                    "the session was closed before the request ended; open another one, and send the request in it";
                return Problem::new(Code::SessionNotFound, detail);
            }
            VaultError::Stopped => (Code::VaultUnavailable, "the daemon is stopping; try again once it is back"),
            _ => (
                Code::VaultUnavailable,
                "the vault's store failed and nothing was acknowledged; try again, and ask the operator to look at \
                 `masker health` and the daemon's log",
            ),
        };
        Problem { cause: Some(failed.to_string()), ..Problem::new(code, detail) }
    }
}
