//! Lines of JSON.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{
    chunk::{Chunk, OutputLayout},
    json::{self, FieldMatch, FieldPath},
    options::BulkPlan,
    reader::{BYTE_ORDER_MARK, PeekedInput, PeekedReader, ROW_BYTES_MAX, RowSource, too_long},
};
use crate::context::CommandError;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Reads JSON values, one a line. Whatever is not swapped is written as it is, to the last space.
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
        let paths = json::paths(plan.columns.iter().map(|column| &*column.name)).map_err(CommandError::Usage)?;
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
            return Err(too_long("is each value on a line of its own?"));
        }
        Ok(read > 0)
    }

    fn add_to(&mut self, chunk: &mut Chunk) {
        let unfit = self.plan.operation.unfit();
        let end = self.line.trim_ascii_end().len();
        let (line, line_end) = self.line.split_at(end);
        let found = match std::str::from_utf8(line) {
            Err(_) => Err("the line is not UTF-8 text"),
            Ok("") => Ok(Vec::new()),
            Ok(line) => json::find(line, &self.paths).map_err(|_| "the line is not JSON"),
        };
        match found {
            Ok(found) => add_line(chunk, &self.plan, line, &found),
            Err(detail) => {
                chunk.fail(None, unfit, detail);
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

/// Adds a line with gaps where values were found.
fn add_line(chunk: &mut Chunk, plan: &BulkPlan, line: &[u8], found: &[FieldMatch<'_>]) {
    let unfit = plan.operation.unfit();
    let mut done = 0;
    for FieldMatch { path, span, string } in found {
        chunk.text.extend_from_slice(&line[done..span.start]);
        done = span.end;
        let asked = match string {
            Some(string) if string.is_empty() => {
                chunk.text.extend_from_slice(&line[span.clone()]);
                continue;
            }
            Some(string) => chunk.ask(plan, *path, chunk.text.len(), string),
            None => {
                chunk.fail(Some(*path), unfit, "it is no string of text");
                false
            }
        };
        if !asked {
            chunk.text.extend_from_slice(b"null");
        }
    }
    chunk.text.extend_from_slice(&line[done..]);
}
