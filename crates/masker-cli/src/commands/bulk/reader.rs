//! Reads standard input in chunks of rows.

use std::{
    io::Read,
    sync::{Arc, OnceLock},
};

use super::{
    chunk::Chunk,
    failures::RowFailure,
    input::OpenedInput,
    jsonl::JsonLinesReader,
    layout::OutputLayout,
    plan::{BulkPlan, InputFormat},
    row_source::{LongRows, ReadRow, RowSource},
    table::TableReader,
};
use crate::{args::OnError, context::CommandError};

/// Reads chunks of rows.
pub(super) struct ChunkReader {
    rows: Box<dyn RowSource>,
    plan: Arc<BulkPlan>,
    layout: Arc<OutputLayout>,
    next_row: u64,
    /// Number of bytes within which rows must show that the input has the columns or fields.
    shown_within: u64,
    /// The error after the last chunk that was returned.
    failed: Option<CommandError>,
    notes: Arc<OnceLock<Vec<String>>>,
}

impl ChunkReader {
    /// Opens the input and finds the columns of the plan.
    ///
    /// # Errors
    /// The input cannot be read, or does not have the columns.
    pub(super) fn open<R: Read + Send + 'static>(plan: Arc<BulkPlan>, source: R) -> Result<Self, CommandError> {
        let input = OpenedInput::open(source, plan.encoding())?;
        let rows: Box<dyn RowSource> = match &plan.form {
            InputFormat::Table(format) => Box::new(TableReader::open(&plan, format, input)?),
            InputFormat::JsonLines => Box::new(JsonLinesReader::open(Arc::clone(&plan), input)?),
        };
        let layout = Arc::new(rows.layout().clone());
        Ok(ChunkReader { rows, plan, layout, next_row: 1, shown_within: u64::MAX, failed: None, notes: Arc::default() })
    }

    /// Fails if this many bytes of rows do not show that the input has the columns or fields.
    pub(super) fn show_within(&mut self, bytes: u64) {
        self.shown_within = bytes;
    }

    /// Returns what is worth knowing about columns or fields. It is set after the last row.
    pub(super) fn notes(&self) -> Arc<OnceLock<Vec<String>>> {
        Arc::clone(&self.notes)
    }

    /// Returns the number of input bytes that were read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.rows.bytes_read()
    }

    /// Returns the bytes to write before the first row. Empty if rows are skipped, because an earlier run wrote them.
    pub(super) fn header(&self) -> Vec<u8> {
        if self.plan.skip_rows > 0 {
            return Vec::new();
        }
        std::mem::take(&mut *self.layout.finish(self.rows.header().to_vec()))
    }

    /// Skips the rows of `--skip-rows`, of any length.
    pub(super) fn skip(&mut self) -> Result<(), CommandError> {
        for passed in 0..self.plan.skip_rows {
            if self.rows.read(true, LongRows::Skip).map_err(|error| error.of_row(passed + 1))? != ReadRow::Row {
                let message = format!("--skip-rows {}: there are {passed} rows", self.plan.skip_rows);
                return Err(CommandError::Other(message));
            }
            self.rows.examine();
        }
        self.next_row += self.plan.skip_rows;
        Ok(())
    }

    /// Checks the structure of the whole input. Returns the failure of a row that fails as a whole and ends a run.
    ///
    /// # Errors
    /// The rows after one of them cannot be found.
    pub(super) fn check(mut self) -> Result<Option<RowFailure>, CommandError> {
        for row in 1.. {
            let is_skipped = row <= self.plan.skip_rows;
            let long_rows = if is_skipped { LongRows::Skip } else { self.long_rows() };
            if self.rows.read(true, long_rows).map_err(|error| error.of_row(row))? == ReadRow::End {
                break;
            }
            let problem = self.rows.problem().filter(|_| !is_skipped && self.plan.on_error == OnError::Stop);
            if let Some((line, detail)) = problem {
                let code = self.plan.operation.invalid_code().as_str().into();
                return Ok(Some(RowFailure { row, line: Some(line), column: None, code, detail: detail.into() }));
            }
        }
        Ok(None)
    }

    /// Reads rows until they show that the input has the columns or fields. Returns whether they do. If not, a row fails,
    /// and ends a run.
    ///
    /// # Errors
    /// No row shows it.
    pub(super) fn check_fields(mut self) -> Result<bool, CommandError> {
        for row in 1.. {
            if self.rows.is_confirmed() {
                break;
            }
            let broken_before = self.rows.broken_rows();
            let stops = row > self.plan.skip_rows && self.plan.on_error == OnError::Stop;
            if self.rows.read(true, LongRows::Skip).map_err(|error| error.of_row(row))? == ReadRow::End {
                self.rows.finish()?;
                break;
            }
            self.rows.examine();
            if stops && self.rows.broken_rows() > broken_before {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn long_rows(&self) -> LongRows {
        if self.plan.on_error == OnError::Stop { LongRows::Refuse } else { LongRows::Skip }
    }

    /// Returns the next chunk, or `None` at the end. It has as many rows as are available, within bounds: a slow producer
    /// gets its responses immediately, and a fast one gets large requests.
    ///
    /// # Errors
    /// The rows after the last chunk cannot be read, or the input as a whole does not fit the plan.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, CommandError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let long_rows = self.long_rows();
        let mut chunk = Chunk::new(Arc::clone(&self.layout), self.next_row);
        let stops = self.plan.on_error == OnError::Stop;
        while !(chunk.is_full(&self.plan) || stops && chunk.has_failed()) {
            match self.rows.read(chunk.is_empty(), long_rows) {
                Ok(ReadRow::Row) => self.rows.add_to(&mut chunk),
                Ok(ReadRow::Pending | ReadRow::End) => break,
                Err(error) => {
                    let error = error.of_row(self.next_row + chunk.rows());
                    if chunk.is_empty() {
                        return Err(error);
                    }
                    self.failed = Some(error);
                    break;
                }
            }
        }
        chunk.bytes_read = self.rows.bytes_read();
        chunk.is_confirmed = self.rows.is_confirmed();
        self.next_row += chunk.rows();
        if chunk.is_empty() {
            self.rows.finish()?;
            self.notes.get_or_init(|| self.rows.notes());
            return Ok(None);
        }
        if !chunk.is_confirmed && chunk.bytes_read > self.shown_within && self.failed.is_none() {
            self.failed = self.rows.finish().err();
        }
        Ok(Some(chunk))
    }
}
