//! Finding the cells of a row.

use memchr::{memchr, memchr2, memchr2_iter};

use super::dialect::{Dialect, QUOTE, Quoting};

/// A cell of a row, with its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The offset of its first byte in the row.
    pub start: usize,
    /// The offset after its last byte.
    pub end: usize,
    /// Whether it is in quotes.
    pub quoted: bool,
    /// Whether it contains neither doubled quotes nor escapes.
    pub plain: bool,
}

/// The end of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowEnd {
    /// Number of bytes without the line end.
    pub content: usize,
    /// Number of bytes with the line end. The last row of a file can have none.
    pub total: usize,
    /// Number of line breaks inside the cells.
    pub breaks: u64,
}

/// Why the bytes are not a row. Where the row ends is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// A quote is inside a cell that does not begin with one.
    #[error("a quote is inside a cell that does not begin with a quote")]
    QuoteInCell,
    /// Text is between the closing quote of a cell and the next delimiter.
    #[error("text follows a closing quote")]
    TextAfterQuote,
    /// The input ends inside a quoted cell.
    #[error("a quote is not closed")]
    OpenQuote,
    /// The input ends after an escape.
    #[error("an escape is at the end of the input")]
    OpenEscape,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    CellStart,
    Unquoted,
    Quoted,
    /// After a quote in a quoted cell: it closes the cell, or is the first of two.
    QuoteSeen,
    /// After an escape.
    Escaped {
        quoted: bool,
    },
    /// After a carriage return that ends a row: a line feed may belong to it.
    CarriageReturn,
}

/// Finds the cells of one row after the other. Lines end in a line feed, a carriage return, or both. The bytes of a row can
/// arrive in pieces.
pub struct RowScanner {
    dialect: Dialect,
    /// For each byte, whether it has a meaning in an unquoted cell.
    special: [bool; 256],
    state: State,
    /// Number of bytes of the row that were examined.
    at: usize,
    cell_start: usize,
    plain: bool,
    cells: Vec<Cell>,
    content: usize,
    breaks: u64,
    /// Whether a cell of the row can contain line breaks: it is in quotes, or has an escape.
    breakable: bool,
    /// Number of bytes of the row in which the line breaks were counted, and whether the last one was a carriage return.
    counted: usize,
    after_return: bool,
}

impl RowScanner {
    /// Creates a scanner at the beginning of a row.
    pub fn new(dialect: Dialect) -> Self {
        let mut special = [false; 256];
        for byte in [Some(dialect.delimiter), Some(b'\n'), Some(b'\r'), dialect.escape].into_iter().flatten() {
            special[usize::from(byte)] = true;
        }
        special[usize::from(QUOTE)] |= dialect.quoting == Quoting::Strict;
        RowScanner {
            dialect,
            special,
            state: State::CellStart,
            at: 0,
            cell_start: 0,
            plain: true,
            cells: Vec::new(),
            content: 0,
            breaks: 0,
            breakable: false,
            counted: 0,
            after_return: false,
        }
    }

    /// Returns the syntax.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Starts the next row.
    pub fn begin(&mut self) {
        self.state = State::CellStart;
        (self.at, self.cell_start, self.plain, self.content) = (0, 0, true, 0);
        (self.breaks, self.breakable, self.counted, self.after_return) = (0, false, 0, false);
        self.cells.clear();
    }

    /// Returns the cells of the row that [`RowScanner::scan`] found.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Forgets the cells and the bytes that were examined, so that a row of any length can be skipped. Returns the number of
    /// these bytes: the next call of [`RowScanner::scan`] takes those after them.
    pub fn discard(&mut self) -> usize {
        self.cells.clear();
        (self.cell_start, self.content, self.counted) = (0, 0, 0);
        // The line end is reported whole.
        let kept = usize::from(self.state == State::CarriageReturn);
        std::mem::replace(&mut self.at, kept) - kept
    }

    /// Examines the bytes of a row, from its first byte. Returns `None` if they do not contain its end; the next call then
    /// takes the same bytes and more of them. `is_end` says whether the input ends after these bytes.
    ///
    /// # Errors
    /// The bytes are not a row.
    pub fn scan(&mut self, bytes: &[u8], is_end: bool) -> Result<Option<RowEnd>, RowError> {
        let is_whole = self.find_end(bytes, is_end)?;
        if self.breakable {
            // The line end is no part of a cell.
            let end = if is_whole || self.state == State::CarriageReturn { self.content } else { self.at };
            self.count_breaks(bytes, end);
        }
        Ok(is_whole.then_some(RowEnd { content: self.content, total: self.at, breaks: self.breaks }))
    }

