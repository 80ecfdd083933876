//! Rows of CSV.

use std::{
    io::{self, Read},
    sync::Arc,
};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator, WriterBuilder};

use super::{
    chunk::{Chunk, OutputLayout},
    options::BulkPlan,
    reader::{BYTE_ORDER_MARK, PeekedInput, PeekedReader, RowLimitReader, RowSource},
};
use crate::context::CommandError;
use masker_api::Text;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableDialect {
    pub(super) delimiter: u8,
    /// Whether lines end in a carriage return and a line feed.
    pub(super) crlf: bool,
    /// Cells in a row.
    pub(super) width: usize,
}

impl TableDialect {
    /// Writes the rows that these cells make up. A cell with no text of its own is asked for, by its number.
    pub(super) fn write<'a, 'c>(
        self,
        cells: impl Iterator<Item = &'c [u8]>,
        mut filled: impl FnMut(usize) -> Option<Text<'a>>,
    ) -> io::Result<Vec<u8>> {
        let terminator = if self.crlf { Terminator::CRLF } else { Terminator::Any(b'\n') };
        let mut writer = WriterBuilder::new().delimiter(self.delimiter).terminator(terminator).from_writer(Vec::new());
        for (number, cell) in cells.enumerate() {
            if cell.is_empty() {
                let text = filled(number);
                writer.write_field(text.as_deref().unwrap_or_default())?;
            } else {
                writer.write_field(cell)?;
            }
            if (number + 1) % self.width == 0 {
                writer.write_record(None::<&[u8]>)?;
            }
        }
        writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
    }
}

/// Reads a table.
pub(super) struct TableReader<R> {
    reader: Reader<RowLimitReader<PeekedReader<R>>>,
    plan: Arc<BulkPlan>,
    dialect: TableDialect,
    /// Which column of the plan each cell of a row is in.
    columns: Vec<Option<usize>>,
    row: ByteRecord,
    /// Whether the row is still to be given out.
    waiting: bool,
    header: Vec<u8>,
}

impl<R: Read> TableReader<R> {
    /// Reads the header, or the first row, and finds the columns.
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
            written.extend(dialect.write(row.iter(), |_| None)?);
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
            // Its cells may be in other columns than they seem to be: none of them can be let through.
            let detail = "it has not as many cells as the first line; all of them are left out";
            chunk.fail(None, self.plan.operation.unfit(), detail);
            chunk.ends.extend(std::iter::repeat_n(chunk.text.len(), self.dialect.width));
            return;
        }
        for (cell, column) in self.row.iter().zip(&self.columns) {
            match column {
                None => chunk.text.extend_from_slice(cell),
                Some(_) if cell.is_empty() => {}
                Some(column) => match std::str::from_utf8(cell) {
                    // What fails stays empty.
                    Ok(value) => {
                        chunk.ask(&self.plan, *column, chunk.ends.len(), value);
                    }
                    Err(_) => chunk.fail(Some(*column), self.plan.operation.unfit(), "it is not UTF-8 text"),
                },
            }
            chunk.ends.push(chunk.text.len());
        }
    }

    fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }

    fn has_buffered_rows(&self) -> bool {
        // Of a carriage return and a line feed the reader leaves the second one to the next row.
        self.waiting || self.reader.get_ref().lines_end() > self.bytes_read() + 1
    }
}

/// For each cell of the header, which column of the plan it names.
fn by_name(plan: &BulkPlan, header: &ByteRecord) -> Result<Vec<Option<usize>>, CommandError> {
    for column in &plan.columns {
        if !header.iter().any(|cell| cell == column.name.as_bytes()) {
            return Err(CommandError::Other(missing(&column.name, header)));
        }
    }
    let of = |cell: &[u8]| plan.columns.iter().position(|column| column.name.as_bytes() == cell);
    Ok(header.iter().map(of).collect())
}

/// Why there is no such column. The header is not repeated: it may be a row.
fn missing(name: &str, header: &ByteRecord) -> String {
    let alike = |cell: &&[u8]| cell.trim_ascii().eq_ignore_ascii_case(name.trim().as_bytes());
    let named_alike = header.iter().find(alike).and_then(|cell| std::str::from_utf8(cell).ok());
    let advice = match (named_alike, name.rsplit_once('=')) {
        (Some(alike), _) => format!("is {alike:?} the one?"),
        (None, Some((before, _))) if header.iter().any(|cell| cell == before.as_bytes()) => {
            format!("the kind is in the token: write --column {before}")
        }
        _ => "for a table without a header give --no-header, and the columns' numbers".to_owned(),
    };
    format!("the header, which has {} cells, has no column {name:?}; {advice}", header.len())
}

/// For each cell of the first row, which column of the plan has its number.
fn by_number(plan: &BulkPlan, first: &ByteRecord) -> Result<Vec<Option<usize>>, CommandError> {
    let mut columns = vec![None; first.len()];
    for (index, column) in plan.columns.iter().enumerate() {
        let number = column.name.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let number = number.ok_or_else(|| {
            CommandError::Usage(format!("{}: with --no-header columns have numbers, from 1 on", column.name))
        })?;
        match columns.get_mut(number) {
            Some(place @ None) => *place = Some(index),
            Some(Some(_)) => return Err(CommandError::Usage(format!("{}: it is given twice", column.name))),
            None if first.is_empty() => {}
            None => {
                let message = format!("there is no column {}: the first row has {} cells", column.name, first.len());
                return Err(CommandError::Other(message));
            }
        }
    }
    Ok(columns)
}
