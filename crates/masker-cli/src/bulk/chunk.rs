//! Some rows, the requests about them, and what is written once these are answered.

use std::{borrow::Cow, ops::Range, vec::IntoIter};

use hyper::body::Bytes;
use serde::Deserialize;

use super::{
    connections::Connections,
    failures::Failure,
    plan::{Operation, Plan},
    table,
    wiped::Wiped,
};
use crate::session::CommandError;
use masker_api::{Answer, ItemError, Text};
use masker_client::{ClientError, Reply};
use masker_core::token::TOKEN_BYTES_MAX;
use masker_types::code::Code;

/// Size from which on a chunk is not given further rows, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Size from which on a request is not given further values, in bytes.
const REQUEST_BYTES: usize = 1024 * 1024;

/// How a chunk's text is put together with what fills its gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The text is the cells of a table, one after the other.
    Table(table::Dialect),
    /// The text is what is written, but for JSON strings in its gaps.
    Lines,
}

/// Rows that were read. What they hold is wiped when they are dropped.
pub(super) struct Chunk {
    layout: Layout,
    /// The number of the first row, counted from 1.
    first_row: u64,
    rows: u64,
    /// How far the input is read with these rows, in bytes.
    pub(super) read_to: u64,
    /// The rows without the values that are to be swapped, in whose places is nothing.
    pub(super) text: Wiped,
    /// Where the cells of a table end.
    pub(super) ends: Vec<usize>,
    gaps: Vec<Gap>,
    requests: Vec<Request>,
    failures: Vec<Failure>,
}

/// The place of a value.
struct Gap {
    /// The number of the cell, or the offset into the text.
    at: usize,
    row: u64,
    column: usize,
}

struct Request {
    body: Wiped,
    items: usize,
}

/// Rows that can be written.
pub(super) struct Swapped {
    pub(super) text: Wiped,
    pub(super) rows: u64,
    /// How many values were asked about.
    pub(super) values: u64,
    pub(super) read_to: u64,
    pub(super) failures: Vec<Failure>,
}

/// What became of a value: one of these. It stands for the results of both operations, which as serde's untagged enums
/// would copy each text before they know it.
#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, default)]
    token: Option<Text<'a>>,
    #[serde(borrow, default)]
    value: Option<Text<'a>>,
    #[serde(borrow, default)]
    redacted: Option<Text<'a>>,
    #[serde(default)]
    error: Option<ItemError>,
}

impl<'a> Outcome<'a> {
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
    pub(super) fn new(layout: Layout, first_row: u64) -> Self {
        Chunk {
            layout,
            first_row,
            rows: 0,
            read_to: 0,
            text: Wiped::default(),
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
    pub(super) fn is_full(&self, plan: &Plan) -> bool {
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
        self.failures.push(Failure { row, column, code: code.as_str().into(), detail: detail.into() });
    }

    /// Leaves a gap for a value of the present row, and asks for what fills it. Says whether it did: what cannot be asked
    /// about has failed.
    pub(super) fn ask(&mut self, plan: &Plan, column: usize, at: usize, value: &str) -> bool {
        // What is longer than a token can be is longer than a value, too: requests stay within their bounds.
        if value.len() > TOKEN_BYTES_MAX {
            self.fail(Some(column), plan.operation.unfit(), "it is too long");
            return false;
        }
        self.gaps.push(Gap { at, row: self.first_row + self.rows, column });
        let request = match self.requests.last_mut() {
            Some(last) if last.items < plan.batch && last.body.len() < REQUEST_BYTES => last,
            _ => {
                self.requests.push(Request { body: plan.opening.clone().into(), items: 0 });
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
    pub(super) async fn swap(mut self, plan: &Plan, connections: &Connections) -> Result<Swapped, CommandError> {
        let requests = std::mem::take(&mut self.requests);
        let mut replies = Vec::with_capacity(requests.len());
        if !requests.is_empty() {
            let mut client = connections.take().await?;
            for Request { mut body, items } in requests {
                body.extend_from_slice(b"]}");
                let body = Bytes::from_owner(body);
                replies.push((connections.ask(&mut client, plan.operation.path(), body).await?, items));
            }
            connections.put_back(client);
        }
        self.fill(plan, &replies)
    }

    fn fill(mut self, plan: &Plan, replies: &[(Reply, usize)]) -> Result<Swapped, CommandError> {
        let mut outcomes = Vec::with_capacity(self.gaps.len());
        for (reply, asked) in replies {
            let answer: Answer<Outcome<'_>> = reply.json()?;
            if answer.results.len() != *asked {
                let message = format!("it was asked about {asked} items and answered about {}", answer.results.len());
                return Err(ClientError::Foreign(message).into());
            }
            outcomes.extend(answer.results);
        }
        let values = outcomes.len() as u64;
        let mut filled = Vec::with_capacity(self.gaps.len());
        for (gap, outcome) in self.gaps.iter().zip(outcomes) {
            let text = match outcome.result() {
                Ok(text) => Some(text),
                Err(error) if of_whole_column(plan.operation, &error.code) => {
                    let text = format!("{}: {}: {}", plan.name(gap.column), error.code, error.detail);
                    return Err(CommandError::Refused { denied: error.code == Code::PermDenied.as_str(), text });
                }
                Err(error) => {
                    let (code, detail) = (Cow::Owned(error.code), Cow::Owned(error.detail));
                    self.failures.push(Failure { row: gap.row, column: Some(gap.column), code, detail });
                    None
                }
            };
            filled.push((gap.at, text));
        }
        self.failures.sort_by_key(|failure| failure.row);
        let mut filled = Filled(filled.into_iter());
        let text = match self.layout {
            Layout::Table(dialect) => dialect.write(self.cells(), |at| filled.next_at(at))?,
            Layout::Lines => self.lines(filled),
        };
        let text = Wiped::from(text);
        let (rows, read_to) = (self.rows, self.read_to);
        Ok(Swapped { text, rows, values, read_to, failures: self.failures })
    }

    /// The cells of a table.
    fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }

    fn lines(&self, filled: Filled<'_>) -> Vec<u8> {
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
struct Filled<'a>(IntoIter<(usize, Option<Text<'a>>)>);

impl<'a> Filled<'a> {
    /// What fills the gap at this place, if there is one and something does.
    fn next_at(&mut self, at: usize) -> Option<Text<'a>> {
        match self.0.as_slice().first() {
            Some((next, _)) if *next == at => self.0.next()?.1,
            _ => None,
        }
    }
}

/// Whether this fails for every value of a column alike: then the command is wrong, and not the row.
fn of_whole_column(operation: Operation, code: &str) -> bool {
    let codes = [Code::KindUnknown, Code::PermDenied, Code::ContextRequired];
    operation == Operation::Tokenize && codes.iter().any(|known| known.as_str() == code)
}

/// Appends a JSON string.
fn write_json(to: &mut Vec<u8>, text: &str) {
    // Strings can always be written to memory.
    let _ = serde_json::to_writer(to, text);
}
