//! A chunk of rows and its requests.

use std::{borrow::Cow, sync::Arc};

use hyper::body::Bytes;

use super::{
    connections::ConnectionPool,
    failures::RowFailure,
    fill::{self, ProcessedChunk},
    layout::{OutputLayout, write_json},
    plan::{BulkOperation, BulkPlan},
    request::ChunkRequest,
    token_text,
    wiped_bytes::WipedBytes,
};
use crate::context::CommandError;
use masker_core::token::TOKEN_BYTES_MAX;
use masker_csv::Cell;
use masker_types::error_code::Code;

/// Size in bytes at which a chunk takes no more rows.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Number of rows at which a chunk takes no more.
const CHUNK_ROWS: usize = 8 * 1024;
/// Size in bytes at which a request takes no more values.
const REQUEST_BYTES: usize = 1024 * 1024;
/// Longest value that is sent. Escaped, and after others in its request, it fits into the body of a request.
const VALUE_BYTES_SENT_MAX: usize = 1024 * 1024;

/// Rows that were read. Their contents are wiped on drop.
pub(super) struct Chunk {
    pub(super) layout: Arc<OutputLayout>,
    /// The number of the first row, from 1.
    pub(super) first_row: u64,
    pub(super) rows: Vec<RowMark>,
    /// Input bytes read up to the end of these rows.
    pub(super) bytes_read: u64,
    /// Whether the rows up to these show that the input has the expected columns or fields.
    pub(super) is_confirmed: bool,
    /// The rows without the values to be swapped.
    pub(super) text: WipedBytes,
    pub(super) gaps: Vec<Gap>,
    /// The bytes of the values that were sent, as they are in the file. A value that comes back as it was keeps them.
    pub(super) originals: WipedBytes,
    pub(super) failures: Vec<RowFailure>,
    /// The values that never were tokens, and are copied.
    pub(super) passed: PassedValues,
    requests: Vec<ChunkRequest>,
    row_failed: bool,
}

/// Values that never were tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PassedValues {
    /// How many.
    pub(super) count: u64,
    /// The row, from 1, and the column of the first.
    pub(super) first: Option<(u64, usize)>,
}

impl PassedValues {
    /// Adds values that follow these.
    pub(super) fn add(&mut self, later: PassedValues) {
        self.count += later.count;
        self.first = self.first.or(later.first);
    }
}

/// A row in the text of a chunk.
pub(super) struct RowMark {
    /// The end of its text.
    pub(super) end: usize,
    /// The number of its last bytes that are the line end.
    pub(super) line_end: usize,
    /// The line that it begins on, where that can differ from its number.
    pub(super) line: Option<u64>,
    /// Whether it failed as a whole.
    pub(super) failed: bool,
}

/// The place of a value to be swapped.
pub(super) struct Gap {
    /// The offset in the text.
    pub(super) at: usize,
    /// The index of the row in the chunk.
    pub(super) row: usize,
    pub(super) column: usize,
    /// The place of the value in the originals, if it is in a request. Otherwise it failed already.
    pub(super) sent: Option<Cell>,
}

impl Chunk {
    pub(super) fn new(layout: Arc<OutputLayout>, first_row: u64) -> Self {
        Chunk {
            layout,
            first_row,
            rows: Vec::new(),
            bytes_read: 0,
            is_confirmed: false,
            text: WipedBytes::default(),
            gaps: Vec::new(),
            originals: WipedBytes::default(),
            failures: Vec::new(),
            passed: PassedValues::default(),
            requests: Vec::new(),
            row_failed: false,
        }
    }

    /// Returns whether the chunk has no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns whether the chunk takes no more rows. A single row can exceed every bound.
    pub(super) fn is_full(&self, plan: &BulkPlan) -> bool {
        self.gaps.len() >= plan.batch
            || self.text.len() >= CHUNK_BYTES
            || self.rows.len() >= CHUNK_ROWS
            || self.requests.len() > 1
    }

    /// Returns whether a row has failed.
    pub(super) fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Ends the current row, whose last `line_end` bytes are its line end.
    pub(super) fn end_row(&mut self, line: Option<u64>, line_end: usize) {
        let failed = std::mem::take(&mut self.row_failed);
        self.rows.push(RowMark { end: self.text.len(), line_end, line, failed });
    }

    /// Fails the current row. The text of such a row is its line end only.
    pub(super) fn fail_row(&mut self, code: Code, detail: impl Into<Cow<'static, str>>) {
        self.row_failed = true;
        self.failures.push(RowFailure::new(self.rows.len(), None, code.as_str(), detail));
    }

