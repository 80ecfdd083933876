//! Reads JSON lines.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{
    chunk::Chunk,
    input::{BYTE_ORDER_MARK, PeekedInput, PeekedReader, ROW_BYTES_MAX, too_long},
    json_fields::{self, FieldMatch, FieldPath},
    layout::OutputLayout,
    plan::BulkPlan,
    row_source::RowSource,
};
use crate::context::CommandError;

/// Size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Reads JSON values, one per line. Everything that is not swapped is copied, including white space.
pub(super) struct JsonLinesReader<R> {
    reader: BufReader<PeekedReader<R>>,
    plan: Arc<BulkPlan>,
    paths: Vec<FieldPath>,
    line: Zeroizing<Vec<u8>>,
    bytes_read: u64,
    header: &'static [u8],
}

impl<R: Read> JsonLinesReader<R> {
    pub(super) fn open(plan: Arc<BulkPlan>, input: PeekedInput<R>) -> Result<Self, CommandError> {
        let paths = json_fields::paths(plan.columns.iter().map(|column| &*column.name)).map_err(CommandError::Usage)?;
        let header = if input.byte_order_mark { BYTE_ORDER_MARK } else { b"" };
        let reader = BufReader::with_capacity(BUFFER_BYTES, input.bytes);
        Ok(JsonLinesReader { reader, plan, paths, line: Zeroizing::default(), bytes_read: 0, header })
    }
}

impl<R: Read + Send> RowSource for JsonLinesReader<R> {
    fn layout(&self) -> OutputLayout {
        OutputLayout::Lines
    }

    fn header(&self) -> &[u8] {
        self.header
    }

    fn read(&mut self) -> io::Result<bool> {
        self.line.clear();
        let bound = ROW_BYTES_MAX as u64 + 1;
        let read = self.reader.by_ref().take(bound).read_until(b'\n', &mut self.line)?;
        self.bytes_read += read as u64;
        if read as u64 == bound && !self.line.ends_with(b"\n") {
            return Err(too_long("is each value on its own line?"));
        }
        Ok(read > 0)
    }

    fn add_to(&mut self, chunk: &mut Chunk) {
        let invalid_code = self.plan.operation.invalid_code();
        let end = self.line.trim_ascii_end().len();
        let (line, line_end) = self.line.split_at(end);
        let found = match std::str::from_utf8(line) {
            Err(_) => Err("the line is not UTF-8 text"),
            Ok("") => Ok(Vec::new()),
            Ok(line) => json_fields::find(line, &self.paths).map_err(|_| "the line is not JSON"),
        };
        match found {
            Ok(found) => add_line(chunk, &self.plan, line, &found),
            Err(detail) => {
                chunk.fail(None, invalid_code, detail);
                chunk.text.extend_from_slice(b"null");
            }
        }
        chunk.text.extend_from_slice(line_end);
    }

    fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn has_buffered_rows(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }
}

/// Adds a line to a chunk, with a gap for each value.
fn add_line(chunk: &mut Chunk, plan: &BulkPlan, line: &[u8], found: &[FieldMatch<'_>]) {
    let invalid_code = plan.operation.invalid_code();
    let mut done = 0;
    for FieldMatch { path, span, string } in found {
        chunk.text.extend_from_slice(&line[done..span.start]);
        done = span.end;
        let sent = match string {
            Some(string) if string.is_empty() => {
                chunk.text.extend_from_slice(&line[span.clone()]);
                continue;
            }
            Some(string) => chunk.add_value(plan, *path, chunk.text.len(), string),
            None => {
                chunk.fail(Some(*path), invalid_code, "not a string of Unicode text");
                false
            }
        };
        if !sent {
            chunk.text.extend_from_slice(b"null");
        }
    }
    chunk.text.extend_from_slice(&line[done..]);
}
