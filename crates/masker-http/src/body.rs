//! Bodies, read within bounds of size, time and memory, and JSON that is refused without quoting it.

use std::{future::Future, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{input::Input, problem::Problem, route::BodyKind};
use masker_api::StrictObject;
use masker_types::{
    error_code::Code,
    limits::{BODIES_IN_FLIGHT_BYTES_MAX, BODY_BYTES_MAX, BODY_BYTES_UNMETERED, QUEUE_WAIT_SECONDS_MAX},
};

/// The bytes of one permit of [`BodyBudget`].
const SHARE_BYTES: usize = 1_024;

/// Time for which the body of a refused request is read after its answer, in milliseconds.
const DRAIN_MS_MAX: u64 = 1_000;

/// The memory that all bodies together may take.
pub(super) struct BodyBudget {
    shares: Arc<Semaphore>,
    /// How long a body may take to arrive.
    timeout: Duration,
}

impl BodyBudget {
    pub(super) fn new(timeout: Duration) -> Self {
        BodyBudget { shares: Arc::new(Semaphore::new(BODIES_IN_FLIGHT_BYTES_MAX / SHARE_BYTES)), timeout }
    }

    /// Reads the body of a request, at most [`BODY_BYTES_MAX`] of it, unless that is left to its handler.
    pub(super) async fn read(&self, kind: BodyKind, input: &mut Input) -> Result<(), Problem> {
        if kind == BodyKind::Streamed || input.unread_body().is_none() {
            return Ok(());
        }
        check_announced(input)?;
        // A body of unknown length may become as large as the largest.
        let announced = input.announced_bytes().and_then(|length| usize::try_from(length).ok());
        let length = announced.unwrap_or(BODY_BYTES_MAX);
        let Some(body) = input.unread_body() else { return Ok(()) };
        if kind == BodyKind::Ignored {
            return self.within_time(discard(body)).await;
        }
        let share = if length <= BODY_BYTES_UNMETERED { None } else { Some(self.share(length).await?) };
        let collected = self.within_time(Limited::new(body, BODY_BYTES_MAX).collect()).await?;
        input.set_body(collected, share);
        Ok(())
    }

    async fn within_time<T>(&self, read: impl Future<Output = Result<T, BodyError>>) -> Result<T, Problem> {
        match timeout(self.timeout, read).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(failed)) if failed.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Problem::unread(Code::RequestInvalid, "the body ended before it was complete")),
            Err(_) => Err(Problem::unread(
                Code::RequestTimeout,
                format!("the body did not arrive within {} s", self.timeout.as_secs()),
            )),
        }
    }

    async fn share(&self, length: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let shares = u32::try_from(length.div_ceil(SHARE_BYTES)).unwrap_or(u32::MAX);
        let acquiring = Arc::clone(&self.shares).acquire_many_owned(shares);
        match timeout(Duration::from_secs(QUEUE_WAIT_SECONDS_MAX), acquiring).await {
            Ok(Ok(share)) => Ok(share),
            _ => Err(Problem::unread(Code::Overloaded, "too many large requests are in flight; try again")),
        }
    }
}

type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Refuses a body whose announced length is too large.
fn check_announced(input: &Input) -> Result<(), Problem> {
    let is_too_large = input.announced_bytes().is_some_and(|length| length > BODY_BYTES_MAX as u64);
    if is_too_large { Err(too_large()) } else { Ok(()) }
}

/// Reads a body to its end, at most [`BODY_BYTES_MAX`] of it, and keeps nothing.
async fn discard(body: &mut Incoming) -> Result<(), BodyError> {
    let mut body = Limited::new(body, BODY_BYTES_MAX);
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// Reads what is left of the body of a request that was answered, within a bound of time and size.
///
/// Many clients write their whole request before they read anything. Closing the connection under them would lose them
/// the answer.
pub(super) async fn drain(mut body: Incoming) {
    // Whether it came to its end makes no difference: hyper closes the connection if it did not.
    let _ = timeout(Duration::from_millis(DRAIN_MS_MAX), discard(&mut body)).await;
}

fn too_large() -> Problem {
    let mebibytes = BODY_BYTES_MAX / (1024 * 1024);
    Problem::unread(Code::RequestTooLarge, format!("a body is at most {mebibytes} MiB; split the request"))
}

/// Reads JSON. Errors give the position and what was expected, and never quote the text: it may be personal data.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map(|StrictObject(request)| request).map_err(|failed| {
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
    // "unknown field `…`, expected …", "invalid type: …, expected … at line …": the last part names what this program's
    // own types expect.
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
    fn errors_quote_nothing_of_the_body() {
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
    fn errors_name_what_was_expected() {
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
