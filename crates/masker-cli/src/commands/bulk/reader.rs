//! Reads standard input in chunks of rows.

use std::{
    io::{self, Read},
    sync::Arc,
};

use super::{
    chunk::Chunk,
    input::PeekedInput,
    jsonl::JsonLinesReader,
    plan::{BulkPlan, InputFormat},
    row_source::RowSource,
    table::TableReader,
};
use crate::context::CommandError;

/// Reads chunks of rows.
pub(super) struct ChunkReader {
    rows: Box<dyn RowSource>,
    plan: Arc<BulkPlan>,
    next_row: u64,
    /// The error after the last chunk that was returned.
    failed: Option<io::Error>,
}

impl ChunkReader {
    /// Opens the input and finds the columns of the plan.
    ///
    /// # Errors
    /// The input cannot be read, or does not have the columns.
    pub(super) fn open<R: Read + Send + 'static>(plan: Arc<BulkPlan>, source: R) -> Result<Self, CommandError> {
        let input = PeekedInput::open(source, plan.form)?;
        let rows: Box<dyn RowSource> = match plan.form {
            InputFormat::Csv { delimiter, header } => {
                Box::new(TableReader::open(Arc::clone(&plan), input, delimiter, header)?)
            }
            InputFormat::JsonLines => Box::new(JsonLinesReader::open(Arc::clone(&plan), input)?),
        };
        Ok(ChunkReader { rows, plan, next_row: 1, failed: None })
    }

    /// Returns the number of input bytes that were read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.rows.bytes_read()
    }

    /// Returns the bytes to write before the first row. Empty if rows are skipped, because an earlier run wrote them.
    pub(super) fn header(&self) -> Vec<u8> {
        if self.plan.skip_rows == 0 { self.rows.header().to_vec() } else { Vec::new() }
    }

    /// Skips the rows of `--skip-rows`.
    pub(super) fn skip(&mut self) -> Result<(), CommandError> {
        for passed in 0..self.plan.skip_rows {
            if !self.rows.read().map_err(CommandError::Input)? {
                let message = format!("--skip-rows {}: there are {passed} rows", self.plan.skip_rows);
                return Err(CommandError::Other(message));
            }
        }
        self.next_row += self.plan.skip_rows;
        Ok(())
    }

    /// Returns the next chunk, or `None` at the end. It has as many rows as are available, within bounds: a slow producer
    /// gets its responses immediately, and a fast one gets large requests.
    pub(super) fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let mut chunk = Chunk::new(self.rows.layout(), self.next_row);
        while !chunk.is_full(&self.plan) && (chunk.is_empty() || self.rows.has_buffered_rows()) {
            match self.rows.read() {
                Ok(true) => {
                    self.rows.add_to(&mut chunk);
                    chunk.end_row();
                }
                Ok(false) => break,
                Err(failed) if chunk.is_empty() => return Err(failed),
                Err(failed) => {
                    self.failed = Some(failed);
                    break;
                }
            }
        }
        chunk.bytes_read = self.rows.bytes_read();
        self.next_row += chunk.rows();
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }
}
