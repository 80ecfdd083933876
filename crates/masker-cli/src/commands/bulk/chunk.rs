//! A chunk of rows, its requests, and its output.

use std::{borrow::Cow, ops::Range, vec::IntoIter};

use hyper::body::Bytes;
use serde::Deserialize;

use super::{
    connections::ConnectionPool,
    failures::RowFailure,
    layout::OutputLayout,
    plan::{BulkOperation, BulkPlan},
    wiped_bytes::WipedBytes,
};
use crate::context::CommandError;
use masker_api::{BatchResponse, ItemError, Text};
use masker_client::{ClientError, ClientReply};
use masker_core::token::TOKEN_BYTES_MAX;
use masker_types::error_code::Code;

/// Size in bytes at which a chunk takes no more rows.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Size in bytes at which a request takes no more values.
const REQUEST_BYTES: usize = 1024 * 1024;

/// Rows that were read. Their contents are wiped on drop.
pub(super) struct Chunk {
    layout: OutputLayout,
    /// The number of the first row, from 1.
    first_row: u64,
    rows: u64,
    /// Input bytes read up to the end of these rows.
    pub(super) bytes_read: u64,
    /// The rows without the values to be swapped.
    pub(super) text: WipedBytes,
    /// The ends of a table's cells.
    pub(super) ends: Vec<usize>,
    gaps: Vec<Gap>,
    requests: Vec<ChunkRequest>,
    failures: Vec<RowFailure>,
}

/// The place of a value to be swapped.
struct Gap {
    /// The number of the cell, or the offset in the text.
    at: usize,
    row: u64,
    column: usize,
}

struct ChunkRequest {
    body: WipedBytes,
    items: usize,
}

/// Rows ready to be written.
pub(super) struct ProcessedChunk {
    pub(super) text: WipedBytes,
    pub(super) rows: u64,
    /// Number of values that were sent.
    pub(super) values: u64,
    pub(super) bytes_read: u64,
    pub(super) failures: Vec<RowFailure>,
}

/// The result of a value: exactly one of the fields. Represents the results of both operations, because serde's untagged
/// enums would copy each text.
#[derive(Deserialize)]
struct ItemOutcome<'a> {
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

