//! Failures of whole requests, as RFC 9457 problem details.

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{self, HeaderValue},
};

use super::request_id::RequestId;
use masker_access::Denied;
use masker_api::ErrorBody;
use masker_types::error_code::Code;
use masker_vault::VaultError;

/// A part of the service could not be put together: a bug.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two routes collide, or a path is malformed.
    #[error("the route table is malformed: {0}")]
    Routes(#[from] matchit::InsertError),
    /// The OpenAPI document does not serialize.
    #[error("the OpenAPI document does not serialize: {0}")]
    OpenApi(#[from] serde_json::Error),
}

/// Why a request as a whole was refused. `detail` is for the caller, `cause` for the log alone.
pub(super) struct Problem {
    pub(super) code: Code,
    pub(super) detail: String,
    pub(super) cause: Option<String>,
    /// Methods that the route takes, for 405.
    pub(super) allow: Option<String>,
    /// The rest of the request was not read, so that nothing can follow it on this connection.
    pub(super) close: bool,
    /// When it makes sense to ask again, in seconds.
    pub(super) retry_after_seconds: Option<u64>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem { code, detail: detail.into(), cause: None, allow: None, close: false, retry_after_seconds: None }
    }

    /// A refusal before the whole body was read.
    pub(super) fn unread(code: Code, detail: impl Into<String>) -> Self {
        Problem { close: true, ..Problem::new(code, detail) }
    }

    /// A bug: the caller learns nothing of it but the request id.
    pub(super) fn internal(cause: impl Into<String>) -> Self {
        let detail = "this is a bug in masker; the daemon's log has the cause under the request id";
        Problem { cause: Some(cause.into()), ..Problem::new(Code::Internal, detail) }
    }

    /// The answer's status.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer's body.
    pub(super) fn body(&self, id: RequestId) -> Vec<u8> {
        let body = ErrorBody {
            kind: format!("urn:masker:problem:{}", self.code),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone(),
            code: self.code.to_string(),
            request_id: id.as_str().to_owned(),
        };
        // Strings and a number serialize; an empty body would still carry status and request id.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The answer.
    pub(super) fn response(&self, id: RequestId) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body(id).into()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(allow) = self.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let soon = matches!(self.code, Code::VaultUnavailable | Code::Overloaded | Code::AuditUnavailable).then_some(1);
        if let Some(seconds) = self.retry_after_seconds.or(soon) {
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
                (Code::Overloaded, "the vault's writer has more to do than it can take on; try again")
            }
            VaultError::Stopped => (Code::VaultUnavailable, "the daemon is stopping; try again once it is back"),
            _ => (
                Code::VaultUnavailable,
                "the vault's store failed and nothing was acknowledged; try again, and tell the operator: `masker health` \
                 and the daemon's log say why",
            ),
        };
        Problem { cause: Some(failed.to_string()), ..Problem::new(code, detail) }
    }
}
