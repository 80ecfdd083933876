//! Reads rows of CSV.

use std::{
    io::{self, Read},
    sync::Arc,
};

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::{
    chunk::Chunk,
    input::{BYTE_ORDER_MARK, PeekedInput, PeekedReader, RowLimitReader},
    layout::{OutputLayout, TableDialect},
    plan::BulkPlan,
    row_source::RowSource,
};
use crate::context::CommandError;

/// Size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Reads a CSV table.
pub(super) struct TableReader<R> {
    reader: Reader<RowLimitReader<PeekedReader<R>>>,
    plan: Arc<BulkPlan>,
    dialect: TableDialect,
    /// For each cell of a row, the index of its column in the plan.
    columns: Vec<Option<usize>>,
    row: ByteRecord,
    /// Whether the row was read and not yet returned.
    waiting: bool,
    header: Vec<u8>,
}

impl<R: Read> TableReader<R> {
    /// Reads the header, or the first row, and finds the columns of the plan.
    pub(super) fn open(
        plan: Arc<BulkPlan>,
        input: PeekedInput<R>,
        delimiter: u8,
        header: bool,
    ) -> Result<Self, CommandError> {
        let crlf = input.crlf;
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(RowLimitReader::new(input.bytes));
        let mut row = ByteRecord::new();
        let waiting = reader.read_byte_record(&mut row).map_err(|error| CommandError::Input(error.into()))?;
        let columns = if header { by_name(&plan, &row)? } else { by_number(&plan, &row)? };
        let dialect = TableDialect { delimiter, crlf, width: row.len() };
        let mut written = if input.byte_order_mark { BYTE_ORDER_MARK.to_vec() } else { Vec::new() };
        if header {
            written.extend(dialect.write(row.iter(), |_| None).map_err(CommandError::Output)?);
        }
        Ok(TableReader { reader, plan, dialect, columns, row, waiting: waiting && !header, header: written })
    }
}

impl<R: Read + Send> RowSource for TableReader<R> {
    fn layout(&self) -> OutputLayout {
        OutputLayout::Table(self.dialect)
    }

    fn header(&self) -> &[u8] {
        &self.header
    }

    fn read(&mut self) -> io::Result<bool> {
        if std::mem::take(&mut self.waiting) {
            return Ok(true);
        }
        self.reader.get_mut().begin();
        self.reader.read_byte_record(&mut self.row).map_err(io::Error::from)
    }

    fn add_to(&mut self, chunk: &mut Chunk) {
        if self.row.len() != self.dialect.width {
            // The cells may be in the wrong columns, so copying any of them could copy a value.
            let detail = "the row has another number of cells than the first line; all cells are left empty";
            chunk.fail(None, self.plan.operation.invalid_code(), detail);
            chunk.ends.extend(std::iter::repeat_n(chunk.text.len(), self.dialect.width));
            return;
        }
        for (cell, column) in self.row.iter().zip(&self.columns) {
            match column {
                None => chunk.text.extend_from_slice(cell),
                Some(_) if cell.is_empty() => {}
                Some(column) => match std::str::from_utf8(cell) {
                    // A cell that fails stays empty.
                    Ok(value) => {
                        chunk.add_value(&self.plan, *column, chunk.ends.len(), value);
                    }
                    Err(_) => chunk.fail(Some(*column), self.plan.operation.invalid_code(), "not UTF-8 text"),
                },
            }
            chunk.ends.push(chunk.text.len());
        }
    }

    fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }

    fn has_buffered_rows(&self) -> bool {
        // After a carriage return, the reader leaves the line feed to the next row.
        self.waiting || self.reader.get_ref().lines_end() > self.bytes_read() + 1
    }
}

/// Returns, for each cell of the header, the index of its column in the plan.
fn by_name(plan: &BulkPlan, header: &ByteRecord) -> Result<Vec<Option<usize>>, CommandError> {
    for column in &plan.columns {
        if !header.iter().any(|cell| cell == column.name.as_bytes()) {
            return Err(CommandError::Other(missing(&column.name, header)));
        }
    }
    let of = |cell: &[u8]| plan.columns.iter().position(|column| column.name.as_bytes() == cell);
    Ok(header.iter().map(of).collect())
}

/// Returns the message for a missing column. It does not contain the header, which could be a row.
fn missing(name: &str, header: &ByteRecord) -> String {
    let alike = |cell: &&[u8]| cell.trim_ascii().eq_ignore_ascii_case(name.trim().as_bytes());
    let named_alike = header.iter().find(alike).and_then(|cell| std::str::from_utf8(cell).ok());
    let advice = match (named_alike, name.rsplit_once('=')) {
        (Some(alike), _) => format!("did you mean {alike:?}?"),
        (None, Some((before, _))) if header.iter().any(|cell| cell == before.as_bytes()) => {
            format!("the kind is in the token: use --column {before}")
        }
        _ => "for a table without a header use --no-header and column numbers".to_owned(),
    };
    format!("the header ({} cells) has no column {name:?}; {advice}", header.len())
}

/// Returns, for each cell of the first row, the index of the column of the plan with its number.
fn by_number(plan: &BulkPlan, first: &ByteRecord) -> Result<Vec<Option<usize>>, CommandError> {
    let mut columns = vec![None; first.len()];
    for (index, column) in plan.columns.iter().enumerate() {
        let number = column.name.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let number = number.ok_or_else(|| {
            CommandError::Usage(format!("{}: with --no-header, columns are numbers from 1", column.name))
        })?;
        match columns.get_mut(number) {
            Some(place @ None) => *place = Some(index),
            Some(Some(_)) => return Err(CommandError::Usage(format!("{}: given twice", column.name))),
            None if first.is_empty() => {}
            None => {
                let message = format!("there is no column {}: the first row has {} cells", column.name, first.len());
                return Err(CommandError::Other(message));
            }
        }
    }
    Ok(columns)
}
