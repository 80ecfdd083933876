//! Reads JSON lines.

use std::sync::Arc;

use super::{
    chunk::Chunk,
    input::{OpenedInput, RowBuffer},
    json_fields::{self, FieldMatch, FieldPath, FieldValue, FieldsSeen},
    layout::OutputLayout,
    plan::{BulkOperation, BulkPlan},
    row_source::{LongRows, ReadRow, RowReadError, RowSource},
    token_text::was_token,
};
use crate::context::CommandError;
use masker_csv::Cell;

const LONG_ROW_ADVICE: &str = "is each value on its own line? `jq -c .` writes it so, and `jq -c '.[]'` the elements of a list. \
                               To write null in its place, use --on-error keep-others";

const ARRAY: &str = "a JSON array is in place of a row, so the input is not JSON lines: `jq -c '.[]'` writes the elements of an \
                     array as JSON lines";

/// Reads JSON values, one per line. Everything that is not swapped is copied, including white space.
pub(super) struct JsonLinesReader {
    buffer: RowBuffer,
    plan: Arc<BulkPlan>,
    paths: Vec<FieldPath>,
    seen: FieldsSeen,
    header: &'static [u8],
    /// Length of the row that was read, with its line end. Its bytes are consumed with the next row.
    row: usize,
    /// Number of bytes after that row in which no line end was found.
    searched: usize,
    /// Whether the row is too long, and only its line end is known.
    long: bool,
    rows: u64,
    /// Number of rows that were searched for the fields.
    searched_rows: u64,
    /// Number of rows that could not be, because they are not JSON.
    broken_rows: u64,
    /// Whether the first line begins an array, so that the input is no file of JSON lines. Later lines may be arrays.
    has_array: bool,
}

impl JsonLinesReader {
    pub(super) fn open(plan: Arc<BulkPlan>, input: OpenedInput) -> Result<Self, CommandError> {
        let paths = json_fields::paths(plan.columns.iter().map(|column| &*column.name)).map_err(CommandError::Usage)?;
        let seen = FieldsSeen::new(&paths);
        Ok(JsonLinesReader {
            buffer: input.rows,
            plan,
            paths,
            seen,
            header: input.mark,
            row: 0,
            searched: 0,
            long: false,
            rows: 0,
            searched_rows: 0,
            broken_rows: 0,
            has_array: false,
        })
    }

    fn end_row(&mut self, length: usize) -> ReadRow {
        (self.row, self.searched) = (length, 0);
        // Of a row that is too long, only the last part is left.
        self.has_array |= self.rows == 0 && !self.long && begins_array(&self.buffer.bytes()[..length]);
        self.rows += 1;
        ReadRow::Row
    }

    /// Returns that a field is in no row.
    fn absent(&self, path: usize) -> String {
        let rows = match (self.buffer.is_ended(), self.broken_rows) {
            (true, 0) => "no row".to_owned(),
            (true, _) => "no row that is JSON".to_owned(),
            (false, _) => format!("none of the first {} rows", self.searched_rows),
        };
        format!("{rows} has the field {}", self.plan.name(path))
    }

    /// Returns how to name a field that is in no row.
    fn name_advice(&self, path: usize) -> Option<String> {
        let quoted = self.seen.quoted(path, &self.paths);
        let quoted = quoted.map(|name| format!("a name contains dots: quote it, as in --field '{name}'"));
        quoted.or_else(|| self.seen.similar(path, &self.paths).map(|name| format!("did you mean {name:?}?")))
    }

    /// Counts a row.
    fn count(&mut self, is_json: bool) {
        *(if is_json { &mut self.searched_rows } else { &mut self.broken_rows }) += 1;
    }
}

/// Finds the values of the fields in a line, or returns why it is not a row.
fn find<'t>(
    line: &'t [u8],
    is_first: bool,
    paths: &[FieldPath],
    seen: &mut FieldsSeen,
) -> Result<Vec<FieldMatch<'t>>, &'static str> {
    match std::str::from_utf8(line) {
        Err(_) => Err("the line is not UTF-8 text"),
        Ok("") => Ok(Vec::new()),
        Ok(_) if is_first && begins_array(line) => Err(ARRAY),
        Ok(text) => json_fields::find(text, paths, seen).map_err(|_| match text.trim_ascii() {
            "{" => "the line is not JSON: each value must be on its own line, and `jq -c .` writes it so",
            _ => "the line is not JSON",
        }),
    }
}

impl RowSource for JsonLinesReader {
    fn layout(&self) -> &OutputLayout {
        &OutputLayout::JsonLines
    }

    fn header(&self) -> &[u8] {
        self.header
    }

