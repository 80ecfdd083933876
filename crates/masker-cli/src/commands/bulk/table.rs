//! Reads rows of tables.

use std::{borrow::Cow, sync::Arc};

use zeroize::Zeroize;

use super::{
    chunk::Chunk,
    columns,
    input::{OpenedInput, RowBuffer},
    layout::{OutputLayout, TableLayout},
    plan::{BulkOperation, BulkPlan, TableFormat},
    row_source::{LongRows, ReadRow, RowReadError, RowSource},
    token_text::was_token,
    wiped_bytes::WipedBytes,
};
use crate::{context::CommandError, file_kind::BYTE_ORDER_MARK};
use masker_csv::{Cell, RowEnd, RowScanner};

const LONG_ROW_ADVICE: &str =
    "is a quote not closed? To write an empty row in its place, use --on-error keep-row-empty";

/// Reads a table. The bytes of cells that are not swapped are copied.
pub(super) struct TableReader {
    buffer: RowBuffer,
    scanner: RowScanner,
    plan: Arc<BulkPlan>,
    layout: OutputLayout,
    table: TableLayout,
    /// For each cell of a row, the index of its column in the plan.
    columns: Vec<Option<usize>>,
    header: Vec<u8>,
    /// The cells of the header as they are written, sorted; empty without a header of several columns.
    names: Vec<Vec<u8>>,
    /// The end of the row that was read. Its bytes are consumed with the next row.
    end: RowEnd,
    /// The line that the row begins on, and the first one after it.
    line: u64,
    next_line: u64,
    state: TableState,
    /// Number of rows that have the width of the first line, and the number that shows that this is the width of the table.
    agreeing: u64,
    confirmed_by: u64,
    scratch: WipedBytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TableState {
    /// The first row of a table without a header was read and not yet returned.
    FirstRow,
    /// Between rows.
    Between,
    /// Within a row.
    Within,
    /// Within a row that is too long.
    Long,
    /// After a row that was too long: only its line end is known.
    AfterLong,
}

impl TableReader {
    /// Reads the header, or the first row, and finds the columns of the plan.
    pub(super) fn open(plan: &Arc<BulkPlan>, format: &TableFormat, input: OpenedInput) -> Result<Self, CommandError> {
        let dialect = format.dialect;
        let (mut buffer, mut scanner) = (input.rows, RowScanner::new(dialect));
        let end = loop {
            match scanner.scan(buffer.bytes(), buffer.is_ended()) {
                Ok(Some(end)) => break end,
                Ok(None) if buffer.is_full() => return Err(columns::too_long()),
                Ok(None) => buffer.fill().map_err(CommandError::Input)?,
                Err(error) => return Err(columns::malformed(plan, format, buffer.bytes(), error)),
            }
        };
        let row = &buffer.bytes()[..end.content];
        let encoding = format.encoding.cells();
        let cells = if end.total > 0 { columns::texts(dialect, encoding, row, &scanner) } else { Vec::new() };
        let columns = columns::find(plan, format, buffer.bytes(), &end, &cells)?;
        let table =
            TableLayout { dialect, encoding, utf16: input.utf16, nulls: format.nulls.clone(), width: columns.len() };
        let mut header = input.mark.to_vec();
        let mut names = Vec::new();
        if format.header {
            if columns.len() > 1 {
                names.extend(scanner.cells().iter().map(|cell| row[cell.start..cell.end].to_vec()));
                names.sort_unstable();
            }
            header.extend_from_slice(&buffer.bytes()[..end.total]);
        }
        let first_row = !format.header && end.total > 0;
        Ok(TableReader {
            buffer,
            scanner,
            plan: Arc::clone(plan),
            layout: OutputLayout::Table(table.clone()),
            table,
            columns,
            header,
            names,
            end,
            line: 1,
            next_line: 2 + end.breaks,
            state: if first_row { TableState::FirstRow } else { TableState::Between },
            agreeing: 0,
            // A line break that was added to the first row can make two rows of the same width of it.
            confirmed_by: if format.header { 1 } else { 3 },
            scratch: WipedBytes::default(),
        })
    }

    /// Returns whether the row that was read is an empty line. In a table with one column, that is an empty cell.
    fn is_empty_line(&self) -> bool {
        self.end.content == 0 && self.table.width != 1
    }

    /// Returns whether the row has the names of the header, in any order. Then another file follows, whose columns may be in other
    /// places.
    fn repeats_header(&self) -> bool {
        let bytes = self.buffer.bytes();
        // The header of a joined file can have a byte order mark.
        let names = |cell: &Cell| {
            let name = &bytes[cell.start..cell.end];
            name.strip_prefix(BYTE_ORDER_MARK).unwrap_or(name)
        };
        let mut cells = self.scanner.cells().iter().map(names);
        let is_name = |cell: &[u8]| self.names.binary_search_by(|name| name.as_slice().cmp(cell)).is_ok();
        if !cells.next().is_some_and(is_name) || !cells.all(is_name) {
            return false;
        }
        let mut all: Vec<&[u8]> = self.scanner.cells().iter().map(names).collect();
        all.sort_unstable();
        all == self.names
    }

