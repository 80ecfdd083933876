//! The lines of a request that arrives while its answer is sent.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    body::{body_ended, parse},
    problem::Problem,
};
use masker_types::{error_code::Code, limits::TEXT_LINE_BYTES_MAX};

/// Reads a body line by line.
pub(super) struct BodyLines {
    /// `None` once it has ended.
    body: Option<Incoming>,
    /// How long the client may send nothing.
    timeout: Duration,
    buffer: Vec<u8>,
    /// The number of the last line.
    line: u64,
}

impl BodyLines {
    pub(super) fn new(body: Option<Incoming>, timeout: Duration) -> Self {
        BodyLines { body, timeout, buffer: Vec::new(), line: 0 }
    }

    /// Returns the next line that is not empty, read as JSON; `None` at the end.
    ///
    /// # Errors
    /// A problem with the line, or that the body did not arrive.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Problem> {
        loop {
            let Some(line) = self.next_line().await? else { return Ok(None) };
            self.line += 1;
            if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                let parsed = parse(&line).map_err(|problem: Problem| Problem {
                    detail: format!("line {} of the body: {}", self.line, problem.detail),
                    ..problem
                });
                return parsed.map(Some);
            }
        }
    }

    async fn next_line(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                let rest = self.buffer.split_off(searched + end + 1);
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            searched = self.buffer.len();
            if searched > TEXT_LINE_BYTES_MAX {
                let detail = format!("a line of the body is at most {} KiB; split it", TEXT_LINE_BYTES_MAX >> 10);
                return Err(Problem::unread(Code::RequestTooLarge, detail));
            }
            let Some(body) = &mut self.body else {
                return Ok(Some(std::mem::take(&mut self.buffer)).filter(|rest| !rest.is_empty()));
            };
            let late = |_| {
                let detail = format!("nothing of the body arrived for {} s", self.timeout.as_secs());
                Problem::unread(Code::RequestTimeout, detail)
            };
            match timeout(self.timeout, body.frame()).await.map_err(late)? {
                None => self.body = None,
                Some(Err(_)) => return Err(body_ended()),
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |piece| piece)),
            }
        }
    }
}
