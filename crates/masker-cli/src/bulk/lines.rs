//! Lines of JSON.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{
    chunk::{Chunk, Layout},
    json::{self, Found, Path},
    plan::Plan,
    source::{BYTE_ORDER_MARK, Input, ROW_BYTES_MAX, Rows, Whole, too_long},
};
use crate::session::CommandError;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Reads JSON values, one a line. Whatever is not swapped is written as it is, to the last space.
pub(super) struct Lines<R> {
    reader: BufReader<Whole<R>>,
    plan: Arc<Plan>,
    paths: Vec<Path>,
    line: Zeroizing<Vec<u8>>,
    read_to: u64,
    header: &'static [u8],
}

impl<R: Read> Lines<R> {
    pub(super) fn open(plan: Arc<Plan>, input: Input<R>) -> Result<Self, CommandError> {
        let paths = json::paths(plan.columns.iter().map(|column| &*column.name)).map_err(CommandError::Usage)?;
        let header = if input.byte_order_mark { BYTE_ORDER_MARK } else { b"" };
        let reader = BufReader::with_capacity(BUFFER_BYTES, input.bytes);
        Ok(Lines { reader, plan, paths, line: Zeroizing::default(), read_to: 0, header })
    }
}

impl<R: Read + Send> Rows for Lines<R> {
    fn layout(&self) -> Layout {
        Layout::Lines
    }

    fn header(&self) -> &[u8] {
        self.header
    }

    fn read(&mut self) -> io::Result<bool> {
        self.line.clear();
        let bound = ROW_BYTES_MAX as u64 + 1;
        let read = self.reader.by_ref().take(bound).read_until(b'\n', &mut self.line)?;
        self.read_to += read as u64;
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

    fn read_to(&self) -> u64 {
        self.read_to
    }

    fn has_more_at_hand(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }
}

/// Adds a line with gaps where values were found.
fn add_line(chunk: &mut Chunk, plan: &Plan, line: &[u8], found: &[Found<'_>]) {
    let unfit = plan.operation.unfit();
    let mut done = 0;
    for Found { path, span, string } in found {
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