impl Chunk {
    pub(super) fn new(layout: OutputLayout, first_row: u64) -> Self {
        Chunk {
            layout,
            first_row,
            rows: 0,
            bytes_read: 0,
            text: WipedBytes::default(),
            ends: Vec::new(),
            gaps: Vec::new(),
            requests: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Returns whether the chunk has no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns whether the chunk takes no more rows. A single row can exceed every bound.
    pub(super) fn is_full(&self, plan: &BulkPlan) -> bool {
        self.gaps.len() >= plan.batch || self.text.len() >= CHUNK_BYTES || self.requests.len() > 1
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the current row.
    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Records a failure in the current row.
    pub(super) fn fail(&mut self, column: Option<usize>, code: Code, detail: &'static str) {
        let row = self.first_row + self.rows;
        self.failures.push(RowFailure { row, column, code: code.as_str().into(), detail: detail.into() });
    }

    /// Adds a gap to the current row, and its value to a request. Returns false, and records a failure, if the value cannot
    /// be sent.
    pub(super) fn add_value(&mut self, plan: &BulkPlan, column: usize, at: usize, value: &str) -> bool {
        // Tokens can be longer than values, so this bounds both, and the size of requests.
        if value.len() > TOKEN_BYTES_MAX {
            self.fail(Some(column), plan.operation.invalid_code(), "too long");
            return false;
        }
        self.gaps.push(Gap { at, row: self.first_row + self.rows, column });
        let request = match self.requests.last_mut() {
            Some(last) if last.items < plan.batch && last.body.len() < REQUEST_BYTES => last,
            _ => {
                self.requests.push(ChunkRequest { body: plan.opening.clone().into(), items: 0 });
                let last = self.requests.len() - 1;
                &mut self.requests[last]
            }
        };
        if request.items > 0 {
            request.body.push(b',');
        }
        request.items += 1;
        if let Some(column) = plan.columns.get(column) {
            request.body.extend_from_slice(&column.item_opening);
        }
        write_json(&mut request.body, value);
        request.body.extend_from_slice(plan.operation.item_end());
        true
    }

    /// Sends the requests, and fills the gaps with the results.
    pub(super) async fn swap(
        mut self,
        plan: &BulkPlan,
        connections: &ConnectionPool,
    ) -> Result<ProcessedChunk, CommandError> {
        let requests = std::mem::take(&mut self.requests);
        let mut replies = Vec::with_capacity(requests.len());
        if !requests.is_empty() {
            let mut client = connections.take().await?;
            for ChunkRequest { mut body, items } in requests {
                body.extend_from_slice(b"]}");
                let body = Bytes::from_owner(body);
                replies.push((connections.send(&mut client, plan.operation.path(), body).await?, items));
            }
            connections.put_back(client);
        }
        self.fill(plan, &replies)
    }

    fn fill(mut self, plan: &BulkPlan, replies: &[(ClientReply, usize)]) -> Result<ProcessedChunk, CommandError> {
        let mut outcomes = Vec::with_capacity(self.gaps.len());
        for (reply, sent) in replies {
            let answer: BatchResponse<ItemOutcome<'_>> = reply.json()?;
            if answer.results.len() != *sent {
                let message = format!("{sent} items were sent, and the response has {} results", answer.results.len());
                return Err(ClientError::UnexpectedResponse(message).into());
            }
            outcomes.extend(answer.results);
        }
        let values = outcomes.len() as u64;
        let mut filled = Vec::with_capacity(self.gaps.len());
        for (gap, outcome) in self.gaps.iter().zip(outcomes) {
            let text = match outcome.result() {
                Ok(text) => Some(text),
                Err(error) if affects_whole_column(plan.operation, &error.code) => {
                    let text = format!("{}: {}: {}", plan.name(gap.column), error.code, error.detail);
                    return Err(CommandError::Refused { denied: error.code == Code::PermDenied.as_str(), text });
                }
                Err(error) => {
                    let (code, detail) = (Cow::Owned(error.code), Cow::Owned(error.detail));
                    self.failures.push(RowFailure { row: gap.row, column: Some(gap.column), code, detail });
                    None
                }
            };
            filled.push((gap.at, text));
        }
        self.failures.sort_by_key(|failure| failure.row);
        let mut filled = GapFillers(filled.into_iter());
        let text = match self.layout {
            OutputLayout::Table(dialect) => dialect.write(self.cells(), |at| filled.next_at(at))?,
            OutputLayout::Lines => self.lines(filled),
        };
        let text = WipedBytes::from(text);
        let (rows, bytes_read) = (self.rows, self.bytes_read);
        Ok(ProcessedChunk { text, rows, values, bytes_read, failures: self.failures })
    }

    /// Returns the cells of a table.
    fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }

    /// Returns the text with its gaps filled.
    fn lines(&self, filled: GapFillers<'_>) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.text.len() * 2);
        let mut done = 0;
        for (at, outcome) in filled.0 {
            text.extend_from_slice(&self.text[Range { start: done, end: at }]);
            done = at;
            match outcome {
                Some(string) => write_json(&mut text, &string),
                None => text.extend_from_slice(b"null"),
            }
        }
        text.extend_from_slice(&self.text[done..]);
        text
    }
}

/// The texts of the gaps in order. `None` is a value that failed.
struct GapFillers<'a>(IntoIter<(usize, Option<Text<'a>>)>);

impl<'a> GapFillers<'a> {
    /// Returns the text of the gap at this place, if there is a gap with a text.
    fn next_at(&mut self, at: usize) -> Option<Text<'a>> {
        match self.0.as_slice().first() {
            Some((next, _)) if *next == at => self.0.next()?.1,
            _ => None,
        }
    }
}

/// Returns whether a failure affects every value of a column, so that the command is wrong and not the row.
fn affects_whole_column(operation: BulkOperation, code: &str) -> bool {
    let codes = [Code::KindUnknown, Code::PermDenied, Code::ContextRequired];
    operation == BulkOperation::Tokenize && codes.iter().any(|known| known.as_str() == code)
}

/// Appends a JSON string.
fn write_json(to: &mut Vec<u8>, text: &str) {
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(to, text);
}