    /// Notes the end of a row, and checks the width of the first ones.
    fn end_row(&mut self, end: RowEnd) -> Result<ReadRow, RowReadError> {
        self.end = end;
        (self.line, self.next_line) = (self.next_line, self.next_line + 1 + end.breaks);
        if self.state == TableState::Long {
            self.state = TableState::AfterLong;
            return Ok(ReadRow::Row);
        }
        self.state = TableState::Between;
        if !self.is_empty_line() {
            let cells = self.scanner.cells().len();
            if cells == self.table.width {
                self.agreeing += 1;
            } else if self.agreeing < self.confirmed_by {
                // One of the two has lost or gained a delimiter, and it may be the one that named the columns.
                let detail = format!(
                    "the row has {cells} cells, and the first line {}; check --delimiter, and correct this row or the first line",
                    self.table.width
                );
                return Err(RowReadError::Malformed { line: self.line, detail });
            }
        }
        Ok(ReadRow::Row)
    }

    /// Adds the cells of the row to a chunk.
    fn add_cells(&mut self, chunk: &mut Chunk) {
        let row = &self.buffer.bytes()[..self.end.total];
        let mut copied = 0;
        for (cell, column) in self.scanner.cells().iter().zip(&self.columns) {
            let Some(column) = *column else { continue };
            let raw = &row[cell.start..cell.end];
            let is_null = match cell.quoted {
                true => self.table.dialect.escape.is_some_and(|escape| raw == [b'"', escape, b'N', b'"']),
                false => self.table.nulls.iter().any(|null| null == raw),
            };
            if raw.is_empty() || raw == b"\"\"" && cell.quoted || is_null {
                continue;
            }
            let bytes = self.table.dialect.decode(row, cell, &mut self.scratch);
            // Tokens are ASCII, of which every encoding is a superset.
            if self.plan.operation == BulkOperation::Rehydrate && !was_token(bytes) {
                chunk.pass(column);
                continue;
            }
            chunk.text.extend_from_slice(&row[copied..cell.start]);
            copied = cell.end;
            match self.table.encoding.decode(bytes) {
                Ok(text) => {
                    chunk.add_value(&self.plan, column, row, cell, &text);
                    if let Cow::Owned(mut text) = text {
                        text.zeroize();
                    }
                }
                Err(error) => chunk.fail_value(column, self.plan.operation.invalid_code(), error.to_string()),
            }
        }
        chunk.text.extend_from_slice(&row[copied..]);
    }
}

impl RowSource for TableReader {
    fn layout(&self) -> &OutputLayout {
        &self.layout
    }

    fn header(&self) -> &[u8] {
        &self.header
    }

    fn read(&mut self, wait: bool, long_rows: LongRows) -> Result<ReadRow, RowReadError> {
        match self.state {
            TableState::FirstRow => {
                (self.state, self.agreeing) = (TableState::Between, 1);
                return Ok(ReadRow::Row);
            }
            TableState::Between | TableState::AfterLong => {
                self.buffer.consume(self.end.total);
                self.end = RowEnd { content: 0, total: 0, breaks: 0 };
                self.scanner.begin();
                self.state = TableState::Within;
            }
            TableState::Within | TableState::Long => {}
        }
        loop {
            let bytes = self.buffer.bytes();
            if bytes.is_empty() && self.buffer.is_ended() && self.state == TableState::Within {
                return Ok(ReadRow::End);
            }
            match self.scanner.scan(bytes, self.buffer.is_ended()) {
                Ok(Some(end)) => return self.end_row(end),
                Ok(None) if self.buffer.is_full() || self.state == TableState::Long => {
                    if long_rows == LongRows::Refuse {
                        return Err(RowReadError::TooLong(LONG_ROW_ADVICE));
                    }
                    self.state = TableState::Long;
                    let examined = self.scanner.discard();
                    self.buffer.consume(examined);
                    self.buffer.fill()?;
                }
                Ok(None) if !wait => return Ok(ReadRow::Pending),
                Ok(None) => self.buffer.fill()?,
                Err(error) => {
                    let detail = format!("{error}{}", columns::quote_advice(error));
                    return Err(RowReadError::Malformed { line: self.next_line, detail });
                }
            }
        }
    }

    fn problem(&self) -> Option<(u64, String)> {
        let cells = self.scanner.cells().len();
        if self.state == TableState::AfterLong {
            Some((self.line, "the row is too long".to_owned()))
        } else if !self.is_empty_line() && cells != self.table.width {
            let bytes = &self.buffer.bytes()[..self.end.content];
            let is_end_mark = !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b'\x1A' | b'\0'));
            let advice =
                if is_end_mark { ": it is an end mark or padding of bytes 0x1A or 0x00; remove it" } else { "" };
            Some((self.line, format!("the row has {cells} cells, and the first line {}{advice}", self.table.width)))
        } else if self.repeats_header() {
            let detail = "the row has the names of the header: were files joined? Their columns may be in other places";
            Some((self.line, detail.to_owned()))
        } else {
            None
        }
    }

    fn add_to(&mut self, chunk: &mut Chunk) {
        match self.problem() {
            Some((_, detail)) => {
                // The cells may be in the wrong columns, so copying any of them could copy a value.
                chunk.fail_row(self.plan.operation.invalid_code(), detail);
                chunk.text.extend_from_slice(&self.buffer.bytes()[self.end.content..self.end.total]);
            }
            None => self.add_cells(chunk),
        }
        chunk.end_row(Some(self.line), self.end.total - self.end.content);
    }

    fn is_confirmed(&self) -> bool {
        self.agreeing >= self.confirmed_by
    }

    fn finish(&self) -> Result<(), CommandError> {
        Ok(())
    }

    fn bytes_read(&self) -> u64 {
        self.buffer.consumed() + self.end.total as u64
    }
}
