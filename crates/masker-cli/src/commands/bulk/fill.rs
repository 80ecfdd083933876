//! The output of a chunk: its text with results in place of values, and its rows up to the first that ends the run.

use serde::Deserialize;

use super::{
    chunk::{Chunk, Gap, PassedValues, RowMark},
    failures::RowFailure,
    plan::BulkPlan,
    wiped_bytes::WipedBytes,
};
use crate::{args::OnError, commands::values::without_place, context::CommandError};
use masker_api::{BatchResponse, ItemError, Text};
use masker_client::ClientError;
use masker_types::error_code::Code;

/// Rows ready to be written.
pub(super) struct ProcessedChunk {
    pub(super) text: WipedBytes,
    /// Number of rows in the text.
    pub(super) rows: u64,
    /// Number of values that were sent.
    pub(super) values: u64,
    /// The values that never were tokens, and were copied.
    pub(super) passed: PassedValues,
    pub(super) bytes_read: u64,
    pub(super) is_confirmed: bool,
    pub(super) failures: Vec<RowFailure>,
    /// Whether the row after the text has failed and ends the run.
    pub(super) is_last: bool,
    /// Why the values of the row after the text were not swapped, which ends the run.
    pub(super) ended: Option<CommandError>,
}

/// The result of a value: exactly one of the fields. Represents the results of both operations, because serde's untagged
/// enums would copy each text.
#[derive(Deserialize)]
pub(super) struct ItemOutcome<'a> {
    #[serde(borrow, default)]
    token: Option<Text<'a>>,
    #[serde(borrow, default)]
    value: Option<Text<'a>>,
    #[serde(borrow, default)]
    redacted: Option<Text<'a>>,
    #[serde(default)]
    error: Option<ItemError>,
}

impl<'a> ItemOutcome<'a> {
    /// Returns whether the result can be the value itself.
    fn can_be_unchanged(&self) -> bool {
        self.token.is_none()
    }

    fn result(self) -> Result<Text<'a>, ItemError> {
        match (self.token.or(self.value).or(self.redacted), self.error) {
            (Some(text), None) => Ok(text),
            (_, Some(error)) => Err(error),
            (None, None) => Err(ItemError {
                code: Code::Internal.to_string(),
                detail: "the response has no result for this value".to_owned(),
            }),
        }
    }
}

/// Appends the outcomes of an answer to a request with this number of items.
pub(super) fn add_outcomes<'a>(
    answer: BatchResponse<ItemOutcome<'a>>,
    sent: usize,
    outcomes: &mut Vec<ItemOutcome<'a>>,
) -> Result<(), CommandError> {
    if answer.results.len() != sent {
        let message = format!("{sent} items were sent, and the response has {} results", answer.results.len());
        return Err(ClientError::UnexpectedResponse(message).into());
    }
    outcomes.extend(answer.results);
    Ok(())
}

/// Returns whether a failure means that the command is wrong, or its caller, and not the row.
fn is_of_command(code: &str) -> bool {
    [Code::KindUnknown, Code::PermDenied, Code::ContextRequired].iter().any(|known| known.as_str() == code)
}

/// Fills the gaps of a chunk with the outcomes of the values that were sent, up to the first row that lacks one. Then `ended` is
/// why.
pub(super) fn fill(
    mut chunk: Chunk,
    plan: &BulkPlan,
    outcomes: Vec<ItemOutcome<'_>>,
    mut ended: Option<CommandError>,
) -> ProcessedChunk {
    let values = outcomes.len() as u64;
    let mut results = GapResults::default();
    let mut outcomes = outcomes.into_iter();
    let mut unfilled = None;
    for gap in &chunk.gaps {
        // A failure without an outcome was recorded when the row was read.
        let Some(cell) = gap.sent else {
            results.push(true);
            continue;
        };
        let Some(outcome) = outcomes.next() else {
            unfilled = Some(gap.row);
            break;
        };
        let can_be_unchanged = outcome.can_be_unchanged();
        let failure = match outcome.result() {
            Ok(text) if can_be_unchanged && chunk.layout.has_text(&chunk.originals, &cell, &text) => {
                results.bytes.extend_from_slice(&chunk.originals[cell.start..cell.end]);
                None
            }
            Ok(text) => match chunk.layout.write(&text, cell.quoted, &mut results.bytes) {
                Ok(()) => None,
                Err(detail) => Some((Code::ValueInvalid.as_str().into(), detail.into())),
            },
            Err(error) if is_of_command(&error.code) => {
                let text = format!("{}: {}: {}", plan.name(gap.column), error.code, without_place(&error.detail));
                ended = Some(CommandError::Refused { denied: error.code == Code::PermDenied.as_str(), text });
                unfilled = Some(gap.row);
                break;
            }
            Err(error) => Some((error.code.into(), without_place(&error.detail).to_owned().into())),
        };
        results.push(failure.is_some());
        if let Some((code, detail)) = failure {
            chunk.failures.push(RowFailure { row: gap.row as u64, line: None, column: Some(gap.column), code, detail });
        }
    }
    if let Some(row) = unfilled {
        chunk.rows.truncate(row);
        chunk.failures.retain(|failure| failure.row < row as u64);
    }
    let processed = finish(chunk, plan, values, |chunk, rows| output(chunk, plan.on_error, &results, rows));
    ProcessedChunk { ended, ..processed }
}