    /// Fails a value of the current row, and adds a gap for it.
    pub(super) fn fail_value(&mut self, column: usize, code: Code, detail: impl Into<Cow<'static, str>>) {
        let row = self.rows.len();
        self.failures.push(RowFailure::new(row, Some(column), code.as_str(), detail));
        self.gaps.push(Gap { at: self.text.len(), row, column, sent: None });
    }

    /// Notes that a value of the current row is copied, because it never was a token.
    pub(super) fn pass(&mut self, column: usize) {
        self.passed.add(PassedValues { count: 1, first: Some((self.first_row + self.rows(), column)) });
    }

    /// Adds a value, which is in this cell of a row of the file, to a request, and a gap for its result to the current row. A
    /// value that cannot be sent fails.
    pub(super) fn add_value(&mut self, plan: &BulkPlan, column: usize, row: &[u8], cell: &Cell, value: &str) {
        if let Some((code, detail)) = plan.dry_run.then(|| token_text::refusal(plan.operation, value)).flatten() {
            self.fail_value(column, code, detail);
            return;
        }
        // The daemon says what is too long for a token. Values of kinds that it redacts or passes through can be longer.
        let bytes_max = match plan.operation {
            BulkOperation::Tokenize => VALUE_BYTES_SENT_MAX,
            BulkOperation::Rehydrate => TOKEN_BYTES_MAX,
        };
        if value.len() > bytes_max {
            let detail = format!("longer than {bytes_max} bytes");
            self.fail_value(column, plan.operation.invalid_code(), detail);
            return;
        }
        let start = self.originals.len();
        self.originals.extend_from_slice(&row[cell.start..cell.end]);
        let sent = Some(Cell { start, end: self.originals.len(), ..*cell });
        self.gaps.push(Gap { at: self.text.len(), row: self.rows.len(), column, sent });
        let row = self.rows.len();
        let next = match self.requests.last_mut() {
            Some(last) if last.items() < plan.batch && last.bytes() < REQUEST_BYTES => None,
            Some(last) => Some(last.next(row, &plan.opening)),
            None => Some(ChunkRequest::new(&plan.opening)),
        };
        self.requests.extend(next);
        if let Some(request) = self.requests.last_mut() {
            request.add(row, |body| {
                if let Some(column) = plan.columns.get(column) {
                    body.extend_from_slice(&column.item_opening);
                }
                write_json(body, value);
                body.extend_from_slice(plan.operation.item_end());
            });
        }
    }

    /// Returns the number of values to be sent.
    pub(super) fn values(&self) -> u64 {
        self.requests.iter().map(|request| request.items() as u64).sum()
    }

    /// Returns the bodies of the requests, each with the number of its values.
    #[cfg(test)]
    pub(super) fn bodies(&self, plan: &BulkPlan) -> Vec<(WipedBytes, usize)> {
        let whole = |request: &ChunkRequest| {
            let items = request.items();
            (request.part(&plan.opening, 0..items), items)
        };
        self.requests.iter().map(whole).collect()
    }

    /// Sends the requests, in parts if the caller's limits allow no more values at once, and fills the gaps with the results.
    /// If a request fails after others have succeeded, the rows of those are filled.
    pub(super) async fn swap(
        mut self,
        plan: &BulkPlan,
        connections: &ConnectionPool,
    ) -> Result<ProcessedChunk, CommandError> {
        let requests = std::mem::take(&mut self.requests);
        let mut replies = Vec::with_capacity(requests.len());
        let mut ended = None;
        if !requests.is_empty() {
            let mut client = connections.take().await?;
            // What is left of the caller's day.
            let mut left_max = usize::MAX;
            'requests: for request in &requests {
                let mut first = 0;
                while first < request.items() {
                    let end = request.part_end(first, connections.values_max().min(left_max));
                    let body = Bytes::from_owner(request.part(&plan.opening, first..end));
                    match connections.send(&mut client, plan.operation.path(), body).await {
                        // It may be enough for fewer rows.
                        Err(refused) if refused.is_used_up() => {
                            let Some(end) = request.rows_end(first, (end - first) / 2) else {
                                ended = Some(refused);
                                break 'requests;
                            };
                            left_max = end - first;
                        }
                        Err(refused) if refused.is_too_large_for_limit() && end - first > 1 => {
                            connections.lower_values_max((end - first) / 2);
                        }
                        Err(failed) => {
                            ended = Some(failed);
                            break 'requests;
                        }
                        Ok(reply) => {
                            replies.push((reply, end - first));
                            first = end;
                        }
                    }
                }
            }
            if ended.is_none() {
                connections.put_back(client);
            }
        }
        let mut outcomes = Vec::with_capacity(self.gaps.len());
        for (reply, sent) in &replies {
            fill::add_outcomes(reply.json()?, *sent, &mut outcomes)?;
        }
        Ok(fill::fill(self, plan, outcomes, ended))
    }
}
