//! The lines of a request that arrives while its answer is sent.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::{
    body::{body_ended, parse},
    input::Input,
    problem::Problem,
};
use masker_types::{
    error_code::Code,
    limits::{TEXT_LINE_BYTES_MAX, TEXT_STREAM_SECONDS_MAX},
};

/// Reads a body line by line.
pub(super) struct BodyLines {
    /// `None` once it has ended.
    body: Option<Incoming>,
    /// How long the client may send nothing.
    timeout: Duration,
    /// When all of it must have arrived.
    deadline: Instant,
    buffer: Vec<u8>,
    /// The number of the last line.
    line: u64,
}

impl BodyLines {
    pub(super) fn new(body: Option<Incoming>, timeout: Duration, deadline: Instant) -> Self {
        BodyLines { body, timeout, deadline, buffer: Vec::new(), line: 0 }
    }

    /// Returns when all of it must have arrived.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the next line that is not empty, read as JSON; `None` at the end.
    ///
    /// # Errors
    /// A problem with the line, or that the body did not arrive. A line with a problem is not taken.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Problem> {
        loop {
            let Some(end) = self.next_line().await? else { return Ok(None) };
            self.line += 1;
            if self.buffer[..end].iter().any(|byte| !byte.is_ascii_whitespace()) {
                let parsed = parse(&self.buffer[..end]).map_err(|problem: Problem| Problem {
                    detail: format!("line {} of the body: {}", self.line, problem.detail),
                    ..problem
                })?;
                self.buffer.drain(..end);
                return Ok(Some(parsed));
            }
            self.buffer.drain(..end);
        }
    }

    /// Returns where the next line ends in the buffer.
    async fn next_line(&mut self) -> Result<Option<usize>, Problem> {
        let mut searched = 0;
        loop {
            // A client that is never silent is not waited for.
            if Instant::now() >= self.deadline {
                return Err(too_late());
            }
            let newline = memchr::memchr(b'\n', &self.buffer[searched..]).map(|at| searched + at);
            searched = newline.unwrap_or(self.buffer.len());
            if searched > TEXT_LINE_BYTES_MAX {
                let detail = format!(
                    "line {} of the body is longer than {} KiB; split it",
                    self.line + 1,
                    TEXT_LINE_BYTES_MAX >> 10
                );
                return Err(Problem::unread(Code::RequestTooLarge, detail));
            }
            if let Some(end) = newline {
                return Ok(Some(end + 1));
            }
            let Some(body) = &mut self.body else { return Ok(Some(searched).filter(|length| *length > 0)) };
            let silent = Instant::now() + self.timeout;
            match timeout_at(silent.min(self.deadline), body.frame()).await {
                Ok(None) => self.body = None,
                Ok(Some(Err(_))) => {
                    self.body = None;
                    return Err(body_ended());
                }
                Ok(Some(Ok(frame))) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |piece| piece)),
                Err(_) if self.deadline <= silent => return Err(too_late()),
                Err(_) => {
                    let detail = format!("nothing of the body arrived for {} s", self.timeout.as_secs());
                    return Err(Problem::unread(Code::RequestTimeout, detail));
                }
            }
        }
    }

    /// Returns what was read and not taken, and the rest of the body.
    pub(super) fn rest(&mut self) -> (&[u8], Option<&mut Incoming>) {
        (&self.buffer, self.body.as_mut())
    }

    /// Gives the body back to a request that is refused.
    pub(super) fn give_back(self, input: &mut Input) {
        input.put_back(self.buffer, self.body);
    }
}

/// Returns the problem of a text whose time is over.
pub(super) fn too_late() -> Problem {
    let detail = format!(
        "a text can arrive in parts for {} minutes, which are over; send what is left as another text",
        TEXT_STREAM_SECONDS_MAX / 60
    );
    Problem::unread(Code::RequestTimeout, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_api::TextStreamPart;

    fn next(lines: &mut BodyLines) -> Result<Option<String>, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Ok(runtime.block_on(lines.next::<TextStreamPart>())?.map(|part| part.text))
    }

    fn lines(text: &str, deadline: Instant) -> BodyLines {
        BodyLines { buffer: text.into(), ..BodyLines::new(None, Duration::from_secs(30), deadline) }
    }

    #[test]
    fn a_line_with_a_problem_is_not_taken() {
        let mut lines = lines("{\"text\": \"a\"}\n \n[1]\nrest", Instant::now() + Duration::from_secs(60));
        assert_eq!(next(&mut lines).ok().flatten().as_deref(), Some("a"));
        let problem = next(&mut lines).expect_err("a list is no part");
        assert!(problem.detail.starts_with("line 3 of the body: "), "{}", problem.detail);
        assert_eq!(lines.rest().0, b"[1]\nrest");
    }

    #[test]
    fn a_line_has_a_limit_however_it_arrives() {
        let line = |length: usize, end: &str| format!("{{\"text\": \"{}\"}}{end}", "a".repeat(length - 12));
        let deadline = Instant::now() + Duration::from_secs(60);
        for end in ["\n", "\n{\"text\": \"b\"}\n", ""] {
            let longest = line(TEXT_LINE_BYTES_MAX, end);
            let text = next(&mut lines(&longest, deadline)).ok().flatten().expect("the line is not too long");
            assert_eq!(text.len(), TEXT_LINE_BYTES_MAX - 12);
            let problem =
                next(&mut lines(&line(TEXT_LINE_BYTES_MAX + 1, end), deadline)).expect_err("the line is too long");
            assert_eq!(problem.code, Code::RequestTooLarge);
            assert!(problem.detail.starts_with("line 1 of the body"), "{}", problem.detail);
        }
    }

    #[test]
    fn a_text_whose_time_is_over_ends_also_where_more_of_it_is_there() {
        let problem = next(&mut lines("{\"text\": \"a\"}\n", Instant::now())).expect_err("it is too late");
        assert_eq!(problem.code, Code::RequestTimeout);
        assert!(problem.detail.contains("15 minutes"), "{}", problem.detail);
    }
}
