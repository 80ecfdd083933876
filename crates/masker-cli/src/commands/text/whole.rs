//! Texts that go to the daemon as a whole: those that are only searched, and JSON documents.

use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::{
    TextRun,
    answer::TextAnswer,
    places::Places,
    refused,
    results::{Locate, TextOperation},
    source::TextSource,
};
use crate::context::CommandError;
use masker_api::{TextFormat, TextMaskRequest, TextOffsets, TextRestoreRequest};
use masker_client::ClientError;
use masker_types::limits::TEXT_BYTES_MAX;

/// The byte order mark, which is no part of a JSON document.
const MARK: &str = "\u{feff}";

#[derive(serde::Deserialize)]
struct WholeAnswer<'a> {
    #[serde(borrow)]
    results: Vec<TextAnswer<'a>>,
}

impl TextRun<'_, '_> {
    /// Processes a text in one request. Returns its length in bytes.
    pub(super) async fn whole(&mut self, source: &TextSource) -> Result<u64, CommandError> {
        let text = read(source)?;
        let is_json = self.job.format == TextFormat::Json;
        let mark = if is_json && text.starts_with(MARK) { MARK } else { "" };
        let document = &text[mark.len()..];
        if is_json {
            check_json(source, document)?;
        }
        let reply = match self.job.operation {
            TextOperation::Restore => {
                let request = TextRestoreRequest {
                    text: Some(document.into()),
                    context: self.job.input.context.as_deref().map(Into::into),
                    offsets: TextOffsets::Bytes,
                    format: self.job.format,
                    ..TextRestoreRequest::default()
                };
                self.ctx.post_in_session("/api/v1/text/restore", &request).await?
            }
            operation => {
                let is_mask = operation == TextOperation::Mask;
                let request = TextMaskRequest {
                    text: Some(document.into()),
                    policy: self.job.policy.as_deref().map(Into::into),
                    context: self.job.input.context.as_deref().map(Into::into),
                    language: self.job.language.as_deref().map(Into::into),
                    offsets: TextOffsets::Bytes,
                    explain: self.job.explain,
                    replace_with: self.replace_with,
                    format: self.job.format,
                    ..TextMaskRequest::default()
                };
                let path = if is_mask { "/api/v1/text/mask" } else { "/api/v1/text/detect" };
                self.ctx.post_in_session(path, &request).await?
            }
        };
        let WholeAnswer { results } = reply.json()?;
        let Ok([mut answer]) = <[TextAnswer<'_>; 1]>::try_from(results) else {
            return Err(ClientError::UnexpectedResponse("one text has one result".to_owned()).into());
        };
        if let Some(error) = &answer.error {
            return Err(refused(&source.name, false, error));
        }
        shift(&mut answer, mark.len() as u64);
        let (output, places) = (&mut self.ctx.output, WholeText::new(&text));
        self.results.begin(source, output)?;
        if self.job.operation != TextOperation::Detect && !mark.is_empty() {
            let mark = TextAnswer { text: Some(mark.into()), ..TextAnswer::default() };
            self.results.add(source, &mark, &places, output)?;
        }
        self.results.add(source, &answer, &places, output)?;
        self.results.end(output)?;
        Ok(text.len() as u64)
    }
}

/// Reads a text to its end.
fn read(source: &TextSource) -> Result<Zeroizing<String>, CommandError> {
    // With its whole room at once, so that no copy is left.
    let room = source.bytes.map_or(TEXT_BYTES_MAX, |bytes| TEXT_BYTES_MAX.min(usize::try_from(bytes).unwrap_or(0)));
    let mut text = Zeroizing::new(String::with_capacity(room));
    let mut reader = source.reader()?;
    loop {
        match reader.next() {
            Ok(Some(piece)) if text.len() + piece.len() > TEXT_BYTES_MAX => {
                let message = format!(
                    "{} is longer than {} MiB, the most that is searched or taken as JSON at once: split it",
                    source.name,
                    TEXT_BYTES_MAX >> 20
                );
                return Err(CommandError::Other(message));
            }
            Ok(Some(piece)) => text.push_str(piece),
            Ok(None) => return Ok(text),
            Err(problem) => return Err(source.problem(problem, end_of(&text))),
        }
    }
}

fn end_of(text: &str) -> Option<super::places::Place> {
    let mut places = Places::default();
    places.push(text);
    places.end()
}

/// Checks that a text is a JSON document.
fn check_json(source: &TextSource, document: &str) -> Result<(), CommandError> {
    serde_json::from_str::<IgnoredAny>(document).map(drop).map_err(|error| {
        // The parser's message can have a part of the text.
        let (name, line, column) = (&source.name, error.line(), error.column());
        CommandError::Other(format!("{name}:{line}:{column}: not a JSON document of at most 127 levels"))
    })
}

/// Moves the offsets of an answer behind what was not sent.
fn shift(answer: &mut TextAnswer<'_>, by: u64) {
    for finding in &mut answer.findings {
        (finding.start, finding.end) = (finding.start + by, finding.end + by);
        if let Some(label) = finding.why.as_mut().and_then(|why| why.label.as_mut()) {
            (label.start, label.end) = (label.start + by, label.end + by);
        }
    }
    for unrestored in &mut answer.unrestored {
        (unrestored.start, unrestored.end) = (unrestored.start + by, unrestored.end + by);
    }
}

/// A text with offsets in bytes.
struct WholeText<'t> {
    text: &'t str,
    /// Where its lines begin.
    starts: Vec<usize>,
}

impl<'t> WholeText<'t> {
    fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1));
        WholeText { text, starts: starts.collect() }
    }
}

impl Locate for WholeText<'_> {
    fn place(&self, offset: u64) -> String {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let line = self.starts.partition_point(|start| *start <= offset);
        let before = line.checked_sub(1).and_then(|line| self.text.get(self.starts[line]..offset));
        let Some(before) = before else { return format!("byte {}", offset.saturating_add(1)) };
        let before = if line == 1 { before.trim_start_matches(MARK) } else { before };
        format!("{line}:{}", before.chars().count() + 1)
    }

    fn bytes(&self, start: u64, end: u64) -> String {
        format!("{start}-{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_has_a_line_and_a_column() {
        let text = WholeText::new("\u{feff}Zoë\r\n\nAnn");
        let shown = [0, 3, 5, 7, 9, 10, 11, 12].map(|offset| text.place(offset));
        assert_eq!(shown, ["1:1", "1:1", "1:3", "1:4", "2:1", "3:1", "3:2", "3:3"]);
        assert_eq!((text.place(6), text.place(99)), ("byte 7".to_owned(), "byte 100".to_owned()));
    }
}
