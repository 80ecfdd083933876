//! Some rows, the requests about them, and what is written once these are answered.

use std::{borrow::Cow, ops::Range, vec::IntoIter};

use hyper::body::Bytes;
use serde::Deserialize;

use super::{
    connections::ConnectionPool,
    failures::RowFailure,
    options::{BulkOperation, BulkPlan},
    table,
    wiped_bytes::WipedBytes,
};
use crate::context::CommandError;
use masker_api::{Answer, ItemError, Text};
use masker_client::{ClientError, ClientReply};
use masker_core::token::TOKEN_BYTES_MAX;
use masker_types::error_code::Code;

/// Size from which on a chunk is not given further rows, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Size from which on a request is not given further values, in bytes.
const REQUEST_BYTES: usize = 1024 * 1024;

/// How a chunk's text is put together with what fills its gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputLayout {
    /// The text is the cells of a table, one after the other.
    Table(table::TableDialect),
    /// The text is what is written, but for JSON strings in its gaps.
    Lines,
}

/// Rows that were read. What they hold is wiped when they are dropped.
pub(super) struct Chunk {
    layout: OutputLayout,
    /// The number of the first row, counted from 1.
    first_row: u64,
    rows: u64,
    /// How far the input is read with these rows, in bytes.
    pub(super) bytes_read: u64,
    /// The rows without the values that are to be swapped, in whose places is nothing.
    pub(super) text: WipedBytes,
    /// Where the cells of a table end.
    pub(super) ends: Vec<usize>,
    gaps: Vec<Gap>,
    requests: Vec<ChunkRequest>,
    failures: Vec<RowFailure>,
}

/// The place of a value.
struct Gap {
    /// The number of the cell, or the offset into the text.
    at: usize,
    row: u64,
    column: usize,
}

struct ChunkRequest {
    body: WipedBytes,
    items: usize,
}

/// Rows that can be written.
pub(super) struct ProcessedChunk {
    pub(super) text: WipedBytes,
    pub(super) rows: u64,
    /// How many values were asked about.
    pub(super) values: u64,
    pub(super) bytes_read: u64,
    pub(super) failures: Vec<RowFailure>,
}

/// What became of a value: one of these. It stands for the results of both operations, which as serde's untagged enums
/// would copy each text before they know it.
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
                detail: "the daemon's answer has nothing for it".to_owned(),
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

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether it is to be given no further row; one row can have taken it beyond every bound.
    pub(super) fn is_full(&self, plan: &BulkPlan) -> bool {
        self.gaps.len() >= plan.batch || self.text.len() >= CHUNK_BYTES || self.requests.len() > 1
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Notes that something of the present row will be missing in what is written.
    pub(super) fn fail(&mut self, column: Option<usize>, code: Code, detail: &'static str) {
        let row = self.first_row + self.rows;
        self.failures.push(RowFailure { row, column, code: code.as_str().into(), detail: detail.into() });
    }

    /// Leaves a gap for a value of the present row, and asks for what fills it. Says whether it did: what cannot be asked
    /// about has failed.
    pub(super) fn ask(&mut self, plan: &BulkPlan, column: usize, at: usize, value: &str) -> bool {
        // What is longer than a token can be is longer than a value, too: requests stay within their bounds.
        if value.len() > TOKEN_BYTES_MAX {
            self.fail(Some(column), plan.operation.unfit(), "it is too long");
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

    /// Asks the daemon, and fills the gaps.
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
                replies.push((connections.ask(&mut client, plan.operation.path(), body).await?, items));
            }
            connections.put_back(client);
        }
        self.fill(plan, &replies)
    }

    fn fill(mut self, plan: &BulkPlan, replies: &[(ClientReply, usize)]) -> Result<ProcessedChunk, CommandError> {
        let mut outcomes = Vec::with_capacity(self.gaps.len());
        for (reply, asked) in replies {
            let answer: Answer<ItemOutcome<'_>> = reply.json()?;
            if answer.results.len() != *asked {
                let message = format!("it was asked about {asked} items and answered about {}", answer.results.len());
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

    /// The cells of a table.
    fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }

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

/// What fills the gaps, in their order; `None` where nothing does.
struct GapFillers<'a>(IntoIter<(usize, Option<Text<'a>>)>);

impl<'a> GapFillers<'a> {
    /// What fills the gap at this place, if there is one and something does.
    fn next_at(&mut self, at: usize) -> Option<Text<'a>> {
        match self.0.as_slice().first() {
            Some((next, _)) if *next == at => self.0.next()?.1,
            _ => None,
        }
    }
}

/// Whether this fails for every value of a column alike: then the command is wrong, and not the row.
fn affects_whole_column(operation: BulkOperation, code: &str) -> bool {
    let codes = [Code::KindUnknown, Code::PermDenied, Code::ContextRequired];
    operation == BulkOperation::Tokenize && codes.iter().any(|known| known.as_str() == code)
}

/// Appends a JSON string.
fn write_json(to: &mut Vec<u8>, text: &str) {
    // Strings can always be written to memory.
    let _ = serde_json::to_writer(to, text);
}