/// Checks a chunk without sending its values. The result has no text.
pub(super) fn without_results(chunk: Chunk, plan: &BulkPlan) -> ProcessedChunk {
    finish(chunk, plan, 0, |_, _| Vec::new())
}

/// Ends a chunk before the row that ends the run, if there is one. `text` returns the text of this many of its rows.
fn finish(mut chunk: Chunk, plan: &BulkPlan, values: u64, text: impl Fn(&Chunk, usize) -> Vec<u8>) -> ProcessedChunk {
    chunk.failures.sort_by_key(|failure| failure.row);
    let first_failed = chunk.failures.first().map(|failure| failure.row);
    let stop = first_failed.filter(|_| plan.on_error == OnError::Stop);
    if let Some(row) = stop {
        chunk.failures.retain(|failure| failure.row == row);
    }
    let rows = stop.map_or(chunk.rows.len(), |row| row as usize);
    let text = chunk.layout.finish(text(&chunk, rows));
    for failure in &mut chunk.failures {
        failure.line = chunk.rows.get(failure.row as usize).and_then(|row| row.line);
        failure.row += chunk.first_row;
    }
    ProcessedChunk {
        text,
        rows: rows as u64,
        values,
        passed: chunk.passed,
        bytes_read: chunk.bytes_read,
        is_confirmed: chunk.is_confirmed,
        failures: chunk.failures,
        is_last: stop.is_some(),
        ended: None,
    }
}

/// The bytes in place of each gap.
#[derive(Default)]
struct GapResults {
    bytes: WipedBytes,
    /// The end of the bytes of each gap, and whether it failed.
    ends: Vec<(usize, bool)>,
}

impl GapResults {
    fn push(&mut self, failed: bool) {
        self.ends.push((self.bytes.len(), failed));
    }

    /// Returns the bytes of a gap, or `None` if it failed.
    fn get(&self, gap: usize) -> Option<&[u8]> {
        let start = gap.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, failed) = self.ends[gap];
        (!failed).then(|| &self.bytes[start..end])
    }
}

/// Returns the first `rows` rows with their gaps filled.
fn output(chunk: &Chunk, on_error: OnError, results: &GapResults, rows: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(chunk.text.len() + results.bytes.len());
    let (mut start, mut gap) = (0, 0);
    for (index, RowMark { end, line_end, failed, .. }) in chunk.rows[..rows].iter().enumerate() {
        let first_gap = gap;
        while chunk.gaps.get(gap).is_some_and(|gap| gap.row == index) {
            gap += 1;
        }
        let has_failed = || (first_gap..gap).any(|gap| results.get(gap).is_none());
        if *failed || (on_error == OnError::KeepRowEmpty && has_failed()) {
            text.extend_from_slice(&chunk.layout.empty_row());
            text.extend_from_slice(&chunk.text[end - line_end..*end]);
        } else {
            let mut copied = start;
            for index in first_gap..gap {
                let Gap { at, .. } = chunk.gaps[index];
                text.extend_from_slice(&chunk.text[copied..at]);
                text.extend_from_slice(results.get(index).unwrap_or(chunk.layout.empty_value()));
                copied = at;
            }
            text.extend_from_slice(&chunk.text[copied..*end]);
        }
        start = *end;
    }
    text
}
