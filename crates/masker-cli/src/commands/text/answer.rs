//! The daemon's answers to texts.

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::context::CommandError;
use masker_api::{ItemError, Text, TextAction, TextFinding, TextOffsets, TextUnrestored};
use masker_client::{ClientError, Download};

/// A line of the answer to a stream, or the result of a whole text. Each operation has some of the fields.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct TextAnswer<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) findings: Vec<TextFinding<'a>>,
    pub(super) existing: u64,
    pub(super) restored: u64,
    pub(super) unrestored: Vec<TextUnrestored>,
    /// Whether this is the last line of a stream.
    pub(super) end: bool,
    /// The length of the text, in the last line.
    pub(super) bytes: u64,
    pub(super) error: Option<ItemError>,
}

impl<'a> TextAnswer<'a> {
    /// Reads an answer.
    ///
    /// # Errors
    /// It has another form.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
        // Only the position is reported: the parser's message may contain personal data.
        serde_json::from_slice(line).map_err(|error| {
            let text = format!("a line of its response is malformed (column {})", error.column());
            ClientError::UnexpectedResponse(text).into()
        })
    }

    /// Returns how long the part of the text is that was masked, in this unit.
    pub(super) fn original_length(&self, offsets: TextOffsets) -> u64 {
        let length = |text: &str| match offsets {
            TextOffsets::Bytes => text.len(),
            TextOffsets::Chars => text.chars().count(),
            TextOffsets::Utf16 => text.encode_utf16().count(),
        } as u64;
        let (mut removed, mut added) = (0, 0);
        for finding in self.findings.iter().filter(|finding| finding.action != TextAction::Passthrough) {
            removed += finding.end.saturating_sub(finding.start);
            added += match (&finding.placeholder, &finding.token) {
                (Some(text), _) | (None, Some(text)) => length(text),
                (None, None) => length("[REDACTED:]") + length(&finding.kind),
            };
        }
        (self.text.as_deref().map_or(0, length) + removed).saturating_sub(added)
    }
}

/// The lines of an answer that is received in pieces.
pub(super) struct AnswerLines {
    download: Download,
    buffer: Zeroizing<Vec<u8>>,
    /// The bytes of the buffer that were returned, and those without a line end.
    given: usize,
    searched: usize,
}

impl AnswerLines {
    pub(super) fn new(download: Download) -> Self {
        AnswerLines { download, buffer: Zeroizing::default(), given: 0, searched: 0 }
    }

    /// Returns the next line; `None` at the end.
    ///
    /// # Errors
    /// The connection was lost.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, ClientError> {
        self.buffer.drain(..std::mem::take(&mut self.given));
        self.searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                self.given = self.searched + end + 1;
                return Ok(Some(&self.buffer[..self.given]));
            }
            self.searched = self.buffer.len();
            match self.download.next().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_original_follows_from_the_answer() {
        let line = r#"{"text": "Zoë: [NAME_7F3KQ2XA], [REDACTED:SSN] in Ulm", "existing": 0, "findings": [
            {"start": 5, "end": 8, "kind": "NAME", "action": "tokenize", "token": "MSKV1.NAME", "placeholder": "[NAME_7F3KQ2XA]",
             "confidence": 0.9, "rule": "name"},
            {"start": 10, "end": 21, "kind": "SSN", "action": "redact", "confidence": 0.9, "rule": "ssn"},
            {"start": 25, "end": 28, "kind": "LOCATION", "action": "passthrough", "confidence": 0.9, "rule": "place"}
        ]}"#;
        let answer = TextAnswer::parse(line.as_bytes()).unwrap();
        assert_eq!(answer.original_length(TextOffsets::Chars), "Zoë: Ann, 078-05-1120 in Ulm".chars().count() as u64);
        assert_eq!(answer.original_length(TextOffsets::Bytes), "Zoë: Ann, 078-05-1120 in Ulm".len() as u64);
        let Err(error) = TextAnswer::parse(b"{\"text\": 4111111111111111}") else { panic!("it is malformed") };
        assert!(!error.to_string().contains("4111"), "{error}");
    }
}
