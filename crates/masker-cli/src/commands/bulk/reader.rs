//! Reads standard input in chunks of rows.

use std::{io::Read, sync::Arc};

use super::{
    chunk::Chunk,
    input::OpenedInput,
    jsonl::JsonLinesReader,
    layout::OutputLayout,
    plan::{BulkPlan, InputFormat},
    row_source::{LongRows, ReadError, ReadRow, RowSource},
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
        Ok(ChunkReader { rows, plan, layout, next_row: 1, shown_within: u64::MAX, failed: None })
    }

    /// Fails if this many bytes of rows do not show that the input has the columns or fields.
    pub(super) fn show_within(&mut self, bytes: u64) {
        self.shown_within = bytes;
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

    /// Checks the structure of the whole input.
    ///
    /// # Errors
    /// The rows after one of them cannot be found, or one fails as a whole and ends a run.
    pub(super) fn check(mut self) -> Result<(), CommandError> {
        for row in 1.. {
            let is_skipped = row <= self.plan.skip_rows;
            let long_rows = if is_skipped { LongRows::Skip } else { self.long_rows() };
            if self.rows.read(true, long_rows).map_err(|error| error.of_row(row))? == ReadRow::End {
                break;
            }
            let problem = self.rows.problem().filter(|_| !is_skipped && self.plan.on_error == OnError::Stop);
            if let Some((line, detail)) = problem {
                return Err(ReadError::Malformed { line, detail }.of_row(row));
            }
        }
        Ok(())
    }

    /// Reads rows until they show that the input has the columns or fields.
    ///
    /// # Errors
    /// No row shows it.
    pub(super) fn check_fields(mut self) -> Result<(), CommandError> {
        for row in 1.. {
            if self.rows.is_confirmed() {
                break;
            }
            if self.rows.read(true, LongRows::Skip).map_err(|error| error.of_row(row))? == ReadRow::End {
                return self.rows.finish();
            }
            self.rows.examine();
        }
        Ok(())
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
            return Ok(None);
        }
        if !chunk.is_confirmed && chunk.bytes_read > self.shown_within && self.failed.is_none() {
            self.failed = self.rows.finish().err();
        }
        Ok(Some(chunk))
    }
}