    fn read(&mut self, wait: bool, long_rows: LongRows) -> Result<ReadRow, RowReadError> {
        self.buffer.consume(std::mem::take(&mut self.row));
        self.long = false;
        loop {
            let bytes = self.buffer.bytes();
            if let Some(end) = memchr::memchr(b'\n', &bytes[self.searched..]) {
                let length = self.searched + end + 1;
                return Ok(self.end_row(length));
            }
            self.searched = bytes.len();
            if self.buffer.is_ended() {
                let length = bytes.len();
                return Ok(if length > 0 || self.long { self.end_row(length) } else { ReadRow::End });
            }
            if self.long || self.buffer.is_full() {
                let is_array = self.rows == 0 && !self.long && begins_array(bytes);
                if long_rows == LongRows::Refuse {
                    return Err(RowReadError::TooLong(if is_array { ARRAY } else { LONG_ROW_ADVICE }));
                }
                self.has_array |= is_array;
                self.long = true;
                self.buffer.consume(std::mem::take(&mut self.searched));
                self.buffer.fill()?;
            } else if wait {
                self.buffer.fill()?;
            } else {
                return Ok(ReadRow::Pending);
            }
        }
    }

    fn problem(&self) -> Option<(u64, String)> {
        self.long.then(|| (self.rows, "the row is too long".to_owned()))
    }

    fn examine(&mut self) {
        let line = self.buffer.bytes()[..self.row].trim_ascii_end();
        let is_json = !self.long && find(line, self.rows == 1, &self.paths, &mut self.seen).is_ok();
        self.count(is_json);
    }

    fn add_to(&mut self, chunk: &mut Chunk) {
        let row = &self.buffer.bytes()[..self.row];
        let (line, line_end) = row.split_at(row.trim_ascii_end().len());
        let found = match self.long {
            true => Err("the row is too long"),
            false => find(line, self.rows == 1, &self.paths, &mut self.seen),
        };
        let is_json = found.is_ok();
        match found {
            Ok(found) => add_line(chunk, &self.plan, line, &found),
            Err(detail) => chunk.fail_row(self.plan.operation.invalid_code(), detail),
        }
        // Of a row that is too long, only the line end is left.
        let line_end = if self.long && row.ends_with(b"\n") { &row[row.len() - 1..] } else { line_end };
        chunk.text.extend_from_slice(line_end);
        chunk.end_row(None, line_end.len());
        self.count(is_json);
    }

    fn is_confirmed(&self) -> bool {
        self.seen.missing().is_none()
    }

    fn finish(&self) -> Result<(), CommandError> {
        // Rows that are not JSON have failed, and say nothing about the fields.
        let Some(path) = self.seen.missing().filter(|_| self.searched_rows > 0 || self.has_array) else {
            return Ok(());
        };
        if self.has_array {
            return Err(CommandError::Other(ARRAY.to_owned()));
        }
        let advice = self.name_advice(path).unwrap_or_else(|| "if that can be, write `?` after its path".to_owned());
        Err(CommandError::Other(format!("{}; {advice}", self.absent(path))))
    }

    fn notes(&self) -> Vec<String> {
        if self.searched_rows == 0 {
            return Vec::new();
        }
        let note = |path| match self.name_advice(path) {
            Some(advice) => format!("{}; {advice}", self.absent(path)),
            None => self.absent(path),
        };
        self.seen.absent().map(note).collect()
    }

    fn broken_rows(&self) -> u64 {
        self.broken_rows
    }

    fn bytes_read(&self) -> u64 {
        self.buffer.consumed() + self.row as u64
    }
}

/// Returns whether a line begins an array. A value of JSON lines is an object.
fn begins_array(line: &[u8]) -> bool {
    line.trim_ascii_start().first() == Some(&b'[')
}

/// Adds a line to a chunk, with a gap for each value.
fn add_line(chunk: &mut Chunk, plan: &BulkPlan, line: &[u8], found: &[FieldMatch<'_>]) {
    let invalid_code = plan.operation.invalid_code();
    let rehydrate = plan.operation == BulkOperation::Rehydrate;
    let mut copied = 0;
    for FieldMatch { path, span, value } in found {
        match value {
            FieldValue::String(string) if string.is_empty() => continue,
            FieldValue::String(string) if rehydrate && !was_token(string.as_bytes()) => {
                chunk.pass(*path);
                continue;
            }
            FieldValue::Other if rehydrate && !matches!(line[span.start], b'"' | b'{') => {
                chunk.pass(*path);
                continue;
            }
            _ => {}
        }
        chunk.text.extend_from_slice(&line[copied..span.start]);
        copied = span.end;
        match value {
            FieldValue::String(string) => {
                let cell = Cell { start: span.start, end: span.end, quoted: false, plain: false };
                chunk.add_value(plan, *path, line, &cell, string);
            }
            FieldValue::Other => {
                chunk.fail_value(*path, invalid_code, "not a string of Unicode text; a number needs quotes")
            }
            FieldValue::NotObject => {
                chunk.fail_value(*path, invalid_code, "a value is in place of an object that contains the field");
            }
        }
    }
    chunk.text.extend_from_slice(&line[copied..]);
}