    /// Finds the cells. Returns whether the bytes contain the end of the row.
    fn find_end(&mut self, bytes: &[u8], is_end: bool) -> Result<bool, RowError> {
        loop {
            let byte = bytes.get(self.at).copied();
            if byte.is_none() && !is_end {
                return Ok(false);
            }
            match self.state {
                State::CellStart => {
                    (self.cell_start, self.plain, self.state) = (self.at, true, State::Unquoted);
                    if byte == Some(QUOTE) && self.dialect.quoting != Quoting::None {
                        self.at += 1;
                        (self.breakable, self.state) = (true, State::Quoted);
                    }
                }
                State::Unquoted => {
                    let rest = &bytes[self.at..];
                    let run = rest.iter().position(|byte| self.special[usize::from(*byte)]);
                    self.at += run.unwrap_or(rest.len());
                    match bytes.get(self.at).copied() {
                        None if !is_end => return Ok(false),
                        Some(byte) if Some(byte) == self.dialect.escape => self.escape(false),
                        Some(QUOTE) => return Err(RowError::QuoteInCell),
                        byte => {
                            if self.end_cell(byte, false) {
                                return Ok(true);
                            }
                        }
                    }
                }
                State::Quoted => {
                    let rest = &bytes[self.at..];
                    let found = match self.dialect.escape {
                        Some(escape) => memchr2(QUOTE, escape, rest),
                        None => memchr(QUOTE, rest),
                    };
                    self.at += found.unwrap_or(rest.len());
                    match bytes.get(self.at) {
                        None if is_end => return Err(RowError::OpenQuote),
                        None => return Ok(false),
                        Some(&QUOTE) => {
                            self.at += 1;
                            self.state = State::QuoteSeen;
                        }
                        Some(_) => self.escape(true),
                    }
                }
                State::QuoteSeen => match byte {
                    Some(QUOTE) => {
                        self.at += 1;
                        (self.plain, self.state) = (false, State::Quoted);
                    }
                    Some(byte) if byte != self.dialect.delimiter && !matches!(byte, b'\n' | b'\r') => {
                        return Err(RowError::TextAfterQuote);
                    }
                    byte => {
                        if self.end_cell(byte, true) {
                            return Ok(true);
                        }
                    }
                },
                State::Escaped { quoted } => {
                    byte.ok_or(RowError::OpenEscape)?;
                    self.at += 1;
                    self.state = if quoted { State::Quoted } else { State::Unquoted };
                }
                State::CarriageReturn => {
                    self.at += usize::from(byte == Some(b'\n'));
                    return Ok(true);
                }
            }
        }
    }

    fn escape(&mut self, quoted: bool) {
        self.at += 1;
        (self.plain, self.breakable, self.state) = (false, true, State::Escaped { quoted });
    }

    /// Ends a cell before this byte, or at the end of the input. Returns whether the end of the row is known.
    fn end_cell(&mut self, byte: Option<u8>, quoted: bool) -> bool {
        self.cells.push(Cell { start: self.cell_start, end: self.at, quoted, plain: self.plain });
        self.content = self.at;
        self.at += usize::from(byte.is_some());
        match byte {
            Some(b'\r') => {
                self.state = State::CarriageReturn;
                false
            }
            Some(b'\n') | None => true,
            Some(_) => {
                self.state = State::CellStart;
                false
            }
        }
    }

    /// Counts the line breaks inside cells up to `end`. A carriage return and a line feed are one. In one pass over the row,
    /// because cells are short.
    fn count_breaks(&mut self, bytes: &[u8], end: usize) {
        let bytes = bytes.get(self.counted..end).unwrap_or_default();
        self.counted += bytes.len();
        for at in memchr2_iter(b'\n', b'\r', bytes) {
            let after_return = if at == 0 { self.after_return } else { bytes[at - 1] == b'\r' };
            self.breaks += u64::from(bytes[at] == b'\r' || !after_return);
        }
        if let Some(last) = bytes.last() {
            self.after_return = *last == b'\r';
        }
    }
}
