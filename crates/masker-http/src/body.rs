//! Bodies, read within bounds of size, time and memory, and JSON that is refused without quoting it.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Incoming};
use serde::Deserialize;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::problem::Problem;
use masker_api::Object;
use masker_types::{
    error_code::Code,
    limits::{BODIES_IN_FLIGHT_BYTES_MAX, BODY_BYTES_MAX, BODY_BYTES_UNMETERED, QUEUE_WAIT_SECONDS_MAX},
};

/// One permit stands for this many bytes.
const SHARE_BYTES: usize = 1_024;

/// The memory that all bodies together may take.
pub(super) struct BodyBudget {
    shares: Semaphore,
    /// How long a body may take to arrive.
    timeout: Duration,
}

/// A body, with its share of the budget for as long as it is worked on.
pub(super) struct ChargedBody<'b> {
    pub(super) bytes: Bytes,
    _share: Option<SemaphorePermit<'b>>,
}

impl BodyBudget {
    pub(super) fn new(timeout: Duration) -> Self {
        BodyBudget { shares: Semaphore::new(BODIES_IN_FLIGHT_BYTES_MAX / SHARE_BYTES), timeout }
    }

    /// Reads a body: at most [`BODY_BYTES_MAX`], within the time that a client has.
    pub(super) async fn read(&self, body: Incoming) -> Result<ChargedBody<'_>, Problem> {
        // A body that does not say its length is taken to be of the largest.
        let announced = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
            return Err(too_large());
        }
        let share = match announced.unwrap_or(BODY_BYTES_MAX) {
            length if length <= BODY_BYTES_UNMETERED => None,
            length => Some(self.share(length).await?),
        };
        let read = Limited::new(body, BODY_BYTES_MAX).collect();
        match timeout(self.timeout, read).await {
            Ok(Ok(collected)) => Ok(ChargedBody { bytes: collected.to_bytes(), _share: share }),
            Ok(Err(failed)) if failed.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Problem::unread(Code::RequestInvalid, "the body ended before it was complete")),
            Err(_) => Err(Problem::unread(
                Code::RequestTimeout,
                format!("the body did not arrive within {} s", self.timeout.as_secs()),
            )),
        }
    }

    async fn share(&self, length: usize) -> Result<SemaphorePermit<'_>, Problem> {
        let shares = u32::try_from(length.div_ceil(SHARE_BYTES)).unwrap_or(u32::MAX);
        match timeout(Duration::from_secs(QUEUE_WAIT_SECONDS_MAX), self.shares.acquire_many(shares)).await {
            Ok(Ok(share)) => Ok(share),
            _ => Err(Problem::unread(Code::Overloaded, "too many large requests are being worked on; try again")),
        }
    }
}

fn too_large() -> Problem {
    let mebibytes = BODY_BYTES_MAX / (1024 * 1024);
    Problem::unread(Code::RequestTooLarge, format!("a body is at most {mebibytes} MiB; split the request"))
}

/// Reads JSON. What is wrong is told by position and expectation, never by quoting the text: it may be personal data.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map(|Object(request)| request).map_err(|failed| {
        let (line, column) = (failed.line(), failed.column());
        let what = match failed.classify() {
            serde_json::error::Category::Data => expectation(&failed.to_string()),
            _ if bytes.is_empty() => "the body is empty, and should be a JSON object".to_owned(),
            _ => "the body is not JSON".to_owned(),
        };
        Problem::new(Code::RequestInvalid, format!("{what} (line {line}, column {column})"))
    })
}

/// The part of serde's message that comes from this program and not from the request.
fn expectation(message: &str) -> String {
    for own in ["missing field `", "duplicate field `"] {
        if let Some(field) = message.strip_prefix(own).and_then(|rest| rest.split('`').next()) {
            return format!("{own}{field}`");
        }
    }
    // "unknown field `…`, expected …", "invalid type: …, expected … at line …": what is expected is named by the
    // types that are read into, and stands last.
    let expected = message.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    let expected = expected.rsplit_once(" at line ").map_or(expected, |(expected, _)| expected);
    let what = if message.starts_with("unknown field") { "unknown field" } else { "wrong type" };
    if expected.is_empty() { what.to_owned() } else { format!("{what}, expected {expected}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_api::{RehydrateRequest, TokenizeRequest};

    fn refused<'a, T: Deserialize<'a>>(body: &'a str) -> String {
        parse::<T>(body.as_bytes()).err().unwrap().detail
    }

    #[test]
    fn nothing_of_the_body_is_quoted() {
        let secret = "078-05-1120";
        let bodies = [
            secret.to_owned(),
            format!(r#""{secret}""#),
            format!(r#"{{"{secret}": 1}}"#),
            format!(r#"{{"items": "{secret}"}}"#),
            format!(r#"{{"items": "x, expected {secret}"}}"#),
            format!(r#"{{"items": ["{secret}"]}}"#),
            format!(r#"{{"items": [{{"kind": "SSN", "value": ["{secret}"]}}]}}"#),
            format!(r#"{{"items": [{{"kind": "SSN", "value": "a", "{secret}": 1}}]}}"#),
            format!(r#"{{"items": [{{"kind": "SSN", "value": "{secret}"#),
            format!(r#"{{"items": [], "items": ["{secret}"]}}"#),
            format!(r#"{{"tokens": [{{"{secret}": 1}}]}}"#),
            format!(r#"{{"tokens": [{{"token": "{secret}", "context": {{"{secret}": 1}}}}]}}"#),
        ];
        for body in &bodies {
            for detail in [refused::<TokenizeRequest<'_>>(body), refused::<RehydrateRequest<'_>>(body)] {
                assert!(!detail.contains("078") && !detail.contains("1120"), "{detail}");
                assert!(detail.contains("line 1, column "), "{detail}");
            }
        }
    }

    #[test]
    fn what_was_expected_is_said() {
        assert_eq!(refused::<TokenizeRequest<'_>>("{}"), "missing field `items` (line 1, column 2)");
        assert_eq!(
            refused::<TokenizeRequest<'_>>(r#"{"x": 1}"#),
            "unknown field, expected one of `policy`, `context`, `items` (line 1, column 4)"
        );
        assert_eq!(
            refused::<TokenizeRequest<'_>>(r#"{"items": 7}"#),
            "wrong type, expected a sequence (line 1, column 11)"
        );
        assert_eq!(
            refused::<TokenizeRequest<'_>>(""),
            "the body is empty, and should be a JSON object (line 1, column 0)"
        );
        for (body, column) in [("[null, null, []]", 0), (r#"{"items": [["PHONE", "1"]]}"#, 11)] {
            assert_eq!(
                refused::<TokenizeRequest<'_>>(body),
                format!("wrong type, expected an object (line 1, column {column})")
            );
        }
        assert_eq!(refused::<TokenizeRequest<'_>>("{"), "the body is not JSON (line 1, column 1)");
    }
}
